"""What cars accept when they are nearly full: curves learned from telemetry, and sessions planned inside them.

A car draws less than its charger offers when its onboard charger is smaller, and less and less once its battery is nearly
full. Both are one curve: the power it accepts as a function of its *room*, the energy at the plug that it would still draw
until full. Room needs no knowledge of the battery's size where it is counted back from the end of a full charge
(`room_of_full_cars`), and is (1 - state of charge) x capacity / efficiency where those are known.

The schedules a tapering car can follow are no generalized polymatroid: what it accepts depends on the order. So a session
that reaches into the taper is replaced by an inner bound, a Minkowski sum of one or two plain sessions, which keeps the
table, the greedy rule and the set points as they are:

* A session whose most energy leaves it above the knee of the curve (full rate accepted) is itself: **exact**.
* *Gentle*, one part: the whole window at the rate accepted at the end of the charge. Among the sets that treat the slots of
  the window alike this is the **largest**: such a set holds, with every schedule, the one with the largest draw last.
* *Top-up last*, two parts: full rate up to the knee in the first slots of the window, the rest at the rate accepted at the
  end of the charge in as few last slots as hold it. An **inner bound**: the border between the two is fixed.

Every schedule of the parts can be followed with constant power inside each slot: while the first part draws, the room is at
least that of the knee; while the second draws, it is at least the room at the end; and acceptance rises with room.
"""

from dataclasses import dataclass, replace

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray, finite_vector, integer_vector, require_each, same_length
from bidding.fleet.sessions import SLOT_TOLERANCE, SessionArrays, join_sessions
from gateway.domain.errors import InvalidInput

