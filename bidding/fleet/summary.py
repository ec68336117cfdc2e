"""What is published of a fleet: bands of power and energy that look like a battery's. An outer bound, never to be bid.

The bands keep 4 T of the 2^T conditions that a schedule must meet, so many schedules inside them cannot be delivered. They
are for charts, for quick upper bounds, and for telling a grid operator what to expect. They are types of their own: nothing
that makes a schedule or an order takes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from bidding.arrays import FloatArray, ragged_ranges, sum_by
from bidding.fleet.flexibility import FlexibilityTable, power_bounds
from bidding.fleet.sessions import SessionArrays
from gateway.domain.errors import InvalidInput

PUBLISHED_QUANTILES = (0.1, 0.5, 0.9)
"""P10, P50 and P90."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OuterBound:
    """Bands that every reachable schedule stays in; not every schedule in the bands can be reached.

    **Never to be bid or dispatched.**
    """

    power_min_kwh: FloatArray
    """Least draw of each slot on its own, kWh per slot."""
    power_max_kwh: FloatArray
    """Most draw of each slot on its own, kWh per slot."""
    energy_min_kwh: FloatArray
    """Least energy up to and including each slot (everything as late as possible)."""
    energy_max_kwh: FloatArray
    """Most energy up to and including each slot (everything as early as possible)."""


def outer_bound(table: FlexibilityTable) -> OuterBound:
    """Return the bands around everything the fleet can do; for charts, never to be bid (see `OuterBound`)."""
    occupied = table.occupied_windows
    length = table.window_length[occupied]
    cells = ragged_ranges(table.layout.offset[occupied], length)
    rank = cells - np.repeat(table.layout.offset[occupied], length)
    earliest = np.repeat(table.layout.arrival[occupied], length) + rank
    latest = np.repeat(table.layout.departure[occupied], length) - 1 - rank
    least, most = power_bounds(table)
    return OuterBound(
        power_min_kwh=least,
        power_max_kwh=most,
        energy_min_kwh=np.cumsum(sum_by(latest, table.minor[cells], table.slot_count)),
        energy_max_kwh=np.cumsum(sum_by(earliest, table.major[cells], table.slot_count)),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PublishedSummary:
    """Quantiles over scenarios of the outer bounds' bands; every array has one row per quantile and one column per slot.

    **Never to be bid or dispatched.** Beyond what `OuterBound` says, a row is taken slot by slot: it is in general the band
    of no single scenario.
    """

    scenario_count: int
    quantiles: tuple[float, ...]
    """Of the rows, rising."""
    power_min_kwh: FloatArray
    """Least draw of each slot on its own, kWh per slot, shape (quantiles, T)."""
    power_max_kwh: FloatArray
    """Most draw of each slot on its own, kWh per slot."""
    energy_min_kwh: FloatArray
    """Least energy up to and including each slot, kWh."""
    energy_max_kwh: FloatArray
    """Most energy up to and including each slot, kWh."""


def summarise(
    scenarios: Sequence[FlexibilityTable | SessionArrays],
    slot_count: int,
    quantiles: tuple[float, ...] = PUBLISHED_QUANTILES,
) -> PublishedSummary:
    """Return the published summary of a fleet whose sessions are uncertain.

    Args:
        scenarios: Tables, or sessions fitted to the horizon; each as likely as the others.
        slot_count: Length of the horizon.
        quantiles: Between 0 and 1, rising.

    Raises:
        InvalidInput: No scenario, a table of another horizon, sessions that were not fitted, or quantiles out of order.
    """
    if not scenarios:
        raise InvalidInput("scenarios", "must not be empty")
    if not quantiles or list(quantiles) != sorted(set(quantiles)) or quantiles[0] < 0.0 or quantiles[-1] > 1.0:
        raise InvalidInput("quantiles", "must rise strictly between 0 and 1")
    bounds = [outer_bound(_table_of(one, number, slot_count)) for number, one in enumerate(scenarios)]
    bands = {
        band.name: np.quantile(np.array([getattr(bound, band.name) for bound in bounds]), quantiles, axis=0)
        for band in fields(OuterBound)
    }
    return PublishedSummary(scenario_count=len(bounds), quantiles=quantiles, **bands)


def _table_of(scenario: FlexibilityTable | SessionArrays, number: int, slot_count: int) -> FlexibilityTable:
    if isinstance(scenario, SessionArrays):
        return FlexibilityTable.build(scenario, slot_count)
    if scenario.slot_count != slot_count:
        raise InvalidInput(f"scenarios[{number}]", f"has {scenario.slot_count} slots, expected {slot_count}")
    return scenario
