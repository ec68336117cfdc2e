"""What would open if a person ended the say of an authority: at its nodes, now and within the next 24 hours; nothing is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.limits import Direction, Limit, Resolution, resolve
from gateway.domain.timegrid import Interval
from gateway.domain.timeline import Silence, Stretch, timeline
from gateway.domain.topology import Node

FloatArray = npt.NDArray[np.float64]

AHEAD = timedelta(hours=24)
"""How far ahead is looked."""
_TRIFLE_KW = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedPlace:
    """One node and direction in which an authority has a say."""

    before: Resolution
    """What binds now."""
    after: Resolution
    """What would bind without the authority."""
    most_kw: float
    """Most by which the value in force would rise within the next 24 hours, in kW, at least 0."""
    most_at: datetime
    """When it would first rise by that much."""

    @property
    def opened_kw(self) -> float:
        """By how much the value in force would rise at once, in kW, at least 0."""
        return max(self.after.kw - self.before.kw, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedRelease:
    """What would open."""

    authority: str
    is_lost: bool
    """Whether it cannot be reached now."""
    changed_at: datetime
    """Since when its standing is as it is: of a lost one, since when it is lost."""
    limit_count: int
    """Limits of it that apply now or later and would be withdrawn."""
    places: tuple[OpenedPlace, ...]
    """Where it has a say, what opens most first."""

    def why(self) -> str:
        """Return the one sentence that says what it would do."""
        opening = [place for place in self.places if place.most_kw > _TRIFLE_KW]
        if not opening:
            return (
                f"Nothing would open within 24 hours without {self.authority}; its {self._limits()} would be withdrawn"
            )
        first = opening[0]
        others = f" and {len(opening) - 1} more" if len(opening) > 1 else ""
        return (
            f"Without {self.authority} {first.most_kw:.1f} kW more are allowed at {first.before.node}{others} "
            f"within 24 hours, {sum(place.opened_kw for place in opening):.1f} kW of all at once; "
            f"its {self._limits()} would be withdrawn and its silence would mean nothing"
        )

    def _limits(self) -> str:
        return "1 limit" if self.limit_count == 1 else f"{self.limit_count} limits"


def opened_place(
    node: Node,
    known: Sequence[Limit],
    names: frozenset[str],
    *,
    direction: Direction,
    silent: tuple[frozenset[str], frozenset[str]],
    now: datetime,
) -> OpenedPlace:
    """Return what would open at a node without an authority.

    Args:
        node: The node.
        known: All limits known of it.
        names: Of the authority whose say would end: its own, and that under which what could not be written yet is held.
        direction: Direction asked for.
        silent: Who cannot be reached and who must have a word for every instant, as `resolve` takes them.
        now: The instant.
    """
    kept = [limit for limit in known if limit.authority not in names]
    lost, steady = silent
    without = (lost - names, steady - names)
    span = Interval(start=now, end=now + AHEAD)
    before, after = (
        timeline(
            [node],
            limits,
            span,
            direction=direction,
            silence=Silence(lost={node.id: mute[0]}, steady={node.id: mute[1]}),
        ).of(node.id)
        for limits, mute in ((known, silent), (kept, without))
    )
    instants = sorted({stretch.interval.start for stretch in (*before, *after)})
    rise = _at(after, instants) - _at(before, instants)
    most = int(np.argmax(rise))
    return OpenedPlace(
        before=resolve(node, known, now, direction=direction, lost=lost, steady=steady),
        after=resolve(node, kept, now, direction=direction, lost=without[0], steady=without[1]),
        most_kw=max(float(rise[most]), 0.0),
        most_at=instants[most],
    )


def _at(stretches: Sequence[Stretch], instants: Iterable[datetime]) -> FloatArray:
    starts = np.array([stretch.interval.start.timestamp() for stretch in stretches])
    kw = np.array([stretch.kw for stretch in stretches])
    asked = np.array([instant.timestamp() for instant in instants])
    return np.asarray(kw[np.searchsorted(starts, asked, side="right") - 1])
