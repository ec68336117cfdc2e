"""Which of the kept revisions of a delivery day's prices is the one that counts."""

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import datetime

from gateway.domain.price_merge import RANK, gains, is_comparable, loses, merged, sources_of
from gateway.domain.series import PriceSeries, Quality
from gateway.ports import Store

_AGAIN = "~"
"""Between the id of what was fetched and when it was fetched, where the same prices come back after others."""


def as_known(revisions: Iterable[PriceSeries], at: datetime) -> PriceSeries | None:
    """Return what counted at an instant, of revisions of one delivery day in any order; None when nothing was known then."""
    known: PriceSeries | None = None
    for series in sorted(revisions, key=lambda one: (one.fetched_at, one.quality is Quality.SUBSTITUTED)):
        if series.fetched_at <= at:
            known, _ = better(known, series, "")
    return known


def better(known: PriceSeries | None, fetched: PriceSeries | None, note: str) -> tuple[PriceSeries | None, str]:
    """Return which series the day points to: the newer one, unless it has lost values or is worth less than what is known.

    Where it is better in some slots and worse in others, the better slots of both are put together.
    """
    if fetched is None or known is None or known.quality is Quality.SUBSTITUTED:
        return (known if fetched is None else fetched), note
    is_same_kind = is_comparable(known, fetched)
    if is_same_kind and not loses(known, fetched):
        return fetched, note
    is_poorer = is_same_kind and not gains(known, fetched)
    if is_same_kind and not is_poorer and fetched.source != known.source:
        return merged(known, fetched), note
    lost, won = len(fetched.gaps) - len(known.gaps), worth(fetched) - worth(known)
    if lost > 0 and fetched.source == known.source:
        return known, _joined(
            note, f"{fetched.source} withdrew values that it had published; the fuller series is kept"
        )
    if is_poorer or lost > 0 or (lost == 0 and won < 0):
        kept = f"{fetched.source} has only {fetched.quality.value} prices with {len(fetched.gaps)} gaps"
        return known, _joined(note, f"{kept}; those of {known.source} are kept")
    return fetched, note


def chosen(
    known: PriceSeries | None, fetched: PriceSeries | None, note: str, order: Sequence[str]
) -> tuple[PriceSeries | None, str]:
    """Return which series the day points to; see `better`.

    Args:
        known: What it points to now.
        fetched: What a source has just said.
        note: What went wrong while asking.
        order: Names of the sources, the preferred one first: what one of them has said is not given up for what a later one says
            that is neither fuller nor worth more.
    """
    if known is None or fetched is None:
        return better(known, fetched, note)
    if {*sources_of(known), *sources_of(fetched)} <= set(order) and is_comparable(known, fetched):
        is_later = _last(known, order) < _last(fetched, order)
        if is_later and not gains(known, fetched):
            return known, note
    return better(known, fetched, note)


async def as_revision(
    store: Store, tenant: str, known: PriceSeries | None, series: PriceSeries | None
) -> PriceSeries | None:
    """Return a series under the id of its revision: that of the known one when it says the same, a new one when it is back."""
    if known is None or series is None or series.id == known.id:
        return series
    if says_the_same(known, series):
        return known
    stored = await store.get(PriceSeries, tenant, series.id)
    return series if stored is None else come_back(series)


def worth(series: PriceSeries) -> int:
    """Return how far the values of a series may be trusted: more is better."""
    return RANK[series.quality]


def _last(series: PriceSeries, order: Sequence[str]) -> int:
    """Return how late in the order the least preferred source of a series is."""
    return max(order.index(source) for source in sources_of(series))


def says_the_same(one: PriceSeries, other: PriceSeries) -> bool:
    """Tell whether two series are of the same content, whenever they were fetched."""
    return one.id.partition(_AGAIN)[0] == other.id.partition(_AGAIN)[0]


def come_back(series: PriceSeries) -> PriceSeries:
    """Return prices that were known before, and replaced since, as a revision of their own: they count from now on again."""
    return dataclasses.replace(series, id=f"{series.id}{_AGAIN}{int(series.fetched_at.timestamp())}")


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
