"""The commands in force: per charger what was sent, accepted, applied and followed, and what it may therefore draw.

The live counterpart of `DispatchBatch` and `DispatchOutcome` rows, rebuilt from them after a restart. All arrays have shape (C,);
instants are seconds since 1970-01-01 UTC. Acknowledgements of an older sequence than the newest never change a state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.domain.dispatch import DispatchState
from gateway.domain.follow_rules import FollowRules
from gateway.domain.id_list import IdList
from gateway.domain.rare_column import RareColumn
from gateway.domain.side_by_side import side_by_side

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]

_MOST_COUNTED = 100
_MOST_NAMES = 4_096
"""More remembered ids of commands than this, and than twice those in use last time, are looked through for unused ones."""


def _table(*states: DispatchState) -> BoolArray:
    """Return which states are among some: looking up is faster than comparing for a hundred thousand chargers."""
    return np.isin(np.arange(len(DispatchState)), states)


_SETTLED = _table(DispatchState.ACCEPTED, DispatchState.APPLIED, DispatchState.FOLLOWED, DispatchState.NOT_FOLLOWING)
_WATCHED = _table(DispatchState.ACCEPTED, DispatchState.APPLIED, DispatchState.FOLLOWED)
_TROUBLED = _table(DispatchState.REJECTED, DispatchState.TIMED_OUT, DispatchState.NOT_FOLLOWING)
_UNANSWERED = _table(DispatchState.REJECTED, DispatchState.TIMED_OUT, DispatchState.NONE)
_REFUSED = _table(DispatchState.REJECTED, DispatchState.TIMED_OUT)
_MEASURED = _table(DispatchState.FOLLOWED, DispatchState.NOT_FOLLOWING)
_WAITING = _table(DispatchState.SENT, DispatchState.REJECTED, DispatchState.TIMED_OUT)
_UNPROVEN = _table(DispatchState.ACCEPTED, DispatchState.APPLIED, DispatchState.NOT_FOLLOWING)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sent:
    """One command on its way: which chargers, what, and for how long."""

    batch: str
    sequence: int
    at: float
    lease_until: float
    index: IndexArray
    """Chargers, as positions in the tree."""
    limit_kw: FloatArray
    fallback_kw: FloatArray


class CommandBook:
    """The newest command of every charger of a tenant and what became of it."""

    def __init__(self, charger_ids: Sequence[str]) -> None:
        """Begin without any command."""
        count = len(charger_ids)
        self.charger_ids = IdList.of(charger_ids)
        self.batch_code = np.zeros(count, dtype=np.int32)
        self._batch_names = [""]
        self._most_names = _MOST_NAMES
        self.sequence = np.zeros(count, dtype=np.int64)
        self.limit_kw = np.zeros(count)
        self.issued_at = np.full(count, -np.inf)
        self.lease_until = np.full(count, -np.inf)
        self.acked_sequence = np.zeros(count, dtype=np.int64)
        self.accepted_kw = np.zeros(count)
        self.accepted_until = np.full(count, -np.inf)
        self._accepted_since = np.zeros(count, dtype=np.int64)
        """Sequence with which that limit was first accepted."""
        self._before_kw = np.zeros(count)
        """What was accepted before it: that still holds where the charger itself refuses."""
        self._before_until = np.full(count, -np.inf)
        self._open_kw = np.zeros(count)
        """Largest limit sent since the newest acknowledgement: the platform may have passed on any of them."""
        self._open_until = np.full(count, -np.inf)
        self._shown_kw = RareColumn(count, np.nan)
        self.state = np.zeros(count, dtype=np.int8)
        self.state_since = np.full(count, -np.inf)
        self.changed = np.zeros(count, dtype=bool)
        """State changed since somebody last asked."""
        self.must_resend = np.zeros(count, dtype=bool)
        self.reasons: dict[int, str] = {}
        self.limit_since = np.full(count, -np.inf)
        self._sampled_at = np.full(count, -np.inf)
        self._overdrawn_kw = RareColumn(count, np.nan)
        """What those who draw too much were measured at last, until they are measured to follow; NaN for all others."""
        self._over_count = np.zeros(count, dtype=np.int8)
        self._over_since = RareColumn(count, np.inf)
        self._under_since = np.full(count, np.inf)
        self._was_applied = np.zeros(count, dtype=bool)
        self._unanswered_since = np.full(count, np.inf)
        self._smooth_kw = np.full(count, np.nan)
        self._is_tapering = np.zeros(count, dtype=bool)

    def carry_over(self, older: "CommandBook") -> None:
        """Take over the commands of chargers that were there before the tree changed."""
        new, old = self.charger_ids.shared_with(older.charger_ids)
        for name, values in vars(older).items():
            if isinstance(values, np.ndarray):
                getattr(self, name)[new] = values[old]
            elif isinstance(values, RareColumn):
                getattr(self, name).carry_over(values, new, old)
        self._batch_names = list(older._batch_names)
        now_at = dict(zip(old.tolist(), new.tolist(), strict=True))
        self.reasons = {now_at[j]: reason for j, reason in older.reasons.items() if j in now_at}

    def shift(self, seconds: float) -> None:
        """Move every instant with a clock that was set by so many seconds: a lease is a duration, whatever the clock says."""
        for instants in (
            self.issued_at,
            self.lease_until,
            self.accepted_until,
            self._before_until,
            self._open_until,
            self.state_since,
            self.limit_since,
            self._sampled_at,
            self._under_since,
            self._unanswered_since,
        ):
            np.add(instants, seconds, out=instants)
        self._over_since.shift(seconds)

    @property
    def shown_kw(self) -> FloatArray:
        """What chargers themselves said that they allow although they were sent less, until they follow; NaN for all others."""
        return self._shown_kw.values

    def batch_of(self, i: int) -> str:
        """Return the id of the newest command of a charger; empty before the first."""
        return self._batch_names[int(self.batch_code[i])]

    def lease_s(self, index: IndexArray) -> FloatArray:
        """Return for how long the newest commands of chargers were given, in seconds."""
        return np.asarray(self.lease_until[index] - self.issued_at[index])

    def send(self, sent: Sent) -> None:
        """Remember a command that goes out now; the same limit again is a renewal and keeps its state while its lease runs."""
        index, at = sent.index, side_by_side(sent.index)
        has_lapsed = self.lease_until[at] <= sent.at
        is_new = (self.limit_kw[at] != sent.limit_kw) | (self.state[at] == DispatchState.NONE) | has_lapsed
        is_retry = _REFUSED[self.state[at]]
        was_open = (self.acked_sequence[at] < self.sequence[at]) & np.isfinite(self._unanswered_since[at])
        self._unanswered_since[at] = np.where(was_open, self._unanswered_since[at], sent.at)
        self._open(sent)
        self.sequence[at] = sent.sequence
        self.limit_kw[at] = sent.limit_kw
        self.issued_at[at] = sent.at
        self.lease_until[at] = sent.lease_until
        self.must_resend[at] = False
        self.batch_code[at] = self._code_of(sent.batch)
        self._settle(index[is_new], sent.at)
        self._was_applied[side_by_side(index[is_new])] = False
        self._move(index[is_new & ~is_retry], DispatchState.SENT, sent.at)

    def _open(self, sent: Sent) -> None:
        """Remember the largest limit that is not answered; renewing a smaller one does not prolong its lease."""
        index = sent.index
        known_kw, known_until = self._open_kw[index], self._open_until[index]
        is_open = (self.acked_sequence[index] < self.sequence[index]) & (known_until > sent.at)
        is_renewal = is_open & (sent.limit_kw == self.limit_kw[index]) & (sent.limit_kw < known_kw)
        self._open_kw[index] = np.where(is_open, np.maximum(known_kw, sent.limit_kw), sent.limit_kw)
        self._open_until[index] = np.where(is_renewal, known_until, sent.lease_until)

    def hand_over(self, index: IndexArray, sequence: int, lease_until: float) -> None:
        """Remember the sequence and lease under which coalesced commands left for the platform."""
        at = side_by_side(index)
        self.sequence[at] = sequence
        self.lease_until[at] = np.minimum(self.lease_until[at], lease_until)

    def resume(self, index: IndexArray, applied_sequence: int) -> None:
        """Take a reconnecting platform's word on up to which sequence it has read; what it missed is sent again.

        What it read and did not answer is sent again, too: a charger may have refused, and the answer was lost with the stream. So is
        what was refused.
        """
        is_read = (self.acked_sequence[index] == self.sequence[index]) & (self.sequence[index] <= applied_sequence)
        missed = index[~is_read | _REFUSED[self.state[index]]]
        self.must_resend[missed] = True
        self._unanswered_since[missed] = np.inf

    def forget(self, index: IndexArray) -> None:
        """Let chargers hold nothing of what they were told: they count as they do without us until a command is accepted again."""
        self.changed[index[self.state[index] != DispatchState.NONE]] = True
        for held_until in (self.lease_until, self.accepted_until, self._before_until, self._open_until):
            held_until[index] = -np.inf
        self._shown_kw.clear(index)
        self.must_resend[index] = True
        self._unanswered_since[index] = np.inf
        self.state[index] = DispatchState.NONE

    def show(self, index: IndexArray, kw: FloatArray) -> None:
        """Take what chargers themselves say that they allow although they were sent less; NaN where they say nothing."""
        says = ~np.isnan(kw)
        self._shown_kw.put(index[says], kw[says])

    def move(self, index: IndexArray) -> None:
        """Let chargers begin anew at another platform, which counts on its own and knows nothing of what they were told.

        Until it says what they hold, they count at the most that they may have been told before, while those leases run.
        """
        is_open = self.acked_sequence[index] < self.sequence[index]
        accepted, until = self.accepted_kw[index], self.accepted_until[index]
        self.accepted_kw[index] = np.where(is_open, np.maximum(accepted, self._open_kw[index]), accepted)
        self.accepted_until[index] = np.where(is_open, np.maximum(until, self._open_until[index]), until)
        for held_until in (self.lease_until, self._open_until):
            held_until[index] = -np.inf
        self.sequence[index] = self.acked_sequence[index] = self._accepted_since[index] = 0
        self.batch_code[index] = 0
        self.must_resend[index] = True
        self._unanswered_since[index] = np.inf
        self.state[index] = DispatchState.NONE

    def accept(self, index: IndexArray, limit_kw: FloatArray, *, sequence: int, lease_until: float, now: float) -> None:
        """Take a platform's word that it holds a command; older words than the newest only extend what was accepted."""
        is_newer = self.acked_sequence[index] < sequence
        if not is_newer.all():
            index, limit_kw = index[is_newer], limit_kw[is_newer]
        at = side_by_side(index)
        self.acked_sequence[at] = sequence
        self._remember_before(index[self.accepted_kw[at] != limit_kw], sequence)
        self.accepted_kw[at] = limit_kw
        self.accepted_until[at] = lease_until
        newest = index[(self.sequence[at] == sequence) & _WAITING[self.state[at]]]
        self._take_effect(newest, now)

    def _take_effect(self, index: IndexArray, now: float) -> None:
        """Let chargers hold their newest command from now on: what was measured before says nothing about it."""
        self._settle(index, now)
        self._move(index, DispatchState.ACCEPTED, now)

    def _settle(self, index: IndexArray, now: float) -> None:
        at = side_by_side(index)
        self.limit_since[at] = now
        self._over_count[at] = 0
        self._over_since.clear(at)

    def report(self, index: IndexArray, states: npt.NDArray[np.int8], *, sequence: int, now: float) -> None:
        """Take what became of a command at the chargers: APPLIED, REJECTED or TIMED_OUT; old sequences are ignored."""
        is_newest = self.sequence[index] == sequence
        for state in (DispatchState.APPLIED, DispatchState.REJECTED, DispatchState.TIMED_OUT):
            at = index[is_newest & (states == state)]
            if state is DispatchState.APPLIED:
                self._was_applied[at] = True
                at = at[~_MEASURED[self.state[at]]]
            else:
                self._hold_what_was_before(at)
            self._move(at, state, now)

    def restore(self, index: IndexArray, states: npt.NDArray[np.int8], at: float) -> None:
        """Set states as they were written down, after a restart; what was settled had been accepted.

        SENT is written of chargers only that had forgotten all they were told before, NONE of those that were not told anew since.
        """
        self.forget(index[states == DispatchState.NONE])
        forgot = index[states == DispatchState.SENT]
        self.accepted_until[forgot] = self._before_until[forgot] = -np.inf
        self.state[index] = states
        self.state_since[index] = at
        self._shown_kw.clear(index[states == DispatchState.FOLLOWED])
        settled = index[_SETTLED[states]]
        self.acked_sequence[settled] = self.sequence[settled]
        other = settled[self.accepted_kw[settled] != self.limit_kw[settled]]
        self._remember_before(other, self.sequence[other])
        self.accepted_kw[settled] = self.limit_kw[settled]
        self.accepted_until[settled] = self.lease_until[settled]
        self._hold_what_was_before(index[_REFUSED[states]])

    def _remember_before(self, index: IndexArray, sequence: int | IndexArray) -> None:
        """Keep what platforms held for chargers that something else is accepted for now."""
        self._accepted_since[index] = sequence
        self._before_kw[index], self._before_until[index] = self.accepted_kw[index], self.accepted_until[index]

    def _hold_what_was_before(self, index: IndexArray) -> None:
        """Let chargers that do not take what their platform accepted hold what it had accepted before; a renewal changes nothing."""
        newest = self.sequence[index]
        at = index[(self.acked_sequence[index] == newest) & (self._accepted_since[index] == newest)]
        self.accepted_kw[at], self.accepted_until[at] = self._before_kw[at], self._before_until[at]
        self._accepted_since[at] = 0

    def trust_renewals(self) -> None:
        """Count renewals of accepted limits as acknowledged: that they were is not written down, only changes are."""
        index = np.flatnonzero(_SETTLED[self.state] & (self.accepted_kw == self.limit_kw))
        self.acked_sequence[index] = self.sequence[index]
        self.accepted_until[index] = self.lease_until[index]

    def suspect(self, most_kw: FloatArray) -> None:
        """Let who was written down as drawing too much count at the most that it can, until it is measured.

        Args:
            most_kw: What each can draw, shape (C,).
        """
        suspects = np.flatnonzero(self.state == DispatchState.NOT_FOLLOWING)
        self._overdrawn_kw = RareColumn(len(most_kw), np.nan)
        self._overdrawn_kw.put(suspects, most_kw[suspects])

    def time_out(self, now: float, rules: FollowRules) -> None:
        """Give up waiting for acknowledgements that are overdue; sending again does not start the wait anew."""
        is_late = (self.sequence > self.acked_sequence) & (now - self._unanswered_since >= rules.ack_timeout_s)
        is_open = ~_UNANSWERED[self.state]
        self._move(np.flatnonzero(is_late & is_open), DispatchState.TIMED_OUT, now)

    def observe(self, power_kw: FloatArray, power_at: FloatArray, now: float, rules: FollowRules) -> bool:
        """Compare measurements with the limits in force.

        Args:
            power_kw: Measured power per charger; NaN unknown.
            power_at: Instant of the measurement.
            now: Seconds of the clock.
            rules: Tolerances and times.

        Returns:
            True when somebody has just begun to draw too much, or measurably takes less than it may: others should be looked at.
        """
        is_new = ~np.isnan(power_kw) & (power_at > self._sampled_at)
        new = np.flatnonzero(is_new)
        if new.size:
            self._smoothe(new, power_kw[new], power_at[new], rules)
            self._sampled_at[new] = power_at[new]
            # Who holds no lease any more is at its fallback, and nobody told it otherwise.
            is_held = _SETTLED[self.state[new]] & (power_at[new] < self.accepted_until[new])
            is_fresh = is_held & (power_at[new] >= self.limit_since[new] + rules.settle_s)
            self._compare(new[is_fresh], power_kw[new[is_fresh]], power_at[new[is_fresh]], now, rules)
        is_over_long = (self._over_count >= rules.samples) | (
            now - self._over_since.values >= rules.not_following_after_s
        )
        not_following = np.flatnonzero(is_over_long & _WATCHED[self.state])
        self._move(not_following, DispatchState.NOT_FOLLOWING, now)
        draws_too_much = np.flatnonzero((self.state == DispatchState.NOT_FOLLOWING) & ~np.isnan(power_kw))
        self._overdrawn_kw.put(draws_too_much, power_kw[draws_too_much])
        was_tapering, self._is_tapering = self._is_tapering, now - self._under_since >= rules.taper_after_s
        return bool(not_following.size) or bool((self._is_tapering & ~was_tapering).any())

    def _smoothe(self, new: IndexArray, power_kw: FloatArray, power_at: FloatArray, rules: FollowRules) -> None:
        """Let new measurements move the smoothed ones, the more the longer the last one is ago."""
        since = self._sampled_at[new]
        elapsed = np.where(np.isfinite(since), power_at - since, np.inf)
        share = 1.0 - np.exp(-elapsed / rules.damping_s)
        known = np.where(np.isnan(self._smooth_kw[new]), power_kw, self._smooth_kw[new])
        self._smooth_kw[new] = known + share * (power_kw - known)

    def _compare(
        self, index: IndexArray, power_kw: FloatArray, power_at: FloatArray, now: float, rules: FollowRules
    ) -> None:
        """Compare fresh measurements of some chargers with their limits."""
        limit = self.limit_kw[index]
        tolerance = rules.tolerance(limit)
        over = power_kw > limit + tolerance
        counted = np.minimum(self._over_count[index] + 1, _MOST_COUNTED)
        self._over_count[index] = np.where(over, counted, 0).astype(np.int8)
        self._over_since.put(index, np.where(over, np.minimum(self._over_since.values[index], power_at), np.inf))
        takes_less = power_kw < limit - tolerance
        self._under_since[index] = np.where(takes_less, np.minimum(self._under_since[index], power_at), np.inf)
        under = index[~over]
        self._overdrawn_kw.clear(under)
        followed = under[_UNPROVEN[self.state[under]]]
        self._shown_kw.clear(followed)
        self._move(followed, DispatchState.FOLLOWED, now)

    def is_any_loose(self, index: IndexArray, now: float, rules: FollowRules) -> bool:
        """Tell whether any of some chargers refused, did not answer, draws too much or is doubted."""
        at = side_by_side(index)
        is_open = self.sequence[at] > self.acked_sequence[at]
        is_doubted = is_open & (now - self._unanswered_since[at] >= rules.doubt_after_s)
        return bool((_TROUBLED[self.state[at]] | is_doubted | ~np.isnan(self.shown_kw[at])).any())

    def is_doubted(self, now: float, rules: FollowRules) -> BoolArray:
        """Return who is not believed, shape (C,): long without an acknowledgement, or it showed more than it was sent."""
        is_late = (self.sequence > self.acked_sequence) & (now - self._unanswered_since >= rules.doubt_after_s)
        return np.asarray(is_late | self.is_beyond)

    def next_doubt(self, now: float, rules: FollowRules) -> float | None:
        """Return when the next unacknowledged command will be doubted; None when none will."""
        due = self._unanswered_since[(self.sequence > self.acked_sequence)] + rules.doubt_after_s
        due = due[(due > now) & np.isfinite(due)]
        return float(due.min()) if due.size else None

    def in_force_kw(self, lapsed_kw: FloatArray, now: float) -> FloatArray:
        """Return the set points that our commands stand for: the newest limit while its lease runs, else the fallback."""
        return np.where(self.lease_until > now, self.limit_kw, lapsed_kw)

    def counted_kw(self, lapsed_kw: FloatArray, power_kw: FloatArray, now: float, rules: FollowRules) -> FloatArray:
        """Return the most that each charger may be drawing as far as can be known, shape (C,).

        What is acknowledged counts as it is; what is under way counts at the largest of what was accepted before and all that was
        sent since; what was refused counts at the last accepted limit while that lease runs; then the fallback. What a charger
        shows beyond that counts until it follows, a measurement above all that as measured.
        """
        accepted = np.where(self.accepted_until > now, self.accepted_kw, lapsed_kw)
        newest = np.where(self.lease_until > now, self.limit_kw, lapsed_kw)
        is_settled = (self.acked_sequence == self.sequence) & _SETTLED[self.state]
        opened = np.where(self._open_until > now, np.maximum(self._open_kw, newest), newest)
        under_way = np.where(self.state == DispatchState.REJECTED, accepted, np.maximum(accepted, opened))
        counted = np.fmax(np.where(is_settled, newest, under_way), self.beyond_kw(power_kw))
        over = power_kw > counted + rules.tolerance(counted)
        return np.where(over, power_kw, counted)

    def beyond_kw(self, power_kw: FloatArray) -> FloatArray:
        """Return what counts although less was sent, shape (C,): what is shown, and what was drawn by who is silent now; else NaN."""
        return np.fmax(self.shown_kw, np.where(np.isnan(power_kw), self._overdrawn_kw.values, np.nan))

    @property
    def is_beyond(self) -> BoolArray:
        """Chargers that showed or drew more than they were sent and were not measured to follow since, shape (C,)."""
        return ~np.isnan(self.shown_kw) | ~np.isnan(self._overdrawn_kw.values)

    def tracked_kw(self, power_kw: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return measured and commanded powers of the chargers that follow, zero for the others, shape (C,) each.

        Who does not follow is counted as it draws and says nothing about how exactly the others follow.
        """
        counts = (self.state == DispatchState.FOLLOWED) & (self.limit_kw > 0.0) & ~np.isnan(power_kw)
        return np.where(counts, power_kw, 0.0), np.where(counts, self.limit_kw, 0.0)

    def unused_kw(self, power_kw: FloatArray, now: float, rules: FollowRules) -> FloatArray:
        """Return what cars have left of their limits for long enough to give it to others, shape (C,)."""
        is_long = now - self._under_since >= rules.taper_after_s
        return np.where(is_long & ~np.isnan(power_kw), np.maximum(self.limit_kw - np.nan_to_num(power_kw), 0.0), 0.0)

    def lastingly_unused_kw(self, power_kw: FloatArray, now: float, rules: FollowRules) -> FloatArray:
        """Return the part of `unused_kw` that smoothed measurements leave, too, shape (C,): noise gives nothing away."""
        smooth = np.nan_to_num(self._smooth_kw)
        return self.unused_kw(np.maximum(power_kw, smooth), now, rules)

    @property
    def is_troubled(self) -> BoolArray:
        """Chargers that refused, did not answer or draw too much."""
        return np.asarray(_TROUBLED[self.state])

    @property
    def was_applied(self) -> BoolArray:
        """Chargers whose platform reported the newest limit as applied."""
        return self._was_applied

    def take_changed(self) -> IndexArray:
        """Return the chargers of whose change since the last call nothing is known yet: that they were sent a command is."""
        index = np.flatnonzero(self.changed)
        self.changed[index] = False
        has_forgotten = (self.acked_sequence[index] > 0) & (self.accepted_until[index] == -np.inf)
        return np.asarray(index[(self.state[index] != DispatchState.SENT) | has_forgotten])

    def _code_of(self, batch: str) -> int:
        """Return the number of a new command's id; ids that no charger has any more are forgotten from time to time."""
        if len(self._batch_names) > self._most_names:
            kept, codes = np.unique(np.r_[0, self.batch_code], return_inverse=True)
            self._batch_names = [self._batch_names[code] for code in kept.tolist()]
            self.batch_code[:] = codes[1:]
            self._most_names = max(_MOST_NAMES, 2 * len(kept))
        self._batch_names.append(batch)
        return len(self._batch_names) - 1

    def _move(self, index: IndexArray, state: DispatchState, now: float) -> None:
        index = index[self.state[index] != state]
        at = side_by_side(index)
        self.state[at] = state
        self.state_since[at] = now
        self.changed[at] = True
        for i in index.tolist() if self.reasons else ():
            self.reasons.pop(i, None)
