"""Energy registers to energy per delivery period, vectorised over meters.

```
 reading        border         reading
    |-------------|---------------|       the register at the border is interpolated between the readings around it;
   r0, t0         b             r1, t1    periods telescope: their sum is always the last register minus the first
```
A clock that is set back shows periods again that are closed already. What is drawn meanwhile belongs to none that is open: it is left
out and told, instead of counted twice or heaped onto the first open one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

_MOST_BORDERS = 400
"""A gap over more borders than this is not interpolated."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClosedPeriod:
    """Energy of one delivery period, shape (K,) each."""

    start: float
    """Seconds since 1970-01-01 UTC."""
    end: float
    energy_kwh: FloatArray
    """NaN where no register is known."""
    coverage: FloatArray
    """Share of the period whose energy is known to be of this period."""
    register_kwh: FloatArray
    """Register at the end as it was used; NaN unknown."""
    repeated_kwh: float
    """Sum over meters of what was left out since the period before closed: the clock showed a time that was accounted for."""


class RegisterBank:
    """Registers of K meters and what they counted in the delivery period that is open."""

    def __init__(self, count: int, *, closed_until: float, step_s: float, longest_gap_s: float) -> None:
        """Begin with registers unknown.

        Args:
            count: Number of meters.
            closed_until: Border up to which periods are accounted for, seconds since 1970-01-01 UTC.
            step_s: Length of a delivery period.
            longest_gap_s: Readings across a border further apart than this leave the time between them uncovered.
        """
        self.closed_until = closed_until
        self.register_kwh = np.full(count, np.nan)
        self._step_s = step_s
        self._longest_gap_s = longest_gap_s
        self._read_at = np.full(count, np.nan)
        self._base = np.full(count, np.nan)
        self._borders: dict[float, FloatArray] = {}
        self._covered: dict[float, FloatArray] = {}
        self._again_until = -np.inf
        """Border up to which a clock that was set back, or is behind our rows, shows periods that are closed."""
        self._repeated_kwh = 0.0

    def restore(self, index: IndexArray, kwh: FloatArray, at: float) -> None:
        """Go on from registers stored at a border."""
        self.register_kwh[index] = kwh
        self._base[index] = kwh
        self._read_at[index] = np.where(np.isnan(kwh), np.nan, at)
        self._again_until = self.closed_until

    def carry_over(self, older: "RegisterBank", new: IndexArray, old: IndexArray) -> None:
        """Go on from another bank of the same step with everything that was read of the meters that are in both.

        Args:
            older: As it was; periods that it closed stay closed.
            new: Meters here.
            old: The same meters there.
        """
        self.closed_until = older.closed_until
        self._again_until, self._repeated_kwh = older._again_until, older._repeated_kwh
        for name in ("register_kwh", "_read_at", "_base"):
            getattr(self, name)[new] = getattr(older, name)[old]
        for name, blank in (("_borders", np.nan), ("_covered", 0.0)):
            for border, values in getattr(older, name).items():
                carried = getattr(self, name)[border] = np.full(len(self._base), blank)
                carried[new] = values[old]

    def shift(self, seconds: float) -> None:
        """Move the instants of the last readings with a clock that was set by so many seconds; closed periods stay closed."""
        self._read_at += seconds
        if seconds < 0.0 and self.newest_reading < self.closed_until:
            self._again_until = self.closed_until
            self._borders.clear()
            self._covered.clear()

    def take(self, index: IndexArray, kwh: FloatArray, at: float, *, may_fall: bool = False) -> None:
        """Take readings of one instant; readings older than the last of a meter are ignored.

        Args:
            index: Meters that were read.
            kwh: Their registers.
            at: Instant of the readings.
            may_fall: True for net meters; otherwise a register that falls was replaced and counts on from its new value.
        """
        if self._take_in_step(index, kwh, at, may_fall=may_fall):
            return
        # What was restored lies at a border: readings before it come while the clock shows that time once more.
        is_newer = ~(self._read_at[index] >= at) | (self._read_at[index] == self._again_until)
        index, kwh = index[is_newer], kwh[is_newer]
        before, read_at = self.register_kwh[index], self._read_at[index]
        if not may_fall:
            self._follow_replacements(index, kwh - before)
            before = np.where(kwh < before, kwh, before)
        self._forget_what_was_closed(index, before, kwh, at)
        self._leave_repeats_out(index, before, kwh, at)
        self._fill_borders(index, before, kwh, at)
        self._cover(index, read_at, at)
        is_first = np.isnan(self._base[index])
        self._base[index[is_first]] = kwh[is_first]
        self.register_kwh[index] = kwh
        self._read_at[index] = at

    def _take_in_step(self, index: IndexArray, kwh: FloatArray, at: float, *, may_fall: bool) -> bool:
        """Take readings where every meter was read before in the same open period and none fell; False where it is not so simple."""
        start = self._border_before(at)
        read_at = self._read_at[index]
        # A meter that was never read is NaN, and no comparison with that is true.
        if not (index.size and start >= self.closed_until and read_at.min() >= start and read_at.max() < at):
            return False
        if not may_fall and not (kwh >= self.register_kwh[index]).all():
            return False
        self._covered_in(start)[index] += at - read_at
        self.register_kwh[index] = kwh
        self._read_at[index] = at
        return True

    def _covered_in(self, start: float) -> FloatArray:
        """Return the seconds of the period from an instant on whose energy is known, shape (K,)."""
        covered = self._covered.get(start)
        if covered is None:
            covered = self._covered[start] = np.zeros(len(self._base))
        return covered

    def close(self) -> ClosedPeriod:
        """Account for the oldest open period and return it; a meter without any reading in or after it is unknown."""
        start, end = self.closed_until, self.closed_until + self._step_s
        unknown = np.full(len(self._base), np.nan)
        at_border = self._borders.pop(end, unknown)
        has_word = (self._read_at > start) & (self._read_at < end)
        final = np.where(np.isnan(at_border) & has_word, self.register_kwh, at_border)
        energy = final - self._base
        self._base = np.where(np.isnan(final), self._base, final)
        covered = self._covered.pop(start, np.zeros(len(self._base)))
        self.closed_until = end
        repeated_kwh, self._repeated_kwh = self._repeated_kwh, 0.0
        return ClosedPeriod(
            start=start,
            end=end,
            energy_kwh=energy,
            coverage=np.clip(covered / self._step_s, 0.0, 1.0),
            register_kwh=self._base.copy(),
            repeated_kwh=repeated_kwh,
        )

    @property
    def newest_reading(self) -> float:
        """Instant of the newest reading of any meter; minus infinity before the first."""
        return float(np.nanmax(self._read_at, initial=-np.inf))

    def _forget_what_was_closed(self, index: IndexArray, before: FloatArray, kwh: FloatArray, at: float) -> None:
        """Leave out energy of periods that were closed as unknown, instead of heaping it onto the open one."""
        read_at = self._read_at[index]
        is_late = (read_at < self.closed_until) & (at - read_at > self._longest_gap_s) & (at > self.closed_until)
        if is_late.any():
            share = (self.closed_until - read_at[is_late]) / (at - read_at[is_late])
            self._base[index[is_late]] = before[is_late] + (kwh - before)[is_late] * share

    def _leave_repeats_out(self, index: IndexArray, before: FloatArray, kwh: FloatArray, at: float) -> None:
        """Let the open period begin where the clock passes its start for the last time."""
        until, read_at = self._again_until, self._read_at[index]
        is_again = (read_at < until) | ((read_at == until) & (at < until))
        if not is_again.any():
            return
        index, read_at, before, kwh = index[is_again], read_at[is_again], before[is_again], kwh[is_again]
        share = 1.0 if at <= until else (until - read_at) / (at - read_at)
        base = before + (kwh - before) * share
        self._repeated_kwh += float(np.nansum(base - self._base[index]))
        self._base[index] = base

    def _follow_replacements(self, index: IndexArray, jump: FloatArray) -> None:
        has_fallen = jump < 0.0
        if not has_fallen.any():
            return
        at, shift = index[has_fallen], jump[has_fallen]
        self._base[at] += shift
        for border in self._borders.values():
            border[at] += shift

    def _fill_borders(self, index: IndexArray, before: FloatArray, kwh: FloatArray, at: float) -> None:
        read_at = self._read_at[index]
        if not index.size or np.isnan(read_at).all():
            return
        last = self._border_before(at)
        first = max(
            self._border_before(float(np.nanmin(read_at))) + self._step_s,
            self.closed_until + self._step_s,
            last - _MOST_BORDERS * self._step_s,
        )
        for border in np.arange(first, last + 1.0, self._step_s).tolist():
            crosses = read_at < border
            at_border = self._borders.setdefault(border, np.full(len(self._base), np.nan))
            share = (border - read_at[crosses]) / (at - read_at[crosses])
            at_border[index[crosses]] = before[crosses] + (kwh - before)[crosses] * share

    def _cover(self, index: IndexArray, read_at: FloatArray, at: float) -> None:
        is_known = ~np.isnan(read_at) & (read_at < at)
        if not is_known.any():
            return
        index, read_at = index[is_known], read_at[is_known]
        is_close = (at - read_at <= self._longest_gap_s) | (self._border_before(at) <= read_at)
        index, read_at = index[is_close], read_at[is_close]
        if not index.size:
            return
        first = max(self._border_before(float(read_at.min())), self.closed_until)
        for start in np.arange(first, at, self._step_s).tolist():
            covered = self._covered_in(start)
            covered[index] += np.clip(min(at, start + self._step_s) - np.maximum(read_at, start), 0.0, None)

    def _border_before(self, instant: float) -> float:
        return instant // self._step_s * self._step_s
