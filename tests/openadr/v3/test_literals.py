"""Instants and durations of OpenADR 3: read, added and written without ever overflowing."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.openadr.v3.literals import (
    IsoDuration,
    add,
    format_duration,
    format_instant,
    parse_duration,
    parse_instant,
    parse_start,
)

AT = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("PT0S", AT),
        ("PT1H", AT + timedelta(hours=1)),
        ("P1DT2H3M4.5S", AT + timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        ("P1W", AT + timedelta(weeks=1)),
        ("P1M", datetime(2025, 2, 28, 12, 0, tzinfo=UTC)),
        ("P13M", datetime(2026, 2, 28, 12, 0, tzinfo=UTC)),
        ("P3Y1M", datetime(2028, 2, 29, 12, 0, tzinfo=UTC)),
        ("-P1M", datetime(2024, 12, 31, 12, 0, tzinfo=UTC)),
        ("-PT1H", AT - timedelta(hours=1)),
        ("P9999Y", None),
        ("P1000Y", None),
        ("P999Y", datetime(3024, 1, 31, 12, 0, tzinfo=UTC)),
        ("P999999999D", None),
        ("PT999999999H", None),
        ("PT999999999999S", None),
    ],
    ids=[
        "zero", "hour", "mixed", "week", "month", "year-and-month", "leap", "minus-month", "minus", "endless",
        "thousand-years", "999-years", "days", "hours", "seconds",
    ],
)  # fmt: skip
def test_b4_a_duration_later(text: str, end: datetime | None) -> None:
    duration = parse_duration("d", text)
    assert duration.text == text
    assert add(AT, duration) == end


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "1H", "PT1", "P1H", "PT1.5H", "P-1D", "P1D1W", "PT1S1M", "pt1h", "P1Y1Y", "PT" + "1" * 60 + "S"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_duration("d", text)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-01-31T12:00:00Z", AT),
        ("2025-01-31T12:00:00.000Z", AT),
        ("2025-01-31t12:00:00z", AT),
        ("2025-01-31 12:00:00+00:00", AT),
        ("2025-01-31T14:00:00+02:00", AT),
        ("2025-01-31T14:00:00+0200", AT),
        ("2025-01-31T12:00", AT),
        ("2025-01-31", AT - timedelta(hours=12)),
        ("2025-01-31T12:00:00.123456789Z", AT + timedelta(microseconds=123456)),
        ("0001-01-01", None),
        ("0001-01-01T00:00:00", None),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00.000+00:00", None),
    ],
    ids=[
        "plain", "fraction", "lower-case", "space", "offset", "offset-without-colon", "no-zone", "date", "nanoseconds",
        "now-date", "now-no-zone", "now", "now-offset",
    ],
)  # fmt: skip
def test_b4_starts(text: str, instant: datetime | None) -> None:
    start = parse_start("s", text)
    assert start.instant == instant
    assert start.is_now is (instant is None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2025-02-30",
        "2025-01-31T25:00:00Z",
        "2025-01-31T12:00:60Z",
        "0000-00-00",
        "٢٠٢٥-01-31",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_what_is_no_start(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_start("s", text)
    with pytest.raises(InvalidInput):
        parse_instant("s", text)


INSTANTS = st.datetimes(timezones=st.just(UTC))
AMOUNTS = st.integers(0, 999_999_999)


@given(INSTANTS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.booleans())
def test_b4_adding_anything_to_anything_gives_an_instant_or_never(
    instant: datetime, years: int, months: int, days: int, seconds: int, back: bool
) -> None:
    text = f"{'-' if back else ''}P{years}Y{months}M{days}DT{seconds}S"
    end = add(instant, parse_duration("d", text))
    assert end is None or end.tzinfo is UTC


@given(INSTANTS)
def test_instants_read_as_they_are_written(instant: datetime) -> None:
    if instant.year > 1:
        assert parse_instant("s", format_instant(instant)) == instant


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=300_000)))
def test_durations_read_as_they_are_written(duration: timedelta) -> None:
    read = parse_duration("d", format_duration(duration))
    assert (read.exact, read.months, read.is_endless) == (duration, 0, False)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_duration, parse_start):
        try:
            parse("x", text)
        except InvalidInput:
            continue


def test_durations_are_equal_when_they_mean_the_same() -> None:
    assert parse_duration("d", "PT60M") == parse_duration("d", "PT1H")
    assert parse_duration("d", "P12M") == parse_duration("d", "P1Y")
    assert parse_duration("d", "P9999Y").times(3) == IsoDuration(text="", is_endless=True)
    assert parse_duration("d", "P300000D").times(10**9).is_endless
    assert parse_duration("d", "P999999999D").plus(parse_duration("d", "P999999999D")).is_endless
    with pytest.raises(InvalidInput):
        format_duration(timedelta(seconds=-1))
