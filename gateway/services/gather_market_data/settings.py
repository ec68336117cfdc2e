"""How often sources of market data are asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta


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
    fast_requests: int = 24
    """So many requests of a day's budget go out every few minutes."""
    steady_poll: timedelta = timedelta(minutes=15)
    """How often a late day is asked for after them, until two hours after it was late."""
    revision_poll: timedelta = timedelta(hours=3)
    """How often prices that are there, but may be revised before delivery or are preliminary, are asked for again."""
    carbon_poll: timedelta = timedelta(minutes=30)
    requests_per_day: int = 40
    """At most so many requests for one zone, product and delivery day."""
    history_tries: int = 3
    """A past day that its source does not have is asked for so many times."""
    confirm_poll: timedelta = timedelta(minutes=30)
    """How often a second source is asked whether it says the same."""
    confirm_tries: int = 6
    confirm_days_back: int = 7
    """Past days that no second source has said anything about yet are compared too, as many as this."""
    confirm_tries_past: int = 2
    """So often at most for each of them."""
    spacing: timedelta = timedelta(seconds=1)
    """Pause between two requests."""
