"""Other programs that solve the same problem: an environment of its own for each, made on request, and one answer from it.

Nothing of a peer is ever imported by the project. The Python of an environment that exists already is named by
`VOLTBRIDGE_PEER_<NAME>`, for example `VOLTBRIDGE_PEER_EMHASS=/opt/emhass/bin/python`; otherwise `.venvs/peer-<name>` is made.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scripts.environment import ROOT, SetupError, exclusive, explain_missing_modules, run_pip, say
from scripts.fleet_case import FleetCase

_STAMP = "voltbridge-peer.txt"
_LAST_LINES = 5
_WHERE = "import sys; print(sys.executable)"
PATIENCE_S = 3_600.0


class PeerError(Exception):
    """The peer gave no answer; the text says why."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A program to compare with."""

    name: str
    """Its name in lower case: `.venvs/peer-<name>`, `scripts/peers/<name>_peer.py`."""
    title: str
    """Its name as it writes it."""
    requirement: str
    """What pip installs, with exact versions; several are separated by blanks."""
    interpreters: tuple[str, ...] = ()
    """Versions of Python that it runs on, best first, for example `3.12`; empty for the one that runs this."""

    @property
    def script(self) -> Path:
        """What its environment runs."""
        return ROOT / "scripts" / "peers" / f"{self.name}_peer.py"

    @property
    def variable(self) -> str:
        """Environment variable that names a Python which has the peer already."""
        return f"VOLTBRIDGE_PEER_{self.name.upper()}"


FLEXMEASURES = Peer(name="flexmeasures", title="FlexMeasures", requirement="flexmeasures==1.0.1")
EMHASS = Peer(name="emhass", title="EMHASS", requirement="emhass==0.18.7")
ENTSOE = Peer(name="entsoe", title="entsoe-py", requirement="entsoe-py==0.8.1")
OPENADR3_CLIENT = Peer(
    name="openadr3_client",
    title="ElaadNL's openadr3-client",
    requirement="openadr3-client==2.4.2 openadr3-client-gac-compliance==3.2.4",
    interpreters=("3.12", "3.13"),
)
PYOSCP = Peer(name="pyoscp", title="pyoscp", requirement="pyoscp==0.1.0 python-dateutil==2.9.0.post0")
EXTRAWEST_OCPI = Peer(
    name="extrawest_ocpi", title="extrawest-ocpi", requirement="extrawest-ocpi==2025.7.16 uvicorn==0.54.0 httpx==0.24.1"
)
OCPI_TYPES = Peer(name="ocpi_types", title="ocpi-types", requirement="ocpi-types==0.3.0")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PeerAnswer:
    """What a peer made of a case."""

    cpu_s: float
    """CPU seconds of its own call on one core, without the preparation of its inputs."""
    objective_eur: float
    """Cost of the schedule that it returned."""
    versions: str
    """The peer and its solver, with versions."""


def python_of(peer: Peer, root: Path = ROOT, variables: Mapping[str, str] = os.environ) -> Path:
    """Return the Python of a peer's environment, and make the environment first where there is none.

    Raises:
        SetupError: It cannot be made; the text says what to do.
    """
    named = variables.get(peer.variable)
    if named is not None:
        return Path(named)
    folder = root / ".venvs" / f"peer-{peer.name}"
    with exclusive(root / ".venvs" / f"peer-{peer.name}.lock"):
        interpreter = interpreter_of(peer)
        if _read_stamp(folder) != _stamp(peer, interpreter):
            say(
                f"Building .venvs/peer-{peer.name} with {peer.requirement} (once; up to 400 MB to fetch, 1.5 GB on disk)"
            )
            _create(folder, interpreter)
            run_pip(folder, peer.requirement.split())
            (folder / _STAMP).write_text(_stamp(peer, interpreter))
    return folder / "bin" / "python"


def interpreter_of(peer: Peer) -> str:
    """Return the Python that a peer's environment is made with: this one, or one of the versions that it wants.

    Raises:
        SetupError: None of them is on this machine.
    """
    if not peer.interpreters:
        return sys.executable
    for version in peer.interpreters:
        for command in (["uv", "python", "find", "--no-python-downloads", version], [f"python{version}", "-c", _WHERE]):
            if shutil.which(command[0]) is None:
                continue
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            if found.returncode == 0 and found.stdout.strip():
                return found.stdout.strip()
    raise SetupError(f"{peer.title} needs Python {' or '.join(peer.interpreters)}, and none was found")


def ask(peer: Peer, python: Path, case: FleetCase) -> PeerAnswer:
    """Let a peer solve a case in a process of its own and return its answer.

    Raises:
        PeerError: It failed, took more than an hour, or answered something else.
    """
    with tempfile.TemporaryDirectory() as name:
        instance, answer = Path(name) / "case.npz", Path(name) / "answer.json"
        case.save(instance)
        try:
            ended = subprocess.run(
                [python, peer.script, instance, answer],
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                cwd=name,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PeerError(f"{peer.title} gave no answer: {error}") from error
        if ended.returncode != 0 or not answer.is_file():
            last = " / ".join(ended.stderr.strip().splitlines()[-_LAST_LINES:])
            raise PeerError(f"{peer.title} ended with code {ended.returncode}: {last}")
        return _read_answer(peer, answer)


def _read_answer(peer: Peer, file: Path) -> PeerAnswer:
    text = file.read_text()
    try:
        content = json.loads(text)
        return PeerAnswer(
            cpu_s=float(content["cpu_s"]),
            objective_eur=float(content["objective_eur"]),
            versions=str(content["versions"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PeerError(f"{peer.title} answered {text!r}") from error


def _stamp(peer: Peer, interpreter: str) -> str:
    made_with = sys.base_prefix if interpreter == sys.executable else interpreter
    return f"{peer.requirement} {sys.version_info[:2]} {sysconfig.get_platform()} {made_with}"


def _read_stamp(folder: Path) -> str | None:
    file = folder / _STAMP
    return file.read_text() if file.is_file() else None


def _create(folder: Path, interpreter: str) -> None:
    refusal = explain_missing_modules()
    if refusal is not None:
        raise SetupError(refusal)
    if folder.exists():
        shutil.rmtree(folder)
    made = subprocess.run([interpreter, "-m", "venv", folder], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise SetupError(f"python3 -m venv failed:\n{made.stdout}{made.stderr}".rstrip())
