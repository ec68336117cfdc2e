"""When a day is asked for again, and the rows that remember it, so that a restart begins no second budget.

```
12:45            about 13:35 to 14:10         16:00                       midnight
  |-- every 2 to 5 minutes --|-- every quarter-hour --|-- what is left of 40, evenly --|
```

After a failure the pause doubles from one or two minutes up to half an hour: a platform in trouble is not asked harder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.errors import Conflict
from gateway.domain.market_asking import MarketPoll
from gateway.ports import Batch, Clock, Put, Store
from gateway.services.gather_market_data.settings import GatherSettings

_JITTER = 0.1
_LONGEST_BACKOFF = timedelta(minutes=30)
_MOST_DOUBLINGS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The time in which a day's values are waited for."""

    steady_until: datetime
    """Until then people wait for the values: they are asked for every quarter-hour at least."""
    end: datetime
    """From then on asking is pointless."""


def next_pause(
    poll: MarketPoll, window: Window, settings: GatherSettings, roll: Callable[[float, float], float]
) -> timedelta:
    """Return how long to wait after a request.

    Args:
        poll: What was asked so far, this request included.
        window: When the values are waited for.
        settings: Counts and times.
        roll: Returns a random number between two bounds.
    """
    if poll.failed_count > 0:
        doubled = settings.shortest_poll * float(2 ** min(poll.failed_count - 1, _MOST_DOUBLINGS))
        return min(doubled, _LONGEST_BACKOFF) * roll(0.5, 1.0)
    if poll.asked_count < settings.fast_requests:
        low, high = settings.shortest_poll.total_seconds(), settings.longest_poll.total_seconds()
        return timedelta(seconds=roll(low, high))
    jitter = roll(1.0 - _JITTER, 1.0 + _JITTER)
    if poll.asked_at < window.steady_until:
        return settings.steady_poll * jitter
    left = max(1, settings.requests_per_day - poll.asked_count)
    return max(settings.steady_poll, (window.end - poll.asked_at) / left) * jitter


class PollBook:
    """How often every day was asked for, as rows.

    Args:
        store: Where the rows are.
        clock: For when it was asked.
        tenants: Whose rows; the first one keeps them for all, because sources are asked once for everybody.
    """

    def __init__(self, store: Store, clock: Clock, tenants: Sequence[str]) -> None:
        self._store = store
        self._clock = clock
        self._tenant = tenants[0]
        self._known: dict[str, MarketPoll | None] = {}

    async def of(self, key: str) -> MarketPoll | None:
        """Return what is known about asking for a day; None when it was never asked for."""
        if key not in self._known:
            row = await self._store.get(MarketPoll, self._tenant, key)
            self._known[key] = None if row is None else row.record
        return self._known[key]

    async def note(self, key: str, *, has_answer: bool, due: Callable[[MarketPoll], datetime | None]) -> MarketPoll:
        """Keep that a day was asked for.

        Args:
            key: The day.
            has_answer: Whether a source answered, be it that there is nothing yet.
            due: Returns when it is due again, given the poll with this request counted.
        """
        before = await self.of(key)
        draft = MarketPoll(
            id=key,
            tenant=self._tenant,
            asked_count=1 if before is None else before.asked_count + 1,
            failed_count=0 if has_answer else 1 if before is None else before.failed_count + 1,
            asked_at=self._clock.now(),
            due_at=None,
        )
        poll = MarketPoll(
            id=key,
            tenant=draft.tenant,
            asked_count=draft.asked_count,
            failed_count=draft.failed_count,
            asked_at=draft.asked_at,
            due_at=due(draft),
        )
        self._known[key] = poll
        row = await self._store.get(MarketPoll, self._tenant, key)
        put = Put(record=poll, expected_version=0 if row is None else row.version)
        try:
            await self._store.apply(Batch(tenant=self._tenant, puts=(put,)))
        except Conflict:
            # Somebody else asked at the same moment: the next round reads what they wrote.
            del self._known[key]
        return poll
