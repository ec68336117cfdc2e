"""What bodies a 3.x VTN takes: the rules of the official descriptions of 3.0.1 and 3.1.0 as data, and a strict check of them.

A shape is a dictionary in the words of OpenAPI 3.0 (type, required, properties, items, anyOf, enum, pattern, nullable and bounds).
Stricter than the descriptions, a field that a shape does not name is refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Shape = dict[str, Any]
_DURATION = r"^(-?)P(?=\d|T\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)([DW]))?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$"
_INSTANT = re.compile(r"^\d{4}-\d\d-\d\d([Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?)?$")
_WITHOUT_ZONE = "0001-01-01"
"""Only "now" may be written without a time or a zone."""
_URI = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:\S*$")


def text(shortest: int | None = None, longest: int | None = None, **more: object) -> Shape:
    """Return a string, bounded in length."""
    bounds = {"minLength": shortest, "maxLength": longest}
    return {"type": "string", **{name: each for name, each in bounds.items() if each is not None}, **more}


def one_of(*words: str) -> Shape:
    """Return a string that is one of these."""
    return {"type": "string", "enum": list(words)}


def number(kind: str = "number", **more: object) -> Shape:
    """Return a number or an integer."""
    return {"type": kind, **more}


def many(item: Shape) -> Shape:
    """Return a list."""
    return {"type": "array", "items": item}


def maybe(shape: Shape) -> Shape:
    """Return a shape that may be null."""
    return {**shape, "nullable": True}


def thing(required: str, **fields: Shape) -> Shape:
    """Return an object; `required` names fields, separated by blanks."""
    names = {"required": required.split()} if required else {}
    return {"type": "object", **names, "properties": fields}


NAME = text(1, 128)
OBJECT_ID = text(1, 128, pattern="^[a-zA-Z0-9_-]*$")
DURATION = text(pattern=_DURATION)
INSTANT = text(format="date-time")
UNBOUNDED = maybe(text())
INT32: Shape = {"type": "integer", "format": "int32"}
FLOAT: Shape = {"type": "number", "format": "float"}
OBJECT_TYPE = one_of("PROGRAM", "EVENT", "REPORT", "SUBSCRIPTION", "VEN", "RESOURCE")
OPERATION = one_of("READ", "CREATE", "UPDATE", "DELETE")
POINT = thing("x y", x=FLOAT, y=FLOAT)
VALUES = thing(
    "type values",
    type=NAME,
    values=many({"anyOf": [number(), number("integer"), text(), {"type": "boolean"}, POINT]}),
)
CREDENTIALS = thing(
    "grant_type client_id client_secret",
    grant_type=one_of("client_credentials"),
    client_id=text(1, 4096),
    client_secret=text(1, 4096),
    scope=text(0, 4096),
)


def _interval(period: Shape) -> Shape:
    return thing("id payloads", id=INT32, intervalPeriod=period, payloads=many(VALUES))


def _report_descriptor(targets: Shape, reading: Shape, units: Shape, **more: Shape) -> Shape:
    counts = dict.fromkeys(("startInterval", "numIntervals", "frequency", "repeat"), INT32)
    flags: dict[str, Shape] = {name: {"type": "boolean"} for name in ("aggregate", "historical")}
    return thing(
        "payloadType", payloadType=NAME, readingType=reading, units=units, targets=targets, **flags, **counts, **more
    )


def _event_payload(required: str, units: Shape) -> Shape:
    return thing(
        required,
        objectType=one_of("EVENT_PAYLOAD_DESCRIPTOR"),
        payloadType=NAME,
        units=units,
        currency=UNBOUNDED,
    )


def _report_payload(required: str, reading: Shape, units: Shape) -> Shape:
    return thing(
        required,
        objectType=one_of("REPORT_PAYLOAD_DESCRIPTOR"),
        payloadType=NAME,
        readingType=reading,
        units=units,
        accuracy=maybe(FLOAT),
        confidence=maybe({**INT32, "minimum": 0, "maximum": 100}),
    )


def _resources(period: Shape) -> Shape:
    return many(
        thing("resourceName intervals", resourceName=NAME, intervalPeriod=period, intervals=many(_interval(period)))
    )


def _operations(callback: Shape) -> Shape:
    return many(
        thing(
            "objects operations callbackUrl",
            objects=many(OBJECT_TYPE),
            operations=many(OPERATION),
            callbackUrl=callback,
            bearerToken=UNBOUNDED,
        )
    )


def _parties_310(targets: Shape, attributes: Shape) -> dict[str, Shape]:
    return {
        "ven": thing("objectType venName", objectType=one_of("VEN_VEN_REQUEST"), venName=NAME, attributes=attributes),
        "bl-ven": thing(
            "objectType clientID venName",
            objectType=one_of("BL_VEN_REQUEST"),
            clientID=NAME,
            targets=targets,
            venName=NAME,
            attributes=attributes,
        ),
        "resource": thing(
            "objectType resourceName venID",
            objectType=one_of("VEN_RESOURCE_REQUEST"),
            resourceName=NAME,
            venID=OBJECT_ID,
            attributes=attributes,
        ),
        "bl-resource": thing(
            "objectType clientID resourceName venID",
            objectType=one_of("BL_RESOURCE_REQUEST"),
            clientID=NAME,
            targets=targets,
            resourceName=NAME,
            venID=OBJECT_ID,
            attributes=attributes,
        ),
    }


def _event_310(period: Shape, targets: Shape, units: Shape, event_payload: Shape) -> Shape:
    return thing(
        "programID",
        programID=OBJECT_ID,
        eventName=UNBOUNDED,
        duration=DURATION,
        priority=maybe(number("integer", minimum=0)),
        targets=targets,
        reportDescriptors=maybe(
            many(
                _report_descriptor(
                    targets,
                    maybe(NAME),
                    units,
                    reportIntervals=one_of("INTERVALS", "SUB_INTERVALS", "OPEN_INTERVALS"),
                )
            )
        ),
        payloadDescriptors=maybe(many(event_payload)),
        intervalPeriod=period,
        intervals=many(_interval(period)),
    )


def _shapes_310() -> dict[str, Shape]:
    period = thing("", start=INSTANT, duration=DURATION, randomizeStart=DURATION)
    targets, attributes = maybe(many(NAME)), maybe(many(VALUES))
    units, url = maybe(NAME), text(2, 8000, format="uri")
    required = "objectType payloadType"
    report_payload, event_payload = _report_payload(required, maybe(NAME), units), _event_payload(required, units)
    described = {"required": ["URL"], "properties": {"URL": url}}
    return {
        "program": thing(
            "programName",
            programName=NAME,
            intervalPeriod=period,
            programDescriptions=maybe(many(described)),
            payloadDescriptors=maybe(many({"anyOf": [event_payload, report_payload]})),
            attributes=attributes,
            targets=targets,
        ),
        "event": _event_310(period, targets, units, event_payload),
        "report": thing(
            "eventID clientName resources",
            eventID=OBJECT_ID,
            clientName=NAME,
            reportName=UNBOUNDED,
            payloadDescriptors=maybe(many(report_payload)),
            resources=_resources(period),
        ),
        "subscription": thing(
            "clientName objectOperations",
            clientName=NAME,
            programID=OBJECT_ID,
            objectOperations=_operations(url),
            targets=targets,
        ),
        **_parties_310(targets, attributes),
        "credentials": CREDENTIALS,
    }


def _stored(kind: str, required: str, **fields: Shape) -> Shape:
    """Return an object of 3.0.1, whose requests may carry what the VTN added."""
    metadata = {"id": OBJECT_ID, "createdDateTime": INSTANT, "modificationDateTime": INSTANT}
    return thing(required, **metadata, objectType=one_of(kind), **fields)


def _report_301(period: Shape, payload: Shape) -> Shape:
    return _stored(
        "REPORT",
        "programID eventID clientName resources",
        programID=OBJECT_ID,
        eventID=OBJECT_ID,
        clientName=NAME,
        reportName=UNBOUNDED,
        payloadDescriptors=maybe(many(payload)),
        resources=_resources(period),
    )


def _shapes_301() -> dict[str, Shape]:
    period = thing("start", start=INSTANT, duration=DURATION, randomizeStart=DURATION)
    values = maybe(many(VALUES))
    units, url = UNBOUNDED, text(format="uri")
    report_payload = _report_payload("payloadType", UNBOUNDED, units)
    event_payload = _event_payload("payloadType", units)
    described = {"required": ["URL"], "properties": {"URL": url}}

    resource = _stored(
        "RESOURCE", "resourceName", resourceName=NAME, venID=OBJECT_ID, attributes=values, targets=values
    )
    words = ("programLongName", "retailerName", "retailerLongName", "programType", "country", "principalSubdivision")
    return {
        "program": _stored(
            "PROGRAM",
            "programName",
            programName=NAME,
            **dict.fromkeys(words, UNBOUNDED),
            timeZoneOffset=DURATION,
            intervalPeriod=period,
            programDescriptions=maybe(many(described)),
            bindingEvents=maybe({"type": "boolean"}),
            localPrice=maybe({"type": "boolean"}),
            payloadDescriptors=maybe(many({"anyOf": [event_payload, report_payload]})),
            targets=values,
        ),
        "event": _stored(
            "EVENT",
            "programID intervals",
            programID=OBJECT_ID,
            eventName=UNBOUNDED,
            priority=maybe(number("integer", minimum=0)),
            targets=values,
            reportDescriptors=maybe(many(_report_descriptor(values, UNBOUNDED, units))),
            payloadDescriptors=maybe(many(event_payload)),
            intervalPeriod=period,
            intervals=many(_interval(period)),
        ),
        "report": _report_301(period, report_payload),
        "subscription": _stored(
            "SUBSCRIPTION",
            "clientName programID objectOperations",
            clientName=NAME,
            programID=OBJECT_ID,
            objectOperations=_operations(url),
            targets=values,
        ),
        "ven": _stored(
            "VEN", "venName", venName=NAME, attributes=values, targets=values, resources=maybe(many(resource))
        ),
        "resource": resource,
        "credentials": CREDENTIALS,
    }


DIALECTS = {"3.0.1": _shapes_301(), "3.1.0": _shapes_310()}
"""Shapes of request bodies by dialect and kind."""


def problems(shape: Shape, value: object, path: str = "body") -> Iterator[str]:
    """Tell how a value breaks a shape, each problem with the path of the field."""
    if value is None:
        if not shape.get("nullable"):
            yield f"{path} must not be null"
    elif "anyOf" in shape:
        if all(any(problems(each, value, path)) for each in shape["anyOf"]):
            yield f"{path} fits none of its forms"
    elif "properties" in shape:
        yield from _of_object(shape, value, path)
    elif shape["type"] == "array":
        yield from _of_list(shape, value, path)
    elif shape["type"] == "string":
        yield from _of_text(shape, value, path)
    elif shape["type"] == "boolean":
        if not isinstance(value, bool):
            yield f"{path} must be true or false"
    else:
        yield from _of_number(shape, value, path)


def _of_object(shape: Shape, value: object, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path} must be an object"
        return
    for name in shape.get("required", ()):
        if name not in value:
            yield f"{path}.{name} is missing"
    for name, inner in value.items():
        if name not in shape["properties"]:
            yield f"{path}.{name} is unknown"
        else:
            yield from problems(shape["properties"][name], inner, f"{path}.{name}")


def _of_list(shape: Shape, value: object, path: str) -> Iterator[str]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        yield f"{path} must be a list"
        return
    for index, inner in enumerate(value):
        yield from problems(shape["items"], inner, f"{path}[{index}]")


def _of_text(shape: Shape, value: object, path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{path} must be a string"
        return
    if not shape.get("minLength", 0) <= len(value) <= shape.get("maxLength", len(value)):
        yield f"{path} has a wrong length"
    if "enum" in shape and value not in shape["enum"]:
        yield f"{path} must be one of {', '.join(shape['enum'])}"
    if "pattern" in shape and re.search(shape["pattern"], value) is None:
        yield f"{path} has a wrong form"
    if shape.get("format") == "date-time" and not _is_instant(value):
        yield f"{path} is no date and time of RFC 3339"
    if shape.get("format") == "uri" and _URI.match(value) is None:
        yield f"{path} is no URI"


def _of_number(shape: Shape, value: object, path: str) -> Iterator[str]:
    wanted = int if shape["type"] == "integer" else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted):
        yield f"{path} must be a{'n integer' if shape['type'] == 'integer' else ' number'}"
        return
    if not shape.get("minimum", value) <= value <= shape.get("maximum", value):
        yield f"{path} is out of bounds"


def _is_instant(value: str) -> bool:
    if _INSTANT.match(value) is None:
        return False
    return value.startswith(_WITHOUT_ZONE) or value[-1] in "Zz" or value[-6] in "+-"
