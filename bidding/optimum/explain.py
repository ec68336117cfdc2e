"""Why nothing fits: the set of slots in which more must flow than a limit allows, and one sentence that says so.

Such a set of slots is a proof by itself: whoever doubts it adds up what the named sessions must draw there and what the limit
allows. Nothing of how it was found needs to be believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from bidding.arrays import BoolArray, FloatArray, offsets_of
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SLOT_TOLERANCE, FittedSessions, SessionArrays
from bidding.optimum.outcome import Conflict
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid, zone_of

SAME_KWH = 1e-9
"""Two sets of slots that miss the same energy up to this are equally good; the smaller one is easier to understand."""
NAMED_SESSIONS = 3
"""So many sessions are called by name in a sentence."""


def explain_conflict(
    table: FlexibilityTable, sessions: SessionArrays, cap_kwh: FloatArray, overflow_prices: FloatArray
) -> Conflict:
    """Return the slots where the largest energy is missing, and the sessions that must draw there.

    The least overflow of a cap equals `max over A of p(A) - cap(A)`. The duals of the least-overflow problem maximise the
    piecewise linear extension of that function over the unit cube, whose level sets all are maximisers. As duals are known
    up to a tolerance only, the best level set is taken and slots are put in or out of it while that shows more to be missing.
    """
    levels = np.unique(overflow_prices[overflow_prices > SLOT_TOLERANCE])[::-1]
    candidates = [overflow_prices >= level for level in levels] or [np.isfinite(cap_kwh)]
    missing = np.array([_missing_kwh(table, cap_kwh, slots) for slots in candidates])
    # The first of the best is the one of the highest level, which has the fewest slots.
    slots = candidates[int(np.argmax(missing >= missing.max() - SAME_KWH))]
    return conflict_in(table, sessions, cap_kwh, _improved(table, cap_kwh, slots))


def conflict_in(table: FlexibilityTable, sessions: SessionArrays, cap_kwh: FloatArray, slots: BoolArray) -> Conflict:
    """Return what must flow and what may in a set of slots, given as a mask; a conflict if `missing_kwh` is above 0."""
    bound = np.flatnonzero(forced_kwh(sessions, slots) > SLOT_TOLERANCE)
    return Conflict(
        slots=tuple(int(slot) for slot in np.flatnonzero(slots)),
        must_flow_kwh=table.least_kwh(slots),
        allowed_kwh=float(cap_kwh[slots].sum()),
        sessions=tuple(sessions.name_of(int(row)) for row in bound),
    )


def forced_kwh(sessions: SessionArrays, slots: BoolArray) -> FloatArray:
    """Return what each session must draw in the slots even at full rate in all its others."""
    outside = offsets_of((~slots).astype(np.int64))
    elsewhere = outside[sessions.departure_slot] - outside[sessions.arrival_slot]
    forced: FloatArray = np.maximum(sessions.energy_min_kwh - sessions.rate_kwh_per_slot * elsewhere, 0.0)
    return forced


def _missing_kwh(table: FlexibilityTable, cap_kwh: FloatArray, slots: BoolArray) -> float:
    return table.least_kwh(slots) - float(cap_kwh[slots].sum())


def _improved(table: FlexibilityTable, cap_kwh: FloatArray, slots: BoolArray) -> BoolArray:
    """Put single slots in or out while more is missing with than without."""
    best, most = slots.copy(), _missing_kwh(table, cap_kwh, slots)
    movable = np.flatnonzero(np.isfinite(cap_kwh))
    improved = True
    while improved:
        improved = False
        for slot in movable:
            best[slot] ^= True
            missing = _missing_kwh(table, cap_kwh, best)
            if missing > most + SAME_KWH:
                most, improved = missing, True
            else:
                best[slot] ^= True
    return best


@dataclass(frozen=True, kw_only=True, slots=True)
class WallClock:
    """Turns slots into the wall-clock times of the people concerned."""

    grid: TimeGrid
    zone: str
    """IANA time zone, for example `Europe/Brussels`."""

    def __post_init__(self) -> None:
        """Reject an unknown time zone."""
        zone_of(self.zone)

    def span(self, first: int, end: int) -> str:
        """Return the time from the begin of slot `first` to the begin of slot `end`, both ends with a date if they differ."""
        start, stop = (
            (self.grid.start + self.grid.step * slot).astimezone(zone_of(self.zone)) for slot in (first, end)
        )
        # In the hour that comes twice, and across it, the wall clock alone would be ambiguous.
        clock = "%H:%M" if start.utcoffset() == stop.utcoffset() else "%H:%M %Z"
        begin = f"{start:%Y-%m-%d} {start.strftime(clock)}"
        return (
            f"{begin} to {stop.strftime(clock)}" if start.date() == stop.date() else f"{begin} to {self.instant(end)}"
        )

    def instant(self, border: int) -> str:
        """Return when slot `border` begins."""
        return f"{(self.grid.start + self.grid.step * border).astimezone(zone_of(self.zone)):%Y-%m-%d %H:%M}"


def spans(slots: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return rising slots as half-open spans of neighbours: `(3, 4, 5, 9)` is `(3, 6)` and `(9, 10)`."""
    runs = (list(run) for _, run in groupby(enumerate(slots), key=lambda pair: pair[1] - pair[0]))
    return tuple((run[0][1], run[-1][1] + 1) for run in runs)


