"""Years of prices as one array per zone and product, kept in memory beside the rows.

```
rows of delivery days (each with its own resolution, source, quality)  ──>  quarter-hours  ──>  a chart of ten years
```

A price of an hour stands in each of its quarter-hours; what nobody published is NaN. The rows are read once and then day by day
as they change. Two currencies never meet in one array: that of the newest day is kept, days in another one are gaps and counted.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.identity import Permission, Principal
from gateway.domain.series import PriceProduct, PriceSeries
from gateway.domain.units import QUARTER_HOUR
from gateway.ports import Change, Clock, Store
from gateway.services.gather_market_data.revisions import as_known

HistoryKey = tuple[str, str, PriceProduct]
"""Tenant, zone and product."""
FloatArray = npt.NDArray[np.float32]
_SLOT_S = int(QUARTER_HOUR.total_seconds())
_CHUNK = timedelta(days=60)
"""So many days are read at once, so that no read holds a thread for long."""
_MOST_ROWS = 100_000
_ROOM = 35_040
"""Quarter-hours by which an array grows: about a year."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceOrigin:
    """Where a run of days comes from."""

    start: datetime
    """First delivery period of the run; it ends where the next run begins."""
    source: str
    quality: str
    resolution_minutes: int
    """Of the source: an hour's price stands in each of its quarter-hours."""
    licence: str
    note: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PriceHistory:
    """Everything that is known of the prices of one zone and product."""

    zone: str
    product: PriceProduct
    currency: str
    """ISO 4217 code; empty without any price."""
    start: datetime
    """Begin of the first quarter-hour."""
    prices_per_mwh: FloatArray
    """One value per quarter-hour, read-only; NaN is a gap."""
    origins: tuple[PriceOrigin, ...]
    """By time; days of the same origin in a row share one."""
    foreign_days: int
    """Days left out because their prices are in another currency."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Day:
    """What is kept of a delivery day beside its prices."""

    origins: tuple[PriceOrigin, ...]
    """Of its runs, in order."""
    currency: str
    count: int
    """Quarter-hours."""


@dataclass(slots=True, eq=False)
class _Shelf:
    """The days of one tenant, zone and product as they are laid into an array."""

    first_slot: int = 0
    """Quarter-hours since 1970-01-01 UTC of `prices[0]`."""
    prices: FloatArray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    days: dict[int, _Day] = field(default_factory=dict)
    """By first quarter-hour."""
    is_unread: bool = True
    """Nothing of it has been read yet."""
    stale: set[datetime] = field(default_factory=set)
    """Dates, as midnight UTC, that were written since they were read."""
    told: PriceHistory | None = None
    """What was answered last; None when something changed since."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def lay(self, rows: Sequence[PriceSeries], now: datetime) -> None:
        """Take over the revisions of whole days."""
        by_day: dict[int, list[PriceSeries]] = {}
        for row in rows:
            by_day.setdefault(int(row.grid.start.timestamp()) // _SLOT_S, []).append(row)
        for slot, revisions in by_day.items():
            series = as_known(revisions, now)
            if series is not None:
                self._lay_day(slot, series)

    def _lay_day(self, slot: int, series: PriceSeries) -> None:
        repeat = int(series.grid.step.total_seconds()) // _SLOT_S
        values = np.array([np.nan if p is None else float(p) for p in series.prices_per_mwh], dtype=np.float32)
        values = np.repeat(values, repeat)
        self._make_room(slot, slot + len(values))
        at = slot - self.first_slot
        self.prices[at : at + len(values)] = values
        self.days[slot] = _Day(origins=_origins_of(series), currency=series.currency, count=len(values))

    def _make_room(self, first: int, end: int) -> None:
        if not len(self.prices):
            self.first_slot = first
        before = max(0, self.first_slot - first)
        after = max(0, end - self.first_slot - len(self.prices))
        if before or after:
            before, after = _in_rooms(before), _in_rooms(after)
            self.prices = np.pad(self.prices, (before, after), constant_values=np.nan)
            self.first_slot -= before


class PriceHistories:
    """Reads the rows once and keeps up with them; one per gateway."""

    def __init__(self, *, store: Store, clock: Clock, at_once: Sequence[HistoryKey] = ()) -> None:
        """Remember the ports; nothing is read yet.

        Args:
            store: Where the price series are.
            clock: Decides which revisions are known.
            at_once: What is read as soon as changes are followed, so that the first who asks need not wait; the rest is read when
                somebody asks.
        """
        self._store = store
        self._clock = clock
        self._at_once = tuple(at_once)
        self._shelves: dict[HistoryKey, _Shelf] = {}
        self._is_following = False

    async def of(self, principal: Principal, zone: str, product: PriceProduct) -> PriceHistory:
        """Return the prices of a zone and product, all that is known now.

        Raises:
            PermissionRefused: The caller may not read market data.
        """
        principal.require(Permission.MARKET_READ)
        return await self._read((principal.tenant, zone, product))

    async def _read(self, key: HistoryKey) -> PriceHistory:
        shelf = self._shelves.setdefault(key, _Shelf())
        async with shelf.lock:
            shelf.is_unread |= not self._is_following
            await self._catch_up(key, shelf)
            if shelf.told is None:
                shelf.told = await asyncio.to_thread(_history, key[1], key[2], shelf)
            return shelf.told

    async def follow(self) -> None:
        """Note which days are written, for ever; while nobody does, every question reads all rows anew."""
        async with self._store.changes({PriceSeries.__name__}) as changes:
            for shelf in self._shelves.values():
                shelf.is_unread = True
            self._is_following = True
            try:
                for key in self._at_once:
                    await self._read(key)
                async for change in changes:
                    self._note(change)
            finally:
                self._is_following = False

    def _note(self, change: Change) -> None:
        zone, product, day, _ = change.id.rsplit(":", 3)
        shelf = self._shelves.get((change.tenant, zone, PriceProduct(product)))
        if shelf is not None:
            shelf.stale.add(datetime.fromisoformat(day).replace(tzinfo=UTC))

    async def _catch_up(self, key: HistoryKey, shelf: _Shelf) -> None:
        stale = set(shelf.stale)
        if shelf.is_unread:
            spans = await self._whole_span(key)
        else:
            # A day of the market begins within a day of midnight UTC.
            spans = [(day - timedelta(days=1), day + timedelta(days=1)) for day in sorted(stale)]
        now = self._clock.now()
        for since, until in spans:
            rows = await self._store.find(PriceSeries, key[0], _where(key), since=since, until=until, limit=_MOST_ROWS)
            shelf.told = None
            await asyncio.to_thread(shelf.lay, [row.record for row in rows], now)
        shelf.is_unread = False
        shelf.stale -= stale

    async def _whole_span(self, key: HistoryKey) -> list[tuple[datetime, datetime]]:
        first = await self._store.find(PriceSeries, key[0], _where(key), limit=1)
        last = await self._store.find(PriceSeries, key[0], _where(key), newest_first=True, limit=1)
        if not first:
            return []
        at, end = first[0].record.grid.start, last[0].record.grid.start
        return [(at + _CHUNK * i, at + _CHUNK * (i + 1)) for i in range((end - at) // _CHUNK + 1)]


def _where(key: HistoryKey) -> dict[str, str]:
    return {"zone": key[1], "product": key[2].value}


def _in_rooms(slots: int) -> int:
    return -(-slots // _ROOM) * _ROOM


def _history(zone: str, product: PriceProduct, shelf: _Shelf) -> PriceHistory:
    slots = sorted(shelf.days)
    if not slots:
        return PriceHistory(
            zone=zone,
            product=product,
            currency="",
            start=datetime.fromtimestamp(0, UTC),
            prices_per_mwh=np.zeros(0, dtype=np.float32),
            origins=(),
            foreign_days=0,
        )
    last = shelf.days[slots[-1]]
    prices = shelf.prices[slots[0] - shelf.first_slot : slots[-1] + last.count - shelf.first_slot].copy()
    foreign = [slot for slot in slots if shelf.days[slot].currency != last.currency]
    for slot in foreign:
        prices[slot - slots[0] : slot - slots[0] + shelf.days[slot].count] = np.nan
    prices.flags.writeable = False
    return PriceHistory(
        zone=zone,
        product=product,
        currency=last.currency,
        start=datetime.fromtimestamp(slots[0] * _SLOT_S, UTC),
        prices_per_mwh=prices,
        origins=tuple(_runs(origin for slot in slots for origin in shelf.days[slot].origins)),
        foreign_days=len(foreign),
    )


def _origins_of(series: PriceSeries) -> tuple[PriceOrigin, ...]:
    found, slot = [], 0
    for run in series.origins:
        found.append(
            PriceOrigin(
                start=series.grid.slot_start(slot),
                source=run.source,
                quality=run.quality.value,
                resolution_minutes=int(run.native_step.total_seconds()) // 60,
                licence=series.licence,
                note=series.note,
            )
        )
        slot += run.count
    return tuple(found)


def _runs(origins: Iterable[PriceOrigin]) -> Iterable[PriceOrigin]:
    """Yield the first of each run of origins that differ only in their day."""
    before: PriceOrigin | None = None
    for origin in origins:
        if before is None or origin != replace(before, start=origin.start):
            yield origin
            before = origin
