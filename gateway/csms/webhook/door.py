"""The door of a platform that takes signed messages: one message for many chargers, repeated under its id until it is taken.

An answer 200 holds the acknowledgement; 202 promises it later, signed, at `ack_url`. While a message is not taken a newer one is not
held up: what the older one said of other chargers goes along with it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from aiohttp import web

from gateway.csms.delivery import DoorPorts, Tally
from gateway.csms.keeper import DispatchDoor, LinkKeeper
from gateway.csms.listening import body_of
from gateway.csms.webhook.messages import Ack, Limits, read_ack
from gateway.csms.webhook.signing import Signer
from gateway.domain.dispatch import DispatchState
from gateway.domain.errors import InvalidInput, PeerUnavailable, Unauthenticated
from gateway.domain.topology import Charger, EnforcementClass
from gateway.outbound import Answer, Call, PeerHttp
from gateway.ports import DoorStanding
from gateway.services.plan_dispatch import DispatchLink, LinkBatch

PositionArray = npt.NDArray[np.int32]

_MOST_UNACKED = 256
_MOST_DOUBLINGS = 5
_TAKEN, _LATER = 200, 202
_TRY_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookSettings:
    """One platform; durations in market time."""

    url: str
    ack_url: str
    retry: timedelta = timedelta(seconds=2)
    """First pause before a message is repeated; doubled each time."""


class Untaken:
    """The newest limits of chargers that the platform has not taken yet; arrays over positions.

    Args:
        count: Chargers of the platform.
    """

    def __init__(self, count: int) -> None:
        self.is_waiting = np.zeros(count, dtype=bool)
        self.sequence = np.zeros(count, dtype=np.int64)
        self.limit_kw = np.zeros(count)
        self.fallback_kw = np.zeros(count)
        self.lease_until = datetime.max.replace(tzinfo=UTC)
        """The earliest end of a lease: nobody is promised more than was written."""

    def add(self, batch: LinkBatch) -> None:
        """Take a batch in; it replaces what waits for the same chargers."""
        at = batch.charger_index
        self.is_waiting[at] = True
        self.sequence[at] = batch.sequence
        self.limit_kw[at] = batch.limit_kw
        self.fallback_kw[at] = batch.fallback_kw
        self.lease_until = min(self.lease_until, batch.lease_until)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Message:
    """One message as it is sent again and again."""

    sequence: int
    body: bytes
    lease_until: datetime
    positions: PositionArray
    sequences: npt.NDArray[np.int64]
    """Under which each limit came from the dispatcher, one per position."""


class WebhookDoor:
    """One platform.

    Args:
        settings: The platform.
        ports: The world.
        http: Carries requests to it.
        dispatcher: Who gives out links.
        signer: Signs and checks.
        lease: How long commands hold; None for as long as everybody's.
        enforcement: Best class that its targets count as.
    """

    def __init__(  # noqa: PLR0913  # each is a seam of its own
        self,
        settings: WebhookSettings,
        ports: DoorPorts,
        http: PeerHttp,
        dispatcher: DispatchDoor,
        signer: Signer,
        *,
        lease: timedelta | None = None,
        enforcement: EnforcementClass = EnforcementClass.B,
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._http = http
        self._signer = signer
        self._enforcement = enforcement
        self._keeper = LinkKeeper(ports, dispatcher, lease)
        self._charger_ids: tuple[str, ...] = ()
        self._positions: dict[str, int] = {}
        self._unacked: OrderedDict[int, Message] = OrderedDict()
        self._link: DispatchLink | None = None
        self._tally = Tally()
        self._heard_at: datetime | None = None
        self._is_taken = False

    async def run(self) -> None:
        """Keep the link open and deliver, for ever."""
        try:
            await self._keeper.run(self._serve)
        finally:
            await self._http.close()

    async def _serve(self, link: DispatchLink, chargers: Sequence[Charger]) -> None:
        self._charger_ids = tuple(charger.id for charger in chargers)
        self._positions = {charger: position for position, charger in enumerate(self._charger_ids)}
        self._unacked.clear()
        self._link = link
        try:
            await self._deliver_for_ever(link)
        finally:
            self._link = None

    async def _deliver_for_ever(self, link: DispatchLink) -> None:
        untaken = Untaken(len(self._charger_ids))
        async with asyncio.TaskGroup() as tasks:
            incoming = tasks.create_task(link.next())
            while True:
                batch = await incoming
                incoming = tasks.create_task(link.next())
                untaken.add(batch)
                message = self._message(batch, untaken)
                if await self._is_delivered(message, incoming):
                    untaken = Untaken(len(self._charger_ids))

    async def _is_delivered(self, message: Message, incoming: "asyncio.Task[LinkBatch]") -> bool:
        """Send a message until it is taken or a newer one is there; tell whether its limits are done with."""
        tries = 0
        while self._ports.clock.now() < message.lease_until:
            answer = await self._send(message)
            if answer is not None and answer.status < 500 and answer.status not in _TRY_AGAIN:
                self._take_answer(message, answer)
                return True
            pause = self._settings.retry * (1 << min(tries, _MOST_DOUBLINGS))
            tries += 1
            if await self._is_superseded_within(pause, incoming):
                return False
        self._give_up(message)
        return True

    async def _is_superseded_within(self, pause: timedelta, incoming: "asyncio.Task[LinkBatch]") -> bool:
        async with asyncio.TaskGroup() as tasks:
            alarm = tasks.create_task(self._ports.clock.sleep(pause))
            await asyncio.wait({alarm, incoming}, return_when=asyncio.FIRST_COMPLETED)
            alarm.cancel()
        return incoming.done()

    async def _send(self, message: Message) -> Answer | None:
        """Send a message once; None when nobody said whether it was taken."""
        now = self._ports.clock.now()
        headers = {"Content-Type": "application/json", **self._signer.headers(message.body, now)}
        try:
            answer = await self._http.call(
                Call(method="POST", url=self._settings.url, headers=headers, body=message.body)
            )
        except PeerUnavailable as error:
            self._is_taken, self._tally.last_error = False, str(error)
            return None
        self._heard_at = now
        self._is_taken = answer.status < 300
        if not self._is_taken:
            self._tally.last_error = f"the platform answered {answer.status}"
        return answer

    def _take_answer(self, message: Message, answer: Answer) -> None:
        if answer.status == _LATER:
            self._unacked[message.sequence] = message
            while len(self._unacked) > _MOST_UNACKED:
                self._unacked.popitem(last=False)
            return
        if answer.status != _TAKEN:
            reason = f"the platform answered {answer.status}"
            self._settle(message, dict.fromkeys(message.positions.tolist(), reason), ())
            return
        try:
            ack = read_ack(answer.body)
        except InvalidInput as error:
            self._tally.last_error = f"the acknowledgement cannot be read: {error}"
            self._give_up(message)
            return
        if ack.sequence != message.sequence:
            self._tally.last_error = "the acknowledgement is of another message"
            self._give_up(message)
            return
        self._settle_ack(message, ack)

    def _settle_ack(self, message: Message, ack: Ack) -> None:
        refused = {
            self._positions[one.charger_id]: one.reason for one in ack.rejected if one.charger_id in self._positions
        }
        applied = [self._positions[charger] for charger in ack.applied if charger in self._positions]
        self._settle(message, refused, applied)

    def _settle(self, message: Message, refused: dict[int, str], applied: Iterable[int]) -> None:
        """Tell the dispatcher, each limit under the sequence that it came with."""
        link = self._link
        if link is None:
            return
        is_bad = np.isin(message.positions, _array(refused))
        is_shown = np.isin(message.positions, _array(applied)) & ~is_bad
        for sequence in np.unique(message.sequences).tolist():
            is_mine = message.sequences == sequence
            bad = message.positions[is_mine & is_bad]
            reasons = [refused[position] for position in bad.tolist()]
            link.settle(sequence, message.positions[is_mine & ~is_bad], bad, reasons)
            shown = message.positions[is_mine & is_shown]
            link.outcome(sequence, shown, np.full(len(shown), DispatchState.APPLIED, dtype=np.int8))
        self._tally.accepted += int((~is_bad).sum())
        self._tally.rejected += int(is_bad.sum())
        self._tally.open -= self._names(message.positions[~is_bad])
        self._tally.open |= self._names(message.positions[is_bad])
        self._tally.last_error = next(iter(refused.values()), self._tally.last_error)

    def _names(self, positions: PositionArray) -> set[str]:
        return {self._charger_ids[position] for position in positions.tolist()}

    def _give_up(self, message: Message) -> None:
        """Nobody knows whether the platform took it: the higher of old and new counts."""
        link = self._link
        if link is None:
            return
        for sequence in np.unique(message.sequences).tolist():
            mine = message.positions[message.sequences == sequence]
            link.outcome(sequence, mine, np.full(len(mine), DispatchState.TIMED_OUT, dtype=np.int8))
        self._tally.open |= self._names(message.positions)
        self._tally.unknown += len(message.positions)

    def _message(self, batch: LinkBatch, untaken: Untaken) -> Message:
        at = np.flatnonzero(untaken.is_waiting).astype(np.int32)
        limits = Limits(
            id=batch.dispatch_id,
            sequence=batch.sequence,
            csms=self._ports.csms,
            issued_at=self._ports.clock.now(),
            lease_until=untaken.lease_until,
            charger_ids=tuple(self._charger_ids[position] for position in at.tolist()),
            limit_kw=tuple(untaken.limit_kw[at].tolist()),
            fallback_kw=tuple(untaken.fallback_kw[at].tolist()),
            cause=batch.cause,
            ack_url=self._settings.ack_url,
        )
        return Message(
            sequence=batch.sequence,
            body=limits.model_dump_json().encode(),
            lease_until=untaken.lease_until,
            positions=at,
            sequences=untaken.sequence[at],
        )

    # ---------------------------------------------------------------- acknowledgements that come later

    def routes(self, root: str) -> list[web.RouteDef]:
        """Return what is served."""
        return [web.post(f"{root}/webhook/acks", self._take_ack)]

    async def _take_ack(self, request: web.Request) -> web.Response:
        body, now = await body_of(request), self._ports.clock.now()
        try:
            is_new = self._signer.check(request.headers, body, now)
            ack = read_ack(body)
        except Unauthenticated as error:
            raise web.HTTPUnauthorized from error
        except InvalidInput as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        self._heard_at = now
        message = self._unacked.get(ack.sequence)
        if is_new and message is not None:
            self._settle_ack(message, ack)
        return web.Response(status=204)

    # ---------------------------------------------------------------- for people

    def standing(self) -> DoorStanding:
        """Return how the door stands now."""
        tally, is_connected = self._tally, self._keeper.is_linked and self._is_taken
        door = DoorStanding(
            csms=self._ports.csms,
            kind="webhook",
            is_connected=is_connected,
            state="takes limits" if is_connected else "not heard yet" if self._heard_at is None else "takes no limits",
            enforcement=self._enforcement.value,
            charger_count=len(self._charger_ids),
            reached_count=len(self._charger_ids) if is_connected else 0,
            heard_at=self._heard_at,
        )
        return tally.counted(door)


def _array(positions: Iterable[int]) -> PositionArray:
    return np.fromiter(positions, dtype=np.int32)
