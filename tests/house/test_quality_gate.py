"""The gate runs every step, shows what failed and fails with it."""

import sys
from pathlib import Path

import pytest

from scripts import quality_gate
from scripts.quality_gate import STEPS, Step

PASSES = Step(name="passes", purpose="nothing", module="this")
FAILS = Step(name="fails", purpose="much", module="no_such_module_at_all")


def test_all_steps_run_even_after_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quality_gate.main([], tmp_path, (FAILS, PASSES)) == 1
    out = capsys.readouterr().out
    assert "FAILED fails" in out
    assert "No module named no_such_module_at_all" in out
    assert "ok     passes" in out
    assert out.endswith("1 of 2 checks passed; failed: fails\n")


def test_named_steps_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quality_gate.main(["passes"], tmp_path, (FAILS, PASSES)) == 0
    assert capsys.readouterr().out.endswith("1 of 1 checks passed\n")


def test_an_unknown_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        quality_gate.main(["pases"], tmp_path, (PASSES,))


def test_steps_have_different_names_and_tools_stand_beside_the_interpreter() -> None:
    assert len({step.name for step in STEPS}) == len(STEPS)
    imports = next(step for step in STEPS if step.name == "imports")
    assert Path(quality_gate.command_of(imports)[0]).parent == Path(sys.executable).parent
