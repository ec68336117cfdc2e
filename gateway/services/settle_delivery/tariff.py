"""A delivery day that was bought on a tariff: what the chargers drew, what it cost and emitted, against uncontrolled charging.

Nothing is traded, so there is no position and no settlement: cost is metered energy times the tariff's energy price. The demand
charge is billed on the month's peak and is not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np

from bidding.arrays import FloatArray
from gateway.domain.errors import NotFound, PreconditionFailed
from gateway.domain.series import CarbonSeries, PriceProduct, PriceSeries
from gateway.domain.settlement import TariffCost, TariffDay
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.domain.topology import ConnectionPoint, Node, Portfolio, Route
from gateway.domain.used_inputs import known_carbon, published_prices
from gateway.ports import Store
from gateway.services.settle_delivery.facts import ALL, FactReader, Meters
from gateway.services.settle_delivery.prices import per_period

_DIGITS = 6
_G_PER_KG = 1000.0
_KWH_PER_MWH = Decimal(1000)


@dataclass(frozen=True, kw_only=True, slots=True)
class TariffFacts:
    """Everything that the cost of a day on a tariff is computed from."""

    portfolio: Portfolio
    delivery_day: str
    grid: TimeGrid
    meters: Meters
    """By connection point, in the order of their ids."""
    prices: PriceSeries
    carbon: CarbonSeries | None


async def read_tariff_facts(
    reader: FactReader, store: Store, tenant: str, portfolio_id: str, delivery_day: str
) -> TariffFacts:
    """Return the facts of a delivery day; `delivery_day` is an ISO date in the portfolio's time zone.

    Raises:
        NotFound: There is no such portfolio.
        PreconditionFailed: The portfolio trades, or the tariff's prices of the day are not known.
    """
    row = await store.get(Portfolio, tenant, portfolio_id)
    if row is None:
        raise NotFound("portfolio", portfolio_id)
    portfolio = row.record
    if portfolio.route is not Route.TARIFF_ONLY:
        raise PreconditionFailed(f"{portfolio_id} trades: its days are settled, see its positions")
    day = DeliveryDay(day=date.fromisoformat(delivery_day), zone=portfolio.time_zone)
    grid = day.grid()
    prices = await reader.prices.complete_series(tenant, portfolio.bidding_zone, PriceProduct.TARIFF_ENERGY, day)
    points = await _points_of(store, tenant, portfolio_id)
    where = {"zone": portfolio.bidding_zone}
    carbon = await store.find(CarbonSeries, tenant, where, since=grid.start, until=grid.end)
    whole = [one.record for one in carbon if one.record.grid == grid]
    return TariffFacts(
        portfolio=portfolio,
        delivery_day=delivery_day,
        grid=grid,
        meters={point: await reader.meters(tenant, point, grid) for point in points},
        prices=prices,
        carbon=max(whole, key=lambda series: series.fetched_at, default=None),
    )


async def _points_of(store: Store, tenant: str, portfolio_id: str) -> list[str]:
    parent = {row.record.id: row.record.parent for row in await store.find(Node, tenant, limit=ALL)}
    rows = await store.find(ConnectionPoint, tenant, limit=ALL)
    return sorted(row.record.id for row in rows if _is_below(parent, row.record.site, portfolio_id))


def _is_below(parent: dict[str, str | None], node: str, top: str) -> bool:
    at: str | None = node
    while at is not None and at != top:
        at = parent.get(at)
    return at == top


def tariff_day(facts: TariffFacts, uncontrolled_kwh: FloatArray) -> TariffDay:
    """Return cost and emissions of a day.

    Args:
        facts: What is known.
        uncontrolled_kwh: Modelled energy per connection point, in the order of the meters, and delivery period.
    """
    prices = per_period(facts.prices, facts.grid)
    carbon = None if facts.carbon is None else facts.carbon.intensity_g_per_kwh
    points = []
    for (point, meters), modelled in zip(facts.meters.items(), uncontrolled_kwh, strict=True):
        charged = np.array([0.0 if meter is None else meter.chargers_kwh for meter in meters])
        points.append(
            TariffCost(
                connection_point=point,
                metered_period_count=sum(meter is not None for meter in meters),
                charged_kwh=_exact(charged.sum()),
                cost=_cost(charged, prices),
                emissions_kg=_emissions_kg(charged, carbon),
                uncontrolled_kwh=_exact(modelled.sum()),
                uncontrolled_cost=_cost(modelled, prices),
                uncontrolled_emissions_kg=_emissions_kg(modelled, carbon),
            )
        )
    return TariffDay(
        portfolio=facts.portfolio.id,
        delivery_day=facts.delivery_day,
        currency=facts.prices.currency,
        period_count=facts.grid.count,
        price_series=facts.prices.id,
        carbon_series=None if facts.carbon is None else facts.carbon.id,
        points=tuple(points),
        inputs=(
            published_prices(facts.prices),
            *(() if facts.carbon is None else (known_carbon(facts.carbon),)),
        ),
    )


def _exact(energy_kwh: float) -> Decimal:
    return Decimal(str(round(float(energy_kwh), _DIGITS)))


def _cost(energy_kwh: FloatArray, prices_per_mwh: Sequence[Decimal]) -> Decimal:
    """Return the sum of energy times price; exact from the milliwatt-hour on."""
    rows = zip(energy_kwh.tolist(), prices_per_mwh, strict=True)
    return sum((_exact(kwh) * price / _KWH_PER_MWH for kwh, price in rows), Decimal(0))


def _emissions_kg(energy_kwh: FloatArray, intensity_g_per_kwh: Sequence[float | None] | None) -> float | None:
    """Return the CO2 of the energy; None when energy was drawn in a period whose intensity is not known."""
    if intensity_g_per_kwh is None:
        return None
    grams = 0.0
    for kwh, intensity in zip(energy_kwh.tolist(), intensity_g_per_kwh, strict=True):
        if kwh == 0.0:
            continue
        if intensity is None:
            return None
        grams += kwh * intensity
    return grams / _G_PER_KG
