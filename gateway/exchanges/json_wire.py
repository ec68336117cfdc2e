"""Strict reading of JSON that peers of the market send: numbers stay exact decimals, errors name the path."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc

_MAX_SHOWN = 300


def read_json(body: bytes, field: str) -> object:
    """Return the JSON value of a body with its numbers as `Decimal`.

    Raises:
        InvalidInput: It is not UTF-8 JSON, is nested too deeply, or holds NaN or Infinity.
    """

    def refuse(constant: str) -> Decimal:
        raise InvalidInput(field, f"holds {constant}")

    try:
        value: object = json.loads(body.decode("utf-8"), parse_float=Decimal, parse_int=Decimal, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(field, f"is not a JSON document ({type(error).__name__})") from error
    return value


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


def as_decimal(value: object, field: str) -> Decimal:
    """Return a value that must be a finite number."""
    if not isinstance(value, Decimal) or not value.is_finite():
        raise InvalidInput(field, "must be a finite number")
    return value


def as_instant(value: object, field: str) -> datetime:
    """Return a value that must be an ISO 8601 instant with its offset, in UTC."""
    try:
        instant = datetime.fromisoformat(as_text(value, field))
    except ValueError as error:
        raise InvalidInput(field, "must be an ISO 8601 instant") from error
    return require_utc(field, instant)


def shown(text: object) -> str:
    """Return a peer's text for a log or an error: one printable line of bounded length."""
    return "".join(sign if sign.isprintable() else " " for sign in str(text)[:_MAX_SHOWN]).strip()
