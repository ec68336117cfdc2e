"""Runs one long campaign of `scripts/campaigns` and writes its dated summary into `tests/soak/summaries`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import itertools
import json
import pkgutil
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from scripts import campaigns
from scripts.measuring import describe_machine

ROOT = Path(__file__).resolve().parent.parent
SUMMARIES = Path("tests/soak/summaries")
LONGEST_SLICE_SECONDS = 60.0
"""What one campaign may take within the tests."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a campaign found.

    Attributes:
        case_count: How many cases were drawn and checked.
        failures: One text for each failed case, with what is needed to draw it again.
        measured: Further numbers with their units in the names.
    """

    case_count: int
    failures: tuple[str, ...] = ()
    measured: Mapping[str, float] = dataclasses.field(default_factory=dict)


def find_campaigns(package: types.ModuleType = campaigns) -> dict[str, str]:
    """Return name and first docstring line of every campaign."""
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return {name: (load_campaign(name, package).__doc__ or "").partition("\n")[0] for name in names}


def load_campaign(name: str, package: types.ModuleType = campaigns) -> types.ModuleType:
    """Import one campaign."""
    return importlib.import_module(f"{package.__name__}.{name}")


def deadline(seconds: float, case_count: int | None = None) -> Callable[[], bool]:
    """Return what tells a campaign, which asks before every case, that its time is over or that it has had enough cases."""
    end = time.monotonic() + seconds
    left: Iterator[int] = itertools.count() if case_count is None else iter(range(case_count))
    return lambda: time.monotonic() >= end or next(left, None) is None


def summarise(name: str, seed: int, seconds: float, outcome: Outcome, now: datetime) -> dict[str, object]:
    """Return the summary that is committed.

    Args:
        name: The campaign.
        seed: What the cases were drawn from.
        seconds: How long it ran.
        outcome: What it found.
        now: When it ended.
    """
    return {
        "campaign": name,
        "ended": now.isoformat(timespec="seconds"),
        "seed": seed,
        "duration_seconds": round(seconds, 1),
        "case_count": outcome.case_count,
        "failure_count": len(outcome.failures),
        "failures": list(outcome.failures),
        "measured": dict(outcome.measured),
        "machine": dict(describe_machine()),
    }


def write_summary(summary: Mapping[str, object], folder: Path) -> Path:
    """Write a summary as `DATE-CAMPAIGN.json`, numbered when one of that day is already there; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{str(summary['ended'])[:10]}-{summary['campaign']}"
    number, path = 1, folder / f"{stem}.json"
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.json"
    path.write_text(json.dumps(summary, indent=2) + "\n")
    return path


def main(arguments: list[str] | None = None, root: Path = ROOT, package: types.ModuleType = campaigns) -> int:
    """Run a campaign; return 1 when a case failed, 2 when there is no such campaign."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("name", nargs="?", help="without a name, all campaigns are listed")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to look (default 60)")
    parser.add_argument("--cases", type=int, help="stop after so many cases, also when there is time left")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    known = find_campaigns(package)
    if options.name not in known:
        wrong = [] if options.name is None else [f"no campaign is called {options.name!r}"]
        print("\n".join([*wrong, *(f"{name:12} {purpose}" for name, purpose in known.items())]))
        return 0 if options.name is None else 2
    started = time.monotonic()
    until = deadline(60.0 * options.minutes, options.cases)
    outcome = load_campaign(options.name, package).run(options.seed, until)
    seconds = time.monotonic() - started
    summary = summarise(options.name, options.seed, seconds, outcome, datetime.now(UTC))
    path = write_summary(summary, root / SUMMARIES)
    print(f"{outcome.case_count} cases in {seconds:.0f} s, {len(outcome.failures)} failed: {path.relative_to(root)}")
    print("".join(f"    {failure}\n" for failure in outcome.failures[:20]), end="")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
