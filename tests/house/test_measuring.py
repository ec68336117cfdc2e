"""What a bench says is what it measured, as a table and as JSON."""

import argparse
import json
import time
import types

import numpy as np
import pytest

from scripts import bench_runner, measuring
from scripts.measuring import Report

MACHINE = {"processor": "Z80", "core_count": 1}


def example_report() -> Report:
    return {
        "results": [
            {"cars": 10, "clip_ms": 0.123456, "peer": None},
            {"cars": 1_000_000, "clip_ms": 41.0, "extra": "x"},
        ],
        "goals": [measuring.at_most("clip of a million, ms", 50.0, 41.0), measuring.at_least("speed-up", 10.0, 9.9)],
    }


@pytest.mark.parametrize(
    ("measured", "is_low", "is_high"),
    [(1.0, True, True), (1.1, False, True), (0.9, True, False), (np.nan, False, False)],
)
def test_a_goal_is_met_or_not(measured: float, is_low: bool, is_high: bool) -> None:
    assert measuring.at_most("x", 1.0, measured)["met"] is is_low
    assert measuring.at_least("x", 1.0, measured)["met"] is is_high


def test_the_table_shows_every_column_and_goal() -> None:
    lines = bench_runner.as_table(example_report(), MACHINE).splitlines()
    assert lines[0] == "Z80, 1"
    assert lines[2].split() == ["cars", "clip_ms", "peer", "extra"]
    assert lines[3].split() == ["10", "0.1235", "-", "-"]
    assert lines[4].split() == ["1000000", "41", "-", "x"]
    assert len({len(line) for line in lines[2:5]}) == 1
    assert lines[6:] == ["met      clip of a million, ms: 41 (target 50)", "NOT MET  speed-up: 9.9 (target 10)"]


def test_json_is_one_object_and_takes_numpy_numbers() -> None:
    report = example_report()
    report["results"][0]["clip_ms"] = np.float32(0.5)  # type: ignore[assignment]
    report["goals"][0]["met"] = np.bool_(True)  # type: ignore[typeddict-item]
    content = json.loads(bench_runner.as_json(report, MACHINE))
    assert sorted(content) == ["goals", "machine", "results"]
    assert content["results"][0] == {"cars": 10, "clip_ms": 0.5, "peer": None}
    assert content["goals"][1] == {"goal": "speed-up", "target": 10.0, "measured": 9.9, "met": False}
    assert content["goals"][0]["met"] is True


def test_every_bench_says_what_it_measures_and_can_run() -> None:
    known = bench_runner.find_benches()
    assert "aggregation" in known
    for name, purpose in known.items():
        assert purpose.endswith(".")
        assert callable(bench_runner.load_bench(name).run)


def test_a_bench_is_run_and_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = types.SimpleNamespace(__doc__="Measures.", run=example_report)
    monkeypatch.setattr(bench_runner, "load_bench", lambda name, package=None: module)
    assert bench_runner.main(["aggregation", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["machine"]["core_count"] >= 1
    assert bench_runner.main(["aggregation"]) == 0
    assert "NOT MET  speed-up" in capsys.readouterr().out


def test_benches_are_listed_and_a_wrong_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_runner.main([]) == 0
    assert "aggregation" in capsys.readouterr().out
    assert bench_runner.main(["nothing"]) == 2
    assert "no bench is called 'nothing'" in capsys.readouterr().out


def test_cpu_time_does_not_count_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter([0.0, 1.0, 1.0, 4.0, 4.0, 6.0])
    monkeypatch.setattr(time, "thread_time", lambda: next(spent))
    runs: list[int] = []
    assert measuring.cpu_seconds(lambda: runs.append(1), repeats=3) == 2.0
    assert len(runs) == 4


def test_a_bench_takes_the_options_it_declares_and_no_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def run(options: argparse.Namespace) -> Report:
        asked.append(options.data)
        return example_report()

    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--data", default="")

    module = types.SimpleNamespace(run=run, add_options=add_options, __doc__="An example.")
    monkeypatch.setattr(bench_runner, "load_bench", lambda name, package=None: module)
    assert bench_runner.main(["aggregation", "--json", "--data", "somewhere"]) == 0
    assert asked == ["somewhere"]
    with pytest.raises(SystemExit):
        bench_runner.main(["aggregation", "--dta", "somewhere"])
    plain = types.SimpleNamespace(run=example_report, __doc__="An example.")
    monkeypatch.setattr(bench_runner, "load_bench", lambda name, package=None: plain)
    with pytest.raises(SystemExit):
        bench_runner.main(["aggregation", "--data", "somewhere"])
    assert "unrecognized arguments" in capsys.readouterr().err
