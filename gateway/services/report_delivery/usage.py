"""Mean power of a node per slot, from recent samples where there are any, from stored meter readings otherwise."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.settlement import MeteredPeriod
from gateway.domain.signals import UsageReading
from gateway.domain.timegrid import TimeGrid

FloatArray = npt.NDArray[np.float64]

LEAST_COVERAGE = 0.5
"""Below this share of samples a stored meter reading is preferred."""


def readings_from_samples(
    times: Sequence[datetime], power_kw: FloatArray, grid: TimeGrid, *, now: datetime, longest_hold: timedelta
) -> list[UsageReading]:
    """Return one reading per slot from samples that each hold until the next.

    Args:
        times: Instants of the samples, ascending.
        power_kw: Power at each; NaN is unknown.
        grid: Slots asked for.
        now: Nothing is known beyond it.
        longest_hold: A sample holds until the next one, but no longer than this: then power is unknown.
    """
    starts_s = np.array([time.timestamp() for time in times])
    ends_s = np.minimum(np.append(starts_s[1:], now.timestamp()), starts_s + longest_hold.total_seconds())
    is_known = ~np.isnan(power_kw)
    starts_s, ends_s, known_kw = starts_s[is_known], ends_s[is_known], power_kw[is_known]
    readings = []
    for slot_start in grid.starts():
        begin, end = slot_start.timestamp(), (slot_start + grid.step).timestamp()
        first, last = np.searchsorted(ends_s, begin, side="right"), np.searchsorted(starts_s, end, side="left")
        held_s = np.minimum(ends_s[first:last], end) - np.maximum(starts_s[first:last], begin)
        total_s = float(held_s.sum())
        mean_kw = float(held_s @ known_kw[first:last]) / total_s if total_s > 0.0 else None
        coverage = min(1.0, total_s / (end - begin))
        readings.append(UsageReading(start=slot_start, end=slot_start + grid.step, power_kw=mean_kw, coverage=coverage))
    return readings


def readings_from_meters(points: Sequence[Sequence[MeteredPeriod]], grid: TimeGrid) -> list[UsageReading]:
    """Return one reading per slot from stored delivery periods of all connection points below a node.

    A slot inside a delivery period has the period's mean power; a longer slot the mean of its periods. A slot is unknown when
    any point has no reading that touches it.
    """
    readings = []
    for start in grid.starts():
        end = start + grid.step
        means = [_mean_kw(periods, start, end) for periods in points]
        known = [mean for mean in means if mean is not None]
        is_known = bool(means) and len(known) == len(means)
        total_kw = sum(kw for kw, _ in known) if is_known else None
        coverage = min((share for _, share in known), default=0.0) if is_known else 0.0
        readings.append(UsageReading(start=start, end=end, power_kw=total_kw, coverage=coverage))
    return readings


def fuller(samples: Sequence[UsageReading], meters: Sequence[UsageReading]) -> list[UsageReading]:
    """Return per slot the samples where they cover enough, else what covers more."""
    chosen = []
    for sampled, metered in zip(samples, meters, strict=True):
        use_samples = sampled.coverage >= LEAST_COVERAGE or sampled.coverage >= metered.coverage
        chosen.append(sampled if use_samples and sampled.power_kw is not None else metered)
    return chosen


def _mean_kw(periods: Sequence[MeteredPeriod], start: datetime, end: datetime) -> tuple[float, float] | None:
    energy_kwh = seconds = covered = 0.0
    for period in periods:
        shared = (min(end, period.end) - max(start, period.start)).total_seconds()
        if shared > 0.0 and period.coverage > 0.0:
            length = (period.end - period.start).total_seconds()
            energy_kwh += period.chargers_kwh * shared / length
            seconds += shared
            covered += shared * period.coverage
    if seconds == 0.0:
        return None
    return energy_kwh * 3600.0 / seconds, covered / (end - start).total_seconds()
