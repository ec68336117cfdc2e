"""From the profiles of fleets to exclusive groups that a market takes: whole lots, equal energies, one limit price.

Energy that cars must have is bid at the market's maximum price, so that some block always clears; which one is the market's
choice by price. Whatever no block can carry (too small a fleet, profiles the market does not take, rounding) is handed back
to be bought on the curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from bidding.arrays import FloatArray, IntArray, finite_vector, require_each
from bidding.fleet.flexibility import FlexibilityTable
from bidding.orders.bid_check import check_blocks, require_sound
from bidding.orders.blocks import BlockBid, BlocksRefused, ExclusiveGroup, ProfileBlock
from bidding.orders.lots import lots_with_total, nearest_total
from bidding.orders.market_products import AuctionRules, BlockRules
from bidding.orders.profiles import choose_profiles, finite_table, probabilities
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid

VOLUME_SLACK_MW = 1e-9
"""Lots times lot size in floating point, beside exact decimals."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GroupSource:
    """A fleet that may become one exclusive group."""

    name: str
    profiles_mw: FloatArray
    """Candidates of equal energy per delivery period, shape (M, P); the first is bought when no group can be."""
    capability_mw: FloatArray
    """Most the fleet can draw per delivery period, shape (P,)."""
    capability_mwh: float
    """Most the fleet can take over the whole day."""

    def __post_init__(self) -> None:
        """Reject malformed or negative profiles and capability of another length."""
        if not self.name:
            raise InvalidInput("source.name", "must be text")
        profiles = finite_table(f"{self.name}.profiles_mw", self.profiles_mw)
        for row, profile in enumerate(profiles):
            require_each(f"{self.name}.profiles_mw[{row}]", profile >= 0.0, "must be at least 0")
        object.__setattr__(self, "profiles_mw", profiles)
        capability = finite_vector(f"{self.name}.capability_mw", self.capability_mw, profiles.shape[1])
        object.__setattr__(self, "capability_mw", capability)


def period_capability_kwh(table: FlexibilityTable, delivery: slice, slots_per_period: int) -> FloatArray:
    """Return the most a fleet can draw in each delivery period, exactly: b of the set of its slots, kWh.

    Raises:
        InvalidInput: The periods do not divide the delivery day.
    """
    if (delivery.stop - delivery.start) % slots_per_period:
        raise InvalidInput("slots_per_period", "does not divide the delivery day")
    most = []
    for first in range(delivery.start, delivery.stop, slots_per_period):
        slots = np.zeros(table.slot_count, dtype=np.bool_)
        slots[first : first + slots_per_period] = True
        most.append(table.most_kwh(slots))
    return np.array(most)


def build_groups(  # noqa: PLR0913  # the fleets, what may come, and the rules, by name
    sources: Sequence[GroupSource],
    scenarios_per_mwh: npt.ArrayLike,
    rules: AuctionRules,
    periods: TimeGrid,
    *,
    probability: npt.ArrayLike | None = None,
    blocks_per_group: int | None = None,
    limit_price_per_mwh: Decimal | None = None,
) -> BlockBid | BlocksRefused:
    """Build one exclusive group per fleet from the profiles that are worth most over the price scenarios.

    Args:
        sources: Fleets with their candidate profiles, the most important first.
        scenarios_per_mwh: Price scenarios per delivery period, shape (S, P).
        rules: What the auction accepts.
        periods: Delivery periods of the day.
        probability: Of each scenario; None for equally likely.
        blocks_per_group: Most blocks; None for as many as the market takes.
        limit_price_per_mwh: Limit of all blocks; None for the market's maximum price, where energy that cars must have
            belongs. A lower one can leave that energy without any block.

    Returns:
        The checked groups; or why there are none: no product specification, or no fleet that fills a lot.

    Raises:
        InvalidInput: Scenarios, periods or profiles do not match in length.
        BidRejected: The independent check refused the groups.
    """
    if rules.blocks is None:
        return BlocksRefused(
            reason=f"the member's product specification for {rules.market} is missing: how many blocks and groups the "
            "exchange takes is not assumed"
        )
    scenarios = finite_table("scenarios_per_mwh", scenarios_per_mwh, periods.count)
    weights = probabilities("probability", probability, len(scenarios))
    limit = rules.curve.max_price_per_mwh
    if limit_price_per_mwh is not None:
        limit = rules.curve.legal_price(float(limit_price_per_mwh))
    count = rules.blocks.max_blocks_per_group
    draft = _Draft(
        rules=rules,
        blocks=rules.blocks,
        periods=periods,
        cost_scale=scenarios * periods.step_hours,
        probability=weights,
        count=count if blocks_per_group is None else min(blocks_per_group, count),
        limit=limit,
    )
    return _as_bid(draft, sources)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Draft:
    """What every group is built with."""

    rules: AuctionRules
    blocks: BlockRules
    periods: TimeGrid
    cost_scale: FloatArray
    """EUR per MW in each scenario and period."""
    probability: FloatArray
    count: int
    limit: Decimal


