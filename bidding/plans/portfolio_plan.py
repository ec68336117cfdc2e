"""From what was known at an instant to the plan of a portfolio for one delivery day, in one call for a worker process.

Cars that are plugged in are planned with what they said, or with what like cars did; cars to come are forecast from earlier
days; prices that are not published are forecast from earlier days. The horizon reaches past the delivery day, so that a car that
stays overnight is planned whole. What goes in and what comes out is small and picklable.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray
from bidding.fleet.sessions import SessionArrays, join_sessions
from bidding.forecasts.prices import PastPrices, PriceForecast, forecast_prices
from bidding.forecasts.sessions import (
    EARLY_DEPARTURE_QUANTILE,
    ForecastFrame,
    LearnedStays,
    SessionHistory,
    expected_sessions,
    find_sources,
)
from bidding.optimum.optimise import OptimiserOptions
from bidding.optimum.outcome import Feasible, Infeasible, Proved
from bidding.optimum.site_plan import DemandTariff, SiteFlexibility, SitePlan
from bidding.orders.curves import MarketRules
from bidding.orders.order import DayAheadOrder, TooSmallToBid
from bidding.plans.day_ahead import DEFAULT_MARGIN_EUR_PER_MWH, DayAheadPlan, DayAheadRequest, plan_day_ahead
from gateway.domain.bids import BidPeriod
from gateway.domain.timegrid import DeliveryDay, TimeGrid

MEDIAN = 0.5
GIVING_WAY_SHARE = 0.05
"""Up to this share of the needed energy may not fit (a driver asked for more than the window holds): still feasible."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PointInputs:
    """One connection point; arrays have one value per slot of the planning grid."""

    connection_point: str
    site_class: str
    cap_kw: FloatArray
    """Most its meter may show."""
    other_load_kw: FloatArray | None = None
    price_shift_eur_per_mwh: FloatArray | None = None
    """What a MWh costs here on top of the energy price, for example network fees, taxes, carbon; None for nothing."""
    demand_tariff: DemandTariff | None = None
    """What the highest power of the billing month costs here; None for nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PresentSessions:
    """Cars that are plugged in now, in columns; NaN is unknown."""

    arrival_s: IntArray
    """Seconds since 1970-01-01 UTC."""
    expected_departure_s: FloatArray
    """What the driver said; NaN when nothing."""
    power_kw: FloatArray
    energy_needed_kwh: FloatArray
    """What the driver asked for in total; NaN when nothing."""
    delivered_kwh: FloatArray
    site_index: IntArray

    def __len__(self) -> int:
        return len(self.arrival_s)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PortfolioInputs:
    """Everything a plan depends on."""

    grid: TimeGrid
    delivery_day: DeliveryDay
    known_until: datetime
    """Nothing later went in."""
    points: tuple[PointInputs, ...]
    history: SessionHistory
    present: PresentSessions
    prices: tuple[PastPrices, ...]
    """Published day-ahead prices by delivery day on the step of the grid: the past, and the horizon as far as known."""
    market: MarketRules | None
    """What the auction accepts; None without a route to one: the prices are then those of the supply contract."""
    options: OptimiserOptions = field(default_factory=OptimiserOptions)
    holidays: AbstractSet[date] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PointResult:
    """The plan of one connection point on the delivery day."""

    power_kw: FloatArray
    """Draw of the chargers per delivery slot."""
    before_kw: FloatArray
    """Draw of the chargers per slot from the start of the planning grid until the delivery day begins."""
    uncontrolled_kw: FloatArray
    session_count: int
    """Sessions expected to arrive on the day."""
    energy_kwh: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PortfolioResult:
    """The plan of a portfolio on the delivery day."""

    outcome: str
    """`proved`, `feasible`, `infeasible`, `timed-out` or `too-small`."""
    gap: float | None
    """Certified distance to the optimum relative to what the energy costs; None when there is none."""
    message: str
    points: tuple[PointResult, ...]
    periods: tuple[BidPeriod, ...]
    """The order; empty when there is too little to bid or the plan is not usable."""
    price_eur_per_mwh: FloatArray
    """Prices per delivery slot that the plan believed."""
    is_price_forecast: bool
    price_note: str
    expected_cost_eur: Decimal
    """Of the delivery day, at the believed prices."""
    uncontrolled_cost_eur: Decimal
    horizon_saving_eur: Decimal
    """Uncontrolled minus planned over the whole horizon, for the same energy."""


def plan_portfolio(inputs: PortfolioInputs) -> PortfolioResult:
    """Plan all connection points and make the order of the delivery day.

    Raises:
        InvalidInput: There is no complete past day of sessions or of prices, or a column is wrong; the field is named.
        SolutionRejected: The independent check refused a solution.
    """
    price, forecasts = horizon_prices(inputs)
    sessions = sessions_of(inputs)
    sites = tuple(
        SiteFlexibility(
            connection_point=point.connection_point,
            sessions=sessions.at_site(index),
            cap_kw=point.cap_kw,
            inflexible_kw=point.other_load_kw,
            price_shift_eur_per_mwh=point.price_shift_eur_per_mwh,
            demand_tariff=point.demand_tariff,
        )
        for index, point in enumerate(inputs.points)
    )
    plan = plan_day_ahead(
        DayAheadRequest(
            grid=inputs.grid,
            delivery_day=inputs.delivery_day,
            price_eur_per_mwh=price,
            sites=sites,
            market=inputs.market,
            options=inputs.options,
            limit_margin_eur_per_mwh=_margin_eur_per_mwh(forecasts.get(inputs.delivery_day.day)),
        )
    )
    return _result(inputs, plan, price, forecasts)


def horizon_prices(inputs: PortfolioInputs) -> tuple[FloatArray, dict[date, PriceForecast]]:
    """Return the price per slot of the planning grid, published where known, and the forecasts used elsewhere.

    Raises:
        InvalidInput: No earlier day's prices are known to forecast from.
    """
    known = {one.day.day: one for one in inputs.prices}
    price = np.empty(inputs.grid.count)
    forecasts: dict[date, PriceForecast] = {}
    day = DeliveryDay.containing(inputs.grid.start, inputs.delivery_day.zone)
    while day.interval.start < inputs.grid.end:
        if day.day in known:
            values = known[day.day].price_eur_per_mwh
        else:
            past = [one for one in inputs.prices if one.day.day < day.day]
            forecasts[day.day] = forecast_prices(past, day, step=inputs.grid.step, holidays=inputs.holidays)
            values = forecasts[day.day].price_eur_per_mwh
        first = (day.interval.start - inputs.grid.start) // inputs.grid.step
        begin, end = max(0, first), min(inputs.grid.count, first + len(values))
        price[begin:end] = values[begin - first : end - first]
        day = day.next()
    return price, forecasts


def sessions_of(inputs: PortfolioInputs) -> SessionArrays:
    """Return the cars that are there and the cars that are expected, in slots of the planning grid."""
    frame = ForecastFrame(
        grid=inputs.grid,
        zone=inputs.delivery_day.zone,
        known_until=inputs.known_until,
        holidays=inputs.holidays,
    )
    coming = expected_sessions(_believable_history(inputs), frame).sessions
    return join_sessions([present_sessions(inputs), coming])


def _believable_history(inputs: PortfolioInputs) -> SessionHistory:
    """Return the past as the cars to come are planned from it: those of silent drivers stay no longer than is believed."""
    if not len(inputs.history):
        return inputs.history
    return _learned(inputs).without_promises(inputs.history, _site_classes(inputs), EARLY_DEPARTURE_QUANTILE)


def _site_classes(inputs: PortfolioInputs) -> list[str]:
    return [point.site_class for point in inputs.points]


def _learned(inputs: PortfolioInputs) -> LearnedStays:
    return LearnedStays.learn(
        inputs.history, _site_classes(inputs), zone=inputs.delivery_day.zone, known_until=inputs.known_until
    )


def present_sessions(inputs: PortfolioInputs) -> SessionArrays:
    """Return the cars that are plugged in with what they still need and until when they are believed to stay.

    A car that overstays what its driver said is believed to leave within the slot; what it then cannot get is not planned.
    """
    present, grid = inputs.present, inputs.grid
    departure_s, needed_kwh = _beliefs(inputs)
    left_kwh = np.maximum(needed_kwh - present.delivered_kwh, 0.0)
    origin_s, step_s = grid.start.timestamp(), grid.step.total_seconds()
    first = np.maximum(np.floor((present.arrival_s - origin_s) / step_s), 0.0).astype(np.int64)
    last = np.maximum(np.floor((departure_s - origin_s) / step_s).astype(np.int64), first + 1)
    rate = present.power_kw * grid.step_hours
    energy = np.minimum(left_kwh, rate * (last - first))
    wanted: BoolArray = energy > 0.0
    return SessionArrays(
        arrival_slot=first[wanted],
        departure_slot=last[wanted],
        rate_kwh_per_slot=rate[wanted],
        energy_min_kwh=energy[wanted],
        energy_max_kwh=energy[wanted],
        site_index=present.site_index[wanted],
    )


def _beliefs(inputs: PortfolioInputs) -> tuple[FloatArray, FloatArray]:
    """Return departure (epoch seconds) and total energy of every present car: said, or learned from like cars."""
    present = inputs.present
    departure_s = present.expected_departure_s.copy()
    needed_kwh = present.energy_needed_kwh.copy()
    silent = np.flatnonzero(np.isnan(departure_s) | np.isnan(needed_kwh))
    if not silent.size:
        return departure_s, needed_kwh
    classes = _site_classes(inputs)
    stays = _learned(inputs)
    for row in silent.tolist():
        site_class = classes[int(present.site_index[row])]
        arrival = datetime.fromtimestamp(int(present.arrival_s[row]), tz=UTC)
        if np.isnan(departure_s[row]):
            believed = stays.believe_departure(
                site_class, arrival, EARLY_DEPARTURE_QUANTILE, still_there_at=inputs.known_until
            )
            departure_s[row] = believed.timestamp()
        if np.isnan(needed_kwh[row]):
            delivered = float(present.delivered_kwh[row])
            needed_kwh[row] = stays.believe_energy(site_class, arrival, MEDIAN, delivered_kwh=delivered)
    return departure_s, needed_kwh


def _margin_eur_per_mwh(forecast: PriceForecast | None) -> float:
    """Return what flexible volume may cost above its alternative: the forecast's own error, where it is known."""
    if forecast is None or forecast.mae_eur_per_mwh is None:
        return DEFAULT_MARGIN_EUR_PER_MWH
    return forecast.mae_eur_per_mwh


