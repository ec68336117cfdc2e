r"""Pulls prices and carbon, judges each delivery day, and keeps every revision.

A day is complete only when every delivery period of the market's own day has a price; until then nobody may bid from it:

```
WAITING --> PARTIAL --> COMPLETE          before 14:00 the day before
    \----------\--> LATE --> FALLBACK     from 14:00 people are told, from 20:00 the same day last week stands in
```

A whole day is then compared with another source, where there is one: what differs by more than a cent is an alarm, and the
primary's prices are kept.

Nobody is asked before values can be there (12:45 for the day-ahead coupling); then every 2 to 5 minutes with jitter, at most so
many times a day. The same prices fetched again are one row; other prices are a new row and the old one stays.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.errors import Conflict, InvalidInput, NotFound, PeerUnavailable, Unavailable
from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Permission, Principal
from gateway.domain.price_check import compare_prices
from gateway.domain.series import (
    PUBLICATION,
    CarbonSeries,
    DayState,
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
    carbon_series_id,
    judge_day,
    market_day_id,
    price_series_id,
    require_day,
)
from gateway.domain.timegrid import DeliveryDay, zone_of
from gateway.observe import logger
from gateway.ports import Batch, CarbonSource, Clock, Ids, PriceSource, Put, Store
from gateway.services.gather_market_data.stand_in import shifted_series

_ACTOR = "system:market-data"
_WEEK_DAYS = 7
_LOG = logger("gather_market_data")

PriceKey = tuple[str, PriceProduct]
"""Zone and product."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GatherSettings:
    """How often sources are asked."""

    tenants: tuple[str, ...]
    """Whose rows are written; every tenant gets its own."""
    time_zones: Mapping[str, str]
    """IANA time zone of the market of each zone, for example `{"BE": "Europe/Brussels"}`."""
    history_days: int = 21
    """Past days that forecasts and settlement need."""
    shortest_poll: timedelta = timedelta(minutes=2)
    longest_poll: timedelta = timedelta(minutes=5)
    carbon_poll: timedelta = timedelta(minutes=30)
    requests_per_day: int = 40
    """At most so many requests for one zone, product and delivery day."""
    history_tries: int = 3
    """A past day that its source does not have is asked for so many times."""
    confirm_poll: timedelta = timedelta(minutes=30)
    """How often a second source is asked whether it says the same."""
    confirm_tries: int = 6
    spacing: timedelta = timedelta(seconds=1)
    """Pause between two requests."""


