from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.series import CarbonKind, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.sgip_file import SgipCarbonFile, read_moer
from tests.fakes.clock import HandClock

ZONE = "SGIP_CAISO_SCE"
DAY = DeliveryDay(day=date(2019, 5, 15), zone="America/Los_Angeles")
LATER = datetime(2019, 7, 1, tzinfo=UTC)
SHIPPED = Path(__file__).resolve().parents[2] / "config" / "data" / "us_2019" / "sgip_caiso_sce_moer_2019_05.csv"


def write(folder: Path, *rows: str, header: str = "start_utc,moer_kg_per_kwh") -> Path:
    path = folder / "moer.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def minutes(start: datetime, values: list[float]) -> list[str]:
    return [f"{start + timedelta(minutes=5 * i):%Y-%m-%dT%H:%MZ},{value}" for i, value in enumerate(values)]


async def test_kilograms_become_grams_and_five_minutes_quarter_hours(tmp_path: Path) -> None:
    path = write(tmp_path, *minutes(DAY.grid().start, [0.243, 0.243, 0.243, 0.1, 0.2, 0.3]))
    found = await SgipCarbonFile(path, zone=ZONE, clock=HandClock(LATER)).fetch(ZONE, DAY)
    assert found is not None
    assert found.intensity_g_per_kwh[:2] == pytest.approx((243.0, 200.0))
    assert found.intensity_g_per_kwh[2] is None
    assert (found.kind, found.quality) == (CarbonKind.MARGINAL, Quality.FINAL)


async def test_the_shipped_month_is_complete() -> None:
    source = SgipCarbonFile(SHIPPED, zone=ZONE, clock=HandClock(LATER))
    first = DeliveryDay(day=date(2019, 5, 1), zone="America/Los_Angeles")
    for number in range(31):
        found = await source.fetch(ZONE, first.next(number))
        assert found is not None
        assert found.is_complete
        assert 0.0 < sum(found.as_array()) / 96 < 700.0
    assert await source.fetch(ZONE, first.next(31)) is None


async def test_what_has_not_happened_is_forecast_from_the_day_before(tmp_path: Path) -> None:
    start = DAY.next(-1).grid().start
    values = [i / 1000.0 for i in range(2 * 288)]
    path = write(tmp_path, *minutes(start, values))
    now = DAY.grid().start + timedelta(hours=10, minutes=2)
    found = await SgipCarbonFile(path, zone=ZONE, clock=HandClock(now)).fetch(ZONE, DAY)
    assert found is not None
    assert found.quality is Quality.ESTIMATED
    assert found.note == "56 quarter-hours are a persistence forecast"
    assert found.intensity_g_per_kwh[39] == pytest.approx(288 + 39 * 3 + 1)
    assert found.intensity_g_per_kwh[40] == pytest.approx(40 * 3 + 1)


async def test_the_day_ahead_does_not_look_into_the_future(tmp_path: Path) -> None:
    path = write(tmp_path, *minutes(DAY.next(-2).grid().start, [0.1] * 288 + [0.2] * 288 + [0.9] * 288))
    now = DAY.next(-1).grid().start + timedelta(hours=11)
    found = await SgipCarbonFile(path, zone=ZONE, clock=HandClock(now)).fetch(ZONE, DAY)
    assert found is not None
    assert found.intensity_g_per_kwh == pytest.approx([200.0] * 44 + [100.0] * 52)


async def test_another_zone_is_refused_and_an_unknown_day_is_none(tmp_path: Path) -> None:
    source = SgipCarbonFile(write(tmp_path, *minutes(DAY.grid().start, [0.1] * 3)), zone=ZONE, clock=HandClock(LATER))
    with pytest.raises(InvalidInput, match="zone"):
        await source.fetch("BE", DAY)
    assert await source.fetch(ZONE, DAY.next(5)) is None


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("2019-05-01T07:00Z", "moer[2]"),
        ("2019-05-01T07:00Z,0.1,9", "moer[2]"),
        ("2019-05-01 07:00,0.1", "moer[2].start_utc"),
        ("2019-05-01T07:03Z,0.1", "moer[2].start_utc"),
        ("2019-05-01T07:00Z,zero", "moer[2].moer_kg_per_kwh"),
        ("2019-05-01T07:00Z,-0.1", "moer[2].moer_kg_per_kwh"),
        ("2019-05-01T07:00Z,nan", "moer[2].moer_kg_per_kwh"),
        ("2019-05-01T07:00Z,inf", "moer[2].moer_kg_per_kwh"),
        ("2019-05-01T07:00Z,0.1\n2019-05-01T07:00Z,0.2", "moer[3].start_utc"),
    ],
)
def test_a_wrong_row_is_named(row: str, field: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_moer(write(tmp_path, row))
    assert caught.value.field == field


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="header"):
        read_moer(write(tmp_path, header="time,moer"))
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_moer(tmp_path / "none.csv")
