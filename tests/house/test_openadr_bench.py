"""The OpenADR bench measures the same message on both sides, and its stage tells limits apart."""

import asyncio
import itertools

import pytest

from gateway.openadr.v20b.guard import GuardPolicy
from scripts.benches import openadr
from scripts.openadr_stage import Arrivals, limit_event, node_of


def test_both_sides_read_all_events_of_the_same_bytes() -> None:
    body = openadr.events_message(4)
    assert len(body) < GuardPolicy().max_bytes
    events = openadr.read_ours(body)
    assert [event.event_id for event in events] == [f"event-{number}" for number in range(openadr.EVENT_COUNT)]
    assert {len(event.intervals) for event in events} == {4}
    _, theirs = openadr.read_theirs(body)  # type: ignore[misc]
    assert len(theirs["events"]) == openadr.EVENT_COUNT  # type: ignore[has-type]


def test_a_row_names_both_times_and_their_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = itertools.chain.from_iterable(itertools.repeat([2.0, 3.0, 4.0, 60.0]))
    monkeypatch.setattr(openadr, "_cpu_ms", lambda work: next(spent))
    row, ratio = openadr.measure_parse(1, 3)
    assert ratio == row["ratio_of_minima"] == 30.0
    assert (row["ours_min_ms"], row["ours_median_ms"], row["openleadr_min_ms"]) == (2.0, 3.0, 60.0)
    assert row["ratio_of_medians"] == 20.0


async def test_arrivals_are_totals_of_a_node_after_an_instant() -> None:
    arrivals = Arrivals()
    arrivals.take(1.0, {"a-001": 10.0, "a-002": 10.0, "b-001": 5.0})
    arrivals.take(2.0, {"a-001": 4.0})
    assert await arrivals.first("a", lambda kw: kw < 15.0, 0.0) == (2.0, 14.0)
    assert await arrivals.first("b", lambda kw: kw < 15.0, 0.0) == (1.0, 5.0)
    with pytest.raises(TimeoutError):
        await arrivals.first("a", lambda kw: kw < 15.0, 2.5, 0.01)

    async def come() -> None:
        await asyncio.sleep(0)
        arrivals.take(3.0, {"a-002": 1.0})

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(come())
        assert await arrivals.first("a", lambda kw: kw < 15.0, 2.5) == (3.0, 5.0)


def test_nodes_are_named_after_their_transport() -> None:
    assert node_of("2.0b poll 1 s") == "2-0b-poll-1-s"
    assert limit_event("p", 40.0)["intervals"][0]["payloads"] == [{"type": "IMPORT_CAPACITY_LIMIT", "values": [40.0]}]
