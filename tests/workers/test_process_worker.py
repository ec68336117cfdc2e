"""The worker against real processes: results, errors, deadlines, deaths, noise."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import InvalidInput, Unavailable
from gateway.workers import ProcessWorker
from gateway.workers.process import NICENESS
from tests.workers import jobs


async def test_result_travels_back_from_another_process() -> None:
    worker = ProcessWorker()
    assert await worker.run(jobs.process_id, deadline_s=15) != os.getpid()
    assert await worker.run(jobs.add, 2, 3, deadline_s=15) == 5


async def test_what_computes_lets_the_processes_that_serve_go_first() -> None:
    assert await ProcessWorker().run(jobs.niceness, deadline_s=15) == max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))


async def test_warm_process_is_used_again() -> None:
    worker = ProcessWorker()
    first = await worker.run(jobs.process_id, deadline_s=15)
    assert await worker.run(jobs.process_id, deadline_s=15) == first


async def test_error_of_the_function_comes_back_as_it_is() -> None:
    with pytest.raises(InvalidInput) as caught:
        await ProcessWorker().run(jobs.refuse, "bid.lot_mw", deadline_s=15)
    assert caught.value.field == "bid.lot_mw"


async def test_deadline_kills_the_process(tmp_path: Path) -> None:
    worker = ProcessWorker()
    note = tmp_path / "pid"
    with pytest.raises(TimeoutError):
        await worker.run(jobs.hang, str(note), deadline_s=4)
    await _gone(int(note.read_text()))
    assert await worker.run(jobs.add, 1, 1, deadline_s=15) == 2


async def test_cancelling_the_caller_kills_the_process(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ProcessWorker().run(jobs.hang, str(note), deadline_s=60))
        while not (note.exists() and note.read_text()):
            await asyncio.sleep(0.02)
        task.cancel()
    await _gone(int(note.read_text()))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
async def test_death_of_the_process_is_a_typed_error(how: signal.Signals) -> None:
    worker = ProcessWorker()
    with pytest.raises(Unavailable, match="die"):
        await worker.run(jobs.die, int(how), deadline_s=15)
    assert await worker.run(jobs.add, 1, 2, deadline_s=15) == 3


@pytest.mark.parametrize("noise", [jobs.print_from_python, jobs.print_from_c])
async def test_noise_on_standard_output_does_not_reach_the_answer(noise: Callable[[], Any]) -> None:
    worker = ProcessWorker()
    assert await worker.run(noise, deadline_s=15) == "answer"
    assert await worker.run(jobs.add, 4, 4, deadline_s=15) == 8


async def test_loop_keeps_turning_while_a_worker_computes() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        turning = group.create_task(turn())
        await ProcessWorker().run(jobs.busy, 0.5, deadline_s=15)
        turning.cancel()
    assert turns > 20


async def test_calls_wait_for_a_free_process() -> None:
    worker = ProcessWorker(process_count=1)
    first, second = await asyncio.gather(
        worker.run(jobs.span, 0.2, deadline_s=15), worker.run(jobs.span, 0.2, deadline_s=15)
    )
    earlier, later = sorted([first, second])
    assert earlier[1] <= later[0]


async def _gone(pid: int) -> None:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"process {pid} is still there")
