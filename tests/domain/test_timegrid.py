"""Instants, half-open intervals, grids, delivery days of 92, 96 and 100 quarter-hours."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, Interval, TimeGrid, require_utc, zone_of
from gateway.domain.units import QUARTER_HOUR

T0 = datetime(2025, 10, 15, tzinfo=UTC)
BRUSSELS = "Europe/Brussels"


def test_a_naive_instant_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="arrival"):
        require_utc("arrival", datetime(2025, 1, 1))  # noqa: DTZ001


def test_another_offset_is_the_same_instant_in_utc() -> None:
    local = datetime.fromisoformat("2026-11-21T11:03:00+01:00")
    assert require_utc("x", local) == datetime(2026, 11, 21, 10, 3, tzinfo=UTC)
    assert require_utc("x", local).utcoffset() == timedelta(0)


def test_intervals_are_half_open() -> None:
    span = Interval(start=T0, end=T0 + QUARTER_HOUR)
    assert span.contains(T0)
    assert not span.contains(T0 + QUARTER_HOUR)
    assert not span.overlaps(Interval(start=T0 + QUARTER_HOUR, end=None))
    assert span.overlaps(Interval(start=T0 - timedelta(days=1), end=None))


@pytest.mark.parametrize("end", [T0, T0 - timedelta(seconds=1)])
def test_an_interval_that_ends_before_it_begins_is_refused(end: datetime) -> None:
    with pytest.raises(InvalidInput, match=r"interval\.end"):
        Interval(start=T0, end=end)


@pytest.mark.parametrize(
    ("day", "zone", "count"),
    [
        ("2025-10-15", BRUSSELS, 96),
        ("2025-10-26", BRUSSELS, 100),
        ("2026-03-29", BRUSSELS, 92),
        ("2025-11-02", "America/Los_Angeles", 100),
        ("2026-03-29", "UTC", 96),
    ],
)
def test_delivery_days_have_as_many_quarter_hours_as_the_market_has(day: str, zone: str, count: int) -> None:
    grid = DeliveryDay(day=date.fromisoformat(day), zone=zone).grid()
    assert grid.count == count
    assert len(set(grid.starts())) == count
    assert grid.end == DeliveryDay(day=date.fromisoformat(day), zone=zone).next().interval.start


@given(day=st.dates(date(2020, 1, 1), date(2035, 12, 31)), zone=st.sampled_from([BRUSSELS, "Europe/Athens", "UTC"]))
def test_every_instant_belongs_to_exactly_one_delivery_day(day: date, zone: str) -> None:
    delivery = DeliveryDay(day=day, zone=zone)
    interval = delivery.interval
    assert interval.end == delivery.next().interval.start
    assert DeliveryDay.containing(interval.start, zone) == delivery
    assert interval.end is not None
    assert DeliveryDay.containing(interval.end - timedelta(microseconds=1), zone) == delivery
    assert delivery.next(-1).next() == delivery


def test_wall_clock_time_becomes_an_instant() -> None:
    day = DeliveryDay(day=date(2025, 10, 15), zone=BRUSSELS)
    assert day.at(time(12)) == datetime(2025, 10, 15, 10, tzinfo=UTC)
    repeated = DeliveryDay(day=date(2025, 10, 26), zone=BRUSSELS).at(time(2, 30))
    assert repeated == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="time_zone"):
        zone_of(name)


@given(count=st.integers(1, 200), offset=st.integers(0, 10**6))
def test_slot_of_an_instant_contains_it(count: int, offset: int) -> None:
    grid = TimeGrid(start=T0, count=count)
    instant = T0 + timedelta(seconds=offset)
    if instant < grid.end:
        assert grid.slot(grid.index_of(instant)).contains(instant)
    else:
        with pytest.raises(InvalidInput, match="outside the grid"):
            grid.index_of(instant)


@given(first=st.integers(-5, 25), length=st.integers(1, 30))
def test_sub_selects_the_slots_inside(first: int, length: int) -> None:
    grid = TimeGrid(start=T0, count=20)
    span = Interval(start=T0 + first * QUARTER_HOUR, end=T0 + (first + length) * QUARTER_HOUR)
    expected = [i for i in range(20) if span.contains(grid.slot_start(i))]
    assert list(range(20))[grid.sub(span)] == expected


def test_sub_refuses_borders_inside_a_slot() -> None:
    with pytest.raises(InvalidInput, match="slot borders"):
        TimeGrid(start=T0, count=4).sub(Interval(start=T0 + timedelta(minutes=1), end=None))


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"count": 0}, "count"), ({"step": timedelta(0)}, "step"), ({"start": datetime(2025, 1, 1)}, "start")],  # noqa: DTZ001
)
def test_impossible_grids_are_refused(changes: dict[str, object], field: str) -> None:
    values: dict[str, object] = {"start": T0, "count": 4} | changes
    with pytest.raises(InvalidInput, match=rf"grid\.{field}"):
        TimeGrid(**values)  # type: ignore[arg-type]


def test_slots_outside_the_grid_are_refused() -> None:
    grid = TimeGrid(start=T0, count=4)
    assert grid.step_hours == 0.25
    for index in (-1, 4):
        with pytest.raises(InvalidInput, match="index"):
            grid.slot_start(index)
