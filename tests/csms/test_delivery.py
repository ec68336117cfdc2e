"""Orders to single chargers in memory: reductions first, newest wins, nothing after its lease, waits that grow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import numpy as np
import pytest

from gateway.csms.callbacks import Callbacks
from gateway.csms.delivery import Delivery, DoorPorts, Patience
from gateway.csms.orders import Order, Verdict, Word, accepted, rejected
from gateway.domain.dispatch import DispatchState
from gateway.domain.doors import CommandOutcome, CsmsCommand
from gateway.domain.errors import PeerUnavailable
from gateway.services.plan_dispatch import DispatchLink, LinkBatch
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore
from tests.services.scene import PLATFORM, TENANT

CHARGERS = ("a", "b", "c")
LEASE = timedelta(minutes=15)


@dataclass
class FakeLink:
    """Gives out batches, and remembers what was said about them."""

    batches: asyncio.Queue[LinkBatch] = field(default_factory=asyncio.Queue)
    said: list[tuple[int, int, str]] = field(default_factory=list)
    """Sequence, position, word."""

    def show(self, index: Any, shown_kw: Any) -> None:
        self.said += [(0, int(i), f"shows {kw:g} kW") for i, kw in zip(index, shown_kw, strict=True)]

    async def next(self) -> LinkBatch:
        return await self.batches.get()

    def settle(self, sequence: int, good: Any, bad: Any, reasons: Any) -> None:
        self.said += [(sequence, int(i), "accepted") for i in good]
        self.said += [(sequence, int(i), why) for i, why in zip(bad, reasons, strict=True)]

    def outcome(self, sequence: int, index: Any, states: Any) -> None:
        self.said += [(sequence, int(i), DispatchState(int(s)).name) for i, s in zip(index, states, strict=True)]


@dataclass
class FakeCarrier:
    """Answers what a test tells it to, and can be held up."""

    carried: list[Order] = field(default_factory=list)
    verdicts: list[Verdict | Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry(self, order: Order, handle: str) -> Verdict:
        self.carried.append(order)
        await self.gate.wait()
        verdict = self.verdicts.pop(0) if self.verdicts else accepted(handle=f"h{order.sequence}")
        if isinstance(verdict, Exception):
            raise verdict
        return verdict


class Bench:
    """A delivery on a memory store and a clock moved by hand."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.store = MemoryStore(self.clock)
        self.link, self.carrier = FakeLink(), FakeCarrier()
        self.carrier.gate.set()
        ports = DoorPorts(store=self.store, clock=self.clock, ids=CountingIds(), principal=PLATFORM)
        patience = Patience(first_wait=timedelta(seconds=30), longest_wait=timedelta(seconds=100))
        self.delivery = Delivery(ports, CHARGERS, self.carrier, patience)

    async def send(self, sequence: int, **limits: float) -> None:
        """Let a batch arrive and everybody act."""
        index = [CHARGERS.index(name) for name in limits]
        self.link.batches.put_nowait(
            LinkBatch(
                dispatch_id=f"d-{sequence}",
                sequence=sequence,
                resume_token="",
                charger_index=np.array(index, dtype=np.int32),
                limit_kw=np.array(list(limits.values())),
                fallback_kw=np.zeros(len(limits)),
                lease_until=self.clock.now() + LEASE,
                cause="test",
            )
        )
        await self.settle()

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    def sequences(self, name: str) -> list[int]:
        return [order.sequence for order in self.carrier.carried if order.charger == name]


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.delivery.run(cast("DispatchLink", made.link)))
        yield made
        running.cancel()


async def test_o40_reductions_leave_before_increases() -> None:
    async with bench() as made:
        await made.send(1, a=7.0, b=7.0, c=7.0)
        made.carrier.carried.clear()
        await made.send(2, a=11.0, b=8.0, c=4.2)
        assert [order.charger for order in made.carrier.carried] == ["c", "b", "a"]


