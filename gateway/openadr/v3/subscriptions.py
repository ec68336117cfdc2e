"""Our subscriptions at a VTN: made, renewed with a fresh token, brought in line with what is ours, and ended.

What was left by an earlier run is found by its callback address and taken over, so that restarts do not pile them up. 3.0.1 wants one
for each program. A VTN filters notifications by targets as it filters lists (3.1.0), so what is targeted at us has a subscription of
its own beside the one for everybody. 3.0.1 names operations in two ways; where a VTN refuses one, the other is tried.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

from gateway.domain.errors import PeerUnavailable, VoltbridgeError
from gateway.observe import logger
from gateway.openadr.backoff import jittered_pause_after
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.names import Dialect, Operation
from gateway.openadr.v3.notifications import WORTH_A_LOOK
from gateway.openadr.v3.refusals import VtnRefused, heeded_pause
from gateway.openadr.v3.settings import VenSettings
from gateway.openadr.v3.survey import Survey
from gateway.openadr.v3.ven import Ven
from gateway.openadr.v3.webhook import Callback
from gateway.openadr.v3.wire import ObjectOperations, Target, WireSubscription
from gateway.ports import Clock, Ids

_OPERATIONS = (Operation.CREATE, Operation.UPDATE, Operation.DELETE)
_FAREWELL_S = 2.0
_UNKNOWN_PAUSE = timedelta(seconds=5)
"""How soon to look again while the VTN has not said what is ours."""
_log = logger("openadr")

Wish = tuple[str, tuple[Target, ...]]
"""Program (empty for all) and targets of a subscription."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubscriptionTimes:
    """When subscriptions are looked after. Market time."""

    look_every: timedelta = timedelta(minutes=1)
    """How often to see whether what is ours has changed."""
    renew_every: timedelta = timedelta(hours=12)
    """How often the token is made anew and what is there compared with what should be."""


@dataclass(slots=True)
class SubscriptionHealth:
    """How the subscriptions are, for the health endpoint and the operator's page."""

    ids: tuple[str, ...] = ()
    """The VTN's ids of ours."""
    renewed_at: datetime | None = None
    failures: int = 0
    last_error: str = ""


@dataclass(slots=True)
class _Plan:
    wishes: frozenset[Wish] = field(default_factory=frozenset)
    due_at: datetime | None = None


