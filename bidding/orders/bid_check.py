"""The independent check of a bid: plain loops over exact decimals, sharing no code with what built it.

Nothing here knows about scenarios, tables or rounding. A bid that breaks a rule never leaves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from typing_extensions import override

from bidding.arrays import FloatArray
from bidding.orders.blocks import BlockBid, ExclusiveGroup, ProfileBlock
from bidding.orders.curves import MarketRules
from bidding.orders.market_products import AuctionRules, BlockRules
from gateway.domain.bids import BidPeriod
from gateway.domain.errors import VoltbridgeError
from gateway.domain.timegrid import TimeGrid

CAPABILITY_TOLERANCE_MW = 1e-6
"""A watt: capability is computed in floating point, volumes are exact."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenRule:
    """One rule that a bid breaks."""

    rule: str
    """`count`, `period`, `lot`, `tick`, `price`, `points`, `order`, `end`, `volume`, `capability`, `energy`, `limit`,
    `length`, `gap` or `name`."""
    place: str
    """Period, group or block."""
    problem: str

    @override
    def __str__(self) -> str:
        return f"{self.place}: {self.problem} ({self.rule})"


class BidRejected(VoltbridgeError):
    """The independent check found a bid wrong: a fault of this package, never of the input."""

    reason = "BID_REJECTED"

    def __init__(self, broken: tuple[BrokenRule, ...]) -> None:
        super().__init__("; ".join(str(rule) for rule in broken))
        self.broken = broken

    @override
    def __reduce__(self) -> tuple[type, tuple[tuple[BrokenRule, ...]]]:
        """Survive the pipe of a worker process, which pickles exceptions."""
        return (type(self), (self.broken,))


def require_sound(broken: Sequence[BrokenRule]) -> None:
    """Let a bid pass only when nothing is broken.

    Raises:
        BidRejected: Something is.
    """
    if broken:
        raise BidRejected(tuple(broken))


def check_curves(
    periods: Sequence[BidPeriod], rules: MarketRules, grid: TimeGrid, capability_mw: FloatArray | None = None
) -> tuple[BrokenRule, ...]:
    """Return what is wrong with a curve order.

    Args:
        periods: The order.
        rules: What the auction accepts.
        grid: Delivery periods of the day.
        capability_mw: Most that can be drawn per period; None when it is not known.
    """
    broken: list[BrokenRule] = []
    if len(periods) != grid.count:
        broken.append(_broken("count", "order", f"has {len(periods)} periods, the day has {grid.count}"))
    for index, (period, slot) in enumerate(zip(periods, range(grid.count), strict=False)):
        place = f"period {index}"
        start = grid.slot_start(slot)
        if period.start != start or period.end != start + grid.step:
            broken.append(_broken("period", place, "is not a delivery period of the day"))
        broken += _check_curve(period, rules, place)
        most = max(point.volume_mw for point in period.curve)
        if capability_mw is not None and most > 0 and float(most) > capability_mw[index] + CAPABILITY_TOLERANCE_MW:
            broken.append(_broken("capability", place, f"{most} MW, {capability_mw[index]:.3f} MW can be drawn"))
    return tuple(broken)


def _check_curve(period: BidPeriod, rules: MarketRules, place: str) -> list[BrokenRule]:
    broken: list[BrokenRule] = []
    if len(period.curve) > rules.max_points:
        broken.append(_broken("points", place, f"has {len(period.curve)} points, at most {rules.max_points}"))
    for point in period.curve:
        if point.volume_mw % rules.lot_mw != 0:
            broken.append(_broken("lot", place, f"{point.volume_mw} MW are not whole lots"))
        broken += _check_price(point.price_per_mwh, rules, place)
    for low, high in pairwise(period.curve):
        if high.price_per_mwh <= low.price_per_mwh or high.volume_mw > low.volume_mw:
            broken.append(_broken("order", place, "prices must rise and volumes must not"))
    if period.curve[-1].price_per_mwh != rules.max_price_per_mwh:
        broken.append(_broken("end", place, "does not end at the maximum price"))
    return broken


