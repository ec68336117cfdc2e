"""Runs one bench of `scripts/benches` and prints a table, or with `--json` one JSON object.

`scripts/bench NAME [--json] [options of the bench]`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import types
from collections.abc import Mapping

import numpy as np

from scripts import benches
from scripts.measuring import Report, Value, describe_machine


def find_benches(package: types.ModuleType = benches) -> dict[str, str]:
    """Return name and first docstring line of every bench."""
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return {name: (load_bench(name, package).__doc__ or "").partition("\n")[0] for name in names}


def load_bench(name: str, package: types.ModuleType = benches) -> types.ModuleType:
    """Import one bench."""
    return importlib.import_module(f"{package.__name__}.{name}")


def run_bench(name: str, arguments: list[str], package: types.ModuleType = benches) -> Report:
    """Run one bench with the options it declares itself; one that declares none takes none.

    Raises:
        SystemExit: An option is unknown or wrong; argparse has said which.
    """
    bench = load_bench(name, package)
    parser = argparse.ArgumentParser(prog=f"scripts/bench {name}", description=bench.__doc__)
    add_options = getattr(bench, "add_options", None)
    if add_options is None:
        parser.parse_args(arguments)
        report: Report = bench.run()
        return report
    add_options(parser)
    with_options: Report = bench.run(parser.parse_args(arguments))
    return with_options


def as_json(report: Report, machine: Mapping[str, object]) -> str:
    """Return the report as one JSON object: `machine`, `results`, `goals`."""
    content = {"machine": dict(machine), "results": report["results"], "goals": report["goals"]}
    return json.dumps(content, indent=2, default=np.generic.item)


def as_table(report: Report, machine: Mapping[str, object]) -> str:
    """Return the report for a person: a row for each result, a line for each goal."""
    columns = list(dict.fromkeys(column for row in report["results"] for column in row))
    cells = [columns, *([as_cell(row.get(column)) for column in columns] for row in report["results"])]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    lines = [", ".join(str(value) for value in machine.values()), ""]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    lines += [""] if report["goals"] else []
    for goal in report["goals"]:
        outcome = "met    " if goal["met"] else "NOT MET"
        lines.append(f"{outcome}  {goal['goal']}: {as_cell(goal['measured'])} (target {as_cell(goal['target'])})")
    return "\n".join(lines)


def as_cell(value: Value) -> str:
    """Return one value as text: numbers with four digits, `-` for what was not measured."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: list[str] | None = None, package: types.ModuleType = benches) -> int:
    """Run a bench; return 0 also when a goal is not met, 2 when there is no such bench."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("name", nargs="?", help="without a name, all benches are listed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options, rest = parser.parse_known_args(arguments)
    known = find_benches(package)
    if options.name not in known:
        wrong = [] if options.name is None else [f"no bench is called {options.name!r}"]
        print("\n".join([*wrong, *(f"{name:12} {purpose}" for name, purpose in known.items())]))
        return 0 if options.name is None else 2
    report = run_bench(options.name, rest, package)
    machine = describe_machine()
    print(as_json(report, machine) if options.json else as_table(report, machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
