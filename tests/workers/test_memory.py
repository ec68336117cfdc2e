"""A call that takes too much memory fails alone: typed, with its process and everybody else unharmed."""

import sys

import pytest

from gateway.domain.errors import InvalidInput
from gateway.market_data.entsoe import READER_MEMORY_BYTES, read_prices
from gateway.workers import ProcessWorker
from tests.market_data.documents import BE, period, points, publication, series
from tests.workers import jobs

# Elsewhere RLIMIT_DATA does not count what an allocator maps, and the worker sets no bound: there is nothing to try.
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the private memory of a process")
START, END = "2025-10-14T22:00Z", "2025-10-18T22:00Z"


def big_document() -> bytes:
    """Return 3 MB that every other cap lets through: 120 series of four days."""
    one = series(period(START, END, points(range(384))), sequence=1)
    return publication(*[one] * 120, start=START, end=END)


async def test_what_takes_too_much_is_a_typed_error_and_the_process_serves_the_next() -> None:
    worker = ProcessWorker(memory_bytes=50_000_000)
    before = await worker.run(jobs.process_id, deadline_s=15)
    assert await worker.run(jobs.take, 10_000_000, deadline_s=15) == 10_000_000
    for _ in range(3):
        with pytest.raises(MemoryError, match="50000000"):
            await worker.run(jobs.take, 120_000_000, deadline_s=15)
    assert await worker.run(jobs.add, 1, 2, deadline_s=15) == 3
    assert await worker.run(jobs.process_id, deadline_s=15) == before
    assert await ProcessWorker().run(jobs.take, 120_000_000, deadline_s=15) == 120_000_000, "others have no such bound"


async def test_a_document_that_needs_more_memory_than_it_may_take_is_refused_and_another_is_read() -> None:
    body = big_document()
    with pytest.raises(MemoryError):
        await ProcessWorker(memory_bytes=4_000_000).run(read_prices, body, BE, deadline_s=15)
    found = await ProcessWorker(memory_bytes=READER_MEMORY_BYTES).run(read_prices, body, BE, deadline_s=15)
    assert len(found.series) == 120


async def test_a_bound_below_what_is_used_refuses_and_does_not_kill() -> None:
    worker = ProcessWorker(memory_bytes=0)
    with pytest.raises(MemoryError):
        await worker.run(jobs.take, 80_000_000, deadline_s=15)
    with pytest.raises(InvalidInput):
        await worker.run(jobs.refuse, "field", deadline_s=15)
