"""Drawn sessions: the same for the same seed, one car a charger, right on days of 23 and 25 hours, and like the statistics."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.fleet_arrivals import draw_arrivals, quarter_labels
from gateway.sandbox.fleet_sessions import (
    DrawnDay,
    SessionBook,
    SessionTable,
    SiteChargers,
    chargers_by_site,
    draw_sessions,
    hours_to_charge,
    taper_share,
)
from gateway.sandbox.fleet_statistics import DEFAULT_FOLDER, load_statistics
from tests.sandbox.fleet_worlds import MONDAY, ZONE, site, small_inventory, statistics

SPRING = DeliveryDay(day=date(2026, 3, 29), zone=ZONE)
AUTUMN = DeliveryDay(day=date(2025, 10, 26), zone=ZONE)
KINDS = ("home", "public", "workplace")


def _draw(kind: str, *, day: DeliveryDay = MONDAY, seed: int = 7, count: int = 300) -> DrawnDay:
    return draw_sessions(day, site(kind, count), seed, statistics())


def _columns(table: SessionTable) -> list[list[object]]:
    return [getattr(table, name).tolist() for name in table.__slots__]


def _walk(sites: Sequence[SiteChargers], days: int, *, first: DeliveryDay = MONDAY, seed: int = 7) -> SessionTable:
    book = SessionBook(first, sites, seed, statistics())
    return SessionTable.join([book.draw_next() for _ in range(days)])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_day_and_site_give_the_same_sessions(kind: str) -> None:
    np.testing.assert_equal(_columns(_draw(kind).sessions), _columns(_draw(kind).sessions))


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_day_or_site_gives_other_sessions(kind: str) -> None:
    other_site = draw_sessions(MONDAY, site(kind, 300, name="site-02"), 7, statistics())
    drawn = [_draw(kind), _draw(kind, seed=8), _draw(kind, day=MONDAY.next()), other_site]
    arrivals = {tuple(one.sessions.arrival_s.tolist()) for one in drawn}
    ids = {session_id for one in drawn for session_id in one.sessions.id.tolist()}
    assert len(arrivals) == 4
    assert len(ids) == sum(len(one.sessions) for one in drawn)


def test_ids_say_nothing_about_place_or_time() -> None:
    ids = _draw("home").sessions.id.tolist()
    assert all(len(session_id) == 20 and session_id.startswith("ses-") for session_id in ids)
    assert all(set(session_id[4:]) <= set("0123456789abcdef") for session_id in ids)


@settings(max_examples=25)
@given(kind=st.sampled_from(KINDS), count=st.integers(1, 60), seed=st.integers(0, 10_000), day=st.integers(0, 700))
def test_a_charger_holds_one_car_at_a_time_and_every_car_fits(kind: str, count: int, seed: int, day: int) -> None:
    table = _walk([site(kind, count)], 4, first=MONDAY.next(day), seed=seed)
    assert (table.departure_s > table.arrival_s).all()
    assert (table.arrival_s % 60 == 0).all()
    for charger in np.unique(table.charger):
        here = table.take(table.charger == charger)
        assert (here.arrival_s[1:] >= here.departure_s[:-1]).all()
    stay_h = (table.departure_s - table.arrival_s) / 3600.0
    needed_h = hours_to_charge(table.energy_kwh, table.battery_kwh, table.start_soc, table.max_kw)
    assert (needed_h <= stay_h + 1.0 / 60.0).all()
    assert (table.energy_kwh > 0.0).all()
    assert (table.start_soc >= 0.049).all()
    assert (table.start_soc + table.energy_kwh / table.battery_kwh <= 1.0 + 1e-9).all()
    assert set(np.unique(table.max_kw).tolist()) <= {3.67, 3.7, 7.33, 7.4, 11.0}
    assert set(np.unique(table.phases).tolist()) <= {1, 3}


def test_a_car_that_finds_no_charger_is_dropped_and_counted() -> None:
    crowded = draw_sessions(MONDAY, site("public", 300), 7, statistics(), np.full(300, 2**40))
    assert len(crowded.sessions) == 0
    assert crowded.dropped_count == len(_draw("public").sessions) + _draw("public").dropped_count
    book = SessionBook(MONDAY, [site("home", 2)], 7, statistics())
    drawn = sum(len(book.draw_next()) for _ in range(30))
    assert book.dropped_count > 0
    assert drawn + book.dropped_count > 40


def test_cars_that_stay_overnight_keep_their_charger_into_the_next_day() -> None:
    first = _draw("home")
    second = draw_sessions(MONDAY.next(), site("home", 300), 7, statistics(), first.free_from_s)
    midnight = MONDAY.next().interval.start.timestamp()
    overnight = first.sessions.take(first.sessions.departure_s > midnight)
    assert len(overnight) > 100
    for charger, departure_s in zip(overnight.charger, overnight.departure_s, strict=True):
        later = second.sessions.arrival_s[second.sessions.charger == charger]
        assert (later >= departure_s).all()


@pytest.mark.parametrize(("day", "count"), [(SPRING, 92), (MONDAY, 96), (AUTUMN, 100)])
@pytest.mark.parametrize("kind", KINDS)
def test_arrivals_lie_inside_days_of_23_24_and_25_hours(day: DeliveryDay, count: int, kind: str) -> None:
    table = _draw(kind, day=day, count=2000).sessions
    start, end = day.interval.start, day.interval.end
    assert end is not None
    assert (end - start).total_seconds() == count * 900
    assert len(quarter_labels(day)) == count
    assert (table.arrival_s >= start.timestamp()).all()
    assert (table.arrival_s < end.timestamp()).all()


def test_on_the_days_of_the_clock_change_labels_are_missing_or_come_twice() -> None:
    spring, autumn = quarter_labels(SPRING).tolist(), quarter_labels(AUTUMN).tolist()
    assert not set(range(8, 12)) & set(spring)
    assert [autumn.count(label) for label in range(8, 12)] == [2, 2, 2, 2]
    assert autumn.count(12) == 1


def test_the_evening_peak_is_on_the_local_clock_before_and_after_the_clock_change() -> None:
    zone = ZoneInfo(ZONE)
    for day in (AUTUMN.next(-3), AUTUMN.next(4)):
        table = _draw("home", day=day, count=3000).sessions
        hours = [datetime.fromtimestamp(s, UTC).astimezone(zone).hour for s in table.arrival_s.tolist()]
        assert max(range(24), key=hours.count) == 18


def test_a_recorded_arrival_in_the_hour_that_the_clock_skips_is_an_hour_later() -> None:
    class Night:
        """Statistics whose workplace cars all come at 02:30."""

        places = statistics().places
        vehicles = statistics().vehicles
        workplace = statistics().workplace.__class__(
            weekday=np.full(10, 6),
            arrival_minute=np.full(10, 150),
            stay_min=np.full(10, 60),
            energy_kwh=np.full(10, 3.0),
            estimated_stay_min=np.full(10, np.nan),
        )

    generator = np.random.default_rng(1)
    spring = draw_arrivals(SPRING, "workplace", 5000, generator, Night())  # type: ignore[arg-type]
    autumn = draw_arrivals(AUTUMN, "workplace", 5000, generator, Night())  # type: ignore[arg-type]
    assert set(spring.arrival_s.tolist()) == {int(datetime(2026, 3, 29, 1, 30, tzinfo=UTC).timestamp())}
    both = {int(datetime(2025, 10, 26, hour, 30, tzinfo=UTC).timestamp()) for hour in (0, 1)}
    assert set(autumn.arrival_s.tolist()) == both


def test_a_twelve_site_fleet_has_at_least_four_thousand_sessions_on_every_day_of_the_week() -> None:
    sites = [site("home", 300, name=f"h{number}") for number in range(5)]
    sites += [site("public", 290, name=f"p{number}", max_kw=22.0) for number in range(4)]
    sites += [site("workplace", 270, name=f"w{number}") for number in range(3)]
    book = SessionBook(MONDAY, sites, 7, statistics())
    counts = [len(book.draw_next()) for _ in range(7)]
    assert min(counts) >= 4000
    assert book.dropped_count < 0.02 * sum(counts)


@pytest.mark.parametrize("kind", KINDS)
def test_stays_and_energies_are_like_the_statistics(kind: str) -> None:
    table = _draw(kind, count=4000).sessions
    stays = (table.departure_s - table.arrival_s) / 3600.0
    if kind == "workplace":
        monday = statistics().workplace.weekday == 0
        stay_h = statistics().workplace.stay_min[monday].mean() / 60.0
        energy_kwh = statistics().workplace.energy_kwh[monday].mean()
    else:
        stay_h, energy_kwh = statistics().places[kind].stay_h.mean(), statistics().places[kind].energy_kwh.mean()
    assert stays.mean() == pytest.approx(stay_h, rel=0.12)
    # A stay or a battery can be too short for the energy that goes with it; it is cut, never raised.
    assert 0.8 * energy_kwh < table.energy_kwh.mean() < 1.03 * energy_kwh


def test_drivers_say_what_they_need_and_when_they_leave_as_often_and_as_wrongly_as_recorded() -> None:
    for kind in KINDS:
        table = _draw(kind, count=4000).sessions
        said_energy, said_departure = ~np.isnan(table.stated_energy_kwh), ~np.isnan(table.stated_departure_s)
        assert said_energy.mean() == pytest.approx(0.6, abs=0.05)
        assert said_departure.mean() == pytest.approx(0.5, abs=0.05)
        assert (table.stated_energy_kwh[said_energy] <= table.energy_kwh[said_energy]).all()
        assert (table.stated_departure_s[said_departure] > table.arrival_s[said_departure]).all()
        assert (table.stated_departure_s[said_departure] % 900 == 0).all()
        leaves_before = table.departure_s[said_departure] < table.stated_departure_s[said_departure]
        assert leaves_before.mean() == pytest.approx(0.35, abs=0.05)


def test_car_and_charger_share_the_smaller_power_on_the_phases_that_both_have() -> None:
    one_phase = draw_sessions(MONDAY, site("home", 300, max_kw=7.4, phases=1), 7, statistics()).sessions
    strong = draw_sessions(MONDAY, site("public", 300, max_kw=22.0), 7, statistics()).sessions
    assert set(np.unique(one_phase.phases)) == {1}
    assert set(np.unique(one_phase.max_kw).tolist()) == {3.67, 3.7, 7.33, 7.4}
    assert set(np.unique(strong.max_kw).tolist()) == {3.7, 7.33, 11.0, 22.0}
    assert (strong.phases[strong.max_kw >= 11.0] == 3).all()


@given(
    energy_kwh=st.floats(0.1, 50.0),
    battery_kwh=st.floats(60.0, 100.0),
    start_soc=st.floats(0.05, 0.15),
    max_kw=st.floats(3.7, 22.0),
)
def test_the_time_to_charge_is_the_integral_of_the_taper(
    energy_kwh: float, battery_kwh: float, start_soc: float, max_kw: float
) -> None:
    arguments = [np.array([value]) for value in (energy_kwh, battery_kwh, start_soc, max_kw)]
    steps = np.linspace(0.0, energy_kwh, 4001)
    middles = start_soc + (steps[1:] + steps[:-1]) / 2.0 / battery_kwh
    hours = float((np.diff(steps) / (max_kw * taper_share(middles))).sum())
    assert float(hours_to_charge(*arguments)[0]) == pytest.approx(hours, rel=1e-3)


def test_the_taper_begins_at_eighty_percent_and_ends_at_a_fifth() -> None:
    np.testing.assert_allclose(taper_share(np.array([0.0, 0.8, 0.9, 1.0, 1.1])), [1.0, 1.0, 0.6, 0.2, 0.2])


def test_chargers_are_grouped_by_the_site_above_their_circuit() -> None:
    inventory = small_inventory(("h", "home", 3), ("w", "workplace", 2))
    groups = chargers_by_site(inventory.nodes, inventory.chargers, inventory.connection_points)
    assert [(group.site, group.site_class, group.charger.tolist()) for group in groups] == [
        ("h", "home", [0, 1, 2]),
        ("w", "workplace", [3, 4]),
    ]


def test_statistics_with_a_column_that_is_no_number_are_refused_by_name(tmp_path: Path) -> None:
    for file in DEFAULT_FOLDER.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    text = (tmp_path / "vehicles.csv").read_text(encoding="utf-8")
    (tmp_path / "vehicles.csv").write_text(text.replace("57.5", "many"), encoding="utf-8")
    with pytest.raises(InvalidInput) as refused:
        load_statistics(tmp_path)
    assert refused.value.field == "vehicles.csv.battery_kwh"


def test_shares_of_arrivals_add_up_and_factors_leave_the_mean_alone() -> None:
    for place in statistics().places.values():
        assert place.arrival_weekday.sum() == pytest.approx(1.0)
        assert place.arrival_weekend.sum() == pytest.approx(1.0)
        by_half_hour = place.arrival_weekday.reshape(-1, 2).sum(axis=1)
        assert (place.stay_factor * by_half_hour).sum() == pytest.approx(1.0)
        assert (place.energy_factor * by_half_hour).sum() == pytest.approx(1.0)
