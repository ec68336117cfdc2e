"""Whether two sources say the same about one delivery day: a price that only one of them has is a rumour."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gateway.domain.contradictions import Contradiction
from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import content_hash
from gateway.domain.series import PriceSeries, Quality

TOLERANCE_PER_MWH = Decimal("0.01")
"""Sources round to a cent; what differs by more is another price."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One delivery period in which two sources differ."""

    start: datetime
    price_per_mwh: Decimal
    other_per_mwh: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceComparison:
    """What two sources of one product say about one delivery day."""

    source: str
    other: str
    compared_count: int
    """Delivery periods for which both have a price, at least 1."""
    differences: tuple[Difference, ...]
    """Where they differ by more than a cent, in time order."""

    @property
    def agrees(self) -> bool:
        """Whether they say the same wherever both say something."""
        return not self.differences

    def told(self) -> str:
        """Return the comparison in one sentence, the same text everywhere."""
        if self.agrees:
            return f"confirmed by {self.other} in {self.compared_count} periods"
        worst = max(self.differences, key=lambda one: abs(one.price_per_mwh - one.other_per_mwh))
        return (
            f"{self.other} differs from {self.source} in {len(self.differences)} of {self.compared_count} periods, most at "
            f"{worst.start:%Y-%m-%d %H:%M}Z: {worst.other_per_mwh} instead of {worst.price_per_mwh}"
        )


def compare_prices(series: PriceSeries, other: PriceSeries) -> PriceComparison | None:
    """Compare two series of one product, zone and day, period by period.

    Args:
        series: The one that is used.
        other: The one that is asked for its opinion.

    Returns:
        The comparison; None when they have no period in common that can be compared: a source that only knows means of
        longer periods, or stand-ins, has no opinion on the prices.

    Raises:
        InvalidInput: They are of different products, zones, currencies or grids; the field says which.
    """
    for field in ("zone", "product", "currency", "grid"):
        if getattr(series, field) != getattr(other, field):
            raise InvalidInput(f"series.{field}", "differs: only prices of the same thing are compared")
    if {series.quality, other.quality} & {Quality.ESTIMATED, Quality.SUBSTITUTED}:
        return None
    pairs = [
        (start, one, two)
        for start, one, two in zip(series.grid.starts(), series.prices_per_mwh, other.prices_per_mwh, strict=True)
        if one is not None and two is not None
    ]
    if not pairs:
        return None
    return PriceComparison(
        source=series.source,
        other=other.source,
        compared_count=len(pairs),
        differences=tuple(
            Difference(start=start, price_per_mwh=one, other_per_mwh=two)
            for start, one, two in pairs
            if abs(one - two) > TOLERANCE_PER_MWH
        ),
    )


def contradiction_of(comparison: PriceComparison, series: PriceSeries, found_at: datetime) -> Contradiction | None:
    """Return the contradiction of a comparison, known by the prices in use and every difference; None when it agrees.

    Args:
        comparison: Of the prices in use with another source.
        series: The prices in use.
        found_at: When they were compared.
    """
    if comparison.agrees:
        return None
    differences = [[one.start, one.price_per_mwh, one.other_per_mwh] for one in comparison.differences]
    return Contradiction(
        id=content_hash([series.id, comparison.other, differences]),
        source=comparison.source,
        other=comparison.other,
        told=comparison.told(),
        found_at=found_at,
    )
