"""Runs every check of the house in turn and says which failed; called by `scripts/check`.

`python -m scripts.quality_gate [STEP]...` runs the named steps, all of them without a name. Steps do not stop each
other, so that one run shows everything there is to mend.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One check.

    Attributes:
        name: What a person types to run it alone.
        purpose: What it makes sure of, in a few words.
        module: The Python module that is run; a tool installed beside the interpreter when it starts with `bin/`.
        arguments: What it is called with.
    """

    name: str
    purpose: str
    module: str
    arguments: tuple[str, ...] = ()


STEPS = (
    Step(
        name="format",
        purpose="code is formatted",
        module="ruff",
        arguments=("format", "--check", "--output-format=concise", "."),
    ),
    Step(name="lint", purpose="no lint", module="ruff", arguments=("check", "--output-format=concise", ".")),
    Step(name="types", purpose="types hold", module="mypy"),
    Step(name="imports", purpose="imports go one way", module="bin/lint-imports", arguments=("--no-logo",)),
    Step(name="rules", purpose="the house's own rules hold", module="scripts.house_rules"),
    Step(name="drift", purpose="generated code is up to date", module="scripts.gen_proto", arguments=("--check",)),
    Step(name="contract", purpose="the contract is well written", module="scripts.contract_rules", arguments=("lint",)),
    Step(name="breaking", purpose="no client breaks", module="scripts.contract_rules", arguments=("breaking",)),
)


def command_of(step: Step) -> list[str]:
    """Return the command line of a step."""
    if step.module.startswith("bin/"):
        return [str(Path(sys.executable).parent / step.module.removeprefix("bin/")), *step.arguments]
    return [sys.executable, "-m", step.module, *step.arguments]


def run_step(step: Step, root: Path) -> bool:
    """Run one step, print its outcome, and its output where there is something to read; return whether it passed."""
    started = time.monotonic()
    done = subprocess.run(
        command_of(step), cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    has_passed = done.returncode == 0
    seconds = time.monotonic() - started
    print(f"{'ok    ' if has_passed else 'FAILED'} {step.name:9} {step.purpose} ({seconds:.1f} s)", flush=True)
    if not has_passed or step.name == "breaking":
        print("".join(f"    {line}\n" for line in done.stdout.strip().splitlines()), end="", flush=True)
    return has_passed


def main(arguments: list[str] | None = None, root: Path = ROOT, steps: tuple[Step, ...] = STEPS) -> int:
    """Run the steps; return 0 when all passed."""
    parser = argparse.ArgumentParser(prog="scripts/check", description=__doc__.partition("\n")[0])
    parser.add_argument("step", nargs="*", metavar="STEP", help=", ".join(step.name for step in steps))
    options = parser.parse_args(arguments)
    unknown = [name for name in options.step if name not in {step.name for step in steps}]
    if unknown:
        parser.error(f"no such step: {', '.join(unknown)}")
    chosen = [step for step in steps if not options.step or step.name in options.step]
    failed = [step.name for step in chosen if not run_step(step, root)]
    print(
        f"{len(chosen) - len(failed)} of {len(chosen)} checks passed"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