async def test_g3_the_newest_order_wins_while_one_is_under_way() -> None:
    async with bench() as made:
        made.carrier.gate.clear()
        await made.send(1, a=7.0)
        await made.send(2, a=6.0)
        await made.send(3, a=5.0)
        assert made.sequences("a") == [1], "one exchange at a time"
        made.carrier.gate.set()
        await made.settle()
        assert made.sequences("a") == [1, 3]
        assert made.link.said == [(1, 0, "accepted"), (3, 0, "accepted")]
        held = made.delivery.held(0)
        assert held is not None
        assert held.limit_kw == 5.0
        assert made.store.all(CsmsCommand, TENANT)[0].handle == "h3"


async def test_too_often_waits_longer_each_time_up_to_a_bound_and_starts_over_after_success() -> None:
    async with bench() as made:
        later = Verdict(word=Word.LATER, reason="TOO_OFTEN")
        made.carrier.verdicts = [later, later, later, accepted(), later]
        await made.send(1, a=7.0)
        for count, seconds in ((2, 30), (3, 60), (4, 100)):
            made.clock.move(seconds=seconds - 1)
            await made.settle()
            assert len(made.carrier.carried) == count - 1
            made.clock.move(seconds=1)
            await made.settle()
            assert len(made.carrier.carried) == count
        await made.send(2, a=6.0)
        made.clock.move(seconds=30)
        await made.settle()
        assert made.sequences("a") == [1, 1, 1, 1, 2, 2]
        assert made.delivery.tally.later == 4


async def test_nothing_is_told_after_its_lease() -> None:
    async with bench() as made:
        made.carrier.verdicts = [Verdict(word=Word.LATER, reason="TOO_OFTEN")]
        await made.send(1, a=7.0)
        made.clock.move(minutes=20)
        await made.settle()
        assert made.sequences("a") == [1]


@pytest.mark.parametrize(
    ("verdict", "words", "outcome"),
    [
        (rejected("full"), [(1, 0, "full")], CommandOutcome.REJECTED),
        (PeerUnavailable("no answer"), [(1, 0, "TIMED_OUT")], CommandOutcome.UNKNOWN),
        (accepted(is_applied=True), [(1, 0, "accepted"), (1, 0, "APPLIED")], CommandOutcome.ACCEPTED),
    ],
)
async def test_what_became_of_an_order_is_said_and_written(
    verdict: Verdict | Exception, words: list[tuple[int, int, str]], outcome: CommandOutcome
) -> None:
    async with bench() as made:
        made.carrier.verdicts = [verdict]
        await made.send(1, a=7.0)
        assert made.link.said == words
        assert made.store.all(CsmsCommand, TENANT)[0].outcome is outcome


async def test_when_nothing_can_be_written_only_reductions_leave() -> None:
    async with bench() as made:
        await made.send(1, a=7.0, b=7.0)
        made.store.is_down = True
        await made.send(2, a=6.0, b=8.0)
        assert made.sequences("a") == [1, 2]
        assert made.sequences("b") == [1]
        assert (2, 1, "nothing can be written down: no increase") in made.link.said


async def test_a_verdict_about_a_car_that_left_is_none_about_the_next() -> None:
    async with bench() as made:
        made.carrier.gate.clear()
        await made.send(1, a=7.0)
        made.delivery.forget(0)
        await made.send(2, a=6.0)
        made.carrier.gate.set()
        await made.settle()
        assert made.link.said == [(2, 0, "accepted")]


async def test_a_callback_is_waited_for_in_market_time_and_counts_once() -> None:
    clock = HandClock()
    callbacks: Callbacks[str] = Callbacks(clock)
    with callbacks.expect() as token, callbacks.expect() as other:
        assert token != other
        assert callbacks.take(token, "yes")
        assert not callbacks.take(token, "no"), "the first one counts"
        assert await callbacks.wait(token, clock.now() + timedelta(seconds=1)) == "yes"
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(callbacks.wait(other, clock.now() + timedelta(seconds=30)))
            await asyncio.sleep(0)
            clock.move(seconds=30)
        assert waiting.result() is None
    assert not callbacks.take(other, "late")
    assert not callbacks.is_open(token)
    assert len(callbacks) == 0


async def test_what_a_charger_shows_is_told_before_it_is_said_to_refuse() -> None:
    async with bench() as made:
        made.carrier.verdicts = [rejected("accepted, but shows more", shown_kw=11.0)]
        await made.send(1, a=4.0)
        assert made.link.said == [(0, 0, "shows 11 kW"), (1, 0, "accepted, but shows more")]