def _check_price(price: Decimal, rules: MarketRules, place: str) -> list[BrokenRule]:
    broken: list[BrokenRule] = []
    if price % rules.price_tick != 0:
        broken.append(_broken("tick", place, f"{price} is not on the price tick"))
    if not rules.min_price_per_mwh <= price <= rules.max_price_per_mwh:
        broken.append(_broken("price", place, f"{price} is outside the market's prices"))
    return broken


def check_blocks(
    bid: BlockBid, rules: AuctionRules, day: TimeGrid, capability_mw: Mapping[str, FloatArray]
) -> tuple[BrokenRule, ...]:
    """Return what is wrong with exclusive groups.

    Args:
        bid: The groups.
        rules: What the auction accepts, with the member's block rules.
        day: Delivery periods of the day: no block reaches beyond them.
        capability_mw: Most that the fleet behind each group can draw per period, by name of the group.
    """
    if rules.blocks is None:
        return (_broken("count", "bid", "has groups without a product specification"),)
    broken: list[BrokenRule] = []
    if bid.periods != day:
        broken.append(_broken("period", "bid", "is not on the delivery periods of the day"))
    if len(bid.groups) > rules.blocks.max_groups:
        broken.append(_broken("count", "bid", f"has {len(bid.groups)} groups, at most {rules.blocks.max_groups}"))
    names = [block.name for group in bid.groups for block in group.blocks]
    if len(set(names)) != len(names) or len({group.name for group in bid.groups}) != len(bid.groups):
        broken.append(_broken("name", "bid", "has a name twice"))
    for group in bid.groups:
        broken += _check_group(group, rules.blocks)
        for block in group.blocks:
            broken += _check_block(block, rules, rules.blocks, day.count)
            broken += _check_capability(block, capability_mw[group.name])
    return tuple(broken)


def _check_group(group: ExclusiveGroup, blocks: BlockRules) -> list[BrokenRule]:
    broken: list[BrokenRule] = []
    if not 1 <= len(group.blocks) <= blocks.max_blocks_per_group:
        broken.append(_broken("count", group.name, f"has {len(group.blocks)} blocks"))
    if len({sum(block.volume_mw) for block in group.blocks}) > 1:
        broken.append(_broken("energy", group.name, "has blocks of different energy"))
    if len({block.limit_price_per_mwh for block in group.blocks}) > 1:
        broken.append(_broken("limit", group.name, "has blocks of different limit price"))
    return broken


def _check_block(block: ProfileBlock, rules: AuctionRules, blocks: BlockRules, count: int) -> list[BrokenRule]:
    if len(block.volume_mw) != count:
        return [_broken("count", block.name, f"has {len(block.volume_mw)} periods, the day has {count}")]
    broken = _check_price(block.limit_price_per_mwh, rules.curve, block.name)
    for index, volume in enumerate(block.volume_mw):
        if volume < 0 or volume > blocks.max_block_mw or 0 < volume < rules.curve.min_volume_mw:
            broken.append(_broken("volume", f"{block.name}[{index}]", f"{volume} MW is not a legal volume"))
        if volume % rules.curve.lot_mw != 0:
            broken.append(_broken("lot", f"{block.name}[{index}]", f"{volume} MW are not whole lots"))
    used = [index for index, volume in enumerate(block.volume_mw) if volume > 0]
    if not used:
        return [*broken, _broken("volume", block.name, "has no volume")]
    minutes = (used[-1] + 1 - used[0]) * rules.mtu_minutes
    if not blocks.min_block_minutes <= minutes <= blocks.max_block_minutes:
        broken.append(_broken("length", block.name, f"lasts {minutes} minutes"))
    if not blocks.takes_gaps and len(used) != used[-1] + 1 - used[0]:
        broken.append(_broken("gap", block.name, "has periods without volume"))
    return broken


def _check_capability(block: ProfileBlock, capability_mw: FloatArray) -> list[BrokenRule]:
    return [
        _broken("capability", f"{block.name}[{index}]", f"{volume} MW, {most:.3f} MW can be drawn")
        for index, (volume, most) in enumerate(zip(block.volume_mw, capability_mw, strict=False))
        if float(volume) > most + CAPABILITY_TOLERANCE_MW
    ]


def _broken(rule: str, place: str, problem: str) -> BrokenRule:
    return BrokenRule(rule=rule, place=place, problem=problem)
