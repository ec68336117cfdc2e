"""When sources are asked: quiet before publication, every few minutes after it, seldom for a second opinion, never for ever.

Nobody is asked before values can be there (12:45 for the day-ahead coupling); then every 2 to 5 minutes with jitter, at most so
many times a day. A complete day is asked for no more, but another source is, every half-hour, until one has an opinion.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.domain.errors import Unavailable
from gateway.domain.series import PUBLICATION, DayState, MarketDayStatus, PriceProduct, Quality, market_day_id
from gateway.domain.timegrid import DeliveryDay
from gateway.observe import logger
from gateway.services.gather_market_data.gather import MarketDataGatherer, PriceKey

_LOG = logger("gather_market_data")


class PublicationLoop:
    """Keeps the days that matter up to date."""

    def __init__(self, gatherer: MarketDataGatherer) -> None:
        """Remember who asks the sources and keeps what they say; store, clock, jitter and settings are its own."""
        self._gatherer = gatherer
        self._store = gatherer.store
        self._clock = gatherer.clock
        self._ids = gatherer.ids
        self._settings = gatherer.settings
        self._asked: dict[str, int] = {}
        self._next_ask: dict[str, datetime] = {}

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
        for key in self._gatherer.price_source_counts:
            today = DeliveryDay.containing(now, self._settings.time_zones[key[0]])
            # A tariff is known days ahead; an auction publishes tomorrow at most.
            last = max(1, -PUBLICATION[key[1]].day_offset)
            days += [(key, today.next(offset)) for offset in range(last, -self._settings.history_days - 1, -1)]
        return days

    def _carbon_days(self, now: datetime) -> list[tuple[str, DeliveryDay]]:
        days: list[tuple[str, DeliveryDay]] = []
        for zone in self._gatherer.carbon_zones:
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
        is_open = self._gatherer.price_source_counts[zone, product] > 1 and not all(
            status.cross_check for status in statuses
        )
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
            await self._gatherer.refresh(zone, product, day)
            return self._asked_now(key)
        await self._gatherer.confirm(zone, product, day)
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
        is_complete = await self._gatherer.refresh_carbon(zone, day)
        self._asked_now(key)
        if is_complete and not await self._is_estimate(zone, day):
            self._asked[key] = self._settings.requests_per_day
            return wake
        earliest = self._clock.now() + self._settings.carbon_poll
        # A forecast of the whole day is enough until the day is over; then what really was is asked for.
        self._next_ask[key] = max(earliest, day.next().interval.start) if is_complete else earliest
        return self._next_ask[key]

    async def _is_estimate(self, zone: str, day: DeliveryDay) -> bool:
        latest = [await self._gatherer.latest_carbon(tenant, zone, day) for tenant in self._settings.tenants]
        return any(series is not None and series.quality is Quality.ESTIMATED for series in latest)

    def _asked_now(self, key: str) -> datetime:
        low, high = self._settings.shortest_poll.total_seconds(), self._settings.longest_poll.total_seconds()
        self._asked[key] = self._asked.get(key, 0) + 1
        self._next_ask[key] = self._clock.now() + timedelta(seconds=self._ids.uniform(low, high))
        return self._next_ask[key]


def _confirming(key: str) -> str:
    return f"{key}:second-opinion"
