"""The objects of one JSON text: a single object, a list of them, or a bundle by kind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast, get_args

from gateway.domain.errors import InvalidInput
from gateway.openadr.profiles.rules import ObjectKind
from gateway.openadr.profiles.selecting import Json, text_of

_SHAPES: tuple[tuple[ObjectKind, tuple[str, ...]], ...] = (
    ("report", ("eventID", "resources")),
    ("event", ("programID", "intervals")),
    ("event", ("programID", "intervalPeriod")),
    ("event", ("programID", "reportDescriptors")),
    ("resource", ("resourceName",)),
    ("ven", ("venName",)),
    ("program", ("programName",)),
    ("event", ("programID",)),
)
"""What an object without `objectType` is recognised by; the first shape whose fields are all there."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One object of a partner."""

    kind: ObjectKind
    content: Mapping[str, Json]
    path: str = ""
    """Where it was in the text, for example `events[2]`; empty when it was the text."""

    @property
    def id(self) -> str:
        """Its id, or its name before the VTN has given one."""
        names = ("id", "eventName", "programName", "venName", "resourceName", "reportName")
        return next((text_of(self.content.get(name)) for name in names if text_of(self.content.get(name))), "")

    @property
    def program(self) -> str:
        """Id of the program an event or report belongs to, as it says; empty when it does not."""
        return text_of(self.content.get("programID"))


def objects_in(content: Json, kind: ObjectKind | None = None) -> list[Sent]:
    """Return the objects of a JSON text.

    Args:
        content: An object, a list of objects, or a bundle such as `{"programs": [...], "events": [...]}`.
        kind: What the objects are; None finds out by `objectType` or their fields.

    Raises:
        InvalidInput: Something in it is no object of a known kind; its place is named.
    """
    if isinstance(content, Mapping) and kind is None and _is_bundle(content):
        return list(_of_bundle(content))
    if isinstance(content, list):
        return [_sent(one, kind, f"[{index}]") for index, one in enumerate(content)]
    return [_sent(content, kind, "")]


def _is_bundle(content: Mapping[str, Json]) -> bool:
    names = {f"{kind}s" for kind in get_args(ObjectKind)}
    return bool(content) and set(content) <= names and all(isinstance(one, list) for one in content.values())


def _of_bundle(content: Mapping[str, Json]) -> Iterator[Sent]:
    for kind in cast("tuple[ObjectKind, ...]", get_args(ObjectKind)):
        listed = content.get(f"{kind}s")
        for index, one in enumerate(listed if isinstance(listed, list) else ()):
            yield _sent(one, kind, f"{kind}s[{index}]")


def _sent(content: Json, kind: ObjectKind | None, path: str) -> Sent:
    if not isinstance(content, Mapping):
        raise InvalidInput(path or "content", "must be an object")
    found = kind_of(content) if kind is None else kind
    if found is None:
        raise InvalidInput(path or "content", "is no program, event, ven, resource or report; say which it is")
    return Sent(found, content, path)


def kind_of(content: Mapping[str, Json]) -> ObjectKind | None:
    """Return what an object is, by its `objectType` (`BL_VEN_REQUEST` is a ven, too) or by its fields; None when unclear."""
    named = text_of(content.get("objectType")).removesuffix("_REQUEST").rpartition("_")[2].lower()
    for kind in cast("tuple[ObjectKind, ...]", get_args(ObjectKind)):
        if named == kind:
            return kind
    return next((kind for kind, fields in _SHAPES if all(name in content for name in fields)), None)
