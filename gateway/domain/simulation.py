"""What a limit would do before anybody sets it: nothing here is written, everything is what is known now."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.limits import Limit, Resolution
from gateway.domain.timegrid import TimeGrid


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """A charger whose car would have to stop."""

    charger_id: str
    session_id: str | None
    """None where something draws without a session."""
    power_kw: float
    """What it may draw now, in kW."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenPromise:
    """A driver who would not get by the departure what was promised."""

    session_id: str
    charger_id: str
    departure: datetime
    missing_kwh: float
    """Energy that would be missing at the departure, in kWh, above 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedLimit:
    """What one limit would do."""

    limit: Limit
    """As it would be set."""
    before: Resolution
    """What binds at its node when it would begin, without it."""
    after: Resolution
    """The same with it."""
    power_kw: float | None
    """What chargers below the node draw now; None when unknown."""
    reduction_now_kw: float
    """How much less they might draw if it applied to the cars that are here now, in kW, at least 0."""
    grid: TimeGrid
    """The next 24 hours."""
    expected_kw: tuple[float | None, ...]
    """What the node would draw per slot without it, inside the limits known; None where nobody knows."""
    reduction_kw: tuple[float | None, ...]
    """How much less it would draw per slot with it, in kW, at least 0; None where nobody knows."""
    expected_from: str
    """Where what is expected comes from: `schedule`, `measurements`, both joined by ` and `, or empty."""
    lowered_count: int
    """Chargers that would get less than now."""
    pauses: tuple[Pause, ...]
    """Chargers whose car would have to stop, the largest power first."""
    broken: tuple[BrokenPromise, ...]
    """Promises that would break, the most energy first."""

    @property
    def binds(self) -> bool:
        """Tell whether it would bind when it begins."""
        return self.after.binding is not None and self.after.binding.id == self.limit.id

    @property
    def energy_kwh(self) -> float | None:
        """Return how much less would be drawn in the next 24 hours, in kWh; None when nobody knows."""
        known = [kw for kw in self.reduction_kw if kw is not None]
        return sum(known) * (self.grid.step / timedelta(hours=1)) if known else None

    def why(self) -> str:
        """Return the one sentence that says what it would do; the same text over gRPC and on the page."""
        if not self.binds:
            return f"It would change nothing: {self.before.why()} binds already"
        parts = [f"{self.after.why()}, {self.reduction_now_kw:.1f} kW less now"]
        if self.energy_kwh is not None:
            parts.append(f"{self.energy_kwh:.1f} kWh less within 24 hours by {self.expected_from}")
        parts.append(f"{_count(self.lowered_count, 'charger')} would get less")
        parts.append(f"{_count(len(self.pauses), 'car')} would pause")
        parts.append(f"{_count(len(self.broken), 'promise')} to drivers would break")
        return "; ".join(parts)


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    return f"no {noun}s" if number == 0 else f"{number} {noun}s"
