"""What a site pays beside the price of energy, as the optimiser wants it: a shift per slot, and a charge on the highest power.

The highest power of the billing month so far is the site's own metered one: what it has cost already costs nothing more.
"""

from collections.abc import Sequence
from datetime import date, datetime, time

import numpy as np

from bidding.arrays import FloatArray
from bidding.optimum.site_plan import DemandTariff
from gateway.domain.errors import InvalidInput
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.site_tariff import SiteTariff
from gateway.domain.timegrid import DeliveryDay, TimeGrid, zone_of
from gateway.ports import Store

ALL = 1_000_000
_TRUSTED_COVERAGE = 0.9


def layer_shift(tariff: SiteTariff, grid: TimeGrid, currency: str) -> FloatArray:
    """Return what all layers per kWh cost in each slot of a planning grid, currency per MWh.

    Raises:
        InvalidInput: The tariff prices the energy itself, which the market does too, is in another currency, or does not cover
            a day of the grid.
    """
    if tariff.has_energy:
        raise InvalidInput("plan.site_tariff", f"{tariff.name} prices the energy itself, and so does the market")
    if tariff.currency != currency:
        raise InvalidInput("plan.site_tariff", f"{tariff.name} is in {tariff.currency}, the portfolio in {currency}")
    shift = np.empty(grid.count)
    day = DeliveryDay.containing(grid.start, tariff.time_zone)
    while day.interval.start < grid.end:
        prices = np.array([float(price) for price in tariff.prices_per_mwh(day)])
        first = (day.interval.start - grid.start) // grid.step
        begin, end = max(0, first), min(grid.count, first + len(prices))
        shift[begin:end] = prices[begin - first : end - first]
        day = day.next()
    return shift


async def demand_of(
    store: Store, tenant: str, point: str, tariff: SiteTariff, day: date, now: datetime
) -> DemandTariff | None:
    """Return the charge on the highest power of a connection point in the month of a delivery day; None when there is none."""
    per_kw = float(tariff.demand_per_kw(day))
    if per_kw <= 0.0:
        return None
    month = datetime.combine(day.replace(day=1), time(0), tzinfo=zone_of(tariff.time_zone))
    rows = await store.find(MeteredPeriod, tenant, {"connection_point": point}, since=month, until=now, limit=ALL)
    return DemandTariff(eur_per_kw=per_kw, peak_so_far_kw=peak_kw([row.record for row in rows]))


def peak_kw(periods: Sequence[MeteredPeriod]) -> float:
    """Return the highest mean power of the periods that were measured well enough, at least 0."""
    found = [
        period.energy_kwh * 3600.0 / (period.end - period.start).total_seconds()
        for period in periods
        if period.coverage >= _TRUSTED_COVERAGE
    ]
    return max([0.0, *found])