def _result(
    inputs: PortfolioInputs, plan: DayAheadPlan, price: FloatArray, forecasts: Mapping[date, PriceForecast]
) -> PortfolioResult:
    outcome, gap, message = _verdict(inputs, plan)
    delivery = plan.delivery_slots
    counts = _arrivals_expected(inputs)
    forecast = forecasts.get(inputs.delivery_day.day)
    is_usable = outcome in {Proved.kind, Feasible.kind}
    order = plan.order
    return PortfolioResult(
        outcome=outcome,
        gap=gap,
        message=message,
        points=tuple(
            PointResult(
                power_kw=site.flexible_kw[delivery],
                before_kw=site.flexible_kw[: delivery.start],
                uncontrolled_kw=site.uncontrolled_kw[delivery],
                session_count=count,
                energy_kwh=float(site.flexible_kw[delivery].sum()) * plan.grid.step_hours,
            )
            for site, count in zip(plan.sites, counts, strict=True)
        ),
        periods=order.periods if is_usable and isinstance(order, DayAheadOrder) else (),
        price_eur_per_mwh=price[delivery],
        is_price_forecast=forecast is not None,
        price_note="" if forecast is None else _price_note(forecast),
        expected_cost_eur=plan.delivery_cost.planned_eur,
        uncontrolled_cost_eur=plan.delivery_cost.uncontrolled_eur,
        horizon_saving_eur=plan.horizon_cost.saving_eur,
    )


