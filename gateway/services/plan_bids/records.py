"""Turns the result of a plan into rows: the plan run, the bid with its checks, the schedules where nothing is bid."""

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bidding.orders.curves import MarketRules
from bidding.plans.portfolio_plan import PointResult, PortfolioResult
from gateway.domain.bid_checks import check_bid, terms_of
from gateway.domain.bids import Bid, BidState, CheckOutcome, PlanRun, PlanSite, Schedule, bid_content_hash
from gateway.domain.errors import InvalidInput, PreconditionFailed
from gateway.domain.price_doubts import doubts_about
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.used_inputs import FORECAST, InputKind, UsedInput, forecast_prices
from gateway.ports import AuctionInfo, OutboxItem
from gateway.services.plan_bids.knowledge import Knowledge, Scope, planned_product

GATE_TOPIC = "bid-gate"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A plan that came to nothing."""

    outcome: str
    """`timed-out` or `failed`."""
    message: str


def plan_run_of(
    plan_id: str,
    scope: Scope,
    knowledge: Knowledge,
    result: PortfolioResult | Failure,
    now: datetime,
) -> PlanRun:
    """Return the row of a plan, with the ids of everything that went in."""
    inputs = knowledge.inputs
    delivery = inputs.delivery_day.grid(inputs.grid.step)
    series = knowledge.price_series.get(inputs.delivery_day.day.isoformat())
    empty = isinstance(result, Failure)
    return PlanRun(
        id=plan_id,
        tenant=scope.portfolio.tenant,
        portfolio=scope.portfolio.id,
        delivery_day=inputs.delivery_day.day.isoformat(),
        made_at=now,
        known_until=inputs.known_until,
        outcome=result.outcome,
        gap=None if isinstance(result, Failure) else result.gap,
        message=_message(result, scope, knowledge),
        start=delivery.start,
        step_minutes=int(delivery.step.total_seconds()) // 60,
        price_series=None if series is None else series.id,
        price_per_mwh=() if isinstance(result, Failure) else _floats(result.price_eur_per_mwh.tolist()),
        price_quality=FORECAST if series is None else series.quality.value,
        carbon_series=knowledge.carbon_series,
        sites=() if isinstance(result, Failure) else _sites_of(scope, knowledge, result),
        expected_cost=Decimal(0) if isinstance(result, Failure) else result.expected_cost_eur,
        uncontrolled_cost=Decimal(0) if isinstance(result, Failure) else result.uncontrolled_cost_eur,
        currency=scope.portfolio.currency,
        limits=() if empty else knowledge.limits,
        causes=causes_of(knowledge),
        price_days=tuple(day.status.id for day in knowledge.price_days),
        price_doubts=doubts_about(knowledge.price_days),
        inputs=_inputs_of(scope, knowledge, result, now),
    )


def _inputs_of(
    scope: Scope, knowledge: Knowledge, result: PortfolioResult | Failure, now: datetime
) -> tuple[UsedInput, ...]:
    """Return what went in; prices that are not published are the forecast that was made for this plan."""
    if any(one.kind is InputKind.PRICES for one in knowledge.used):
        return knowledge.used
    note = "" if isinstance(result, Failure) else result.price_note
    return (forecast_prices(planned_product(scope.portfolio).value, now, note), *knowledge.used)


def causes_of(knowledge: Knowledge) -> tuple[str, ...]:
    """Return the links from a plan to what it was made from: prices that were known, limits, carbon."""
    inputs = knowledge.inputs
    used = {inputs.delivery_day.next(offset).day.isoformat() for offset in (-1, 0, 1)}
    latest = sorted(knowledge.price_series)[-1:]
    series = [one for day, one in sorted(knowledge.price_series.items()) if day in used or day in latest]
    links = [f"series:{one.id}" for one in series] + [f"limit:{limit}" for limit in knowledge.limits]
    return tuple(links + ([] if knowledge.carbon_series is None else [f"series:{knowledge.carbon_series}"]))


def _message(result: PortfolioResult | Failure, scope: Scope, knowledge: Knowledge) -> str:
    if isinstance(result, Failure):
        return result.message
    sentences = [result.message]
    if result.price_note:
        sentences.append(f"prices: {result.price_note}")
    sentences += [f"prices: {doubt}" for doubt in doubts_about(knowledge.price_days)]
    unread = [point.connection_point for point in knowledge.inputs.points if point.other_load_kw is None]
    if unread:
        where = f"{len(unread)} of {len(scope.points)} connection points, first {unread[0]}"
        sentences.append(f"other load is unknown and not bought at {where}: no meter history")
    return "; ".join(sentences)


def _sites_of(scope: Scope, knowledge: Knowledge, result: PortfolioResult) -> tuple[PlanSite, ...]:
    inputs = knowledge.inputs
    delivery = inputs.grid.sub(inputs.delivery_day.interval)
    sites = []
    for point, given, planned in zip(scope.points, inputs.points, result.points, strict=True):
        other = () if given.other_load_kw is None else _floats(given.other_load_kw[delivery].tolist())
        sites.append(_site(point.id, point.site, planned, other))
    return tuple(sites)


def _site(point: str, node: str, planned: PointResult, other_load_kw: tuple[float, ...]) -> PlanSite:
    return PlanSite(
        connection_point=point,
        node=node,
        power_kw=_floats(planned.power_kw.tolist()),
        session_count=planned.session_count,
        energy_kwh=planned.energy_kwh,
        uncontrolled_kw=_floats(planned.uncontrolled_kw.tolist()),
        other_load_kw=other_load_kw,
    )


def _floats(values: list[float]) -> tuple[float, ...]:
    """Round to the milliwatt: what is below is the solver's noise and would make equal plans look different."""
    return tuple(round(value, 6) + 0.0 for value in values)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Planned:
    """A usable plan and the auction that takes orders for it."""

    scope: Scope
    plan: PlanRun
    result: PortfolioResult
    auction: AuctionInfo


