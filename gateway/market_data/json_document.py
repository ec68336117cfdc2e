"""Strict reading of JSON replies and files: every value is looked at before it is used, and errors name its path."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_object(body: bytes, field: str, *, exact: bool = False) -> Mapping[str, object]:
    """Return the JSON object of a body.

    Args:
        body: UTF-8 text.
        field: What it is called in errors.
        exact: Fractions become `Decimal` digit for digit instead of floats; for prices.

    Raises:
        InvalidInput: It is no UTF-8 JSON object, is nested too deeply, or holds NaN or Infinity, which JSON does not have.
    """

    def refuse(constant: str) -> float:
        raise InvalidInput(field, f"holds {constant}")

    try:
        document = json.loads(body.decode("utf-8"), parse_constant=refuse, parse_float=Decimal if exact else None)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(field, f"is not a JSON document ({type(error).__name__})") from error
    return as_object(document, field)


def as_object(value: object, field: str) -> Mapping[str, object]:
    """Return a value that must be a JSON object."""
    if not isinstance(value, dict):
        raise InvalidInput(field, "must be an object")
    return value


def as_list(value: object, field: str) -> Sequence[object]:
    """Return a value that must be a JSON array."""
    if not isinstance(value, list):
        raise InvalidInput(field, "must be an array")
    return value


def as_text(value: object, field: str) -> str:
    """Return a value that must be a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise InvalidInput(field, "must be a text")
    return value


def as_number(value: object, field: str) -> float:
    """Return a value that must be a finite number; true and false are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(field, "must be a number")
    try:
        number = float(value)
    except OverflowError as error:
        raise InvalidInput(field, "must be a finite number") from error
    if not math.isfinite(number):
        raise InvalidInput(field, "must be a finite number")
    return number


def as_instant(value: object, field: str) -> datetime:
    """Return a value that must be an ISO 8601 instant with its offset, in UTC."""
    try:
        instant = datetime.fromisoformat(as_text(value, field))
    except ValueError as error:
        raise InvalidInput(field, "must be an ISO 8601 instant") from error
    return require_utc(field, instant)


def as_decimal(value: object, field: str) -> Decimal:
    """Return a number of a document read with `exact=True`, digit for digit; true and false are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise InvalidInput(field, "must be a number")
    return Decimal(value)


def as_count(value: object, field: str) -> int:
    """Return a value that must be a whole number; true and false are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(field, "must be a whole number")
    return value


def from_epoch(value: object, field: str, *, unit: timedelta) -> datetime:
    """Return the instant of a whole number of seconds or milliseconds since 1970.

    Args:
        value: The number.
        field: Where it is.
        unit: One second or one millisecond.
    """
    try:
        return _EPOCH + as_count(value, field) * unit
    except OverflowError as error:
        raise InvalidInput(field, "is no instant of the calendar") from error
