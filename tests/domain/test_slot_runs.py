"""Native resolution and origin of every slot of a price series (cases 5 and 6)."""

import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.market_time_units import OUTSIDE_COUPLING, day_ahead_product, market_time_unit
from gateway.domain.series import PriceProduct, Quality, SlotRun, price_series_id, slot_runs
from gateway.domain.timegrid import DeliveryDay
from tests.fakes.market import price_series

QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
DAY = DeliveryDay(day=date(2025, 10, 15), zone="Europe/Brussels")
NOW = datetime(2025, 10, 14, 13, tzinfo=UTC)
SERIES = price_series(DAY, [Decimal(1)] * 96, fetched_at=NOW)
Origin = tuple[timedelta, str, Quality]
PLAIN: Origin = (QUARTER, "a", Quality.FINAL)
HOURLY: Origin = (HOUR, "a", Quality.FINAL)


def run(count: int, step: timedelta = HOUR) -> SlotRun:
    return SlotRun(count=count, native_step=step, source="a", quality=Quality.FINAL)


def test_m6_slots_in_a_row_of_one_origin_are_one_run() -> None:
    assert slot_runs([PLAIN] * 92 + [HOURLY] * 4, PLAIN) == (run(92, QUARTER), run(4))
    assert slot_runs([HOURLY] * 96, PLAIN) == (run(96),)
    assert slot_runs([PLAIN, None, PLAIN], PLAIN) == (), "nothing is kept of what is the same all day"
    assert slot_runs([None, HOURLY, None, PLAIN], PLAIN) == (run(3), run(1, QUARTER)), "gaps belong to their neighbours"
    assert slot_runs([None, None], PLAIN) == ()


@given(st.lists(st.sampled_from([PLAIN, HOURLY, None]), min_size=1, max_size=100))
def test_runs_say_of_every_slot_what_was_said_of_it(origins: list[Origin | None]) -> None:
    runs = slot_runs(origins, PLAIN)
    slots = [(one.native_step, one.source, one.quality) for one in runs for _ in range(one.count)] or [PLAIN] * len(
        origins
    )
    assert len(slots) == len(origins)
    assert all(told == origin for told, origin in zip(slots, origins, strict=True) if origin is not None)
    assert all(one != then for one, then in itertools.pairwise(runs))


def test_a_series_without_runs_is_of_its_grid_and_source() -> None:
    [origin] = SERIES.origins
    assert (origin.count, origin.native_step, origin.source) == (96, QUARTER, SERIES.source)
    assert len(SERIES.origin_of_slot) == 96


@pytest.mark.parametrize(
    "runs",
    [
        (run(95),),
        (run(96), run(1)),
        (run(96), run(0)),
        (run(96, timedelta(minutes=5)),),
        (run(96, timedelta(minutes=20)),),
    ],
    ids=["too-few", "too-many", "empty", "finer", "off-grid"],
)
def test_runs_that_do_not_fit_the_slots_are_refused(runs: tuple[SlotRun, ...]) -> None:
    with pytest.raises(InvalidInput) as raised:
        replace(SERIES, runs=runs)
    assert raised.value.field == "runs"


def test_m5_the_same_prices_of_another_resolution_are_a_revision() -> None:
    assert price_series_id(replace(SERIES, runs=(run(96),)), DAY) != price_series_id(SERIES, DAY)


@pytest.mark.parametrize(
    ("zone", "day", "minutes"),
    [
        ("DE_LU", date(2025, 9, 30), 60),
        ("DE_LU", date(2025, 10, 1), 15),
        ("IE_SEM", date(2026, 9, 1), 60),
        ("CH", date(2026, 9, 1), 60),
    ],
)
def test_m5_what_a_zone_clears_is_known_with_its_source(zone: str, day: date, minutes: int) -> None:
    unit = market_time_unit(day_ahead_product(zone), zone, day)
    assert unit is not None
    assert unit.step == timedelta(minutes=minutes)
    assert unit.source


def test_zones_outside_the_coupling_have_an_auction_of_their_own() -> None:
    assert {"CH", "GB"} <= set(OUTSIDE_COUPLING)
    assert day_ahead_product("CH") is PriceProduct.DAY_AHEAD_LOCAL
    assert day_ahead_product("IE_SEM") is PriceProduct.DAY_AHEAD_SDAC
    assert market_time_unit(PriceProduct.IMBALANCE, "BE", DAY.day) is None
    assert market_time_unit(PriceProduct.DAY_AHEAD_LOCAL, "TR", DAY.day) is None, "nobody guesses"
