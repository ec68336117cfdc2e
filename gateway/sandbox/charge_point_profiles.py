"""The charging profiles inside a simulated charger: what it holds, and what they allow at an instant.

Profiles are kept as they came over the wire, in the words of OCPP 1.6 or 2.x. Within a purpose the highest stack level that has a
period now wins; a transaction's profiles go before the default ones; the station's bound what is left (OCPP 1.6 3.13, 2.0.1 K01).
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gateway.domain.errors import InvalidInput

Wire = Mapping[str, Any]
STATION_PURPOSES = frozenset({"ChargePointMaxProfile", "ChargingStationMaxProfile"})
EXTERNAL = "ChargingStationExternalConstraints"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quirks:
    """What a charger does otherwise than it should."""

    ignores_watt: bool = False
    """Takes limits in W and does not follow them."""
    ignores_ampere: bool = False
    """Takes limits in A and does not follow them."""
    rejects_watt: bool = False
    rejects_station_profile: bool = False
    rejects_second_layer: bool = False
    """Refuses a second profile of one purpose and connector."""
    rejects_overwrite: bool = False
    """Refuses a profile on a level that is taken, whatever its id."""
    forgets_on_reboot: bool = False
    does_not_wake: bool = False
    """The car stays asleep once it was paused."""
    no_fallback: bool = False
    """When a profile ends, those under it are not looked at: full power."""
    ignores_expiry: bool = False
    """Profiles never end."""
    no_composite: bool = False
    too_often: bool = False
    """Refuses a second write within ten seconds (2.x says why)."""
    silent_profiles: bool = False
    """Does not answer SetChargingProfile."""

    @classmethod
    def named(cls, names: Iterable[str]) -> "Quirks":
        """Return the quirks of some names.

        Raises:
            InvalidInput: A name is none.
        """
        known = cls.__dataclass_fields__
        for name in names:
            if name not in known:
                raise InvalidInput("quirk", f"{name} is none of {', '.join(known)}")
        return replace(cls(), **dict.fromkeys(names, True))


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """One profile as it came."""

    evse: int
    wire: Wire

    @property
    def id(self) -> int:
        """Its id in either version."""
        return int(self.wire.get("chargingProfileId", self.wire.get("id", 0)))

    @property
    def purpose(self) -> str:
        """Its purpose."""
        return str(self.wire["chargingProfilePurpose"])

    @property
    def stack(self) -> int:
        """Its level."""
        return int(self.wire["stackLevel"])

    @property
    def transaction(self) -> str | None:
        """The transaction that it is for."""
        found = self.wire.get("transactionId")
        return None if found is None else str(found)

    @property
    def schedule(self) -> Wire:
        """Its only schedule."""
        found = self.wire["chargingSchedule"]
        schedule: Wire = found[0] if isinstance(found, list) else found
        return schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What a limit depends on beside the profiles."""

    at: datetime
    transaction: str | None
    """Running transaction of the EVSE; None when no car charges."""
    began_at: datetime | None
    """When it began."""
    offline_since: datetime | None
    """None while connected."""


