"""Reports of every kind as openleadr's VTN understands them: another process, real sockets, market time a hundred times faster."""

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import FileClock, write_clock_file
from gateway.domain.identity import system_principal
from gateway.domain.signals import ReportRequest
from gateway.openadr.v20b.settings import ReportPoint, VenSettings
from gateway.openadr.v20b.ven import Ven
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore
from tests.openadr.desk_of_usage import DeskOfUsage
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import DeskOfEvents
from tests.openadr.v20b.desk_of_status import DeskOfStatus
from tests.openadr.virtual_life import AUTHORITY, START, TENANT

ROOT = Path(__file__).resolve().parents[3]
SPEED = 100.0


class Heard:
    """What the VTN says that it understood."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def offered(self) -> dict[str, dict[str, str]]:
        return {line["offered"]: line["points"] for line in self.lines if "offered" in line}

    def reports(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("report") == request_id]

    def values(self, request_id: str, r_id: str) -> list[tuple[float, float]]:
        """Return minute of the start and value of every interval."""
        return [
            ((datetime.fromisoformat(one["dtstart"]) - START) / timedelta(minutes=1), one["report_payload"]["value"])
            for line in self.reports(request_id)
            for one in line["intervals"]
            if one["report_payload"]["r_id"] == r_id
        ]


async def listen(stream: asyncio.StreamReader, heard: Heard) -> None:
    while line := await stream.readline():
        heard.lines.append(json.loads(line))


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.02)


def ven_of(folder: Path, port: int) -> tuple[Ven, MemoryStore]:
    clock = FileClock(folder / "clock.json")
    store = MemoryStore(clock)
    settings = VenSettings(
        authority=AUTHORITY,
        tenant=TENANT,
        vtn_url=f"http://127.0.0.1:{port}/OpenADR2/Simple/2.0b",
        ven_name="reports",
        market_contexts=(messages.CONTEXT,),
        own_nodes=("vpp-be",),
        report_points=(ReportPoint(r_id="depot-power", node="vpp-be", resource_id="Depot A&B <1>"),),
        allow_plain_http=True,
    )
    ven = Ven(
        settings,
        store,
        DeskOfEvents(store, clock),  # type: ignore[arg-type]  # any clock will do
        DeskOfUsage(clock.now),
        clock,
        CountingIds(),
        system_principal(TENANT, "openadr"),
        status_desk=DeskOfStatus(),
    )
    return ven, store


@pytest.mark.timeout(60)  # a program that imports openleadr
async def test_openleadr_understands_usage_status_and_history(tmp_path: Path) -> None:
    ready = tmp_path / "port"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.openadr.v20b.openleadr_vtn",
        str(ready),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    heard = Heard()
    try:
        await until(ready.exists)
        write_clock_file(tmp_path / "clock.json", START, SPEED)
        ven, store = ven_of(tmp_path, int(ready.read_text()))
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(listen(process.stdout, heard))
            running = tasks.create_task(ven.run())
            await until(lambda: len(heard.reports("usage")) >= 2 and len(heard.reports("statuses")) >= 3)
            running.cancel()
            listening.cancel()
    finally:
        process.terminate()
        await process.wait()

    assert heard.offered() == {
        "METADATA_TELEMETRY_USAGE": {"depot-power": "Mean", "depot-energy": "Net"},
        "METADATA_TELEMETRY_STATUS": {"depot-status": "x-notApplicable"},
    }, "openleadr keeps METADATA_HISTORY_USAGE to itself"
    powers = heard.values("usage", "depot-power")
    first = powers[0][0]
    assert powers == [(first + i, first + i) for i in range(len(powers))]
    energies = heard.values("usage", "depot-energy")
    assert [round(value * 60.0, 6) for _, value in energies] == [value for _, value in powers]
    assert heard.values("history", "depot-power") == [(float(i - 30), float(i - 30)) for i in range(30)]
    (once,) = heard.reports("status")
    payload = once["intervals"][0]["report_payload"]["payload_resource_status"]
    assert (payload["online"], payload["manual_override"]) == (True, False)
    assert not heard.reports("unknown")
    requests = {row.report_request_id: row for row in store.all(ReportRequest, TENANT)}
    assert sorted(requests) == ["history", "status", "statuses", "usage"]
