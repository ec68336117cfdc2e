"""JSON objects of a VTN as values of `wire`: tolerant of neighbours, strict about what is used.

Fields that nobody knows are ignored. An object that lacks what it needs is unreadable as a whole; an interval, payload or descriptor
that is broken is left out and named, because the rest of the object says what it says without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, TypeVar

from gateway.domain.errors import InvalidInput
from gateway.json_guard import Json
from gateway.openadr.v3.dialect import operation_of
from gateway.openadr.v3.findings import Finding
from gateway.openadr.v3.names import ObjectKind
from gateway.openadr.v3.parts import BROKEN, Fields, read_meta, read_payload, storable
from gateway.openadr.v3.wire import (
    Notification,
    ObjectOperations,
    Payload,
    PayloadDescriptor,
    Problem,
    Program,
    ReportDescriptor,
    ReportResource,
    WireEvent,
    WireInterval,
    WireReport,
    WireResource,
    WireSubscription,
    WireVen,
)

REPORT_DESCRIPTOR = "REPORT_PAYLOAD_DESCRIPTOR"
_BINDING = "BINDING_EVENTS"
_LONGEST_PROBLEM = 300

ObjectT = TypeVar("ObjectT")
ReadObject = Callable[[Json], ObjectT]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    """An object that cannot be used at all."""

    object_id: str
    """Empty when not even the id can be read."""
    finding: Finding
    content: Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing(Generic[ObjectT]):
    """What a list of objects says, the unreadable ones apart."""

    objects: tuple[ObjectT, ...]
    broken: tuple[Unreadable, ...]


def read_listing(content: Json, read: ReadObject[ObjectT]) -> Listing[ObjectT]:
    """Return the objects of a list; one that cannot be read does not affect another.

    Raises:
        InvalidInput: It is no list.
    """
    if not isinstance(content, list):
        raise InvalidInput("list", "must be a list of objects")
    objects: list[ObjectT] = []
    broken: list[Unreadable] = []
    for item in content:
        try:
            objects.append(read(item))
        except InvalidInput as error:
            found = Finding(rule=BROKEN, path=error.field, problem=error.problem)
            broken.append(Unreadable(object_id=id_of(item), finding=found, content=item))
    return Listing(objects=tuple(objects), broken=tuple(broken))


def id_of(content: Json) -> str:
    """Return the id of whatever came; empty when it has none."""
    found = content.get("id") if isinstance(content, dict) else None
    try:
        return storable("id", found) if isinstance(found, str) else ""
    except InvalidInput:
        return ""


def read_event(content: Json) -> WireEvent:
    """Return an event of either dialect.

    Raises:
        InvalidInput: No id or program, or times, targets or the list of intervals cannot be read.
    """
    fields = Fields(content)
    findings: list[Finding] = []
    return WireEvent(
        meta=read_meta(fields),
        program_id=fields.name("programID"),
        name=fields.text("eventName"),
        duration=fields.duration("duration"),
        priority=_priority(fields, findings),
        targets=fields.targets(),
        report_descriptors=fields.each("reportDescriptors", _report_descriptor, findings),
        descriptors=fields.each("payloadDescriptors", _payload_descriptor, findings),
        period=fields.period("intervalPeriod"),
        intervals=fields.each("intervals", _Intervals(findings), findings),
        findings=tuple(findings),
        content=content,
    )


def _priority(fields: Fields, findings: list[Finding]) -> int | None:
    """Return the priority; one that cannot be read counts as none, which is last."""
    try:
        priority = fields.integer("priority")
    except InvalidInput as error:
        findings.append(Finding(rule=BROKEN, path=error.field, problem=error.problem))
        return None
    if priority is not None and priority < 0:
        findings.append(Finding(rule=BROKEN, path="priority", problem="must be at least 0"))
        return None
    return priority


class _Intervals:
    """Reads intervals; a payload that is broken is left out and named."""

    def __init__(self, findings: list[Finding]) -> None:
        self._findings = findings

    def __call__(self, content: Json, path: str) -> WireInterval:
        fields = Fields(content, path)
        number = fields.integer("id")
        if number is None:
            raise InvalidInput(fields.path_of("id"), "is missing")
        return WireInterval(
            id=number,
            payloads=fields.each("payloads", read_payload, self._findings),
            period=fields.period("intervalPeriod"),
        )


def _payload_descriptor(content: Json, path: str) -> PayloadDescriptor:
    fields = Fields(content, path)
    return PayloadDescriptor(
        payload_type=fields.name("payloadType"),
        units=fields.text("units"),
        currency=fields.text("currency"),
        reading_type=fields.text("readingType"),
        accuracy=fields.number("accuracy"),
        confidence=fields.integer("confidence"),
        is_report=fields.text("objectType") == REPORT_DESCRIPTOR,
    )


def _report_descriptor(content: Json, path: str) -> ReportDescriptor:
    fields = Fields(content, path)
    return ReportDescriptor(
        payload_type=fields.name("payloadType"),
        reading_type=fields.text("readingType"),
        units=fields.text("units"),
        targets=fields.targets(),
        aggregate=fields.flag("aggregate", default=False),
        start_interval=_whole(fields, "startInterval", -1),
        num_intervals=_whole(fields, "numIntervals", -1),
        historical=fields.flag("historical", default=True),
        frequency=_whole(fields, "frequency", -1),
        repeat=_whole(fields, "repeat", 1),
        report_intervals=fields.text("reportIntervals") or "INTERVALS",
    )


def _whole(fields: Fields, name: str, default: int) -> int:
    value = fields.integer(name, default)
    return default if value is None else value


def read_program(content: Json) -> Program:
    """Return a program; what 3.0.1 has as fields and 3.1.0 as attributes is read from either.

    Raises:
        InvalidInput: No id or name, or targets that cannot be read.
    """
    fields = Fields(content)
    findings: list[Finding] = []
    attributes = fields.each("attributes", read_payload, findings)
    return Program(
        meta=read_meta(fields),
        name=fields.name("programName"),
        program_type=fields.text("programType") or _attribute(attributes, "PROGRAM_TYPE"),
        retailer_name=fields.text("retailerName") or _attribute(attributes, "RETAILER_NAME"),
        is_binding=fields.flag("bindingEvents", default=_is_set(attributes, _BINDING)),
        period=fields.period("intervalPeriod"),
        descriptors=fields.each("payloadDescriptors", _payload_descriptor, findings),
        attributes=attributes,
        targets=fields.targets(),
        content=content,
    )


def _attribute(attributes: Sequence[Payload], name: str) -> str:
    for attribute in attributes:
        if attribute.type == name and attribute.values and isinstance(attribute.values[0], str):
            return attribute.values[0]
    return ""


def _is_set(attributes: Sequence[Payload], name: str) -> bool:
    """Tell whether an attribute is true: `true`, `"true"` and 1 are, as VTNs write them."""
    found = [attribute.values[0] for attribute in attributes if attribute.type == name and attribute.values]
    return any(value is True or value == Decimal(1) or str(value).lower() == "true" for value in found)


def read_ven(content: Json) -> WireVen:
    """Return a ven; its `objectType` is `VEN`, `BL_VEN_REQUEST` or `VEN_VEN_REQUEST`, as VTNs differ.

    Raises:
        InvalidInput: No id or name, or targets that cannot be read.
    """
    fields = Fields(content)
    _check_kind(fields, ObjectKind.VEN)
    return WireVen(
        meta=read_meta(fields),
        name=fields.name("venName"),
        client_id=fields.text("clientID"),
        attributes=fields.each("attributes", read_payload, []),
        targets=fields.targets(),
        content=content,
    )


def read_resource(content: Json) -> WireResource:
    """Return a resource; its `objectType` is `RESOURCE`, `BL_RESOURCE_REQUEST` or `VEN_RESOURCE_REQUEST`.

    Raises:
        InvalidInput: No id or name, or targets that cannot be read.
    """
    fields = Fields(content)
    _check_kind(fields, ObjectKind.RESOURCE)
    return WireResource(
        meta=read_meta(fields),
        name=fields.name("resourceName"),
        ven_id=fields.text("venID"),
        client_id=fields.text("clientID"),
        attributes=fields.each("attributes", read_payload, []),
        targets=fields.targets(),
        content=content,
    )


def _check_kind(fields: Fields, kind: ObjectKind) -> None:
    word = kind.value.upper()
    if fields.text("objectType") not in {"", word, f"BL_{word}_REQUEST", f"VEN_{word}_REQUEST"}:
        raise InvalidInput("objectType", f"must be {word}")


def read_report(content: Json) -> WireReport:
    """Return a report as the VTN has it.

    Raises:
        InvalidInput: No id, event or client name.
    """
    fields = Fields(content)
    findings: list[Finding] = []
    return WireReport(
        meta=read_meta(fields),
        event_id=fields.name("eventID"),
        program_id=fields.text("programID"),
        client_name=fields.name("clientName"),
        name=fields.text("reportName"),
        descriptors=fields.each("payloadDescriptors", _payload_descriptor, findings),
        resources=fields.each("resources", _report_resource, findings),
    )


def _report_resource(content: Json, path: str) -> ReportResource:
    fields = Fields(content, path)
    findings: list[Finding] = []
    return ReportResource(
        name=fields.name("resourceName"),
        period=fields.period("intervalPeriod"),
        intervals=fields.each("intervals", _Intervals(findings), findings),
    )


def read_subscription(content: Json) -> WireSubscription:
    """Return a subscription as the VTN has it.

    Raises:
        InvalidInput: No id or client name.
    """
    fields = Fields(content)
    return WireSubscription(
        meta=read_meta(fields),
        client_name=fields.name("clientName"),
        program_id=fields.text("programID"),
        operations=fields.each("objectOperations", _object_operations, []),
        targets=fields.targets(),
    )


def _object_operations(content: Json, path: str) -> ObjectOperations:
    fields = Fields(content, path)
    words = [operation_of(str(word)) for word in fields.items("operations")]
    return ObjectOperations(
        objects=tuple(str(kind) for kind in fields.items("objects")),
        operations=tuple(word for word in words if word is not None),
        callback_url=fields.text("callbackUrl"),
        bearer_token=fields.text("bearerToken"),
    )


def read_notification(content: Json) -> Notification:
    """Return a notification of either dialect: what kind of object, what happened, which one.

    Raises:
        InvalidInput: It does not say so.
    """
    fields = Fields(content)
    word = fields.name("operation")
    operation = operation_of(word)
    if operation is None:
        raise InvalidInput("operation", "must be CREATE, READ, UPDATE or DELETE")
    subject = Fields(fields.raw("object"), "object")
    return Notification(
        object_type=fields.name("objectType"),
        operation=operation,
        object_id=subject.text("id"),
        program_id=subject.text("programID"),
        targets=fields.targets(),
    )


def read_problem(status: int, content: Json) -> Problem:
    """Return why a VTN refused; whatever it sent, this never fails."""
    if not isinstance(content, dict):
        return Problem(status=status)
    texts = {
        name: value[:_LONGEST_PROBLEM].encode(errors="replace").decode()
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, str)
    }
    return Problem(status=status, title=texts.get("title", ""), detail=texts.get("detail", ""))
