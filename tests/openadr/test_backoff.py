"""How long VENs wait after failures."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from gateway.openadr.backoff import jittered_pause_after, pause_after
from gateway.openadr.v3.refusals import VtnBusy, VtnRefused, heeded_pause
from gateway.openadr.v3.wire import Problem
from tests.fakes.ids import CountingIds

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Patience:
    first_backoff: timedelta = timedelta(seconds=10)
    longest_backoff: timedelta = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 10), (1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (7, 300), (10**9, 300)]
)
def test_each_pause_is_twice_the_one_before_up_to_the_cap(failures: int, seconds: float) -> None:
    assert pause_after(failures, Patience()) == timedelta(seconds=seconds)


def test_a_jittered_pause_is_half_of_it_or_more() -> None:
    ids = CountingIds()
    pauses = [jittered_pause_after(3, Patience(), ids) for _ in range(20)]
    assert all(timedelta(seconds=20) <= pause <= timedelta(seconds=40) for pause in pauses)


@pytest.mark.parametrize(
    ("wanted", "seconds"), [(None, 10), (3, 10), (30, 30), (86_400, 3_600)], ids=["unsaid", "less", "more", "too-much"]
)
def test_a_busy_vtn_is_given_the_time_it_wants_but_not_for_ever(wanted: float | None, seconds: float) -> None:
    retry_after = None if wanted is None else timedelta(seconds=wanted)
    error = VtnBusy("GET /events", Problem(status=503), retry_after)
    assert heeded_pause(timedelta(seconds=10), error, HOUR) == timedelta(seconds=seconds)


def test_any_other_refusal_leaves_the_pause_as_it_is() -> None:
    error = VtnRefused("GET /events", Problem(status=500))
    assert heeded_pause(timedelta(seconds=10), error, HOUR) == timedelta(seconds=10)
