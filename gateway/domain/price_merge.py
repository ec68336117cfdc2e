"""Prices of one day from two series, slot by slot: what is worth more stays, what is missing may come from elsewhere and says so.

```
first    |final|final| gap | gap |
second   | est | est | est | est |
merged   |final|final| est | est |     each slot with its own source, native resolution and quality; the day is as good as its worst
```
"""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from gateway.domain.series import PriceSeries, Quality, SlotRun, series_id_of, slot_runs

RANK = {Quality.SUBSTITUTED: 0, Quality.ESTIMATED: 1, Quality.PRELIMINARY: 2, Quality.FINAL: 3}
"""How far values may be trusted: more is better."""
_Slot = tuple[Decimal | None, SlotRun]


def sources_of(series: PriceSeries) -> tuple[str, ...]:
    """Return the sources whose prices a series has, each once, in the order of its slots."""
    return tuple(dict.fromkeys(run.source for run in series.origins))


def is_comparable(one: PriceSeries, other: PriceSeries) -> bool:
    """Tell whether two series are prices of the same thing on the same slots."""
    return all(getattr(one, field) == getattr(other, field) for field in ("zone", "product", "currency", "grid"))


def gains(known: PriceSeries, fetched: PriceSeries) -> bool:
    """Tell whether a series has a slot that the known one lacks, or has with less worth."""
    return _any_slot(known, fetched, lambda had, has: has[0] is not None and _worth(has) > _worth(had))


def loses(known: PriceSeries, fetched: PriceSeries) -> bool:
    """Tell whether a series lacks a slot that the known one has, or has it with less worth."""
    return gains(fetched, known)


def merged(first: PriceSeries, second: PriceSeries) -> PriceSeries:
    """Return one series with the better slot of both; the first's where they are worth the same.

    Args:
        first: Preferred.
        second: Of the same zone, product, currency and grid (`is_comparable`).
    """
    slots = [had if _worth(had) >= _worth(has) else has for had, has in zip(_slots(first), _slots(second), strict=True)]
    used = [run for price, run in slots if price is not None]
    for whole in (first, second):
        if [price for price, _ in slots] == list(whole.prices_per_mwh) and _origins(slots) == _origins(_slots(whole)):
            return whole
    names = tuple(dict.fromkeys(run.source for run in used))
    source, quality = " + ".join(names), min((run.quality for run in used), key=RANK.__getitem__)
    series = dataclasses.replace(
        first,
        prices_per_mwh=tuple(price for price, _ in slots),
        source=source,
        published_at=first.published_at or second.published_at,
        fetched_at=max(first.fetched_at, second.fetched_at),
        quality=quality,
        licence="; ".join(dict.fromkeys((first.licence, second.licence))),
        note=_note(first, second, slots),
        runs=slot_runs(_origins(slots), (first.grid.step, source, quality)),
    )
    return dataclasses.replace(series, id=series_id_of(series))


def _any_slot(known: PriceSeries, fetched: PriceSeries, holds: Callable[[_Slot, _Slot], bool]) -> bool:
    return any(holds(had, has) for had, has in zip(_slots(known), _slots(fetched), strict=True))


def _slots(series: PriceSeries) -> list[_Slot]:
    return list(zip(series.prices_per_mwh, series.origin_of_slot, strict=True))


def _worth(slot: _Slot) -> int:
    """Return how much a slot is worth; a gap is worth less than anything."""
    return -1 if slot[0] is None else RANK[slot[1].quality]


def _origins(slots: list[_Slot]) -> list[tuple[timedelta, str, Quality] | None]:
    return [None if price is None else (run.native_step, run.source, run.quality) for price, run in slots]


def _note(first: PriceSeries, second: PriceSeries, slots: list[_Slot]) -> str:
    """Say how many slots each source has given, after what the series said themselves."""
    counts: dict[str, int] = {}
    for price, run in slots:
        if price is not None:
            said = f"{run.quality.value} from {run.source}"
            counts[said] = counts.get(said, 0) + 1
    told = "put together slot by slot: " + ", ".join(f"{count} {said}" for said, count in counts.items())
    kept = [part for note in (first.note, second.note) for part in note.split("; ") if part]
    own = [part for part in kept if not part.startswith("put together slot by slot")]
    return "; ".join(dict.fromkeys((*own, told)))
