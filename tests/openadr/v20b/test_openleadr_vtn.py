"""The VEN against openleadr's VTN, a process of its own behind a real socket, on market time that runs fast and jumps."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.clock import FileClock, write_clock_file
from gateway.domain.identity import system_principal
from gateway.domain.signals import GridEvent, ReportRequest, VenRegistration
from gateway.openadr.health import VenState
from gateway.openadr.v20b.settings import ReportPoint, VenSettings
from gateway.openadr.v20b.ven import Ven
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore
from tests.openadr.desk_of_usage import DeskOfUsage
from tests.openadr.v20b.bench import DeskOfEvents
from tests.openadr.virtual_life import AUTHORITY, TENANT

ROOT = Path(__file__).resolve().parents[3]
SPEED = 2400.0
TWO_LOCAL = datetime(2025, 10, 15, 12, 0, tzinfo=UTC)
"""14:00 in Brussels, when the demo's event is told."""


class Grid:
    """A running sandbox utility and its control door."""

    def __init__(self, ready: dict[str, Any], session: aiohttp.ClientSession) -> None:
        self.ready = ready
        self._session = session

    async def log(self) -> dict[str, Any]:
        async with self._session.get(f"{self.ready['control_url']}/log") as answer:
            log: dict[str, Any] = await answer.json()
            return log

    async def publish(self, **event: object) -> dict[str, Any]:
        async with self._session.post(f"{self.ready['control_url']}/events", json=event) as answer:
            assert answer.status == 201, await answer.text()
            published: dict[str, Any] = await answer.json()
            return published

    async def cancel(self, event_id: str) -> None:
        async with self._session.delete(f"{self.ready['control_url']}/events/{event_id}") as answer:
            assert answer.status == 200, await answer.text()

    async def opts(self) -> list[tuple[str, int, str, int]]:
        return [(o["event_id"], o["modification"], o["opt"], o["code"]) for o in (await self.log())["opts"]]


@contextmanager
def grid_process(folder: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "gateway.sandbox.grid", "--clock", str(folder / "clock.json")]
    process = subprocess.Popen([*command, "--ready", str(ready), "--poll-seconds", "0.1", *arguments], cwd=ROOT)
    try:
        while not ready.exists():
            assert process.poll() is None, "the grid did not start"
            time.sleep(0.02)
        yield json.loads(ready.read_text())
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0


class Site:
    """Our side: a VEN with its desks and a store that outlives it."""

    def __init__(self, clock: FileClock, ready: dict[str, Any]) -> None:
        self.clock = clock
        self.store = MemoryStore(clock)
        self.desk = DeskOfEvents(self.store, clock)  # type: ignore[arg-type]  # any clock will do
        self.usage = DeskOfUsage(clock.now)
        self.ids = CountingIds()
        self.settings = VenSettings(
            authority=AUTHORITY,
            tenant=TENANT,
            vtn_url=ready["vtn_url"],
            vtn_id=ready["vtn_id"],
            ven_name=ready["ven_names"][0],
            market_contexts=(ready["market_context"],),
            own_nodes=("vpp-be",),
            nodes={"vpp-be": "vpp-be"},
            report_points=(ReportPoint(r_id="power-of-vpp", node="vpp-be", resource_id="vpp-be"),),
            first_backoff=timedelta(minutes=2),
            allow_plain_http=True,
        )

    def build(self) -> Ven:
        return Ven(
            self.settings,
            self.store,
            self.desk,
            self.usage,
            self.clock,
            self.ids,
            system_principal(TENANT, "openadr"),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Ven]:
        ven = self.build()
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(ven.run())
            try:
                yield ven
            finally:
                task.cancel()


