"""Durations, instants and numbers as OpenADR 2.0b writes them, read exactly or refused.

The schema lets through what has no exact meaning (months, `NaN`, `PT999999999999S`) and spellings of its own (`P` for zero, `2W`
without the `P`). Everything here returns one exact value or raises `InvalidInput` that names the field.
"""

import functools
import math
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from gateway.domain.errors import InvalidInput

_LONGEST_TEXT = 64
_LONGEST_DURATION = timedelta(days=366 * 100)
_AMOUNT = r"([0-9]{1,12}(?:\.[0-9]{1,9})?)"
_DURATION = re.compile(
    rf"([+-])?P(?:{_AMOUNT}Y)?(?:{_AMOUNT}M)?(?:{_AMOUNT}W)?(?:{_AMOUNT}D)?"
    rf"(?:T(?:{_AMOUNT}H)?(?:{_AMOUNT}M)?(?:{_AMOUNT}S)?)?"
)
_BARE_WEEKS = re.compile(r"()()()([0-9]{1,6})W")
_SECONDS_OF = (Decimal(7 * 86400), Decimal(86400), Decimal(3600), Decimal(60), Decimal(1))
_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]*))?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")

_MOST_DIGITS = 10
_COUNT = re.compile(r"[+-]?0*([0-9]{1,10})")


def parse_duration(field: str, text: str) -> timedelta:
    """Return an ISO 8601 duration exactly, to the microsecond.

    Args:
        field: What to name in an error.
        text: For example `PT15M`, `P1DT2H`, `-PT5M`, `PT1.5H`; `P` and `PT` are zero and `2W` is two weeks, because the
            schema allows them and peers write them.

    Raises:
        InvalidInput: Not a duration, years or months (no fixed length), a fraction before the last part, finer than a
            microsecond, or longer than a century.
    """
    try:
        return _duration_of(text.strip())
    except _Inexact as error:
        raise InvalidInput(field, str(error)) from None


class _Inexact(Exception):
    """A text has no exact meaning; the message says why."""


@functools.lru_cache(maxsize=1024)
def _duration_of(text: str) -> timedelta:
    matched = _DURATION.fullmatch(text) or _BARE_WEEKS.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if matched is None:
        raise _Inexact("is not an ISO 8601 duration")
    sign, years, months, *amounts = matched.groups()
    if any(amount and Decimal(amount) for amount in (years, months)):
        raise _Inexact("years and months have no fixed length")
    given = [amount for amount in amounts if amount is not None]
    if any("." in amount for amount in given[:-1]):
        raise _Inexact("only the last part of a duration may have a fraction")
    seconds = sum(
        (Decimal(amount) * unit for amount, unit in zip(amounts, _SECONDS_OF, strict=False) if amount), Decimal(0)
    )
    microseconds = seconds * 1_000_000
    if microseconds != int(microseconds):
        raise _Inexact("is finer than a microsecond")
    if seconds > _LONGEST_DURATION.total_seconds():
        raise _Inexact("is longer than a century")
    duration = timedelta(microseconds=int(microseconds))
    return -duration if sign == "-" else duration


def format_duration(duration: timedelta) -> str:
    """Return a duration of at least zero and whole seconds as the schema wants it, `PT0S` for zero.

    Raises:
        InvalidInput: The duration is negative or has a fraction of a second, which the schema cannot express.
    """
    if duration < timedelta(0) or duration.microseconds:
        raise InvalidInput("duration", "must be whole seconds of at least 0")
    minutes, seconds = divmod(duration.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days = f"{duration.days}D" if duration.days else ""
    clock = "".join(f"{amount}{unit}" for amount, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if amount)
    if not clock:
        return f"P{days}" if days else "PT0S"
    return f"P{days}T{clock}"


def parse_instant(field: str, text: str, *, zone_required: bool = False) -> datetime:
    """Return an instant in UTC; without a zone it is taken as UTC, as conformance rule 1 wants all instants to be.

    Args:
        field: What to name in an error.
        text: For example `2025-10-15T15:30:00Z`; more than six decimals of a second are cut.
        zone_required: Refuse an instant without a zone.

    Raises:
        InvalidInput: Not an instant, or one the calendar does not have (leap seconds, the hour 24, year 0).
    """
    try:
        return _instant_of(text.strip(), zone_required)
    except _Inexact as error:
        raise InvalidInput(field, str(error)) from None


@functools.lru_cache(maxsize=1024)
def _instant_of(text: str, zone_required: bool) -> datetime:  # noqa: FBT001  # a key of the cache
    matched = _INSTANT.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if matched is None:
        raise _Inexact("is not an instant such as 2025-10-15T15:30:00Z")
    *parts, fraction, zone = matched.groups()
    if zone is None and zone_required:
        raise _Inexact("needs a time zone")
    try:
        naive = datetime(*(int(part) for part in parts), tzinfo=_zone(zone))  # type: ignore[misc,arg-type]  # six parts
        return naive.replace(microsecond=int(((fraction or "") + "000000")[:6])).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Inexact("is not in the calendar") from None


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)


def format_instant(instant: datetime) -> str:
    """Return an instant in UTC with `Z`, to the microsecond where it has one."""
    text = instant.astimezone(UTC).isoformat().removesuffix("+00:00")
    return f"{text}Z"


def parse_number(field: str, text: str) -> Decimal:
    """Return a finite number exactly as written.

    Raises:
        InvalidInput: Not a number, `NaN`, `INF`, or too large for a double.
    """
    try:
        return _number_of(text.strip())
    except _Inexact as error:
        raise InvalidInput(field, str(error)) from None


@functools.lru_cache(maxsize=1024)
def _number_of(text: str) -> Decimal:
    if len(text) > _LONGEST_TEXT or _NUMBER.fullmatch(text) is None:
        raise _Inexact("must be a finite number")
    value = Decimal(text)
    if not math.isfinite(float(value)):
        raise _Inexact("must be a finite number")
    return value


def parse_count(field: str, text: str) -> int:
    """Return an `xs:unsignedInt`; leading zeros, of which the schema allows any number, mean nothing.

    Raises:
        InvalidInput: Not a whole number of at most ten digits.
    """
    if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS:
        return int(text)
    matched = _COUNT.fullmatch(text.strip())
    if matched is None:
        raise InvalidInput(field, "must be a whole number")
    return int(matched.group(1))


def format_number(value: float) -> str:
    """Return a finite number in the shortest form that reads back the same.

    Raises:
        InvalidInput: The value is not finite.
    """
    if not math.isfinite(value):
        raise InvalidInput("value", "must be a finite number")
    return repr(float(value))
