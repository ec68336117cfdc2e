"""Checks texts: unfinished work, paths of one machine, addresses in lock files, rooms without import rules."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

# Put together from halves, so that this file does not find itself.
UNFINISHED = re.compile(
    r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|pragma: ?no" r" ?cover|raise NotImpl" r"ementedError"
)
ADDRESS = re.compile(r"[a-z+]+://|--(?:extra-)?index-url|--find-links|--trusted-host|\"resolved\"", re.IGNORECASE)
LOCK_FILE = re.compile(
    r"(^|/)(requirements[^/]*\.txt|requirements/[^/]+\.txt|[^/]*\.lock|[^/]*lock\.json|\.npmrc|pip\.conf)$"
)
_SKIPPED_FOLDERS = frozenset(
    {".git", ".venv", ".venvs", "node_modules", "vendor", "var", "build", "dist", "__pycache__", ".hypothesis"}
)
_LARGEST_BYTES = 2_000_000


def list_files(root: Path) -> list[str]:
    """Return the project's files: those git knows or would take up, all of them outside a repository."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        listed = None
    if listed is not None and listed.returncode == 0:
        return sorted(name for name in listed.stdout.splitlines() if (root / name).is_file())
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file()
        and not any(part in _SKIPPED_FOLDERS or part.endswith("_cache") for part in path.relative_to(root).parts)
    )


def read_texts(root: Path) -> dict[str, str]:
    """Return path and text of every text file of the project up to 2 MB; data files and pictures are left out."""
    texts = {}
    for name in list_files(root):
        content = (root / name).read_bytes() if (root / name).stat().st_size <= _LARGEST_BYTES else b"\0"
        if b"\0" not in content:
            texts[name] = content.decode(errors="replace")
    return texts


def find(texts: dict[str, str], root: Path) -> Iterator[tuple[str, int, str]]:
    """Yield path, line and text of each breach."""
    machine_paths = [f"{root}/", f"{Path.home()}/"]
    for path, content in texts.items():
        is_lock = LOCK_FILE.search(path) is not None
        is_code = path.endswith((".py", ".proto", ".sh", ".html", ".toml")) and "/v1/" not in path
        for number, line in enumerate(content.splitlines(), start=1):
            if is_lock and ADDRESS.search(line):
                yield path, number, "an address in a lock or client file: no host may stand there"
            if is_code and UNFINISHED.search(line):
                yield path, number, "unfinished or switched off: finish it"
            if any(each in line for each in machine_paths):
                yield path, number, "a path of this machine"


def find_unruled_rooms(root: Path) -> list[str]:
    """Return one text for each room or module of `gateway` that no import rule names."""
    linter = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    named: set[str] = set()
    for contract in linter["contracts"]:
        for option in ("layers", "rooms"):
            named.update(re.findall(r"[\w.]+", " ".join(contract.get(option, []))))
    folder = root / "gateway"
    rooms = [path.stem for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    rooms += [path.parent.name for path in sorted(folder.glob("*/__init__.py"))]
    return [f"gateway.{room} stands in no import rule" for room in rooms if f"gateway.{room}" not in named]
