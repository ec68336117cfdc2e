"""Others run while a large message is taken in, and threads that compute do not keep the event loop waiting."""

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from gateway.turns import EVERY, INLINE, THREADS_GIVE_WAY_S, Turns, beside, in_turns, let_the_loop_go_first


class Others:
    """Counts how often the event loop came to somebody else."""

    def __init__(self) -> None:
        self.turns = 0

    async def run(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


@pytest.fixture
def interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


async def test_others_have_their_turn_while_many_items_are_made() -> None:
    others = Others()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(others.run())
        assert await in_turns(iter(range(10 * EVERY))) == list(range(10 * EVERY))
        running.cancel()
    assert others.turns >= 10


async def test_few_items_are_made_at_once() -> None:
    others = Others()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(others.run())
        await in_turns(iter(range(EVERY - 1)))
        assert others.turns == 0
        running.cancel()


async def test_large_work_counts_for_more_than_small() -> None:
    others, turns = Others(), Turns()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(others.run())
        await turns.after(range(EVERY))
        assert others.turns == 1
        await turns.after(())
        assert others.turns == 1
        running.cancel()


@pytest.mark.parametrize(("size", "is_here"), [(INLINE, True), (INLINE + 1, False)])
async def test_much_is_worked_out_beside_the_event_loop(size: int, is_here: bool) -> None:
    thread = await beside(size, threading.current_thread)
    assert (thread is threading.main_thread()) is is_here


@pytest.mark.usefixtures("interval")
def test_threads_give_way_soon_once_told() -> None:
    let_the_loop_go_first()
    assert sys.getswitchinterval() == pytest.approx(THREADS_GIVE_WAY_S)
