"""What a zone's electricity system does and is expected to do: demand, wind and sun, MW per slot.

These series explain prices; nothing is settled from them. A gap is `None` and is never filled silently.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import content_hash
from gateway.domain.timegrid import DeliveryDay, TimeGrid, require_utc


class SystemKind(StrEnum):
    """What a power is the power of."""

    LOAD = "load"
    """What was drawn in the zone."""
    LOAD_FORECAST = "load-forecast"
    """What was expected to be drawn, the day before."""
    SOLAR_FORECAST = "solar-forecast"
    WIND_ONSHORE_FORECAST = "wind-onshore-forecast"
    WIND_OFFSHORE_FORECAST = "wind-offshore-forecast"

    @property
    def is_forecast(self) -> bool:
        """Whether it was said before the time it is about."""
        return self is not SystemKind.LOAD


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemSeries:
    """Power of one kind in one zone on one grid."""

    id: str
    """`{zone}:{kind}:{day}:{hash of the content}`."""
    zone: str
    kind: SystemKind
    grid: TimeGrid
    power_mw: tuple[float | None, ...]
    """Mean per slot, positive whether drawn or produced: the kind says which; None is a gap."""
    source: str
    published_at: datetime | None
    fetched_at: datetime
    licence: str

    def __post_init__(self) -> None:
        """Reject a length that differs from the grid and values that are not finite."""
        if len(self.power_mw) != self.grid.count:
            raise InvalidInput("power_mw", f"has {len(self.power_mw)} values, the grid {self.grid.count}")
        for index, value in enumerate(self.power_mw):
            if value is not None and not np.isfinite(value):
                raise InvalidInput(f"power_mw[{index}]", "must be a finite number")
        require_utc("fetched_at", self.fetched_at)

    @property
    def is_complete(self) -> bool:
        """Whether every slot has a value."""
        return all(value is not None for value in self.power_mw)


def system_series_id(zone: str, kind: SystemKind, day: DeliveryDay, power_mw: tuple[float | None, ...]) -> str:
    """Return an id that is the same for the same values and another one for a revision."""
    return f"{zone}:{kind.value}:{day.day.isoformat()}:{content_hash([power_mw])[:16]}"
