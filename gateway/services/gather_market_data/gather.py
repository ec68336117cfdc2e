r"""Pulls prices and carbon, judges each delivery day, and keeps every revision.

A day is complete only when every delivery period of the market's own day has a price; until then nobody may bid from it:

```
WAITING --> PARTIAL --> COMPLETE                       before 14:00 the day before
    \----------\--> LATE --> DECOUPLED --> FALLBACK    from 14:00 people are told; nothing at all at 14:20 is the coupling's
                                                       failure; from 20:00 a local auction or last week stands in
```

A whole day is then compared with another source, where there is one: what differs by more than a cent is an alarm, and the
primary's prices are kept.

The same prices fetched again are one row; other prices are a new row and the old one stays. When to ask is `loop`'s business.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.errors import Conflict, InvalidInput, NotFound, PeerUnavailable, Unavailable
from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Permission, Principal
from gateway.domain.price_check import PriceComparison, compare_prices, contradiction_of
from gateway.domain.price_doubts import AFTER_DECOUPLING
from gateway.domain.price_merge import is_comparable, merged, sources_of
from gateway.domain.series import (
    CarbonSeries,
    DayState,
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
    carbon_series_id,
    judge_day,
    market_day_id,
    missing_slots,
    price_series_id,
    require_day,
)
from gateway.domain.timegrid import DeliveryDay, zone_of
from gateway.observe import logger
from gateway.ports import Batch, CarbonSource, Clock, Ids, PriceSource, Put, Store, Stored
from gateway.services.gather_market_data.opinions import require_asked
from gateway.services.gather_market_data.revisions import as_known, as_revision, chosen
from gateway.services.gather_market_data.settings import GatherSettings
from gateway.services.gather_market_data.stand_in import StandIns

_ACTOR = "system:market-data"
_MOST_REVISIONS = 10_000
_LOG = logger("gather_market_data")

PriceKey = tuple[str, PriceProduct]
"""Zone and product."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What asking the sources for a day led to."""

    status: MarketDayStatus
    has_answer: bool
    """Whether a source answered in a way that can be read, be it that there is nothing yet."""


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
        self.store = store
        self.clock = clock
        self.ids = ids
        self._prices = dict(price_sources)
        self._carbon = dict(carbon_sources)
        self.settings = settings
        self._stand_ins = StandIns(store, clock)

    @property
    def price_source_counts(self) -> dict[PriceKey, int]:
        """How many sources there are for each zone and product."""
        return {key: len(sources) for key, sources in self._prices.items()}

    @property
    def carbon_zones(self) -> tuple[str, ...]:
        """Zones that there is a carbon source for."""
        return tuple(self._carbon)

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
        stored = await self.store.get(PriceSeries, principal.tenant, status.series_id)
        if stored is None:
            raise NotFound("prices", status.series_id)
        return stored.record

    async def prices_as_known(
        self, principal: Principal, zone: str, product: PriceProduct, day: DeliveryDay, at: datetime
    ) -> PriceSeries:
        """Return the best prices of a delivery day as they were known at an instant: every revision is kept.

        Raises:
            PermissionRefused: The caller may not read market data.
            NotFound: Nothing was known then.
        """
        known = as_known(await self.revisions(principal, zone, product, day), at)
        if known is None:
            raise NotFound("prices", f"{market_day_id(zone, product, day)} at {at.isoformat()}")
        return known

    async def revisions(
        self, principal: Principal, zone: str, product: PriceProduct, day: DeliveryDay
    ) -> list[PriceSeries]:
        """Return every kept revision of a delivery day's prices, of all sources, in no order.

        Raises:
            PermissionRefused: The caller may not read market data.
        """
        principal.require(Permission.MARKET_READ)
        span = day.interval
        rows = await self.store.find(
            PriceSeries,
            principal.tenant,
            {"zone": zone, "product": product.value},
            since=span.start,
            until=span.end,
            limit=_MOST_REVISIONS,
        )
        return [row.record for row in rows if row.record.grid.start == span.start]

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
        stored = await self.store.get(MarketDayStatus, principal.tenant, key)
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
        latest = await self.latest_carbon(principal.tenant, zone, day)
        if latest is None:
            raise NotFound("carbon", f"{zone}:{day.day.isoformat()}")
        return latest

    # ------------------------------------------------------------ one day

    async def refresh(self, zone: str, product: PriceProduct, day: DeliveryDay) -> MarketDayStatus:
        """Ask the sources once for a delivery day, keep what is new and return where the day stands; see `ask`."""
        return (await self.ask(zone, product, day)).status

    async def ask(self, zone: str, product: PriceProduct, day: DeliveryDay) -> Asked:
        """Ask the sources once for a delivery day and keep what is new.

        Raises:
            NotFound: No source is configured for the zone and product.
            StorageUnavailable: Nothing was kept.
        """
        if (zone, product) not in self._prices:
            raise NotFound("price-source", f"{zone}:{product.value}")
        fetched, notes = await self._fetch_prices(zone, product, day)
        statuses = [
            await self._keep_prices(tenant, zone, product, day, fetched, "; ".join(notes))
            for tenant in self.settings.tenants
        ]
        return Asked(status=statuses[0], has_answer=len(notes) < len(self._prices[zone, product]))

    async def judge(self, zone: str, product: PriceProduct, day: DeliveryDay) -> None:
        """Judge a day again without asking anybody: time alone makes it late, decoupled, or a case for a stand-in.

        Raises:
            StorageUnavailable: Nothing was kept.
        """
        for tenant in self.settings.tenants:
            row = await self.store.get(MarketDayStatus, tenant, market_day_id(zone, product, day))
            if row is not None and row.record.state is not DayState.COMPLETE:
                series = await self._series_of(tenant, row.record)
                if judge_day(product, series, day, self.clock.now()) is not row.record.state:
                    await self._keep_prices(tenant, zone, product, day, None, row.record.note)

    async def confirm(self, zone: str, product: PriceProduct, day: DeliveryDay) -> str:
        """Ask another source whether it has the same prices for a day that is complete, and note what it says.

        Returns:
            What the status now says (`MarketDayStatus.cross_check`); empty when no other source could be compared.

        Raises:
            StorageUnavailable: Nothing was noted.
        """
        comparison: PriceComparison | None = None
        for tenant in self.settings.tenants:
            row = await self.store.get(MarketDayStatus, tenant, market_day_id(zone, product, day))
            series = None if row is None else await self._series_of(tenant, row.record)
            if row is None or series is None or row.record.state is not DayState.COMPLETE:
                continue
            comparison = comparison or await self._second_opinion(series, day)
            if comparison is not None:
                await self._note_opinion(tenant, row, series, comparison)
        return "" if comparison is None else comparison.told()

    async def _note_opinion(
        self, tenant: str, row: Stored[MarketDayStatus], series: PriceSeries, comparison: PriceComparison
    ) -> None:
        """Keep what another source says; a person's word stays with exactly the contradiction that it was about."""
        now, before = self.clock.now(), row.record
        found = contradiction_of(comparison, series, now)
        if found is not None and before.contradiction is not None and before.contradiction.id == found.id:
            found = before.contradiction
        if comparison.told() == before.cross_check and found == before.contradiction:
            return
        status = dataclasses.replace(before, cross_check=comparison.told(), contradiction=found, checked_at=now)
        batch = Batch(
            tenant=tenant,
            puts=(Put(record=status, expected_version=row.version),),
            audit=(self._entry(tenant, status),),
        )
        await self.store.apply(batch)

    async def _second_opinion(self, series: PriceSeries, day: DeliveryDay) -> PriceComparison | None:
        """Return how the first other source that can be compared compares; None when none can."""
        for source in self._prices[series.zone, series.product]:
            if source.name in sources_of(series):
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
                return comparison
        return None

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
        for tenant in self.settings.tenants:
            await self._keep_carbon(tenant, series)
        return series.is_complete

    async def _fetch_prices(
        self, zone: str, product: PriceProduct, day: DeliveryDay
    ) -> tuple[PriceSeries | None, Sequence[str]]:
        """Ask source after source until the day is whole; return what they have together and what went wrong, per source.

        A later source gives the slots that an earlier one has not, or has with less worth.
        """
        best: PriceSeries | None = None
        notes: list[str] = []
        for source in self._prices[(zone, product)]:
            try:
                series = await source.fetch(zone, day)
                if series is None:
                    continue
                require_asked(series, zone, product, day)
            except PeerUnavailable as error:
                notes.append(f"{source.name} does not answer: {error}")
            except InvalidInput as error:
                notes.append(f"{source.name} sent a document that breaks a rule: {error}")
            else:
                best = series if best is None else _together(best, series)
                if best.is_complete:
                    break
        for note in notes:
            _LOG.warning("price_source_failed", zone=zone, product=product.value, day=day.day.isoformat(), error=note)
        kept = None if best is None else dataclasses.replace(best, id=price_series_id(best, day))
        return kept, notes

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
        now = self.clock.now()
        row = await self.store.get(MarketDayStatus, tenant, market_day_id(zone, product, day))
        before = None if row is None else row.record
        known = await self._series_of(tenant, before)
        order = [source.name for source in self._prices.get((zone, product), ())]
        series, note = chosen(known, fetched, note, order)
        published = series
        state = judge_day(product, series, day, now)
        if state is DayState.FALLBACK and (series is None or series.quality is not Quality.SUBSTITUTED):
            stand_in = await self._stand_ins.of(tenant, zone, product, day)
            if stand_in is not None:
                series = stand_in if series is None else _together(series, stand_in)
                note = series.note
        series = await as_revision(self.store, tenant, known, series)
        if state is DayState.COMPLETE and before is not None and (_came_late(before) and _is_same(before, series)):
            note = before.note
        elif state is DayState.COMPLETE and before is not None and before.state is DayState.DECOUPLED:
            note = "; ".join(part for part in (AFTER_DECOUPLING, note) if part)
        status = MarketDayStatus(
            id=market_day_id(zone, product, day),
            tenant=tenant,
            zone=zone,
            product=product,
            day=day.day.isoformat(),
            state=state,
            missing_count=missing_slots(series, product, day),
            series_id=None if series is None else series.id,
            checked_at=now,
            note=note,
            cross_check=before.cross_check if before is not None and _is_same(before, series) else "",
            contradiction=before.contradiction if before is not None and _is_same(before, series) else None,
        )
        if before is not None and dataclasses.replace(before, checked_at=now) == status:
            return before
        puts = [Put(record=status, expected_version=0 if row is None else row.version)]
        # What was published is kept beside what stands in for it.
        for one in {kept.id: kept for kept in (published, series) if kept is not None}.values():
            puts += await self._if_new(tenant, one)
        await self.store.apply(Batch(tenant=tenant, puts=tuple(puts), audit=(self._entry(tenant, status),)))
        _LOG.info("market_day", id=status.id, state=state.value, missing_count=status.missing_count, note=note)
        return status

    async def _series_of(self, tenant: str, status: MarketDayStatus | None) -> PriceSeries | None:
        if status is None or status.series_id is None:
            return None
        stored = await self.store.get(PriceSeries, tenant, status.series_id)
        return None if stored is None else stored.record

    async def _if_new(self, tenant: str, series: PriceSeries) -> list[Put]:
        stored = await self.store.get(PriceSeries, tenant, series.id)
        return [Put(record=series, expected_version=0)] if stored is None else []

    def _entry(self, tenant: str, status: MarketDayStatus) -> AuditEntry:
        causes = () if status.series_id is None else (f"series:{status.series_id}",)
        return AuditEntry(
            id=self.ids.new("audit"),
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

    async def latest_carbon(self, tenant: str, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        """Return the carbon intensity of a day that was fetched last; None when there is none."""
        span = day.interval
        rows = await self.store.find(CarbonSeries, tenant, {"zone": zone}, since=span.start, until=span.end)
        return max((row.record for row in rows), key=lambda series: series.fetched_at, default=None)

    async def _keep_carbon(self, tenant: str, series: CarbonSeries) -> None:
        if await self.store.get(CarbonSeries, tenant, series.id) is not None:
            return
        entry = AuditEntry(
            id=self.ids.new("audit"),
            tenant=tenant,
            at=self.clock.now(),
            actor=_ACTOR,
            action="carbon.receive",
            object_kind="series",
            object_id=series.id,
            detail={"source": series.source, "quality": series.quality.value},
        )
        await self.store.apply(Batch(tenant=tenant, puts=(Put(record=series, expected_version=0),), audit=(entry,)))


def _together(first: PriceSeries, second: PriceSeries) -> PriceSeries:
    """Return the better slots of both, or the fuller one where they cannot be put together."""
    if is_comparable(first, second):
        return merged(first, second)
    return second if len(second.gaps) < len(first.gaps) else first


def _came_late(status: MarketDayStatus) -> bool:
    return status.state is DayState.COMPLETE and status.note.startswith(AFTER_DECOUPLING)


def _is_same(status: MarketDayStatus, series: PriceSeries | None) -> bool:
    """Tell whether a status still points to the same prices, so that what another source said of them holds."""
    return series is not None and status.series_id == series.id
