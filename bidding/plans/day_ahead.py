"""The day-ahead plan of a portfolio: schedules, costs against uncontrolled charging, and the order for one delivery day.

The planning grid is longer than the delivery day, typically from noon the day before to noon the day after, so that cars
that stay overnight are planned whole and energy after midnight has its price. The order takes only the slots of the
delivery day. One value goes in, one comes out; both travel to and from a worker process.

```
   12:00 D-1        00:00 D                    00:00 D+1        12:00 D+1
      |--- known -----|======= ordered now ========|--- forecast ---|
```
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from bidding.arrays import FloatArray, finite_vector
from bidding.optimum.optimise import OptimiserOptions
from bidding.optimum.site_plan import NO_COST, EnergyCost, SiteFlexibility, SitePlan, plan_site
from bidding.orders.curves import MarketRules
from bidding.orders.order import DayAheadOrder, TooSmallToBid, make_order, offer_of
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid

DEFAULT_MARGIN_EUR_PER_MWH = 20.0


class ScheduleBasis(StrEnum):
    """Which price the schedules are made for."""

    DAY_AHEAD = "day-ahead"
    TARIFF = "tariff"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DayAheadRequest:
    """Everything a plan depends on; nothing else does, so the same request gives the same plan."""

    grid: TimeGrid
    """Planning grid; covers the delivery day, and longer on both sides for cars that stay overnight."""
    delivery_day: DeliveryDay
    price_eur_per_mwh: FloatArray
    """Day-ahead price per slot: known where published, forecast elsewhere, shape (T,)."""
    sites: tuple[SiteFlexibility, ...]
    """Connection points of one bidding zone, each once."""
    market: MarketRules | None = field(default_factory=MarketRules)
    """What the auction accepts; None when the portfolio has no route to a market and only its tariff counts."""
    tariff_eur_per_mwh: FloatArray | None = None
    """Energy price of the supply contract, used when there is no order; None when it follows `price_eur_per_mwh`."""
    limit_margin_eur_per_mwh: float = DEFAULT_MARGIN_EUR_PER_MWH
    """What flexible volume may cost above its dearest forecast alternative; the forecast's error is a good value."""
    options: OptimiserOptions = field(default_factory=OptimiserOptions)

    def __post_init__(self) -> None:
        """Reject series off the grid, a delivery day outside it and connection points that come twice."""
        for name in ("price_eur_per_mwh", "tariff_eur_per_mwh"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, finite_vector(name, value, self.grid.count))
        if not np.isfinite(self.limit_margin_eur_per_mwh) or self.limit_margin_eur_per_mwh < 0.0:
            raise InvalidInput("limit_margin_eur_per_mwh", "must be a finite number of at least 0")
        day = self.delivery_day.interval
        if day.start < self.grid.start or day.end is None or day.end > self.grid.end:
            raise InvalidInput("grid", "must cover the delivery day")
        per_period = 1 if self.market is None else self.market.slots_per_period
        if (self.delivery_slots.stop - self.delivery_slots.start) % per_period:
            raise InvalidInput("market.slots_per_period", "does not divide the delivery day")
        points = [site.connection_point for site in self.sites]
        if len(set(points)) != len(points):
            raise InvalidInput("sites", "has a connection point twice")
        for index, site in enumerate(self.sites):
            if len(site.cap_kw) != self.grid.count:
                raise InvalidInput(f"sites[{index}].cap_kw", f"must have {self.grid.count} values")

    @property
    def delivery_slots(self) -> slice:
        """Slots of the planning grid on the delivery day: 92, 96 or 100 quarter-hours."""
        return self.grid.sub(self.delivery_day.interval)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DayAheadPlan:
    """The plan of a portfolio."""

    grid: TimeGrid
    delivery_slots: slice
    """Slots of the delivery day in all per-slot arrays."""
    basis: ScheduleBasis
    """`TARIFF` when there is too little to bid and the schedules follow the supply contract instead."""
    sites: tuple[SitePlan, ...]
    """In the order of the request."""
    volume_mw: FloatArray
    """Planned draw of all connection points per slot of the planning grid."""
    order: DayAheadOrder | TooSmallToBid | None
    """None when the request names no market."""
    horizon_cost: EnergyCost
    """Over the planning grid: planned and uncontrolled charge the same energy, so this is the fair comparison."""
    delivery_cost: EnergyCost
    """The share of the delivery day; energies may differ, because charging moves over midnight."""

    @property
    def is_complete(self) -> bool:
        """Whether every need is met inside every limit at every connection point."""
        return not any(site.is_best_effort or site.unserved_kwh.any() for site in self.sites)


def plan_day_ahead(request: DayAheadRequest) -> DayAheadPlan:
    """Plan all connection points and make the order for the delivery day.

    Connection points have nothing in common but the price, so each is optimised on its own and the order is their sum. When
    no delivery period reaches the market's smallest volume, the schedules are made for the tariff instead and the order is
    `TooSmallToBid`; without a market there is no order and the tariff counts from the start.

    Raises:
        SolutionRejected: The independent check refused a solution.
    """
    if request.market is None:
        return _plan_for_tariff(request, None)
    plans = _plan_sites(request, request.price_eur_per_mwh)
    offers = [
        offer_of(site, plan, request.price_eur_per_mwh, request.limit_margin_eur_per_mwh, request.grid.step_hours)
        for site, plan in zip(request.sites, plans, strict=True)
    ]
    order = make_order(offers, request.grid, request.delivery_slots, request.market)
    if isinstance(order, TooSmallToBid):
        return _plan_for_tariff(request, order)
    return _as_plan(request, plans, order, request.price_eur_per_mwh, ScheduleBasis.DAY_AHEAD)


def _plan_for_tariff(request: DayAheadRequest, order: TooSmallToBid | None) -> DayAheadPlan:
    tariff = request.tariff_eur_per_mwh
    price = request.price_eur_per_mwh if tariff is None else tariff
    return _as_plan(request, _plan_sites(request, price), order, price, ScheduleBasis.TARIFF)


def _plan_sites(request: DayAheadRequest, price_eur_per_mwh: FloatArray) -> tuple[SitePlan, ...]:
    return tuple(plan_site(site, price_eur_per_mwh, request.grid, request.options) for site in request.sites)


def _as_plan(
    request: DayAheadRequest,
    plans: tuple[SitePlan, ...],
    order: DayAheadOrder | TooSmallToBid | None,
    price_eur_per_mwh: FloatArray,
    basis: ScheduleBasis,
) -> DayAheadPlan:
    hours = request.grid.step_hours
    whole, delivery = slice(0, request.grid.count), request.delivery_slots
    total_kw = sum((plan.site_kw for plan in plans), np.zeros(request.grid.count))
    return DayAheadPlan(
        grid=request.grid,
        delivery_slots=delivery,
        basis=basis,
        sites=plans,
        volume_mw=total_kw / 1000.0,
        order=order,
        horizon_cost=sum((plan.cost(price_eur_per_mwh, whole, hours) for plan in plans), NO_COST),
        delivery_cost=sum((plan.cost(price_eur_per_mwh, delivery, hours) for plan in plans), NO_COST),
    )