def draft_bid(bid_id: str, version: int, planned: Planned, drafted_by: str) -> Bid:
    """Return the bid that a plan leads to, checked: VALIDATED when every check passed, else a DRAFT that says what failed."""
    portfolio, plan, auction = planned.scope.portfolio, planned.plan, planned.auction
    periods = planned.result.periods
    draft = Bid(
        id=bid_id,
        tenant=portfolio.tenant,
        portfolio=portfolio.id,
        delivery_day=plan.delivery_day,
        time_zone=portfolio.time_zone,
        bidding_zone=portfolio.bidding_zone,
        auction=auction.id,
        version=version,
        currency=auction.currency,
        lot_mw=Decimal(auction.lot_mw),
        gate_closure=auction.gate_closure,
        route=portfolio.route,
        brp=portfolio.brp,
        plan=plan.id,
        periods=periods,
        state=BidState.DRAFT,
        checks=(),
        content_hash=bid_content_hash(
            portfolio=portfolio.id,
            delivery_day=plan.delivery_day,
            auction=auction.id,
            currency=auction.currency,
            route=portfolio.route,
            brp=portfolio.brp,
            periods=periods,
        ),
        min_price_per_mwh=Decimal(auction.min_price_per_mwh),
        max_price_per_mwh=Decimal(auction.max_price_per_mwh),
        drafted_by=drafted_by,
        drafted_at=plan.made_at,
    )
    terms = terms_of(draft, plan, portfolio, planned.scope.points, plan.price_doubts)
    checks = check_bid(draft.periods, terms, plan.made_at)
    is_valid = all(check.outcome is not CheckOutcome.FAILED for check in checks)
    return dataclasses.replace(draft, checks=checks, state=BidState.VALIDATED if is_valid else BidState.DRAFT)


def gate_item(bid: Bid) -> OutboxItem:
    """Return the deadline of a bid: at its gate, what nobody approved has missed it."""
    return OutboxItem(
        id=f"{GATE_TOPIC}:{bid.id}", tenant=bid.tenant, topic=GATE_TOPIC, key=bid.id, due_at=bid.gate_closure
    )


