"""The clock file: what it says, what it refuses, and that sleepers notice a jump."""

import asyncio
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.sandbox.clock import ClockAnchor, SandboxClock, parse_anchor, write_anchor

NINE = datetime(2025, 10, 14, 9, tzinfo=UTC)


class HandMoved:
    """A monotonic clock that tests move by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def _anchored(path: Path, *, market: datetime = NINE, monotonic: float = 1000.0, speed: float = 144.0) -> Path:
    write_anchor(path, ClockAnchor(market_anchor=market, monotonic_anchor=monotonic, speed=speed))
    return path


def test_market_time_runs_at_the_speed_of_the_file(tmp_path: Path) -> None:
    hand = HandMoved()
    clock = SandboxClock(_anchored(tmp_path / "clock.json"), monotonic=hand)
    assert clock.now() == NINE
    hand.seconds += 10.0
    assert clock.now() == NINE + timedelta(seconds=1440)
    assert clock.speed == 144.0


def test_a_replaced_file_is_read_after_twenty_real_milliseconds_and_not_before(tmp_path: Path) -> None:
    hand = HandMoved()
    path = _anchored(tmp_path / "clock.json", speed=1.0)
    clock = SandboxClock(path, monotonic=hand)
    clock.now()
    _anchored(path, market=NINE + timedelta(hours=6), speed=600.0)
    hand.seconds += 0.01
    assert clock.now() < NINE + timedelta(seconds=1)
    hand.seconds += 0.02
    assert clock.now() == NINE + timedelta(hours=6, seconds=0.03 * 600)
    assert clock.speed == 600.0


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    hand = HandMoved()
    path = _anchored(tmp_path / "clock.json")
    clock = SandboxClock(path, monotonic=hand)
    clock.now()
    stamp = path.stat()
    path.write_bytes(path.read_bytes().replace(b"144.0", b"999.0"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    hand.seconds += 1.0
    assert clock.speed == 144.0


def test_a_file_that_is_gone_leaves_the_time_as_it_runs(tmp_path: Path) -> None:
    hand = HandMoved()
    path = _anchored(tmp_path / "clock.json")
    clock = SandboxClock(path, monotonic=hand)
    path.unlink()
    hand.seconds += 1.0
    assert clock.now() == NINE + timedelta(seconds=144)


def test_without_a_file_market_time_is_real_time() -> None:
    hand = HandMoved()
    clock = SandboxClock(None, monotonic=hand)
    before = clock.now()
    hand.seconds += 5.0
    assert clock.now() - before == timedelta(seconds=5)
    assert clock.speed == 1.0


def test_a_missing_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SandboxClock(tmp_path / "none.json")


async def test_a_sleeper_wakes_after_a_jump(tmp_path: Path) -> None:
    path = _anchored(tmp_path / "clock.json", monotonic=time.monotonic(), speed=1.0)
    clock = SandboxClock(path)
    woken: list[datetime] = []

    async def sleeper() -> None:
        await clock.sleep_until(NINE + timedelta(hours=5))
        woken.append(clock.now())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sleeper())
        await asyncio.sleep(0)
        assert not woken
        _anchored(path, market=NINE + timedelta(hours=6), monotonic=time.monotonic(), speed=1.0)
    assert woken[0] >= NINE + timedelta(hours=6)


async def test_a_sleep_is_a_duration_of_market_time(tmp_path: Path) -> None:
    clock = SandboxClock(_anchored(tmp_path / "clock.json", monotonic=time.monotonic(), speed=36_000.0))
    before = clock.now()
    await clock.sleep(timedelta(hours=1))
    assert clock.now() - before >= timedelta(hours=1)


async def test_a_moment_that_is_past_is_no_sleep_at_all() -> None:
    clock = SandboxClock(None)
    await clock.sleep_until(clock.now() - timedelta(days=1))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("not json", "clock"),
        ("[1]", "clock"),
        ("{}", "clock.market_anchor"),
        ('{"market_anchor": "2025-10-14T09:00:00+00:00", "speed": 1}', "clock.monotonic_anchor"),
        ('{"market_anchor": "2025-10-14T09:00:00+00:00", "monotonic_anchor": 1}', "clock.speed"),
        ('{"market_anchor": "yesterday", "monotonic_anchor": 1, "speed": 1}', "clock.market_anchor"),
        ('{"market_anchor": 7, "monotonic_anchor": 1, "speed": 1}', "clock.market_anchor"),
        ('{"market_anchor": "2025-10-14T09:00:00", "monotonic_anchor": 1, "speed": 1}', "clock.market_anchor"),
        ('{"market_anchor": "2025-10-14T09:00:00Z", "monotonic_anchor": "1", "speed": 1}', "clock.monotonic_anchor"),
        ('{"market_anchor": "2025-10-14T09:00:00Z", "monotonic_anchor": NaN, "speed": 1}', "clock.monotonic_anchor"),
        ('{"market_anchor": "2025-10-14T09:00:00Z", "monotonic_anchor": 1, "speed": true}', "clock.speed"),
        ('{"market_anchor": "2025-10-14T09:00:00Z", "monotonic_anchor": 1, "speed": 0}', "clock.speed"),
        ('{"market_anchor": "2025-10-14T09:00:00Z", "monotonic_anchor": 1, "speed": -2}', "clock.speed"),
        ('{"market_anchor": "2025-10-14T09:00:00Z", "monotonic_anchor": 1, "speed": Infinity}', "clock.speed"),
    ],
)
def test_a_wrong_file_is_refused_and_the_field_named(text: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_anchor(text)
    assert refused.value.field == field


def test_an_anchor_in_another_zone_is_the_same_instant() -> None:
    text = json.dumps({"market_anchor": "2025-10-14T11:00:00+02:00", "monotonic_anchor": 0, "speed": 1})
    assert parse_anchor(text).market_anchor == NINE


@given(
    seconds=st.floats(0.0, 1e6),
    speed=st.floats(0.01, 10_000.0),
    anchor=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_what_is_written_is_read_back_and_time_never_runs_back(seconds: float, speed: float, anchor: datetime) -> None:
    made = ClockAnchor(market_anchor=anchor, monotonic_anchor=seconds, speed=speed)
    text = json.dumps({"market_anchor": anchor.isoformat(), "monotonic_anchor": seconds, "speed": speed})
    assert parse_anchor(text) == made
    assert made.at(seconds) == anchor
    assert made.at(seconds + 1.0) >= made.at(seconds)
