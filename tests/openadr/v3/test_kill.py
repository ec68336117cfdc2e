"""SIGKILL at every step of registration and event of a 3.x VEN: the same identity, the same offset, one effect each.

The VEN is a process of its own with a database on disk; the VTN answers over a socket of this process. Each life gets one step further
than the one before, so that every step is interrupted when it is taken for the first time.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.clock import SystemClock
from gateway.domain.limits import Limit
from gateway.domain.signals import GridEvent, VenRegistration
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.transport import Request
from gateway.storage.store import SqlStore
from tests.openadr.mortality import AUTHORITY, TENANT
from tests.openadr.v3 import memory_vtn
from tests.openadr.v3.memory_vtn import MemoryVtn, limit_event, period

ROOT = Path(__file__).resolve().parents[3]
MOST_STEPS = 200
NO_AUTHORITIES = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
"""No life meets TLS; reading the machine's authorities would take half of each."""
KNOWN_STEPS = 9
"""A life of a registered VEN begins with so many steps that the first lives have been killed at: token, ven and resources."""

pytestmark = pytest.mark.e2e


@asynccontextmanager
async def listening(vtn: MemoryVtn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Let a VTN in memory answer over a socket."""

    async def answer(request: web.Request) -> web.StreamResponse:
        reply = await vtn.request(
            Request(method=request.method, url=str(request.url), headers=request.headers, body=await _body(request))
        )
        return web.Response(status=reply.status, body=reply.body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/openadr3"
    monkeypatch.setattr(memory_vtn, "BASE", url)
    monkeypatch.setattr(memory_vtn, "AUTH", f"{url}/auth/token")
    try:
        yield url
    finally:
        await runner.cleanup()


async def _body(request: web.Request) -> bytes | None:
    return await request.read() if request.can_read_body else None


class Lives:
    """One VEN after the other, each killed at a step."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def until_one_gets_through(self, step: int = 1) -> int:
        """Let each life die one step later; return how many died."""
        for died in range(MOST_STEPS):
            if not await self.dies_at(step + died):
                return died
        raise AssertionError("no life got through")

    async def dies_at(self, step: int) -> bool:
        """Let one live until a step; return whether it died there. No life has a step 0."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{step}\n".encode())
        answer = (await self._process.stdout.readline()).decode().strip()
        assert answer in {"killed", "alive"}, answer
        return answer == "killed"


@asynccontextmanager
async def mortal(folder: Path, url: str, dialect: Dialect, **more: str) -> AsyncIterator[Lives]:
    site = folder / "site.json"
    store = f"sqlite:///{folder / 'ven.sqlite'}"
    site.write_text(json.dumps({"vtn_url": url, "store": store, "dialect": dialect.value, **more}))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.openadr.v3.mortal_ven", str(site)),
        cwd=ROOT,
        env=os.environ | NO_AUTHORITIES,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Lives(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), timeout=10)


async def rows(folder: Path, kind: type[Any]) -> list[Any]:
    async with SqlStore.open(f"sqlite:///{folder / 'ven.sqlite'}", SystemClock(), read_only=True) as store:
        return [row.record for row in await store.find(kind, TENANT)]


async def decisions(folder: Path, event_id: str) -> list[str]:
    """Return what was written about an event, in order."""
    async with SqlStore.open(f"sqlite:///{folder / 'ven.sqlite'}", SystemClock(), read_only=True) as store:
        return [one.entry.action for one in await store.audit_of(TENANT, "event", f"{AUTHORITY}:{event_id}")]


def ranged(at: datetime, kw: float) -> dict[str, Any]:
    return limit_event(at, kw) | {"intervalPeriod": period(at, "PT1H", "PT5M")}


async def test_b12_killed_at_every_step_it_is_the_same_ven_with_the_same_offset_and_acts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SystemClock()
    vtn = MemoryVtn(clock, Dialect.V310)
    soon = (clock.now() + timedelta(hours=2)).replace(microsecond=0)
    vtn.program()
    vtn.event("e1", **ranged(soon, 10.0))
    async with listening(vtn, monkeypatch) as url, mortal(tmp_path, url, Dialect.V310) as lives:
        died = await lives.until_one_gets_through()
        [registration] = await rows(tmp_path, VenRegistration)
        [event] = await rows(tmp_path, GridEvent)
        assert died >= 15, "registration, survey and event have at least so many steps"
        assert (len(vtn.vens), len(vtn.resources)) == (1, 1), (
            "killed between creating and keeping, it found itself again"
        )
        assert [registration.ven_id] == list(vtn.vens)
        assert (await decisions(tmp_path, "e1")).count("event.receive") == 1
        assert abs(event.start_offset) <= timedelta(minutes=5)
        assert event.active.start == soon + event.start_offset

        vtn.event("e1", **ranged(soon, 7.0))
        await lives.until_one_gets_through(KNOWN_STEPS)
        [later] = await rows(tmp_path, GridEvent)
        assert [one.value for one in later.intervals] == [7.0]
        assert (later.start_offset, later.modification) == (event.start_offset, 1)
        assert (await decisions(tmp_path, "e1")).count("event.modify") == 1

        vtn.events.clear()
        await lives.until_one_gets_through(KNOWN_STEPS)
        [gone] = await rows(tmp_path, GridEvent)
        assert gone.cancelled
        assert (await decisions(tmp_path, "e1")).count("event.cancel") == 1
        assert [limit for limit in await rows(tmp_path, Limit) if limit.withdrawn_at is None] == []
        assert await rows(tmp_path, VenRegistration) == [registration]