def _price_note(forecast: PriceForecast) -> str:
    days = ", ".join(day.isoformat() for day in forecast.source_days)
    error = "unknown" if forecast.mae_eur_per_mwh is None else f"{forecast.mae_eur_per_mwh:.1f} per MWh"
    return f"forecast from {days}; mean absolute error of this method on past days {error}"


def _verdict(inputs: PortfolioInputs, plan: DayAheadPlan) -> tuple[str, float | None, str]:
    """Return outcome, relative gap and a sentence for people."""
    outcomes = [site.outcome for site in plan.sites]
    conflicts = [_conflict_sentence(inputs, site) for site in plan.sites if isinstance(site.outcome, Infeasible)]
    needed = sum(float(site.fitted.sessions.energy_min_kwh.sum()) for site in plan.sites)
    unserved = sum(float(site.unserved_kwh.sum()) for site in plan.sites if site.is_best_effort)
    known = [one for one in outcomes if isinstance(one, Proved | Feasible)]
    turnover = sum(abs(one.objective_eur) for one in known)
    gap = sum(one.gap_eur for one in known) / max(turnover, 1.0) if known else None
    if any(site.outcome.kind == "timed-out" for site in plan.sites):
        return "timed-out", gap, "the search ended before a schedule was found"
    if unserved > GIVING_WAY_SHARE * needed:
        return Infeasible.kind, gap, "; ".join(conflicts)
    if isinstance(plan.order, TooSmallToBid):
        return "too-small", gap, plan.order.reason
    worst = Feasible.kind if conflicts or any(isinstance(one, Feasible) for one in outcomes) else Proved.kind
    saving = f"saves {plan.horizon_cost.saving_eur} against uncontrolled charging of the same energy"
    if conflicts:
        return worst, gap, f"{saving}; {unserved:.1f} kWh of {needed:.0f} kWh do not fit: {'; '.join(conflicts)}"
    return worst, gap, saving


