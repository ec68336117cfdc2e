"""The run folder of the demo: generated logins, tokens and the gateway's configuration, in files only the owner may read."""

import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PEOPLE = {"trader": ("trader",), "approver": ("approver",), "operator": ("operator",)}
"""Login names of the demo and their roles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """A generated login of the demo."""

    actor: str
    roles: tuple[str, ...]
    password: str
    token: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def clock(self) -> Path:
        """Shared market time."""
        return self.path / "clock.json"

    @property
    def config(self) -> Path:
        """The gateway's configuration."""
        return self.path / "gateway.toml"

    @property
    def database(self) -> Path:
        """The gateway's rows."""
        return self.path / "gateway.sqlite"

    def write_secret(self, name: str, secret: str) -> Path:
        """Write a secret that only the owner may read and return its path."""
        path = self.path / name
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(secret)
        return path


def fresh_folder(path: Path) -> RunFolder:
    """Return an empty run folder; whatever an earlier run left there is removed."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True, mode=0o700)
    return RunFolder(path=path)


def generate_logins() -> dict[str, Login]:
    """Return fresh passwords and tokens for the people of the demo."""
    return {
        actor: Login(actor=actor, roles=roles, password=secrets.token_urlsafe(9), token=secrets.token_urlsafe(32))
        for actor, roles in PEOPLE.items()
    }


def toml_text(tables: Mapping[str, object]) -> str:
    """Return nested mappings, lists of mappings and scalars as TOML; what the standard library reads but does not write."""
    lines: list[str] = []
    _write_table(lines, "", tables)
    return "\n".join(lines) + "\n"


def _write_table(lines: list[str], prefix: str, table: Mapping[str, object]) -> None:
    nested: list[tuple[str, Mapping[str, object]]] = []
    for key, value in table.items():
        name = f"{prefix}{_key(key)}"
        if isinstance(value, Mapping):
            nested.append((f"[{name}]", value))
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            nested.extend((f"[[{name}]]", row) for row in value)
        elif value is not None:
            lines.append(f"{_key(key)} = {_scalar(value)}")
    for header, rows in nested:
        lines.extend(("", header))
        _write_table(lines, header.strip("[]") + ".", rows)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else f'"{key}"'


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
