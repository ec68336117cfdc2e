"""A peer that needs a newer Python gets one that is on the machine, or says that there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.environment import SetupError
from scripts.peer_environment import EMHASS, OPENADR3_CLIENT, interpreter_of


def command(folder: Path, name: str, lines: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{lines}\n")
    file.chmod(0o755)


def test_a_peer_without_wishes_gets_this_python() -> None:
    assert interpreter_of(EMHASS) == sys.executable


def test_the_first_version_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command(tmp_path, "python3.12", "exit 127")
    command(tmp_path, "python3.13", "echo /somewhere/python3.13")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert interpreter_of(OPENADR3_CLIENT) == "/somewhere/python3.13"


def test_uv_is_asked_first_and_downloads_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command(tmp_path, "uv", 'case "$*" in *--no-python-downloads*3.12) echo /uv/python3.12;; *) exit 2;; esac')
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + "/bin")
    assert interpreter_of(OPENADR3_CLIENT) == "/uv/python3.12"


def test_a_machine_without_one_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"needs Python 3\.12 or 3\.13, and none was found"):
        interpreter_of(OPENADR3_CLIENT)


def test_the_command_says_loudly_that_the_peer_went_untested(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "scripts.openadr_peer"],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != OPENADR3_CLIENT.variable}
        | {"PATH": str(tmp_path)},
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    assert ended.returncode == 2
    assert "PEER UNTESTED: ElaadNL's openadr3-client needs Python 3.12" in ended.stdout + ended.stderr
