"""Which keys of the settings an example file shows, given or commented out."""

import re
from pathlib import Path

CONFIG = Path(__file__).resolve().parents[2] / "config"
_KEY = re.compile(r"^(?:# )?(\w+) = ", re.MULTILINE)
_TABLE = re.compile(r"^\[+([\w.]+)\]+", re.MULTILINE)


def keys_by_table(name: str) -> dict[str, set[str]]:
    """Return the keys that an example shows by table, together with the tables inside it."""
    parts = _TABLE.split((CONFIG / name).read_text(encoding="utf-8"))
    shown: dict[str, set[str]] = {}
    for table, text in zip(parts[1::2], parts[2::2], strict=True):
        shown.setdefault(table, set()).update(_KEY.findall(text))
        parent, _, child = table.rpartition(".")
        shown.setdefault(parent, set()).add(child)
    return shown
