"""Objects of an OpenADR 3 VTN, drawn in both dialects, and ways to spoil them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from scripts.openadr_messages import Draw
from scripts.openadr_mutations import MUTATION_COUNTS, VALUES

Json = Any
Key = Any
Holder = tuple[Json, Key]
"""A dictionary or list and a key or index in it."""
HALF = 0.5
STARTS = ("2025-10-15T09:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01", "2025-10-15T11:00:00+02:00")
DURATIONS = ("PT1H", "PT15M", "P1D", "P1M", "P9999Y", "PT0S", "PT0.5S")
TYPES = ("IMPORT_CAPACITY_LIMIT", "PRICE", "GHG", "SIMPLE", "CURVE", "DISPATCH_SETPOINT", "X-OWN", "ALERT_FLEX_ALERT")
DEEPEST = 60
ODD_VALUES: tuple[Json, ...] = (
    *(None, True, False, 0, -1, 1.5, 10**15, 1e308, 2**31, [], {}, [[]], [None], {"": ""}, {"x": 1}, {"x": 1, "y": 2}),
    *VALUES,
)
"""What a value is replaced with."""
TOKENS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b'"',
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"NaN",
        b"-Infinity",
        b"1e400",
        b"null",
        b"true",
    ),
    *(
        b"[" * 60,
        b'{"a":' * 60,
        b'"id":"x",',
        b"9" * 5_000,
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"//",
        b"-",
        b".",
    ),
)
"""Bytes that are put into a JSON text."""


def _period(draw: Draw) -> Json:
    return {
        "start": draw.choice(STARTS),
        "duration": draw.choice(DURATIONS),
        "randomizeStart": draw.choice(("PT0S", "PT5M")),
    }


def _payload(draw: Draw, kind: str) -> Json:
    if kind == "CURVE":
        return {"type": kind, "values": [{"x": 1, "y": 2}, {"x": 2.5, "y": -3}]}
    if kind.startswith("ALERT"):
        return {"type": kind, "values": ["be careful"]}
    return {"type": kind, "values": [round(draw.uniform(-5, 50), 3) for _ in range(draw.choice((1, 1, 3)))]}


def _targets(draw: Draw) -> Json:
    flat = ["site-01", "871685920001234567"]
    typed = [{"type": "VEN_NAME", "values": ["ven-1"]}, {"type": "RESOURCE_NAME", "values": flat}]
    return draw.choice((None, [], flat, typed))


def _event(draw: Draw, number: int) -> Json:
    kinds = [draw.choice(TYPES) for _ in range(draw.choice((1, 1, 2)))]
    descriptor = {"payloadType": draw.choice(("USAGE", "DEMAND")), "frequency": -1, "repeat": 1, "historical": True}
    interval_count = draw.choice((1, 1, 4, 24))
    return {
        "id": f"event-{number}",
        "objectType": "EVENT",
        "createdDateTime": STARTS[0],
        "modificationDateTime": STARTS[0],
        "programID": "program-1",
        "eventName": draw.choice((None, "A&B", "\u0661")),
        "priority": draw.choice((None, 0, 5)),
        "duration": draw.choice((None, "PT12H", "P9999Y")),
        "targets": _targets(draw),
        "reportDescriptors": [descriptor] if draw.random() < HALF else None,
        "payloadDescriptors": [{"payloadType": kind, "units": "KW", "currency": "EUR"} for kind in kinds],
        "intervalPeriod": _period(draw),
        "intervals": [
            {"id": index, "payloads": [_payload(draw, kind) for kind in kinds]} for index in range(interval_count)
        ],
    }


def _program(_draw: Draw, number: int) -> Json:
    attribute = {"type": "PROGRAM_TYPE", "values": ["DSO_CPO_INTERFACE-2.2.0"]}
    return {
        "id": f"program-{number}",
        "programName": f"limits {number}",
        "bindingEvents": True,
        "attributes": [attribute, {"type": "BINDING_EVENTS", "values": [True]}],
    }


def _ven(draw: Draw, number: int) -> Json:
    kind = draw.choice(("VEN", "BL_VEN_REQUEST", "VEN_VEN_REQUEST"))
    return {"id": f"ven-{number}", "objectType": kind, "venName": "8716859200012", "targets": ["site-01"]}


def _resource(draw: Draw, number: int) -> Json:
    values = [draw.choice((100, 7.4))]
    attributes = [{"type": "MAX_POWER_CONSUMPTION", "values": values}]
    return {"id": f"r-{number}", "resourceName": f"site-{number}", "venID": "ven-1", "attributes": attributes}


def _subscription(_draw: Draw, number: int) -> Json:
    wanted = {
        "objects": ["EVENT"],
        "operations": ["CREATE", "PUT"],
        "callbackUrl": "https://x.example",
        "bearerToken": "t",
    }
    return {"id": f"s-{number}", "clientName": "ven-1", "programID": "program-1", "objectOperations": [wanted]}


def _report(draw: Draw, number: int) -> Json:
    interval = {"id": 0, "payloads": [_payload(draw, "USAGE")]}
    resource = {"resourceName": "site-01", "intervalPeriod": _period(draw), "intervals": [interval]}
    return {"id": f"p-{number}", "eventID": "event-1", "clientName": "ven-1", "resources": [resource]}


OBJECTS: dict[str, Callable[[Draw, int], Json]] = {
    "event": _event,
    "program": _program,
    "ven": _ven,
    "resource": _resource,
    "subscription": _subscription,
    "report": _report,
}
"""How to draw an object of each kind."""


def draw_objects(draw: Draw) -> tuple[str, list[Json]]:
    """Return a kind and up to three readable objects of it; every other list is of events."""
    kind = "event" if draw.random() < HALF else draw.choice(tuple(OBJECTS))
    return kind, [OBJECTS[kind](draw, number) for number in range(draw.choice((1, 2, 3)))]


def spoil(draw: Draw, content: Json) -> Json:
    """Return a copy of a JSON value with parts removed, replaced, renamed, moved, repeated or nested."""
    spoiled = copy.deepcopy(content)
    for _ in range(draw.choice(MUTATION_COUNTS)):
        places = list(_places(spoiled))
        if not places:
            return spoiled
        holder, key = draw.choice(places)
        draw.choice(_SPOILERS)(draw, holder, key, places)
    return spoiled


def _places(content: Json) -> list[Holder]:
    found: list[Holder] = []
    below = [content]
    while below:
        holder = below.pop()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, value in items:
            found.append((holder, key))
            if isinstance(value, dict | list):
                below.append(value)
    return found


def _replace(draw: Draw, holder: Json, key: Key, _places: Sequence[Holder]) -> None:
    holder[key] = copy.deepcopy(draw.choice(ODD_VALUES))


def _drop(_draw: Draw, holder: Json, key: Key, _places: Sequence[Holder]) -> None:
    del holder[key]


def _rename(draw: Draw, holder: Json, key: Key, places: Sequence[Holder]) -> None:
    other = draw.choice(places)[1]
    if isinstance(holder, dict) and isinstance(other, str):
        holder[other] = holder.pop(key)


def _copy_part(draw: Draw, holder: Json, key: Key, places: Sequence[Holder]) -> None:
    source, at = draw.choice(places)
    holder[key] = copy.deepcopy(source[at])


def _repeat(draw: Draw, holder: Json, key: Key, _places: Sequence[Holder]) -> None:
    if isinstance(holder, list):
        holder[key:key] = [copy.deepcopy(holder[key]) for _ in range(draw.choice((1, 2, DEEPEST)))]


def _nest(draw: Draw, holder: Json, key: Key, _places: Sequence[Holder]) -> None:
    for _ in range(draw.choice((1, 1, DEEPEST))):
        holder[key] = [holder[key]] if draw.random() < HALF else {"values": holder[key]}


_SPOILERS: tuple[Callable[[Draw, Json, Key, Sequence[Holder]], None], ...] = (
    *(_replace, _replace, _replace, _replace, _drop, _drop),
    *(_rename, _copy_part, _copy_part, _repeat, _nest),
)


def as_bytes(content: Json) -> bytes:
    """Return a JSON value as a VTN sends it."""
    return json.dumps(content, ensure_ascii=False).encode("utf-8", errors="surrogatepass")
