"""Which of the kept revisions of a delivery day's prices is the one that counts."""

from collections.abc import Iterable
from datetime import datetime

from gateway.domain.series import PriceSeries, Quality


def as_known(revisions: Iterable[PriceSeries], at: datetime) -> PriceSeries | None:
    """Return what counted at an instant, of revisions of one delivery day in any order; None when nothing was known then."""
    known: PriceSeries | None = None
    for series in sorted(revisions, key=lambda one: one.fetched_at):
        if series.fetched_at <= at:
            known, _ = better(known, series, "")
    return known


def better(known: PriceSeries | None, fetched: PriceSeries | None, note: str) -> tuple[PriceSeries | None, str]:
    """Return which series the day points to: the newer one, unless it has lost values that were there."""
    if fetched is None or known is None or known.quality is Quality.SUBSTITUTED:
        return (known if fetched is None else fetched), note
    if len(fetched.gaps) > len(known.gaps):
        withdrawn = f"{fetched.source} withdrew values that it had published; the fuller series is kept"
        return known, "; ".join(part for part in (note, withdrawn) if part)
    return fetched, note
