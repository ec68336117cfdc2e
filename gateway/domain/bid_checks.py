"""Pre-trade checks: what a bid must pass before a person may propose it, and again before another may approve it.

Every check is a pure function of the periods and the terms and says in one sentence what it saw. A check that fails stops the
bid; a warning needs a person's eye. The hundredfold check compares with the plan, so that 100 typed for 1.00 never leaves even
when the portfolio's collar would allow it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from gateway.domain.bids import Bid, BidCheck, BidPeriod, CheckOutcome, PlanRun, energy_mwh
from gateway.domain.errors import GateClosed, InvalidInput, NoRoute, PreTradeLimitExceeded
from gateway.domain.timegrid import zone_of
from gateway.domain.topology import ConnectionPoint, Portfolio, Route

FAIL_FACTOR = Decimal(10)
"""A period of more than so many times its reference volume is a slip of the hand."""
WARN_FACTOR = Decimal(3)
ENERGY_FAIL_FACTOR = Decimal(3)
"""A day of more than so many times the planned energy is not what was planned."""
SHORT_BEFORE_GATE = timedelta(minutes=30)
USABLE_OUTCOMES = frozenset({"proved", "feasible"})

GATE_CHECK = "gate"
ROUTE_CHECK = "route"
PRICE_DATA_CHECK = "price-data"


@dataclass(frozen=True, kw_only=True, slots=True)
class BidTerms:
    """What a bid is held against."""

    contracts: tuple[tuple[datetime, datetime], ...]
    """Begin and end of every delivery period of the auction: 92, 96 or 100 for a quarter-hourly day."""
    lot_mw: Decimal
    min_price_per_mwh: Decimal | None
    """Smallest price of the auction; None when it did not say."""
    max_price_per_mwh: Decimal | None
    max_order_mw: Decimal
    """Collar of the portfolio: largest volume of one period."""
    max_day_mwh: Decimal
    """Collar of the portfolio: largest energy of the day."""
    planned_mw: tuple[Decimal, ...]
    """What the plan wants per contract, positive bought."""
    plan_outcome: str
    price_quality: str
    gate_closure: datetime
    route: Route
    brp: str | None
    points_without_brp: tuple[str, ...]
    """Connection points whose balance responsible party is missing or another one than the portfolio's."""
    points_without_other_load: tuple[str, ...] = ()
    """Connection points whose other load the plan does not know, so that it is not bought."""
    price_doubts: tuple[str, ...] = ()
    """What is doubtful now about the prices that the plan was made from, published ones and the past of forecasts."""
    time_zone: str = "UTC"
    """IANA name: on its clock periods and the gate are named."""


def terms_of(
    bid: Bid, plan: PlanRun, portfolio: Portfolio, points: Iterable[ConnectionPoint], price_doubts: tuple[str, ...]
) -> BidTerms:
    """Collect from the rows what a bid is held against; `price_doubts` are those of this moment."""
    step = timedelta(minutes=plan.step_minutes)
    grid = [(plan.start + step * i, plan.start + step * (i + 1)) for i in range(len(plan.price_per_mwh))]
    strangers = [point.id for point in points if point.brp is None or point.brp != portfolio.brp]
    return BidTerms(
        contracts=tuple(grid),
        lot_mw=bid.lot_mw,
        min_price_per_mwh=bid.min_price_per_mwh,
        max_price_per_mwh=bid.max_price_per_mwh,
        max_order_mw=collar("portfolio.max_order_mw", portfolio.max_order_mw),
        max_day_mwh=collar("portfolio.max_day_mwh", portfolio.max_day_mwh),
        planned_mw=planned_volumes_mw(plan),
        plan_outcome=plan.outcome,
        price_quality=plan.price_quality,
        gate_closure=bid.gate_closure,
        route=portfolio.route,
        brp=portfolio.brp,
        points_without_brp=tuple(strangers),
        points_without_other_load=tuple(site.connection_point for site in plan.sites if not site.other_load_kw),
        price_doubts=price_doubts,
        time_zone=bid.time_zone,
    )


def planned_volumes_mw(plan: PlanRun) -> tuple[Decimal, ...]:
    """Return what the plan draws at all its connection points per slot of the delivery day, in MW to the watt."""
    totals = [sum(slot) for slot in zip(*(site.meter_kw for site in plan.sites), strict=True)] if plan.sites else []
    totals = totals or [0.0] * len(plan.price_per_mwh)
    return tuple(Decimal(str(round(kw / 1000.0, 6))) for kw in totals)


