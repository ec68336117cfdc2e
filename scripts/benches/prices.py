"""Prices: reading a year of quarter-hours beside entsoe-py, ten years of five zones as known at any instant, and the page beside Plotly.

Reading is CPU time: our strict reader of A44 documents and entsoe-py's pandas parser on the same bytes, each in a process of its own,
whose largest memory is told. Ten years of five zones go into SQLite (every write flushed to disk) through the gateway's own store;
then one asks what was known of a random day at a random instant, and for all prices of a zone. How late the event loop was at
worst meanwhile is told for each part. The page is Chromium with the gateway's market page, all years at once.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from gateway.clock import SystemClock
from gateway.domain.identity import Principal, Role
from gateway.domain.series import PriceProduct
from gateway.ids import RandomIds
from gateway.ports import Batch, Put, Store
from gateway.services.gather_market_data import GatherSettings, MarketDataGatherer, PriceHistories
from gateway.storage.store import SqlStore
from scripts.environment import SetupError, say
from scripts.measuring import Goal, Report, Value, at_least, at_most
from scripts.peer_environment import ENTSOE, python_of
from scripts.price_page import TENANT, find_browser, measure_page, median
from scripts.price_years import AREA, ZONE, price_rows, random_question, year_document

ZONES = ("BE", "NL", "FR", "DE_LU", "AT")
QUESTION_COUNT = 1_000
BATCH_ROWS = 30
STALL_S = 0.05
FIRST_PICTURE_MS = 500.0
MOST_MB = 300.0
_TICK_S = 0.005
_SDAC = PriceProduct.DAY_AHEAD_SDAC
_TRADER = Principal(tenant=TENANT, actor="bench", roles=frozenset({Role.TRADER}))
_OURS = (sys.executable, "-m", "scripts.read_price_year")
ResultT = TypeVar("ResultT")
Found = tuple[list[dict[str, Value]], list[Goal]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Timed(Generic[ResultT]):
    """What work gave, how long it took and how late the event loop was at worst meanwhile."""

    result: ResultT
    seconds: float
    late_ms: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be left out or shortened."""
    parser.add_argument(
        "--only", choices=("parse", "store"), help="one part instead of both; the page belongs to `store`"
    )
    parser.add_argument("--years", type=int, default=10, help="years of each zone (default 10)")
    parser.add_argument("--repeats", type=int, default=5, help="readings and loads of each side (default 5)")


def run(options: argparse.Namespace) -> Report:
    """Measure what is asked for."""
    report: Report = {"results": [], "goals": []}
    parts = [measure_parse(options.repeats)] if options.only != "store" else []
    parts += [asyncio.run(measure_store(options.years, options.repeats))] if options.only != "parse" else []
    for rows, goals in parts:
        report["results"] += rows
        report["goals"] += goals
    return report


# ---------------------------------------------------------------- reading


def measure_parse(repeats: int) -> Found:
    """Read a year of quarter-hours with both readers."""
    with tempfile.TemporaryDirectory() as name:
        document = Path(name) / "year.xml"
        document.write_bytes(year_document(2025))
        ours = _read_with(_OURS, document, repeats)
        rows = [_reading("ours", ours)]
        goals = [at_most("memory of our reader, MB", MOST_MB, float(str(ours["peak_mb"])))]
        try:
            theirs = _read_with((str(python_of(ENTSOE)), str(ENTSOE.script)), document, repeats)
        except SetupError as error:
            say(f"entsoe-py is left out: {error}")
            return rows, goals
    if (ours["count"], ours["sum"]) != (theirs["count"], theirs["sum"]):
        raise ValueError(f"the readers disagree: {ours} and {theirs}")
    ratio = float(str(theirs["cpu_s"])) / float(str(ours["cpu_s"]))
    goals.append(at_least("entsoe-py's CPU time over ours, one year of quarter-hours", 6.0, ratio))
    return [*rows, _reading(str(theirs["versions"]), theirs)], goals


def _read_with(reader: Sequence[str], document: Path, repeats: int) -> dict[str, Value]:
    answer = document.with_suffix(".json")
    command = [*reader, str(document), str(answer), str(repeats), AREA]
    subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[2])
    found: dict[str, Value] = json.loads(answer.read_text())
    return found


