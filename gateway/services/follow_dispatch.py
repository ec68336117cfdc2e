"""From acknowledgements and measurements to states: what was accepted, applied and followed, and who does not follow.

"Accepted" is not "applied", and "applied" is not "followed": the meter decides. States live in a `CommandBook` per tenant; what
changes is written as `DispatchOutcome` rows, a few times a second and never one by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.clock_steps import ClockSteps
from gateway.domain.command_replay import Places, replay, within_a_lease
from gateway.domain.commands import CommandBook, Sent
from gateway.domain.dispatch import (
    CommandRoster,
    DispatchBatch,
    DispatchOutcome,
    DispatchState,
    pack_places,
    pack_states,
)
from gateway.domain.evidence import AuditEntry
from gateway.domain.fleet import FleetView
from gateway.domain.follow_rules import FollowRules
from gateway.domain.identity import Permission, Principal
from gateway.domain.rosters import Rosters
from gateway.observe import NOT_FOLLOWING, OUTCOMES_WAITING
from gateway.pending import PendingBatches
from gateway.ports import AtLeast, Batch, Clock, Ids, Put, Store

IndexArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

_MOST_ROWS = 100_000
_MOST_PENDING = 100
"""While the store is away so many batches wait as they came about; then what changes stays marked in the books, the newest counts."""
_NAMED_IN_AUDIT = 20
_LOOK_AGAIN_S = 0.1
"""Looks of one step of the control loop share one comparison."""
_LOOK_EVERY_S = 0.5
"""Thousands of readings a second need not be compared with every limit each time they come; a second is soon enough."""
_ALARMS = {
    DispatchState.REJECTED: "dispatch.rejected",
    DispatchState.TIMED_OUT: "dispatch.timed_out",
    DispatchState.NOT_FOLLOWING: "dispatch.not_following",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ChargerStatus:
    """Where the command in force at one charger is."""

    charger_id: str
    dispatch_id: str
    """`{dispatch}/{charger}`; empty before the first command."""
    state: DispatchState
    limit_kw: float
    measured_kw: float | None
    """None when unknown."""
    since: datetime
    """Since when it is in this state."""
    likely_cause: str
    """For people; empty when all is well."""


ChargerTrouble = ChargerStatus
"""A status with a likely cause."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Picture:
    """Fleet and commands of a tenant at one instant."""

    view: FleetView
    book: CommandBook
    now: float
    is_silent: BoolArray
    """Chargers with a car and a command that should have been measured by now."""
    is_trouble: BoolArray
    """Chargers that refused, did not answer, draw too much or are silent."""

    def platform_of(self, members: IndexArray) -> int:
        """Return the position in `csms_ids` of the platform that commands some chargers, all of one."""
        return int(self.view.csms_index[members[0]])

    def status(self, i: int) -> ChargerStatus:
        """Return where the command of one charger is."""
        book = self.book
        power, since, charger_id = float(self.view.power_kw[i]), float(book.state_since[i]), book.charger_ids[i]
        return ChargerStatus(
            charger_id=charger_id,
            dispatch_id=f"{book.batch_of(i)}/{charger_id}" if book.batch_of(i) else "",
            state=DispatchState(int(book.state[i])),
            limit_kw=float(book.limit_kw[i]),
            measured_kw=None if np.isnan(power) else power,
            since=_instant(since if np.isfinite(since) else self.now),
            likely_cause=self.likely_cause(i),
        )

    def likely_cause(self, i: int) -> str:
        """Return why all is not well at one charger; empty when it is."""
        book = self.book
        csms = self.view.csms_ids[self.view.csms_index[i]]
        match DispatchState(int(book.state[i])):
            case DispatchState.REJECTED:
                return f"refused by {csms}: {book.reasons.get(i) or 'no reason given'}"
            case DispatchState.TIMED_OUT:
                return f"no acknowledgement from {csms}"
            case DispatchState.NOT_FOLLOWING if book.was_applied[i]:
                return "reported as applied but draws more than its limit"
            case DispatchState.NOT_FOLLOWING:
                return f"accepted by {csms} but not applied"
            case _ if self.is_silent[i]:
                last = float(self.view.power_at[i])
                return "never measured" if np.isnan(last) else f"no telemetry for {self.now - last:.0f} s"
            case _:
                return ""


