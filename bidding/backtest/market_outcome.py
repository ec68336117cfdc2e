"""A day's bid and what the auction makes of it; prices do not answer to the bid."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from bidding.arrays import FloatArray, finite_vector
from bidding.orders.blocks import BlockBid, clear_blocks
from gateway.domain.bids import BidPeriod
from gateway.domain.units import KW_PER_MW


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DayBid:
    """Everything sent for one delivery day."""

    curves: tuple[BidPeriod, ...]
    """One per delivery period."""
    blocks: BlockBid | None = None
    notes: tuple[str, ...] = ()
    """What could not be sent as wanted, one sentence each."""


def clear_bid(bid: DayBid, price_eur_per_mwh: FloatArray, period_hours: float) -> FloatArray:
    """Return the award in kWh per delivery period at the clearing prices.

    Args:
        bid: Curves and exclusive groups.
        price_eur_per_mwh: Clearing price per delivery period.
        period_hours: Length of a delivery period.

    Raises:
        InvalidInput: Not one finite price per delivery period.
    """
    prices = finite_vector("price_eur_per_mwh", price_eur_per_mwh, len(bid.curves))
    bought = [period.volume_at(Decimal(repr(float(price)))) for period, price in zip(bid.curves, prices, strict=True)]
    volume_mw = np.array([float(volume) for volume in bought])
    if bid.blocks is not None:
        volume_mw = volume_mw + clear_blocks(bid.blocks, prices).volume_mw
    return volume_mw * (KW_PER_MW * period_hours)