class SubscriptionKeeper:
    """Keeps a VEN's subscriptions at its VTN.

    Args:
        ven: Says what is ours; its client speaks to the VTN.
        settings: What the VEN is told.
        callback: Where the VTN notifies us.
        clock: Market time.
        ids: Jitter.
        times: When to look.
    """

    def __init__(
        self,
        ven: Ven,
        settings: VenSettings,
        callback: Callback,
        clock: Clock,
        ids: Ids,
        *,
        times: SubscriptionTimes | None = None,
    ) -> None:
        self._ven = ven
        self._client: VtnClient = ven.client
        self._settings = settings
        self._callback = callback
        self._clock = clock
        self._ids = ids
        self._times = times or SubscriptionTimes()
        self._plan = _Plan()
        self._in_http_words = False
        self.health = SubscriptionHealth()

    async def run(self) -> None:
        """Look after the subscriptions until cancelled, then end them."""
        try:
            while True:
                pause = self._times.look_every
                try:
                    if not await self._look():
                        pause = min(pause, _UNKNOWN_PAUSE)
                except VoltbridgeError as error:
                    pause = self._take_failure(error)
                await self._clock.sleep(pause)
        finally:
            await self._farewell()

    async def _look(self) -> bool:
        """Bring the subscriptions in line when something has changed or it is time; tell whether we know what is ours."""
        found = self._ven.survey
        if found is None:
            return False
        wishes = frozenset(wishes_of(self._settings, found))
        now = self._clock.now()
        if wishes == self._plan.wishes and self._plan.due_at is not None and now < self._plan.due_at:
            return True
        self.health.ids = await self._bring_in_line(wishes)
        self.health.renewed_at, self.health.failures, self.health.last_error = now, 0, ""
        self._plan = _Plan(wishes=wishes, due_at=now + self._times.renew_every)
        return True

    async def _bring_in_line(self, wishes: frozenset[Wish]) -> tuple[str, ...]:
        """Renew what should be there, make what is missing, delete what is too many."""
        there = await self._ours()
        token = self._callback.renew_token()
        ids: list[str] = []
        for wish in sorted(wishes, key=repr):
            wanted = self._subscription(wish, token)
            known = there.pop(wish, [])
            if known:
                await self._client.update_subscription(known[0], wanted, in_http_words=self._in_http_words)
                ids.append(known[0])
                there[wish] = known[1:]
            else:
                created = await self._client.create_subscription(wanted, in_http_words=self._in_http_words)
                ids.append("" if created.meta is None else created.meta.id)
        for subscription_id in (one for left in there.values() for one in left):
            await self._client.delete_subscription(subscription_id)
        _log.info("subscribed", authority=self._settings.authority, count=len(ids))
        return tuple(ids)

    async def _ours(self) -> dict[Wish, list[str]]:
        """Return the ids of subscriptions that lead to our callback, by what they are for."""
        listed = await self._client.subscriptions((("clientName", self._settings.ven_name),))
        found: dict[Wish, list[str]] = {}
        for one in listed.objects:
            addresses = {operations.callback_url for operations in one.operations}
            if one.meta is not None and self._callback.url in addresses:
                found.setdefault((one.program_id, _ordered(one.targets)), []).append(one.meta.id)
        return found

    def _subscription(self, wish: Wish, token: str) -> WireSubscription:
        program_id, targets = wish
        return WireSubscription(
            client_name=self._settings.ven_name,
            program_id=program_id,
            operations=(
                ObjectOperations(
                    objects=tuple(sorted(kind.upper() for kind in WORTH_A_LOOK)),
                    operations=_OPERATIONS,
                    callback_url=self._callback.url,
                    bearer_token=token,
                ),
            ),
            targets=targets,
        )

    def _take_failure(self, error: VoltbridgeError) -> timedelta:
        settings = self._settings
        if (
            settings.dialect is Dialect.V301
            and isinstance(error, VtnRefused)
            and error.status == HTTPStatus.BAD_REQUEST
        ):
            self._in_http_words = not self._in_http_words
        self.health.failures += 1
        self.health.last_error = str(error)
        _log.warning("not subscribed", authority=settings.authority, failures=self.health.failures, error=str(error))
        own = jittered_pause_after(self.health.failures, settings, self._ids)
        return heeded_pause(own, error, settings.longest_wait)

    async def _farewell(self) -> None:
        """End our subscriptions if the VTN takes it quickly; the next run takes over what is left."""
        ids, self.health.ids = self.health.ids, ()
        try:
            async with asyncio.timeout(_FAREWELL_S):
                for subscription_id in ids:
                    await self._client.delete_subscription(subscription_id)
        except (PeerUnavailable, TimeoutError) as error:
            _log.info("subscriptions left", authority=self._settings.authority, error=str(error))


def wishes_of(settings: VenSettings, found: Survey) -> Sequence[Wish]:
    """Return what to subscribe to: programs we take part in, for everybody and for what the VTN granted us."""
    needs_programs = settings.dialect is Dialect.V301 or not found.takes_all
    programs = sorted(found.programs) if needs_programs else [""]
    granted = found.standing.targets if settings.dialect is Dialect.V310 else frozenset()
    targets = _ordered((*granted, *settings.targets))
    return [(program, wanted) for program in programs for wanted in dict.fromkeys(((), targets))]


def _ordered(targets: Sequence[Target]) -> tuple[Target, ...]:
    return tuple(sorted(set(targets), key=lambda target: (target.kind, target.value)))
