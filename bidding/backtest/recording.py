"""What was recorded: prices by delivery day and sessions as they came. This is the truth; forecasts never take these types.

Time is counted in quarter-hours since 1970 UTC (`slot`), so that days of 92, 96 and 100 of them need no care here.
"""

from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time, timedelta

import numpy as np

from bidding.arrays import FloatArray, IntArray, finite_vector, integer_vector, require_each, same_length
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid, require_utc
from gateway.domain.units import QUARTER_HOUR

SLOT_S = int(QUARTER_HOUR.total_seconds())
SLOT_HOURS = SLOT_S / 3600.0
GATE = time(12)
"""Local time of the day before delivery at which the day-ahead auction closes."""
STATED_COLUMNS = ("stated_departure_s", "stated_energy_kwh")


def slot_of(instant: datetime) -> int:
    """Return the quarter-hour since 1970 UTC that begins at or holds an instant."""
    return int(instant.timestamp()) // SLOT_S


def gate_of(day: DeliveryDay) -> datetime:
    """Return when the auction for a delivery day closes: noon of the market's clock the day before."""
    return day.next(-1).at(GATE)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RealisedSessions:
    """Sessions as they came, in columns; seconds since 1970 UTC. NaN: the driver said nothing."""

    arrival_s: IntArray
    departure_s: IntArray
    """When the car really left."""
    power_kw: FloatArray
    energy_kwh: FloatArray
    """What the car takes when nobody limits it."""
    site_index: IntArray
    stated_departure_s: FloatArray
    """What the driver announced on arrival."""
    stated_energy_kwh: FloatArray
    """What the driver asked for on arrival."""

    def __post_init__(self) -> None:
        """Check every column and make it read-only; the first wrong row is named."""
        for name in ("arrival_s", "departure_s", "site_index"):
            object.__setattr__(self, name, integer_vector(f"sessions.{name}", getattr(self, name)))
        for name in ("power_kw", "energy_kwh"):
            object.__setattr__(self, name, finite_vector(f"sessions.{name}", getattr(self, name)))
        names = ("arrival_s", "departure_s", "power_kw", "energy_kwh", "site_index", *STATED_COLUMNS)
        same_length([(f"sessions.{name}", len(getattr(self, name))) for name in names])
        for name in STATED_COLUMNS:
            stated = getattr(self, name)
            require_each(f"sessions.{name}", ~np.isinf(stated), "must be finite, or NaN when nothing was said")
        require_each("sessions.departure_s", self.departure_s > self.arrival_s, "must be after arrival_s")
        require_each("sessions.power_kw", self.power_kw > 0.0, "must be above 0")
        require_each("sessions.energy_kwh", self.energy_kwh >= 0.0, "must be at least 0")
        require_each("sessions.site_index", self.site_index >= 0, "must be at least 0")

    def __len__(self) -> int:
        return len(self.arrival_s)

    def select(self, rows: IntArray) -> "RealisedSessions":
        """Return the sessions at these rows."""
        return RealisedSessions(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RecordedDay:
    """The prices of one delivery day, EUR per MWh per delivery period of the market."""

    day: DeliveryDay
    day_ahead_eur_per_mwh: FloatArray
    imbalance_eur_per_mwh: FloatArray | None = None
    """One price for both directions; None where none is held."""

    def __post_init__(self) -> None:
        """Reject prices that are not finite or differ in length."""
        prices = finite_vector(f"{self.day.day}.day_ahead_eur_per_mwh", self.day_ahead_eur_per_mwh)
        object.__setattr__(self, "day_ahead_eur_per_mwh", prices)
        if self.imbalance_eur_per_mwh is not None:
            found = finite_vector(f"{self.day.day}.imbalance_eur_per_mwh", self.imbalance_eur_per_mwh, len(prices))
            object.__setattr__(self, "imbalance_eur_per_mwh", found)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recording:
    """Everything a backtest walks through."""

    zone: str
    """IANA time zone of the market and of the people who charge."""
    period: timedelta
    """Length of a delivery period: quarter-hours or hours."""
    days: tuple[RecordedDay, ...]
    """In order, without gaps."""
    sessions: RealisedSessions
    site_classes: tuple[str, ...]
    """Kind of each `site_index`: `home`, `workplace`, `public`..."""
    covered_since: datetime
    """From here on every session is recorded."""

    def __post_init__(self) -> None:
        """Reject gaps between days, incomplete days and sessions at unknown sites."""
        require_utc("covered_since", self.covered_since)
        if self.period % QUARTER_HOUR or timedelta(hours=1) % self.period:
            raise InvalidInput("period", "must be 15, 30 or 60 minutes")
        if not self.days:
            raise InvalidInput("days", "must have at least one")
        for index, one in enumerate(self.days):
            expected = DeliveryDay(day=self.days[0].day.day, zone=self.zone).next(index)
            if one.day != expected:
                raise InvalidInput(f"days[{index}].day", f"must be {expected.day} of {self.zone}")
            count = expected.grid(self.period).count
            if len(one.day_ahead_eur_per_mwh) != count:
                raise InvalidInput(f"days[{index}]", f"has {len(one.day_ahead_eur_per_mwh)} prices, the day {count}")
        known = self.sessions.site_index < len(self.site_classes)
        require_each("sessions.site_index", known, "has no class in site_classes")

    @property
    def slots_per_period(self) -> int:
        """Quarter-hours in a delivery period."""
        return self.period // QUARTER_HOUR

    def of_sessions(self, rows: IntArray, *, covered_since: datetime) -> "Recording":
        """Return the recording with some of its sessions only, complete from a later instant on."""
        since = max(self.covered_since, covered_since)
        return replace(self, sessions=self.sessions.select(rows), covered_since=since)

    def prices_of(self, day: date) -> RecordedDay | None:
        """Return the prices of a delivery day; None when it is not recorded."""
        index = (day - self.days[0].day.day).days
        return self.days[index] if 0 <= index < len(self.days) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class AuctionCalendar:
    """Where one auction lies in time, in quarter-hours since 1970.

    ```
       gate (12:00 D-1)      midnight            next gate (12:00 D)       end        after (12:00 D+1)
          |---- evening --------|==== delivery day, morning ====|=== evening ===|---- forecast ----|
    ```
    """

    day: DeliveryDay
    gate: int
    midnight: int
    """First slot of the delivery day."""
    next_gate: int
    end: int
    """First slot after the delivery day."""
    after: int
    """End of the planning horizon: noon after the delivery day."""

    @classmethod
    def of(cls, day: DeliveryDay) -> "AuctionCalendar":
        """Return the calendar of a delivery day's auction."""
        return cls(
            day=day,
            gate=slot_of(gate_of(day)),
            midnight=slot_of(day.interval.start),
            next_gate=slot_of(day.at(GATE)),
            end=slot_of(day.next().interval.start),
            after=slot_of(day.next().at(GATE)),
        )

    @property
    def horizon_grid(self) -> TimeGrid:
        """Quarter-hours from the gate to the end of the horizon."""
        return TimeGrid(start=gate_of(self.day), step=QUARTER_HOUR, count=self.after - self.gate)

    @property
    def delivery(self) -> slice:
        """The delivery day in a horizon that begins at midnight."""
        return slice(0, self.end - self.midnight)
