"""Calm set points: what must fall falls at once, everything else waits, moves in steps and ignores trifles.

```
 target  ______            ________________
               |          |
 set point ____|          |  wait  /-------   ramp
               |__________|_______/
               at once     stability
```

A difference smaller than the deadband is left alone. Who starts from nothing starts at its minimum and ramps from there.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class CalmRules:
    """How patient the dispatcher is."""

    stability_s: float = 60.0
    """The reason for a change must have lasted so long."""
    restore_spread_s: float = 0.0
    """Increases of different chargers are spread over so much more, at random."""
    deadband_kw: float = 0.5
    """Smaller differences are left alone."""
    deadband_share: float = 0.02
    """And differences below this share of the set point."""
    ramp_kw_per_s: float = 0.1
    """How fast a charger's set point rises."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Marks:
    """Which chargers are exempt from waiting, shape (C,) each."""

    urgent: BoolArray
    """Reductions that are taken at once."""
    prompt: BoolArray
    """Increases that need not wait: a car that has just arrived."""


class CalmState:
    """Since when each charger's target has differed from its set point, and in which direction."""

    def __init__(self, count: int, share: FloatArray) -> None:
        """Begin with no difference.

        Args:
            count: Number of chargers.
            share: Place of each charger in the random spread of increases, 0 to 1, shape (count,).
        """
        self.share = share
        self._direction = np.zeros(count, dtype=np.int8)
        self._since = np.full(count, np.inf)
        self._last_step = np.nan

    def step(
        self, current: FloatArray, target: FloatArray, min_kw: FloatArray, marks: Marks, *, rules: CalmRules, now: float
    ) -> FloatArray:
        """Return the set points to go to now, each between the current one and the target.

        Args:
            current: Set points in force in kW.
            target: Where they should end.
            min_kw: Least at which each charges.
            marks: Who need not wait.
            rules: How patient to be.
            now: Seconds of the clock.
        """
        elapsed = 0.0 if np.isnan(self._last_step) else max(0.0, now - self._last_step)
        self._last_step = now
        band = np.maximum(rules.deadband_kw, rules.deadband_share * current)
        # Stopping, starting and reaching the target's end points are never trifles.
        differs = (np.abs(target - current) > band) | ((target != current) & ((target <= 0.0) | (current <= 0.0)))
        direction = np.where(differs, np.sign(target - current), 0).astype(np.int8)
        is_new = direction != self._direction
        self._since = np.where(direction == 0, np.inf, np.where(is_new, now, self._since))
        self._direction = direction
        waited = now - self._since
        patience = rules.stability_s + rules.restore_spread_s * self.share
        falls = (target < current) & (marks.urgent | ((direction < 0) & (waited >= rules.stability_s)))
        ramped = current + rules.ramp_kw_per_s * np.clip(waited - patience, 0.0, elapsed)
        raised = np.minimum(target, np.maximum(np.where(marks.prompt, target, ramped), min_kw))
        rises = (direction > 0) & (marks.prompt | (waited >= patience))
        return np.where(falls, target, np.where(rises, raised, current))


class CapRelief:
    """Since when each node's cap has not risen: after relief, power returns calmly."""

    def __init__(self) -> None:
        """Begin without a past: nothing was relaxed."""
        self._cap_kw: FloatArray | None = None
        self._rose_at = np.full(0, -np.inf)

    def is_recent(self, cap_kw: FloatArray, now: float, patience_s: float) -> BoolArray:
        """Remember the caps and return at which nodes one rose less than `patience_s` ago, shape (N,).

        Args:
            cap_kw: Caps in force now, shape (N,); another shape (a changed tree) begins anew.
            now: Seconds of the clock.
            patience_s: How long relief counts as recent.
        """
        if self._cap_kw is None or self._cap_kw.shape != cap_kw.shape:
            self._rose_at = np.full(cap_kw.shape, -np.inf)
        else:
            self._rose_at[cap_kw > self._cap_kw] = now
        self._cap_kw = cap_kw.copy()
        return np.asarray(now - self._rose_at < patience_s)
