import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.tariff import TariffPriceSource, TimeOfUseTariff, load_tariff
from tests.fakes.clock import HandClock

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "data" / "sce_tou_ev" / "sce_tou_ev_4_march_2019.json"
SCHEDULE: dict[str, Any] = {
    "id": "All",
    "effective_start": "01-01",
    "effective_end": "12-31",
    "dow_mask": "ALL",
    "times": [0, 8.5],
    "tariffs": [0.1, 0.2],
    "demand_charge": 0,
}


def los_angeles(*day: int) -> DeliveryDay:
    return DeliveryDay(day=date(*day), zone="America/Los_Angeles")


def load(folder: Path, *schedules: Any, **extra: Any) -> TimeOfUseTariff:
    path = folder / "tariff.json"
    path.write_text(json.dumps({"name": "Test", "schedule": list(schedules), **extra}), encoding="utf-8")
    return load_tariff(path, currency="USD")


@pytest.fixture
def tariff() -> TimeOfUseTariff:
    return load_tariff(SHIPPED, currency="USD")


def test_a_winter_weekday_has_the_price_sheets_hours(tariff: TimeOfUseTariff) -> None:
    prices = tariff.prices_per_mwh(los_angeles(2019, 5, 15))
    assert len(prices) == 96
    assert [prices[4 * hour] for hour in (0, 7, 8, 11, 12, 17, 18, 22, 23)] == [
        Decimal(text) for text in ("60.87", "60.87", "74.92", "74.92", "86.9", "86.9", "74.92", "74.92", "60.87")
    ]


def test_summer_and_weekend_have_their_own_prices(tariff: TimeOfUseTariff) -> None:
    assert max(tariff.prices_per_mwh(los_angeles(2019, 7, 17))) == Decimal("266.68")
    assert set(tariff.prices_per_mwh(los_angeles(2019, 7, 20))) == {Decimal("56.23")}
    assert set(tariff.prices_per_mwh(los_angeles(2019, 5, 18))) == {Decimal("60.87")}


@pytest.mark.parametrize(
    ("day", "season"),
    [
        ((2019, 5, 31), "Winter"),
        ((2019, 6, 1), "Summer"),
        ((2019, 9, 30), "Summer"),
        ((2019, 10, 1), "Winter"),
        ((2020, 2, 29), "Winter"),
    ],
)
def test_seasons_hold_from_their_first_to_their_last_day(
    tariff: TimeOfUseTariff, day: tuple[int, int, int], season: str
) -> None:
    assert tariff.schedule_on(date(*day)).id.startswith(season)


def test_every_day_of_some_years_has_one_schedule(tariff: TimeOfUseTariff) -> None:
    day = los_angeles(2019, 1, 1)
    for number in range(3 * 365):
        tariff.schedule_on(day.next(number).day)


@pytest.mark.parametrize(("day", "count", "at_eight"), [((2019, 3, 8), 96, 32), ((2020, 11, 2), 96, 32)])
def test_prices_follow_the_wall_clock(
    tariff: TimeOfUseTariff, day: tuple[int, int, int], count: int, at_eight: int
) -> None:
    prices = tariff.prices_per_mwh(los_angeles(*day))
    assert len(prices) == count
    assert prices[at_eight - 1] < prices[at_eight]


def test_the_hour_of_a_clock_change_is_what_the_clock_says(tmp_path: Path) -> None:
    tariff = load(tmp_path, {**SCHEDULE, "times": [0, 8], "tariffs": [0.1, 0.2]})
    spring, autumn = los_angeles(2019, 3, 10), los_angeles(2019, 11, 3)
    assert [len(tariff.prices_per_mwh(day)) for day in (spring, autumn)] == [92, 100]
    assert [tariff.prices_per_mwh(day).index(Decimal("200.0")) for day in (spring, autumn)] == [28, 36]


def test_half_hours_are_kept(tmp_path: Path) -> None:
    prices = load(tmp_path, SCHEDULE).prices_per_mwh(los_angeles(2019, 5, 15))
    assert prices.index(Decimal(200)) == 34


async def test_it_is_a_price_source(tariff: TimeOfUseTariff) -> None:
    clock = HandClock(datetime(2019, 5, 14, tzinfo=UTC))
    source = TariffPriceSource(tariff, zone="SCE-TOU-EV-4", licence="BSD-3-Clause", clock=clock)
    found = await source.fetch("SCE-TOU-EV-4", los_angeles(2019, 5, 15))
    assert found is not None
    assert found.is_complete
    assert (found.product, found.currency, found.quality) == (PriceProduct.TARIFF_ENERGY, "USD", Quality.FINAL)
    assert found.source == "tariff: SCE TOU-EV-4"
    assert "15.51 USD/kW" in found.note
    with pytest.raises(InvalidInput, match="zone"):
        await source.fetch("BE", los_angeles(2019, 5, 15))


def test_a_day_without_or_with_two_schedules_is_refused(tmp_path: Path) -> None:
    summer = {**SCHEDULE, "effective_start": "06-01", "effective_end": "09-30"}
    with pytest.raises(InvalidInput, match="0 schedules apply on 2019-05-15"):
        load(tmp_path, summer).prices_per_mwh(los_angeles(2019, 5, 15))
    with pytest.raises(InvalidInput, match="2 schedules apply on 2019-07-15"):
        load(tmp_path, summer, SCHEDULE).prices_per_mwh(los_angeles(2019, 7, 15))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"dow_mask": "MONDAYS"}, "dow_mask"),
        ({"dow_mask": 3}, "dow_mask"),
        ({"times": [1, 8]}, "times"),
        ({"times": []}, "times"),
        ({"times": [0, 0]}, "times"),
        ({"times": [0, 24]}, "times"),
        ({"times": [0, 8.1]}, "times"),
        ({"times": [0, "8"]}, "times[1]"),
        ({"tariffs": [0.1]}, "tariffs"),
        ({"tariffs": [0.1, None]}, "tariffs[1]"),
        ({"effective_start": "6-1"}, "effective_start"),
        ({"effective_end": "02-30"}, "effective_end"),
        ({"id": ""}, "id"),
        ({"demand_charge": "15"}, "demand_charge"),
    ],
)
def test_a_wrong_schedule_names_its_field(changed: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, {**SCHEDULE, **changed})
    assert caught.value.field == f"tariff.schedule[0].{field}"


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"tariff\.schedule"):
        load(tmp_path)
    with pytest.raises(InvalidInput, match=r"tariff\.name"):
        load(tmp_path, SCHEDULE, name=3)
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_tariff(tmp_path / "none.json", currency="USD")
