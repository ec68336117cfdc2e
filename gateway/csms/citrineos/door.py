"""The door to CitrineOS: a fallback at the lowest level, then limits for a lease at two higher levels that take turns.

```
level 1   TxDefaultProfile   fallback, for a day         installed first
level 2   TxDefaultProfile + TxProfile   limit A         one of the two is always there:
level 3   TxDefaultProfile + TxProfile   limit B         the new one is set at the free level, then the other is cleared (case o36)
```
CitrineOS does not replace a profile of the same purpose and level unless it ends later, so that setting again at the same level
cannot be relied on, and clearing first would leave the car without a limit. A running transaction has a TxProfile beside the default
(case o34): its id is the id under which the platform reports the session.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from gateway.csms.callbacks import Callbacks
from gateway.csms.citrineos.messages import (
    Document,
    Profile,
    Purpose,
    Station,
    acceptance,
    clear_request,
    composite_limit_kw,
    composite_request,
    set_request,
    status_of,
)
from gateway.csms.delivery import Delivery, DoorPorts, Patience, Tally
from gateway.csms.keeper import DispatchDoor, LinkKeeper
from gateway.csms.listening import body_of
from gateway.csms.orders import Order, Verdict, accepted, rejected, unknown
from gateway.domain.charging_profiles import Supply
from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.topology import Charger, EnforcementClass
from gateway.json_guard import JsonPolicy, read_json
from gateway.outbound import Call, PeerHttp
from gateway.ports import DoorStanding
from gateway.services.plan_dispatch import DispatchLink

POLICY = JsonPolicy(max_bytes=1_000_000, max_depth=16, max_values=50_000)
_ACCEPTED = "Accepted"
_TOLERANCE_KW = 0.05
_READ_BACK_S = 60
SessionOf = Callable[[str], str | None]
"""Id of the session at a charger as the platform reported it; None without a car."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CitrineSettings:
    """One CitrineOS; durations in market time."""

    url: str
    """Root of its API."""
    callback_url: str
    """Beginning of our addresses for its answers."""
    token: str = field(default="", repr=False)
    """Bearer token; empty for none."""
    ocpp: str = "2.0.1"
    tenant_id: str = "1"
    stations: Mapping[str, Station] = field(default_factory=dict)
    """Where our chargers are; those that are not named are stations of their own with the usual EVSE."""
    usual_evse: int = 1
    levels: tuple[int, int, int] = (1, 2, 3)
    """Of the fallback and of the two that take turns."""
    watt_chargers: frozenset[str] = frozenset()
    voltage_v: float | None = None
    callback_patience: timedelta = timedelta(seconds=30)
    read_back: bool = True
    tail: timedelta = timedelta(hours=24)
    """How long the fallback holds; renewed when half of it is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """What a charger has, as far as we know; kept as the handle of its command."""

    level: int = 0
    """Level of the live profiles; 0 before the first."""
    transaction: str = ""
    """Transaction with a TxProfile of ours."""
    fallback_kw: float = -1.0
    fallback_until: float = 0.0
    """Seconds since 1970-01-01 UTC."""

    @classmethod
    def read(cls, handle: str) -> "Installed":
        """Return what a handle says; nothing when it says nothing."""
        if not handle:
            return cls()
        level, transaction, fallback_kw, until = json.loads(handle)
        return cls(level=level, transaction=transaction, fallback_kw=fallback_kw, fallback_until=until)

    def handle(self) -> str:
        """Return it as it is kept."""
        return json.dumps([self.level, self.transaction, self.fallback_kw, self.fallback_until])


class _Stop(Exception):
    """An order went no further; carries the verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class CitrineDoor:
    """One CitrineOS.

    Args:
        settings: The platform.
        ports: The world.
        http: Carries requests to it.
        dispatcher: Who gives out links.
        session_of: The session at a charger now.
        lease: How long commands hold.
        enforcement: Best class that its targets count as.
    """

    def __init__(  # noqa: PLR0913  # each is a seam of its own
        self,
        settings: CitrineSettings,
        ports: DoorPorts,
        http: PeerHttp,
        dispatcher: DispatchDoor,
        session_of: SessionOf,
        *,
        lease: timedelta | None = None,
        enforcement: EnforcementClass = EnforcementClass.A,
        patience: Patience | None = None,
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._http = http
        self._session_of = session_of
        self._enforcement = enforcement
        self._patience = patience
        self._keeper = LinkKeeper(ports, dispatcher, lease)
        self._answers: Callbacks[object] = Callbacks(ports.clock)
        self._chargers: dict[str, Charger] = {}
        self._delivery: Delivery | None = None
        self._heard_at: datetime | None = None
        self._is_answering = False

    async def run(self) -> None:
        """Keep the link open and deliver, for ever."""
        try:
            await self._keeper.run(self._serve)
        finally:
            await self._http.close()

    async def _serve(self, link: DispatchLink, chargers: Sequence[Charger]) -> None:
        self._chargers = {charger.id: charger for charger in chargers}
        delivery = Delivery(self._ports, tuple(self._chargers), self, self._patience)
        await delivery.load()
        self._delivery = delivery
        await delivery.run(link)

    # ---------------------------------------------------------------- one order

    async def carry(self, order: Order, handle: str) -> Verdict:
        """Install the profiles of an order at its charger (see `delivery.Carrier`)."""
        known = Installed.read(handle)
        try:
            known = await self._with_fallback(order, known)
            known = await self._with_live(order, known)
        except _Stop as stop:
            return replace(stop.verdict, handle=known.handle())
        if self._settings.read_back:
            return await self._read_back(order, known)
        return accepted(handle=known.handle())

    async def _with_fallback(self, order: Order, known: Installed) -> Installed:
        """Install the fallback first, so that there is always something below what expires (case o30)."""
        now = self._ports.clock.now()
        is_fresh = known.fallback_until - now.timestamp() > self._settings.tail.total_seconds() / 2
        if is_fresh and known.fallback_kw == order.fallback_kw:
            return known
        until = now + self._settings.tail
        profile = Profile(
            purpose=Purpose.DEFAULT,
            level=self._settings.levels[0],
            limit_kw=order.fallback_kw,
            start=now,
            end=until,
        )
        await self._set(order.charger, profile)
        return replace(known, fallback_kw=order.fallback_kw, fallback_until=until.timestamp())

    async def _with_live(self, order: Order, known: Installed) -> Installed:
        """Install the limit at the free level, then clear the other one: never an instant without (case o36)."""
        _, first, second = self._settings.levels
        level = second if known.level == first else first
        transaction = self._session_of(order.charger)
        now = self._ports.clock.now()
        profile = Profile(
            purpose=Purpose.DEFAULT, level=level, limit_kw=order.limit_kw, start=now, end=order.lease_until
        )
        await self._set(order.charger, profile)
        try:
            if transaction is not None:
                await self._set(order.charger, replace(profile, purpose=Purpose.TRANSACTION, transaction=transaction))
            if known.level:
                await self._clear_older(order.charger, known, is_shadowed=known.level < level)
        except (_Stop, InvalidInput) as error:
            # Half of it is installed: whether the old or the new limit rules, only the higher of both is certain.
            reason = error.verdict.reason if isinstance(error, _Stop) else str(error)
            raise _Stop(unknown(reason)) from error
        return replace(known, level=level, transaction=transaction or "")

    async def _clear_older(self, charger: str, known: Installed, *, is_shadowed: bool) -> None:
        purposes = [Purpose.DEFAULT, *([Purpose.TRANSACTION] if known.transaction else [])]
        for purpose in purposes:
            try:
                await self._ask(
                    charger,
                    "clearChargingProfile",
                    clear_request(self._ocpp, self._station(charger), purpose, known.level),
                    {_ACCEPTED, "Unknown"},
                )
            except _Stop:
                if not is_shadowed:
                    raise
                # The new profile stands above it, and it ends by itself.

    async def _read_back(self, order: Order, known: Installed) -> Verdict:
        """Ask for the composite schedule; a charger that shows more than the limit has not taken it."""
        supply = self._supply(order.charger)
        request = composite_request(self._ocpp, self._station(order.charger), supply.best_unit, _READ_BACK_S)
        try:
            said = await self._ask(order.charger, "getCompositeSchedule", request, {_ACCEPTED})
        except _Stop:
            return accepted(handle=known.handle())
        shown_kw = composite_limit_kw(said, supply)
        if shown_kw is not None and shown_kw > order.limit_kw + _TOLERANCE_KW:
            # It may have lost everything, the fallback too: that is installed again with the next order.
            lost = replace(known, fallback_until=0.0)
            return rejected("accepted, but the composite schedule shows more", handle=lost.handle(), shown_kw=shown_kw)
        return accepted(handle=known.handle(), is_applied=shown_kw is not None)

    async def _set(self, charger: str, profile: Profile) -> None:
        request = set_request(self._ocpp, self._station(charger), profile, self._supply(charger))
        await self._ask(charger, "setChargingProfile", request, {_ACCEPTED})

    async def _ask(self, charger: str, action: str, request: Document, good: set[str]) -> object:
        """Send one request and wait for the charger's own answer.

        Raises:
            _Stop: It was refused, or nobody knows.
        """
        with self._answers.expect() as token:
            query = urlencode(
                {
                    "identifier": self._station(charger).identifier,
                    "tenantId": self._settings.tenant_id,
                    "callbackUrl": f"{self._settings.callback_url}/{token}",
                }
            )
            refusal = await self._post(f"/ocpp/{self._ocpp}/smartcharging/{action}?{query}", request)
            if refusal:
                raise _Stop(rejected(refusal))
            patience = self._settings.callback_patience
            said = await self._answers.wait(token, self._ports.clock.now() + patience)
        if said is None:
            raise _Stop(unknown(f"the charger did not answer {action} within {patience.total_seconds():g} s"))
        status = status_of(said)
        if status not in good:
            raise _Stop(rejected(f"the charger answered {action}: {status}"))
        return said

    async def _post(self, path: str, request: Document) -> str:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._settings.token:
            headers["Authorization"] = f"Bearer {self._settings.token}"
        url = self._settings.url.rstrip("/") + path
        try:
            answer = await self._http.call(
                Call(method="POST", url=url, headers=headers, body=json.dumps(request).encode())
            )
        except PeerUnavailable:
            self._is_answering = False
            raise
        self._is_answering = answer.status < 500
        if answer.status >= 500:
            raise PeerUnavailable(f"CitrineOS answered {answer.status}")
        self._heard_at = self._ports.clock.now()
        if answer.status >= 300:
            return f"CitrineOS answered {answer.status}"
        try:
            return acceptance(read_json(answer.body, POLICY))
        except InvalidInput as error:
            raise PeerUnavailable("CitrineOS's answer cannot be read") from error

    @property
    def _ocpp(self) -> str:
        return self._settings.ocpp

    def _station(self, charger: str) -> Station:
        usual = Station(identifier=charger, evse=self._settings.usual_evse)
        return self._settings.stations.get(charger, usual)

    def _supply(self, charger: str) -> Supply:
        row = self._chargers[charger]
        voltage_v = Supply().voltage_v if self._settings.voltage_v is None else self._settings.voltage_v
        if charger in self._settings.watt_chargers:
            return Supply(is_dc=True, phases=row.phases, min_power_kw=row.min_import_kw)
        return Supply(phases=row.phases, voltage_v=voltage_v)

    # ---------------------------------------------------------------- answers that come later

    def routes(self, root: str) -> list[web.RouteDef]:
        """Return what is served: one address for each answer that is waited for."""
        return [web.post(f"{root}/citrineos/{{token}}", self._take)]

    async def _take(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        if not self._answers.is_open(token):
            raise web.HTTPNotFound
        try:
            said: Any = read_json(await body_of(request), POLICY)
            status_of(said)
        except InvalidInput as error:
            raise web.HTTPBadRequest(text=error.problem) from error
        self._answers.take(token, said)
        self._heard_at = self._ports.clock.now()
        return web.Response()

    # ---------------------------------------------------------------- for people

    def standing(self) -> DoorStanding:
        """Return how the door stands now."""
        tally = Tally() if self._delivery is None else self._delivery.tally
        is_connected = self._keeper.is_linked and self._is_answering
        door = DoorStanding(
            csms=self._ports.csms,
            kind="citrineos",
            is_connected=is_connected,
            state="answers" if is_connected else "not heard yet" if self._heard_at is None else "does not answer",
            enforcement=self._enforcement.value,
            charger_count=len(self._chargers),
            reached_count=len(self._chargers) if is_connected else 0,
            heard_at=self._heard_at,
        )
        return tally.counted(door)