def collar(field: str, text: str) -> Decimal:
    """Return a collar given as decimal text.

    Raises:
        InvalidInput: It is not a finite number above 0; `field` is named.
    """
    try:
        value = Decimal(text)
    except ArithmeticError as error:
        raise InvalidInput(field, "must be decimal text") from error
    if not value.is_finite() or value <= 0:
        raise InvalidInput(field, "must be a finite number above 0")
    return value


def check_bid(periods: tuple[BidPeriod, ...], terms: BidTerms, now: datetime) -> tuple[BidCheck, ...]:
    """Return the outcome of every pre-trade check, in a fixed order."""
    return (
        _check_periods(periods, terms),
        _check_lot(periods, terms),
        _check_prices(periods, terms),
        _check_direction(periods, terms),
        _check_order_size(periods, terms),
        _check_day_energy(periods, terms),
        _check_hundredfold(periods, terms),
        _check_plan(terms),
        _check_price_data(terms),
        _check_other_load(terms),
        _check_route(terms),
        _check_gate(terms, now),
    )


def require_passed(checks: Iterable[BidCheck]) -> None:
    """Raise for the first check that failed.

    Raises:
        GateClosed: The gate has closed.
        NoRoute: No route with a balance responsible party.
        PreTradeLimitExceeded: Any other check failed; the message names it.
    """
    for check in checks:
        if check.outcome is CheckOutcome.FAILED:
            if check.name == GATE_CHECK:
                raise GateClosed(check.message)
            if check.name == ROUTE_CHECK:
                raise NoRoute(check.message)
            raise PreTradeLimitExceeded(f"{check.name}: {check.message}")


def _verdict(name: str, problem: str, fine: str, outcome: CheckOutcome = CheckOutcome.FAILED) -> BidCheck:
    if problem:
        return BidCheck(name=name, outcome=outcome, message=problem)
    return BidCheck(name=name, outcome=CheckOutcome.PASSED, message=fine)


def _check_periods(periods: tuple[BidPeriod, ...], terms: BidTerms) -> BidCheck:
    given = tuple((period.start, period.end) for period in periods)
    count = len(terms.contracts)
    problem = ""
    if len(given) != count:
        problem = f"has {len(given)} delivery periods, the auction has {count}"
    elif given != terms.contracts:
        first = next(i for i, (mine, theirs) in enumerate(zip(given, terms.contracts, strict=True)) if mine != theirs)
        problem = f"period {first + 1} is not a delivery period of the auction"
    return _verdict("delivery-periods", problem, f"all {count} delivery periods of the day")


def _check_lot(periods: tuple[BidPeriod, ...], terms: BidTerms) -> BidCheck:
    odd = [point.volume_mw for period in periods for point in period.curve if point.volume_mw % terms.lot_mw]
    problem = f"{odd[0]} MW is not a multiple of {terms.lot_mw} MW" if odd else ""
    return _verdict("lot", problem, f"all volumes are multiples of {terms.lot_mw} MW")


def _check_prices(periods: tuple[BidPeriod, ...], terms: BidTerms) -> BidCheck:
    low, high = terms.min_price_per_mwh, terms.max_price_per_mwh
    prices = [point.price_per_mwh for period in periods for point in period.curve]
    if low is None or high is None:
        return _verdict("price-limits", "the auction names no price limits", "", CheckOutcome.WARNING)
    outside = [price for price in prices if not low <= price <= high]
    problem = f"{outside[0]} per MWh is outside {low} to {high}" if outside else ""
    return _verdict("price-limits", problem, f"all prices are within {low} to {high} per MWh")


def _check_direction(periods: tuple[BidPeriod, ...], terms: BidTerms) -> BidCheck:
    sold = [period.start for period in periods for point in period.curve if point.volume_mw < 0]
    problem = f"sells in the period of {_local(sold[0], terms)}; these chargers only draw" if sold else ""
    return _verdict("direction", problem, "buys only")


def _check_order_size(periods: tuple[BidPeriod, ...], terms: BidTerms) -> BidCheck:
    largest = max((_size_mw(period) for period in periods), default=Decimal(0))
    problem = f"{largest} MW is above the portfolio's {terms.max_order_mw} MW" if largest > terms.max_order_mw else ""
    return _verdict("max-order", problem, f"at most {largest} MW of {terms.max_order_mw} MW")


