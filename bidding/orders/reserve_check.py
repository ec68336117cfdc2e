"""The independent check of a reserve offer: plain loops, sharing no code with what built it."""

from bidding.orders.bid_check import CAPABILITY_TOLERANCE_MW, BrokenRule
from bidding.orders.market_products import ReserveKind, ReserveRules
from bidding.orders.reserves import Headroom, Prequalification, ReserveBlock, ReserveOffer
from gateway.domain.units import KW_PER_MW


def check_offer(
    offer: ReserveOffer, rules: ReserveRules, record: Prequalification, headroom: Headroom
) -> tuple[BrokenRule, ...]:
    """Return what is wrong with an offer.

    Args:
        offer: The offer.
        rules: Its product.
        record: The prequalification it rests on.
        headroom: What can be given and held.
    """
    broken: list[BrokenRule] = []
    if offer.product != rules.product or offer.kind is not rules.kind:
        broken.append(_broken("product", "offer", f"is for {offer.product}"))
    if record.product != offer.product or not record.days.holds_on(offer.day):
        broken.append(_broken("prequalification", "offer", "rests on a record that does not hold"))
    intervals = [block.interval for block in offer.blocks]
    if len(set(intervals)) != len(intervals):
        broken.append(_broken("block", "offer", "has a block twice"))
    for block in offer.blocks:
        broken += _check_block(block, offer, rules, record)
        broken += _check_headroom(block, offer.kind, headroom)
    return tuple(broken)


def _check_block(
    block: ReserveBlock, offer: ReserveOffer, rules: ReserveRules, record: Prequalification
) -> list[BrokenRule]:
    broken: list[BrokenRule] = []
    place = block.interval.start.isoformat()
    if block.interval not in rules.blocks(offer.day):
        broken.append(_broken("block", place, "is not a block of the day"))
    if block.volume_mw < rules.min_bid_mw or block.volume_mw % rules.step_mw != 0:
        broken.append(_broken("volume", place, f"{block.volume_mw} MW is not a legal volume"))
    if block.volume_mw > record.max_mw:
        broken.append(_broken("prequalification", place, f"{block.volume_mw} MW exceed {record.max_mw} MW"))
    if not block.price_eur_per_mw_h.is_finite():
        broken.append(_broken("price", place, "is no finite price"))
    return broken


def _check_headroom(block: ReserveBlock, kind: ReserveKind, headroom: Headroom) -> list[BrokenRule]:
    broken: list[BrokenRule] = []
    for slot, start in enumerate(headroom.grid.starts()):
        given = {
            ReserveKind.UP: headroom.up_kw[slot],
            ReserveKind.DOWN: headroom.down_kw[slot],
            ReserveKind.SYMMETRIC: min(headroom.up_kw[slot], headroom.down_kw[slot]),
        }[kind]
        too_much = float(block.volume_mw) > given / KW_PER_MW + CAPABILITY_TOLERANCE_MW
        if block.interval.contains(start) and too_much:
            broken.append(_broken("capability", start.isoformat(), f"{given / KW_PER_MW:.3f} MW can be held"))
    return broken


def _broken(rule: str, place: str, problem: str) -> BrokenRule:
    return BrokenRule(rule=rule, place=place, problem=problem)
