"""How a clock that somebody sets is noticed: it runs ahead of or behind elapsed time."""

from datetime import datetime

_CLOCK_STEP_S = 1.0
"""A clock that runs by more than this ahead of or behind elapsed time has been set."""


class ClockSteps:
    """Compares market time with elapsed time; each of those who keep instants asks one of their own before they use them."""

    def __init__(self) -> None:
        """Begin with the first question: what the clock shows then is taken as it is."""
        self._ahead_s: float | None = None

    def seconds(self, now: datetime, elapsed_s: float) -> float:
        """Return by how many seconds the clock was set since the last question, negative when back; 0.0 when it was not.

        Args:
            now: What the clock shows.
            elapsed_s: Seconds that pass whatever anybody does to the clock.
        """
        ahead_s = now.timestamp() - elapsed_s
        step_s = 0.0 if self._ahead_s is None else ahead_s - self._ahead_s
        is_set = abs(step_s) > _CLOCK_STEP_S
        if self._ahead_s is None or is_set:
            self._ahead_s = ahead_s
        return step_s if is_set else 0.0