def _check_day_energy(periods: tuple[BidPeriod, ...], terms: BidTerms) -> BidCheck:
    energy = sum((abs(energy_mwh(_size_mw(p), p.start, p.end)) for p in periods), Decimal(0))
    planned = _planned_energy_mwh(terms)
    lots = sum((energy_mwh(terms.lot_mw, start, end) for start, end in terms.contracts), Decimal(0))
    problem = ""
    if energy > terms.max_day_mwh:
        problem = f"{energy.normalize():f} MWh is above the portfolio's {terms.max_day_mwh} MWh"
    elif energy > max(planned * ENERGY_FAIL_FACTOR, lots):
        problem = f"{energy.normalize():f} MWh is over {ENERGY_FAIL_FACTOR} times the planned {planned:.3f} MWh"
    fine = (
        f"at most {energy.normalize():f} MWh, the largest volume of every period; the plan draws {planned:.3f} MWh, which whole "
        f"lots of {terms.lot_mw} MW round"
    )
    return _verdict("day-energy", problem, fine)


def _check_hundredfold(periods: tuple[BidPeriod, ...], terms: BidTerms) -> BidCheck:
    planned = terms.planned_mw or (Decimal(0),)
    mean = sum(planned, Decimal(0)) / len(planned)
    worst, at = Decimal(0), None
    for period, volume in zip(periods, planned, strict=False):
        ratio = _size_mw(period) / max(volume, mean, terms.lot_mw)
        if ratio > worst:
            worst, at = ratio, period
    if at is None or worst <= WARN_FACTOR:
        return _verdict("hundredfold", "", f"no period is over {WARN_FACTOR} times what was planned")
    outcome = CheckOutcome.FAILED if worst > FAIL_FACTOR else CheckOutcome.WARNING
    seen = f"{_size_mw(at)} MW in the period of {_local(at.start, terms)} is {worst:.0f} times what was planned"
    return _verdict("hundredfold", seen, "", outcome)


def _check_plan(terms: BidTerms) -> BidCheck:
    if terms.plan_outcome not in USABLE_OUTCOMES:
        return _verdict("plan", f"the plan is {terms.plan_outcome}; nothing may be bid from it", "")
    problem = "made with substituted prices; look at it" if terms.price_quality == "substituted" else ""
    fine = f"the plan is {terms.plan_outcome}, prices {terms.price_quality}"
    return _verdict("plan", problem, fine, CheckOutcome.WARNING)


def _check_price_data(terms: BidTerms) -> BidCheck:
    problem = "; ".join(terms.price_doubts)
    return _verdict(
        PRICE_DATA_CHECK, problem, "nothing is doubtful about the prices behind the plan", CheckOutcome.WARNING
    )


def _check_other_load(terms: BidTerms) -> BidCheck:
    unread = terms.points_without_other_load
    problem = (
        f"other load is unknown and not bought at {len(unread)} connection points, first {unread[0]}" if unread else ""
    )
    return _verdict("other-load", problem, "other load of every connection point is bought", CheckOutcome.WARNING)


def _check_route(terms: BidTerms) -> BidCheck:
    problem = ""
    if terms.route is Route.TARIFF_ONLY:
        problem = "the portfolio has no route to the market"
    elif terms.brp is None:
        problem = "the portfolio has no balance responsible party"
    elif terms.points_without_brp:
        problem = f"connection point {terms.points_without_brp[0]} is not with {terms.brp}"
    return _verdict(ROUTE_CHECK, problem, f"{terms.route.value} with {terms.brp}")


def _check_gate(terms: BidTerms, now: datetime) -> BidCheck:
    left = terms.gate_closure - now
    if left <= timedelta(0):
        return _verdict(GATE_CHECK, f"the gate closed at {_local(terms.gate_closure, terms)}", "")
    minutes = int(left.total_seconds() // 60)
    seen = f"the gate closes at {_local(terms.gate_closure, terms)}, {minutes} min after this check at {_local(now, terms)}"
    return _verdict(GATE_CHECK, seen if left < SHORT_BEFORE_GATE else "", seen, CheckOutcome.WARNING)


def _local(instant: datetime, terms: BidTerms) -> str:
    """Return an instant as the table of periods names it, with its day: `2025-10-15 02:00 +02:00`."""
    local = instant.astimezone(zone_of(terms.time_zone)).isoformat(sep=" ", timespec="minutes")
    return f"{local[:-6]} {local[-6:]}"


def _size_mw(period: BidPeriod) -> Decimal:
    return max(abs(point.volume_mw) for point in period.curve)


def _planned_energy_mwh(terms: BidTerms) -> Decimal:
    spans = zip(terms.planned_mw, terms.contracts, strict=False)
    return sum((energy_mwh(volume, start, end) for volume, (start, end) in spans), Decimal(0))
