"""How often a peer may be asked: a token bucket, and a hold after the peer asked us to wait.

Time is the clock's monotonic time, so that a test moves it by hand and the demo's faster market time has a faster budget.
"""

from datetime import timedelta

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.ports import Clock


class RateBudget:
    """A budget of requests per minute that all callers of one peer share."""

    def __init__(self, *, peer: str, per_minute: int, clock: Clock) -> None:
        if per_minute < 1:
            raise InvalidInput("per_minute", "must be at least 1")
        self._peer = peer
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60.0
        self._clock = clock
        self._left = float(per_minute)
        self._filled_at = clock.monotonic()
        self._held_until: float | None = None

    def take(self) -> None:
        """Spend one request.

        Raises:
            PeerUnavailable: The budget is spent, or the peer asked us to wait; nothing may be sent.
        """
        now = self._clock.monotonic()
        if self._held_until is not None and now < self._held_until:
            raise PeerUnavailable(f"{self._peer} asked to wait; {self._held_until - now:.0f} s are left")
        self._left = min(self._capacity, self._left + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._left < 1.0:
            raise PeerUnavailable(f"the budget of {self._capacity:.0f} requests a minute for {self._peer} is spent")
        self._left -= 1.0

    def put_back(self) -> None:
        """Give back a request that was not sent after all."""
        self._left = min(self._capacity, self._left + 1.0)

    def hold(self, duration: timedelta) -> None:
        """Send nothing for a duration, because the peer said so; a longer hold in force stays."""
        until = self._clock.monotonic() + duration.total_seconds()
        if self._held_until is None or until > self._held_until:
            self._held_until = until
