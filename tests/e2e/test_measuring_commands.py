"""The measuring commands of the README."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e


def run(*command: str) -> str:
    environment = dict(os.environ, VOLTBRIDGE_PYTHON=sys.executable)
    result = subprocess.run(
        [str(ROOT / command[0]), *command[1:]],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def test_the_thread_is_measured() -> None:
    report = json.loads(run("scripts/bench", "thread", "--json"))
    assert {"machine", "results", "goals"} <= set(report)
    assert report["results"][0]["round_count"] == 40


def test_reading_events_is_measured_beside_openleadr() -> None:
    report = json.loads(run("scripts/bench", "openadr", "--only", "parse", "--repeats", "2", "--json"))
    assert [row["message_bytes"] > 100_000 for row in report["results"]] == [True, True]
    assert [goal["target"] for goal in report["goals"]] == [15.0, 15.0]


@pytest.mark.parametrize(
    "arguments", [("limits", "--minutes", "0.1"), ("openadr", "--cases", "2000")], ids=["limits", "openadr"]
)
def test_a_campaign_writes_its_summary(arguments: tuple[str, ...]) -> None:
    summaries = ROOT / "tests" / "soak" / "summaries"
    before = set(summaries.glob("*"))
    try:
        run("scripts/soak", *arguments)
        assert set(summaries.glob("*")) - before
    finally:
        for written in set(summaries.glob("*")) - before:
            written.unlink()
