"""The conformance runner, as a person starts it: every case that is played holds, on the wire, against a gateway of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.selftest.catalogue import CASES
from gateway.selftest.repertoire import JUDGED_IN_TESTS, SCRIPTS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "gateway", "openadr", "selftest", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
        check=False,
    )


def test_every_case_holds_or_is_judged_in_a_test_that_exists() -> None:
    result = run("--json")
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    verdicts = {row["number"]: row["verdict"] for row in rows}
    unkept = [f"{row['number']}: {row['evidence']}" for row in rows if row["verdict"] not in {"passed", "elsewhere"}]
    assert not unkept, "\n".join(unkept)
    assert result.returncode == 0, result.stderr
    assert set(verdicts) == {case.number for case in CASES}
    assert {number for number, verdict in verdicts.items() if verdict == "passed"} == set(SCRIPTS)


def test_a_case_that_does_not_exist_is_refused_in_one_line() -> None:
    result = run("--case", "C1")
    assert result.returncode == 2
    assert result.stderr.startswith("INVALID_INPUT: case")


def test_cases_can_be_listed_without_playing_them() -> None:
    result = run("--list", "--case", "b20")
    assert (result.returncode, result.stdout.split()[0]) == (0, "B20")


@pytest.mark.parametrize("test", sorted(JUDGED_IN_TESTS.values()))
def test_a_test_that_judges_a_case_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")
