"""How long to wait after failures: twice as long each time, up to a cap."""

from datetime import timedelta
from typing import Protocol

from gateway.ports import Ids

_MOST_DOUBLINGS = 16
"""More would only overflow; the cap is reached long before."""


class Patience(Protocol):
    """Settings with a first and a longest pause, in market time."""

    @property
    def first_backoff(self) -> timedelta:
        """Pause after the first failure."""
        ...

    @property
    def longest_backoff(self) -> timedelta:
        """Longest pause, after however many failures."""
        ...


def pause_after(failures: int, patience: Patience) -> timedelta:
    """Return the pause after so many failures in a row, the first of them included."""
    doublings = min(max(failures - 1, 0), _MOST_DOUBLINGS)
    return min(patience.first_backoff * (1 << doublings), patience.longest_backoff)


def jittered_pause_after(failures: int, patience: Patience, ids: Ids) -> timedelta:
    """Return a random part, half or more, of the pause after so many failures in a row."""
    return pause_after(failures, patience) * ids.uniform(0.5, 1.0)
