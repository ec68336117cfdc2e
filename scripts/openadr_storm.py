"""A storm of events: many in one message from a scripted VTN to a real gateway, until they are answered, and its loop meanwhile.

```
 script (here) ── control door ──> vtn20b ── one message ──> gateway (reader process, SQLite) ── oadrCreatedEvent ──> vtn20b
        └───────────────────────────── /metrics: how late its event loop was ──┘
```
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from gateway.demo.folder import RunFolder
from gateway.demo.programs import Program
from scripts.openadr_many import scripted_utility
from scripts.openadr_stage import gateway, program

WORST_OF_S = 10.0
"""The gateway tells the worst lag of at most so many seconds: a round begins so long after the one before."""
PATIENCE_S = 60.0
LOOK_S = 0.1
FLOOD, BESIDE = "flood", "beside"
"""The utility that sends the storm, and one that goes on as ever."""
LOAD_LIMIT_KW = 40.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What became of one message."""

    seconds: float
    """From the poll that fetched it to our `oadrCreatedEvent` at the VTN, both by the VTN's clock."""
    code: str
    """Code of the message as a whole."""
    opts: Mapping[str, tuple[str, str]]
    """Code and answer by event id."""
    lag_s: float
    """How late the gateway's event loop was at worst."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Storm:
    """A gateway between two scripted utilities."""

    http: aiohttp.ClientSession
    door: str
    served: Program
    page: str

    async def send(self, name: str, events: Sequence[Mapping[str, Any]]) -> int:
        """Queue a message at a utility and return how much its VEN had said before."""
        before = len(await self.heard(name))
        said = {"kind": "oadrDistributeEvent", "events": list(events)}
        async with self.http.post(f"{self.door}/{name}/say", json=said, raise_for_status=True):
            return before

    async def heard(self, name: str, since: int = 0) -> list[dict[str, Any]]:
        """Return what the VEN has said to a utility."""
        async with self.http.get(f"{self.door}/{name}/log?after={since}", raise_for_status=True) as answer:
            entries: list[dict[str, Any]] = (await answer.json())["entries"]
            return entries

    async def polls(self, name: str, since: int = 0) -> int:
        """Return how often the VEN of a utility has polled."""
        return sum(one["kind"] == "oadrPoll" for one in await self.heard(name, since))

    async def answered(self, name: str, since: int) -> Answered:
        """Return what became of a message.

        Args:
            name: The utility that sent it.
            since: What `send` returned.

        Raises:
            TimeoutError: Nobody answered.
        """
        async with asyncio.timeout(PATIENCE_S):
            while True:
                entries = await self.heard(name, since)
                at = next((n for n, one in enumerate(entries) if one["kind"] == "oadrCreatedEvent"), None)
                if at is not None:
                    break
                await asyncio.sleep(LOOK_S)
        fetched = [one for one in entries[:at] if one["kind"] == "oadrPoll"][-1]
        return _answered(entries[at], fetched, await self.lag_s())

    async def lag_s(self) -> float:
        """Return how late the gateway's loop was at worst within the last seconds."""
        return await loop_lag_s(self.http, self.page)


async def loop_lag_s(http: aiohttp.ClientSession, page: str) -> float:
    """Return how late a gateway's loop was at worst within the last five to ten seconds, in seconds."""
    async with http.get(f"{page}/metrics", raise_for_status=True) as answer:
        lines = (await answer.text()).splitlines()
    [line] = [line for line in lines if line.startswith("gateway_loop_lag_worst_seconds ")]
    return float(line.split()[1])


def _answered(created: Mapping[str, Any], fetched: Mapping[str, Any], lag_s: float) -> Answered:
    said = created["fields"]["eiCreatedEvent"]
    responses = said.get("eventResponses") or {}
    found = responses.get("eventResponse", []) if isinstance(responses, Mapping) else []
    each = found if isinstance(found, list) else [found]
    took = datetime.fromisoformat(created["at"]) - datetime.fromisoformat(fetched["at"])
    return Answered(
        seconds=took.total_seconds(),
        code=said["eiResponse"]["responseCode"],
        opts={one["qualifiedEventID"]["eventID"]: (one["responseCode"], one["optType"]) for one in each},
        lag_s=lag_s,
    )


def limits(prefix: str, count: int, now: datetime | None = None) -> list[dict[str, Any]]:
    """Return so many events to come, one limit each, an hour apart; None for `now` is real time."""
    first = (datetime.now(UTC) if now is None else now).replace(microsecond=0) + timedelta(hours=1)
    unit = {"kind": "power", "units": "W", "scale": "k"}
    return [
        {
            "event_id": f"{prefix}-{number}",
            "start": f"{first + timedelta(hours=number):%Y-%m-%dT%H:%M:%SZ}",
            "duration": "PT1H",
            "signals": [{"intervals": [{"duration": "PT1H", "value": LOAD_LIMIT_KW}], "unit": unit}],
        }
        for number in range(count)
    ]


@asynccontextmanager
async def storm(folder: Path) -> AsyncIterator[Storm]:
    """Run the scripted VTN and a gateway with two utilities, both registered.

    Args:
        folder: Empty folder for configuration, rows and logs.

    Raises:
        TimeoutError: Somebody did not register in time.
    """
    run_folder = RunFolder(path=folder)
    async with aiohttp.ClientSession() as http, program(run_folder, "vtn20b", "gateway.sandbox.vtn20b") as ready:
        door = f"{ready['url']}/control/worlds"
        utilities = [await scripted_utility(http, door, name) for name in (FLOOD, BESIDE)]
        async with gateway(run_folder, utilities) as served:
            page = json.loads(served.ready_file.read_text(encoding="utf-8"))["page"]
            place = Storm(http=http, door=door, served=served, page=page)
            async with asyncio.timeout(PATIENCE_S):
                for name in (FLOOD, BESIDE):
                    while not await place.polls(name):  # noqa: ASYNC110  # another process's doing
                        await asyncio.sleep(LOOK_S)
            yield place


async def measure_storms(folder: Path, counts: Sequence[int], rounds: int) -> dict[int, list[Answered]]:
    """Return what became of messages of so many events each, by their number of events.

    Every message has events of its own and leaves out those of the round before, which are cancelled by that; an empty message
    cancels them first, so that what is timed is the new ones alone.

    Args:
        folder: Empty folder for configuration, rows and logs.
        counts: Events in a message.
        rounds: Messages of each size.
    """
    found: dict[int, list[Answered]] = {count: [] for count in counts}
    async with storm(folder) as place:
        for number in range(rounds):
            for count in counts:
                await place.send(FLOOD, [])
                await asyncio.sleep(WORST_OF_S + 1.0)
                since = await place.send(FLOOD, limits(f"r{number}-{count}", count))
                found[count].append(await place.answered(FLOOD, since))
    return found
