"""Takes limits from the dispatcher and delivers them one charger at a time: newest wins, one exchange under way per charger.

Reductions go first. A platform that asks to wait is not asked again before; a later order for the charger replaces the one that
waits. What leaves is written down before, so that after a restart it is known what has an unknown outcome.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from gateway.csms.orders import Order, Verdict, Word, rejected, unknown
from gateway.domain.dispatch import DispatchState
from gateway.domain.doors import CommandOutcome, CsmsCommand
from gateway.domain.errors import InvalidInput, PeerUnavailable, StorageUnavailable
from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Principal
from gateway.observe import logger
from gateway.ports import Batch, Clock, DoorStanding, Ids, Put, Store
from gateway.services.plan_dispatch import DispatchLink, LinkBatch

_log = logger("csms")
_NOBODY = np.zeros(0, dtype=np.int32)
_NAMED_IN_AUDIT = 20
_MOST_DOUBLINGS = 8
_MOST_ROWS = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class DoorPorts:
    """What every door works with."""

    store: Store
    clock: Clock
    ids: Ids
    principal: Principal
    """The platform, with its name in `csms`."""

    @property
    def csms(self) -> str:
        """Name of the platform."""
        return self.principal.csms or ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How a platform is treated that asks to wait; durations in market time."""

    first_wait: timedelta = timedelta(seconds=30)
    """After the first time that it says a charger is told too often; doubled each time."""
    longest_wait: timedelta = timedelta(minutes=10)


class Carrier(Protocol):
    """What one door adds: how one order reaches one charger."""

    async def carry(self, order: Order, handle: str) -> Verdict:
        """Carry an order to its charger and return what became of it.

        Args:
            order: The newest order.
            handle: As the last verdict about the charger said; empty at first.

        Raises:
            PeerUnavailable: Nobody said whether it took effect.
            InvalidInput: It was not sent.
        """
        ...


@dataclass(slots=True)
class _Place:
    """What is known about one charger."""

    waiting: Order | None = None
    busy: bool = False
    handle: str = ""
    held: Order | None = None
    """Accepted last."""
    refusals: int = 0
    not_before: datetime | None = None


@dataclass(slots=True)
class Tally:
    """What became of orders since the start; for people."""

    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    later: int = 0
    last_error: str = ""
    open: set[str] = field(default_factory=set)
    """Chargers whose last order was refused or is unknown."""

    def counted(self, door: DoorStanding) -> DoorStanding:
        """Return how a door stands with what became of its orders."""
        return replace(
            door,
            accepted=self.accepted,
            rejected=self.rejected,
            unknown=self.unknown,
            delayed=self.later,
            last_error=self.last_error or door.last_error,
            troubled=tuple(sorted(self.open)),
        )


