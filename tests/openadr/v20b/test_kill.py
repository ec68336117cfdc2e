"""SIGKILL at every step of registration, event and opt: the same identity, the same offset, one effect each.

The VEN is a process of its own with a database on disk, the VTN another one behind a socket. Each life gets one step further than the
one before, so that every step is interrupted when it is taken for the first time.
"""

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.clock import FileClock, write_clock_file
from gateway.domain.limits import Limit
from gateway.domain.programs import OptSchedule
from gateway.domain.signals import GridEvent, OptType, VenRegistration
from gateway.domain.timegrid import Interval
from gateway.ports import Batch, Put
from gateway.storage.store import SqlStore
from tests.openadr.mortality import AUTHORITY, TENANT

ROOT = Path(__file__).resolve().parents[3]
SPEED = 800.0
NOON = datetime(2025, 10, 15, 12, 0, tzinfo=UTC)
CONTEXT = "http://grid.example/dr"
MOST_STEPS = 60
LOOK_EVERY = 5

pytestmark = pytest.mark.e2e


@contextmanager
def program(*arguments: str) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=10)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def ready(path: Path, process: "subprocess.Popen[str]") -> dict[str, Any]:
    while not path.exists():
        assert process.poll() is None, "the VTN did not start"
        time.sleep(0.02)
    content: dict[str, Any] = json.loads(path.read_text())
    return content


class Utility:
    """The control door of the scripted VTN."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._door = f"{url}/worlds/mortal"
        self._session = session

    async def make(self) -> None:
        async with self._session.put(self._door, json={"poll": "PT20S", "context": CONTEXT}) as answer:
            assert answer.status < 300, await answer.text()

    async def say(self, **message: object) -> None:
        async with self._session.post(f"{self._door}/say", json=message) as answer:
            assert answer.status < 300, await answer.text()

    async def heard(self) -> list[dict[str, Any]]:
        async with self._session.get(f"{self._door}/log") as answer:
            entries: list[dict[str, Any]] = (await answer.json())["entries"]
            return entries


class Site:
    """What is on the VEN's disk."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'ven.sqlite'}"
        self.clock = FileClock(folder / "clock.json")

    async def change(self, *records: object) -> None:
        async with SqlStore.open(self.url, self.clock) as store:
            await store.apply(Batch(tenant=TENANT, puts=tuple(Put(record=record) for record in records)))

    async def all(self, kind: type[Any]) -> list[Any]:
        async with SqlStore.open(self.url, self.clock, read_only=True) as store:
            return [row.record for row in await store.find(kind, TENANT)]

    async def actions(self, kind: str, record: str) -> list[str]:
        async with SqlStore.open(self.url, self.clock, read_only=True) as store:
            return [chained.entry.action for chained in await store.audit_of(TENANT, kind, record)]


def event(modification: int, kw: float, **changes: object) -> dict[str, object]:
    return {
        "event_id": "E&1",
        "modification": modification,
        "start": "2025-10-16T06:00:00Z",
        "duration": "PT4H",
        "start_after": "PT5M",
        "signals": [{"intervals": [{"duration": "PT4H", "value": kw}], "unit": {"scale": "k"}}],
        **changes,
    }


async def lives(process: "subprocess.Popen[str]", look: Callable[[], Any]) -> int:
    """Let one life after the other die one step later, until one gets through; return how many died."""
    assert process.stdin is not None
    assert process.stdout is not None
    for step in range(1, MOST_STEPS):
        process.stdin.write(f"{step}\n")
        process.stdin.flush()
        outcome = process.stdout.readline().strip()
        assert outcome in {"killed", "alive"}, outcome
        if outcome == "alive" or step % LOOK_EVERY == 0:
            await look()
        if outcome == "alive":
            return step - 1
    raise AssertionError("no life got through")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def schedule() -> OptSchedule:
    windows = (
        Interval(start=NOON + timedelta(days=2), end=NOON + timedelta(days=2, hours=1)),
        Interval(start=NOON + timedelta(days=3), end=NOON + timedelta(days=3, hours=1)),
    )
    return OptSchedule(
        id=f"{AUTHORITY}:opt-1",
        tenant=TENANT,
        authority=AUTHORITY,
        opt_id="opt-1",
        opt=OptType.OPT_OUT,
        reason="x-schedule",
        market_context=CONTEXT,
        windows=windows,
        resources=("Depot A&B <1>",),
        created_by="account:olga",
        created_at=NOON,
    )


