"""Lets ocpi-types (AGPL, never imported by the project) judge OCPI objects: each must come back unchanged from its own classes.

`SCRIPT ORDER.json ANSWER.json`: the order is a list of [module, class, object]; the answer one text per object, empty when it fits.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def judge(module: str, name: str, content: dict[str, Any]) -> str:
    """Return what is wrong with an object; empty when the classes give it back as it was."""
    kind = getattr(importlib.import_module(f"ocpi_types.{module}"), name)
    try:
        again = kind.from_dict(content).to_dict()
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        return f"{name}: {type(error).__name__} {error}"
    lost = {field for field in content if again.get(field) is None}
    return f"{name}: {', '.join(sorted(lost))} lost" if lost else ""


order, answer = (Path(name) for name in sys.argv[1:])
verdicts = [judge(*item) for item in json.loads(order.read_text())]
answer.write_text(json.dumps(verdicts))
