"""Residuals: energy of a position that a limit arriving after the gate makes impossible, and what it may cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gateway.domain.limits import Limit
from gateway.domain.timegrid import Interval

_SECONDS_PER_HOUR = 3600.0
_ENERGY_DIGITS = 6
_CASH_DIGITS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class PositionAtRisk:
    """What is bought for the connection points under a node in one delivery period, at which prices."""

    start: datetime
    end: datetime
    power_kw: float
    """Position of everything under the node, as mean power."""
    day_ahead_price_per_mwh: float
    """What was paid."""
    assumed_price_per_mwh: float
    """What the energy that cannot be drawn is assumed to bring."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shortfall:
    """What a limit makes impossible."""

    energy_mwh: Decimal
    """Bought but cannot be drawn."""
    exposure: Decimal
    """Paid for it minus what it is assumed to bring; positive is a cost."""


def in_force(limit: Limit) -> Interval | None:
    """Return when a limit applies, up to its withdrawal; None when it was withdrawn before it began."""
    end = limit.interval.end
    if limit.withdrawn_at is not None and (end is None or limit.withdrawn_at < end):
        end = limit.withdrawn_at
    if end is not None and end <= limit.interval.start:
        return None
    return Interval(start=limit.interval.start, end=end)


def shortfall_under(limit: Limit, positions: Sequence[PositionAtRisk]) -> Shortfall:
    """Return the energy of some positions that a limit does not allow, and its exposure.

    A period that the limit covers in part counts for that part.
    """
    span = in_force(limit)
    energy_mwh = exposure = 0.0
    for position in positions:
        if span is None:
            break
        start = max(position.start, span.start)
        end = position.end if span.end is None else min(position.end, span.end)
        hours = max(0.0, (end - start).total_seconds() / _SECONDS_PER_HOUR)
        missing_mwh = max(0.0, position.power_kw - limit.max_kw) * hours / 1000.0
        energy_mwh += missing_mwh
        exposure += missing_mwh * (position.day_ahead_price_per_mwh - position.assumed_price_per_mwh)
    return Shortfall(
        energy_mwh=Decimal(str(round(energy_mwh, _ENERGY_DIGITS))),
        exposure=Decimal(str(round(exposure, _CASH_DIGITS))),
    )
