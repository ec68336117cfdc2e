"""The bench of the aggregation says what it measured, and nothing about what it did not."""

import argparse
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bidding.fleet.sessions import uncontrolled_schedule
from scripts import bench_runner, peer_environment
from scripts.benches import aggregation
from scripts.environment import SetupError
from scripts.fleet_case import CLARABEL, HIGHS_DEFAULT, HIGHS_IPM, SLOTS, FleetCase, solve_plain_lp
from scripts.measuring import Report, at_least
from scripts.peer_environment import EMHASS, FLEXMEASURES, Peer, PeerAnswer, PeerError

LP_NAMES = [HIGHS_IPM.name, HIGHS_DEFAULT.name, CLARABEL.name]
ANSWERING = """
import json, sys
import numpy as np

case = np.load(sys.argv[1])
content = {"cpu_s": 1.5, "objective_eur": float(case["energy_min_kwh"].sum()), "versions": "peer 1"}
open(sys.argv[2], "w").write(json.dumps(content))
"""


def options_of(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    aggregation.add_options(parser)
    return parser.parse_args(list(arguments))


@pytest.fixture(scope="module")
def quick() -> Report:
    """The report of a quick run; memory is taken by a test of its own, as it starts a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregation, "_peaks", lambda sizes: dict.fromkeys(sizes, 1 << 20))
        return aggregation.run(options_of("--sizes", "80,40", "--rounds", "1"))


# ---------------------------------------------------------------- the report


def test_a_quick_run_has_a_row_for_every_solver_and_size(quick: Report) -> None:
    seen = [(row["sessions"], row["solver"]) for row in quick["results"]]
    solvers = [aggregation.OURS, *LP_NAMES, FLEXMEASURES.title, EMHASS.title]
    assert seen == [(count, solver) for count in (40, 80) for solver in solvers]
    for row in quick["results"]:
        measured = isinstance(row.get("total_s"), float) and isinstance(row.get("objective_eur"), float)
        assert measured == (row["solver"] not in {FLEXMEASURES.title, EMHASS.title})
        assert measured or str(row["note"]).startswith("not measured")


def test_what_was_not_measured_has_no_numbers_and_no_goal(quick: Report) -> None:
    silent = [row for row in quick["results"] if row["solver"] in {FLEXMEASURES.title, EMHASS.title}]
    assert len(silent) == 4
    for row in silent:
        assert {name for name, value in row.items() if isinstance(value, float)} == set()
    goals = " ".join(goal["goal"] for goal in quick["goals"])
    assert FLEXMEASURES.title not in goals
    assert EMHASS.title not in goals
    assert "1000" not in goals
    assert len(quick["goals"]) == 3


def test_the_goals_of_a_quick_run_are_met_by_its_numbers(quick: Report) -> None:
    ours = [row for row in quick["results"] if row["solver"] == aggregation.OURS]
    assert all(goal["met"] for goal in quick["goals"]), quick["goals"]
    for row in ours:
        assert float(str(row["over_cap"])) < 1e-9
        assert int(str(row["iterations"])) > 1
        aggregate, optimum, by_block, by_slot, total = (
            float(str(row[name])) for name in ("aggregate_s", "optimum_s", "by_block_s", "by_slot_s", "total_s")
        )
        assert aggregate + optimum + min(by_block, by_slot) == pytest.approx(total)
        assert float(str(row["peak_mib"])) > 0.0


def test_memory_is_measured_in_a_process_of_its_own_and_counts_the_sessions() -> None:
    peaks = aggregation._peaks([2_000])
    assert peaks[2_000] > 2 * FleetCase.of(2_000).session_bytes
    assert not tracemalloc.is_tracing()


def test_the_report_can_be_printed_both_ways(quick: Report) -> None:
    assert json.loads(bench_runner.as_json(quick, {}))["results"] == quick["results"]
    assert "not measured" in bench_runner.as_table(quick, {})


def test_the_slow_algorithm_is_left_out_of_large_cases_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregation, "SLOW_SESSIONS", 5)
    case = FleetCase.of(10)
    assert [row.get("total_s") is None for row in aggregation._lp_rows(case, slow=False)] == [False, True, False]
    assert [row.get("total_s") is None for row in aggregation._lp_rows(case, slow=True)] == [False, False, False]


@pytest.mark.parametrize("text", ["", "0", "100,-1", "many"])
def test_sizes_are_numbers_of_sessions(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options_of("--sizes", text)
    assert "is not a list of numbers of sessions" in capsys.readouterr().err


# ---------------------------------------------------------------- goals


def row_of(count: int, solver: str, **numbers: float) -> aggregation.Row:
    return {"sessions": count, "solver": solver, **numbers}


def test_every_goal_is_judged_when_everything_was_measured() -> None:
    own = {"gap": 1e-7, "energy_missed_kwh": 1e-12, "difference": 1e-8, "peak_over_sessions": 5.0}
    rows = [
        row_of(1_000, aggregation.OURS, total_s=0.12, optimum_s=0.1, **own),
        row_of(1_000, FLEXMEASURES.title, times_ours=39.0, difference=2e-6),
        row_of(1_000, EMHASS.title, times_ours=300.0, difference=2e-6),
        row_of(10_000, HIGHS_IPM.name, times_ours=80.0, difference=0.0),
        row_of(10_000, HIGHS_DEFAULT.name, times_ours=1_000.0, difference=0.0),
        row_of(1_000_000, aggregation.OURS, total_s=0.61, optimum_s=0.14, **own),
    ]
    judged = {goal["goal"]: goal["met"] for goal in aggregation._goals(rows)}
    assert list(judged.values()) == [False, True, True, False, True, False, True, True, True, True, False, True]
    assert judged["times faster than FlexMeasures, 1000 sessions"] is False
    assert judged["whole chain of 1000000 over capped optimum of 1000 sessions"] is False


def test_a_missed_goal_says_by_how_much() -> None:
    assert aggregation._told(at_least("times faster", 40.0, 30.0))["goal"] == "times faster (missed by 25%)"
    assert aggregation._told(at_least("times faster", 40.0, 50.0))["goal"] == "times faster"


# ---------------------------------------------------------------- the instance and its program


def test_the_case_is_the_same_every_time_and_its_cap_binds() -> None:
    case, again = FleetCase.of(50), FleetCase.of(50)
    for name, column in case.columns.items():
        np.testing.assert_array_equal(column, again.columns[name])
    uncontrolled = uncontrolled_schedule(case.sessions, case.sessions.energy_min_kwh, SLOTS)
    np.testing.assert_allclose(case.cap_kwh, 0.6 * uncontrolled.max())
    uncapped = FleetCase(sessions=case.sessions, price_eur_per_kwh=case.price_eur_per_kwh, cap_kwh=np.full(SLOTS, 1e6))
    assert solve_plain_lp(case, HIGHS_IPM) > solve_plain_lp(uncapped, HIGHS_IPM) + 0.01
    assert case.session_bytes == 50 * 5 * 8


def test_a_case_without_an_optimum_is_not_timed() -> None:
    case = FleetCase.of(20)
    closed = FleetCase(sessions=case.sessions, price_eur_per_kwh=case.price_eur_per_kwh, cap_kwh=np.zeros(SLOTS))
    with pytest.raises(RuntimeError, match="infeasible"):
        solve_plain_lp(closed, HIGHS_IPM)


# ---------------------------------------------------------------- peers


def peer_with(script: Path) -> Peer:
    class Scripted(Peer):
        script = property(lambda _self: script)

    return Scripted(name="flexmeasures", title="FlexMeasures", requirement="flexmeasures==1.0.1")


def test_a_peer_is_asked_in_a_process_of_its_own_about_the_same_case(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ANSWERING)
    case = FleetCase.of(7)
    answer = peer_environment.ask(peer_with(script), Path(sys.executable), case)
    assert answer == PeerAnswer(cpu_s=1.5, objective_eur=float(case.sessions.energy_min_kwh.sum()), versions="peer 1")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise SystemExit('ended with infeasible')", "ended with infeasible"),
        ("", "ended with code 0"),
        ("import sys; open(sys.argv[2], 'w').write('{}')", "answered '{}'"),
        ("import sys; open(sys.argv[2], 'w').write('[1')", "answered"),
    ],
)
def test_a_peer_that_fails_says_why(body: str, reason: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(body)
    with pytest.raises(PeerError, match=reason):
        peer_environment.ask(peer_with(script), Path(sys.executable), FleetCase.of(3))


def test_a_peer_that_is_not_there_is_a_row_without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for peer in (FLEXMEASURES, EMHASS):
        monkeypatch.setenv(peer.variable, sys.executable)
    rows = list(aggregation._peer_rows(FleetCase.of(3), wanted=True))
    assert [row["solver"] for row in rows] == [FLEXMEASURES.title, EMHASS.title]
    for row in rows:
        assert str(row["note"]).startswith("not measured: ")
        assert "No module named" in str(row["note"])
        assert "total_s" not in row


def test_large_cases_are_not_put_to_peers() -> None:
    assert list(aggregation._peer_rows(FleetCase.of(1_001), wanted=True)) == []


def test_a_peers_scripts_exist_and_pin_what_is_installed() -> None:
    for peer in (FLEXMEASURES, EMHASS):
        assert peer.script.is_file()
        assert peer.requirement.startswith(f"{peer.name}==")


class FakeInstallation:
    """Stands for venv and pip: makes the folder and remembers what was asked for."""

    def __init__(self, pip_code: int) -> None:
        self.pip_code = pip_code
        self.installed: list[str] = []

    def run(self, command: Sequence[str | Path], **_options: object) -> subprocess.CompletedProcess[str]:
        Path(command[-1]).mkdir(parents=True)
        return subprocess.CompletedProcess(list(map(str, command)), 0, "", "")

    def install(self, _folder: Path, wanted: Sequence[str]) -> None:
        self.installed += wanted
        if self.pip_code:
            raise SetupError("No space left")


def test_an_environment_is_made_once_and_again_for_another_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeInstallation(0)
    monkeypatch.setattr(subprocess, "run", fake.run)
    monkeypatch.setattr(peer_environment, "run_pip", fake.install)
    python = tmp_path / ".venvs" / "peer-emhass" / "bin" / "python"
    for peer in (EMHASS, EMHASS, Peer(name="emhass", title="EMHASS", requirement="emhass==0.18.8")):
        assert peer_environment.python_of(peer, tmp_path, {}) == python
    assert fake.installed == ["emhass==0.18.7", "emhass==0.18.8"]
    assert "Building .venvs/peer-emhass" in capsys.readouterr().err


def test_a_half_made_environment_is_not_taken_for_a_whole_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = FakeInstallation(1)
    monkeypatch.setattr(subprocess, "run", fake.run)
    monkeypatch.setattr(peer_environment, "run_pip", fake.install)
    for _ in range(2):
        with pytest.raises(SetupError, match="No space left"):
            peer_environment.python_of(EMHASS, tmp_path, {})
    assert fake.installed == ["emhass==0.18.7"] * 2


def test_pips_words_reach_the_person_who_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / ".venvs" / "peer-emhass" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'ERROR: No matching distribution found for emhass==0.18.7'\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(peer_environment, "_create", lambda _folder, _interpreter: None)
    with pytest.raises(SetupError, match="does not offer"):
        peer_environment.python_of(EMHASS, tmp_path, {})


def test_a_named_python_is_taken_as_it_is(tmp_path: Path) -> None:
    named = {"VOLTBRIDGE_PEER_EMHASS": "/opt/emhass/bin/python"}
    assert peer_environment.python_of(EMHASS, tmp_path, named) == Path("/opt/emhass/bin/python")
    assert not (tmp_path / ".venvs").exists()
