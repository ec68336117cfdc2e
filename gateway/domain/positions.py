"""From an order to positions: whether it may leave, what its award means for each connection point and for its chargers.

The award is one volume per delivery period; the plan says how the connection points share it. Volumes are split in steps of one
kilowatt by the largest remainder, so that the positions of a period add up to the award to the last digit.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from gateway.domain.bids import (
    Award,
    AwardedPeriod,
    Bid,
    BidState,
    Nomination,
    NominationState,
    Order,
    OrderState,
    PlanRun,
    PlanSite,
    PositionPeriod,
    Schedule,
)
from gateway.domain.errors import InvalidInput, PreconditionFailed
from gateway.domain.money import apportion

POSITION_QUANTUM_MW = Decimal("0.001")
_KW_PER_MW = Decimal(1000)
_NOTHING = Decimal(0)


def order_of(bid: Bid, exchange_portfolio: str, now: datetime) -> Order:
    """Return the order that leaves for an approved bid; its id is the same whoever makes it and whenever."""
    return Order(
        id=f"{bid.auction}:{bid.portfolio}:{bid.id}",
        tenant=bid.tenant,
        bid=bid.id,
        bid_hash=bid.content_hash,
        auction=bid.auction,
        exchange_portfolio=exchange_portfolio,
        bidding_zone=bid.bidding_zone,
        currency=bid.currency,
        gate_closure=bid.gate_closure,
        periods=bid.periods,
        state=OrderState.PENDING,
        created_at=now,
    )


def split_award(periods: tuple[AwardedPeriod, ...], plan: PlanRun) -> dict[str, tuple[PositionPeriod, ...]]:
    """Return the position of every connection point of the plan, by its id.

    Where the plan draws nothing in a period that was awarded all the same, the points share it by their energy of the day.

    Raises:
        InvalidInput: The plan has no connection point.
    """
    if not plan.sites:
        raise InvalidInput("plan.sites", "has no connection point to split an award over")
    of_day = [max(0.0, sum(site.meter_kw)) for site in plan.sites]
    positions: dict[str, list[PositionPeriod]] = {site.connection_point: [] for site in plan.sites}
    for period in periods:
        slots = plan_slots(plan, period.start, period.end)
        weights = [max(0.0, sum(site.meter_kw[slots])) for site in plan.sites]
        parts = apportion(period.volume_mw, weights if any(weights) else of_day, POSITION_QUANTUM_MW)
        for site, volume in zip(plan.sites, parts, strict=True):
            positions[site.connection_point].append(
                PositionPeriod(start=period.start, end=period.end, volume_mw=volume)
            )
    return {point: tuple(own) for point, own in positions.items()}


def schedule_kw(plan: PlanRun, site: PlanSite, positions: tuple[PositionPeriod, ...]) -> tuple[float, ...]:
    """Return what the chargers of a site shall draw per slot of the plan so that its meter shows the position.

    The forecast of the other load is taken off; chargers never feed in. Slots that no period covers are zero.
    """
    power = [0.0] * len(site.power_kw)
    other = site.other_load_kw or (0.0,) * len(power)
    for period in positions:
        slots = plan_slots(plan, period.start, period.end)
        meter_kw = float(period.volume_mw * _KW_PER_MW)
        for index in range(slots.start, slots.stop):
            power[index] = max(0.0, meter_kw - other[index])
    return tuple(power)


def plan_slots(plan: PlanRun, start: datetime, end: datetime) -> slice:
    """Return which slots of a plan's delivery day a delivery period covers, clipped to the day."""
    step = timedelta(minutes=plan.step_minutes)
    count = len(plan.price_per_mwh)
    first = (start - plan.start) // step
    last = -((plan.start - end) // step)
    return slice(min(max(0, first), count), min(max(0, last), count))


def award_problem(order: Order, award: Award) -> str:
    """Return in which way an award does not fit its order, or nothing when it fits."""
    if award.currency != order.currency:
        return f"the award is in {award.currency}, the order in {order.currency}"
    ordered = {(period.start, period.end): period for period in order.periods}
    if len({(p.start, p.end) for p in award.periods}) != len(award.periods) or len(award.periods) != len(ordered):
        return f"the award has {len(award.periods)} periods, the order {len(ordered)}"
    for period in award.periods:
        mine = ordered.get((period.start, period.end))
        if mine is None:
            return f"the award has a period at {period.start:%Y-%m-%d %H:%M}Z that was not ordered"
        volumes = [point.volume_mw for point in mine.curve]
        if not min(_NOTHING, *volumes) <= period.volume_mw <= max(_NOTHING, *volumes):
            return f"{period.volume_mw} MW at {period.start:%Y-%m-%d %H:%M}Z is outside the order"
    return ""


def nominations_of(award: Award, bid: Bid, plan: PlanRun, now: datetime) -> tuple[Nomination, ...]:
    """Return one nomination per connection point; in every period they add up to the award, to the last digit.

    Raises:
        PreconditionFailed: The bid has no balance responsible party to nominate to.
    """
    if bid.brp is None:
        raise PreconditionFailed("the bid has no balance responsible party")
    return tuple(
        Nomination(
            id=f"{award.id}:{point}",
            tenant=award.tenant,
            award=award.id,
            connection_point=point,
            brp=bid.brp,
            delivery_day=award.delivery_day,
            periods=positions,
            state=NominationState.PENDING,
            created_at=now,
        )
        for point, positions in split_award(_in_order(award), plan).items()
    )


def schedules_of(award: Award, plan: PlanRun, now: datetime) -> tuple[Schedule, ...]:
    """Return what the chargers of each site shall draw so that its meter shows the awarded position."""
    positions = split_award(_in_order(award), plan)
    return tuple(
        Schedule(
            id=f"{site.node}:{award.delivery_day}",
            tenant=award.tenant,
            node=site.node,
            connection_point=site.connection_point,
            delivery_day=award.delivery_day,
            start=plan.start,
            step_minutes=plan.step_minutes,
            power_kw=schedule_kw(plan, site, positions[site.connection_point]),
            cause=f"award:{award.id}",
            made_at=now,
        )
        for site in plan.sites
    )


def _in_order(award: Award) -> tuple[AwardedPeriod, ...]:
    return tuple(sorted(award.periods, key=lambda period: period.start))


def problem_before_sending(order: Order, bid: Bid) -> str:
    """Return why an order must not leave, or nothing: the last look before the network."""
    if bid.state is not BidState.APPROVED:
        return f"the bid is {bid.state.value}, not approved"
    if not order.bid_hash == bid.content_hash == bid.hash_of_content() or order.periods != bid.periods:
        return "the order is not what was approved"
    if bid.approved_by is None or bid.proposed_by is None or bid.approved_by == bid.proposed_by:
        return "two different people did not agree to it"
    return ""
