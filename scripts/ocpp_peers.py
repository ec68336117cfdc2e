"""Independent JavaScript programs that speak OCPP: `ocpp-rpc` as a strict charger, `typed-ocpp` as a validator of 2.1 frames.

npm fetches the locked packages once into `.venvs/peer-ocpp-js`; nothing of them is part of the product. The lock is made by
`npm install --package-lock-only --omit-lockfile-registry-resolved`, with the lines about funding taken out: no address stands in it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from scripts.environment import ROOT, SetupError, exclusive

SOURCES = ROOT / "scripts" / "peers" / "ocpp_js"
FOLDER = ROOT / ".venvs" / "peer-ocpp-js"
_STAMP = "voltbridge-peer.txt"
_PATIENCE_S = 120.0
_LAST = 500


def installed() -> Path:
    """Return the folder with the peers' programs and packages, installed if they are not there yet.

    Raises:
        SetupError: There is no Node.js with npm, or npm cannot fetch the packages; the text says what to do.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise SetupError("needs Node.js with npm: apt-get install npm")
    with exclusive(FOLDER.with_suffix(".lock")):
        if not _is_current():
            _install(npm)
    return FOLDER


def _digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _is_current() -> bool:
    stamp = FOLDER / _STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _digest()


def _install(npm: str) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(SOURCES, FOLDER)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    try:
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"npm ci did not end within {_PATIENCE_S:.0f} s") from error
    if done.returncode != 0:
        raise SetupError(f"npm ci failed: {(done.stdout + done.stderr)[-_LAST:].strip()}")
    (FOLDER / _STAMP).write_text(_digest(), encoding="utf-8")
