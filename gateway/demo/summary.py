"""The one JSON object that a run to settlement ends with."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from gateway.v1 import bidding_service_pb2 as bidding
from gateway.v1 import dispatch_service_pb2 as dispatch
from gateway.v1 import evidence_service_pb2 as evidence
from gateway.v1 import signals_service_pb2 as signals

CENT = Decimal("0.01")


def summarise(  # noqa: PLR0913  # one argument per part of the summary
    *,
    market: str,
    delivery_day: str,
    market_time: datetime,
    bids: Sequence[bidding.Bid],
    award: bidding.GetAwardResponse | None,
    nominations: Sequence[bidding.Nomination],
    positions: Sequence[bidding.Position],
    residuals: Sequence[bidding.Residual],
    events: Sequence[signals.GridEvent],
    performances: Sequence[evidence.GetEventPerformanceResponse | None],
    troubles: Sequence[dispatch.ChargerDispatch],
    fleet: Mapping[str, Any],
    trace: Sequence[evidence.TraceStep],
    audit: evidence.VerifyAuditResponse,
) -> dict[str, Any]:
    """Return ids, volumes, costs, event performance, who did not follow, and the trace of one euro.

    Energies in MWh, positive drawn or bought; money positive paid. What is modelled says so in its key.
    """
    real_events = [event for event in events if not event.is_test]
    return {
        "market": market,
        "delivery_day": delivery_day,
        "market_time": market_time.isoformat(),
        "bid": _bid(max(bids, key=lambda bid: bid.version, default=None)),
        "award": _award(award),
        "nominations": dict(Counter(bidding.NominationState.Name(n.state) for n in nominations)),
        "settlement": _money(positions),
        "residual": {
            "count": len(residuals),
            "exposure": str(sum((Decimal(row.exposure) for row in residuals), Decimal(0)).quantize(CENT)),
        },
        "events": [_event(event, found) for event, found in zip(real_events, performances, strict=True)],
        "chargers_not_following": {
            "count": len(troubles),
            "first": [{"charger": row.charger_id, "likely_cause": row.likely_cause} for row in troubles[:5]],
        },
        "fleet": dict(fleet),
        "trace": [
            {"kind": step.kind, "id": step.id, "summary": step.summary, "causes": list(step.causes)} for step in trace
        ],
        "audit": {"entries": audit.entry_count, "is_intact": audit.is_intact, "head_hash": audit.head_hash},
    }


def _bid(bid: bidding.Bid | None) -> dict[str, Any] | None:
    if bid is None:
        return None
    return {
        "id": bid.id,
        "version": bid.version,
        "state": bidding.BidState.Name(bid.state),
        "period_count": len(bid.periods),
        "content_hash": bid.content_hash,
        "proposed_by": bid.proposed_by,
        "approved_by": bid.approved_by,
        "plan": bid.plan_id,
        "energy_mwh": str(sum((_energy(p.curve[0].volume_mw, p) for p in bid.periods), Decimal(0)).quantize(CENT)),
    }


def _award(award: bidding.GetAwardResponse | None) -> dict[str, Any] | None:
    if award is None:
        return None
    energy = sum((_energy(period.volume_mw, period) for period in award.periods), Decimal(0))
    cash = sum((_energy(p.volume_mw, p) * Decimal(p.price_per_mwh) for p in award.periods), Decimal(0))
    return {
        "id": award.award_id,
        "bid": award.bid_id,
        "energy_mwh": str(energy.quantize(CENT)),
        "day_ahead_cash": str(cash.quantize(CENT)),
        "currency": award.currency_code,
    }


def _money(positions: Sequence[bidding.Position]) -> dict[str, Any] | None:
    if not positions:
        return None
    periods = [period for position in positions for period in position.periods]
    day_ahead = _sum(position.day_ahead_cash for position in positions)
    imbalance = _sum(position.imbalance_cash for position in positions)
    uncontrolled = _sum(position.uncontrolled_cash for position in positions)
    return {
        "connection_points": len(positions),
        "currency": positions[0].currency_code,
        "position_mwh": str(_sum(p.position_mwh for p in periods).quantize(CENT)),
        "metered_mwh": str(_sum(p.metered_mwh for p in periods).quantize(CENT)),
        "day_ahead_cash": str(day_ahead.quantize(CENT)),
        "imbalance_cash": str(imbalance.quantize(CENT)),
        "total_cash": str((day_ahead + imbalance).quantize(CENT)),
        "uncontrolled_cash_modelled": str(uncontrolled.quantize(CENT)),
        "saved_modelled": str((uncontrolled - day_ahead - imbalance).quantize(CENT)),
        "deviation_causes": dict(Counter(period.cause for period in periods)),
    }


def _event(event: signals.GridEvent, found: evidence.GetEventPerformanceResponse | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "id": event.id,
        "status": signals.EventStatus.Name(event.status),
        "opt": signals.Opt.Name(event.opt),
        "opt_reason": event.opt_reason,
    }
    if found is not None:
        described |= {
            "requested_kw": round(found.requested_power_kw, 3),
            "mean_kw": round(found.mean_power_kw, 3),
            "baseline_kw": round(found.baseline_power_kw, 3) if found.HasField("baseline_power_kw") else None,
            "baseline_method": found.baseline_method,
            "compliance_ratio": round(found.compliance_ratio, 4),
        }
    return described


def _energy(volume_mw: str, period: bidding.BidPeriod | bidding.AwardedPeriod) -> Decimal:
    seconds = period.end_time.seconds - period.start_time.seconds
    return Decimal(volume_mw) * Decimal(seconds) / Decimal(3600)


def _sum(texts: Iterable[str]) -> Decimal:
    return sum((Decimal(text) for text in texts), Decimal(0))