async def check_identity(site: Site, heard: list[dict[str, Any]]) -> None:
    assert [one["problem"] for one in heard if one["problem"]] == []
    registration = (await site.all(VenRegistration))[0]
    claims = [one["fields"].get("registrationID") for one in heard if one["kind"] == "oadrCreatePartyRegistration"]
    claimed = claims[claims.index(registration.registration_id) :]
    assert set(claimed) == {registration.registration_id}, "once it is on disk it is never another"
    assert set(claims[: -len(claimed)]) == {None}


async def check_event(site: Site, heard: list[dict[str, Any]]) -> None:
    assert await site.actions("event", f"{AUTHORITY}:E&1") == ["event.receive", "event.modify", "event.cancel"]
    limits: list[Limit] = await site.all(Limit)
    assert sorted(limit.max_kw for limit in limits) == [30.0, 60.0]
    for limit in limits:
        assert await site.actions("limit", limit.id) == ["limit.set", "limit.withdraw"]
    said = [str(one["fields"]) for one in heard if one["kind"] == "oadrCreatedEvent"]
    assert not any("optOut" in one for one in said)
    for modification in (0, 1, 2):
        assert any(f"'modificationNumber': '{modification}'" in one for one in said)


async def check_opt(site: Site, heard: list[dict[str, Any]]) -> None:
    told = [one for one in heard if one["kind"] in {"oadrCreateOpt", "oadrCancelOpt"}]
    kinds = [one["kind"] for one in told]
    assert set(kinds) == {"oadrCreateOpt", "oadrCancelOpt"}
    assert kinds == sorted(kinds, reverse=True), "withdrawn after it was told, never told again after"
    assert {one["fields"]["optID"] for one in told} == {"opt-1"}
    assert (await site.all(OptSchedule))[0].is_settled


async def test_a3_a19_a37_killed_at_every_step_it_is_the_same_ven_and_does_everything_once(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    write_clock_file(tmp_path / "clock.json", NOON, SPEED)
    site, offsets = Site(tmp_path), set[timedelta]()
    await site.change(schedule())

    async def look() -> None:
        offsets.update(row.start_offset for row in await site.all(GridEvent))

    vtn_ready = tmp_path / "vtn.json"
    with program("gateway.sandbox.vtn20b", "--clock", str(tmp_path / "clock.json"), "--ready", str(vtn_ready)) as vtn:
        address = ready(vtn_ready, vtn)
        utility = Utility(address["control_url"], session)
        await utility.make()
        plan = {
            "clock": str(tmp_path / "clock.json"),
            "store": site.url,
            "vtn_url": f"{address['url']}/mortal/OpenADR2/Simple/2.0b",
            "context": CONTEXT,
        }
        (tmp_path / "site.json").write_text(json.dumps(plan))
        with program("tests.openadr.v20b.mortal_ven", str(tmp_path / "site.json")) as ven:
            await utility.say(kind="oadrDistributeEvent", events=[event(0, 60)])
            assert await lives(ven, look) > 15

            await utility.say(kind="oadrDistributeEvent", events=[event(1, 30)])
            await site.change(replace((await site.all(OptSchedule))[0], told_at=None, cancelled_at=NOON))
            assert await lives(ven, look) > 10

            await utility.say(kind="oadrDistributeEvent", events=[event(2, 30, status="cancelled")])
            assert await lives(ven, look) > 10
        heard = await utility.heard()

    await check_identity(site, heard)
    assert len(offsets) == 1
    assert timedelta(0) <= offsets.pop() <= timedelta(minutes=5)
    await check_event(site, heard)
    await check_opt(site, heard)
