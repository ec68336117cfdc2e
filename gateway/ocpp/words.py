"""What chargers and the CSMS say to each other, without the words of one OCPP version.

Instants are aware UTC, powers in kW drawn from the grid, registers in kWh. None is unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gateway.domain.charging_profiles import Period, RateUnit

WHOLE_STATION = 0
"""Number of the connector (1.6) or EVSE (2.x) that stands for the station as a whole."""


class Purpose(StrEnum):
    """What a charging profile bounds; external constraints are not in it: those are the charger's own words (case o32)."""

    STATION = "station"
    """The station as a whole: ChargePointMaxProfile, ChargingStationMaxProfile."""
    DEFAULT = "default"
    """Every transaction to come: TxDefaultProfile."""
    TRANSACTION = "transaction"
    """One running transaction: TxProfile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One charging profile as it shall be installed."""

    id: int
    purpose: Purpose
    stack: int
    """The highest level that has a period now wins within its purpose."""
    connector: int
    """Connector or EVSE; 0 is the station."""
    transaction: str | None = None
    """Running transaction of a TRANSACTION profile."""
    unit: RateUnit
    periods: tuple[Period, ...]
    phases: int | None = None
    """Phases that may be used; None leaves it to the charger."""
    start: datetime
    """By the charger's clock, as `valid_to`."""
    duration_s: int | None = None
    """When the last period ends; None never."""
    valid_to: datetime | None = None
    max_offline_s: int | None = None
    """OCPP 2.1: so long after the contact is lost the profile ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Abilities:
    """What a charger says it can do with charging profiles."""

    max_stack: int | None = None
    units: frozenset[RateUnit] = frozenset(RateUnit)
    """Units that it takes; both while it does not say."""
    max_periods: int = 1
    """Periods of one schedule; 1 while it does not say."""
    max_profiles: int | None = None
    has_max_offline: bool = False
    """Whether profiles may say how long they outlive the contact (OCPP 2.1)."""


class Verdict(StrEnum):
    """What a charger did with a request."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SUPPORTED = "not-supported"
    NO_ANSWER = "no-answer"
    TOO_OFTEN = "too-often"
    """Not now: asked again too soon, or busy; another way would not help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A charger's answer and, where it is not a yes, why."""

    verdict: Verdict
    reason: str = ""
    shown_kw: float | None = None
    """What its composite schedule allows although it was given less, in kW; None where it shows nothing."""

    @property
    def is_accepted(self) -> bool:
        """Whether it did what was asked."""
        return self.verdict is Verdict.ACCEPTED


@dataclass(frozen=True, kw_only=True, slots=True)
class Composite:
    """What a charger says would bind over the next seconds."""

    unit: RateUnit
    periods: tuple[Period, ...]

    def limit_at(self, second: int) -> float | None:
        """Return the limit a number of seconds from its start; None when nothing binds then."""
        past = [period.limit for period in self.periods if period.start_s <= second]
        return past[-1] if past else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a charger measured at one instant."""

    at: datetime
    power_kw: float | None = None
    energy_kwh: float | None = None
    """Register since it was installed."""
    voltage_v: float | None = None
    """Line to neutral, mean over the phases that were read."""
    phase_current_a: tuple[float | None, float | None, float | None] = (None, None, None)
    phase_voltage_v: tuple[float | None, float | None, float | None] = (None, None, None)
    """Line to neutral."""


class Plug(StrEnum):
    """Whether a car is there, as far as the status of a connector tells."""

    FREE = "free"
    TAKEN = "taken"
    BROKEN = "broken"
    UNKNOWN = "unknown"


class Stage(StrEnum):
    """Where a transaction is."""

    STARTED = "started"
    UPDATED = "updated"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class TransactionNews:
    """A transaction began, went on or ended; who the driver is was left behind at the door."""

    connector: int
    transaction: str
    stage: Stage
    at: datetime
    readings: tuple[Reading, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnouncedBlock:
    """A bound that somebody else put on the charger, over a time."""

    start: datetime
    end: datetime | None
    """None: until it is taken back."""
    unit: RateUnit
    limit: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitNotice:
    """NotifyChargingLimit or ClearedChargingLimit: another authority bounds the charger, or no longer does."""

    connector: int
    source: str
    """`EMS`, `SO`, `CSO` or `Other`, as the charger says."""
    is_grid_critical: bool = False
    is_cleared: bool = False
    blocks: tuple[AnnouncedBlock, ...] = ()
    """Empty: it does not say how much; its composite schedule must be asked."""


class StationEvents(Protocol):
    """Who is told what a charger says; returns once it is on disk, so that the charger may be answered."""

    async def booted(self, why: str) -> None:
        """Take note that the charger started anew."""
        ...

    async def told_time(self) -> None:
        """Take note that the charger was told the time (Heartbeat)."""
        ...

    async def plugged(self, connector: int, plug: Plug, at: datetime) -> None:
        """Take note whether a car is there."""
        ...

    async def begin_transaction(self, connector: int, at: datetime, meter_kwh: float) -> int:
        """Return the number of a transaction that begins; the same for a repeated message."""
        ...

    async def transaction(self, news: TransactionNews) -> None:
        """Take note of a transaction."""
        ...

    async def end_transaction(self, transaction: str, at: datetime, readings: Sequence[Reading]) -> None:
        """Take note that a transaction ended, wherever it was."""
        ...

    async def measured(self, connector: int, readings: Sequence[Reading]) -> None:
        """Take note of measurements, oldest first."""
        ...

    async def limit_announced(self, notice: LimitNotice) -> None:
        """Take note of somebody else's limit."""
        ...


class Dialect(Protocol):
    """How one OCPP version is spoken with one connected charger; no method raises for what a charger answers."""

    @property
    def version(self) -> str:
        """Return the version, for example `1.6`."""
        ...

    async def abilities(self) -> Abilities:
        """Ask what the charger can do."""
        ...

    async def configure(self, meter_interval_s: int) -> None:
        """Have it measure often enough; a refusal is left as it is."""
        ...

    async def set_profile(self, profile: Profile) -> Answer:
        """Install or replace a profile."""
        ...

    async def clear_profile(self, profile_id: int) -> Answer:
        """Take a profile away."""
        ...

    async def composite(self, connector: int, duration_s: int, unit: RateUnit) -> Composite | None:
        """Ask what binds; None when it does not say."""
        ...

    async def ask_announced(self, connector: int) -> None:
        """Ask for the profiles that others put on it; what it has comes as `StationEvents.limit_announced`."""
        ...


@dataclass(kw_only=True, slots=True)
class Measured:
    """The newest known value of every quantity of a connector."""

    reading: Reading | None = None
    voltage_v: float | None = None
    previous_energy: tuple[datetime, float] | None = field(default=None)
    """Instant and register before the newest, from which power follows where none is measured."""
