"""Builds the virtual environments `.venvs/run` and `.venvs/test` from the locked requirements; standard library only.

`python3 -m scripts.environment run|test [--layer NAME]...`, normally called by the launchers beside this file.
A layer is one file `requirements/NAME.txt`; the first is named like the environment. A stamp in the environment
records the hash of each installed layer, so that a second start only compares hashes. Every package is checked
against its locked hash; nothing is resolved, nothing comes from outside the lock.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from scripts import page_assets

ROOT = Path(__file__).resolve().parent.parent
BYTES_PER_MB = 1_000_000
_STAMP = "voltbridge-stamp.json"
_UNITS = {"bytes": 1, "B": 1, "kB": 1_000, "MB": BYTES_PER_MB, "GB": 1_000 * BYTES_PER_MB}
_FETCHED = re.compile(
    r"^\s*(?P<how>Downloading|Using cached) (?P<file>\S+) \((?P<size>[\d.]+) (?P<unit>bytes|B|kB|MB|GB)\)"
)
_LOCAL = re.compile(r"^\s*Processing (?P<path>/\S+\.whl)")
_NO_COMPILER = re.compile(
    r"(command '[^']*(?:gcc|cc|clang|g\+\+|c\+\+)[^']*' failed: No such file"
    r"|Unknown compiler\(s\)|No such file or directory: '(?:gcc|cc|g\+\+|c\+\+)'|Python\.h: No such file)"
)
_UNBUILT = re.compile(
    r"(?:Failed building wheel for|Failed to build|error: metadata-generation-failed.*?╰─> )\s*([\w.-]+)"
)


class SetupError(Exception):
    """The environment cannot be built; the text says what to do about it."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fetch:
    """One package file that pip took.

    Attributes:
        file: Its name, for example `scipy-1.17.1-cp311-cp311-manylinux_2_28_x86_64.whl`.
        size_bytes: What pip reports, rounded by pip to three digits.
        is_cached: Whether it came from this machine (pip's cache, a folder of wheels) instead of the network.
    """

    file: str
    size_bytes: int
    is_cached: bool


def parse_fetch(line: str) -> Fetch | None:
    """Read one line of pip's output; None when it tells of no package file."""
    local = _LOCAL.match(line)
    if local is not None:
        wheel = Path(local["path"])
        return Fetch(file=wheel.name, size_bytes=wheel.stat().st_size if wheel.is_file() else 0, is_cached=True)
    match = _FETCHED.match(line)
    if match is None or match["file"].endswith(".metadata"):
        return None
    size_bytes = round(float(match["size"]) * _UNITS[match["unit"]])
    return Fetch(file=match["file"], size_bytes=size_bytes, is_cached=match["how"] == "Using cached")


def explain_pip_failure(output: str) -> str:
    """Return what a person can do about a failed `pip install`, from pip's own words."""
    tail = "\n".join(output.splitlines()[-15:])
    interpreter = f"Python {platform.python_version()} on {sysconfig.get_platform()}"
    if _NO_COMPILER.search(output):
        unbuilt = _UNBUILT.search(output)
        package = unbuilt[1] if unbuilt else "a package"
        return (
            f"{package} has no prebuilt wheel for {interpreter} and must be compiled, which needs a C and C++ compiler and "
            "the Python headers. Debian and Ubuntu: apt-get install build-essential python3-dev. Or use Python 3.11, 3.12 "
            "or 3.13 on x86-64 or ARM64 Linux with glibc, for which every package is prebuilt."
        )
    if "DO NOT MATCH THE HASHES" in output:
        return f"A package is not the one that was locked; nothing of it was installed.\n{tail}"
    if "No matching distribution found" in output:
        return f"The package index does not offer a locked version for {interpreter}.\n{tail}"
    if "No space left on device" in output:
        return f"The disk is full; the environment needs about 600 MB in {ROOT}."
    return f"pip failed:\n{tail}"


def explain_missing_modules(find_spec: Callable[[str], object] = importlib.util.find_spec) -> str | None:
    """Return why this interpreter cannot make virtual environments, or None when it can."""
    missing = [name for name in ("venv", "ensurepip") if find_spec(name) is None]
    if not missing:
        return None
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"This Python ({sys.executable}, {version}) comes without {' and '.join(missing)}, so it cannot make a virtual "
        f"environment. Debian and Ubuntu: apt-get install python{version}-venv. Fedora: dnf install python3-pip. Or name "
        "another interpreter: PYTHON=/path/to/python3.11."
    )


def layer_hashes(root: Path, layers: Iterable[str]) -> dict[str, str]:
    """Return the hash that each layer's stamp must have: the lock file together with the interpreter."""
    interpreter = f"{sys.version_info[:2]} {sysconfig.get_platform()} {sys.base_prefix}".encode()
    return {
        layer: hashlib.sha256((root / "requirements" / f"{layer}.txt").read_bytes() + interpreter).hexdigest()
        for layer in layers
    }


