"""What is wrong with the market data in the database: missing, stale, contradictory, stood in for, not final, and why.

Every zone that the database holds is looked at, not only the deployment's own. Reads only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from gateway.app.offline_market import MarketDesk, open_desk
from gateway.domain.contradictions import Contradiction
from gateway.domain.market_asking import SourceBan
from gateway.domain.market_findings import Finding
from gateway.domain.price_doubts import AFTER_DECOUPLING, contradiction_in
from gateway.domain.series import (
    PUBLICATION,
    CarbonSeries,
    DayState,
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
    market_day_id,
)
from gateway.domain.system_series import SystemSeries
from gateway.domain.timegrid import DeliveryDay
from gateway.settings import Settings

STALE_AFTER = timedelta(days=1)
"""A day that is still open and was not looked at for so long has been forgotten by the loop."""
_MOST_ROWS = 100_000
_UNNAMED_ZONE = "UTC"
"""Time zone of a bidding zone that the settings do not name: its days are compared with a clock that may be hours off."""
_NOT_FINAL = {
    Quality.SUBSTITUTED: "stand-in",
    Quality.ESTIMATED: "estimated",
    Quality.PRELIMINARY: "preliminary",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """Which days are looked at."""

    now: datetime
    days: int
    own_zone: str | None
    """Its days are expected one after the other; None when the deployment has no market."""
    time_zones: dict[str, str]

    def today(self, zone: str) -> DeliveryDay:
        """Return today in a zone's market."""
        return DeliveryDay.containing(self.now, self.time_zones.get(zone, _UNNAMED_ZONE))


async def findings(settings: Settings, *, days: int) -> list[Finding]:
    """Return what is wrong with the market data of the last days in every zone of the database, newest first.

    Args:
        settings: The deployment.
        days: How many delivery days to look back, today included; tomorrow is looked at once it should be published.

    A deployment whose settings know no market has none, and its database is not opened.
    """
    place = settings.price_zone
    found: list[Finding] = []
    if place is None and not settings.time_zones:
        return found
    async with open_desk(settings) as desk:
        span = _Span(
            now=desk.clock.now(),
            days=days,
            own_zone=None if place is None else place.zone,
            time_zones=dict(settings.time_zones),
        )
        for tenant in settings.tenants:
            found += await _tenant_findings(desk, tenant, span)
    return found


async def _tenant_findings(desk: MarketDesk, tenant: str, span: _Span) -> list[Finding]:
    found: list[Finding] = []
    rows = await desk.store.find(MarketDayStatus, tenant, newest_first=True, limit=_MOST_ROWS)
    by_place: dict[tuple[str, PriceProduct], dict[str, MarketDayStatus]] = {}
    for row in rows:
        by_place.setdefault((row.record.zone, row.record.product), {})[row.record.day] = row.record
    for (zone, product), statuses in sorted(by_place.items()):
        for day in _expected_days(span, zone, product, statuses):
            key = market_day_id(zone, product, day)
            found += await _price_findings(desk, tenant, key, statuses.get(day.day.isoformat()))
    bans = await desk.store.find(SourceBan, tenant, limit=_MOST_ROWS)
    found += [_banned(row.record) for row in bans if row.record.until > span.now]
    # A day before the first one, because zones' days begin at different instants.
    since = span.now - timedelta(days=span.days + 1)
    carbon = await desk.store.find(CarbonSeries, tenant, since=since, limit=_MOST_ROWS)
    found += _carbon_findings([row.record for row in carbon], span.now)
    system = await desk.store.find(SystemSeries, tenant, since=since, limit=_MOST_ROWS)
    return found + _system_findings([row.record for row in system], span.now)


def _expected_days(
    span: _Span, zone: str, product: PriceProduct, statuses: dict[str, MarketDayStatus]
) -> Iterator[DeliveryDay]:
    """Yield the days that somebody should have looked at, newest first.

    Of another zone than the own one only those between its first and its last day: nobody may have asked for others.
    """
    first, last = date.fromisoformat(min(statuses)), date.fromisoformat(max(statuses))
    today = span.today(zone)
    for back in range(-1, span.days):
        day = today.next(-back)
        is_known_span = zone == span.own_zone or first <= day.day <= last
        if is_known_span and span.now >= PUBLICATION[product].late_at(day):
            yield day