def _reading(who: str, answer: dict[str, Value]) -> dict[str, Value]:
    return {"what": f"read a year: {who}", "count": answer["count"], "cpu_s": answer["cpu_s"], "mb": answer["peak_mb"]}


# ---------------------------------------------------------------- rows and page


async def measure_store(years: int, repeats: int) -> Found:
    """Store the years, ask for them, and draw them."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "prices.sqlite"
        async with SqlStore.open(f"sqlite:///{file}", SystemClock()) as store:
            rows, goals = await _rows_and_questions(store, years)
            rows[0]["mb"] = file.stat().st_size / 2**20
            browser = find_browser()
            if browser is None:
                say(
                    "The page is left out: there is no Chromium, or no Playwright to drive it (scripts/test installs it with the browser tests)"
                )
                return rows, goals
            loads = await measure_page(store, browser, repeats)
    rows += [
        {"what": f"first picture: {who}", "p50_ms": median(found), "worst_ms": max(found)}
        for who, found in loads.items()
    ]
    # The first load reads all rows; the later ones find them in memory.
    goals.append(at_most("all years drawn, median ms from the click", FIRST_PICTURE_MS, median(loads["ours"])))
    return rows, goals


async def _rows_and_questions(store: Store, years: int) -> Found:
    wrote = await _timed(_write(store, years))
    gatherer = MarketDataGatherer(
        store=store,
        clock=SystemClock(),
        ids=RandomIds(),
        price_sources={},
        carbon_sources={},
        settings=GatherSettings(tenants=(TENANT,), time_zones=dict.fromkeys(ZONES, ZONE)),
    )
    asked = await _timed(_ask(gatherer, years))
    histories = PriceHistories(store=store, clock=SystemClock())
    read = await _timed(histories.of(_TRADER, ZONES[0], _SDAC))
    points = len((await histories.of(_TRADER, ZONES[0], _SDAC)).prices_per_mwh)
    seconds = np.array(asked.result) * 1_000.0
    rows: list[dict[str, Value]] = [
        {
            "what": f"write {years} years of {len(ZONES)} zones",
            "count": wrote.result,
            "s": wrote.seconds,
            "late_ms": wrote.late_ms,
        },
        {
            "what": "ask what was known of a day at an instant",
            "count": QUESTION_COUNT,
            "p50_ms": float(np.percentile(seconds, 50)),
            "p99_ms": float(np.percentile(seconds, 99)),
            "late_ms": asked.late_ms,
        },
        {"what": "read all prices of one zone", "count": points, "s": read.seconds, "late_ms": read.late_ms},
    ]
    worst = max(wrote.late_ms, asked.late_ms, read.late_ms)
    goals = [at_most("event loop late at worst, ms", STALL_S * 1_000.0, worst)]
    return rows, goals


async def _write(store: Store, years: int) -> int:
    count = 0
    for number, zone in enumerate(ZONES):
        rows = price_rows(zone, years, number)
        # Making the numbers up is not what is measured: it happens beside the loop.
        while batch := await asyncio.to_thread(list, itertools.islice(rows, BATCH_ROWS)):
            await store.apply(Batch(tenant=TENANT, puts=tuple(Put(record=row) for row in batch)))
            count += len(batch)
    return count


async def _ask(gatherer: MarketDataGatherer, years: int) -> list[float]:
    rng, spent = np.random.default_rng(7), []
    for number in range(QUESTION_COUNT):
        day, instant = random_question(years, rng)
        started = time.perf_counter()
        await gatherer.prices_as_known(_TRADER, ZONES[number % len(ZONES)], _SDAC, day, instant)
        spent.append(time.perf_counter() - started)
    return spent


async def _timed(work: Coroutine[object, object, ResultT]) -> _Timed[ResultT]:
    late: list[float] = [0.0]
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(_watch(late))
        started = time.perf_counter()
        result = await work
        seconds = time.perf_counter() - started
        watch.cancel()
    return _Timed(result=result, seconds=seconds, late_ms=max(late) * 1_000.0)


async def _watch(late: list[float]) -> None:
    while True:
        started = time.perf_counter()
        await asyncio.sleep(_TICK_S)
        late.append(time.perf_counter() - started - _TICK_S)