class Follower:
    """Keeps the books of commands of every tenant."""

    def __init__(  # noqa: PLR0913  # each is a seam of its own
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        fleet: Callable[[str], FleetView],
        charger_ids: Callable[[str], Sequence[str]] | None = None,
        power: Callable[[str], tuple[FloatArray, FloatArray]] | None = None,
        rules: FollowRules | None = None,
        flush_every: timedelta = timedelta(seconds=1),
    ) -> None:
        """Remember the ports.

        Args:
            store: Where outcomes are kept.
            clock: Market time.
            ids: Ids of outcomes and audit entries.
            fleet: The fleet of a tenant as it is now.
            charger_ids: Its chargers in the order of the arrays, which is asked for often; None to look at the fleet for them.
            power: What they were last measured to draw in kW and when, likewise.
            rules: When a charger counts as not following.
            flush_every: How often changed states are written, in market time.
        """
        self._store = store
        self._clock = clock
        self._ids = ids
        self._fleet = fleet
        self._charger_ids = charger_ids
        self._power = power
        self.rules = FollowRules() if rules is None else rules
        self._flush_every = flush_every
        self._books: dict[str, CommandBook] = {}
        self._clock_steps = ClockSteps()
        self._rosters: dict[str, Rosters] = {}
        self._observed_at: dict[str, float] = {}
        self._reminded_at: dict[str, float] = {}
        self.on_news: list[Callable[[str], None]] = []
        """Told the tenant when a charger draws too much, measurably takes less than it may, or can be moved again."""
        self._pending = PendingBatches(store)

    async def load(self, tenant: str) -> None:
        """Rebuild a tenant's book from the commands whose leases may still run and from what became of them."""
        view = self._fleet(tenant)
        book = self.book(tenant)
        for k, csms in enumerate(view.csms_ids):
            newest = await self._store.find(DispatchBatch, tenant, {"csms": csms}, newest_first=True, limit=1)
            if not newest:
                continue
            # Numbers grow whatever the clock does: what was sent after it was set back is newer.
            number = newest[0].record.sequence
            later = await self._store.find(
                DispatchBatch, tenant, {"csms": csms, "sequence": AtLeast(number)}, limit=_MOST_ROWS
            )
            last = max((row.record for row in later), key=lambda batch: batch.sequence)
            # Every charger is renewed well within one lease, so that two leases hold every command in force.
            since = last.issued_at - 2 * (last.lease_until - last.issued_at)
            # What another platform was told about a charger that is this one's now says nothing.
            mine = np.flatnonzero(view.csms_index == k).tolist()
            places = {view.tree.charger_ids[i]: i for i in mine}
            rows = await self._store.find(DispatchBatch, tenant, {"csms": csms}, since=since, limit=_MOST_ROWS)
            outcomes = await self._store.find(DispatchOutcome, tenant, {"csms": csms}, since=since, limit=_MOST_ROWS)
            rosters = await self._store.find(CommandRoster, tenant, {"csms": csms}, limit=_MOST_ROWS)
            known = {row.record.id: row.record for row in rosters}
            batches = [within_a_lease(row.record, self._clock.now()) for row in rows]
            replay(book, batches, [row.record for row in outcomes], Places(of=places, rosters=known))
        book.trust_renewals()
        book.suspect(view.max_kw)
        book.take_changed()

    def book(self, tenant: str) -> CommandBook:
        """Return the tenant's commands in force, in the order of the tree as it is now, with instants of the clock as it is set now."""
        self._follow_clock()
        ask = self._charger_ids
        charger_ids = self._fleet(tenant).tree.charger_ids if ask is None else ask(tenant)
        book = self._books.get(tenant)
        if book is None or (book.charger_ids is not charger_ids and list(book.charger_ids) != list(charger_ids)):
            fresh = CommandBook(charger_ids)
            if book is not None:
                fresh.carry_over(book)
            self._books[tenant] = book = fresh
        return book

    def _follow_clock(self) -> None:
        """Move what is known of commands along when the clock was set: the next to ask may be a measurement, before any look.

        Else one doubtful measurement would count as an hour old, and nothing would be under way any more.
        """
        step_s = self._clock_steps.seconds(self._clock.now(), self._clock.monotonic())
        for book in self._books.values() if step_s != 0.0 else ():
            book.shift(step_s)

    # ---------------------------------------------------------------- what happens to commands

    def sent(self, tenant: str, sent: Sent) -> None:
        """Take note of a command that goes out now."""
        self.book(tenant).send(sent)

    def handed_over(self, tenant: str, index: IndexArray, sequence: int, lease_until: float) -> None:
        """Take note of the sequence and lease under which coalesced commands left for the platform."""
        self.book(tenant).hand_over(index, sequence, lease_until)

    def resumed(self, tenant: str, index: IndexArray, applied_sequence: int) -> None:
        """Take a reconnecting platform's word on what it has read."""
        self.book(tenant).resume(index, applied_sequence)

    def forgotten(self, tenant: str, index: IndexArray) -> None:
        """Take note that chargers hold nothing of what they were told: a car came or left, or the charger started anew."""
        self.book(tenant).forget(index)

    def moved(self, tenant: str, index: IndexArray) -> None:
        """Take note that chargers belong to another platform than before: its numbers and its word count from now on."""
        self.book(tenant).move(index)

    def acked(self, tenant: str, sent: Sent, rejected: Sequence[int], reasons: Sequence[str]) -> None:
        """Take a platform's acknowledgement of a command.

        Args:
            tenant: Whose platform.
            sent: The command as it left.
            rejected: Chargers that refused, as positions in the tree.
            reasons: One text per refusal.
        """
        book, now = self.book(tenant), self._now()
        was_loose = book.is_any_loose(sent.index, now, self.rules)
        index, limit_kw = sent.index, sent.limit_kw
        refused = np.array(rejected, dtype=np.int64)
        if refused.size:
            is_accepted = ~np.isin(index, refused)
            index, limit_kw = index[is_accepted], limit_kw[is_accepted]
        book.accept(index, limit_kw, sequence=sent.sequence, lease_until=sent.lease_until, now=now)
        if refused.size:
            states = np.full(len(refused), DispatchState.REJECTED, dtype=np.int8)
            book.report(refused, states, sequence=sent.sequence, now=now)
        for i, reason in zip(rejected, reasons, strict=True):
            if book.state[i] == DispatchState.REJECTED:
                book.reasons[i] = reason
        for tell in self.on_news if was_loose else ():
            tell(tenant)

    def shown(self, tenant: str, index: IndexArray, kw: FloatArray) -> None:
        """Take what chargers themselves say that they allow although they were sent less: so much counts until they follow.

        Args:
            tenant: Whose chargers.
            index: Which, as positions in the tree.
            kw: What they show, at most counted at what they can draw; NaN where they show nothing.
        """
        self.book(tenant).show(index, np.minimum(kw, self._fleet(tenant).max_kw[index]))

    def told(self, tenant: str, index: IndexArray, states: npt.NDArray[np.int8], sequence: int) -> None:
        """Take what a platform says became of a command at its chargers."""
        self.book(tenant).report(index, states, sequence=sequence, now=self._now())

    def noticed(self, tenant: str) -> None:
        """Measurements have come: compare them, but not more often than makes a difference."""
        if self._clock.monotonic() - self._observed_at.get(tenant, -np.inf) >= _LOOK_EVERY_S:
            self.measured(tenant)

    def measured(self, tenant: str) -> None:
        """Compare the newest measurements with the limits in force; tell `on_news` when others should be looked at."""
        seconds = self._clock.monotonic()
        if 0.0 <= seconds - self._observed_at.get(tenant, -np.inf) < _LOOK_AGAIN_S:
            return
        self._observed_at[tenant] = seconds
        power_kw, power_at = self._measured(tenant) if self._power is None else self._power(tenant)
        book, now = self.book(tenant), self._now()
        has_news = book.observe(power_kw, power_at, now, self.rules)
        book.time_out(now, self.rules)
        for tell in self.on_news if has_news else ():
            tell(tenant)
        NOT_FOLLOWING.set(sum(int((b.state == DispatchState.NOT_FOLLOWING).sum()) for b in self._books.values()))

    def _measured(self, tenant: str) -> tuple[FloatArray, FloatArray]:
        view = self._fleet(tenant)
        return view.power_kw, view.power_at

    # ---------------------------------------------------------------- what people ask

    def states(self, principal: Principal, *, only_not_following: bool) -> list[ChargerStatus]:
        """Return where the commands are, of the caller's chargers, by charger.

        Args:
            principal: A person, or a platform, which sees its own chargers only.
            only_not_following: Leave out chargers where all is well.
        """
        principal.require(Permission.FLEET_READ)
        picture = self._picture(principal.tenant)
        view = picture.view
        chosen = np.arange(len(view.tree.charger_ids))
        if only_not_following:
            chosen = chosen[picture.is_trouble]
        if principal.csms is not None:
            names = np.array(view.csms_ids, dtype=object)
            chosen = chosen[names[view.csms_index[chosen]] == principal.csms]
        return [picture.status(i) for i in chosen.tolist()]

    def not_following(self, tenant: str) -> list[ChargerTrouble]:
        """Return the chargers that refused, did not answer, draw too much or are silent, with the likely cause."""
        picture = self._picture(tenant)
        return [picture.status(i) for i in np.flatnonzero(picture.is_trouble).tolist()]

    def following(self, tenant: str) -> tuple[BoolArray, BoolArray]:
        """Return which chargers were measured to keep what they were told, and which are in trouble, shape (C,) each.

        Of those that are neither nobody knows: nothing was commanded yet, or nothing was measured since.
        """
        picture = self._picture(tenant)
        is_measured = (picture.book.state == DispatchState.FOLLOWED) & ~np.isnan(picture.view.power_kw)
        return is_measured & ~picture.is_trouble, picture.is_trouble

    def _picture(self, tenant: str) -> "_Picture":
        view, book, now = self._fleet(tenant), self.book(tenant), self._now()
        last_word = np.fmax(view.power_at, book.state_since)
        is_commanded = book.state != DispatchState.NONE
        is_old = now - last_word >= self.rules.silent_after_s
        is_silent = view.has_session & np.isnan(view.power_kw) & is_commanded & is_old
        is_trouble = book.is_troubled | is_silent
        return _Picture(view=view, book=book, now=now, is_silent=is_silent, is_trouble=is_trouble)

    # ---------------------------------------------------------------- what is kept

    async def run(self) -> None:
        """Write changed states for ever."""
        while True:
            await self._clock.sleep(self._flush_every)
            await self.flush()

    async def flush(self) -> bool:
        """Write the states that changed since the last time.

        Returns:
            True when everything is on disk; False when the store was unavailable: call again. Where each charger is is not lost,
            however long that takes; of a long outage only that is written, not what was in between.
        """
        while True:
            if has_room := self._pending.has_room(_MOST_PENDING):
                for tenant, book in list(self._books.items()):
                    self._collect(tenant, book)
            OUTCOMES_WAITING.set(len(self._pending))
            if not await self._pending.write():
                return False
            OUTCOMES_WAITING.set(0)
            if has_room:
                return True

    def _collect(self, tenant: str, book: CommandBook) -> None:
        """Make rows of what changed."""
        index = book.take_changed()
        if index.size:
            self._pending.add(self._outcome_batch(tenant, book, index))
        self._remind(tenant, book)

    def _remind(self, tenant: str, book: CommandBook) -> None:
        """Write once per lease who still does not obey: a restart looks no further back, and must not take it for obedience."""
        refuses = (book.state == DispatchState.REJECTED) | (book.state == DispatchState.NOT_FOLLOWING)
        disobeys = np.flatnonzero(refuses | book.is_beyond & (book.state != DispatchState.NONE))
        now = self._clock.monotonic()
        if not disobeys.size:
            self._reminded_at[tenant] = now
        elif now - self._reminded_at.get(tenant, -np.inf) >= float(book.lease_s(disobeys).min()):
            self._reminded_at[tenant] = now
            self._pending.add(replace(self._outcome_batch(tenant, book, disobeys), audit=()))

    def _outcome_batch(self, tenant: str, book: CommandBook, index: IndexArray) -> Batch:
        picture = self._picture(tenant)
        rosters = self._rosters.setdefault(tenant, Rosters(tenant))
        rosters.follow(picture.view)
        order = np.lexsort((book.sequence[index], book.batch_code[index]))
        index = index[order]
        sequence, code = book.sequence[index], book.batch_code[index]
        borders = np.flatnonzero((np.diff(sequence) != 0) | (np.diff(code) != 0)) + 1
        # Who drew too much and is silent is taken to show what it drew; it may hold a newer command since.
        beyond_kw = book.beyond_kw(picture.view.power_kw)
        outcomes = [self._outcome(picture, beyond_kw, rosters, members) for members in np.split(index, borders)]
        used = rosters.unsaved([rosters.of(picture.view, picture.platform_of(m)) for m in np.split(index, borders)])
        rosters.saved(used)  # what is pending is written before anything later, or the process ends
        audit = tuple(entry for outcome in outcomes for entry in self._alarms(outcome))
        puts = (*(Put(record=roster) for roster in used), *(Put(record=outcome) for outcome in outcomes))
        return Batch(tenant=tenant, puts=puts, audit=audit)

    def _outcome(
        self, picture: _Picture, beyond_kw: FloatArray, rosters: Rosters, members: IndexArray
    ) -> DispatchOutcome:
        """Return the row about chargers with commands of one batch: those in trouble by name, the others packed."""
        book, platform, first = picture.book, picture.platform_of(members), int(members[0])
        is_named = picture.is_trouble[members] | ~np.isnan(beyond_kw[members])
        named, fine = members[is_named].tolist(), members[~is_named]
        roster = rosters.of(picture.view, platform)
        is_of_all = len(fine) == len(roster.charger_ids)
        return DispatchOutcome(
            id=self._ids.new("outcome"),
            tenant=roster.tenant,
            batch=book.batch_of(first),
            csms=picture.view.csms_ids[platform],
            sequence=int(book.sequence[first]),
            at=self._clock.now(),
            charger_ids=tuple(book.charger_ids[i] for i in named),
            states=tuple(int(book.state[i]) for i in named),
            detail=tuple(picture.likely_cause(i) for i in named),
            shown_kw=tuple(None if np.isnan(beyond_kw[i]) else float(beyond_kw[i]) for i in named),
            roster=roster.id if fine.size else "",
            packed_places=b"" if is_of_all else pack_places(rosters.places[fine]),
            packed_states=pack_states(book.state[fine]),
        )

    def _alarms(self, outcome: DispatchOutcome) -> list[AuditEntry]:
        entries = []
        for state, action in _ALARMS.items():
            named = [c for c, s in zip(outcome.charger_ids, outcome.states, strict=True) if s == state]
            if named:
                entries.append(
                    AuditEntry(
                        id=self._ids.new("audit"),
                        tenant=outcome.tenant,
                        at=outcome.at,
                        actor="system:follow-dispatch",
                        action=action,
                        object_kind="dispatch",
                        object_id=outcome.batch,
                        causes=(f"dispatch:{outcome.batch}",),
                        detail={"count": str(len(named)), "chargers": " ".join(named[:_NAMED_IN_AUDIT])},
                    )
                )
        return entries

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
