"""Building environments: what is built anew, what is added, what a person is told when it cannot be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import environment, page_assets
from scripts.environment import Fetch

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("line", "fetch"),
    [
        (
            "  Downloading scipy-1.17.1-cp311-cp311-manylinux_2_28_x86_64.whl (35.3 MB)\n",
            Fetch(file="scipy-1.17.1-cp311-cp311-manylinux_2_28_x86_64.whl", size_bytes=35_300_000, is_cached=False),
        ),
        (
            "Using cached idna-3.20-py3-none-any.whl (68 kB)",
            Fetch(file="idna-3.20-py3-none-any.whl", size_bytes=68_000, is_cached=True),
        ),
        ("  Downloading a-1.tar.gz (312 bytes)", Fetch(file="a-1.tar.gz", size_bytes=312, is_cached=False)),
    ],
)
def test_pip_lines_tell_what_was_fetched(line: str, fetch: Fetch) -> None:
    assert environment.parse_fetch(line) == fetch


@pytest.mark.parametrize(
    "line",
    [
        "Collecting scipy==1.17.1 (from -r requirements/run.txt (line 3))",
        "  Downloading idna-3.20-py3-none-any.whl.metadata (10 kB)",
        "Successfully installed scipy-1.17.1",
        "",
    ],
)
def test_other_pip_lines_tell_nothing(line: str) -> None:
    assert environment.parse_fetch(line) is None


def test_a_wheel_from_a_folder_counts_with_its_size(tmp_path: Path) -> None:
    wheel = tmp_path / "six-1.16.0-py2.py3-none-any.whl"
    wheel.write_bytes(b"x" * 11_000)
    fetch = environment.parse_fetch(f"Processing {wheel} (from -r requirements/run.txt (line 3))\n")
    assert fetch == Fetch(file=wheel.name, size_bytes=11_000, is_cached=True)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            "error: command 'gcc' failed: No such file or directory\nERROR: Failed building wheel for qdldl",
            "qdldl has no prebuilt",
        ),
        ("error: command '/usr/bin/x86_64-linux-gnu-gcc' failed: No such file", "apt-get install build-essential"),
        ("src/a.c:1:10: fatal error: Python.h: No such file or directory", "python3-dev"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "not the one that was locked"),
        ("ERROR: No matching distribution found for numpy==2.4.6", "does not offer a locked version"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("something new", "something new"),
    ],
)
def test_a_failed_install_says_what_to_do(output: str, told: str) -> None:
    assert told in environment.explain_pip_failure(output)


def test_a_python_without_ensurepip_names_the_package_to_install() -> None:
    told = environment.explain_missing_modules(lambda name: None if name == "ensurepip" else name)
    assert told is not None
    assert "without ensurepip" in told
    assert f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-venv" in told
    assert environment.explain_missing_modules() is None


def test_the_launchers_refuse_an_old_python_and_say_so(tmp_path: Path) -> None:
    for name in ("python3", "python", "python3.11", "python3.12", "python3.13", "python3.14"):
        old = tmp_path / name
        old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
        old.chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([ROOT / "scripts" / "run"], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer; found: Python 3.9.2" in done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose layers install nothing, so that only the environment itself is made."""
    (tmp_path / "requirements").mkdir()
    for layer in ("run", "browser"):
        (tmp_path / "requirements" / f"{layer}.txt").write_text("# nothing\n")
    return tmp_path


