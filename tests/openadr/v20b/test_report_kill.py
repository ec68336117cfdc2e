"""`kill -9` at every step of a report: a real process, a real database, real sockets; market time is moved by the test."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from lxml import etree

from gateway.clock import write_clock_file
from gateway.domain.programs import PendingReport
from gateway.domain.signals import ReportRequest
from gateway.openadr.v20b.schema import schema
from gateway.storage.store import SqlStore
from tests.fakes.clock import HandClock
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import Said
from tests.openadr.virtual_life import START, TENANT

ROOT = Path(__file__).resolve().parents[3]
SPEED = 20.0
PREFIX = "/OpenADR2/Simple/2.0b"


class KillingVtn:
    """Asks for one report until it is confirmed; at the wanted step the VEN is killed, before or after it is answered."""

    def __init__(self) -> None:
        self.heard: list[Said] = []
        self.taken: list[Said] = []
        self.is_down = False
        self.is_confirmed = False
        self.kill_before: str | None = None
        self.kill_after: str | None = None
        self.pid: int | None = None
        self.killed = asyncio.Event()
        self.request = messages.report_request(start="2025-10-15T08:01:00Z", duration="PT10M")

    async def take(self, request: web.Request) -> web.StreamResponse:
        if self.is_down:
            return web.Response(status=503)
        root = etree.fromstring(await request.read())
        schema().assertValid(root)
        name = etree.QName(root[0][0]).localname.removeprefix("oadr")
        said = Said(at=START, service=request.match_info["service"], name=name, root=root)
        self.heard.append(said)
        step = f"{name}-with-wish" if name == "Poll" and not self.is_confirmed else name
        if name == "UpdateReport":
            self.taken.append(said)
        if self.kill_before == step:
            self.kill_before = None
            self.kill()
        answer = web.StreamResponse(headers={"Content-Type": "application/xml"})
        body = self._answer(name)
        answer.content_length = len(body)
        try:
            await answer.prepare(request)
            await answer.write(body)
        except ConnectionError:
            return answer
        if self.kill_after == step:
            self.kill_after = None
            self.kill()
        return answer

    def kill(self) -> None:
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        self.killed.set()

    def _answer(self, name: str) -> bytes:
        match name:
            case "QueryRegistration" | "CreatePartyRegistration":
                return messages.created_registration()
            case "RegisterReport":
                return messages.registered_report()
            case "CreatedReport":
                self.is_confirmed = True
                return messages.oadr_response()
            case "UpdateReport":
                return messages.updated_report()
            case "Poll" if not self.is_confirmed:
                return messages.create_report(self.request)
            case _:
                return messages.oadr_response()


class Scene:
    """The VEN's process and market time."""

    def __init__(self, folder: Path, vtn: KillingVtn, url: str) -> None:
        self._clock_file = folder / "clock.json"
        self.database = f"sqlite:///{folder}/gateway.sqlite"
        self.vtn = vtn
        self._url = url
        self.births = 0
        self.keeper: asyncio.subprocess.Process | None = None
        self.jump(0)

    def jump(self, seconds: float) -> None:
        """Move market time to so many seconds after the start; it flows on from there."""
        write_clock_file(self._clock_file, START + timedelta(seconds=seconds), SPEED)

    async def start(self) -> None:
        """Start the program that forks VENs."""
        command = ["-m", "tests.openadr.v20b.killed_ven", self.database, self._url, str(self._clock_file)]
        pipe = asyncio.subprocess.PIPE
        self.keeper = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, stdin=pipe, stdout=pipe)
        await self._born()

    async def _born(self) -> None:
        assert self.keeper is not None
        assert self.keeper.stdout is not None
        while not (line := await self.keeper.stdout.readline()).strip().isdigit():
            assert line, "the program has ended"
        self.vtn.pid = int(line)
        self.births += 1

    async def killed(self) -> None:
        """Wait until the VEN is dead, then have the next one."""
        await self.vtn.killed.wait()
        self.vtn.killed.clear()
        assert self.keeper is not None
        assert self.keeper.stdin is not None
        self.keeper.stdin.write(b"next\n")
        await self._born()

    async def stop(self) -> None:
        """Kill the last VEN and end the program."""
        if self.keeper is not None and self.keeper.stdin is not None:
            self.keeper.stdin.close()
            await self.keeper.communicate()
            self.keeper = None


@asynccontextmanager
async def scene_of(folder: Path) -> AsyncIterator[Scene]:
    vtn = KillingVtn()
    app = web.Application()
    app.router.add_post(PREFIX + "/{service}", vtn.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    scene = Scene(folder, vtn, f"http://127.0.0.1:{port}{PREFIX}")
    try:
        yield scene
    finally:
        await scene.stop()
        await runner.cleanup()


async def until_all_are_taken(vtn: KillingVtn, intervals: int) -> None:
    while (
        len({start for said in vtn.taken for start in said.texts("//ei:interval/xcal:dtstart/xcal:date-time")})
        < intervals
    ):
        await asyncio.sleep(0.02)


@pytest.mark.timeout(120)  # a process that starts six times
async def test_a32_kill_minus_nine_at_every_step_loses_and_repeats_no_interval(tmp_path: Path) -> None:
    async with scene_of(tmp_path) as scene:
        vtn = scene.vtn
        vtn.kill_after = "Poll-with-wish"
        await scene.start()
        await scene.killed()

        vtn.kill_before = "CreatedReport"
        await scene.killed()

        vtn.kill_before = "UpdateReport"
        scene.jump(181)
        await scene.killed()

        vtn.kill_after = "UpdateReport"
        scene.jump(301)
        await scene.killed()

        vtn.is_down = True
        scene.jump(421)
        await asyncio.sleep(1.5)  # long enough to make the report up that cannot be sent
        vtn.kill()
        await scene.killed()
        vtn.is_down = False
        scene.jump(1000)
        await until_all_are_taken(vtn, 10)
        assert scene.births == 6
        await scene.stop()

        contents: dict[str, set[bytes]] = {}
        minutes: dict[str, list[float]] = {}
        for said in vtn.taken:
            report_id = said.text("//ei:eiReportID") or ""
            (element,) = said.root.xpath("//*[local-name()='oadrReport']")
            contents.setdefault(report_id, set()).add(etree.tostring(element, method="c14n"))
            starts = [datetime.fromisoformat(text) for text in said.texts("//ei:interval/xcal:dtstart/xcal:date-time")]
            minutes[report_id] = [(one - START) / timedelta(minutes=1) for one in starts]
        assert all(len(one) == 1 for one in contents.values()), "a report that comes again is the very same"
        assert len(vtn.taken) > len(contents), "at least one came again"
        assert [minute for one in minutes.values() for minute in one] == [float(i) for i in range(1, 11)]

        async with SqlStore.open(scene.database, HandClock(START)) as store:
            (request,) = await store.find(ReportRequest, TENANT)
            kept = await store.find(PendingReport, TENANT)
        assert request.record.made_count == len(kept) == len(contents)
