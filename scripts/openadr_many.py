"""Many VTNs in one gateway process: what each costs in memory and CPU time while all are polled."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from gateway.demo.folder import RunFolder
from scripts.openadr_stage import CONTEXT, POLL_S, Utility, gateway, program

SETTLE_S = 10.0
_BYTES_PER_KB = 1024.0
_AT_ONCE = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a gateway with some number of VTNs needs."""

    vtn_count: int
    rss_kb: float
    """Resident memory of the gateway's process after everybody has registered and been polled for a while."""
    polls_per_s: float
    """Polls that reached the VTNs."""
    cpu_ms_per_poll: float
    """CPU time of the gateway's process for each of them, all its other work included."""


async def measure_many(folder: Path, vtn_count: int, seconds: float) -> Cost:
    """Run a gateway with so many scripted 2.0b VTNs that ask for a poll every second, and measure it.

    Args:
        folder: Empty folder for configuration, rows and logs.
        vtn_count: How many.
        seconds: How long to count polls.

    Raises:
        TimeoutError: Not everybody registered in time.
    """
    run_folder = RunFolder(path=folder)
    async with aiohttp.ClientSession() as http, program(run_folder, "vtn20b", "gateway.sandbox.vtn20b") as ready:
        door = f"{ready['url']}/control/worlds"
        utilities = [await scripted_utility(http, door, f"w{number}") for number in range(vtn_count)]
        async with gateway(run_folder, utilities) as served:
            await _registered(http, door, vtn_count)
            await asyncio.sleep(SETTLE_S)
            began, cpu, before = time.monotonic(), cpu_s(served.pid), await _polls(http, door, vtn_count)
            await asyncio.sleep(seconds)
            polls = await _polls(http, door, vtn_count) - before
            elapsed, spent = time.monotonic() - began, cpu_s(served.pid) - cpu
            return Cost(
                vtn_count=vtn_count,
                rss_kb=_rss_kb(served.pid),
                polls_per_s=polls / elapsed,
                cpu_ms_per_poll=1e3 * spent / max(polls, 1),
            )


async def scripted_utility(http: aiohttp.ClientSession, door: str, name: str) -> Utility:
    """Make a world of the scripted VTN that asks for a poll every second, and return it as a partner of a gateway."""
    options = {"vtn_id": f"VTN-{name}", "poll": f"PT{POLL_S:.0f}S", "context": CONTEXT}
    async with http.put(f"{door}/{name}", json=options, raise_for_status=True) as answer:
        url = (await answer.json())["url"]
    table = {"url": url, "ven_name": f"ven-{name}", "market_contexts": [CONTEXT], "signature": "off"}

    async def publish(_kw: float, _round: int) -> None:
        """Nothing happens at this VTN."""

    return Utility(name=name, table=table, publish=publish)


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_kb(pid: int) -> float:
    """Return the resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _BYTES_PER_KB


async def _registered(http: aiohttp.ClientSession, door: str, vtn_count: int) -> None:
    async with asyncio.timeout(120.0):
        while min(await _counts(http, door, vtn_count)) == 0:  # noqa: ASYNC110  # another process's doing
            await asyncio.sleep(1.0)


async def _polls(http: aiohttp.ClientSession, door: str, vtn_count: int) -> int:
    return sum(await _counts(http, door, vtn_count))


async def _counts(http: aiohttp.ClientSession, door: str, vtn_count: int) -> list[int]:
    """Return how often each VTN has been polled."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def count(number: int) -> int:
        async with gate, http.get(f"{door}/w{number}/log", raise_for_status=True) as answer:
            return sum(1 for entry in (await answer.json())["entries"] if entry["kind"] == "oadrPoll")

    return list(await asyncio.gather(*(count(number) for number in range(vtn_count))))