@pytest.fixture
def installed(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers installed so far, in order; pip is not started."""
    layers: list[str] = []

    def install_layer(folder: Path, requirements: Path) -> list[Fetch]:
        assert (folder / "bin" / "python").exists()
        layers.append(requirements.stem)
        return [Fetch(file=requirements.stem, size_bytes=7, is_cached=False)]

    def create_environment(folder: Path, root: Path) -> None:
        assert root == project
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        (folder / "bin" / "python").touch()
        layers.append("new")

    monkeypatch.setattr(environment, "install_layer", install_layer)
    monkeypatch.setattr(environment, "create_environment", create_environment)
    return layers


def test_a_second_start_does_nothing(project: Path, installed: list[str]) -> None:
    assert environment.build("run", ["run"], project) == 7
    assert environment.build("run", ["run"], project) == 0
    assert installed == ["new", "run"]


def test_a_further_layer_is_added_to_the_environment(project: Path, installed: list[str]) -> None:
    environment.build("run", ["run"], project)
    environment.build("run", ["run", "browser"], project)
    environment.build("run", ["run"], project)
    assert installed == ["new", "run", "browser"]


def test_a_changed_lock_file_means_a_new_environment(project: Path, installed: list[str]) -> None:
    environment.build("run", ["run", "browser"], project)
    (project / "requirements" / "run.txt").write_text("# changed\n")
    environment.build("run", ["run"], project)
    assert installed == ["new", "run", "browser", "new", "run"]


def test_an_interrupted_install_starts_again(
    project: Path, installed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, requirements: Path) -> list[Fetch]:
        raise environment.SetupError(f"pip failed: {folder.name} {requirements.name}")

    with monkeypatch.context() as patch:
        patch.setattr(environment, "install_layer", fail)
        with pytest.raises(environment.SetupError):
            environment.build("run", ["run"], project)
    environment.build("run", ["run"], project)
    assert installed == ["new", "new", "run"]


@pytest.mark.parametrize("stamp", ["", "{", "[]", "null"])
def test_a_damaged_stamp_counts_as_none(project: Path, installed: list[str], stamp: str) -> None:
    environment.build("run", ["run"], project)
    (project / ".venvs" / "run" / "voltbridge-stamp.json").write_text(stamp)
    environment.build("run", ["run"], project)
    assert installed == ["new", "run", "new", "run"]


def test_another_interpreter_means_another_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment.layer_hashes(project, ["run"])
    monkeypatch.setattr(sys, "base_prefix", "/opt/other")
    assert environment.layer_hashes(project, ["run"]) != before


@pytest.mark.timeout(120)  # pip is unpacked into a new environment
def test_a_new_environment_knows_the_packages_and_the_command(project: Path) -> None:
    (project / "gateway").mkdir()
    (project / "gateway" / "__init__.py").touch()
    (project / "gateway" / "__main__.py").write_text("def main() -> int:\n    print('main ran')\n    return 3\n")
    folder = project / ".venvs" / "run"
    environment.create_environment(folder, project)
    assert environment.install_layer(folder, project / "requirements" / "run.txt") == []
    done = subprocess.run([folder / "bin" / "voltbridge"], cwd="/", capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("main ran\n", 3)


@pytest.mark.timeout(120)  # pip is unpacked into a new environment
def test_a_package_with_a_wrong_hash_is_refused(project: Path) -> None:
    wheel = project / "wheels" / "nothing-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"not what was locked")
    layer = project / "requirements" / "run.txt"
    layer.write_text(f"--no-index\n--find-links {wheel.parent}\nnothing==1.0 --hash=sha256:{'0' * 64}\n")
    folder = project / ".venvs" / "run"
    environment.create_environment(folder, project)
    with pytest.raises(environment.SetupError, match="not the one that was locked"):
        environment.install_layer(folder, layer)


def test_disk_space_counts_a_hard_link_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(100_000))
    once = environment.disk_bytes(tmp_path)
    os.link(tmp_path / "a", tmp_path / "b")
    assert once >= 100_000
    assert environment.disk_bytes(tmp_path) == once


def test_main_prints_what_to_do_and_fails(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "explain_missing_modules", lambda: "No ensurepip here.")
    assert environment.main(["run"], project) == 1
    assert "Cannot set up Voltbridge. No ensurepip here." in capsys.readouterr().err


@pytest.mark.usefixtures("installed")
def test_main_prints_sizes_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched = iter([1_500_000, 0])
    monkeypatch.setattr(page_assets, "install", lambda root, say: next(fetched))
    (project / page_assets.VENDOR).mkdir(parents=True)
    assert environment.main(["run"], project) == 0
    assert "fetched 2 MB, on disk 0 MB" in capsys.readouterr().err
    assert environment.main(["run"], project) == 0
    assert capsys.readouterr().err == ""
    assert set(json.loads((project / ".venvs" / "run" / "voltbridge-stamp.json").read_text())) == {"run"}


@pytest.mark.parametrize("layer", ["run", "test", "browser", "check", "node"])
def test_every_locked_package_has_hashes(layer: str) -> None:
    entries = (ROOT / "requirements" / f"{layer}.txt").read_text().replace("\\\n", " ").splitlines()
    packages = [entry for entry in entries if entry and not entry.lstrip().startswith("#")]
    assert packages
    assert [entry for entry in packages if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_what_is_shared_between_layers_has_one_version() -> None:
    def pins(layer: str) -> set[str]:
        lines = (ROOT / "requirements" / f"{layer}.txt").read_text().splitlines()
        return {line.removesuffix(" \\") for line in lines if "==" in line and not line.startswith((" ", "#"))}

    test = pins("test")
    names = {pin.partition("==")[0] for pin in test}
    assert pins("run") <= test
    for layer in ("browser", "check"):
        assert {pin for pin in pins(layer) if pin.partition("==")[0] in names} <= test
