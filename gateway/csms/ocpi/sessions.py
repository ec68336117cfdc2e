"""The sessions that a platform tells us about: cars for the fleet service, and the only things that OCPI can command.

A session is `ACTIVE` or it cannot be told anything; a charger without one is out of reach. The driver's preferences become goal, energy
and departure. Who the driver is never gets in: `cdr_token` is passed over.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from gateway.csms.delivery import DoorPorts
from gateway.csms.ocpi.models import (
    ChargingPreferences,
    ProfileType,
    SessionObject,
    SessionStatus,
    as_json,
    merged,
    read_model,
)
from gateway.csms.ocpi.settings import OcpiSettings
from gateway.domain.errors import InvalidInput, NotFound
from gateway.domain.evidence import content_hash
from gateway.domain.fleet import TelemetryBatch
from gateway.domain.identity import Principal
from gateway.domain.sessions import DriverGoal, Session, SessionState
from gateway.domain.topology import Charger

Key = tuple[str, str, str]
"""Country code, party and id of a session, in upper case: OCPI's ids are case-insensitive (CiString)."""
_MOST_SESSIONS = 50_000
_SHORTEST_STEP_S = 5.0
"""Energy readings closer together say nothing about power."""
_GOALS = {
    ProfileType.CHEAP: DriverGoal.CHEAPEST,
    ProfileType.GREEN: DriverGoal.GREENEST,
    ProfileType.REGULAR: DriverGoal.GUARANTEED,
    ProfileType.FAST: DriverGoal.GUARANTEED,
}
_UNKNOWN = "unknown"


def key_of(country_code: str, party_id: str, session_id: str) -> Key:
    """Return the key of a session."""
    return (country_code.upper(), party_id.upper(), session_id.upper())


class FleetDoor(Protocol):
    """What doors need of `services.track_fleet.FleetTracker`."""

    async def report_sessions(
        self, principal: Principal, sessions: Sequence[Session], *, is_history: bool, request_id: str
    ) -> int:
        """Keep sessions and return how many."""
        ...

    def take_telemetry(self, principal: Principal, batch: TelemetryBatch) -> None:
        """Take measurements in."""
        ...


@dataclass(slots=True)
class _Meter:
    """Energy of a charger over its sessions: registers of OCPI begin at 0 with each."""

    offset_kwh: float = 0.0
    session: Key | None = None
    kwh: float = 0.0
    base_kwh: float = 0.0
    """Energy at `at`, from which mean power is counted."""
    at: datetime | None = None
    is_read: bool = False
    """Whether the fleet has read its register in this session."""


