"""Gathers what a zone's electricity system does and is expected to do, and keeps every revision.

Forecasts of tomorrow are asked for from ten in the morning on, what was realised while the day runs and the day after: once an
hour, until the day is whole, as often as any other day of market data at most.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Protocol

from gateway.domain.errors import InvalidInput, NotFound, PeerUnavailable, Unavailable
from gateway.domain.identity import Permission, Principal
from gateway.domain.system_series import SystemKind, SystemSeries
from gateway.domain.timegrid import DeliveryDay
from gateway.observe import logger
from gateway.ports import Batch, Clock, Put, Store
from gateway.services.gather_market_data.polls import PollBook
from gateway.services.gather_market_data.settings import GatherSettings

_LOG = logger("gather_market_data")
_FORECAST_FROM = time(10)
_EVERY = timedelta(hours=1)


class SystemSource(Protocol):
    """A place that publishes what a zone's electricity system does or is expected to do."""

    @property
    def subject(self) -> str:
        """What it is asked for, for example `load`."""
        ...

    @property
    def is_forecast(self) -> bool:
        """Whether it has values before the day begins."""
        ...

    async def fetch(self, zone: str, day: DeliveryDay) -> tuple[SystemSeries, ...]:
        """Return the series of a delivery day in MW, gaps as None; nothing when nothing is published yet.

        Raises:
            PeerUnavailable: The source does not answer.
            InvalidInput: The document breaks a rule.
        """
        ...


class SystemGatherer:
    """Owns the rows of system series.

    Args:
        store: Where they are.
        clock: Market time.
        sources: By zone.
        settings: Tenants, time zones, and how often a day may be asked for.
    """

    def __init__(
        self, *, store: Store, clock: Clock, sources: Mapping[str, Sequence[SystemSource]], settings: GatherSettings
    ) -> None:
        self._store = store
        self._clock = clock
        self._sources = dict(sources)
        self._settings = settings
        self._polls = PollBook(store, clock, settings.tenants)

    async def series(
        self, principal: Principal, zone: str, kind: SystemKind, day: DeliveryDay, known_at: datetime | None = None
    ) -> SystemSeries:
        """Return the newest series of a delivery day, or the one that was the newest at an instant.

        Raises:
            PermissionRefused: The caller may not read market data.
            NotFound: Nothing has, or had, been published yet.
        """
        principal.require(Permission.MARKET_READ)
        span = day.interval
        rows = await self._store.find(
            SystemSeries,
            principal.tenant,
            {"zone": zone, "kind": kind.value},
            since=span.start,
            until=span.end,
        )
        known = [row.record for row in rows if known_at is None or row.record.fetched_at <= known_at]
        if not known:
            raise NotFound("system-series", f"{zone}:{kind.value}:{day.day.isoformat()}")
        return max(known, key=lambda one: one.fetched_at)

    async def run(self) -> None:
        """Keep yesterday, today and tomorrow up to date until cancelled."""
        while True:
            wake = self._clock.now() + _EVERY
            try:
                for zone, sources in self._sources.items():
                    for source in sources:
                        wake = min(wake, await self._tend(zone, source))
            except Unavailable as error:
                _LOG.warning("system_round_failed", error=str(error))
            await self._clock.sleep_until(max(wake, self._clock.now() + self._settings.shortest_poll))

    async def _tend(self, zone: str, source: SystemSource) -> datetime:
        """Ask for the days that are due, and return when the next one is."""
        now = self._clock.now()
        today = DeliveryDay.containing(now, self._settings.time_zones[zone])
        wake = now + _EVERY
        for day in (today.next(), today, today.next(-1)):
            opens = day.next(-1).at(_FORECAST_FROM) if source.is_forecast else day.interval.start + _EVERY
            poll = await self._polls.of(_key(zone, source, day))
            if poll is not None and (poll.due_at is None or poll.asked_count >= self._settings.requests_per_day):
                continue
            due = opens if poll is None or poll.due_at is None else poll.due_at
            if due > now:
                wake = min(wake, due)
                continue
            wake = min(wake, await self.refresh(zone, source, day) or wake)
            await self._clock.sleep(self._settings.spacing)
        return wake

    async def refresh(self, zone: str, source: SystemSource, day: DeliveryDay) -> datetime | None:
        """Ask once for a day and keep what is new; return when to ask again, None when the day is whole."""
        found: tuple[SystemSeries, ...] = ()
        has_answer = True
        try:
            found = await source.fetch(zone, day)
        except (PeerUnavailable, InvalidInput) as error:
            has_answer = False
            _LOG.warning("system_source_failed", zone=zone, subject=source.subject, error=str(error))
        for tenant in self._settings.tenants:
            for series in found:
                if await self._store.get(SystemSeries, tenant, series.id) is None:
                    await self._store.apply(Batch(tenant=tenant, puts=(Put(record=series, expected_version=0),)))
        is_whole = bool(found) and all(series.is_complete for series in found)
        poll = await self._polls.note(
            _key(zone, source, day),
            has_answer=has_answer,
            due=lambda one: None if is_whole else one.asked_at + _EVERY,
        )
        return poll.due_at


def _key(zone: str, source: SystemSource, day: DeliveryDay) -> str:
    return f"{zone}:{source.subject}:{day.day.isoformat()}"
