"""The way to one charging platform: a latest-wins mailbox and the acknowledgements that come back.

A platform that reads slowly gets fewer, newer messages; memory does not grow with the time it is away from its stream.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.commands import Sent
from gateway.domain.errors import InvalidInput, ResumeTokenExpired, Superseded
from gateway.services.plan_dispatch.settings import CommandDesk

IndexArray = npt.NDArray[np.int64]
PositionArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_MOST_UNANSWERED = 256
_MOST_JUMP = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LinkBatch:
    """One message to the platform, columnar, in the positions of its own charger list."""

    dispatch_id: str
    sequence: int
    resume_token: str
    charger_index: PositionArray
    limit_kw: FloatArray
    fallback_kw: FloatArray
    lease_until: datetime
    cause: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkOrigin:
    """Whose link it is and where it starts."""

    tenant: str
    csms: str
    charger_ids: tuple[str, ...]
    lease: timedelta
    resumed_sequence: int


class DispatchLink:
    """One platform's open stream."""

    def __init__(
        self,
        *,
        origin: LinkOrigin,
        desk: CommandDesk,
        on_close: Callable[["DispatchLink"], None],
        on_reach: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        """Open the mailbox; `bind` says where the chargers are in the tree.

        Args:
            origin: Whose link it is.
            desk: Who keeps what becomes of commands.
            on_close: Told when the stream ends.
            on_reach: Told the tenant when other chargers can be commanded than before.
            now: Market time.
        """
        self.tenant = origin.tenant
        self.csms = origin.csms
        self.charger_ids = origin.charger_ids
        self.lease = origin.lease
        self.resumed_sequence = origin.resumed_sequence
        self._desk = desk
        self._on_close = on_close
        self._on_reach = on_reach
        self._now = now
        self.opened_at = self.heard_at = now()
        """When the stream began, and when the platform last said anything over it."""
        count = len(origin.charger_ids)
        self.places: IndexArray = np.full(count, -1, dtype=np.int64)
        self._order: IndexArray = np.zeros(0, dtype=np.int64)
        self._sorted: IndexArray = np.zeros(0, dtype=np.int64)
        self.is_reachable: BoolArray = np.ones(count, dtype=bool)
        """Chargers that the platform can command now; the others count as without a platform."""
        self.reached: IndexArray = np.zeros(0, dtype=np.int64)
        """Where those are in the tree."""
        self.away_since = np.full(count, np.nan)
        """Since when the others cannot be commanded, in seconds since 1970-01-01 UTC; NaN for those that can."""
        self._pending = np.zeros(count, dtype=bool)
        self._limit_kw = np.zeros(count)
        self._fallback_kw = np.zeros(count)
        self._lease_until = np.full(count, np.inf)
        self._newest: tuple[str, int, str] = ("", origin.resumed_sequence, "")
        self._unanswered: OrderedDict[int, Sent] = OrderedDict()
        self._arrived = asyncio.Event()
        self._is_superseded = False

    def bind(self, places: IndexArray) -> None:
        """Say where the platform's chargers are in the tree, -1 for those that are not there; again whenever the tree changed."""
        self.places = places
        self._order = np.argsort(self.places, kind="stable")
        self._sorted = self.places[self._order]
        self._pending &= self.places >= 0
        self._unanswered.clear()
        self._follow_reach()

    def _follow_reach(self) -> None:
        self.reached = self.places[(self.places >= 0) & self.is_reachable]

    def shift(self, seconds: float) -> None:
        """Move the leases of what waits in the mailbox, or for an answer, with a clock that was set by so many seconds."""
        self._lease_until += seconds
        self.away_since += seconds
        for sequence, sent in self._unanswered.items():
            self._unanswered[sequence] = replace(sent, lease_until=sent.lease_until + seconds)

    def hear(self) -> None:
        """Take note that the platform said something, whatever it was."""
        self.heard_at = self._now()

    def commands(self, index: IndexArray) -> BoolArray:
        """Return which of some chargers, as positions in the tree, this stream names and can command now."""
        if not self._sorted.size:
            return np.zeros(len(index), dtype=bool)
        at = np.minimum(np.searchsorted(self._sorted, index), len(self._sorted) - 1)
        return np.asarray((self._sorted[at] == index) & self.is_reachable[self._order[at]])

    def put(self, sent: Sent, cause: str) -> None:
        """Lay a command into the mailbox, for chargers of `commands` only; what it holds for them is replaced."""
        is_all = len(sent.index) == len(self._sorted) and bool((sent.index == self._sorted).all())
        at = self._order if is_all else self._order[np.searchsorted(self._sorted, sent.index)]
        self._pending[at] = True
        self._limit_kw[at] = sent.limit_kw
        self._fallback_kw[at] = sent.fallback_kw
        self._lease_until[at] = sent.lease_until
        self._newest = (sent.batch, sent.sequence, cause)
        self._arrived.set()

    @property
    def has_pending(self) -> bool:
        """Whether there are commands that were not taken yet."""
        return bool(self._pending.any())

    async def next(self) -> LinkBatch:
        """Return the newest commands that were not taken yet; waits for some.

        Raises:
            Superseded: A newer stream of the platform took over.
        """
        while True:
            if self._is_superseded:
                raise Superseded(f"a newer stream of {self.csms} took over")
            if self._pending.any():
                return self._take()
            self._arrived.clear()
            await self._arrived.wait()

    def _take(self) -> LinkBatch:
        at = np.flatnonzero(self._pending)
        in_tree = self._order[self._pending[self._order]]
        self._pending[at] = False
        batch, sequence, cause = self._newest
        sent = Sent(
            batch=batch,
            sequence=sequence,
            at=0.0,
            # One lease for all: the shortest, so that nobody is promised more than was written.
            lease_until=float(self._lease_until[at].min()),
            # In the order of the tree: where chargers lie side by side all that follows is faster.
            index=self.places[in_tree],
            limit_kw=self._limit_kw[in_tree],
            fallback_kw=self._fallback_kw[in_tree],
        )
        self._unanswered[sequence] = sent
        if len(self._unanswered) > _MOST_UNANSWERED:
            self._unanswered.popitem(last=False)
        self._desk.handed_over(self.tenant, sent.index, sequence, sent.lease_until)
        return LinkBatch(
            dispatch_id=batch,
            sequence=sequence,
            resume_token=resume_token(self.csms, sequence),
            charger_index=at.astype(np.int32),
            limit_kw=self._limit_kw[at],
            fallback_kw=self._fallback_kw[at],
            lease_until=datetime.fromtimestamp(sent.lease_until, UTC),
            cause=cause,
        )

    def ack(self, sequence: int, rejected_index: PositionArray, reasons: Sequence[str]) -> None:
        """Take the platform's acknowledgement of a message; unknown or repeated ones change nothing.

        Raises:
            InvalidInput: A position is outside the list, a reason is missing, or the sequence was never sent.
        """
        self._check_positions("ack.rejected_index", rejected_index)
        if len(reasons) != len(rejected_index):
            raise InvalidInput("ack.reject_reasons", "needs one reason per rejected_index")
        if sequence > self._newest[1]:
            raise InvalidInput("ack.sequence", "was never sent")
        sent = self._unanswered.pop(sequence, None)
        if sent is not None and not self._is_superseded:
            self._acked(sent, rejected_index, reasons)

    def settle(self, sequence: int, accepted: PositionArray, rejected: PositionArray, reasons: Sequence[str]) -> None:
        """Take the platform's word on some commands of a message; the others stay open until they are settled or time out.

        Args:
            sequence: Of the message.
            accepted: Positions that hold it.
            rejected: Positions at which it did not take effect.
            reasons: One text per rejected position.

        Raises:
            InvalidInput: A position is outside the list or a reason is missing.
        """
        self._check_positions("settle.accepted", accepted)
        self._check_positions("settle.rejected", rejected)
        if len(reasons) != len(rejected):
            raise InvalidInput("settle.reasons", "needs one reason per rejected position")
        sent = self._unanswered.get(sequence)
        if sent is None or self._is_superseded:
            return
        places = self.places[np.concatenate((accepted, rejected))]
        is_named = np.isin(sent.index, places[places >= 0])
        part = replace(
            sent,
            index=sent.index[is_named],
            limit_kw=sent.limit_kw[is_named],
            fallback_kw=sent.fallback_kw[is_named],
        )
        self._acked(part, rejected, reasons)

    def _acked(self, sent: Sent, rejected: PositionArray, reasons: Sequence[str]) -> None:
        refused = [(i, why) for i, why in zip(self.places[rejected].tolist(), reasons, strict=True) if i >= 0]
        self._desk.acked(self.tenant, sent, [i for i, _ in refused], [why for _, why in refused])
        if refused:
            self._on_reach(self.tenant)  # others make room at once

    def show(self, index: PositionArray, shown_kw: FloatArray) -> None:
        """Take what chargers themselves say that they allow although they were sent less; tell before they are said to refuse.

        Args:
            index: Positions.
            shown_kw: What each shows, in kW; NaN where it shows nothing.

        Raises:
            InvalidInput: A position is outside the list, a value is missing or below 0.
        """
        self._check_positions("show.charger_index", index)
        if len(shown_kw) != len(index):
            raise InvalidInput("ack.shown_power_kw", "needs one value per rejected_index")
        if (shown_kw < 0.0).any():
            raise InvalidInput("ack.shown_power_kw", "must be at least 0")
        places = self.places[index]
        if not self._is_superseded:
            self._desk.shown(self.tenant, places[places >= 0], shown_kw[places >= 0])

    def reach(self, index: PositionArray, *, is_reachable: bool) -> None:
        """Say which chargers can be commanded from now on; what they were told before they hold no more.

        Raises:
            InvalidInput: A position is outside the list.
        """
        self._check_positions("reach.charger_index", index)
        gone = index[self.is_reachable[index]]
        self.away_since[index if is_reachable else gone] = np.nan if is_reachable else self._now().timestamp()
        self.is_reachable[index] = is_reachable
        self._follow_reach()
        self._pending[index] &= is_reachable
        places = self.places[index]
        if not self._is_superseded:
            self._desk.forgotten(self.tenant, places[places >= 0])
            self._on_reach(self.tenant)

    def outcome(self, sequence: int, index: PositionArray, states: npt.NDArray[np.int8]) -> None:
        """Take what became of a message's commands at the chargers; old sequences change nothing.

        Raises:
            InvalidInput: A position is outside the list or a state is missing.
        """
        self._check_positions("outcome.charger_index", index)
        if len(states) != len(index):
            raise InvalidInput("outcome.states", "needs one state per charger_index")
        if not self._is_superseded:
            places = self.places[index]
            is_here = places >= 0
            self._desk.told(self.tenant, places[is_here], states[is_here], sequence)

    def supersede(self) -> None:
        """End the stream: a newer one took over."""
        self._is_superseded = True
        self._arrived.set()

    def close(self) -> None:
        """End the link; leases run on and lapse by themselves."""
        self._on_close(self)

    def _check_positions(self, field: str, index: PositionArray) -> None:
        if index.size and not 0 <= int(index.min()) <= int(index.max()) < len(self.charger_ids):
            raise InvalidInput(field, f"must be in [0, {len(self.charger_ids)})")


def resume_token(csms: str, sequence: int) -> str:
    """Return the token that resumes after a sequence."""
    return f"{sequence}@{csms}"


def read_resume_token(token: str, csms: str, known_sequence: int) -> int:
    """Return the sequence that a platform says it has applied; 0 without a token.

    Raises:
        ResumeTokenExpired: The token is not one of this platform's.
    """
    if not token:
        return 0
    number, _, owner = token.partition("@")
    if owner != csms or not number.isascii() or not number.isdigit() or len(number) > len(str(2**62)):
        raise ResumeTokenExpired("start again without a resume token")
    if int(number) > known_sequence + _MOST_JUMP:
        raise ResumeTokenExpired("start again without a resume token")
    return int(number)