class SessionBook:
    """Sessions of one platform.

    Args:
        ports: The world.
        fleet: Who keeps cars and measurements.
        settings: The platform.
        on_change: Called with a charger at which a session began or ended.
    """

    def __init__(
        self, ports: DoorPorts, fleet: FleetDoor, settings: OcpiSettings, on_change: Callable[[str], None]
    ) -> None:
        self._ports = ports
        self._fleet = fleet
        self._settings = settings
        self._on_change = on_change
        self._chargers: dict[str, Charger] = {}
        self._charger_ids: tuple[str, ...] = ()
        self._places: dict[str, int] = {}
        self._held: dict[Key, SessionObject] = {}
        self._said_at: dict[Key, datetime] = {}
        """Of what instant each is, as far as that has come."""
        self._preferences: dict[Key, ChargingPreferences] = {}
        self._reported: dict[Key, Session] = {}
        self._at: dict[str, Key] = {}
        self._meters: dict[str, _Meter] = {}

    async def bind(self, chargers: Sequence[Charger]) -> None:
        """Take the platform's chargers, and sessions that were there before a restart."""
        self._chargers = {charger.id: charger for charger in chargers}
        self._charger_ids = tuple(self._chargers)
        self._places = {charger: place for place, charger in enumerate(self._charger_ids)}
        self._at = {charger: key for charger, key in self._at.items() if charger in self._chargers}
        tenant, plugged = self._ports.principal.tenant, {"state": SessionState.PLUGGED_IN.value}
        for row in await self._ports.store.find(Session, tenant, plugged, limit=_MOST_SESSIONS):
            self._remember(row.record)

    def _remember(self, session: Session) -> None:
        """Know a session of an earlier run again; whatever the platform says about it is newer."""
        named = self._named(session.id)
        if named is None or session.charger not in self._chargers:
            return
        country, party, name = named
        key = key_of(*named)
        if key in self._held:
            return
        self._said_at[key] = session.arrival
        self._held[key] = SessionObject(
            country_code=country,
            party_id=party,
            id=name,
            start_date_time=session.arrival,
            kwh=session.delivered_kwh,
            location_id=_UNKNOWN,
            evse_uid=self._uid_of(session.charger),
            connector_id=_UNKNOWN,
            status=SessionStatus.ACTIVE,
            last_updated=session.arrival,
        )
        self._at.setdefault(session.charger, key)

    # ---------------------------------------------------------------- what others ask

    def running(self, charger: str) -> SessionObject | None:
        """Return the session that can be commanded at a charger now."""
        key = self._at.get(charger)
        return None if key is None else self._held.get(key)

    def charger_of(self, session_id: str) -> str | None:
        """Return the charger of a running session by its id."""
        return next((charger for charger, key in self._at.items() if key[2] == session_id.upper()), None)

    def get(self, key: Key) -> SessionObject:
        """Return a session as it is held.

        Raises:
            NotFound: It is not known.
        """
        if key not in self._held:
            raise NotFound("session", key[2])
        return self._held[key]

    # ---------------------------------------------------------------- what the platform tells

    async def put(self, session: SessionObject) -> None:
        """Take a session as it is now; an older word than the last changes nothing.

        Raises:
            InvalidInput: Its EVSE is not a charger of the platform.
            StorageUnavailable: Nothing was kept; the platform must not be answered.
        """
        key = key_of(session.country_code, session.party_id, session.id)
        known_at = self._said_at.get(key)
        if known_at is not None and session.last_updated < known_at:
            return
        charger = self._charger(session)
        if session.status in {SessionStatus.PENDING, SessionStatus.RESERVATION}:
            self._hold(key, session)
            return
        is_followed = self._measure(charger, key, session)
        await self._report(key, session, charger, is_energy_followed=is_followed)
        self._hold(key, session)
        self._place(key, session, charger)

    async def patch(self, key: Key, changes: Mapping[str, Any]) -> None:
        """Take what changed of a session.

        Raises:
            NotFound: The session is not known; the platform has to PUT it.
            InvalidInput: A field is wrong or `last_updated` is missing.
        """
        if "last_updated" not in changes:
            raise InvalidInput("last_updated", "is required")
        whole = merged(as_json(self.get(key)), changes)
        session = read_model(SessionObject, whole)
        if key_of(session.country_code, session.party_id, session.id) != key:
            raise InvalidInput("id", "must not change")
        await self.put(session)

    async def prefer(self, key: Key, preferences: ChargingPreferences) -> None:
        """Take what the driver asked for.

        Raises:
            NotFound: The session is not known.
        """
        session = self.get(key)
        self._preferences[key] = preferences
        if session.status is SessionStatus.ACTIVE:
            await self._report(key, session, self._charger(session), is_energy_followed=False)

    def lose(self, charger: str) -> None:
        """Take note that the platform does not know the session at a charger (`UNKNOWN_SESSION`)."""
        if self._at.pop(charger, None) is not None:
            self._on_change(charger)

    def _hold(self, key: Key, session: SessionObject) -> None:
        self._held.pop(key, None)
        self._held[key] = session
        # A word from the future would silence every later one.
        self._said_at[key] = min(session.last_updated, self._ports.clock.now())
        while len(self._held) > _MOST_SESSIONS:
            oldest = next(iter(self._held))
            del self._held[oldest], self._said_at[oldest]
            self._forget(oldest)

    def _place(self, key: Key, session: SessionObject, charger: Charger) -> None:
        there = self._at.get(charger.id)
        if session.status is SessionStatus.ACTIVE:
            other = None if there is None else self._held.get(there)
            is_newer = other is None or other.start_date_time <= session.start_date_time
            if there != key and is_newer:
                self._at[charger.id] = key
                self._on_change(charger.id)
        elif there == key:
            del self._at[charger.id]
            self._forget(key)
            self._on_change(charger.id)

    def _forget(self, key: Key) -> None:
        self._preferences.pop(key, None)
        self._reported.pop(key, None)

    def _charger(self, session: SessionObject) -> Charger:
        name = self._settings.charger_of.get(session.evse_uid, session.evse_uid)
        if name not in self._chargers:
            raise InvalidInput("evse_uid", "is not a charger of this platform")
        return self._chargers[name]

    def _uid_of(self, charger: str) -> str:
        return next((uid for uid, name in self._settings.charger_of.items() if name == charger), charger)

    def _named(self, session_id: str) -> tuple[str, str, str] | None:
        """Return country, party and id in the id of a session of an earlier run, as the platform wrote them."""
        csms, _, rest = session_id.partition(":")
        parts = rest.split("*", 2)
        return (parts[0], parts[1], parts[2]) if csms == self._ports.csms and len(parts) == 3 else None

    # ---------------------------------------------------------------- to the fleet

    async def _report(self, key: Key, session: SessionObject, charger: Charger, *, is_energy_followed: bool) -> None:
        """Report a session unless only its energy changed and the fleet follows that by its measurements."""
        row, last = self._row(key, session, charger), self._reported.get(key)
        if is_energy_followed and last is not None and replace(row, delivered_kwh=last.delivered_kwh) == last:
            return
        moment = session.last_updated.isoformat()
        await self._fleet.report_sessions(
            self._ports.principal,
            [row],
            is_history=False,
            request_id=f"ocpi/{row.id}/{moment}/{content_hash([row])[:16]}",
        )
        self._reported[key] = row

    def _row(self, key: Key, session: SessionObject, charger: Charger) -> Session:
        said = self._preferences.get(key)
        is_over = session.status is not SessionStatus.ACTIVE
        left_at = max(session.end_date_time or session.last_updated, session.start_date_time)
        return Session(
            id=f"{self._ports.csms}:{session.country_code}*{session.party_id}*{session.id}",
            tenant=self._ports.principal.tenant,
            charger=charger.id,
            arrival=session.start_date_time,
            state=SessionState.ENDED if is_over else SessionState.PLUGGED_IN,
            max_power_kw=charger.max_import_kw,
            phases=charger.phases,
            energy_needed_kwh=None if said is None else said.energy_need,
            expected_departure=None if said is None else said.departure_time,
            departure=left_at if is_over else None,
            delivered_kwh=session.kwh,
            goal=DriverGoal.CHEAPEST if said is None else _GOALS[said.profile_type],
            boost=said is not None and said.profile_type is ProfileType.FAST,
        )

    def _measure(self, charger: Charger, key: Key, session: SessionObject) -> bool:
        """Pass on what the session says about power and energy; before its report, so that energy is counted once.

        Returns:
            True when the fleet has read the charger's register before, too, so that it knows what was added.
        """
        meter = self._meters.setdefault(charger.id, _Meter())
        if meter.session != key:
            meter = self._meters[charger.id] = _Meter(offset_kwh=meter.offset_kwh + meter.kwh, session=key)
        at = min(session.last_updated, self._ports.clock.now())
        power_kw = _power_kw(session, meter, at)
        if session.status is not SessionStatus.ACTIVE:
            power_kw = 0.0
        meter.kwh = max(meter.kwh, session.kwh)
        if meter.at is None or power_kw is not None:
            meter.base_kwh, meter.at = session.kwh, at
        if power_kw is None:
            return False
        was_read, meter.is_read = meter.is_read, True
        self._fleet.take_telemetry(
            self._ports.principal,
            TelemetryBatch(
                charger_ids=self._charger_ids,
                connection_point_ids=(),
                measure_time=at,
                charger_index=np.array([self._places[charger.id]], dtype=np.int32),
                power_kw=np.array([power_kw]),
                energy_register_kwh=np.array([meter.offset_kwh + meter.kwh]),
                meter_register_kwh=np.zeros(0),
            ),
        )
        return was_read


def _power_kw(session: SessionObject, meter: _Meter, at: datetime) -> float | None:
    """Return the power that a session says, or the mean since the last word about it; None when neither is known."""
    newest = max(session.charging_periods, key=lambda period: period.start_date_time, default=None)
    if newest is not None:
        said = next((d.volume for d in newest.dimensions if d.type == "POWER"), None)
        if said is not None:
            return said
    if meter.at is None:
        return None
    passed_s = (at - meter.at).total_seconds()
    if passed_s < _SHORTEST_STEP_S:
        return None
    return max(session.kwh - meter.base_kwh, 0.0) * 3600.0 / passed_s
