r"""Between our step curve and the interpolated curve of an exchange.

`BidPeriod.curve` is a step: a volume holds up to its price and drops right after it. The exchange joins its points with straight
lines, so a step is written as two points one price tick apart, and between two prices on the tick no price can clear:

```
volume
  v1 *-------*                       (min, v1) (p1, v1)
              \                      (p1 + tick, v2)
  v2           *------*              (p2, v2)
                       \
  0                     *--------*   (p2 + tick, 0) (max, 0)
    min      p1      p2         max  price
```
"""

import itertools
from collections.abc import Sequence
from decimal import Decimal

from gateway.domain.bids import BidPeriod, CurvePoint
from gateway.domain.errors import InvalidInput

_ZERO = Decimal(0)


def exchange_points(
    period: BidPeriod, *, min_price: Decimal, max_price: Decimal, tick: Decimal
) -> tuple[CurvePoint, ...]:
    """Return the points whose straight lines give `period.volume_at` at every price on the tick.

    Prices are per MWh, volumes in MW, positive bought. The first point is at `min_price`, the last at `max_price`, as the
    exchange demands.

    Raises:
        InvalidInput: A price is outside the limits or off the tick, or the curve would rise where it drops to zero.
    """
    _require_on_tick(period, min_price, max_price, tick)
    steps = _without_repeats(period)
    points: list[CurvePoint] = []
    start = min_price
    for price, volume in steps:
        points.append(CurvePoint(price_per_mwh=start, volume_mw=volume))
        if price > start:
            points.append(CurvePoint(price_per_mwh=price, volume_mw=volume))
        start = price + tick
    if steps[-1][0] < max_price:
        if steps[-1][1] < _ZERO:
            raise InvalidInput(
                "curve.volume_mw", "must not be negative below the maximum price: the curve would rise to 0"
            )
        points.append(CurvePoint(price_per_mwh=min(start, max_price), volume_mw=_ZERO))
        if start < max_price:
            points.append(CurvePoint(price_per_mwh=max_price, volume_mw=_ZERO))
    return tuple(points)


def volume_between(points: Sequence[CurvePoint], price_per_mwh: Decimal) -> Decimal:
    """Return the volume in MW that an exchange reads from its points at a price, by linear interpolation.

    Raises:
        InvalidInput: The price is outside the points.
    """
    for low, high in itertools.pairwise(points):
        if low.price_per_mwh <= price_per_mwh <= high.price_per_mwh:
            share = (price_per_mwh - low.price_per_mwh) / (high.price_per_mwh - low.price_per_mwh)
            return low.volume_mw + (high.volume_mw - low.volume_mw) * share
    raise InvalidInput("price_per_mwh", "is outside the curve")


def _without_repeats(period: BidPeriod) -> list[tuple[Decimal, Decimal]]:
    """Return the steps as (last price, volume); neighbours with one volume become one step, and a last step of 0 none."""
    steps: list[tuple[Decimal, Decimal]] = []
    for point in period.curve:
        if steps and steps[-1][1] == point.volume_mw:
            steps[-1] = (point.price_per_mwh, point.volume_mw)
        else:
            steps.append((point.price_per_mwh, point.volume_mw))
    if len(steps) > 1 and steps[-1][1] == _ZERO:
        steps.pop()
    return steps


def _require_on_tick(period: BidPeriod, min_price: Decimal, max_price: Decimal, tick: Decimal) -> None:
    for index, point in enumerate(period.curve):
        if not min_price <= point.price_per_mwh <= max_price:
            raise InvalidInput(f"curve[{index}].price_per_mwh", f"must be {min_price} to {max_price}")
        if point.price_per_mwh % tick != _ZERO:
            raise InvalidInput(f"curve[{index}].price_per_mwh", f"must be a multiple of {tick}")
