"""SIGKILL at every step of a 3.x report: before and after each write and each request, no interval lost and none reported twice.

One event wants a report a quarter. In each quarter a life of the VEN dies one step later than in the quarter before, and the next one
lives through; this goes on until a life got as far as its next poll, when nothing is left to do about its report.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import FileClock, write_clock_file
from gateway.domain.programs import PendingReport, ReportDuty
from gateway.openadr.v3.names import Dialect
from tests.openadr.v3.memory_vtn import Heard, Json, MemoryVtn
from tests.openadr.v3.report_bench import said, wants
from tests.openadr.v3.test_kill import listening, mortal, rows
from tests.openadr.virtual_life import START

QUARTER = timedelta(minutes=15)
QUARTERS = 60
"""More than a life has steps."""
EVENTS_READ = 13
"""The step at which the events are read, and nothing of a report has begun."""
NEVER = 0

pytestmark = pytest.mark.e2e


class ListingVtn(MemoryVtn):
    """Has one report of a name; one that lists slowly shows it only after it was sent again."""

    lists_slowly = False

    def __init__(self, clock: FileClock, dialect: Dialect) -> None:
        super().__init__(clock, dialect)
        self.posted: list[str] = []
        self.conflicts: list[str] = []

    def _write(self, kind: str, heard: Heard) -> tuple[int, Any]:
        if kind == "reports" and heard.method == "POST":
            name = heard.content["reportName"]
            self.posted.append(name)
            if any(report["reportName"] == name for report in self.reports.values()):
                self.conflicts.append(name)
                return 409, {"title": "Conflict", "status": 409}
        return super()._write(kind, heard)

    def _shows(self, kind: str, row: Json, heard: Heard) -> bool:
        is_late = self.lists_slowly and kind == "reports" and row["reportName"] not in self.conflicts
        return not is_late and super()._shows(kind, row, heard)


def jump(file: Path, at: datetime) -> None:
    write_clock_file(file, at, 1.0)


@pytest.mark.parametrize(
    ("dialect", "lists_slowly"),
    [(Dialect.V310, False), (Dialect.V301, True)],
    ids=["looked-for-and-found", "conflict-then-replaced"],
)
async def test_b17_killed_at_every_step_of_a_report_each_interval_arrives_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: Dialect, lists_slowly: bool
) -> None:
    clock_file = tmp_path / "clock.json"
    jump(clock_file, START)
    vtn = ListingVtn(FileClock(clock_file), dialect)
    vtn.lists_slowly = lists_slowly
    vtn.program()
    vtn.event(**wants({"payloadType": "USAGE", "frequency": 1, "repeat": -1}, kw=[10.0] * QUARTERS))
    async with listening(vtn, monkeypatch) as url, mortal(tmp_path, url, dialect, clock=str(clock_file)) as lives:
        assert not await lives.dies_at(NEVER)
        made, polls, posts = 0, 0, list[int]()
        while polls < 2:
            heard = len(vtn.heard)
            jump(clock_file, START + (made + 1) * QUARTER)
            assert await lives.dies_at(EVENTS_READ + made)
            polls = sum(one.path == "/events" for one in vtn.heard[heard:])
            posts.append(len(vtn.posted))
            assert not await lives.dies_at(NEVER)
            made += 1

    assert made >= 10, "the report is kept, sent, settled and noted, each with a step before and after"
    assert posts[0] == 0, "the first life died before it had begun"
    reports = list(vtn.reports.values())
    assert [said(report) for report in reports] == [[(n, {"USAGE": 3.75 * n})] for n in range(made)]
    assert [report["reportName"] for report in reports] == [f"e1.0.0.{n}" for n in range(made)]
    resent = {name for name in vtn.posted if vtn.posted.count(name) > 1}
    assert set(vtn.conflicts) == resent
    assert bool(resent) == lists_slowly
    replaced = [one.content["reportName"] for one in vtn.heard if one.method == "PUT" and "/reports/" in one.path]
    assert set(replaced) == resent
    pending = await rows(tmp_path, PendingReport)
    assert len(pending) == made
    assert all(one.sent_at is not None and one.dropped_at is None for one in pending)
    [duty] = await rows(tmp_path, ReportDuty)
    assert (duty.sent_count, duty.reported_until) == (made, START + made * QUARTER)
