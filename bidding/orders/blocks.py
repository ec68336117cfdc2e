"""Exclusive groups of profile blocks, and what a market does with them.

A block is bought whole or not at all, at the mean of the clearing prices weighted by its volumes; of a group at most one is
bought. A market that maximises welfare takes the block with the largest surplus, `sum of (limit - price) * volume`. When all
blocks of a group hold the same energy and share one limit, that is the cheapest block, whatever the limit
(Huebner and Hug, arXiv 2502.09420).
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from bidding.arrays import FloatArray, finite_vector
from gateway.domain.timegrid import TimeGrid


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileBlock:
    """One profile that is bought whole or not at all."""

    name: str
    limit_price_per_mwh: Decimal
    """Highest mean price, weighted by volume."""
    volume_mw: tuple[Decimal, ...]
    """Per delivery period of the whole day, positive bought; 0 where the block is not."""

    @property
    def first_period(self) -> int:
        """First period with volume; the number of periods when there is none."""
        return next((index for index, volume in enumerate(self.volume_mw) if volume), len(self.volume_mw))

    @property
    def end_period(self) -> int:
        """First period after the last one with volume; 0 when there is none."""
        return next((i + 1 for i in reversed(range(len(self.volume_mw))) if self.volume_mw[i]), 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExclusiveGroup:
    """Blocks of which the market takes at most one."""

    name: str
    blocks: tuple[ProfileBlock, ...]
    """All of the same energy and limit price, the most valuable first."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BlockBid:
    """The exclusive groups of a portfolio for one delivery day."""

    market: str
    specification: str
    """The member's product specification the groups were built to."""
    periods: TimeGrid
    """Delivery periods of the day."""
    groups: tuple[ExclusiveGroup, ...]
    rounding_mwh: float
    """Wanted minus offered energy of the groups, from rounding to lots; positive: still to be bought."""
    left_over_mw: FloatArray
    """Per period: the mean-price profile of fleets for which no group could be built; goes into the curve order."""
    notes: tuple[str, ...] = ()
    """Why a fleet was left over, one sentence each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlocksRefused:
    """Why no groups were built; the volumes go into the curve order."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClearedBlocks:
    """What a market took at some prices."""

    accepted: tuple[tuple[str, str], ...]
    """Group and block of every award; a group without one is in `empty_groups`."""
    empty_groups: tuple[str, ...]
    volume_mw: FloatArray
    """Awarded volume per period."""
    cost_eur: float


def clear_group(
    group: ExclusiveGroup, price_per_mwh: FloatArray, rejected: AbstractSet[str] = frozenset()
) -> ProfileBlock | None:
    """Return the block of a group that a welfare maximiser takes, or None when none is worth its price.

    Args:
        group: The blocks.
        price_per_mwh: Clearing price per period.
        rejected: Names of blocks that the auction rejects although they are in the money (paradoxical rejection).

    Returns:
        The block with the largest surplus of at least 0; among equals the one that comes first.
    """
    best: ProfileBlock | None = None
    best_surplus = 0.0
    for block in group.blocks:
        volume = np.array(block.volume_mw, dtype=np.float64)
        surplus = float((float(block.limit_price_per_mwh) - price_per_mwh) @ volume)
        if block.name not in rejected and surplus >= 0.0 and (best is None or surplus > best_surplus):
            best, best_surplus = block, surplus
    return best


def clear_blocks(bid: BlockBid, price_per_mwh: FloatArray, rejected: AbstractSet[str] = frozenset()) -> ClearedBlocks:
    """Return what a market takes of a bid at given clearing prices; a simulation, prices do not answer to the bid.

    Args:
        bid: The groups.
        price_per_mwh: Clearing price per delivery period.
        rejected: Names of blocks that are rejected paradoxically.

    Raises:
        InvalidInput: Not one finite price per delivery period.
    """
    price = finite_vector("price_per_mwh", price_per_mwh, bid.periods.count)
    taken = [(group.name, clear_group(group, price, rejected)) for group in bid.groups]
    volume = np.zeros(bid.periods.count)
    for _, block in taken:
        if block is not None:
            volume += np.array(block.volume_mw, dtype=np.float64)
    return ClearedBlocks(
        accepted=tuple((name, block.name) for name, block in taken if block is not None),
        empty_groups=tuple(name for name, block in taken if block is None),
        volume_mw=volume,
        cost_eur=float(price @ volume) * bid.periods.step_hours,
    )