async def until(holds: Callable[[], Any]) -> None:
    """Wait in real time until something holds; the test's own time limit is the deadline."""
    while True:
        result = holds()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        await asyncio.sleep(0.02)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_register_event_opt_reports_and_cancel(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    path = tmp_path / "clock.json"
    write_clock_file(path, TWO_LOCAL - timedelta(minutes=10), SPEED)
    with grid_process(tmp_path, "--event-kw", "750") as ready:
        grid, site = Grid(ready, session), Site(FileClock(path), ready)
        async with site.running() as ven:
            await until(lambda: ven.state is VenState.REGISTERED)
            assert site.desk.received == []

            await until(lambda: site.desk.dispatched)
            event = site.store.all(GridEvent, TENANT)[0]
            assert event.received_at >= TWO_LOCAL
            assert (event.event_id, event.nodes) == ("peak-2025-10-15", ("vpp-be",))
            assert event.active.start == datetime(2025, 10, 15, 15, 30, tzinfo=UTC)
            assert event.active.end == datetime(2025, 10, 15, 16, 45, tzinfo=UTC)
            assert [(each.instruction.value, each.value) for each in event.intervals] == [("import-limit-kw", 750.0)]

            async def is_answered() -> bool:
                return await grid.opts() == [("peak-2025-10-15", 0, "optIn", 200)]

            await until(is_answered)

            async def has_readings() -> bool:
                return len((await grid.log())["readings"]) >= 3

            await until(has_readings)
            readings = (await grid.log())["readings"]
            starts = [datetime.fromisoformat(reading["start"]) for reading in readings]
            assert starts == [starts[0] + index * timedelta(minutes=15) for index in range(len(starts))]
            assert {(reading["resource_id"], reading["unit"]) for reading in readings} == {("vpp-be", "kW")}

            await grid.cancel("peak-2025-10-15")
            await until(lambda: site.store.all(GridEvent, TENANT)[0].cancelled)

            async def is_confirmed() -> bool:
                return ("peak-2025-10-15", 1, "optIn", 200) in await grid.opts()

            await until(is_confirmed)
        assert site.desk.dispatched == ["peak-2025-10-15/0"]


async def test_a_ven_that_is_killed_comes_back_as_itself(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    path = tmp_path / "clock.json"
    write_clock_file(path, TWO_LOCAL, SPEED)
    with grid_process(tmp_path) as ready:
        grid, site = Grid(ready, session), Site(FileClock(path), ready)
        async with site.running():

            async def is_answered() -> bool:
                return len(await grid.opts()) == 1

            await until(is_answered)
            await until(lambda: site.store.all(ReportRequest, TENANT))
        first = site.store.all(VenRegistration, TENANT)[0]
        async with site.running() as ven:
            await until(lambda: ven.state is VenState.REGISTERED)
            await until(lambda: len(site.desk.received) == 2)

            async def has_readings() -> bool:
                return len((await grid.log())["readings"]) >= 3

            await until(has_readings)
        again = site.store.all(VenRegistration, TENANT)[0]
        assert (again.ven_id, again.registration_id) == (first.ven_id, first.registration_id)
        log = await grid.log()
        assert [entry["again"] for entry in log["registrations"]] == [False, True]
        assert site.desk.dispatched == ["peak-2025-10-15/0"]
        values = {(reading["start"], reading["value"]) for reading in log["readings"]}
        starts = sorted(start for start, _ in values)
        assert len(set(starts)) == len(starts), "an update whose acknowledgement was lost comes again as it was"
        first_start = datetime.fromisoformat(starts[0])
        assert [datetime.fromisoformat(start) for start in starts] == [
            first_start + index * timedelta(minutes=15) for index in range(len(starts))
        ], "none is missing"


async def test_modification_of_an_event_and_a_change_of_speed(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    path = tmp_path / "clock.json"
    write_clock_file(path, TWO_LOCAL, SPEED)
    with grid_process(tmp_path, "--no-event") as ready:
        grid, site = Grid(ready, session), Site(FileClock(path), ready)
        call: dict[str, object] = {
            "event_id": "call-1",
            "start": "2025-10-15T18:00:00+02:00",
            "duration_minutes": 60,
            "signal": "SIMPLE/level",
            "payload": [1, 2],
            "target": "vpp-be",
            "start_after_minutes": 10,
        }
        async with site.running() as ven:
            await until(lambda: ven.state is VenState.REGISTERED)
            await grid.publish(**call)
            await until(lambda: site.desk.dispatched == ["call-1/0"])
            offset = site.store.all(GridEvent, TENANT)[0].start_offset
            await grid.publish(**{**call, "payload": [3, 3]})
            await until(lambda: site.desk.dispatched == ["call-1/0", "call-1/1"])
            assert site.store.all(GridEvent, TENANT)[0].start_offset == offset
            assert [each.value for each in site.store.all(GridEvent, TENANT)[0].intervals] == [3.0, 3.0]

            write_clock_file(path, site.clock.now(), SPEED / 2)

            async def is_registered_again() -> bool:
                return len((await grid.log())["registrations"]) == 2

            await until(is_registered_again)
            await until(lambda: site.store.all(VenRegistration, TENANT)[0].poll_interval == timedelta(seconds=120))
        assert {code for *_, code in await grid.opts()} == {200}


async def test_an_unknown_ven_is_turned_away_and_keeps_asking(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    path = tmp_path / "clock.json"
    write_clock_file(path, TWO_LOCAL, SPEED)
    with grid_process(tmp_path, "--ven-name", "somebody-else") as ready:
        site = Site(FileClock(path), {**ready, "ven_names": ["voltbridge-demo"]})
        async with site.running() as ven:
            await until(lambda: ven.health().failures >= 2)
            assert ven.state is VenState.UNREGISTERED
        assert site.store.all(VenRegistration, TENANT) == []
