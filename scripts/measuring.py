"""What a bench returns and how it measures: CPU time of one thread where it is computation, peers in the same run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict

Value = str | int | float | None


class Goal(TypedDict):
    """A number to be reached, with its outcome in this run; made by `at_most` and `at_least`."""

    goal: str
    """What must hold, in words and with the unit, for example `p99 from receipt to stream, s`."""
    target: float
    """The number to reach."""
    measured: float
    """The number of this run, in the same unit."""
    met: bool
    """Whether the run reached the target."""


class Report(TypedDict):
    """What one bench found."""

    results: list[dict[str, Value]]
    """One row for each size or peer; the columns carry their unit in the name; None where nothing was measured."""
    goals: list[Goal]
    """The numbers that have a target; may be empty."""


def at_most(goal: str, target: float, measured: float) -> Goal:
    """Return a goal that smaller numbers meet; a measurement that is not a number never does."""
    return {"goal": goal, "target": target, "measured": measured, "met": measured <= target}


def at_least(goal: str, target: float, measured: float) -> Goal:
    """Return a goal that larger numbers meet; a measurement that is not a number never does."""
    return {"goal": goal, "target": target, "measured": measured, "met": measured >= target}


def cpu_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the median CPU time of this thread that `work` takes, in seconds, after one run to warm up."""
    work()
    spent = []
    for _ in range(repeats):
        started = time.thread_time()
        work()
        spent.append(time.thread_time() - started)
    return statistics.median(spent)


def describe_machine() -> Mapping[str, str | int | float]:
    """Return what the numbers depend on: processor, cores, memory, system and Python."""
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor_name(),
        "core_count": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages * page_bytes / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _processor_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
