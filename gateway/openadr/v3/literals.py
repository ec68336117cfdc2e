"""Instants and durations as OpenADR 3 writes them: `0001-01-01` is now, `P9999Y` is without end, a month is a calendar month.

A duration keeps its text. Adding one never overflows: an end beyond the calendar is no end.
"""

import calendar
import functools
import re
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime, timedelta, timezone
from decimal import Decimal

from gateway.domain.errors import InvalidInput

_LONGEST_TEXT = 64
_ENDLESS_YEARS = 1000
"""A duration of so many years or more is without end: the specification's word for it is `P9999Y`."""
_AMOUNT = r"([0-9]{1,9})"
_DURATION = re.compile(
    rf"(-)?P(?=[0-9T])(?:{_AMOUNT}Y)?(?:{_AMOUNT}M)?(?:{_AMOUNT}W)?(?:{_AMOUNT}D)?"
    rf"(?:T(?=[0-9])(?:{_AMOUNT}H)?(?:{_AMOUNT}M)?(?:([0-9]{{1,12}}(?:\.[0-9]{{1,9}})?)S)?)?"
)
_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?)?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_MONTHS_A_YEAR = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class IsoDuration:
    """A duration in calendar months and exact time; equal when it means the same, however it is written."""

    text: str = field(compare=False)
    """As sent."""
    months: int = 0
    exact: timedelta = timedelta(0)
    """Weeks, days and parts of a day; a day has 24 hours, as in UTC."""
    is_endless: bool = False

    @property
    def is_zero(self) -> bool:
        """Whether it takes no time."""
        return not self.is_endless and self.months == 0 and self.exact == timedelta(0)

    @property
    def is_negative(self) -> bool:
        """Whether it goes back in time."""
        return self.months < 0 or self.exact < timedelta(0)

    def times(self, count: int) -> "IsoDuration":
        """Return it so many times; what no calendar holds is endless."""
        try:
            return IsoDuration(
                text="", months=self.months * count, exact=self.exact * count, is_endless=self.is_endless and count > 0
            )
        except OverflowError:
            return IsoDuration(text="", is_endless=True)

    def plus(self, other: "IsoDuration") -> "IsoDuration":
        """Return the sum; with an endless one it is endless."""
        try:
            exact = self.exact + other.exact
        except OverflowError:
            return IsoDuration(text="", is_endless=True)
        return IsoDuration(
            text="", months=self.months + other.months, exact=exact, is_endless=self.is_endless or other.is_endless
        )


ZERO = IsoDuration(text="PT0S")


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """When something starts: at an instant, or now."""

    instant: datetime | None
    """None means now: the beginning of the calendar, `0001-01-01`."""

    @property
    def is_now(self) -> bool:
        """Whether it starts when it is read."""
        return self.instant is None


NOW = Start(instant=None)


def parse_duration(path: str, text: str) -> IsoDuration:
    """Return a duration.

    Args:
        path: What to name in an error.
        text: For example `PT15M`, `P1DT2H`, `P1M`, `PT0.5S`, `P9999Y`.

    Raises:
        InvalidInput: Not a duration of the specification's pattern.
    """
    duration = _duration_of(text.strip()) if len(text) <= _LONGEST_TEXT else None
    if duration is None:
        raise InvalidInput(path, "is not an ISO 8601 duration")
    return duration


@functools.lru_cache(maxsize=1024)
def _duration_of(text: str) -> IsoDuration | None:
    matched = _DURATION.fullmatch(text)
    if matched is None:
        return None
    sign = -1 if matched[1] else 1
    years, months, weeks, days, hours, minutes = (int(amount or 0) for amount in matched.groups()[1:7])
    months += years * _MONTHS_A_YEAR
    if months >= _ENDLESS_YEARS * _MONTHS_A_YEAR:
        return IsoDuration(text=text, is_endless=True)
    microseconds = int(Decimal(matched[8] or 0) * 1_000_000)
    try:
        exact = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, microseconds=microseconds)
    except OverflowError:
        return IsoDuration(text=text, is_endless=True)
    return IsoDuration(text=text, months=sign * months, exact=sign * exact)


def add(instant: datetime, duration: IsoDuration) -> datetime | None:
    """Return the instant a duration later; None when there is no such instant in the calendar, which means never.

    A month later is the same day of the next month, or its last day where it is shorter.
    """
    if duration.is_endless:
        return None
    try:
        return _add_months(instant, duration.months) + duration.exact
    except (OverflowError, ValueError):
        return None


def _add_months(instant: datetime, months: int) -> datetime:
    if months == 0:
        return instant
    year, month = divmod(instant.year * _MONTHS_A_YEAR + instant.month - 1 + months, _MONTHS_A_YEAR)
    if not 1 <= year <= MAXYEAR:
        raise OverflowError
    last_day = calendar.monthrange(year, month + 1)[1]
    return instant.replace(year=year, month=month + 1, day=min(instant.day, last_day))


def parse_start(path: str, text: str) -> Start:
    """Return when something starts; an instant without a zone is taken as UTC.

    Args:
        path: What to name in an error.
        text: RFC 3339, or `0001-01-01` with or without a time, which means now (User Guide 7.3).

    Raises:
        InvalidInput: Not an instant, or one that the calendar does not have.
    """
    matched = _INSTANT.fullmatch(text.strip()) if len(text) <= _LONGEST_TEXT else None
    if matched is None:
        raise InvalidInput(path, "is not an instant such as 2025-10-15T15:30:00Z")
    *parts, fraction, zone = matched.groups()
    year, month, day, hour, minute, second = (int(part or 0) for part in parts)
    if year == 1:
        return NOW
    try:
        microsecond = int(((fraction or "") + "000000")[:6])
        local = datetime(year, month, day, hour, minute, second, microsecond, tzinfo=_zone(zone))
        return Start(instant=local.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise InvalidInput(path, "is not in the calendar") from error


def parse_instant(path: str, text: str) -> datetime:
    """Return an instant in UTC; the beginning of the calendar is none.

    Raises:
        InvalidInput: Not an instant.
    """
    start = parse_start(path, text)
    if start.instant is None:
        raise InvalidInput(path, "is not an instant such as 2025-10-15T15:30:00Z")
    return start.instant


def _zone(text: str | None) -> timezone:
    if text is None or text in {"Z", "z"}:
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-offset if text[0] == "-" else offset)


def format_instant(instant: datetime) -> str:
    """Return an instant as RFC 3339 in UTC with `Z`, to the microsecond where it has one."""
    return f"{instant.astimezone(UTC).isoformat().removesuffix('+00:00')}Z"


def format_duration(duration: timedelta) -> str:
    """Return an exact duration of at least zero as ISO text, to the microsecond.

    Raises:
        InvalidInput: It is negative.
    """
    if duration < timedelta(0):
        raise InvalidInput("duration", "must be at least 0")
    hours, seconds = divmod(duration.seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    fraction = f".{duration.microseconds:06d}".rstrip("0") if duration.microseconds else ""
    second = f"{seconds}{fraction}" if seconds or fraction else ""
    clock = "".join(f"{amount}{unit}" for amount, unit in ((hours, "H"), (minutes, "M"), (second, "S")) if amount)
    day = f"{duration.days}D" if duration.days else ""
    return f"P{day}T{clock}" if clock else f"P{day}" if day else "PT0S"
