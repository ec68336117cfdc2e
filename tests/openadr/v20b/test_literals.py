"""Durations, instants and numbers: exact, or refused."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.openadr.v20b.literals import (
    format_duration,
    format_instant,
    format_number,
    parse_count,
    parse_duration,
    parse_instant,
    parse_number,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT0S", 0),
        ("P", 0),  # how some peers write zero
        ("PT", 0),
        ("P1D", 86_400),
        ("PT15M", 900),
        ("P1DT2H3M4S", 93_784),
        ("+PT5M", 300),
        ("-PT5M", -300),
        ("P2W", 1_209_600),
        ("2W", 1_209_600),  # the schema's own spelling
        ("PT1.5H", 5_400),
        ("PT0.5S", 0.5),
        ("P0Y0M1D", 86_400),
        (" PT1S ", 1),
    ],
)
def test_durations_are_read_exactly(text: str, seconds: float) -> None:
    assert parse_duration("d", text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1H",
        "PT15Mgarbage",
        "P1M",
        "P1Y",
        "PT1.5H30M",
        "PT0.0000001S",
        "PT999999999999S",
        "P1H",
        "PT1H1H",
        "PT-5M",
        "P٣D",
        "PT" + "1" * 5_000 + "S",
        "pt1h",
    ],
)
def test_what_has_no_exact_length_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^d:"):
        parse_duration("d", text)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30_000)))
def test_durations_survive_writing_and_reading(duration: timedelta) -> None:
    whole = timedelta(seconds=int(duration.total_seconds()))
    assert parse_duration("d", format_duration(whole)) == whole


@pytest.mark.parametrize("duration", [timedelta(seconds=-1), timedelta(milliseconds=1)])
def test_what_the_schema_cannot_say_is_not_written(duration: timedelta) -> None:
    with pytest.raises(InvalidInput):
        format_duration(duration)


@pytest.mark.parametrize(
    "text",
    [
        "2025-10-15T15:30:00Z",
        "2025-10-15T15:30:00",
        "2025-10-15T17:30:00+02:00",
        "2025-10-15T10:30:00-05:00",
        "2025-10-15T15:30:00.000Z",
    ],
)
def test_instants_are_utc_with_or_without_a_zone(text: str) -> None:
    assert parse_instant("t", text) == datetime(2025, 10, 15, 15, 30, tzinfo=UTC)


def test_an_instant_without_zone_can_be_refused() -> None:
    with pytest.raises(InvalidInput, match="time zone"):
        parse_instant("t", "2025-10-15T15:30:00", zone_required=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-10-15",
        "2025-10-15T15:30Z",
        "2025-13-01T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "2025-10-15T24:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
        "2025-10-15T15:30:00+99:99",
        "٢٠٢٥-10-15T15:30:00Z",
        "2025-10-15T15:30:00." + "1" * 100 + "Z",
    ],
)
def test_what_the_calendar_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^t:"):
        parse_instant("t", text)


@given(st.datetimes(timezones=st.timezones()).filter(lambda instant: 1 < instant.year < 9999))
def test_instants_survive_writing_and_reading(instant: datetime) -> None:
    assert parse_instant("t", format_instant(instant)) == instant.astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "value"), [("40", "40"), ("-0.5", "-0.5"), ("4e1", "40"), (".5", "0.5"), ("+7.", "7")]
)
def test_numbers_keep_every_digit(text: str, value: str) -> None:
    assert parse_number("n", text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "NaN", "INF", "-INF", "1e400", "1e99999", "0x10", "1_000", "١٢", "1,5", "9" * 5_000]
)
def test_numbers_that_are_not_finite_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^n: must be a finite number"):
        parse_number("n", text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_writing_and_reading(value: float) -> None:
    assert float(parse_number("n", format_number(value))) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_unknown_is_never_written(value: float) -> None:
    with pytest.raises(InvalidInput):
        format_number(value)


def test_a_count_may_have_any_number_of_leading_zeros() -> None:
    assert parse_count("c", "0" * 10_000 + "5") == 5
    assert parse_count("c", " 4294967295 ") == 4_294_967_295


@pytest.mark.parametrize("text", ["", "-", "12345678901", "1.0", "٣"])
def test_a_count_is_a_whole_number(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_count("c", text)