def tell_operator(conflict: Conflict, *, nodes: Sequence[str] = (), clock: WallClock | None = None) -> str:
    """Return one sentence for whoever runs the site: where and when, what must flow, what may, and who is concerned.

    Args:
        conflict: What was found.
        nodes: Names of the limits concerned; "the connection point" when there is only one.
        clock: Makes wall-clock times of slots; slot numbers are told without it.
    """
    when = f"{_where(nodes)}, {_when(conflict.slots, clock)}"
    if not conflict.sessions:
        return (
            f"{when}: {_kwh(conflict.must_flow_kwh)} must flow, but only {_kwh(conflict.allowed_kwh)} can; "
            f"{_kwh(conflict.missing_kwh)} are missing."
        )
    count = len(conflict.sessions)
    cars = "1 car" if count == 1 else f"{count} cars"
    return (
        f"{when}: {cars} must draw {_kwh(conflict.must_flow_kwh)} even if they charge as much as they can at all other "
        f"times, but the limit allows {_kwh(conflict.allowed_kwh)}; {_kwh(conflict.missing_kwh)} cannot be delivered "
        f"({_named(conflict.sessions)})."
    )


def tell_driver(conflict: Conflict, sessions: SessionArrays, row: int, clock: WallClock | None = None) -> str:
    """Return one sentence for the driver of one of the cars concerned.

    Args:
        conflict: What was found among these sessions.
        sessions: The sessions it was found for.
        row: The driver's session.
        clock: Makes wall-clock times of slots.

    Raises:
        InvalidInput: The session does not have to draw in the slots of the conflict.
    """
    slots = np.zeros(int(sessions.departure_slot.max()), dtype=np.bool_)
    slots[[slot for slot in conflict.slots if slot < len(slots)]] = True
    forced = float(forced_kwh(sessions.select(np.array([row])), slots)[0])
    if forced <= SLOT_TOLERANCE:
        raise InvalidInput("row", "does not have to draw in the slots of the conflict")
    others = len(conflict.sessions) - 1
    together = "it needs" if others == 0 else f"with {others} other car{'s' if others > 1 else ''} that makes"
    return (
        f"Your car must take {_kwh(forced)} of its {_kwh(float(sessions.energy_min_kwh[row]))} "
        f"{_when(conflict.slots, clock)}, because the rest of its stay is too short; {together} "
        f"{_kwh(conflict.must_flow_kwh)} where {_kwh(conflict.allowed_kwh)} are possible. A later departure or a lower "
        f"target would help."
    )


def tell_shortfall(fitted: FittedSessions, row: int, step_hours: float, clock: WallClock | None = None) -> str:
    """Return one sentence for a car that cannot get what it needs even alone and at full rate.

    Args:
        fitted: Sessions as `fit_to_horizon` left them.
        row: Row among the kept sessions.
        step_hours: Length of a slot.
        clock: Makes wall-clock times of slots.

    Raises:
        InvalidInput: The session's stay is long enough.
    """
    short = float(fitted.shortfall_kwh[row])
    if short <= SLOT_TOLERANCE:
        raise InvalidInput("row", "can take what it needs while it is there")
    sessions = fitted.sessions
    departure = int(sessions.departure_slot[row])
    until = f"slot {departure}" if clock is None else clock.instant(departure)
    return (
        f"{sessions.name_of(row)} leaves at {until} and takes at most {_kwh(float(sessions.energy_min_kwh[row]))} until "
        f"then at {float(sessions.rate_kwh_per_slot[row]) / step_hours:.1f} kW; {_kwh(short)} of what it needs cannot be "
        f"delivered at any price."
    )


def _where(nodes: Sequence[str]) -> str:
    return f"At {' and '.join(nodes)}" if nodes else "At the connection point"


def _when(slots: Sequence[int], clock: WallClock | None) -> str:
    if clock is None:
        told = [f"slot {first}" if end == first + 1 else f"slots {first} to {end - 1}" for first, end in spans(slots)]
        return "in " + " and ".join(told)
    return "from " + " and from ".join(clock.span(first, end) for first, end in spans(slots))


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED_SESSIONS
    return ", ".join(names[:NAMED_SESSIONS]) + (f" and {more} more" if more > 0 else "")


def _kwh(energy_kwh: float) -> str:
    return f"{energy_kwh:.1f} kWh"
