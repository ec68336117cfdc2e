"""The cars of a charge point operator that speaks OCPI: sessions, profiles and what is drawn under them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

Document = dict[str, Any]
_MOST_PROFILES_TIMED = 1_000
_W_PER_KW = 1000.0
_S_PER_H = 3600.0
_NOISE = 1e-6


class WorldClock(Protocol):
    """Market time of the sandbox."""

    def now(self) -> datetime:
        """Return the instant, aware UTC."""
        ...


def instant_text(at: datetime) -> str:
    """Return an instant as OCPI writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_instant(text: str) -> datetime:
    """Return an instant that was written in RFC 3339; without a zone it is UTC."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


@dataclass(slots=True)
class Car:
    """A car that charges at an EVSE."""

    session: str
    evse: str
    began: datetime
    max_kw: float = 11.0
    phases: int = 3
    voltage_v: float = 230.0
    kwh: float = 0.0
    status: str = "ACTIVE"
    ended: datetime | None = None
    profile: Document | None = None
    updated: datetime | None = None
    received: list[tuple[datetime, Document]] = field(default_factory=list)
    """Profiles as they came, with when."""


class OcpiWorld:
    """Sessions of one operator.

    Args:
        clock: Market time.
        country: Country code of the operator.
        party: Party id.
        evses: Uids of its charge points.
    """

    def __init__(self, clock: WorldClock, country: str, party: str, evses: Sequence[str]) -> None:
        self._clock = clock
        self.country, self.party = country, party
        self.evses = tuple(evses)
        self.cars: dict[str, Car] = {}
        self._numbers = itertools.count(1)
        self._counted_at = clock.now()

    def plug(self, evse: str, *, max_kw: float = 11.0, phases: int = 3) -> Car:
        """Begin a session."""
        self.count()
        now = self._clock.now()
        car = Car(session=f"session-{next(self._numbers)}", evse=evse, began=now, max_kw=max_kw, phases=phases)
        car.updated = now
        self.cars[car.session] = car
        return car

    def unplug(self, session: str) -> Car:
        """End a session."""
        self.count()
        car = self.cars[session]
        car.status, car.ended, car.updated = "COMPLETED", self._clock.now(), self._clock.now()
        return car

    def apply(self, session: str, profile: Document | None) -> None:
        """Let a car follow a profile from now on; None for none."""
        self.count()
        car = self.cars[session]
        car.profile = profile
        if profile is not None:
            car.received = [*car.received[-_MOST_PROFILES_TIMED:], (self._clock.now(), profile)]

    def limit_kw(self, car: Car) -> float | None:
        """Return what a car's profile allows now; None for no limit."""
        if car.profile is None:
            return None
        start = read_instant(car.profile["start_date_time"]) if "start_date_time" in car.profile else car.began
        passed_s = (self._clock.now() - start).total_seconds()
        if "duration" in car.profile and passed_s >= car.profile["duration"]:
            return None
        begun = [p for p in car.profile["charging_profile_period"] if p["start_period"] <= passed_s]
        if not begun:
            return None
        limit = float(begun[-1]["limit"])
        is_ampere = car.profile["charging_rate_unit"] == "A"
        return limit * car.phases * car.voltage_v / _W_PER_KW if is_ampere else limit / _W_PER_KW

    def power_kw(self, car: Car) -> float:
        """Return what a car draws now."""
        if car.status != "ACTIVE":
            return 0.0
        limit_kw = self.limit_kw(car)
        return car.max_kw if limit_kw is None else min(car.max_kw, limit_kw)

    def count(self) -> None:
        """Count the energy since the last look, at the power of now."""
        now = self._clock.now()
        hours = (now - self._counted_at).total_seconds() / _S_PER_H
        self._counted_at = now
        for car in self.cars.values():
            car.kwh += self.power_kw(car) * hours

    def session_document(self, car: Car) -> Document:
        """Return a session as OCPI writes it, with a token of the driver that nobody should keep."""
        document: Document = {
            "country_code": self.country,
            "party_id": self.party,
            "id": car.session,
            "start_date_time": instant_text(car.began),
            "kwh": round(car.kwh, 4),
            "cdr_token": {
                "country_code": self.country,
                "party_id": "EMS",
                "uid": "DRIVER-RFID-0815",
                "type": "RFID",
                "contract_id": "NL-EMS-C12345678-X",
            },
            "auth_method": "WHITELIST",
            "location_id": "LOC1",
            "evse_uid": car.evse,
            "connector_id": "1",
            "currency": "EUR",
            "status": car.status,
            "last_updated": instant_text(car.updated or car.began),
        }
        if car.ended is not None:
            document["end_date_time"] = instant_text(car.ended)
        return document

    def measurement(self, car: Car) -> Document:
        """Return what changed of a session: energy and power, as a PATCH says it."""
        self.count()
        now = self._clock.now()
        car.updated = now
        dimensions = [{"type": "POWER", "volume": round(self.power_kw(car), 4)}]
        return {
            "kwh": round(car.kwh, 4),
            "charging_periods": [{"start_date_time": instant_text(now), "dimensions": dimensions}],
            "last_updated": instant_text(now),
        }

    def active_profile(self, car: Car) -> Document | None:
        """Return what a car follows now, as OCPI writes it; None when nothing limits it."""
        if car.profile is None:
            return None
        return {"start_date_time": instant_text(self._clock.now()), "charging_profile": car.profile}


def check_profile(profile: Mapping[str, Any]) -> str:
    """Return what is wrong with a charging profile by the specification; empty when nothing is."""
    if profile.get("charging_rate_unit") not in {"A", "W"}:
        return "charging_rate_unit must be A or W"
    periods = profile.get("charging_profile_period")
    if not isinstance(periods, list) or not periods:
        return "charging_profile_period must be a list"
    if periods[0].get("start_period") != 0:
        return "the first period must start at 0"
    for period in periods:
        tenths = period["limit"] * 10
        if abs(tenths - round(tenths)) > _NOISE:
            return "limit has one decimal at most"
    return ""