class Delivery:
    """Delivers the orders of one link.

    Args:
        ports: The world.
        charger_ids: Chargers of the link in its order.
        carrier: How one order reaches one charger.
        patience: How a platform is treated that asks to wait.
    """

    def __init__(
        self, ports: DoorPorts, charger_ids: Sequence[str], carrier: Carrier, patience: Patience | None = None
    ) -> None:
        self._ports = ports
        self._charger_ids = tuple(charger_ids)
        self._carrier = carrier
        self._patience = Patience() if patience is None else patience
        self._places = [_Place() for _ in charger_ids]
        self._link: DispatchLink | None = None
        self.tally = Tally()

    async def load(self) -> None:
        """Go on from rows: commands that were under way have an unknown outcome, and the audit says so."""
        csms, tenant = self._ports.csms, self._ports.principal.tenant
        rows = [r.record for r in await self._ports.store.find(CsmsCommand, tenant, {"csms": csms}, limit=_MOST_ROWS)]
        index = {charger: i for i, charger in enumerate(self._charger_ids)}
        for row in rows:
            if row.charger in index:
                self._places[index[row.charger]].handle = row.handle
        lost = [row for row in rows if row.outcome is CommandOutcome.PENDING]
        if lost:
            await self._write_unknown(lost)

    async def _write_unknown(self, lost: Sequence[CsmsCommand]) -> None:
        ports = self._ports
        why = "the gateway stopped before the answer came"
        entry = AuditEntry(
            id=ports.ids.new("audit"),
            tenant=ports.principal.tenant,
            at=ports.clock.now(),
            actor=f"system:csms:{ports.csms}",
            action="csms.unknown",
            object_kind="csms",
            object_id=ports.csms,
            detail={"count": str(len(lost)), "chargers": " ".join(row.charger for row in lost[:_NAMED_IN_AUDIT])},
        )
        puts = tuple(Put(record=replace(row, outcome=CommandOutcome.UNKNOWN, detail=why)) for row in lost)
        await ports.store.apply(Batch(tenant=ports.principal.tenant, puts=puts, audit=(entry,)))

    def forget(self, position: int, *, not_before: datetime | None = None) -> None:
        """Let a charger hold nothing: a car came or left, or it started anew. What is under way for it counts no more.

        Args:
            position: Of the charger.
            not_before: It is not told anything before this instant; None for at once.
        """
        self._places[position] = _Place(busy=self._places[position].busy, not_before=not_before)
        self.tally.open.discard(self._charger_ids[position])

    def forget_all(self) -> None:
        """Forget what chargers hold, but not how to replace it: the link is a new one."""
        for place in self._places:
            place.held = place.waiting = None

    async def run(self, link: DispatchLink) -> None:
        """Deliver what the link brings until cancelled.

        Raises:
            Superseded: A newer stream of the platform took over.
        """
        self._link = link
        self.forget_all()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._lay_out(await link.next(), tasks)

    def _lay_out(self, batch: LinkBatch, tasks: asyncio.TaskGroup) -> None:
        orders = [
            Order(
                position=position,
                charger=self._charger_ids[position],
                sequence=batch.sequence,
                limit_kw=limit_kw,
                fallback_kw=fallback_kw,
                lease_until=batch.lease_until,
                cause=batch.cause,
            )
            for position, limit_kw, fallback_kw in zip(
                batch.charger_index.tolist(), batch.limit_kw.tolist(), batch.fallback_kw.tolist(), strict=True
            )
        ]
        for order in sorted(orders, key=self._rise_kw):
            place = self._places[order.position]
            place.waiting = order
            if not place.busy:
                place.busy = True
                tasks.create_task(self._serve(order.position))

    def _rise_kw(self, order: Order) -> float:
        held = self._places[order.position].held
        return 0.0 if held is None else order.limit_kw - held.limit_kw

    async def _serve(self, position: int) -> None:
        """Deliver to one charger until nothing waits for it."""
        try:
            while self._places[position].waiting is not None:
                await self._wait_for_leave(position)
                await self._deliver_next(position)
        finally:
            self._places[position].busy = False

    async def _wait_for_leave(self, position: int) -> None:
        not_before = self._places[position].not_before
        if not_before is not None:
            await self._ports.clock.sleep_until(not_before)

    async def _deliver_next(self, position: int) -> None:
        place = self._places[position]
        order, place.waiting = place.waiting, None
        if order is None or order.lease_until <= self._ports.clock.now():
            return
        verdict = await self._delivered(order, place.handle)
        if place is self._places[position]:
            self._settle(place, order, verdict)

    async def _delivered(self, order: Order, handle: str) -> Verdict:
        is_rise = self._rise_kw(order) > 0.0
        if not await self._note(order, CommandOutcome.PENDING, handle) and is_rise:
            return rejected("nothing can be written down: no increase", handle=handle)
        try:
            verdict = await self._carrier.carry(order, handle)
        except PeerUnavailable as error:
            verdict = unknown(str(error), handle=handle)
        except InvalidInput as error:
            verdict = rejected(str(error), handle=handle)
        await self._note(order, verdict.outcome, verdict.handle, verdict.reason)
        return verdict

    async def _note(self, order: Order, outcome: CommandOutcome, handle: str, detail: str = "") -> bool:
        row = CsmsCommand(
            id=f"{self._ports.csms}/{order.charger}",
            tenant=self._ports.principal.tenant,
            csms=self._ports.csms,
            charger=order.charger,
            sequence=order.sequence,
            limit_kw=order.limit_kw,
            fallback_kw=order.fallback_kw,
            sent_at=self._ports.clock.now(),
            lease_until=order.lease_until,
            outcome=outcome,
            detail=detail,
            handle=handle,
        )
        try:
            await self._ports.store.apply(Batch(tenant=row.tenant, puts=(Put(record=row),)))
        except StorageUnavailable as error:
            _log.warning("command not written", csms=self._ports.csms, reason=str(error))
            return False
        return True

    def _settle(self, place: _Place, order: Order, verdict: Verdict) -> None:
        link, place.handle = self._link, verdict.handle
        self._count(order, verdict)
        here = np.array([order.position], dtype=np.int32)
        if verdict.word is Word.LATER:
            self._hold_back(place, order)
        else:
            place.refusals, place.not_before = 0, None
        if link is None:
            return
        match verdict.word:
            case Word.ACCEPTED:
                place.held = order
                link.settle(order.sequence, here, _NOBODY, ())
                if verdict.is_applied:
                    _say(link, order, DispatchState.APPLIED)
            case Word.REJECTED | Word.LATER:
                if verdict.shown_kw is not None:
                    link.show(here, np.array([verdict.shown_kw]))
                link.settle(order.sequence, _NOBODY, here, (verdict.reason,))
            case Word.UNKNOWN:
                # Not as rejected: an increase may have taken effect, so that the higher of old and new counts.
                place.held = None
                _say(link, order, DispatchState.TIMED_OUT)

    def _hold_back(self, place: _Place, order: Order) -> None:
        wait = self._patience.first_wait * (1 << min(place.refusals, _MOST_DOUBLINGS))
        place.not_before = self._ports.clock.now() + min(wait, self._patience.longest_wait)
        place.refusals += 1
        if place.waiting is None:
            place.waiting = order

    def _count(self, order: Order, verdict: Verdict) -> None:
        name = verdict.word.value
        setattr(self.tally, name, getattr(self.tally, name) + 1)
        if verdict.word is Word.ACCEPTED:
            self.tally.open.discard(order.charger)
        else:
            self.tally.open.add(order.charger)
            self.tally.last_error = verdict.reason

    def held(self, position: int) -> Order | None:
        """Return what a charger holds as far as it was accepted."""
        return self._places[position].held


def _say(link: DispatchLink, order: Order, state: DispatchState) -> None:
    here = np.array([order.position], dtype=np.int32)
    link.outcome(order.sequence, here, np.array([state], dtype=np.int8))
