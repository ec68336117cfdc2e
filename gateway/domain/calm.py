"""Calm set points: what must fall falls at once, everything else waits, moves in steps and ignores trifles.

```
 target  ______            ________________
               |          |
 set point ____|          |  wait  /-------   ramp
               |__________|_______/
               at once     stability
```

A difference smaller than the deadband is left alone. Who starts from nothing starts at its minimum and ramps from there. Who has just
started goes on for a while and who has just paused rests for a while, unless a limit forces it or a car has just come. When an
authority gives power back, every charger waits a random time more (up to 10 minutes), so that the grid sees no cliff.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_RELIEF_SHARE, _RELIEF_KW = 0.1, 0.5
"""A cap that rises by more than this share and this power is relief; less is the site's other load and our own headroom."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalmRules:
    """How patient the dispatcher is."""

    stability_s: float = 60.0
    """The reason for a change must have lasted so long."""
    restore_spread_s: float = 0.0
    """After a limit was relaxed, the increases of different chargers are spread over so much more, at random."""
    deadband_kw: float = 0.5
    """Smaller differences are left alone."""
    deadband_share: float = 0.02
    """And differences below this share of the set point."""
    ramp_kw_per_s: float = 0.1
    """How fast a charger's set point rises."""
    least_rise_kw: float = 1.0
    """It rises in steps of at least this, or to its target: chargers wear with every command."""
    min_on_s: float = 300.0
    """Who has started is not paused so soon after it, unless at once is needed."""
    min_off_s: float = 300.0
    """Who was paused does not start so soon after it, unless it need not wait."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Marks:
    """Which chargers are exempt from waiting, shape (C,) each."""

    urgent: BoolArray
    """Reductions that are taken at once."""
    prompt: BoolArray
    """Increases that need not wait: a car that has just arrived."""
    restoring: BoolArray
    """Increases after a limit was relaxed: spread at random."""


class CalmState:
    """Since when each charger's target has differed from its set point, in which direction, and since when it is on or off."""

    def __init__(self, count: int, share: FloatArray) -> None:
        """Begin with no difference.

        Args:
            count: Number of chargers.
            share: Place of each charger in the random spread of increases, 0 to 1, shape (count,).
        """
        self.share = share
        self._direction = np.zeros(count, dtype=np.int8)
        self._since = np.full(count, np.inf)
        self._is_on = np.zeros(count, dtype=bool)
        self._switched_at = np.full(count, -np.inf)
        self._moved_at = np.full(count, -np.inf)

    def restart(self, who: BoolArray, share: FloatArray, now: float) -> None:
        """Let some wait anew, each with a new place in the random spread: their limit was relaxed just now.

        Args:
            who: Which chargers, shape (C,).
            share: New places, 0 to 1, shape (C,).
            now: Seconds of the clock.
        """
        self.share = np.where(who, share, self.share)
        self._since = np.where(who & np.isfinite(self._since), now, self._since)

    def shift(self, seconds: float) -> None:
        """Move every instant with a clock that was set by so many seconds."""
        self._since += seconds
        self._switched_at += seconds
        self._moved_at += seconds

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
        target = self._held(current, target, min_kw, marks, rules, now)
        waited = self._waited(current, target, rules, now)
        patience = rules.stability_s + np.where(marks.restoring, rules.restore_spread_s * self.share, 0.0)
        falls = (target < current) & (marks.urgent | ((self._direction < 0) & (waited >= rules.stability_s)))
        # Who moved since the wait was over ramps from then on.
        ramps_s = np.maximum(np.minimum(waited - patience, now - self._moved_at), 0.0)
        ramped = current + rules.ramp_kw_per_s * ramps_s
        raised = np.minimum(target, np.maximum(np.where(marks.prompt, target, ramped), min_kw))
        is_step = (raised >= target) | (raised - current >= rules.least_rise_kw) | (current < min_kw)
        rises = (self._direction > 0) & (marks.prompt | (waited >= patience)) & is_step
        stepped = np.where(falls, target, np.where(rises, raised, current))
        self._moved_at = np.where(stepped != current, now, self._moved_at)
        return stepped

    def _held(
        self, current: FloatArray, target: FloatArray, min_kw: FloatArray, marks: Marks, rules: CalmRules, now: float
    ) -> FloatArray:
        """Return the targets with starts and pauses left out that come too soon after the last one."""
        is_on = current > 0.0
        switched = is_on != self._is_on
        self._switched_at[switched] = now
        self._is_on = is_on
        rest = now - self._switched_at
        goes_on = is_on & (target <= 0.0) & (rest < rules.min_on_s) & ~marks.urgent
        stays_off = ~is_on & (target > 0.0) & (rest < rules.min_off_s) & ~marks.prompt
        return np.where(goes_on, np.minimum(current, min_kw), np.where(stays_off, current, target))

    def _waited(self, current: FloatArray, target: FloatArray, rules: CalmRules, now: float) -> FloatArray:
        """Return for how long each target has differed in its direction, in seconds; -inf where it does not."""
        band = np.maximum(rules.deadband_kw, rules.deadband_share * current)
        # Stopping, starting and reaching the target's end points are never trifles.
        differs = (np.abs(target - current) > band) | ((target != current) & ((target <= 0.0) | (current <= 0.0)))
        direction = np.where(differs, np.sign(target - current), 0).astype(np.int8)
        is_new = direction != self._direction
        self._since = np.where(direction == 0, np.inf, np.where(is_new, now, self._since))
        self._direction = direction
        return np.asarray(now - self._since)