def _conflict_sentence(inputs: PortfolioInputs, site: SitePlan) -> str:
    if not isinstance(site.outcome, Infeasible) or not site.outcome.conflicts:
        return f"{site.connection_point} cannot serve every need"
    conflict = site.outcome.conflicts[0]
    when = ""
    if conflict.slots:
        first = inputs.grid.slot_start(conflict.slots[0])
        last = inputs.grid.slot_start(conflict.slots[-1]) + inputs.grid.step
        when = f" between {first:%Y-%m-%d %H:%M}Z and {last:%Y-%m-%d %H:%M}Z"
    return (
        f"at {site.connection_point}{when} {conflict.must_flow_kwh:.1f} kWh must flow, "
        f"the limit allows {conflict.allowed_kwh:.1f} kWh"
    )


def _arrivals_expected(inputs: PortfolioInputs) -> Sequence[int]:
    """Return how many sessions are expected to arrive on the delivery day, per point: the mean of the source days."""
    frame = ForecastFrame(
        grid=inputs.grid, zone=inputs.delivery_day.zone, known_until=inputs.known_until, holidays=inputs.holidays
    )
    counts = np.zeros(len(inputs.points))
    for source in find_sources(inputs.history, frame, inputs.delivery_day.day).days:
        span = DeliveryDay(day=source.day, zone=inputs.delivery_day.zone)
        start, end = span.interval.start.timestamp(), span.next().interval.start.timestamp()
        rows = (inputs.history.arrival_s >= start) & (inputs.history.arrival_s < end)
        counts += source.weight * np.bincount(inputs.history.site_index[rows], minlength=len(counts))
    return [int(count) for count in np.rint(counts)]
