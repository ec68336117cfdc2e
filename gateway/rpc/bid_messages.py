"""Bids, awards, nominations and settlements as messages."""

from datetime import datetime

from gateway.domain.bids import Award, Bid, BidState, CheckOutcome, Nomination, NominationState, Residual
from gateway.domain.settlement import Settlement, TariffDay
from gateway.domain.timegrid import Interval
from gateway.domain.used_inputs import UsedInput
from gateway.rpc import convert
from gateway.v1 import bidding_service_pb2 as pb

_STATES = {state: pb.BidState.Value(f"BID_STATE_{state.name}") for state in BidState}
_CHECKS = {outcome: pb.CheckOutcome.Value(f"CHECK_OUTCOME_{outcome.name}") for outcome in CheckOutcome}
_NOMINATIONS = {state: pb.NominationState.Value(f"NOMINATION_STATE_{state.name}") for state in NominationState}


def bid_message(bid: Bid) -> pb.Bid:
    """Return a bid as a message."""
    return pb.Bid(
        id=bid.id,
        portfolio_id=bid.portfolio,
        delivery_day=bid.delivery_day,
        version=bid.version,
        state=_STATES[bid.state],
        currency_code=bid.currency,
        gate_closure_time=convert.timestamp(bid.gate_closure),
        periods=[
            pb.BidPeriod(
                start_time=convert.timestamp(period.start),
                end_time=convert.timestamp(period.end),
                curve=[
                    pb.CurvePoint(price_per_mwh=str(point.price_per_mwh), volume_mw=str(point.volume_mw))
                    for point in period.curve
                ],
            )
            for period in bid.periods
        ],
        checks=[pb.BidCheck(name=c.name, outcome=_CHECKS[c.outcome], message=c.message) for c in bid.checks],
        content_hash=bid.content_hash,
        route=bid.route.value,
        drafted_by=bid.drafted_by,
        proposed_by=bid.proposed_by or "",
        approved_by=bid.approved_by or "",
        reason=bid.reason,
        plan_id=bid.plan,
        bidding_zone=bid.bidding_zone,
    )


def award_message(award: Award) -> pb.GetAwardResponse:
    """Return an award as a message."""
    return pb.GetAwardResponse(
        award_id=award.id,
        bid_id=award.bid,
        currency_code=award.currency,
        periods=[
            pb.AwardedPeriod(
                start_time=convert.timestamp(period.start),
                end_time=convert.timestamp(period.end),
                volume_mw=str(period.volume_mw),
                price_per_mwh=str(period.price_per_mwh),
            )
            for period in award.periods
        ],
    )


def nomination_message(nomination: Nomination) -> pb.Nomination:
    """Return a nomination as a message."""
    first = nomination.periods[0]
    return pb.Nomination(
        id=nomination.id,
        connection_point_id=nomination.connection_point,
        brp_id=nomination.brp,
        state=_NOMINATIONS[nomination.state],
        acknowledgement=nomination.acknowledgement or "",
        start_time=convert.timestamp(first.start),
        resolution_minutes=_minutes(first.start, first.end),
        volume_mw=[str(period.volume_mw) for period in nomination.periods],
    )


def position_message(settlement: Settlement) -> pb.Position:
    """Return a settled day as a message."""
    return pb.Position(
        connection_point_id=settlement.connection_point,
        currency_code=settlement.currency,
        day_ahead_cash=str(settlement.day_ahead_cash),
        imbalance_cash=str(settlement.imbalance_cash),
        uncontrolled_cash=str(settlement.uncontrolled_cash),
        price_doubts=settlement.price_doubts,
        conversions=settlement.conversions,
        periods=[
            pb.SettledPeriod(
                start_time=convert.timestamp(period.start),
                position_mwh=str(period.position_mwh),
                metered_mwh=str(period.metered_mwh),
                day_ahead_price_per_mwh=str(period.day_ahead_price_per_mwh),
                imbalance_price_per_mwh=str(period.imbalance_price_per_mwh),
                imbalance_cash=str(period.imbalance_cash),
                cause=period.cause,
            )
            for period in settlement.periods
        ],
    )


def input_message(used: UsedInput) -> pb.UsedInput:
    """Return what something was made from as a message."""
    return pb.UsedInput(
        kind=used.kind.value,
        quality=used.quality,
        source=used.source,
        what=used.what,
        series_id=used.series or "",
        publish_time=None if used.published_at is None else convert.timestamp(used.published_at),
        issue_time=None if used.issued_at is None else convert.timestamp(used.issued_at),
        note=used.note,
    )


def tariff_cost_message(day: TariffDay) -> pb.GetTariffCostResponse:
    """Return a day on a tariff as a message."""
    return pb.GetTariffCostResponse(
        currency_code=day.currency,
        period_count=day.period_count,
        price_series_id=day.price_series,
        carbon_series_id=day.carbon_series or "",
        points=[
            pb.TariffCost(
                connection_point_id=point.connection_point,
                metered_period_count=point.metered_period_count,
                charged_kwh=str(point.charged_kwh),
                cost=str(point.cost),
                emissions_kg=point.emissions_kg,
                uncontrolled_kwh=str(point.uncontrolled_kwh),
                uncontrolled_cost=str(point.uncontrolled_cost),
                uncontrolled_emissions_kg=point.uncontrolled_emissions_kg,
            )
            for point in day.points
        ],
        inputs=[input_message(one) for one in day.inputs],
    )


def residual_message(residual: Residual) -> pb.Residual:
    """Return a residual as a message."""
    return pb.Residual(
        id=residual.id,
        node_id=residual.node,
        limit_id=residual.limit,
        span=convert.span_message(Interval(start=residual.start, end=residual.end)),
        energy_mwh=str(residual.energy_mwh),
        exposure=str(residual.exposure),
        currency_code=residual.currency,
        basis=residual.basis,
    )


def _minutes(start: datetime, end: datetime) -> int:
    return int((end - start).total_seconds()) // 60
