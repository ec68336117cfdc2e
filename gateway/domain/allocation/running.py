"""Since when each charger is on or off: contactors are spared, and those that wait take turns."""

from dataclasses import dataclass

import numpy as np

from gateway.domain.allocation.levels import BoolArray, FloatArray
from gateway.domain.errors import InvalidInput

_MOST_TURNS = 4.0
"""A longer wait gains no more priority."""
_TIRED_PER_TURN = 0.1
"""What the place of a car that charges is worth less with each turn it has had."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRules:
    """How long a charger stays on or off once it is; seconds. Reductions to a limit are exempt."""

    min_on_s: float = 300.0
    """It goes on drawing at least its minimum for so long."""
    min_off_s: float = 300.0
    """It stays at 0 for so long."""
    turn_s: float = 900.0
    """A car that charges holds its place against one of equal slack for so long."""

    def __post_init__(self) -> None:
        """Reject times that are negative or not finite, and turns of no length."""
        for name in ("min_on_s", "min_off_s", "turn_s"):
            value = getattr(self, name)
            if not np.isfinite(value) or value < 0.0:
                raise InvalidInput(f"run_rules.{name}", "must be a finite number of at least 0")
        if self.turn_s <= 0.0:
            raise InvalidInput("run_rules.turn_s", "must be above 0")


class RunTimes:
    """When each charger last went on and off with the car that is there now; `C` chargers."""

    def __init__(self, count: int) -> None:
        """Begin with everybody off for ever, so that whoever arrives may start at once."""
        self._is_on = np.zeros(count, dtype=bool)
        self._since = np.full(count, -np.inf)
        self._car = np.full(count, np.nan)

    def follow(self, is_on: BoolArray, arrival: FloatArray, now: float) -> None:
        """Take note of who is on now.

        Args:
            is_on: Chargers with a set point above 0, shape (C,).
            arrival: When the car at each arrived, seconds, NaN without one; another car begins anew. Shape (C,).
            now: Seconds of the clock.
        """
        is_same = (self._car == arrival) | (np.isnan(self._car) & np.isnan(arrival))
        has_turned = is_on != self._is_on
        since = np.where(is_same | is_on, self._since, -np.inf)
        self._since = np.where(has_turned & (is_same | is_on), now, since)
        self._is_on = is_on.copy()
        self._car = arrival.copy()

    def shift(self, seconds: float) -> None:
        """Move every instant with a clock that was set by so many seconds."""
        self._since += seconds

    def must_stay(self, rules: RunRules, now: float) -> BoolArray:
        """Return which chargers went on too recently to go off, shape (C,)."""
        return np.asarray(self._is_on & (now - self._since < rules.min_on_s))

    def must_rest(self, rules: RunRules, now: float) -> BoolArray:
        """Return which chargers went off too recently to go on, shape (C,)."""
        return np.asarray(~self._is_on & (now - self._since < rules.min_off_s))

    def turns(self, rules: RunRules, now: float) -> FloatArray:
        """Return what everybody's priority gains by its turn, shape (C,): time waited in turns for who is off, about 1 for who is on.

        Who has been on longest is a little less and the first to leave. Two cars of equal slack change places after one turn. Slack counts more than a long wait: no wait counts as more than
        some turns.
        """
        began = np.where(np.isfinite(self._since), self._since, self._car)
        turns = np.minimum(np.nan_to_num(np.maximum(now - began, 0.0)) / rules.turn_s, _MOST_TURNS)
        return np.where(self._is_on, 1.0 - _TIRED_PER_TURN * turns, turns)
