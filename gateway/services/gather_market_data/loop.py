"""When sources are asked: quiet before publication, every few minutes after it, seldom for a second opinion, never for ever.

Nobody is asked before values can be there (12:45 for the day-ahead coupling); then as `polls` says, at most so many times a day.
A complete day is asked for seldom: every few hours until delivery, because a publisher may revise it, and afterwards while it is
preliminary. Another source is asked for its opinion every half-hour until one has any.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.domain.errors import Unavailable
from gateway.domain.series import (
    PUBLICATION,
    DayState,
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
    market_day_id,
)
from gateway.domain.timegrid import DeliveryDay
from gateway.observe import logger
from gateway.services.gather_market_data.gather import MarketDataGatherer, PriceKey
from gateway.services.gather_market_data.polls import PollBook, Window, next_pause

_LOG = logger("gather_market_data")
_REVISIONS_PER_AGE = 4
_TO_BE_REPLACED = frozenset({Quality.PRELIMINARY, Quality.ESTIMATED})
"""What is asked for again after delivery: somebody will have the prices themselves."""
_STEADY = timedelta(hours=2)
"""So long after it was late, a day is waited for by people."""


class PublicationLoop:
    """Keeps the days that matter up to date."""

    def __init__(self, gatherer: MarketDataGatherer) -> None:
        """Remember who asks the sources and keeps what they say; store, clock, jitter and settings are its own."""
        self._gatherer = gatherer
        self._store = gatherer.store
        self._clock = gatherer.clock
        self._ids = gatherer.ids
        self._settings = gatherer.settings
        self._polls = PollBook(gatherer.store, gatherer.clock, gatherer.settings.tenants)

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
            turn = await self._turn(zone, product, day)
            wake = min([wake, *(at for at in (due, turn) if at is not None)])
        for zone, day in self._carbon_days(now):
            wake = min(wake, await self._carbon_round(zone, day, wake))
        return max(wake, self._clock.now())

    async def _turn(self, zone: str, product: PriceProduct, day: DeliveryDay) -> datetime | None:
        """Judge a day whose time has come, and return when time alone will change it next; None for never."""
        await self._gatherer.judge(zone, product, day)
        rule = PUBLICATION[product]
        turns = (rule.late_at(day), rule.decoupled_at(day), rule.fallback_at(day))
        return min((at for at in turns if at is not None and at > self._clock.now()), default=None)

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
        statuses = [row.record for row in rows if row is not None]
        is_whole = len(statuses) == len(rows) and all(one.state is DayState.COMPLETE for one in statuses)
        if is_whole:
            dues = [
                await self._confirm_due(key, zone, product, statuses),
                await self._revision_due(key, product, day, statuses),
            ]
            return min((due for due in dues if due is not None), default=None)
        now = self._clock.now()
        is_past = PUBLICATION[product].late_at(day) + timedelta(days=1) < now
        poll = await self._polls.of(key)
        if is_past and poll is not None and poll.failed_count > 0:
            # Nobody said that there is nothing: a wrong token or a platform that is down must not cost the past.
            return poll.due_at
        limit = self._settings.history_tries if is_past else self._settings.requests_per_day
        return await self._due(key, limit, PUBLICATION[product].opens_at(day))

    async def _due(self, key: str, limit: int, first: datetime) -> datetime | None:
        """Return when to ask next under a key, `first` when nobody asked yet; None after so many requests."""
        poll = await self._polls.of(key)
        if poll is None:
            return first
        return None if poll.asked_count >= limit else poll.due_at

    async def _confirm_due(
        self, key: str, zone: str, product: PriceProduct, statuses: Sequence[MarketDayStatus]
    ) -> datetime | None:
        """Return when to ask another source about a complete day; None when one has answered, or there is none."""
        is_open = self._gatherer.price_source_counts[zone, product] > 1 and not all(
            status.cross_check for status in statuses
        )
        is_recent = all(status.day >= self._oldest_to_confirm(zone) for status in statuses)
        if not is_open or not is_recent:
            return None
        is_past = any(status.day < self._today(zone) for status in statuses)
        tries = self._settings.confirm_tries_past if is_past else self._settings.confirm_tries
        return await self._due(_confirming(key), tries, self._clock.now())

    async def _revision_due(
        self, key: str, product: PriceProduct, day: DeliveryDay, statuses: Sequence[MarketDayStatus]
    ) -> datetime | None:
        """Return when to ask whether prices that are there were revised; None once nobody revises them any more."""
        poll = await self._polls.of(key)
        if poll is None or poll.asked_count >= self._settings.requests_per_day:
            return None
        is_ahead = day.interval.start > self._clock.now() and PUBLICATION[product].is_published_once
        if not is_ahead and not any([await self._is_replaced_later(status) for status in statuses]):
            return None
        # What is old is revised ever more seldom: after four days once a day.
        age = self._clock.now() - day.next().interval.start
        return poll.asked_at + max(self._settings.revision_poll, age / _REVISIONS_PER_AGE)

    async def _is_replaced_later(self, status: MarketDayStatus) -> bool:
        if status.series_id is None:
            return False
        row = await self._store.get(PriceSeries, status.tenant, status.series_id)
        return row is not None and row.record.quality in _TO_BE_REPLACED

    def _today(self, zone: str) -> str:
        return DeliveryDay.containing(self._clock.now(), self._settings.time_zones[zone]).day.isoformat()

    def _oldest_to_confirm(self, zone: str) -> str:
        """Return the ISO day before which nothing is compared any more: that of a week ago."""
        today = DeliveryDay.containing(self._clock.now(), self._settings.time_zones[zone])
        return today.next(-self._settings.confirm_days_back).day.isoformat()

    async def _ask_for(self, zone: str, product: PriceProduct, day: DeliveryDay) -> datetime | None:
        """Ask for prices that are missing or may be revised, or for a second opinion; return when to ask again."""
        key = market_day_id(zone, product, day)
        row = await self._store.get(MarketDayStatus, self._settings.tenants[0], key)
        if row is not None and row.record.state is DayState.COMPLETE:
            confirm_due = await self._confirm_due(key, zone, product, [row.record])
            if confirm_due is not None and confirm_due <= self._clock.now():
                await self._gatherer.confirm(zone, product, day)
                poll = await self._polls.note(
                    _confirming(key), has_answer=True, due=lambda one: one.asked_at + self._settings.confirm_poll
                )
                return poll.due_at
        asked = await self._gatherer.ask(zone, product, day)
        window = _window(product, day)
        poll = await self._polls.note(
            key,
            has_answer=asked.has_answer,
            due=lambda one: one.asked_at + next_pause(one, window, self._settings, self._ids.uniform),
        )
        return poll.due_at

    async def _carbon_round(self, zone: str, day: DeliveryDay, wake: datetime) -> datetime:
        key = f"{zone}:carbon:{day.day.isoformat()}"
        due = await self._due(key, self._settings.requests_per_day, self._clock.now())
        if due is None:
            return wake
        if due > self._clock.now():
            return due
        is_complete = await self._gatherer.refresh_carbon(zone, day)
        is_over = is_complete and not await self._is_estimate(zone, day)
        # A forecast of the whole day is enough until the day is over; then what really was is asked for.
        rest = day.next().interval.start if is_complete else self._clock.now()
        earliest = max(self._clock.now() + self._settings.carbon_poll, rest)
        poll = await self._polls.note(key, has_answer=True, due=lambda _: None if is_over else earliest)
        return wake if poll.due_at is None else min(wake, poll.due_at)

    async def _is_estimate(self, zone: str, day: DeliveryDay) -> bool:
        latest = [await self._gatherer.latest_carbon(tenant, zone, day) for tenant in self._settings.tenants]
        return any(series is not None and series.quality is Quality.ESTIMATED for series in latest)


def _window(product: PriceProduct, day: DeliveryDay) -> Window:
    late = PUBLICATION[product].late_at(day)
    return Window(steady_until=late + _STEADY, end=max(day.interval.start, late + timedelta(hours=12)))


def _confirming(key: str) -> str:
    return f"{key}:second-opinion"
