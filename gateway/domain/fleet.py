"""The fleet at an instant, in arrays over chargers, and a batch of measurements as it arrives.

One owner holds the live arrays (`services.track_fleet`); everybody else reads a `FleetView`. All arrays have shape (C,) in the
order of `tree.charger_ids`. Instants inside arrays are seconds since 1970-01-01 UTC; NaN is unknown and never zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation import TreeLevels
from gateway.domain.errors import InvalidInput
from gateway.domain.topology import Node, SiteTree

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FleetView:
    """What is known about every charger of a tenant now."""

    tree: SiteTree
    nodes: Mapping[str, Node]
    """The tree's nodes by id."""
    levels: TreeLevels
    """The tree's levels, for sums and allocation."""
    power_kw: FloatArray
    """Last measured power; NaN when never measured or too old to be trusted."""
    power_at: FloatArray
    """Instant of that measurement; NaN when never measured."""
    max_kw: FloatArray
    min_kw: FloatArray
    """Least at which it charges; smaller for a car that uses fewer phases than the charger has."""
    fallback_kw: FloatArray
    lapsed_kw: FloatArray
    """What it may draw once its lease has run out: its fallback, or its maximum where nobody enforces the fallback."""
    phases: IndexArray
    csms_ids: tuple[str, ...]
    csms_index: IndexArray
    """Position in `csms_ids` of the platform that commands it."""
    site_index: IndexArray
    """Node of the site above it; -1 when it hangs above every site."""
    site_class: Sequence[str]
    """Kind of place: `home`, `public` or `workplace`."""
    session_ids: Sequence[str | None]
    has_session: BoolArray
    session_max_kw: FloatArray
    """What car and charger together can draw; 0 without a car."""
    energy_needed_kwh: FloatArray
    """As the driver said; NaN unknown."""
    delivered_kwh: FloatArray
    """Since the car arrived; 0 without a car."""
    expected_departure: FloatArray
    """As the driver said; NaN unknown."""
    arrival: FloatArray
    """When the car arrived; NaN without a car."""

    def node_power_kw(self) -> FloatArray:
        """Return what the chargers below each node draw by known measurements, shape (N,); NaN where none is known."""
        is_known = ~np.isnan(self.power_kw)
        total = self.levels.totals(np.where(is_known, self.power_kw, 0.0))
        return np.where(self.levels.totals(is_known.astype(np.float64)) > 0, total, np.nan)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TelemetryBatch:
    """Measurements of one instant from one platform, columnar."""

    charger_ids: tuple[str, ...]
    """What `charger_index` refers to; the same object for all batches of a stream."""
    connection_point_ids: tuple[str, ...]
    measure_time: datetime
    charger_index: IndexArray
    """Positions in `charger_ids` that are measured."""
    power_kw: FloatArray
    """Power drawn, one per position."""
    energy_register_kwh: FloatArray
    """Energy register of the charger, one per position."""
    meter_register_kwh: FloatArray
    """Net register of each connection point, positive imports; empty when not read."""

    def __post_init__(self) -> None:
        """Reject columns of different lengths, positions outside the list and numbers that are not finite."""
        index = self.charger_index
        if index.size and not 0 <= int(index.min()) <= int(index.max()) < len(self.charger_ids):
            raise InvalidInput("charger_index", f"must be in [0, {len(self.charger_ids)})")
        _check_column("power_kw", self.power_kw, index.size)
        _check_column("energy_register_kwh", self.energy_register_kwh, index.size)
        if self.meter_register_kwh.size:
            _check_column("meter_register_kwh", self.meter_register_kwh, len(self.connection_point_ids))


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisterReading:
    """Energy registers behind one connection point at the last border of delivery periods; one row each, overwritten.

    With it a restart loses no energy: the next period counts from these registers on.
    """

    id: str
    """Id of the connection point."""
    tenant: str
    at: datetime
    """The border."""
    meter_kwh: float | None
    """Net register of the connection point; None when it was never read."""
    charger_ids: tuple[str, ...]
    charger_kwh: tuple[float | None, ...]
    """Register of each charger; None when it was never read."""

    def __post_init__(self) -> None:
        """Reject columns of different lengths."""
        if len(self.charger_ids) != len(self.charger_kwh):
            raise InvalidInput("register_reading.charger_kwh", "needs one value per charger")


def _check_column(field: str, values: FloatArray, size: int) -> None:
    if values.size != size:
        raise InvalidInput(field, f"has {values.size} values, needs {size}")
    if not np.isfinite(values).all():
        raise InvalidInput(field, "must be finite numbers")