def _as_bid(draft: _Draft, sources: Sequence[GroupSource]) -> BlockBid | BlocksRefused:
    groups: list[ExclusiveGroup] = []
    notes: list[str] = []
    left_over = np.zeros(draft.periods.count)
    rounding_mwh = 0.0
    for source in sources:
        finite_table(f"{source.name}.profiles_mw", source.profiles_mw, draft.periods.count)
        full = len(groups) == draft.blocks.max_groups
        found = "the market takes no more groups" if full else _group(draft, source)
        if isinstance(found, str):
            notes.append(f"{source.name}: {found}")
            left_over += source.profiles_mw[0]
            continue
        groups.append(found)
        offered = float(sum(found.blocks[0].volume_mw))
        rounding_mwh += (float(source.profiles_mw[0].sum()) - offered) * draft.periods.step_hours
    if not groups:
        return BlocksRefused(reason="; ".join(notes) if notes else "there is no fleet to build a group for")
    bid = BlockBid(
        market=draft.rules.market,
        specification=draft.blocks.specification,
        periods=draft.periods,
        groups=tuple(groups),
        rounding_mwh=rounding_mwh,
        left_over_mw=left_over,
        notes=tuple(notes),
    )
    capability = {source.name: source.capability_mw for source in sources}
    require_sound(check_blocks(bid, draft.rules, draft.periods, capability))
    return bid


def _group(draft: _Draft, source: GroupSource) -> ExclusiveGroup | str:
    """Return the group of one fleet, or why it has none."""
    lot = float(draft.rules.curve.lot_mw)
    rounded = _rounded(source, lot, draft.periods.step_hours)
    if not rounded.size:
        return "it fills no lot"
    legal = np.array([lots for lots in rounded if _is_legal(lots, draft)], dtype=np.int64)
    if not legal.size:
        return "the market takes none of its profiles as a block"
    cost = draft.cost_scale @ (legal.T * lot)
    chosen = choose_profiles(cost, draft.count, draft.probability).index
    blocks = tuple(
        ProfileBlock(
            name=f"{source.name}-{place + 1:02d}",
            limit_price_per_mwh=draft.limit,
            volume_mw=tuple(int(lots) * draft.rules.curve.lot_mw for lots in legal[index]),
        )
        for place, index in enumerate(chosen)
    )
    return ExclusiveGroup(name=source.name, blocks=blocks)


def _rounded(source: GroupSource, lot_mw: float, step_hours: float) -> IntArray:
    """Return different profiles in whole lots with equal sums, shape (M', P); empty when no lot is filled.

    The sum is the largest one that the first profile can hold; profiles without room for it are dropped.
    """
    capability = source.capability_mw / lot_mw
    total = nearest_total(source.profiles_mw[0] / lot_mw, source.capability_mwh / (lot_mw * step_hours))
    found: list[IntArray] = []
    while total > 0 and not found:
        first = lots_with_total(source.profiles_mw[0] / lot_mw, total, capability)
        if first is None:
            total -= 1
            continue
        others = (lots_with_total(profile / lot_mw, total, capability) for profile in source.profiles_mw[1:])
        found = [first, *(lots for lots in others if lots is not None)]
    if not found:
        return np.zeros((0, source.profiles_mw.shape[1]), dtype=np.int64)
    table = np.array(found)
    _, places = np.unique(table, axis=0, return_index=True)
    return table[np.sort(places)]


def _is_legal(lots: IntArray, draft: _Draft) -> bool:
    """Tell whether a profile is a block that the market takes."""
    used = np.flatnonzero(lots)
    if not used.size:
        return False
    span = int(used[-1] - used[0]) + 1
    volume = lots[used] * float(draft.rules.curve.lot_mw)
    long_enough = draft.blocks.min_block_minutes <= span * draft.rules.mtu_minutes <= draft.blocks.max_block_minutes
    in_range = float(volume.max()) <= float(draft.blocks.max_block_mw) + VOLUME_SLACK_MW
    large_enough = float(volume.min()) >= float(draft.rules.curve.min_volume_mw) - VOLUME_SLACK_MW
    return long_enough and in_range and large_enough and (draft.blocks.takes_gaps or span == used.size)
