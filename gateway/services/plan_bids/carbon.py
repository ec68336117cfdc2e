"""What carbon is worth in a plan, and whether what is known about it has changed enough to plan again."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from bidding.arrays import FloatArray
from gateway.domain.carbon_change import has_moved
from gateway.domain.series import CarbonSeries
from gateway.domain.timegrid import TimeGrid
from gateway.domain.topology import Portfolio
from gateway.ports import Store

_GRAMS_PER_TONNE_AND_MWH = 1000.0
"""g/kWh are kg/MWh; a thousand kg are a tonne."""


async def moved_carbon(
    store: Store, portfolio: Portfolio, known: str | None, eur_per_tonne: float
) -> CarbonSeries | None:
    """Return the newest carbon series of a day when it says something else than the one a plan was made from.

    Args:
        store: Where the series are.
        portfolio: Whose plan.
        known: Id of the series that the plan was made from; None when it was made without.
        eur_per_tonne: What a tonne is worth; nothing has moved when it is 0.
    """
    if eur_per_tonne == 0.0 or known is None:
        return None
    row = await store.get(CarbonSeries, portfolio.tenant, known)
    if row is None:
        return None
    span = row.record.grid
    rows = await store.find(
        CarbonSeries, portfolio.tenant, {"zone": portfolio.bidding_zone}, since=span.start, until=span.end
    )
    same_day = [one.record for one in rows if one.record.grid.start == span.start]
    newest = max(same_day, key=lambda one: one.fetched_at, default=row.record)
    return newest if newest.id != known and has_moved(row.record, newest) else None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CarbonShift:
    """What carbon is worth in a plan, and the series that say so."""

    eur_per_mwh: FloatArray
    """Per slot of the planning grid."""
    series: tuple[CarbonSeries, ...]
    """Those that a slot has its intensity from, the one that was fetched last at the end."""
    latest: CarbonSeries


async def carbon_shift(
    store: Store, tenant: str, zone: str, grid: TimeGrid, eur_per_tonne: float
) -> CarbonShift | None:
    """Return what carbon is worth per slot; None when it is worth nothing or is not known for the whole horizon."""
    if eur_per_tonne == 0.0:
        return None
    rows = await store.find(CarbonSeries, tenant, {"zone": zone}, since=grid.start - timedelta(days=1), until=grid.end)
    grams, teller = np.full(grid.count, np.nan), np.full(grid.count, -1)
    latest = max((row.record for row in rows), key=lambda one: one.fetched_at, default=None)
    # Average and marginal, direct and lifecycle never meet in one plan: the newest series says which it is.
    same = [row.record for row in rows if latest is not None and row.record.measure == latest.measure]
    ordered = sorted(same, key=lambda one: one.fetched_at)
    for index, series in enumerate(ordered):
        for start, value in zip(series.grid.starts(), series.intensity_g_per_kwh, strict=True):
            if grid.start <= start < grid.end and value is not None:
                first = grid.index_of(start)
                slots = slice(first, first + max(1, series.grid.step // grid.step))
                grams[slots], teller[slots] = value, index
    if latest is None or np.isnan(grams).any():
        return None
    return CarbonShift(
        eur_per_mwh=grams * (eur_per_tonne / _GRAMS_PER_TONNE_AND_MWH),
        series=tuple(ordered[index] for index in np.unique(teller).tolist()),
        latest=latest,
    )
