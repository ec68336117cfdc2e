"""The door to one platform over OCPI: charging profiles out, results and sessions in.

Only a charger with a running session can be told anything: the others are out of reach and, with a car that nobody told us about,
count at the worst they could draw. A result that does not come within the promised time is an unknown outcome and is not asked for
again (OCPI 2.2.1, section 11.1.3).
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote, urlencode

import numpy as np
import numpy.typing as npt

from gateway.csms.callbacks import Callbacks
from gateway.csms.delivery import Delivery, DoorPorts, Patience, Tally
from gateway.csms.keeper import DispatchDoor, LinkKeeper
from gateway.csms.ocpi.client import OcpiClient
from gateway.csms.ocpi.envelope import OcpiRefused
from gateway.csms.ocpi.models import (
    ActiveChargingProfile,
    ChargingProfileResponse,
    OcpiModel,
    ProfileReply,
    ProfileResult,
    ResultType,
    SessionObject,
    SetChargingProfile,
    read_model,
)
from gateway.csms.ocpi.profiles import limit_at, profile_of
from gateway.csms.ocpi.registration import OcpiPeer, Registrar
from gateway.csms.ocpi.sessions import FleetDoor, SessionBook
from gateway.csms.ocpi.settings import OcpiSettings
from gateway.csms.orders import Order, Verdict, Word, accepted, rejected, unknown
from gateway.domain.charging_profiles import Supply
from gateway.domain.doors import OcpiRegistration
from gateway.domain.errors import InvalidInput, PeerUnavailable, StorageUnavailable
from gateway.domain.topology import Charger, EnforcementClass, Node
from gateway.observe import logger
from gateway.ports import DoorStanding
from gateway.services.plan_dispatch import DispatchLink

_log = logger("csms")
_TOLERANCE_KW = 0.05
_OVERRIDE_PAUSE = timedelta(seconds=30)
_OVERRIDE_MEMORY = timedelta(minutes=5)
"""An override so soon after another one is answered after a pause."""
_MOST_PAGES = 200
_MOST_NODES = 1_000_000
_W_PER_KW = 1000.0
BodyOf = Callable[[str], OcpiModel]
"""Makes the body of a request from the address for its result."""


class OcpiDoor:
    """One platform.

    Args:
        peer: The world and the platform.
        dispatcher: Who gives out links.
        fleet: Who keeps cars and measurements.
        lease: How long profiles hold; None for as long as everybody's commands.
        enforcement: Best class that its targets count as.
        patience: How the platform is treated when it asks to wait.
    """

    def __init__(  # each is a seam of its own
        self,
        peer: OcpiPeer,
        dispatcher: DispatchDoor,
        fleet: FleetDoor,
        *,
        lease: timedelta | None = None,
        enforcement: EnforcementClass = EnforcementClass.C,
        patience: Patience | None = None,
    ) -> None:
        self._peer = peer
        self._settings = peer.settings
        self._ports: DoorPorts = peer.ports
        self._client: OcpiClient = peer.client
        self._enforcement = enforcement
        self._patience = patience
        self.registrar = Registrar(peer)
        self.sessions = SessionBook(peer.ports, fleet, peer.settings, self._session_changed)
        self.results: Callbacks[ProfileResult] = Callbacks(peer.ports.clock)
        self._keeper = LinkKeeper(peer.ports, dispatcher, lease)
        self._chargers: dict[str, int] = {}
        self._supplies: dict[str, Supply] = {}
        self._link: DispatchLink | None = None
        self._delivery: Delivery | None = None
        self._overridden_at: dict[str, datetime] = {}
        self._registered = asyncio.Event()
        self._heard_at: datetime | None = None
        self._last_error = ""

    @property
    def settings(self) -> OcpiSettings:
        """The platform."""
        return self._settings

    # ---------------------------------------------------------------- running

    async def run(self) -> None:
        """Register, then keep the link open and deliver, for ever."""
        await self.registrar.load()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._register_for_ever())
                tasks.create_task(self._keeper.run(self._serve))
        finally:
            await self._client.close()

    async def _register_for_ever(self) -> None:
        while True:
            if self.registrar.current is None and self._settings.versions_url is not None:
                await self._try_to_register()
            if self.registrar.current is not None:
                self._registered.set()
            await self._ports.clock.sleep(self._settings.retry_every)

    async def _try_to_register(self) -> None:
        try:
            await self.registrar.register()
            self.heard()
        except (OcpiRefused, PeerUnavailable, InvalidInput, StorageUnavailable) as error:
            self._last_error = str(error)
            _log.warning("not registered", csms=self._ports.csms, reason=str(error))

    def registered(self) -> None:
        """Take note that the platform has registered with us."""
        self._registered.set()
        if self._link is not None and self._delivery is not None:
            self._link.reach(self._running_positions(), is_reachable=True)

    def _running_positions(self) -> npt.NDArray[np.int32]:
        running = [i for charger, i in self._chargers.items() if self.sessions.running(charger) is not None]
        return np.array(running, dtype=np.int32)

    def unregistered(self) -> None:
        """Take note that the platform took its registration back: nothing can be told any more, what it holds runs out."""
        self._registered.clear()
        if self._link is not None:
            self._link.reach(np.arange(len(self._chargers), dtype=np.int32), is_reachable=False)

    def heard(self) -> None:
        """Take note that the platform said something."""
        self._heard_at = self._ports.clock.now()

    async def _serve(self, link: DispatchLink, chargers: Sequence[Charger]) -> None:
        everybody = np.arange(len(chargers), dtype=np.int32)
        link.reach(everybody, is_reachable=False)
        self._link = link
        await self._registered.wait()
        await self._give_back(frozenset(charger.id for charger in chargers))
        self._chargers = {charger.id: position for position, charger in enumerate(chargers)}
        self._supplies = await self._read_supplies(chargers)
        await self.sessions.bind(chargers)
        await self._read_sessions()
        delivery = Delivery(self._ports, tuple(self._chargers), self, self._patience)
        await delivery.load()
        link.reach(self._running_positions(), is_reachable=True)
        self._delivery = delivery
        try:
            await delivery.run(link)
        finally:
            self._link = self._delivery = None

    async def _give_back(self, ours: frozenset[str]) -> None:
        """Clear the profiles of sessions at chargers that are no longer ours to limit; what fails runs out by itself."""
        for charger in [name for name in self._chargers if name not in ours]:
            session = self.sessions.running(charger)
            if session is None:
                continue
            try:
                await self._exchange("DELETE", session, None)
            except (PeerUnavailable, InvalidInput) as error:
                _log.warning("profile not cleared", csms=self._ports.csms, charger=charger, reason=str(error))

    async def _read_supplies(self, chargers: Sequence[Charger]) -> dict[str, Supply]:
        rows = await self._ports.store.find(Node, self._ports.principal.tenant, limit=_MOST_NODES)
        nominal = {row.record.id: row.record.voltage_v for row in rows}
        return {charger.id: self._supply(charger, nominal.get(charger.parent)) for charger in chargers}

    def _supply(self, charger: Charger, nominal_v: float | None) -> Supply:
        if charger.id in self._settings.watt_chargers:
            return Supply(is_dc=True, phases=charger.phases, min_power_kw=charger.min_import_kw)
        nominal_v = Supply().voltage_v if nominal_v is None else nominal_v
        voltage_v = nominal_v if self._settings.voltage_v is None else self._settings.voltage_v
        plain = Supply(phases=charger.phases, voltage_v=voltage_v)
        # The least that the inventory says is at nominal voltage; below 6 A a car does not charge whatever anybody says.
        least_a = charger.min_import_kw * _W_PER_KW / (charger.phases * nominal_v)
        is_own_minimum = least_a > plain.min_current_a
        return Supply(phases=charger.phases, voltage_v=voltage_v, min_current_a=least_a) if is_own_minimum else plain

    def _session_changed(self, charger: str, not_before: datetime | None = None) -> None:
        position = self._chargers.get(charger)
        if position is None or self._link is None or self._delivery is None:
            return
        self._delivery.forget(position, not_before=not_before)
        is_running = self.sessions.running(charger) is not None
        self._link.reach(np.array([position], dtype=np.int32), is_reachable=is_running)

    async def _read_sessions(self) -> None:
        """Read the platform's sessions of the last hours, so that those begun while we were away are known."""
        current = self.registrar.current
        url = None if current is None else current.endpoint("sessions", "SENDER")
        if url is None:
            return
        since = self._ports.clock.now() - self._settings.history
        next_url: str | None = f"{url}?{urlencode({'date_from': since.strftime('%Y-%m-%dT%H:%M:%SZ')})}"
        try:
            for _ in range(_MOST_PAGES):
                if next_url is None:
                    return
                page = await self._client.ask("GET", next_url)
                await self._take_page(page.data)
                next_url = page.next_url
        except (OcpiRefused, PeerUnavailable, InvalidInput, StorageUnavailable) as error:
            self._last_error = str(error)
            _log.warning("sessions not read", csms=self._ports.csms, reason=str(error))

    async def _take_page(self, data: object) -> None:
        """Take sessions in; one that cannot be read never hides the others."""
        self.heard()
        for item in data if isinstance(data, list) else []:
            try:
                await self.sessions.put(read_model(SessionObject, item))
            except InvalidInput as error:
                _log.warning("session passed over", csms=self._ports.csms, field=error.field, problem=error.problem)

    # ---------------------------------------------------------------- one order

    async def carry(self, order: Order, handle: str) -> Verdict:
        """Set the profile of the session at a charger and wait for its result (see `delivery.Carrier`)."""
        session = self.sessions.running(order.charger)
        if session is None:
            return rejected("no running session: OCPI reaches nothing else")
        now, supply = self._ports.clock.now(), self._supplies[order.charger]
        profile = profile_of(order.limit_kw, order.fallback_kw, order.lease_until, now, supply, self._settings.profile)

        def body(response_url: str) -> OcpiModel:
            return SetChargingProfile(charging_profile=profile, response_url=response_url)

        verdict, _ = await self._exchange("PUT", session, body)
        if verdict.word is Word.REJECTED and verdict.reason == ProfileReply.UNKNOWN_SESSION:
            self.sessions.lose(order.charger)
        if verdict.word is Word.ACCEPTED and self._settings.read_back:
            return await self._read_back(order, session, supply)
        return verdict

    async def _read_back(self, order: Order, session: SessionObject, supply: Supply) -> Verdict:
        """Ask what the charger follows; what it does not show is accepted all the same, what it contradicts is refused."""
        verdict, result = await self._exchange("GET", session, None)
        if verdict.word is not Word.ACCEPTED or result is None or result.profile is None:
            return accepted()
        shown_kw = limit_at(result.profile, self._ports.clock.now(), supply)
        if shown_kw is None or shown_kw > order.limit_kw + _TOLERANCE_KW:
            return rejected("accepted, but the active profile shows more", shown_kw=shown_kw)
        return accepted(is_applied=True)

    async def _exchange(
        self, method: str, session: SessionObject, body: BodyOf | None
    ) -> tuple[Verdict, ProfileResult | None]:
        """Ask for something about a session's profile, with an address of its own for the result (case o37)."""
        where = self._profile_url(session)
        with self.results.expect() as token:
            response_url = f"{self.registrar.version_url}/results/{token}"
            if body is None:
                query = {"response_url": response_url} | ({"duration": "900"} if method == "GET" else {})
                where, sent = f"{where}?{urlencode(query)}", None
            else:
                sent = body(response_url)
            try:
                page = await self._client.ask(method, where, sent)
            except OcpiRefused as error:
                self._last_error = str(error)
                return rejected(str(error)), None
            self.heard()
            try:
                reply = read_model(ChargingProfileResponse, page.data)
            except InvalidInput:
                return unknown("the platform's answer cannot be read"), None
            if reply.result is not ProfileReply.ACCEPTED:
                return _refusal(reply.result), None
            return await self._result(token, reply.timeout)

    async def _result(self, token: str, timeout_s: int) -> tuple[Verdict, ProfileResult | None]:
        # Seconds are compared, not durations: a platform may say a number that no duration holds.
        patience = timedelta(seconds=min(timeout_s, self._settings.longest_result.total_seconds()))
        result = await self.results.wait(token, self._ports.clock.now() + patience)
        if result is None:
            return unknown(f"no result within {patience.total_seconds():g} s"), None
        match result.result:
            case ResultType.ACCEPTED:
                return accepted(), result
            case ResultType.REJECTED:
                return rejected("the charger refused the profile"), result
            case ResultType.UNKNOWN:
                return unknown("the platform does not know whether the charger took it"), result

    def _profile_url(self, session: SessionObject) -> str:
        current: OcpiRegistration | None = self.registrar.current
        url = None if current is None else current.endpoint("chargingprofiles", "RECEIVER")
        if url is None:
            raise InvalidInput("endpoints", "the platform takes no charging profiles")
        return f"{url}/{quote(session.id, safe='')}"

    # ---------------------------------------------------------------- what the platform pushes

    def take_active(self, session_id: str, active: ActiveChargingProfile) -> bool:
        """Take a charger's active profile after somebody else changed it; False when the session is not known.

        When it allows more than we said, the charger holds nothing of ours any more: it counts at the worst and is told again.
        """
        charger = self.sessions.charger_of(session_id)
        if charger is None or charger not in self._chargers:
            return False
        held = None if self._delivery is None else self._delivery.held(self._chargers[charger])
        if held is not None and held.lease_until > self._ports.clock.now():
            shown_kw = limit_at(active, self._ports.clock.now(), self._supplies[charger])
            if shown_kw is None or shown_kw > held.limit_kw + _TOLERANCE_KW:
                _log.warning("profile overridden", csms=self._ports.csms, charger=charger, shown_kw=shown_kw)
                self._session_changed(charger, not_before=self._pause_after_override(charger))
        return True

    def _pause_after_override(self, charger: str) -> datetime | None:
        """Return when to answer an override: the first one at once, the next ones calmly, so that two controllers never race."""
        now, last = self._ports.clock.now(), self._overridden_at.get(charger)
        self._overridden_at[charger] = now
        return now + _OVERRIDE_PAUSE if last is not None and now - last < _OVERRIDE_MEMORY else None

    # ---------------------------------------------------------------- for people

    def standing(self) -> DoorStanding:
        """Return how the door stands now."""
        tally = Tally() if self._delivery is None else self._delivery.tally
        is_registered = self.registrar.current is not None
        door = DoorStanding(
            csms=self._ports.csms,
            kind=f"ocpi-{self._settings.version}",
            is_connected=is_registered and self._keeper.is_linked,
            state="registered" if is_registered else "not registered",
            enforcement=self._enforcement.value,
            charger_count=len(self._chargers),
            reached_count=sum(self.sessions.running(charger) is not None for charger in self._chargers),
            heard_at=self._heard_at,
            last_error=self._last_error,
        )
        return tally.counted(door)


def _refusal(result: ProfileReply) -> Verdict:
    if result is ProfileReply.TOO_OFTEN:
        return Verdict(word=Word.LATER, reason=result.value)
    return rejected(result.value)
