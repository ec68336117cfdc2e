"""Values of `wire` as JSON that a strict VTN takes: required fields always, empty ones never, no null anywhere."""

import json
from decimal import Decimal

from gateway.domain.errors import InvalidInput
from gateway.json_guard import Json
from gateway.openadr.v3.dialect import operation_word, write_targets
from gateway.openadr.v3.literals import format_instant
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.reader import REPORT_DESCRIPTOR
from gateway.openadr.v3.wire import (
    IntervalPeriod,
    Payload,
    PayloadDescriptor,
    Point,
    ReportResource,
    Value,
    WireInterval,
    WireReport,
    WireSubscription,
)

_BEGINNING = "0001-01-01T00:00:00Z"


def to_bytes(content: Json) -> bytes:
    """Return JSON in UTF-8; a `Decimal` becomes a number as it is written.

    Raises:
        InvalidInput: A null, or a number that is not finite.
    """
    return json.dumps(_checked(content, ""), ensure_ascii=False, allow_nan=False).encode()


def _checked(content: Json, path: str) -> Json:
    if isinstance(content, dict):
        return {name: _checked(value, f"{path}.{name}") for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_checked(value, path) for value in content]
    if content is None:
        raise InvalidInput(path.lstrip("."), "would be null on the wire")
    if isinstance(content, Decimal):
        if not content.is_finite():
            raise InvalidInput(path.lstrip("."), "must be a finite number")
        return int(content) if content == content.to_integral_value() else float(content)
    return content


def write_ven(dialect: Dialect, name: str, attributes: tuple[Payload, ...] = ()) -> Json:
    """Return the request that makes us known."""
    content: dict[str, Json] = {"venName": name}
    if dialect is Dialect.V310:
        content = {"objectType": "VEN_VEN_REQUEST", **content}
    return _with(content, "attributes", [_payload(one) for one in attributes])


def write_resource(dialect: Dialect, ven_id: str, name: str, attributes: tuple[Payload, ...] = ()) -> Json:
    """Return the request that makes a resource of ours known."""
    content: dict[str, Json] = {"resourceName": name}
    if dialect is Dialect.V310:
        content = {"objectType": "VEN_RESOURCE_REQUEST", **content, "venID": ven_id}
    return _with(content, "attributes", [_payload(one) for one in attributes])


def write_report(dialect: Dialect, report: WireReport) -> Json:
    """Return a report; 3.0.1 wants its program, too."""
    content: dict[str, Json] = {"eventID": report.event_id, "clientName": report.client_name}
    if dialect is Dialect.V301:
        content["programID"] = report.program_id
    _with(content, "reportName", report.name)
    _with(content, "payloadDescriptors", [_descriptor(one) for one in report.descriptors])
    content["resources"] = [_report_resource(one) for one in report.resources]
    return content


def write_subscription(dialect: Dialect, subscription: WireSubscription, *, in_http_words: bool = False) -> Json:
    """Return a subscription; operations in the words of HTTP only for a VTN that wants them so."""
    content: dict[str, Json] = {"clientName": subscription.client_name}
    _with(content, "programID", subscription.program_id)
    content["objectOperations"] = [
        _with(
            {
                "objects": list(one.objects),
                "operations": [operation_word(operation, in_http_words=in_http_words) for operation in one.operations],
                "callbackUrl": one.callback_url,
            },
            "bearerToken",
            one.bearer_token,
        )
        for one in subscription.operations
    ]
    return _with(content, "targets", write_targets(dialect, subscription.targets))


def _with(content: dict[str, Json], name: str, value: Json) -> dict[str, Json]:
    """Add a field unless it is empty."""
    if value not in (None, "", []):
        content[name] = value
    return content


def _report_resource(resource: ReportResource) -> Json:
    content: dict[str, Json] = {"resourceName": resource.name}
    if resource.period is not None:
        content["intervalPeriod"] = _period(resource.period)
    content["intervals"] = [_interval(one) for one in resource.intervals]
    return content


def _interval(interval: WireInterval) -> Json:
    content: dict[str, Json] = {"id": interval.id}
    if interval.period is not None:
        content["intervalPeriod"] = _period(interval.period)
    content["payloads"] = [_payload(one) for one in interval.payloads]
    return content


def _period(period: IntervalPeriod) -> Json:
    content: dict[str, Json] = {}
    if period.start is not None:
        content["start"] = _BEGINNING if period.start.instant is None else format_instant(period.start.instant)
    _with(content, "duration", "" if period.duration is None else period.duration.text)
    return _with(content, "randomizeStart", "" if period.randomize is None else period.randomize.text)


def _payload(payload: Payload) -> Json:
    return {"type": payload.type, "values": [_value(one) for one in payload.values]}


def _value(value: Value) -> Json:
    return {"x": value.x, "y": value.y} if isinstance(value, Point) else value


def _descriptor(descriptor: PayloadDescriptor) -> Json:
    content: dict[str, Json] = {"objectType": REPORT_DESCRIPTOR, "payloadType": descriptor.payload_type}
    _with(content, "readingType", descriptor.reading_type)
    _with(content, "units", descriptor.units)
    _with(content, "accuracy", descriptor.accuracy)
    return _with(content, "confidence", descriptor.confidence)
