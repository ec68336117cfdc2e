from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.market_recorded import MARKET_ZONE, RecordedSeries, Recording, read_recording, read_series

FIRST = DeliveryDay(day=date(2025, 10, 1), zone=MARKET_ZONE)
QUARTER = timedelta(minutes=15)


def local_times(days: int = 7, *, label: str | None = None) -> RecordedSeries:
    """A series whose value says its day and local time: 15 October 02:30 is 15.0230."""
    values: dict[datetime, Decimal] = {}
    for number in range(days):
        day = FIRST.next(number)
        for index, start in enumerate(day.grid().starts()):
            hour, quarter = divmod(index, 4)
            values[start] = Decimal(f"{day.day.day}.{hour:02}{quarter * 15:02}")
    return RecordedSeries(values, label=label)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return read_recording()


def test_nineteen_days_were_recorded(recording: Recording) -> None:
    for number in range(19):
        for series in (recording.day_ahead_eur_per_mwh, recording.imbalance_eur_per_mwh):
            values = series.day(FIRST.next(number))
            assert values.stand_in is None
            assert len(values.values) == 96
    assert recording.day_ahead_eur_per_mwh.day(FIRST.next(19)).stand_in == "values of 2025-10-13 for 2025-10-20"


def test_carbon_is_labelled_on_every_day(recording: Recording) -> None:
    label = recording.marginal_g_per_kwh.day(FIRST).stand_in
    assert label is not None
    assert "not Belgian" in label


def test_a_stand_in_keeps_the_weekday_and_says_where_it_comes_from() -> None:
    series = local_times(label="made up")
    for number in range(-30, 400):
        day = FIRST.next(number)
        values = series.day(day)
        assert values.stand_in is not None
        if 0 <= number < 7:
            assert values.stand_in == "made up"
            continue
        source = date.fromisoformat(values.stand_in.split("values of ")[1][:10])
        assert source.weekday() == day.day.weekday()
        assert f"for {day.day.isoformat()}" in values.stand_in
        assert len(values.values) == day.grid().count


def test_the_skipped_hour_is_left_out_and_the_repeated_one_comes_twice() -> None:
    series = local_times()
    spring = series.day(DeliveryDay(day=date(2026, 3, 29), zone=MARKET_ZONE)).values
    autumn = series.day(DeliveryDay(day=date(2025, 10, 26), zone=MARKET_ZONE)).values
    assert [str(value) for value in spring[6:10]] == ["5.0130", "5.0145", "5.0300", "5.0315"]
    assert len(spring) == 92
    assert [str(value) for value in autumn[8:16]] == ["5.0200", "5.0215", "5.0230", "5.0245"] * 2
    assert len(autumn) == 100


def test_only_complete_days_count() -> None:
    values = {FIRST.grid().start + QUARTER * i: Decimal(i) for i in range(96 * 6 + 95)}
    with pytest.raises(InvalidInput, match="each weekday"):
        RecordedSeries(values)


@pytest.mark.parametrize(
    ("text", "field"), [("price\n1\n", "x.csv.value"), ("start_utc,value\n2025-10-01T00:00Z,many\n", "x.csv[2].value")]
)
def test_a_wrong_recording_names_the_place(text: str, field: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_series(path, "value")
    assert caught.value.field == field


def test_the_shift_of_carbon_keeps_weekday_and_wall_clock() -> None:
    path = Path(__file__).resolve().parents[2] / "config" / "data" / "carbon_standin" / "marginal_intensity.csv"
    for line in path.read_text().splitlines()[1::97]:
        here, there = (datetime.strptime(t, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC) for t in line.split(",")[:2])
        assert here - there == timedelta(weeks=261) - timedelta(hours=9)