class ProfileStore:
    """All profiles of one charger."""

    def __init__(self, quirks: Quirks, *, max_stack: int, voltage_v: float, phases: int) -> None:
        """Hold none.

        Args:
            quirks: What is wrong with it.
            max_stack: Highest level that it takes.
            voltage_v: Line to neutral.
            phases: Phases of an EVSE.
        """
        self.quirks = quirks
        self.installed: list[Installed] = []
        self.history: list[Installed] = []
        """Every profile that was taken, in order; what a test looks at."""
        self._max_stack = max_stack
        self._voltage_v = voltage_v
        self._phases = phases

    def put(self, profile: Installed, transaction: str | None) -> str:
        """Take a profile or refuse it; return the status.

        Args:
            profile: As it came.
            transaction: Running transaction of its EVSE.
        """
        if self._is_refused(profile, transaction):
            return "Rejected"
        others = [p for p in self.installed if not self._replaces(profile, p)]
        if self.quirks.rejects_second_layer and any(_same_place(p, profile) for p in others):
            return "Rejected"
        self.installed = [*others, profile]
        self.history.append(profile)
        return "Accepted"

    def _is_refused(self, profile: Installed, transaction: str | None) -> bool:
        quirks, purpose = self.quirks, profile.purpose
        is_transaction = purpose == "TxProfile"
        is_taken = any(_same_place(p, profile) and p.stack == profile.stack for p in self.installed)
        return (
            purpose == EXTERNAL
            or profile.stack > self._max_stack
            or (quirks.rejects_station_profile and purpose in STATION_PURPOSES)
            or (purpose in STATION_PURPOSES and profile.evse != 0)
            or (quirks.rejects_watt and profile.schedule["chargingRateUnit"] == "W")
            or (is_transaction and (transaction is None or profile.transaction != transaction))
            or (quirks.rejects_overwrite and is_taken)
        )

    @staticmethod
    def _replaces(new: Installed, old: Installed) -> bool:
        return new.id == old.id or (_same_place(new, old) and new.stack == old.stack)

    def clear(self, profile_id: int) -> str:
        """Take a profile away; return the status."""
        left = [p for p in self.installed if p.id != profile_id]
        is_known, self.installed = len(left) != len(self.installed), left
        return "Accepted" if is_known else "Unknown"

    def end_transaction(self, transaction: str) -> None:
        """Drop the profiles of a transaction."""
        self.installed = [p for p in self.installed if p.purpose != "TxProfile" or p.transaction != transaction]

    def reboot(self) -> None:
        """Forget what a reboot makes it forget."""
        if self.quirks.forgets_on_reboot:
            self.installed = []

    def limit_a(self, evse: int, moment: Moment) -> float:
        """Return what binds at an EVSE in A per phase; infinite when nothing does."""
        own = [p for p in self.installed if p.evse in {0, evse}]
        chosen = self._top([p for p in own if p.purpose == "TxProfile" and p.transaction == moment.transaction], moment)
        if math.isinf(chosen):
            chosen = self._top([p for p in own if p.purpose == "TxDefaultProfile"], moment)
        return min(chosen, self._top([p for p in own if p.purpose in STATION_PURPOSES], moment))

    def borders(self, moment: Moment) -> Iterator[datetime]:
        """Yield the instants after the moment at which something may change."""
        for profile in self.installed:
            start = _start(profile, moment)
            ends = [start + timedelta(seconds=int(p["startPeriod"])) for p in _periods(profile)]
            if profile.schedule.get("duration") is not None:
                ends.append(start + timedelta(seconds=int(profile.schedule["duration"])))
            if profile.wire.get("validTo") is not None:
                ends.append(datetime.fromisoformat(profile.wire["validTo"]))
            yield from (end for end in ends if end > moment.at)

    def _top(self, profiles: list[Installed], moment: Moment) -> float:
        ordered = sorted(profiles, key=lambda p: -p.stack)
        for profile in ordered[:1] if self.quirks.no_fallback else ordered:
            limit = self._limit_of(profile, moment)
            if limit is not None:
                return limit
        return math.inf

    def _limit_of(self, profile: Installed, moment: Moment) -> float | None:
        """Return a profile's limit in A per phase; None when it has none then."""
        if not self.quirks.ignores_expiry and _is_over(profile, moment):
            return None
        second = (moment.at - _start(profile, moment)).total_seconds()
        past = [p for p in _periods(profile) if int(p["startPeriod"]) <= second]
        if not past:
            return None
        if self.quirks.ignores_expiry:
            past = past[:1]
        limit, unit = float(past[-1]["limit"]), profile.schedule["chargingRateUnit"]
        if (unit == "W" and self.quirks.ignores_watt) or (unit == "A" and self.quirks.ignores_ampere):
            return None
        phases = int(past[-1].get("numberPhases", self._phases))
        return limit if unit == "A" else limit / (phases * self._voltage_v)


def _same_place(one: Installed, other: Installed) -> bool:
    return (one.purpose, one.evse, one.transaction) == (other.purpose, other.evse, other.transaction)


def _periods(profile: Installed) -> list[Wire]:
    return sorted(profile.schedule["chargingSchedulePeriod"], key=lambda period: int(period["startPeriod"]))


def _start(profile: Installed, moment: Moment) -> datetime:
    text = profile.schedule.get("startSchedule")
    if text is not None:
        return datetime.fromisoformat(text)
    return moment.at if moment.began_at is None else moment.began_at


def _is_over(profile: Installed, moment: Moment) -> bool:
    """Tell whether a profile no longer applies: its validity or duration is over, or it was offline for too long (2.1)."""
    valid_to, duration = profile.wire.get("validTo"), profile.schedule.get("duration")
    most_offline = profile.wire.get("maxOfflineDuration")
    ends = []
    if valid_to is not None:
        ends.append(datetime.fromisoformat(valid_to))
    if duration is not None:
        ends.append(_start(profile, moment) + timedelta(seconds=int(duration)))
    if most_offline is not None and moment.offline_since is not None:
        ends.append(moment.offline_since + timedelta(seconds=int(most_offline)))
    return any(moment.at >= end for end in ends)