def _banned(ban: SourceBan) -> Finding:
    why = f"asked to be left alone at {ban.banned_at:%Y-%m-%d %H:%M}Z: it is not called before {ban.until:%Y-%m-%d %H:%M}Z"
    return Finding(kind="stale", what=f"source {ban.id}", why=why)


async def _price_findings(desk: MarketDesk, tenant: str, what: str, status: MarketDayStatus | None) -> list[Finding]:
    if status is None:
        return [Finding(kind="missing", what=what, why="the day was never looked at")]
    found = list(_status_findings(what, status, desk.clock.now()))
    contradiction = contradiction_in(status)
    if contradiction is not None:
        found.append(Finding(kind="contradictory", what=what, why=_told(contradiction)))
    row = None if status.series_id is None else await desk.store.get(PriceSeries, tenant, status.series_id)
    if row is not None and row.record.quality in _NOT_FINAL:
        series = row.record
        why = series.note or f"{series.source} has only {series.quality.value} prices"
        found.append(Finding(kind=_NOT_FINAL[series.quality], what=what, why=why))
    return found


def _status_findings(what: str, status: MarketDayStatus, now: datetime) -> Iterator[Finding]:
    if status.series_id is None:
        yield Finding(kind="missing", what=what, why=status.note or "no source has published it")
    elif status.missing_count > 0:
        yield Finding(kind="gaps", what=what, why=f"{status.missing_count} delivery periods have no price")
    if status.state is DayState.DECOUPLED:
        yield Finding(kind="missing", what=what, why="the coupling published nothing by its deadline")
    if status.note.startswith(AFTER_DECOUPLING):
        yield Finding(kind="decoupled", what=what, why=status.note)
    if status.state is not DayState.COMPLETE and now - status.checked_at > STALE_AFTER:
        yield Finding(kind="stale", what=what, why=f"not looked at since {status.checked_at:%Y-%m-%d %H:%M}Z")


def _told(contradiction: Contradiction) -> str:
    return f"{contradiction.told}; {contradiction.word_told()}"


def _carbon_findings(carbon: Iterable[CarbonSeries], now: datetime) -> list[Finding]:
    latest: dict[tuple[str, datetime], CarbonSeries] = {}
    for series in sorted(carbon, key=lambda one: one.fetched_at):
        latest[series.zone, series.grid.start] = series
    found = []
    for series in latest.values():
        gaps = sum(value is None for value in series.intensity_g_per_kwh)
        what = f"{series.zone}:carbon-{series.kind.value}:{series.grid.start:%Y-%m-%dT%H:%M}Z"
        if gaps:
            found.append(Finding(kind="gaps", what=what, why=f"{gaps} slots have no intensity from {series.source}"))
        if series.quality is Quality.SUBSTITUTED:
            found.append(Finding(kind="stand-in", what=what, why=series.note))
        elif series.quality in _NOT_FINAL and now - series.grid.end > STALE_AFTER:
            why = f"{series.source} has not replaced its {series.quality.value} values by measured ones"
            found.append(Finding(kind=_NOT_FINAL[series.quality], what=what, why=why))
    return found


def _system_findings(system: Iterable[SystemSeries], now: datetime) -> list[Finding]:
    latest: dict[tuple[str, str, datetime], SystemSeries] = {}
    for series in sorted(system, key=lambda one: one.fetched_at):
        latest[series.zone, series.kind.value, series.grid.start] = series
    return [
        Finding(
            kind="gaps",
            what=f"{series.zone}:{series.kind.value}:{series.grid.start:%Y-%m-%dT%H:%M}Z",
            why=f"{series.power_mw.count(None)} slots have no power from {series.source}",
        )
        for series in latest.values()
        if not series.is_complete and (series.kind.is_forecast or now - series.grid.end > STALE_AFTER)
    ]
