"""Writes the prices and carbon of programs as market data rows, beside the events that say them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Principal
from gateway.domain.series import CarbonSeries, PriceProduct, PriceSeries
from gateway.domain.signals import GridEvent, Instruction
from gateway.domain.timegrid import DeliveryDay
from gateway.services.gather_signals.scribe import Scribe
from gateway.services.gather_signals.tariffs import FEED, Feed, carbon_of, days_of, prices_of, status_of
from gateway.turns import beside

_MOST_CAUSES = 20
"""Events named as causes of a series."""
_Key = tuple[str, str, str, str]
"""Tenant, zone, what it is, delivery day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Rows that follow from events, not written yet."""

    records: tuple[object, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    latest: Mapping[_Key, str] = field(default_factory=dict)
    today: tuple[str, DeliveryDay] | None = None
    """Tenant and day up to which everything was looked at."""


class TariffPublisher:
    """Knows which series it wrote last, so that the same prices are written once."""

    def __init__(self, scribe: Scribe) -> None:
        """Remember whose books to read."""
        self._scribe = scribe
        self._latest: dict[_Key, str] = {}
        self._day: dict[str, DeliveryDay] = {}

    async def catch_up(self, principal: Principal, now: datetime) -> Published:
        """Return the rows of days that have come near since the last look; nothing on the same day."""
        today = DeliveryDay.containing(now, self._scribe.settings.time_zone)
        if self._day.get(principal.tenant) == today:
            return Published()
        events = list(self._scribe.ledger(principal.tenant).events.values())
        published = await self.after(principal, events, now)
        return replace(published, today=(principal.tenant, today))

    async def after(self, principal: Principal, changed: Sequence[GridEvent], now: datetime) -> Published:
        """Return the rows that follow when some events have changed."""
        held = self._scribe.ledger(principal.tenant).events
        before = [held[event.id] for event in changed if event.id in held]
        spoken = [event for event in (*before, *changed) if _speaks(event)]
        records: list[object] = []
        audit: list[AuditEntry] = []
        latest: dict[_Key, str] = {}
        for feed in sorted({self._feed(event) for event in spoken}, key=repr):
            events = self._events(principal.tenant, feed, changed)
            mine = [event for event in spoken if self._feed(event) == feed]
            size = sum(len(event.intervals) for event in (*events, *mine))
            found = await beside(size, partial(self._days, principal.tenant, events, mine, feed, now))
            for key, rows in found:
                if self._latest.get(key, "") != rows[0]:
                    latest[key] = rows[0]
                    records += rows[1]
                    audit += self._entries(principal, rows[1], events)
        return Published(records=tuple(records), audit=tuple(audit), latest=latest)

    def commit(self, published: Published) -> None:
        """Remember what is on disk now."""
        self._latest |= published.latest
        if published.today is not None:
            tenant, day = published.today
            self._day[tenant] = day

    def _feed(self, event: GridEvent) -> Feed:
        rules = self._scribe.settings.rules_of(event)
        zone = rules.price_zone or event.authority
        return Feed(authority=event.authority, zone=zone, product=rules.price_product, carbon_kind=rules.carbon_kind)

    def _events(self, tenant: str, feed: Feed, changed: Iterable[GridEvent]) -> list[GridEvent]:
        known, _ = self._scribe.ledger(tenant).of_authority(feed.authority)
        current = {event.id: event for event in known} | {event.id: event for event in changed}
        return [event for event in current.values() if _speaks(event) and self._feed(event) == feed]

    def _days(
        self, tenant: str, events: Sequence[GridEvent], mine: Sequence[GridEvent], feed: Feed, now: datetime
    ) -> list[tuple[_Key, tuple[str, list[object]]]]:
        days = days_of(mine, self._scribe.settings.time_zone, now)
        return [row for day in days for row in self._rows(tenant, events, feed, day, now)]

    def _rows(
        self, tenant: str, events: Sequence[GridEvent], feed: Feed, day: DeliveryDay, now: datetime
    ) -> Iterable[tuple[_Key, tuple[str, list[object]]]]:
        """Yield what is known of a day: its key, the id of the series (empty without one) and the rows."""
        said = {i.instruction for event in events for i in event.intervals}
        for product in (feed.product, PriceProduct.PROGRAM_EXPORT_TARIFF):
            is_export = product is PriceProduct.PROGRAM_EXPORT_TARIFF
            if (Instruction.EXPORT_PRICE if is_export else Instruction.PRICE) in said:
                series = prices_of(events, feed, product, day, now)
                status = status_of(tenant, series, (feed.zone, product), day, now)
                rows: list[object] = [status] if series is None else [series, status]
                yield (tenant, feed.zone, product.value, status.day), ("" if series is None else series.id, rows)
        if Instruction.CARBON_G_PER_KWH in said:
            carbon = carbon_of(events, feed, day, now)
            if carbon is not None:
                yield (tenant, feed.zone, carbon.kind.value, day.day.isoformat()), (carbon.id, [carbon])

    def _entries(self, principal: Principal, rows: Sequence[object], events: Sequence[GridEvent]) -> list[AuditEntry]:
        """Return one entry per series, caused by the events that are named in it."""
        return [
            replace(
                self._scribe.entries.of(
                    principal,
                    "price.receive" if isinstance(series, PriceSeries) else "carbon.receive",
                    ("series", series.id),
                    detail={"source": series.source, "note": series.note},
                ),
                causes=tuple(f"event:{event.id}" for event in events[:_MOST_CAUSES]),
            )
            for series in rows
            if isinstance(series, PriceSeries | CarbonSeries)
        ]


def _speaks(event: GridEvent) -> bool:
    return any(interval.instruction in FEED for interval in event.intervals)
