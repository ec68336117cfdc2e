"""How long a reduction takes to the platform's stream while a gateway and its workers are stormed, and how others are served meanwhile.

All are processes of their own (see `scripts/overload_stage.py`): a capacity provider states a lower limit over OSCP at a random instant,
and what counts is the time until the platform has been allowed less. Beside it, one after the other: nothing; a thousand new events a
message; the same with plans that never end and market days that are fetched and read anew; forecasts of 3,000 blocks; all of this; and
500 sockets that say a byte a second (case C3), while requests of others are timed at both kinds of listeners.
"""

import argparse
import asyncio
import operator
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import numpy as np

from scripts.measuring import Goal, Report, Value, at_least, at_most
from scripts.openadr_many import cpu_s
from scripts.overload_stage import CALM, NODES, STARTS_WITHIN_S, Stage, stage

HIGHEST_KW, STEP_KW = 400.0, 0.75
"""Limit of the first reduction, and how much less than what is allowed every one orders."""
GOAL_S = 1.0
OTHERS_GOAL_MS = 100.0
LAG_GOAL_MS = 50.0
"""House rule: nothing holds the loop longer."""
SLOW_SOCKETS = 500
PAUSE_S = 1.0
"""At most so long between two reductions."""
LOOK_S = 4.0
"""The gateway tells the worst lag of at least the last five seconds."""
SEED = 5
Work = Callable[[Stage], Coroutine[None, None, None]]
BESIDE: Mapping[str, tuple[Work, ...]] = {
    "nothing": (),
    "1,000 events a message": (Stage.storm,),
    "events, plans, fetches": (Stage.storm, Stage.plan, Stage.fetch),
    "3,000 blocks a forecast": (Stage.forecast,),
    "all of it": (Stage.storm, Stage.plan, Stage.fetch, Stage.forecast),
    "500 slow sockets": (partial(Stage.crawl, count=SLOW_SOCKETS),),
}
SLOW = "500 slow sockets"
Row = dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was measured beside one kind of work."""

    reductions_s: list[float] = field(default_factory=list)
    pages_ms: list[float] = field(default_factory=list)
    callbacks_ms: list[float] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a run be smaller than the whole bench."""
    parser.add_argument("--rounds", type=int, default=20, help="reductions beside each kind of work")
    parser.add_argument("--only", choices=list(BESIDE), action="append", help="beside this alone; may be given again")


def run(options: argparse.Namespace) -> Report:
    """Measure beside every kind of work."""
    with tempfile.TemporaryDirectory(prefix="voltbridge-overload-") as name:
        rows = asyncio.run(measure(Path(name), options.rounds, options.only or list(BESIDE)))
    return {"results": rows, "goals": goals_of(rows)}


def goals_of(rows: Sequence[Row]) -> list[Goal]:
    """Return what must hold of the numbers."""
    goals = []
    for row in rows:
        beside = row["beside"]
        goals.append(at_most(f"a reduction reaches the stream, p99, s, beside {beside}", GOAL_S, _number(row["p99_s"])))
        goals.append(at_most(f"event loop lag, worst, ms, beside {beside}", LAG_GOAL_MS, _number(row["lag_ms"])))
        goals.append(at_least(f"everything beside {beside} was taken", 1.0, float(row["refused"] == 0)))
        if beside == SLOW:
            for door in ("page", "callback"):
                measured = _number(row[f"{door}_p99_ms"])
                goals.append(at_most(f"another caller's {door}, p99, ms, beside {beside}", OTHERS_GOAL_MS, measured))
    return goals


async def measure(folder: Path, rounds: int, names: Sequence[str]) -> list[Row]:
    """Return a row for each kind of work.

    Args:
        folder: Empty folder for configuration, rows and logs.
        rounds: Reductions beside each.
        names: Kinds of work, keys of `BESIDE`.
    """
    random = Random(SEED)  # noqa: S311  # when a reduction comes
    async with stage(folder) as place:
        await place.arrivals.first(NODES[CALM], lambda total: total >= HIGHEST_KW, 0.0, STARTS_WITHIN_S)
        return [await beside(place, name, rounds, random) for name in names]


async def beside(place: Stage, name: str, rounds: int, random: Random) -> Row:
    """Reduce while the work goes on, after one reduction that is not counted, and return the row."""
    seen, began = Seen(), (time.monotonic(), cpu_s(place.served.pid))
    before = (place.done.messages, place.done.forecasts, place.done.plans, place.done.fetches, place.done.refused)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work(place)) for work in BESIDE[name]]
        running += [tasks.create_task(_watch(place, seen)), tasks.create_task(_call(place, seen))]
        await asyncio.sleep(2.0 * PAUSE_S)
        for _ in range(rounds + 1):
            await asyncio.sleep(PAUSE_S * random.random())
            seen.reductions_s.append(await reduction_s(place))
        for task in running:
            task.cancel()
    seen.lags_s.append(await place.lag_s())
    elapsed, spent = time.monotonic() - began[0], cpu_s(place.served.pid) - began[1]
    done = (place.done.messages, place.done.forecasts, place.done.plans, place.done.fetches, place.done.refused)
    counts = dict(zip(("messages", "forecasts", "plans", "fetches", "refused"), np.subtract(done, before), strict=True))
    return row_of(name, seen) | {"cores": spent / elapsed} | {key: int(count) for key, count in counts.items()}


async def reduction_s(place: Stage) -> float:
    """Order less than what is allowed and return how long it took until the platform was allowed no more than that."""
    kw = min(place.arrivals.totals[-1][2] - STEP_KW, HIGHEST_KW)
    said_at = await place.reduce(kw)
    arrived_at, _ = await place.arrivals.first(NODES[CALM], partial(operator.ge, kw), said_at)
    return arrived_at - said_at


async def _watch(place: Stage, seen: Seen) -> None:
    """Ask how late the loop is; what was before the work began is over by the second look."""
    while True:
        await asyncio.sleep(LOOK_S)
        seen.lags_s.append(await place.lag_s())


async def _call(place: Stage, seen: Seen) -> None:
    """Be another caller at both kinds of listeners."""
    while True:
        seen.pages_ms.append(await place.answer_ms(f"{place.page}/login"))
        seen.callbacks_ms.append(await place.answer_ms(f"http://127.0.0.1:{place.callbacks}/none"))
        await asyncio.sleep(PAUSE_S / 10.0)


def row_of(name: str, seen: Seen) -> Row:
    """Return the numbers of one kind of work; the first reduction finds cold caches and does not count."""
    reductions = seen.reductions_s[1:]
    return {
        "beside": name,
        "reductions": len(reductions),
        "p50_s": _quantile(reductions, 0.5),
        "p99_s": _quantile(reductions, 0.99),
        "worst_s": _quantile(reductions, 1.0),
        "lag_ms": 1e3 * _quantile(seen.lags_s[1:], 1.0),
        "page_p99_ms": _quantile(seen.pages_ms, 0.99),
        "callback_p99_ms": _quantile(seen.callbacks_ms, 0.99),
    }


def _quantile(values: Sequence[float], at: float) -> float:
    """Return a quantile that is one of the values, the next higher one; NaN of none."""
    return float(np.quantile(np.array(values), at, method="higher")) if values else float("nan")


def _number(value: Value) -> float:
    if not isinstance(value, int | float):
        raise TypeError("a measurement must be a number")
    return float(value)