def read_stamp(environment: Path) -> dict[str, str]:
    """Return the layers already in an environment with their hashes; empty when none is complete."""
    try:
        stamp = json.loads((environment / _STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return {str(layer): str(digest) for layer, digest in stamp.items()} if isinstance(stamp, dict) else {}


def disk_bytes(folder: Path) -> int:
    """Return the space that a folder takes, in whole disk blocks, hard links once."""
    seen: dict[tuple[int, int], int] = {}
    for parent, _, files in os.walk(folder):
        for name in files:
            status = os.lstat(os.path.join(parent, name))
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


@contextlib.contextmanager
def exclusive(lock_file: Path) -> Iterator[None]:
    """Let one setup at a time work on the environments; a second one waits and then finds them ready."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def create_environment(environment: Path, root: Path) -> None:
    """Make an empty virtual environment in which `gateway`, `bidding` and the command `voltbridge` are known."""
    if environment.exists():
        shutil.rmtree(environment)
    made = subprocess.run([sys.executable, "-m", "venv", environment], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise SetupError(f"python3 -m venv failed:\n{made.stdout}{made.stderr}".rstrip())
    site = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "voltbridge.pth").write_text(f"{root}\n")
    command = environment / "bin" / "voltbridge"
    command.write_text(
        f"#!{environment / 'bin' / 'python'}\nimport sys\n\nfrom gateway.__main__ import main\n\nsys.exit(main())\n"
    )
    command.chmod(0o755)


def install_layer(environment: Path, requirements: Path) -> list[Fetch]:
    """Install one lock file into an environment and show each larger package as it arrives.

    Raises:
        SetupError: pip failed; the text says what to do.
    """
    return run_pip(environment, ["--require-hashes", "--no-deps", "--no-compile", "-r", requirements])


def run_pip(environment: Path, wanted: Sequence[str | Path]) -> list[Fetch]:
    """Let an environment's pip install something and show each larger package as it arrives.

    Args:
        environment: Where to install.
        wanted: What to install, with the options for it.

    Raises:
        SetupError: pip failed; the text says what to do.
    """
    command: list[str | Path] = [environment / "bin" / "python", "-m", "pip", "install"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", *wanted]
    lines: list[str] = []
    fetches: list[Fetch] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        if pip.stdout is None:
            raise SetupError("pip gave no output")
        for line in pip.stdout:
            lines.append(line)
            fetch = parse_fetch(line)
            if fetch is not None:
                fetches.append(fetch)
                show_fetch(fetch, fetches)
            elif line.startswith("Installing collected packages"):
                say(f"  installing {len(fetches)} packages")
    if pip.returncode != 0:
        raise SetupError(explain_pip_failure("".join(lines)))
    return fetches


def show_fetch(fetch: Fetch, fetches: list[Fetch]) -> None:
    """Print one package of at least a megabyte with the running total."""
    if fetch.size_bytes >= BYTES_PER_MB:
        total = sum(each.size_bytes for each in fetches)
        name = "-".join(fetch.file.split("-")[:2])
        source = " (cached)" if fetch.is_cached else ""
        say(f"  {total / BYTES_PER_MB:6.1f} MB  {name}{source}")


def say(text: str) -> None:
    """Print progress to standard error, so that standard output stays the program's own."""
    print(text, file=sys.stderr, flush=True)


def build(name: str, layers: list[str], root: Path) -> int:
    """Bring an environment up to its lock files; return the number of bytes fetched (0 when nothing was to do).

    A layer that changed means a new environment, so that nothing of an older lock stays behind; a layer that is
    only missing is added.

    Raises:
        SetupError: It cannot be built; the text says what to do.
    """
    environment = root / ".venvs" / name
    wanted, present = layer_hashes(root, layers), read_stamp(environment)
    if any(layer in wanted and wanted[layer] != digest for layer, digest in present.items()):
        present = {}
    missing = [layer for layer in layers if layer not in present]
    if not missing:
        return 0
    refusal = explain_missing_modules()
    if refusal is not None:
        raise SetupError(refusal)
    fetches: list[Fetch] = []
    if not present:
        say(f"Building .venvs/{name} (once; later starts take seconds)")
        create_environment(environment, root)
    for layer in missing:
        say(f"Installing requirements/{layer}.txt")
        fetches += install_layer(environment, root / "requirements" / f"{layer}.txt")
        present[layer] = wanted[layer]
        (environment / _STAMP).write_text(json.dumps(present))
    return sum(fetch.size_bytes for fetch in fetches)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Build one environment and the page's assets; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts.environment", description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=["run", "test"])
    parser.add_argument("--layer", action="append", default=[], help="a further file of requirements/")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    environment = root / ".venvs" / options.name
    try:
        with exclusive(root / ".venvs" / "lock"):
            fetched_bytes = build(options.name, [options.name, *options.layer], root)
            fetched_bytes += page_assets.install(root, say)
    except (SetupError, page_assets.AssetsError) as error:
        say(f"\nCannot set up Voltbridge. {error}")
        return 1
    if fetched_bytes > 0:
        disk = disk_bytes(environment) + disk_bytes(root / page_assets.VENDOR)
        say(
            f"Ready in {time.monotonic() - started:.0f} s: fetched {fetched_bytes / BYTES_PER_MB:.0f} MB, "
            f"on disk {disk / BYTES_PER_MB:.0f} MB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
