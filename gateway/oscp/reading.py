"""The guard in front of every message: headers first, then bounded JSON, then the model; one sentence says what is wrong."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from gateway.domain.errors import InvalidInput
from gateway.json_guard import JsonPolicy, read_json
from gateway.oscp.wire import ZONE_KEY, Message

MAX_BYTES = 1_000_000
"""Longest body of one request; longer messages come in segments."""
MOST_SEGMENTS = 100
_POLICY = JsonPolicy(max_bytes=MAX_BYTES, max_depth=12, max_values=100_000)
_LONGEST_ID = 128
_LONGEST_PROBLEM = 200
_MOST_DIGITS = 6
ModelT = TypeVar("ModelT", bound=Message)


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Which part of a message a request is."""

    index: int
    """From 1."""
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Inbound:
    """A request of a partner whose token and headers are good; the body is not read yet."""

    method: str
    message: str
    """Name of the message in the address."""
    request_id: str
    correlation_id: str
    """Empty when it answers nothing."""
    segment: Segment | None
    body: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """Hex SHA-256 over all that could be different."""
        part = "" if self.segment is None else f"{self.segment.index}/{self.segment.count}"
        head = f"{self.method} {self.message} {part} {self.correlation_id}\n"
        return hashlib.sha256(head.encode() + self.body).hexdigest()


def read_headers(method: str, message: str, headers: Mapping[str, str], body: bytes) -> Inbound:
    """Return a request whose headers keep the rules.

    Args:
        method: HTTP method.
        message: Name of the message.
        headers: Names in lower case.
        body: As received.

    Raises:
        InvalidInput: X-Request-ID is missing, an id is too long or not plain, or the segment headers do not fit together.
    """
    return Inbound(
        method=method,
        message=message,
        request_id=_id(headers, "X-Request-ID", is_required=True),
        correlation_id=_id(headers, "X-Correlation-ID", is_required=False),
        segment=_segment(headers),
        body=body,
    )


def read_message(model: type[ModelT], body: bytes, zone: ZoneInfo | None) -> ModelT:
    """Return the message in a body.

    Args:
        model: What it should be.
        body: JSON in UTF-8.
        zone: Zone of times that have none; None refuses them.

    Raises:
        InvalidInput: It is no JSON, breaks a bound, or is no such message; the first wrong field is named.
    """
    return check_message(model, read_json(body, _POLICY), zone)


def check_message(model: type[ModelT], content: object, zone: ZoneInfo | None) -> ModelT:
    """Return the message that JSON content is (see `read_message`)."""
    if not isinstance(content, dict):
        raise InvalidInput("body", "must be a JSON object")
    try:
        return model.model_validate(content, context={ZONE_KEY: zone})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise InvalidInput(path.removeprefix(".") or "body", str(first["msg"])[:_LONGEST_PROBLEM]) from None


def _id(headers: Mapping[str, str], name: str, *, is_required: bool) -> str:
    value = headers.get(name.lower(), "")
    if not value and is_required:
        raise InvalidInput(name, "is required")
    if len(value) > _LONGEST_ID or not value.isascii() or not (value.isprintable() or not value):
        raise InvalidInput(name, f"must have at most {_LONGEST_ID} plain characters")
    return value


def _segment(headers: Mapping[str, str]) -> Segment | None:
    index, count = headers.get("x-segment-index"), headers.get("x-segment-count")
    if index is None and count is None:
        return None
    if index is None or count is None:
        raise InvalidInput("X-Segment-Index", "must come with X-Segment-Count")
    segment = Segment(index=_count("X-Segment-Index", index), count=_count("X-Segment-Count", count))
    if segment.count > MOST_SEGMENTS:
        raise InvalidInput("X-Segment-Count", f"must be at most {MOST_SEGMENTS}")
    if segment.index > segment.count:
        raise InvalidInput("X-Segment-Index", "must be at most X-Segment-Count")
    return segment


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _MOST_DIGITS + 1 or int(text) < 1:
        raise InvalidInput(name, "must be a whole number of at least 1")
    return int(text)
