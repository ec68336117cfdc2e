"""How many streams are let in per second: after a break everybody comes back at once."""

from collections.abc import Callable

from gateway.domain.errors import Overloaded


class TokenBucket:
    """Lets so many through at once and so many per second; whoever is refused is told when to come again, at random.

    Full jitter spreads those who are refused over the time that the bucket needs for all of them, so that they do not come back
    together a second time.
    """

    def __init__(
        self, *, rate_per_s: float, burst: float, clock: Callable[[], float], uniform: Callable[[float, float], float]
    ) -> None:
        """Begin full.

        Args:
            rate_per_s: How many per second are let in for ever.
            burst: How many are let in at once.
            clock: Seconds that never go back.
            uniform: Draws a number between two.
        """
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._uniform = uniform
        self._tokens = burst
        self._refused = 0.0
        self._at: float | None = None

    def take(self) -> None:
        """Let one through.

        Raises:
            Overloaded: Too many at once; its `retry_after_s` says when to come again.
        """
        now = self._clock()
        refilled = 0.0 if self._at is None else (now - self._at) * self._rate_per_s
        self._tokens, self._at = min(self._burst, self._tokens + refilled), now
        self._refused = max(0.0, self._refused - refilled)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return
        self._refused += 1.0
        spread_s = max(_SHORTEST_SPREAD_S, self._refused / self._rate_per_s)
        raise Overloaded("too many streams at once", retry_after_s=self._uniform(0.0, spread_s))


_SHORTEST_SPREAD_S = 0.5
