"""What an event is measured against: the meters of its own delivery periods and of the past days that its baseline looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from bidding.delivery.baselines import Baseline, BaselineRule, MeteredDay
from gateway.domain.settlement import EventPerformance, MeteredPeriod
from gateway.domain.signals import GridEvent
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.ports import Store
from gateway.services.report_delivery.performance import (
    baseline_of,
    is_like_day,
    moved_load,
    past_day,
    same_slots,
    why_no_baseline,
)

_ALL = 1_000_000
_LONGEST_PAST = timedelta(days=60)

PointMeters = Mapping[str, Mapping[datetime, MeteredPeriod]]
"""Readings by connection point and begin of their delivery period."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LookedAtDay:
    """A past day of the event day's type without an event of its own."""

    starts: tuple[datetime, ...]
    """Begins of the slots with the wall-clock times of the event's."""
    meters: PointMeters
    metered: MeteredDay
    """What the chargers drew in these slots; comparable when every reading is there."""

    @property
    def is_modelled(self) -> bool:
        """Whether any reading of these slots comes from a model."""
        found = (periods.get(start) for periods in self.meters.values() for start in self.starts)
        return any(period is not None and period.is_modelled for period in found)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BaselineEvidence:
    """The baseline of an event with everything it was made from."""

    rule: BaselineRule
    grid: TimeGrid
    """Delivery periods that the event touches, so far."""
    days: tuple[LookedAtDay, ...]
    """Latest first."""
    baseline: Baseline | None
    """None when there are too few comparable days."""

    @property
    def mean_kw(self) -> float | None:
        """Mean of the baseline over the event's delivery periods."""
        return None if self.baseline is None else float(self.baseline.power_kw.mean())

    @property
    def counted(self) -> frozenset[date]:
        """The days that the baseline is the mean of."""
        return frozenset() if self.baseline is None else frozenset(self.baseline.days)

    @property
    def told(self) -> str:
        """Method by name with its days, those with modelled readings marked; without a baseline the reason."""
        if self.baseline is None:
            return why_no_baseline([day.metered for day in self.days], self.rule)
        modelled = {day.metered.day for day in self.days if day.is_modelled}
        days = (f"{day.isoformat()}{' modelled' if day in modelled else ''}" for day in self.baseline.days)
        return f"{self.baseline.method} ({', '.join(days)})"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EventMeasurement:
    """How far an event was followed, and the meter rows behind it."""

    event: GridEvent
    performance: EventPerformance
    """As it was judged: from samples of every minute, by what chargers drew."""
    points: tuple[str, ...]
    """Connection points below the event's nodes."""
    time_zone: str
    """IANA name: slots of past days are those of the same wall-clock times in it."""
    meters: PointMeters
    """Of the event's delivery periods."""
    evidence: BaselineEvidence | None
    """None when no connection point is below the event's nodes."""


class BaselineFinder:
    """Reads the past of an event; writes nothing."""

    def __init__(self, store: Store, rule: BaselineRule) -> None:
        """Take the store and how many days count."""
        self._store = store
        self._rule = rule

    async def find(self, event: GridEvent, points: Sequence[str], zone: str, grid: TimeGrid) -> BaselineEvidence:
        """Return the baseline of an event for some connection points.

        Args:
            event: Whose other events leave days out.
            points: Connection points, at least one.
            zone: IANA time zone of their wall clock.
            grid: Delivery periods of the event.
        """
        today = DeliveryDay.containing(grid.start, zone)
        rows = await self._store.find(
            GridEvent, event.tenant, since=grid.start - _LONGEST_PAST, until=grid.end, limit=_ALL
        )
        busy = [row.record.active for row in rows if row.record.id != event.id and moved_load(row.record)]
        days: list[LookedAtDay] = []
        for back in range(1, 7 * self._rule.looked_at):
            day = today.next(-back)
            if not is_like_day(day, today, busy):
                continue
            starts = same_slots(grid, zone, back)
            meters = await self.meters(event.tenant, points, starts[0], starts[-1] + grid.step)
            metered = past_day(list(meters.values()), starts, day, is_like=True)
            days.append(LookedAtDay(starts=starts, meters=meters, metered=metered))
            if sum(one.metered.is_comparable for one in days) >= self._rule.looked_at or not any(meters.values()):
                break
        baseline = baseline_of([one.metered for one in days], grid.count, self._rule)
        return BaselineEvidence(rule=self._rule, grid=grid, days=tuple(days), baseline=baseline)

    async def meters(
        self, tenant: str, points: Sequence[str], since: datetime, until: datetime
    ) -> dict[str, dict[datetime, MeteredPeriod]]:
        """Return the readings of connection points that may touch a span."""
        return {point: await self._meters(tenant, point, since, until) for point in points}

    async def _meters(self, tenant: str, point: str, since: datetime, until: datetime) -> dict[datetime, MeteredPeriod]:
        rows = await self._store.find(
            MeteredPeriod,
            tenant,
            {"connection_point": point},
            since=since - timedelta(hours=1),
            until=until,
            limit=_ALL,
        )
        return {row.record.start: row.record for row in rows}
