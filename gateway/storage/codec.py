"""Frozen domain dataclasses to JSON text and back, exactly; and instants to integer microseconds.

Decimals and enums are text, instants ISO 8601, durations ISO 8601 (`PT15M`), bytes base64. A record whose fields do not have
the types it declares is refused when it is written, not when somebody reads it; reading runs the record's own checks again.
"""

import zlib
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from gateway.domain.errors import InvalidInput, StorageUnavailable
from gateway.domain.timegrid import require_utc

RecordT = TypeVar("RecordT")

_CONFIG = ConfigDict(
    strict=True,
    extra="forbid",
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_timedelta="iso8601",
    ser_json_inf_nan="constants",
)
_ADAPTERS: dict[type, "TypeAdapter[Any]"] = {}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FAST = 1
"""zlib level: bodies are written often and read rarely."""


def encode(record: object) -> str:
    """Return the JSON text of a record.

    Raises:
        InvalidInput: A field holds something else than its type; the message names the field, never the value.
    """
    try:
        return _adapter(type(record)).dump_json(record, warnings="error").decode()
    except PydanticSerializationError as error:
        raise _wrong_type(type(record), str(error)) from None


def decode(kind: type[RecordT], text: str) -> RecordT:
    """Return the record of a JSON text.

    Raises:
        StorageUnavailable: The text is not a record of this kind: the row is damaged or of another version.
    """
    try:
        record: RecordT = _adapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StorageUnavailable(f"a {kind.__name__} row cannot be read: {place} {first['msg']}") from None
    except InvalidInput as error:
        raise StorageUnavailable(f"a {kind.__name__} row cannot be read: {error}") from None
    return record


def pack(text: str) -> bytes:
    """Return the text compressed, for kinds that are big or written often."""
    return zlib.compress(text.encode(), _FAST)


def unpack(data: bytes) -> str:
    """Return the text of `pack`.

    Raises:
        StorageUnavailable: The bytes are damaged.
    """
    try:
        return zlib.decompress(data).decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise StorageUnavailable(f"a compressed row cannot be read: {error}") from None


def micros(field: str, instant: datetime) -> int:
    """Return the instant as microseconds since 1970-01-01 UTC, exactly.

    Raises:
        InvalidInput: The instant has no time zone; `field` is named.
    """
    return (require_utc(field, instant) - _EPOCH) // _MICROSECOND


def instant_of(microseconds: int) -> datetime:
    """Return the UTC instant of microseconds since 1970-01-01."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _adapter(kind: type) -> "TypeAdapter[Any]":
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        # A bare dataclass cannot be given a config from outside; a union with None can, and hands it down.
        optional: Any = kind | None
        adapter = _ADAPTERS[kind] = TypeAdapter(optional, config=_CONFIG)
    return adapter


def _wrong_type(kind: type, message: str) -> InvalidInput:
    """Return what a serialisation error says about field and type, without the value, which pydantic quotes."""
    expected = message.partition("Expected `")[2].partition("`")[0]
    field = message.partition("field_name='")[2].partition("'")[0]
    if expected and field:
        return InvalidInput(f"{kind.__name__}.{field}", f"must be {expected}")
    return InvalidInput(kind.__name__, "holds something that cannot be stored")
