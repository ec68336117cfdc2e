"""Instants in files: which column they stand in, how they are written, and which step they keep."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from gateway.domain.errors import InvalidInput
from gateway.market_data.table_file import Table

TIME_COLUMNS = (
    "start_utc",
    "datetime_utc",
    "Datetime (UTC)",
    "time_utc",
    "timestamp_unix",
    "start_time",
    "timestamp",
    "time",
)
"""Names under which files have the begin of a period, in the order in which they are looked for."""
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?(\.0+)?(Z|[+-]\d{2}:?\d{2})?", re.ASCII)
_DAY_FIRST = re.compile(r"(\d{2})/(\d{2})/(\d{4}) (\d{2}):(\d{2})(?::(\d{2}))?", re.ASCII)
_SECONDS = re.compile(r"\d{9,10}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileTimes:
    """The instants of a table's rows."""

    column: str
    starts: tuple[datetime, ...]
    """Begin of each row's period, aware UTC, in the order of the file."""
    forms: Mapping[str, int]
    """How many rows write their time in which way."""


def time_column(table: Table, name: str | None = None) -> str:
    """Return the column with the begins of periods.

    Raises:
        InvalidInput: There is none of the name, or of the names that files use.
    """
    if name is not None:
        table.column(name)
        return name
    found = next((one for one in TIME_COLUMNS if one in table.columns), None)
    if found is None:
        raise InvalidInput(
            "column", f"{table.name} has no column of times; name it (one of {', '.join(table.columns)})"
        )
    return found


def read_times(table: Table, name: str | None = None) -> FileTimes:
    """Read the begins of periods; a time without an offset is UTC.

    Raises:
        InvalidInput: A value is no instant; its row is named.
    """
    column = time_column(table, name)
    forms: Counter[str] = Counter()
    starts: list[datetime] = []
    for number, text in enumerate(table.column(column), start=2):
        start, form = _instant(text, f"{column}, row {number}")
        starts.append(start)
        forms[form] += 1
    return FileTimes(column=column, starts=tuple(starts), forms=forms)


def step_of(starts: Sequence[datetime]) -> timedelta:
    """Return the step that most neighbours keep.

    Raises:
        InvalidInput: There are fewer than two different instants.
    """
    steps = Counter(later - earlier for earlier, later in pairwise(sorted(set(starts))))
    if not steps:
        raise InvalidInput("file", "has fewer than two periods")
    return steps.most_common(1)[0][0]


def _instant(text: str, place: str) -> tuple[datetime, str]:
    if _ISO.fullmatch(text) is not None:
        try:
            found = datetime.fromisoformat(text)
        except ValueError as error:
            raise InvalidInput(place, f"{text!r} is no instant") from error
        return (found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)), "yyyy-mm-dd"
    match = _DAY_FIRST.fullmatch(text)
    if match is not None:
        day, month, year, hour, minute, second = (int(part or 0) for part in match.groups())
        try:
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC), "dd/mm/yyyy"
        except ValueError as error:
            raise InvalidInput(place, f"{text!r} is no instant") from error
    if _SECONDS.fullmatch(text) is not None:
        return datetime.fromtimestamp(int(text), tz=UTC), "seconds since 1970"
    raise InvalidInput(place, f"{text[:40]!r} is no instant")
