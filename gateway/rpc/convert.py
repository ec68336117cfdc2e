"""Small translations between domain values and protobuf that several servicers share."""

import base64
import binascii
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TypeVar

from google.protobuf import timestamp_pb2

from gateway.domain.errors import InvalidInput, ResumeTokenExpired
from gateway.domain.limits import Binding, Direction, Limit, LimitKind, Resolution
from gateway.domain.timegrid import Interval
from gateway.v1 import types_pb2

DIRECTIONS = {Direction.IMPORT: types_pb2.DIRECTION_IMPORT, Direction.EXPORT: types_pb2.DIRECTION_EXPORT}
KINDS = {
    LimitKind.LIMIT: types_pb2.LIMIT_KIND_LIMIT,
    LimitKind.FALLBACK: types_pb2.LIMIT_KIND_FALLBACK,
    LimitKind.OPTIMUM: types_pb2.LIMIT_KIND_OPTIMUM,
}
BINDINGS = {
    Binding.PHYSICAL: types_pb2.LIMIT_BINDING_PHYSICAL,
    Binding.MANDATORY: types_pb2.LIMIT_BINDING_MANDATORY,
    Binding.COMMITTED: types_pb2.LIMIT_BINDING_COMMITTED,
    Binding.VOLUNTARY: types_pb2.LIMIT_BINDING_VOLUNTARY,
}
DEFAULT_PAGE_SIZE = 100
LARGEST_PAGE_SIZE = 1000
LONGEST_ID = 200

ItemT = TypeVar("ItemT")


def timestamp(instant: datetime) -> timestamp_pb2.Timestamp:
    """Return an aware instant as a protobuf timestamp."""
    out = timestamp_pb2.Timestamp()
    out.FromDatetime(instant)
    return out


def instant(field: str, value: timestamp_pb2.Timestamp) -> datetime:
    """Return a protobuf timestamp as an aware UTC instant.

    Raises:
        InvalidInput: It is outside the years 0001 to 9999 or its nanoseconds are wrong; `field` is named.
    """
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(field, "is not a valid timestamp") from error


def required_instant(field: str, message: "object", name: str) -> datetime:
    """Return a timestamp field that must be set.

    Args:
        field: How the caller knows the field.
        message: The message that holds it.
        name: Its name in the message.

    Raises:
        InvalidInput: It is not set or not valid.
    """
    if not message.HasField(name):  # type: ignore[attr-defined]  # every protobuf message has it
        raise InvalidInput(field, "is required")
    return instant(field, getattr(message, name))


def required_text(field: str, value: str, longest: int = LONGEST_ID) -> str:
    """Return a text that must not be empty nor longer than `longest` characters.

    Raises:
        InvalidInput: It is; `field` is named.
    """
    if not value:
        raise InvalidInput(field, "is required")
    if len(value) > longest:
        raise InvalidInput(field, f"must have at most {longest} characters")
    return value


def finite(field: str, value: float) -> float:
    """Return a number that must be finite.

    Raises:
        InvalidInput: It is NaN or infinite; `field` is named.
    """
    if not math.isfinite(value):
        raise InvalidInput(field, "must be a finite number")
    return value


def iso_day(field: str, value: str) -> str:
    """Return a delivery day after checking that it is an ISO date.

    Raises:
        InvalidInput: It is not; `field` is named.
    """
    try:
        return date.fromisoformat(required_text(field, value)).isoformat()
    except ValueError as error:
        raise InvalidInput(field, "must be an ISO date such as 2025-10-15") from error


def span_message(interval: Interval) -> types_pb2.TimeSpan:
    """Return a half-open interval as a message; an open end is absent."""
    return open_span_message(interval.start, interval.end)


def open_span_message(start: datetime, end: datetime | None) -> types_pb2.TimeSpan:
    """Return a half-open span as a message; an open end is absent."""
    return types_pb2.TimeSpan(start_time=timestamp(start), end_time=None if end is None else timestamp(end))


