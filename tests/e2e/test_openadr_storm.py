"""Very many events in one message, through real programs: all are answered, or all are refused, and others are served meanwhile."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scripts.openadr_storm import BESIDE, FLOOD, Storm, limits, storm

pytestmark = pytest.mark.e2e
MOST, TOO_MANY = 1_000, 3_000


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Storm]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    async with storm(tmp_path) as one:
        yield one


async def test_a_thousand_events_are_all_answered_and_another_partner_beside_them(place: Storm) -> None:
    flood = await place.send(FLOOD, limits("storm", MOST))
    small = await place.send(BESIDE, limits("small", 1))
    beside = await place.answered(BESIDE, small)
    answered = await place.answered(FLOOD, flood)
    assert beside.opts == {"small-0": ("200", "optIn")}
    assert answered.code == "200"
    assert answered.opts == {f"storm-{number}": ("200", "optIn") for number in range(MOST)}


async def test_too_many_events_are_refused_as_a_whole_and_what_was_there_stays(place: Storm) -> None:
    before = await place.send(FLOOD, limits("kept", 1))
    assert (await place.answered(FLOOD, before)).opts == {"kept-0": ("200", "optIn")}
    flood = await place.send(FLOOD, limits("storm", TOO_MANY))
    refused = await place.answered(FLOOD, flood)
    assert refused.code != "200"
    assert not refused.opts
    after = await place.send(FLOOD, limits("kept", 1))
    assert (await place.answered(FLOOD, after)).opts == {"kept-0": ("200", "optIn")}
    assert place.served.return_code is None
    assert await place.polls(BESIDE) > 0