class CapRelief:
    """Since when each node's cap has not risen: after relief, power returns calmly."""

    def __init__(self) -> None:
        """Begin without a past: nothing was relaxed."""
        self._cap_kw: FloatArray | None = None
        self._rose_at = np.full(0, -np.inf)

    def see(self, cap_kw: FloatArray, now: float) -> BoolArray:
        """Remember the caps and return which rose since the last look, shape (N,).

        Args:
            cap_kw: Caps in force now, shape (N,); another shape (a changed tree) begins anew.
            now: Seconds of the clock.
        """
        if self._cap_kw is None or self._cap_kw.shape != cap_kw.shape:
            self._rose_at = np.full(cap_kw.shape, -np.inf)
            rose = np.zeros(cap_kw.shape, dtype=bool)
        else:
            rose = cap_kw > self._cap_kw * (1.0 + _RELIEF_SHARE) + _RELIEF_KW
            self._rose_at[rose] = now
        self._cap_kw = cap_kw.copy()
        return rose

    def shift(self, seconds: float) -> None:
        """Move every instant with a clock that was set by so many seconds."""
        self._rose_at += seconds

    def is_recent(self, now: float, patience_s: float) -> BoolArray:
        """Return at which nodes a cap rose less than `patience_s` ago, shape (N,)."""
        return np.asarray(now - self._rose_at < patience_s)


class TrackingError:
    """How far chargers below each node drew above their commands lately: what the headroom must cover.

    Per node the largest excess share of the last windows is kept: of two windows, so that nothing is forgotten before a whole one.
    """

    def __init__(self, window_s: float) -> None:
        """Begin without any measurement.

        Args:
            window_s: Length of a window in seconds.
        """
        self._window_s = window_s
        self._began_at = np.nan
        self._this = np.full(0, np.nan)
        self._last = np.full(0, np.nan)

    def see(self, excess_kw: FloatArray, commanded_kw: FloatArray, now: float) -> None:
        """Take one look.

        Args:
            excess_kw: What chargers below each node drew above their commands together, shape (N,).
            commanded_kw: Sum of the commands of the chargers that were measured, shape (N,); 0 where none was.
            now: Seconds of the clock.
        """
        if self._this.shape != excess_kw.shape or np.isnan(self._began_at):
            self._this, self._last = np.full(excess_kw.shape, np.nan), np.full(excess_kw.shape, np.nan)
            self._began_at = now
        if now - self._began_at >= self._window_s:
            self._last, self._this = self._this, np.full(excess_kw.shape, np.nan)
            self._began_at = now
        share = np.divide(excess_kw, commanded_kw, out=np.full(excess_kw.shape, np.nan), where=commanded_kw > 0.0)
        self._this = np.fmax(self._this, share)

    def shift(self, seconds: float) -> None:
        """Move the begin of the window with a clock that was set by so many seconds."""
        self._began_at += seconds

    def share(self, count: int) -> FloatArray:
        """Return the largest excess as a share of the commands per node, shape (count,).

        NaN before a whole window, and where nobody was measured in the last whole one: who is not measured is not exact.
        """
        if self._this.shape != (count,):
            return np.full(count, np.nan)
        return np.where(np.isnan(self._last), np.nan, np.fmax(self._this, self._last))