def free_slots(plan: PlanRun) -> tuple[bool, ...]:
    """Tell per slot whether a portfolio on a tariff may charge at will: half of the planned energy costs as much or more.

    No position has to be kept, and a car that nobody expected is best served while energy is cheap. Only the dearer slots
    hold back what can wait. A plan without energy holds nothing back.
    """
    drawn_kw = [sum(site.power_kw[slot] for site in plan.sites) for slot in range(len(plan.price_per_mwh))]
    left_kw = sum(drawn_kw) / 2.0
    median = max(plan.price_per_mwh, default=0.0)
    for price, kw in sorted(zip(plan.price_per_mwh, drawn_kw, strict=True)):
        left_kw -= kw
        if left_kw < 0.0:
            median = price
            break
    return tuple(price <= median for price in plan.price_per_mwh)


def tariff_schedules(plan: PlanRun, scope: Scope, now: datetime) -> tuple[Schedule, ...]:
    """Return what the chargers of each site may draw on a tariff: the plan where energy is dear, else the site's rating."""
    rating_kw = {node.id: node.max_import_kw for node in scope.nodes}
    is_free = free_slots(plan)
    return tuple(
        dataclasses.replace(
            schedule,
            power_kw=tuple(
                rating_kw[schedule.node] if free else kw for free, kw in zip(is_free, schedule.power_kw, strict=True)
            ),
        )
        for schedule in plan_schedules(plan, now)
    )


def plan_schedules(plan: PlanRun, now: datetime) -> tuple[Schedule, ...]:
    """Return what the chargers of each site shall draw when nothing is bid: the plan itself."""
    return tuple(
        Schedule(
            id=f"{site.node}:{plan.delivery_day}",
            tenant=plan.tenant,
            node=site.node,
            connection_point=site.connection_point,
            delivery_day=plan.delivery_day,
            start=plan.start,
            step_minutes=plan.step_minutes,
            power_kw=tuple(max(0.0, kw) for kw in site.power_kw),
            cause=f"plan:{plan.id}",
            made_at=now,
        )
        for site in plan.sites
    )


def bridge_schedules(
    plan: PlanRun, knowledge: Knowledge, result: PortfolioResult, day_before: str, now: datetime
) -> tuple[Schedule, ...]:
    """Return what the chargers of each site shall draw until the delivery day begins, as the plan assumed it.

    Without it the cars of the evening before would charge at once, and the energy bought for their night would find no car.
    """
    grid = knowledge.inputs.grid
    return tuple(
        Schedule(
            id=f"{site.node}:{day_before}",
            tenant=plan.tenant,
            node=site.node,
            connection_point=site.connection_point,
            delivery_day=day_before,
            start=grid.start,
            step_minutes=plan.step_minutes,
            power_kw=tuple(max(0.0, float(kw)) for kw in point.before_kw),
            cause=f"plan:{plan.id}",
            made_at=now,
        )
        for site, point in zip(plan.sites, result.points, strict=True)
        if point.before_kw.size
    )


def market_rules(auction: AuctionInfo | None, day: DeliveryDay, currency: str) -> MarketRules:
    """Return what an auction accepts, in the planner's words; the defaults of the coupling when there is no auction.

    Raises:
        PreconditionFailed: The auction does not sell the delivery periods of the day, or not in the portfolio's currency.
        InvalidInput: A number of the auction is not a decimal; the field is named.
    """
    if auction is None:
        return MarketRules()
    grid = day.grid()
    spans = tuple((start, end) for _, start, end in auction.contracts)
    if spans != tuple((start, start + grid.step) for start in grid.starts()):
        raise PreconditionFailed(
            f"auction {auction.id} sells {len(spans)} periods, the day has {grid.count} quarter-hours"
        )
    if auction.currency != currency:
        raise PreconditionFailed(f"auction {auction.id} is in {auction.currency}, the portfolio in {currency}")
    lot = _decimal("auction.lot_mw", auction.lot_mw)
    return MarketRules(
        lot_mw=lot,
        min_volume_mw=lot,
        min_price_per_mwh=_decimal("auction.min_price_per_mwh", auction.min_price_per_mwh),
        max_price_per_mwh=_decimal("auction.max_price_per_mwh", auction.max_price_per_mwh),
    )


def _decimal(field: str, text: str) -> Decimal:
    try:
        value = Decimal(text)
    except ArithmeticError as error:
        raise InvalidInput(field, "must be decimal text") from error
    if not value.is_finite():
        raise InvalidInput(field, "must be a finite number")
    return value