class MarketDataGatherer:
    """Owns the market data rows: the only one who writes `PriceSeries`, `CarbonSeries` and `MarketDayStatus`."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        price_sources: Mapping[PriceKey, Sequence[PriceSource]],
        carbon_sources: Mapping[str, Sequence[CarbonSource]],
        settings: GatherSettings,
    ) -> None:
        """Take the sources, each list in order of preference.

        Raises:
            InvalidInput: A zone has no time zone in the settings.
        """
        for zone in {zone for zone, _ in price_sources} | set(carbon_sources):
            if zone not in settings.time_zones:
                raise InvalidInput("settings.time_zones", f"has no time zone for {zone}")
            zone_of(settings.time_zones[zone])
        self._store = store
        self._clock = clock
        self._ids = ids
        self._prices = dict(price_sources)
        self._carbon = dict(carbon_sources)
        self._settings = settings
        self._asked: dict[str, int] = {}
        self._next_ask: dict[str, datetime] = {}

    # ------------------------------------------------------------ what others ask

    async def prices(self, principal: Principal, zone: str, product: PriceProduct, day: DeliveryDay) -> PriceSeries:
        """Return the best prices of a delivery day; gaps are None inside.

        Raises:
            PermissionRefused: The caller may not read market data.
            NotFound: Nothing has been published yet.
        """
        status = await self.day_status(principal, zone, product, day)
        if status.series_id is None:
            raise NotFound("prices", status.id)
        stored = await self._store.get(PriceSeries, principal.tenant, status.series_id)
        if stored is None:
            raise NotFound("prices", status.series_id)
        return stored.record

    async def day_status(
        self, principal: Principal, zone: str, product: PriceProduct, day: DeliveryDay
    ) -> MarketDayStatus:
        """Return how far the prices of a delivery day have come.

        Raises:
            PermissionRefused: The caller may not read market data.
            NotFound: The day was never looked at.
        """
        principal.require(Permission.MARKET_READ)
        key = market_day_id(zone, product, day)
        stored = await self._store.get(MarketDayStatus, principal.tenant, key)
        if stored is None:
            raise NotFound("market-day", key)
        return stored.record

    async def carbon(self, principal: Principal, zone: str, day: DeliveryDay) -> CarbonSeries:
        """Return the latest carbon intensity of a delivery day.

        Raises:
            PermissionRefused: The caller may not read market data.
            NotFound: Nothing has been published yet.
        """
        principal.require(Permission.MARKET_READ)
        latest = await self._latest_carbon(principal.tenant, zone, day)
        if latest is None:
            raise NotFound("carbon", f"{zone}:{day.day.isoformat()}")
        return latest

    # ------------------------------------------------------------ one day

    async def refresh(self, zone: str, product: PriceProduct, day: DeliveryDay) -> MarketDayStatus:
        """Ask the sources once for a delivery day, keep what is new and return where the day stands.

        Raises:
            NotFound: No source is configured for the zone and product.
            StorageUnavailable: Nothing was kept.
        """
        if (zone, product) not in self._prices:
            raise NotFound("price-source", f"{zone}:{product.value}")
        fetched, note = await self._fetch_prices(zone, product, day)
        statuses = [
            await self._keep_prices(tenant, zone, product, day, fetched, note) for tenant in self._settings.tenants
        ]
        return statuses[0]

    async def confirm(self, zone: str, product: PriceProduct, day: DeliveryDay) -> str:
        """Ask another source whether it has the same prices for a day that is complete, and note what it says.

        Returns:
            What the status now says (`MarketDayStatus.cross_check`); empty when no other source could be compared.

        Raises:
            StorageUnavailable: Nothing was noted.
        """
        said = ""
        for tenant in self._settings.tenants:
            row = await self._store.get(MarketDayStatus, tenant, market_day_id(zone, product, day))
            series = None if row is None else await self._series_of(tenant, row.record)
            if row is None or series is None or row.record.state is not DayState.COMPLETE:
                continue
            said = said or await self._second_opinion(series, day)
            if said and said != row.record.cross_check:
                status = dataclasses.replace(row.record, cross_check=said, checked_at=self._clock.now())
                batch = Batch(
                    tenant=tenant,
                    puts=(Put(record=status, expected_version=row.version),),
                    audit=(self._entry(tenant, status),),
                )
                await self._store.apply(batch)
        return said

    async def _second_opinion(self, series: PriceSeries, day: DeliveryDay) -> str:
        """Return what the first other source that can be compared says; empty when none can."""
        for source in self._prices[series.zone, series.product]:
            if source.name == series.source:
                continue
            try:
                other = await source.fetch(series.zone, day)
                comparison = None if other is None else compare_prices(series, other)
            except (PeerUnavailable, InvalidInput) as error:
                _LOG.warning("price_source_failed", zone=series.zone, source=source.name, error=str(error))
                continue
            if comparison is not None:
                log = _LOG.info if comparison.agrees else _LOG.error
                log("prices_compared", zone=series.zone, day=day.day.isoformat(), result=comparison.told())
                return comparison.told()
        return ""

    async def refresh_carbon(self, zone: str, day: DeliveryDay) -> bool:
        """Ask the sources once for the carbon intensity of a day; return whether the day is complete now."""
        found: CarbonSeries | None = None
        for source in self._carbon[zone]:
            try:
                found = await source.fetch(zone, day)
                if found is not None:
                    require_day(found.grid, day)
            except (PeerUnavailable, InvalidInput) as error:
                _LOG.warning(
                    "carbon_source_failed", zone=zone, day=day.day.isoformat(), source=source.name, error=str(error)
                )
                found = None
            if found is not None and found.is_complete:
                break
        if found is None:
            return False
        series = dataclasses.replace(found, id=carbon_series_id(found, day))
        for tenant in self._settings.tenants:
            await self._keep_carbon(tenant, series)
        return series.is_complete

    async def _fetch_prices(self, zone: str, product: PriceProduct, day: DeliveryDay) -> tuple[PriceSeries | None, str]:
        """Ask source after source until one has the whole day; return the fullest answer and what went wrong."""
        best: PriceSeries | None = None
        notes: list[str] = []
        for source in self._prices[(zone, product)]:
            try:
                series = await source.fetch(zone, day)
                if series is None:
                    continue
                _require_asked(series, zone, product, day)
            except PeerUnavailable as error:
                notes.append(f"{source.name} does not answer: {error}")
            except InvalidInput as error:
                notes.append(f"{source.name} sent a document that breaks a rule: {error}")
            else:
                if best is None or len(series.gaps) < len(best.gaps):
                    best = series
                if best.is_complete:
                    break
        for note in notes:
            _LOG.warning("price_source_failed", zone=zone, product=product.value, day=day.day.isoformat(), error=note)
        kept = None if best is None else dataclasses.replace(best, id=price_series_id(best, day))
        return kept, "; ".join(notes)

    async def _keep_prices(
        self,
        tenant: str,
        zone: str,
        product: PriceProduct,
        day: DeliveryDay,
        fetched: PriceSeries | None,
        note: str,
    ) -> MarketDayStatus:
        for _ in range(3):
            try:
                return await self._write_prices(tenant, zone, product, day, fetched, note)
            except Conflict:
                continue
        raise Unavailable("market data rows keep changing under us")

    async def _write_prices(
        self,
        tenant: str,
        zone: str,
        product: PriceProduct,
        day: DeliveryDay,
        fetched: PriceSeries | None,
        note: str,
    ) -> MarketDayStatus:
        now = self._clock.now()
        row = await self._store.get(MarketDayStatus, tenant, market_day_id(zone, product, day))
        before = None if row is None else row.record
        known = await self._series_of(tenant, before)
        series, note = _better(known, fetched, note)
        state = judge_day(product, series, day, now)
        if state is DayState.FALLBACK and (series is None or series.quality is not Quality.SUBSTITUTED):
            stand_in = await self._stand_in(tenant, zone, product, day)
            series, note = (stand_in, stand_in.note) if stand_in is not None else (series, note)
        status = MarketDayStatus(
            id=market_day_id(zone, product, day),
            tenant=tenant,
            zone=zone,
            product=product,
            day=day.day.isoformat(),
            state=state,
            missing_count=day.grid().count if series is None else len(series.gaps),
            series_id=None if series is None else series.id,
            checked_at=now,
            note=note,
            cross_check=before.cross_check if before is not None and _is_same(before, series) else "",
        )
        if before is not None and dataclasses.replace(before, checked_at=now) == status:
            return before
        puts = [Put(record=status, expected_version=0 if row is None else row.version)]
        if series is not None and (known is None or known.id != series.id):
            puts += await self._if_new(tenant, series)
        await self._store.apply(Batch(tenant=tenant, puts=tuple(puts), audit=(self._entry(tenant, status),)))
        _LOG.info("market_day", id=status.id, state=state.value, missing_count=status.missing_count, note=note)
        return status

    async def _series_of(self, tenant: str, status: MarketDayStatus | None) -> PriceSeries | None:
        if status is None or status.series_id is None:
            return None
        stored = await self._store.get(PriceSeries, tenant, status.series_id)
        return None if stored is None else stored.record

    async def _if_new(self, tenant: str, series: PriceSeries) -> list[Put]:
        stored = await self._store.get(PriceSeries, tenant, series.id)
        return [Put(record=series, expected_version=0)] if stored is None else []

    async def _stand_in(self, tenant: str, zone: str, product: PriceProduct, day: DeliveryDay) -> PriceSeries | None:
        """Return last week's prices on this day's grid, labelled as a stand-in; None when there are none."""
        week_ago = day.next(-_WEEK_DAYS)
        row = await self._store.get(MarketDayStatus, tenant, market_day_id(zone, product, week_ago))
        past = await self._series_of(tenant, None if row is None else row.record)
        if past is None or not past.is_complete:
            return None
        return shifted_series(past, week_ago, day, self._clock.now())

    def _entry(self, tenant: str, status: MarketDayStatus) -> AuditEntry:
        causes = () if status.series_id is None else (f"series:{status.series_id}",)
        return AuditEntry(
            id=self._ids.new("audit"),
            tenant=tenant,
            at=status.checked_at,
            actor=_ACTOR,
            action="market-day.judge",
            object_kind="market-day",
            object_id=status.id,
            causes=causes,
            detail={
                "state": status.state.value,
                "missing": str(status.missing_count),
                "note": status.note,
                "cross_check": status.cross_check,
            },
        )

    async def _latest_carbon(self, tenant: str, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        span = day.interval
        rows = await self._store.find(CarbonSeries, tenant, {"zone": zone}, since=span.start, until=span.end)
        return max((row.record for row in rows), key=lambda series: series.fetched_at, default=None)

    async def _keep_carbon(self, tenant: str, series: CarbonSeries) -> None:
        if await self._store.get(CarbonSeries, tenant, series.id) is not None:
            return
        entry = AuditEntry(
            id=self._ids.new("audit"),
            tenant=tenant,
            at=self._clock.now(),
            actor=_ACTOR,
            action="carbon.receive",
            object_kind="series",
            object_id=series.id,
            detail={"source": series.source, "quality": series.quality.value},
        )
        await self._store.apply(Batch(tenant=tenant, puts=(Put(record=series, expected_version=0),), audit=(entry,)))

    # ------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Keep the days that matter up to date until cancelled: the past first to come, then tomorrow's publication."""
        while True:
            try:
                wake = await self._round()
            except Unavailable as error:
                _LOG.warning("market_data_round_failed", error=str(error))
                wake = self._clock.now() + self._settings.shortest_poll
            await self._clock.sleep_until(wake)

    async def _round(self) -> datetime:
        """Ask for every day that is due and return when the next one is."""
        now = self._clock.now()
        wake = now + self._settings.carbon_poll
        for (zone, product), day in self._price_days(now):
            due = await self._price_due(zone, product, day)
            if due is not None and due <= self._clock.now():
                due = await self._ask_for(zone, product, day)
                await self._clock.sleep(self._settings.spacing)
            wake = wake if due is None else min(wake, due)
        for zone, day in self._carbon_days(now):
            wake = min(wake, await self._carbon_round(zone, day, wake))
        return max(wake, self._clock.now())

    def _price_days(self, now: datetime) -> list[tuple[PriceKey, DeliveryDay]]:
        """Return the days of every product that matter, newest first: tomorrow is what people wait for."""
        days: list[tuple[PriceKey, DeliveryDay]] = []
        for key in self._prices:
            today = DeliveryDay.containing(now, self._settings.time_zones[key[0]])
            # A tariff is known days ahead; an auction publishes tomorrow at most.
            last = max(1, -PUBLICATION[key[1]].day_offset)
            days += [(key, today.next(offset)) for offset in range(last, -self._settings.history_days - 1, -1)]
        return days

    def _carbon_days(self, now: datetime) -> list[tuple[str, DeliveryDay]]:
        days: list[tuple[str, DeliveryDay]] = []
        for zone in self._carbon:
            today = DeliveryDay.containing(now, self._settings.time_zones[zone])
            days += [(zone, today.next(offset)) for offset in (1, 0, -1)]
        return days

    async def _price_due(self, zone: str, product: PriceProduct, day: DeliveryDay) -> datetime | None:
        """Return when to ask next for a day; None when it is complete or was asked for often enough."""
        key = market_day_id(zone, product, day)
        rows = [await self._store.get(MarketDayStatus, tenant, key) for tenant in self._settings.tenants]
        if all(row is not None and row.record.state is DayState.COMPLETE for row in rows):
            return self._confirm_due(key, zone, product, [row.record for row in rows if row is not None])
        now = self._clock.now()
        is_past = day.interval.end is not None and PUBLICATION[product].late_at(day) + timedelta(days=1) < now
        limit = self._settings.history_tries if is_past else self._settings.requests_per_day
        if self._asked.get(key, 0) >= limit:
            return None
        return self._next_ask.get(key, PUBLICATION[product].opens_at(day))

    def _confirm_due(
        self, key: str, zone: str, product: PriceProduct, statuses: Sequence[MarketDayStatus]
    ) -> datetime | None:
        """Return when to ask another source about a complete day; None when one has answered, or there is none."""
        is_open = len(self._prices[zone, product]) > 1 and not all(status.cross_check for status in statuses)
        is_recent = all(status.day >= self._oldest_to_confirm(zone) for status in statuses)
        tries = self._asked.get(_confirming(key), 0)
        if not is_open or not is_recent or tries >= self._settings.confirm_tries:
            return None
        return self._next_ask.get(_confirming(key), self._clock.now())

    def _oldest_to_confirm(self, zone: str) -> str:
        """Return the ISO day before which nothing is compared any more: today's."""
        return DeliveryDay.containing(self._clock.now(), self._settings.time_zones[zone]).day.isoformat()

    async def _ask_for(self, zone: str, product: PriceProduct, day: DeliveryDay) -> datetime:
        """Ask for prices that are missing, or for a second opinion on a whole day; return when to ask again."""
        key = market_day_id(zone, product, day)
        row = await self._store.get(MarketDayStatus, self._settings.tenants[0], key)
        if row is None or row.record.state is not DayState.COMPLETE:
            await self.refresh(zone, product, day)
            return self._asked_now(key)
        await self.confirm(zone, product, day)
        self._asked[_confirming(key)] = self._asked.get(_confirming(key), 0) + 1
        self._next_ask[_confirming(key)] = self._clock.now() + self._settings.confirm_poll
        return self._next_ask[_confirming(key)]

    async def _carbon_round(self, zone: str, day: DeliveryDay, wake: datetime) -> datetime:
        key = f"{zone}:carbon:{day.day.isoformat()}"
        due = self._next_ask.get(key, self._clock.now())
        if self._asked.get(key, 0) >= self._settings.requests_per_day:
            return wake
        if due > self._clock.now():
            return due
        is_complete = await self.refresh_carbon(zone, day)
        self._asked_now(key)
        if is_complete and not await self._is_estimate(zone, day):
            self._asked[key] = self._settings.requests_per_day
            return wake
        earliest = self._clock.now() + self._settings.carbon_poll
        # A forecast of the whole day is enough until the day is over; then what really was is asked for.
        self._next_ask[key] = max(earliest, day.next().interval.start) if is_complete else earliest
        return self._next_ask[key]

    async def _is_estimate(self, zone: str, day: DeliveryDay) -> bool:
        latest = [await self._latest_carbon(tenant, zone, day) for tenant in self._settings.tenants]
        return any(series is not None and series.quality is Quality.ESTIMATED for series in latest)

    def _asked_now(self, key: str) -> datetime:
        low, high = self._settings.shortest_poll.total_seconds(), self._settings.longest_poll.total_seconds()
        self._asked[key] = self._asked.get(key, 0) + 1
        self._next_ask[key] = self._clock.now() + timedelta(seconds=self._ids.uniform(low, high))
        return self._next_ask[key]


def _is_same(status: MarketDayStatus, series: PriceSeries | None) -> bool:
    """Tell whether a status still points to the same prices, so that what another source said of them holds."""
    return series is not None and status.series_id == series.id


def _confirming(key: str) -> str:
    return f"{key}:second-opinion"


def _require_asked(series: PriceSeries, zone: str, product: PriceProduct, day: DeliveryDay) -> None:
    """Check that a source answered what it was asked."""
    if series.zone != zone:
        raise InvalidInput("series.zone", f"is not {zone}")
    if series.product is not product:
        raise InvalidInput("series.product", f"is not {product.value}; two auctions never mix")
    require_day(series.grid, day)


def _better(known: PriceSeries | None, fetched: PriceSeries | None, note: str) -> tuple[PriceSeries | None, str]:
    """Return which series the day points to: the newer one, unless it has lost values that were there."""
    if fetched is None or known is None or known.quality is Quality.SUBSTITUTED:
        return (known if fetched is None else fetched), note
    if len(fetched.gaps) > len(known.gaps):
        withdrawn = f"{fetched.source} withdrew values that it had published; the fuller series is kept"
        return known, "; ".join(part for part in (note, withdrawn) if part)
    return fetched, note
