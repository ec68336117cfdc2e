"""Parts of a JSON object by path: `intervals[*].intervalPeriod.duration`. Whatever the object is, selecting never fails."""

import functools
import re
from dataclasses import dataclass

Json = object
"""A value as `json.loads` returns it: None, bool, number, text, list or mapping."""
_STEP = re.compile(r"([A-Za-z][A-Za-z0-9]*)((?:\[\*\])?)")
_LONGEST_SHOWN = 60


@dataclass(slots=True)
class Found:
    """A value and where it was found; the place is spelled out only when somebody asks."""

    value: Json
    """None where the object has nothing (3.x sends `null` for absent fields, too)."""
    step: str | int = ""
    """Name of the field or place in the list; empty for the object itself."""
    parent: "Found | None" = None

    @property
    def path(self) -> str:
        """Where it was found, with indexes, for example `intervals[0].id`; empty for the object itself."""
        if self.parent is None:
            return ""
        before = self.parent.path
        if isinstance(self.step, int):
            return f"{before}[{self.step}]"
        return f"{before}.{self.step}" if before else self.step


@functools.lru_cache(maxsize=512)
def steps_of(path: str) -> tuple[tuple[str, bool], ...]:
    """Return the steps of a path: field names, each with whether every element of its list is meant.

    Raises:
        ValueError: The text is not a path.
    """
    steps = []
    for text in path.split("."):
        matched = _STEP.fullmatch(text)
        if matched is None:
            raise ValueError(f"{path} is not a path such as intervals[*].payloads")
        steps.append((matched[1], bool(matched[2])))
    return tuple(steps)


def select(root: Json, path: str) -> list[Found]:
    """Return the values at a path: one, or one per element where the path says so.

    A field that is not there is found with the value None; a list that is not there has no elements.
    """
    found = [Found(root)]
    for name, is_each in steps_of(path):
        found = [field_of(one, name) for one in found]
        if is_each:
            found = [element for one in found for element in elements(one)]
    return found


def field_of(one: Found, name: str) -> Found:
    """Return a field of an object; its value is None when there is no such field or no object."""
    value = one.value
    return Found(value.get(name) if isinstance(value, dict) else None, name, one)


def elements(one: Found) -> list[Found]:
    """Return the elements of a list; none when it is no list."""
    if not isinstance(one.value, list):
        return []
    return [Found(value, index, one) for index, value in enumerate(one.value)]


def text_of(value: Json) -> str:
    """Return a text, or an empty one for anything else."""
    return value if isinstance(value, str) else ""


def spell(value: Json) -> str:
    """Return a value as an error message shows it: short, and never a whole object."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    shown = repr(value) if isinstance(value, str) else str(value)
    if value is None or isinstance(value, bool):
        shown = {None: "nothing", True: "true", False: "false"}[value]
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
