"""The guard in front of every JSON text from outside: bounded bytes, depth, values and digits; numbers exact; no duplicate names.

`json` itself would take `NaN`, the last of two equal names, a million digits and a nesting that ends in a `RecursionError`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from gateway.domain.errors import InvalidInput

Json = Any
"""None, bool, str, Decimal, list or dict, as `read_json` returns it."""
_LONGEST_NUMBER = 64
_FIELD = "json"


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonPolicy:
    """How much a JSON text may hold."""

    max_bytes: int = 4_000_000
    max_depth: int = 24
    max_values: int = 400_000


class JsonRejected(InvalidInput):
    """A text was thrown away before anybody read it."""

    reason = "MESSAGE_REJECTED"


def read_json(body: bytes, policy: JsonPolicy) -> Json:
    """Return what a JSON text says; numbers are `Decimal`.

    Args:
        body: UTF-8, with or without a byte order mark.
        policy: How much it may hold.

    Raises:
        JsonRejected: Too long, too deep, too many values, not UTF-8, not JSON, `NaN`, a number that no double can hold, or a name
            twice in one object (which of the two was meant, nobody can say).
    """
    if len(body) > policy.max_bytes:
        raise JsonRejected(_FIELD, f"is longer than {policy.max_bytes} bytes")
    try:
        text = body.decode("utf-8-sig")
        content = json.loads(
            text, parse_float=_number, parse_int=_number, parse_constant=_refuse_constant, object_pairs_hook=_object
        )
    except RecursionError as error:
        raise JsonRejected(_FIELD, f"is nested deeper than {policy.max_depth}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise JsonRejected(_FIELD, "is not JSON in UTF-8") from error
    _measure(content, policy)
    return content


def canonical(content: Json) -> str:
    """Return a JSON text that is the same for the same content: names sorted, no nulls, numbers in their shortest form."""
    return json.dumps(_plain(content), ensure_ascii=True, sort_keys=True, separators=(",", ":"), default=_spell)


def _number(text: str) -> Decimal:
    if len(text) > _LONGEST_NUMBER:
        raise JsonRejected(_FIELD, f"has a number of more than {_LONGEST_NUMBER} characters")
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise JsonRejected(_FIELD, "has a number out of range") from error
    if not math.isfinite(float(value)):
        raise JsonRejected(_FIELD, "has a number out of range")
    return value


def _refuse_constant(_text: str) -> Decimal:
    raise JsonRejected(_FIELD, "has a value that is no number (NaN or Infinity)")


def _object(pairs: Sequence[tuple[str, Json]]) -> dict[str, Json]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise JsonRejected(_FIELD, "has an object with the same name twice")
    return content


def _measure(content: Json, policy: JsonPolicy) -> None:
    level, depth, values = [content], 0, 0
    while level:
        depth += 1
        values += len(level)
        if depth > policy.max_depth:
            raise JsonRejected(_FIELD, f"is nested deeper than {policy.max_depth}")
        if values > policy.max_values:
            raise JsonRejected(_FIELD, f"has more than {policy.max_values} values")
        below: list[Json] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
        level = below


def _plain(content: Json) -> Json:
    if isinstance(content, dict):
        return {name: _plain(value) for name, value in content.items() if value is not None}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return content


def _spell(value: object) -> str:
    if isinstance(value, Decimal):
        return f"number:{value.normalize()}" if value else "number:0"
    raise TypeError(f"{type(value).__name__} is no JSON value")