PLANNED_QUANTILE = 0.1
"""Planned is what nine of ten cars accept."""
FEWEST_SAMPLES = 20
"""A step of a curve with fewer samples takes the value of the next lower step."""
LIMITED_SHARE = 0.97
"""A car that draws this share of what it is offered was limited by the offer: it may have accepted more."""
GENTLE_SHARE = 0.5
"""From this share of the full rate on, one slow part over the whole window leaves more choice than a top-up at its end."""
ROUNDING = 1e-9
CERTAIN_LOSS = 1e-300
"""Stands for a survival of zero where its logarithm is summed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AcceptanceCurves:
    """Power that cars of each class accept, as steps over their room."""

    room_kwh: FloatArray
    """Lower edge of each step, rising from 0; the last step has no end."""
    power_kw: FloatArray
    """Shape (classes, steps), rising with room; the last step is the limit of the onboard charger, above 0."""

    def __post_init__(self) -> None:
        """Check shapes and that more room never means less power."""
        object.__setattr__(self, "room_kwh", finite_vector("room_kwh", self.room_kwh))
        power = np.array(self.power_kw, dtype=np.float64)
        if power.ndim != 2 or not power.size or power.shape[1] != len(self.room_kwh):  # a matrix
            raise InvalidInput("power_kw", "must have one row per class and one value per step")
        if self.room_kwh[0] != 0.0 or np.any(np.diff(self.room_kwh) <= 0.0):
            raise InvalidInput("room_kwh", "must rise from 0")
        rises = (
            np.all(np.diff(power, axis=1) >= 0.0, axis=1) & (power[:, 0] >= 0.0) & np.all(np.isfinite(power), axis=1)
        )
        require_each("power_kw", rises, "must be finite, at least 0 and rise with room")
        require_each("power_kw", power[:, -1] > 0.0, "must end above 0")
        power.setflags(write=False)
        object.__setattr__(self, "power_kw", power)

    def power_at(self, class_index: IntArray, room_kwh: FloatArray) -> FloatArray:
        """Return what cars of these classes accept with this room, kW, shape as given."""
        step = np.maximum(np.searchsorted(self.room_kwh, room_kwh + ROUNDING, side="right") - 1, 0)
        accepted: FloatArray = self.power_kw[class_index, step]
        return accepted


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AcceptanceSamples:
    """Telemetry of charging cars, one row per sample."""

    class_index: IntArray
    """Class of the car, from 0: model, or what its first minutes tell of it."""
    room_kwh: FloatArray
    """Energy at the plug the car still drew, or would have drawn, until full."""
    power_kw: FloatArray
    """Power it drew."""
    offered_kw: FloatArray
    """Power it was allowed to draw."""

    def __post_init__(self) -> None:
        """Check every column."""
        object.__setattr__(self, "class_index", integer_vector("class_index", self.class_index))
        for name in ("room_kwh", "power_kw", "offered_kw"):
            object.__setattr__(self, name, finite_vector(name, getattr(self, name)))
            require_each(name, getattr(self, name) >= 0.0, "must be at least 0")
        same_length(
            [(name, len(getattr(self, name))) for name in ("class_index", "room_kwh", "power_kw", "offered_kw")]
        )
        require_each("class_index", self.class_index >= 0, "must be at least 0")


def room_of_full_cars(session: IntArray, taken_kwh: FloatArray) -> FloatArray:
    """Return the room at each sample of sessions that ended with a full car: what each took in all, less what it has taken.

    Args:
        session: Session of each sample, numbered from 0.
        taken_kwh: Energy at the plug since plug-in at each sample; the last sample of a session must be its end.
    """
    whole = np.zeros(int(session.max(initial=-1)) + 1)
    np.maximum.at(whole, session, taken_kwh)
    room: FloatArray = whole[session] - taken_kwh
    return room


def learn_acceptance(
    samples: AcceptanceSamples,
    room_edges_kwh: FloatArray,
    class_count: int,
    *,
    quantile: float = PLANNED_QUANTILE,
    fewest_samples: int = FEWEST_SAMPLES,
) -> AcceptanceCurves:
    """Return for each class and step of room the power that all but a share of the cars accept.

    A car limited by its offer has accepted at least that much (right-censored), which the product-limit estimator of the
    distribution takes into account (Kaplan and Meier 1958). More room never means less power: a step is lowered to the
    steps above it. A step with too few samples takes the value of the next lower step, 0 below the first.

    Args:
        samples: Telemetry.
        room_edges_kwh: Lower edges of the steps, rising from 0.
        class_count: Number of classes.
        quantile: Share of cars that may accept less, between 0 and 1.
        fewest_samples: Least number of samples for a step to count, at least 1.

    Raises:
        InvalidInput: Edges, quantile or a class number out of range, or a class without a step that has enough samples
            and power.
    """
    if not 0.0 < quantile < 1.0:
        raise InvalidInput("quantile", "must be between 0 and 1")
    require_each("class_index", samples.class_index < class_count, f"must be below {class_count}")
    edges = finite_vector("room_edges_kwh", room_edges_kwh)
    step = np.maximum(np.searchsorted(edges, samples.room_kwh, side="right") - 1, 0)
    group = samples.class_index * len(edges) + step
    known = np.bincount(group, minlength=class_count * len(edges)) >= max(fewest_samples, 1)
    accepted = np.where(known, _quantile_by_group(samples, group, len(known), quantile), np.inf)
    shape = (class_count, len(edges))
    lowered = np.minimum.accumulate(accepted.reshape(shape)[:, ::-1], axis=1)[:, ::-1]
    power = np.maximum.accumulate(np.where(known.reshape(shape), lowered, 0.0), axis=1)
    return AcceptanceCurves(room_kwh=edges, power_kw=power)


def _quantile_by_group(samples: AcceptanceSamples, group: IntArray, count: int, quantile: float) -> FloatArray:
    """Return the lower quantile of accepted power of every group, allowing for samples that the offer limited."""
    limited = samples.power_kw >= LIMITED_SHARE * samples.offered_kw
    order = np.lexsort((limited, samples.power_kw, group))
    group, power, seen = group[order], samples.power_kw[order], ~limited[order]
    size = np.bincount(group, minlength=count)
    begin = np.cumsum(size) - size
    at_risk = (size + begin)[group] - np.arange(len(group))
    survives = np.log(np.maximum(np.where(seen, (at_risk - 1) / at_risk, 1.0), CERTAIN_LOSS))
    total = np.concatenate([[0.0], np.cumsum(survives)])
    reached = np.flatnonzero(total[1:] - total[begin[group]] <= np.log1p(-quantile) + ROUNDING)
    # Where the quantile is never reached, everything was accepted: the highest sample is known to be.
    highest = np.zeros(count)
    np.maximum.at(highest, group, power)
    groups, first = np.unique(group[reached], return_index=True)
    highest[groups] = power[reached[first]]
    return highest


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TaperedSessions:
    """Sessions as plain parts that a tapering car can follow."""

    parts: SessionArrays
    """First part of every session in its order, then the top-ups; each fitted like any session."""
    owner: IntArray
    """Row of the session each part belongs to."""
    shortfall_kwh: FloatArray
    """Per session: energy of its least need that the parts cannot hold; 0.0 for most."""

    def per_session(self, drawn_by_part: FloatArray) -> FloatArray:
        """Return the draw of every session from the draws of the parts, shape (N,) or (N, T)."""
        total = np.zeros((len(self.shortfall_kwh), *drawn_by_part.shape[1:]))
        np.add.at(total, self.owner, drawn_by_part)
        return total


def taper_sessions(
    sessions: SessionArrays,
    curves: AcceptanceCurves,
    class_index: IntArray,
    room_kwh: FloatArray,
    *,
    step_hours: float,
    gentle_share: float = GENTLE_SHARE,
) -> TaperedSessions:
    """Return parts whose every schedule the cars accept (module text: what is exact, what an inner bound).

    Args:
        sessions: Sessions fitted to the horizon.
        curves: What each class accepts.
        class_index: Class of each session, shape (N,).
        room_kwh: Room of each car when its window begins, at the plug, shape (N,).
        step_hours: Length of a slot.
        gentle_share: Share of the full rate from which one slow part is chosen where it holds the energy.

    Raises:
        InvalidInput: A column of another length, an unknown class or a negative room.
    """
    count = len(sessions)
    kind = integer_vector("class_index", class_index)
    room = finite_vector("room_kwh", room_kwh, count)
    same_length([("sessions", count), ("class_index", len(kind))])
    require_each("class_index", (kind >= 0) & (kind < len(curves.power_kw)), "is not a class of the curves")
    require_each("room_kwh", room >= 0.0, "must be at least 0")
    limits = curves.power_kw[kind] * step_hours
    case = _Taper(sessions, curves.room_kwh, limits, room, gentle_share)
    return case.parts()


class _Taper:
    """One computation of parts; columns over sessions, kWh and kWh per slot."""

    def __init__(
        self, sessions: SessionArrays, edges: FloatArray, limits: FloatArray, room: FloatArray, gentle_share: float
    ) -> None:
        self.sessions = sessions
        self.window = sessions.window_length
        self.edges, self.limits, self.room = edges, limits, room
        self.rate = np.minimum(sessions.rate_kwh_per_slot, limits[:, -1])
        self.gentle_share = gentle_share
        accepted = limits >= self.rate[:, None] * (1.0 - SLOT_TOLERANCE)
        self.bulk = np.maximum(room - edges[np.argmax(accepted, axis=1)], 0.0)
        """Energy until the knee."""

    def parts(self) -> TaperedSessions:
        """Return the parts of all sessions."""
        most = np.minimum(self.sessions.energy_max_kwh, self.room)
        slow = self.slow_rate(most)
        plain = most <= self.bulk + ROUNDING
        gentle = ~plain & (slow >= self.gentle_share * self.rate) & (slow * self.window >= most)
        gentle |= ~plain & (self.bulk == 0.0) & (slow * self.window >= most)
        least_slots = self.slots(most - self.bulk, slow)
        last = ~plain & ~gentle & (self.rate * (self.window - least_slots) >= self.bulk)
        cut = ~plain & ~gentle & ~last
        most = np.where(plain, np.minimum(most, self.rate * self.window), most)
        if cut.any():
            most, slow = self.cut_short(cut, most, slow)
            plain |= cut & (most <= self.bulk + ROUNDING)
            gentle |= cut & ~plain & (self.bulk == 0.0)
            last |= cut & ~plain & ~gentle
        return self.assembled(most, np.where(gentle, slow, self.rate), slow, np.flatnonzero(last))

    def slow_rate(self, most: FloatArray) -> FloatArray:
        """Return the rate accepted at the end of the charge."""
        step = np.searchsorted(self.edges, self.room - most + ROUNDING, side="right") - 1
        return np.minimum(self.rate, self.limits[np.arange(len(step)), np.maximum(step, 0)])

    def slots(self, energy: FloatArray, rate: FloatArray) -> IntArray:
        """Return how many slots hold an energy; more than the window where the rate is zero."""
        count = np.ceil(energy / np.maximum(rate, ROUNDING) - SLOT_TOLERANCE)
        return np.minimum(np.maximum(count, 0.0), self.window + 1).astype(np.int64)

    def cut_short(self, cut: BoolArray, most: FloatArray, slow: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the most energy that the window holds, and the slow rate at its end, where the wish does not fit.

        After the bulk the remaining slots run at the rate of one step; the step that brings the most is taken,
        of equals the fastest.
        """
        bulk = np.minimum(self.bulk, self.rate * self.window)
        left = np.maximum(self.window - self.slots(bulk, self.rate), 0)
        rates = np.minimum(self.limits, self.rate[:, None])
        above_knee = np.maximum(self.room - self.bulk, 0.0)[:, None] - self.edges
        extra = np.clip(np.minimum(rates * left[:, None], above_knee), 0.0, None)
        best = extra.shape[1] - 1 - np.argmax(extra[:, ::-1], axis=1)
        row = np.arange(len(best))
        reached = np.minimum(bulk + extra[row, best], most)
        return np.where(cut, reached, most), np.where(cut, rates[row, best], slow)

    def assembled(self, most: FloatArray, rate: FloatArray, slow: FloatArray, split: IntArray) -> TaperedSessions:
        """Return first parts of all sessions and top-ups of those that are split."""
        need = np.minimum(self.sessions.energy_min_kwh, most)
        first_need, first_most = need.copy(), most.copy()
        first_need[split] = np.minimum(need, self.bulk)[split]
        first_most[split] = self.bulk[split]
        border = self.sessions.departure_slot.copy()
        border[split] -= np.minimum(self.slots(most - self.bulk, slow), self.window - 1)[split]
        first = replace(
            self.sessions,
            departure_slot=border,
            rate_kwh_per_slot=rate,
            energy_min_kwh=first_need,
            energy_max_kwh=first_most,
        )
        top_up = replace(
            self.sessions.select(split),
            arrival_slot=border[split],
            rate_kwh_per_slot=slow[split],
            energy_min_kwh=(need - first_need)[split],
            energy_max_kwh=(most - first_most)[split],
        )
        return TaperedSessions(
            parts=join_sessions([first, top_up]),
            owner=np.concatenate([np.arange(len(need)), split]),
            shortfall_kwh=self.sessions.energy_min_kwh - need,
        )