def limit_message(limit: Limit) -> types_pb2.Limit:
    """Return a limit as a message."""
    return types_pb2.Limit(
        id=limit.id,
        authority=limit.authority,
        node_id=limit.node,
        direction=DIRECTIONS[limit.direction],
        kind=KINDS[limit.kind],
        binding=BINDINGS[limit.binding],
        max_power_kw=limit.max_kw,
        span=span_message(limit.interval),
        cause=limit.cause,
        reason=limit.reason,
        withdraw_time=None if limit.withdrawn_at is None else timestamp(limit.withdrawn_at),
        phase_max_power_kw=[float("nan") if kw is None else kw for kw in limit.phase_max_kw or ()],
        guaranteed_power_kw=limit.guaranteed_kw,
        is_at_grid=limit.is_at_grid,
    )


def resolution_message(resolution: Resolution) -> types_pb2.Resolution:
    """Return a resolution with its one sentence as a message."""
    return types_pb2.Resolution(
        node_id=resolution.node,
        direction=DIRECTIONS[resolution.direction],
        at_time=timestamp(resolution.at),
        power_kw=resolution.kw,
        binding=None if resolution.binding is None else limit_message(resolution.binding),
        authority=resolution.authority,
        until_time=None if resolution.until is None else timestamp(resolution.until),
        shadowed=[limit_message(limit) for limit in resolution.shadowed],
        why=resolution.why(),
        optimum_power_kw=resolution.optimum_kw,
        phase_power_kw=resolution.phase_kw or (),
    )


def page(items: Sequence[ItemT], request: types_pb2.PageRequest, keys: Sequence[str]) -> tuple[Sequence[ItemT], str]:
    """Cut one page out of a list in stable order and return it with the token of the next.

    Args:
        items: The whole list.
        request: What the caller asked for.
        keys: One stable key per item; the token holds the key of the page's last item.

    Raises:
        InvalidInput: The size is negative or too large, or the token is not one of ours.
    """
    if not 0 <= request.page_size <= LARGEST_PAGE_SIZE:
        raise InvalidInput("page.page_size", f"must be 0 to {LARGEST_PAGE_SIZE}")
    size = request.page_size if request.page_size > 0 else DEFAULT_PAGE_SIZE
    first = 0
    if request.page_token:
        key = decode_token("page.page_token", request.page_token)
        if key not in keys:
            raise InvalidInput("page.page_token", "is not from this list")
        first = keys.index(key) + 1
    chosen = items[first : first + size]
    is_last = first + size >= len(items)
    return chosen, "" if is_last else encode_token(keys[first + len(chosen) - 1])


def encode_token(text: str) -> str:
    """Return an opaque token for a text."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_token(field: str, token: str) -> str:
    """Return the text of an opaque token.

    Raises:
        InvalidInput: It is not one of ours; `field` is named.
    """
    try:
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(field, "is not a token of this server") from error


def watch_token(written_at: datetime, record_id: str, version: int) -> str:
    """Return the resume token after a row in the order (written, id, version)."""
    return encode_token(f"{written_at.isoformat()}|{version}|{record_id}")


def read_watch_token(token: str, now: datetime, keep_days: int = 7) -> tuple[datetime, str, int]:
    """Return the place in the order (written, id, version) that a resume token names.

    Raises:
        InvalidInput: It is not one of ours.
        ResumeTokenExpired: It is older than `keep_days` or from the future; start again without one.
    """
    head, _, rest = decode_token("resume_token", token).partition("|")
    version, separator, record_id = rest.partition("|")
    try:
        written_at, number = datetime.fromisoformat(head), int(version)
    except ValueError as error:
        raise InvalidInput("resume_token", "is not a token of this server") from error
    if not separator or written_at.tzinfo is None:
        raise InvalidInput("resume_token", "is not a token of this server")
    if (now - written_at).days >= keep_days or written_at > now:
        raise ResumeTokenExpired("start again without a resume token")
    return written_at, record_id, number
