"""Offers of reserve capacity, or the reasons why there is none.

An offer needs a prequalification for the product and day, a measured activation time within the product's, a frequency
measured on site where the product follows it, and headroom in every slot of the block: `1.7 MW` of headroom is one whole
megawatt, and a block with one weak quarter-hour is as weak as that.
"""

from collections.abc import Mapping
from datetime import date
from decimal import ROUND_FLOOR, Decimal

import numpy as np

from bidding.orders.bid_check import require_sound
from bidding.orders.market_products import ReserveRules
from bidding.orders.reserve_check import check_offer
from bidding.orders.reserves import (
    Headroom,
    Prequalification,
    ReserveBlock,
    ReserveEvidence,
    ReserveOffer,
    ReserveRefused,
)
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import Interval
from gateway.domain.units import KW_PER_MW

HEADROOM_SLACK_KW = 1e-6
"""Headroom this close below a step counts as the step: it comes from floating point."""


def offer_reserve(
    rules: ReserveRules,
    day: date,
    headroom: Headroom,
    evidence: ReserveEvidence,
    price_eur_per_mw_h: Decimal | Mapping[int, Decimal],
) -> ReserveOffer | ReserveRefused:
    """Return the checked offer for a delivery day, or every reason against it.

    Args:
        rules: The product.
        day: Delivery day.
        headroom: What can be given and held in each slot; its grid covers the day.
        evidence: What the portfolio can show.
        price_eur_per_mw_h: Of all blocks, or by number of the block; blocks without a price are not offered.

    Raises:
        InvalidInput: The headroom does not cover the blocks of the day.
        BidRejected: The independent check refused the offer.
    """
    record = evidence.prequalification(rules.product, day)
    reasons = _against(rules, day, evidence, record)
    if record is None or evidence.activation is None or reasons:
        return ReserveRefused(product=rules.product, day=day, reasons=reasons)
    blocks = []
    largest_kw = 0.0
    for number, interval in enumerate(rules.blocks(day)):
        price = price_eur_per_mw_h if isinstance(price_eur_per_mw_h, Decimal) else price_eur_per_mw_h.get(number)
        weakest_kw = _weakest_kw(headroom, rules, interval)
        largest_kw = max(largest_kw, weakest_kw)
        volume = _whole_steps(weakest_kw, rules, record)
        if price is not None and volume >= rules.min_bid_mw:
            blocks.append(ReserveBlock(interval=interval, volume_mw=volume, price_eur_per_mw_h=price))
    if not blocks:
        return ReserveRefused(product=rules.product, day=day, reasons=(_nothing_to_offer(rules, largest_kw, record),))
    offer = ReserveOffer(
        product=rules.product,
        kind=rules.kind,
        day=day,
        blocks=tuple(blocks),
        prequalification=record.reference,
        activation=evidence.activation.reference,
        basis=headroom.basis,
    )
    require_sound(check_offer(offer, rules, record, headroom))
    return offer


def _against(
    rules: ReserveRules, day: date, evidence: ReserveEvidence, record: Prequalification | None
) -> tuple[str, ...]:
    """Return everything that is missing for the product."""
    reasons: list[str] = []
    if record is None:
        reasons.append(f"no prequalification for {rules.product} holds on {day.isoformat()}")
    if evidence.activation is None:
        reasons.append("the activation time has not been measured")
    elif evidence.activation.seconds > rules.max_activation_s:
        reasons.append(
            f"full activation took {evidence.activation.seconds:g} s, the product allows {rules.max_activation_s:g} s"
        )
    if rules.needs_local_frequency and not evidence.has_local_frequency:
        reasons.append(f"{rules.product} follows the frequency measured on site, which is not measured")
    return tuple(reasons)


def _nothing_to_offer(rules: ReserveRules, largest_kw: float, record: Prequalification) -> str:
    """Return why no block is offered although all evidence is there."""
    if record.max_mw < rules.min_bid_mw:
        return f"the prequalification allows {record.max_mw} MW, the smallest bid is {rules.min_bid_mw} MW"
    if _whole_steps(largest_kw, rules, record) >= rules.min_bid_mw:
        return "no block with enough headroom has a price"
    return (
        f"the largest headroom over a whole block is {largest_kw / KW_PER_MW:.3f} MW, "
        f"the smallest bid is {rules.min_bid_mw} MW"
    )


def _weakest_kw(headroom: Headroom, rules: ReserveRules, interval: Interval) -> float:
    """Return the least headroom in any slot of a block."""
    end = interval.end
    if end is None or interval.start < headroom.grid.start or end > headroom.grid.end:
        raise InvalidInput("headroom.grid", "must cover every block of the day")
    return float(np.min(headroom.of_kind(rules.kind)[headroom.grid.sub(interval)]))


def _whole_steps(headroom_kw: float, rules: ReserveRules, record: Prequalification) -> Decimal:
    """Return the whole steps that headroom and record allow, MW."""
    limit = min(Decimal(repr((headroom_kw + HEADROOM_SLACK_KW) / KW_PER_MW)), record.max_mw)
    return (limit / rules.step_mw).quantize(Decimal(1), rounding=ROUND_FLOOR) * rules.step_mw
