"""The fleet at an instant, in arrays over chargers, and a batch of measurements as it arrives.

One owner holds the live arrays (`services.track_fleet`); everybody else reads a `FleetView`. All arrays have shape (C,) in the
order of `tree.charger_ids`. Instants inside arrays are seconds since 1970-01-01 UTC; NaN is unknown and never zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntFlag

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation import TreeLevels
from gateway.domain.errors import InvalidInput
from gateway.domain.id_list import NameArray
from gateway.domain.platforms import Platforms
from gateway.domain.topology import PHASE_COUNT, Node, PhaseShares, SiteTree

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
FlagArray = npt.NDArray[np.uint8]


class DataFlag(IntFlag):
    """What is wrong with the data of a charger; several can be."""

    UNKNOWN = 1
    """It was never measured."""
    STALE = 2
    """Its last measurement is too old to be trusted."""
    REGISTER_FELL = 4
    """Its energy register went backwards lately."""
    POWER_CONTRADICTS_REGISTER = 8
    """Its power and the growth of its register disagree."""
    CHARGE_CONTRADICTS_METER = 16
    """The state of charge and the metered energy disagree by more than 5 % of the battery; the state of charge is not used."""
    POWER_CONTRADICTS_CURRENT = 32
    """Its power and its currents times voltages disagree."""
    VOLTAGE_IMPLAUSIBLE = 64
    """Its voltage is outside what a public grid delivers; the nominal one is used."""
    POWER_IMPLAUSIBLE = 128
    """Its power was far above its rating; it counts as unknown."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChargerData:
    """What else is known of every charger: phases, voltage, state of charge, the driver's wish, and what is wrong; shape (C,)."""

    flags: FlagArray
    """What is wrong with its data, see `DataFlag`."""
    shares: PhaseShares
    """See `phase_share`."""
    used_phases: npt.NDArray[np.int8]
    """Phases that the car uses: as measured, else as reported, else those of the charger."""
    voltage_v: FloatArray
    """Line-to-neutral voltage: measured, or nominal."""
    voltage_factor: FloatArray
    """Lowest voltage measured below each node over the nominal one, shape (N,); 1 where none was measured."""
    state_of_charge: FloatArray
    """0 to 1; NaN unknown, or contradicted by the meter."""
    battery_kwh: FloatArray
    """Usable capacity; NaN unknown."""
    is_boosted: BoolArray
    """Cars whose driver wants full power now."""
    is_guaranteed: BoolArray
    """Cars whose driver wants to be full by the announced departure, whatever it costs."""
    is_greenest: BoolArray
    """Cars whose driver asked for low carbon."""

    @property
    def phase_share(self) -> FloatArray:
        """What it puts on each grid phase per kW that it draws, shape (C, 3): on every phase in full where nobody knows which."""
        return self.shares.values

    @property
    def kw_per_a(self) -> FloatArray:
        """Power per ampere on each phase that the car uses, shape (C,)."""
        return np.asarray(self.voltage_v * self.used_phases / 1000.0)


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
    csms_ids: tuple[str, ...]
    csms_index: IndexArray
    """Position in `csms_ids` of the platform that commands it."""
    platforms: Platforms
    """Both of them with the names of the chargers."""
    site_index: IndexArray
    """Node of the site above it; -1 when it hangs above every site."""
    class_of_site: Mapping[int, str]
    """Kind of place by node of the site: `home`, `public` or `workplace`; `public` for those that are not in it."""
    session_ids: NameArray
    """The car at each, as its platform names it; None without one."""
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
    data: ChargerData | None = None
    """Phases, voltage, state of charge and what is wrong; None where nobody keeps it."""

    def site_class(self, charger: int) -> str:
        """Return the kind of place of a charger."""
        return self.class_of_site.get(int(self.site_index[charger]), "public")

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
    phase_current_a: FloatArray = field(default_factory=lambda: np.zeros((0, PHASE_COUNT)))
    """Current of the charger's conductors L1 to L3, shape (positions, 3), NaN not measured; empty when not read."""
    phase_voltage_v: FloatArray = field(default_factory=lambda: np.zeros((0, PHASE_COUNT)))
    """Line-to-neutral voltage of them, shape (positions, 3), NaN not measured; empty when not read."""
    state_of_charge: FloatArray = field(default_factory=lambda: np.zeros(0))
    """State of charge of the car, 0 to 1, one per position, NaN unknown; empty when not read."""

    def __post_init__(self) -> None:
        """Reject columns of different lengths, positions outside the list and numbers that are not finite."""
        index = self.charger_index
        if index.size and not 0 <= index.min() <= index.max() < len(self.charger_ids):
            raise InvalidInput("charger_index", f"must be in [0, {len(self.charger_ids)})")
        _check_column("power_kw", self.power_kw, index.size)
        _check_column("energy_register_kwh", self.energy_register_kwh, index.size)
        if self.meter_register_kwh.size:
            _check_column("meter_register_kwh", self.meter_register_kwh, len(self.connection_point_ids))
        for name in ("phase_current_a", "phase_voltage_v"):
            values = getattr(self, name)
            if values.size:
                _check_optional(name, values, (index.size, PHASE_COUNT), np.inf)
        if self.state_of_charge.size:
            _check_optional("state_of_charge", self.state_of_charge, (index.size,), 1.0)


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


def _check_optional(field: str, values: FloatArray, shape: tuple[int, ...], most: float) -> None:
    """Reject another shape and values outside [0, most]; NaN is unknown and allowed."""
    if values.shape != shape:
        raise InvalidInput(field, f"has {values.size} values, needs {int(np.prod(shape))}")
    if bool((values < 0.0).any()) or bool((values > most).any()) or bool(np.isinf(values).any()):
        raise InvalidInput(
            field, f"must be at least 0 and at most {most:g}" if most < np.inf else "must be finite numbers"
        )
