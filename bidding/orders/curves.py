"""From a planned draw to what a market takes: lots, price ticks and a demand curve per delivery period.

A curve says how much is wanted at which price, cumulatively: the volume of a point is bought at every clearing price up to
the point's price. It never increases with the price. What must run whatever it costs stands at the market's maximum price;
what can be had cheaper elsewhere stands at the price where elsewhere becomes cheaper.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np

from bidding.arrays import FloatArray, finite_vector
from gateway.domain.bids import CurvePoint
from gateway.domain.errors import InvalidInput

HALF_LOT = 0.5
LOT_TOLERANCE = 1e-9
"""A volume this close (in lots) to a border counts as on it, so that 0.3 MW is three lots of 0.1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketRules:
    """What one auction accepts. Exchanges differ and change these: they are configuration."""

    lot_mw: Decimal = Decimal("0.1")
    """Volumes are multiples of this."""
    min_volume_mw: Decimal = Decimal("0.1")
    """Smallest volume worth an order; at least one lot."""
    min_price_per_mwh: Decimal = Decimal(-500)
    max_price_per_mwh: Decimal = Decimal(4000)
    """Also the price of an order at any price."""
    price_tick: Decimal = Decimal("0.01")
    max_points: int = 200
    """Most points of one curve."""
    slots_per_period: int = 1
    """Slots of the planning grid in one delivery period: 1 for quarter-hours, 4 where the market still trades hours."""

    def __post_init__(self) -> None:
        """Reject lots and ticks that are not positive, reversed prices and curves without room for two points."""
        for field in ("lot_mw", "price_tick"):
            if not getattr(self, field) > 0:
                raise InvalidInput(f"market.{field}", "must be above 0")
        if self.min_volume_mw < self.lot_mw:
            raise InvalidInput("market.min_volume_mw", "must be at least one lot")
        if self.max_price_per_mwh <= self.min_price_per_mwh:
            raise InvalidInput("market.max_price_per_mwh", "must be above min_price_per_mwh")
        for field, least in (("max_points", 2), ("slots_per_period", 1)):
            if getattr(self, field) < least:
                raise InvalidInput(f"market.{field}", f"must be at least {least}")

    def legal_price(self, price_per_mwh: float) -> Decimal:
        """Return the price on the tick and inside the market's range."""
        ticks = (Decimal(repr(float(price_per_mwh))) / self.price_tick).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
        return min(max(ticks * self.price_tick, self.min_price_per_mwh), self.max_price_per_mwh)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tranche:
    """A part of the volume of one delivery period and the highest price it is worth.

    Only a part at the market's maximum price may be negative (sold at any price): a curve never falls with a falling price.
    """

    limit_price_per_mwh: Decimal
    volume_mw: float


def round_to_lots(volume_mw: FloatArray, lot_mw: Decimal, capability_mw: FloatArray | None = None) -> tuple[int, ...]:
    """Round volumes to whole lots so that the energy stays right over the day.

    Error diffusion: what one period loses by rounding is carried into the next, so the running energy error stays within
    half a lot in one period. Where the rounded volume would exceed what can physically be drawn it is cut to the lot below:
    capability goes before energy. What is cut is made up for later by at most one lot per period, so that no period gets a
    heap that nobody planned.

    Args:
        volume_mw: Wanted volume per delivery period; negative when sold.
        lot_mw: Size of a lot.
        capability_mw: Most that can be drawn per period; None when the wanted volumes need no cut.

    Returns:
        Number of lots per period.
    """
    lot = float(lot_mw)
    wanted = finite_vector("volume_mw", volume_mw) / lot
    most = np.full(len(wanted), np.inf)
    if capability_mw is not None:
        most = np.floor(finite_vector("capability_mw", capability_mw, len(wanted)) / lot + LOT_TOLERANCE)
    carried = 0.0
    lots: list[int] = []
    for volume, limit in zip(wanted, most, strict=True):
        target = volume + min(carried, 1.0)
        rounded = min(float(np.floor(target + HALF_LOT + LOT_TOLERANCE)), float(limit))
        carried += volume - rounded
        lots.append(int(rounded))
    return tuple(lots)


def demand_curve(tranches: Sequence[Tranche], total_lots: int, rules: MarketRules) -> tuple[CurvePoint, ...]:
    """Return the curve of one delivery period.

    The tranches decide the shape, `total_lots` the volume at the lowest price: cumulative volumes are rounded to lots one
    by one (never beyond the total), so that rounding never loses a tranche's neighbour.

    Args:
        tranches: In any order; equal prices are put together.
        total_lots: Lots of the period after rounding over the day.
        rules: Lot, price range and number of points.

    Returns:
        Points in ascending price. The last one is at the market's maximum price, with volume 0 when nothing must run.
    """
    by_price: dict[Decimal, float] = {rules.max_price_per_mwh: 0.0}
    for tranche in tranches:
        by_price[tranche.limit_price_per_mwh] = by_price.get(tranche.limit_price_per_mwh, 0.0) + tranche.volume_mw
    prices = sorted(by_price, reverse=True)
    running = np.cumsum([by_price[price] for price in prices]) / float(rules.lot_mw)
    lots = [min(int(np.floor(value + HALF_LOT + LOT_TOLERANCE)), total_lots) for value in running]
    lots[-1] = total_lots
    points: list[CurvePoint] = []
    for price, count in zip(prices, lots, strict=True):
        if points and count * rules.lot_mw == points[-1].volume_mw:
            continue
        points.append(CurvePoint(price_per_mwh=price, volume_mw=count * rules.lot_mw))
    return tuple(reversed(_at_most(points, rules.max_points)))


def _at_most(points: list[CurvePoint], count: int) -> list[CurvePoint]:
    """Keep the first and last point and drop the smallest steps between until the market accepts the number.

    A dropped step is bought only at the next lower price: fewer points never make the order dearer.
    """
    kept = list(points)
    while len(kept) > count:
        steps = [kept[i].volume_mw - kept[i - 1].volume_mw for i in range(1, len(kept) - 1)]
        del kept[1 + steps.index(min(steps))]
    return kept


def newsvendor_volume(demand: FloatArray, *, price: float, surplus_price: float, shortage_price: float) -> float:
    """Return the volume to buy when demand is uncertain and deviations have two prices.

    The smallest volume whose probability of being enough reaches `(shortage - price) / (shortage - surplus)`.

    Args:
        demand: Equally likely outcomes, any energy unit.
        price: What buying now costs.
        surplus_price: What is got for each unit too much; at most `price`.
        shortage_price: What each unit too little costs; at least `price`, and above `surplus_price`.

    Raises:
        InvalidInput: No outcome, or prices in another order (then buying nothing or without bound would be optimal).
    """
    outcomes = np.sort(finite_vector("demand", demand))
    if not outcomes.size:
        raise InvalidInput("demand", "must have at least one outcome")
    if not surplus_price <= price <= shortage_price or surplus_price == shortage_price:
        raise InvalidInput("price", "must lie between surplus_price and shortage_price")
    fractile = (shortage_price - price) / (shortage_price - surplus_price)
    rank = int(np.ceil(fractile * len(outcomes) - LOT_TOLERANCE))
    return float(outcomes[max(rank, 1) - 1])
