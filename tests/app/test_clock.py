import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.clock import FileClock, SystemClock, read_clock_file, write_clock_file
from gateway.domain.errors import InvalidInput

OPENING = datetime(2025, 10, 14, 9, tzinfo=UTC)


def test_file_clock_runs_faster_than_real_time(tmp_path: Path) -> None:
    setting = write_clock_file(tmp_path / "clock.json", OPENING, 3600.0)
    assert setting.market_time(setting.monotonic_anchor + 2.0) == OPENING + timedelta(hours=2)
    assert OPENING <= FileClock(tmp_path / "clock.json").now() < OPENING + timedelta(days=1)


def test_two_clocks_on_one_file_agree(tmp_path: Path) -> None:
    write_clock_file(tmp_path / "clock.json", OPENING, 1.0)
    one, other = FileClock(tmp_path / "clock.json"), FileClock(tmp_path / "clock.json")
    assert abs(one.now() - other.now()) < timedelta(seconds=1)


async def test_a_jump_wakes_a_sleeper(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    write_clock_file(path, OPENING, 1.0)
    clock = FileClock(path)
    async with asyncio.TaskGroup() as tasks:
        sleeper = tasks.create_task(clock.sleep_until(OPENING + timedelta(hours=5)))
        await asyncio.sleep(0)
        write_clock_file(path, OPENING + timedelta(hours=6), 1.0)
        async with asyncio.timeout(5):
            await sleeper
    assert clock.now() >= OPENING + timedelta(hours=6)


def test_time_never_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    write_clock_file(path, OPENING, 1.0)
    clock = FileClock(path)
    before = clock.now()
    write_clock_file(path, OPENING - timedelta(hours=1), 1.0)
    clock._next_look = 0.0
    assert clock.now() >= before
    assert clock.monotonic() >= before.timestamp()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"market_anchor": "2025-10-14T09:00:00", "monotonic_anchor": 1.0, "speed": 1.0}),
        json.dumps({"market_anchor": "2025-10-14T09:00:00+00:00", "monotonic_anchor": 1.0, "speed": 0.0}),
        json.dumps({"market_anchor": "x", "monotonic_anchor": 1.0, "speed": 1.0}),
    ],
)
def test_a_bad_clock_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "clock.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match="clock"):
        read_clock_file(path)


async def test_system_clock_is_utc_and_sleeps() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    started = time.monotonic()
    await clock.sleep_until(clock.now() + timedelta(milliseconds=5))
    await clock.sleep(timedelta(seconds=-1))
    assert time.monotonic() >= started
    assert clock.monotonic() >= started
