"""Recorded sessions: the shipped month passes as it was, and a file that is wrong is refused by row and column."""

import tomllib
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.inventory import Inventory, parse_inventory
from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.fleet import build_simulation, parse_arguments
from gateway.sandbox.fleet_bank import Obedience
from gateway.sandbox.fleet_recorded import RecordedBook
from gateway.sandbox.fleet_sessions import SessionTable
from tests.sandbox.fleet_worlds import small_inventory

FOLDER = Path(__file__).parents[2] / "config" / "data" / "us_2019"
FIRST = DeliveryDay(day=date(2019, 5, 1), zone="America/Los_Angeles")
HEADER = "charger,arrival,departure,requested_kwh,delivered_kwh,estimated_departure\n"
GOOD = "h-001,2019-05-01T08:00-07:00,2019-05-01T17:00-07:00,20,12.5,2019-05-01T16:00-07:00\n"


def _shipped() -> Inventory:
    return parse_inventory(tomllib.loads((FOLDER / "tree.toml").read_text(encoding="utf-8")))


def _book(folder: Path, text: str) -> RecordedBook:
    file = folder / "sessions.csv"
    file.write_text(HEADER + text, encoding="utf-8")
    return RecordedBook(FIRST, file, small_inventory(("h", "home", 2)).chargers)


def test_the_shipped_month_has_every_session_on_its_day() -> None:
    book = RecordedBook(FIRST, FOLDER / "sessions.csv", _shipped().chargers)
    days = [book.draw_next() for _ in range(31)]
    assert book.next_day.day == date(2019, 6, 1)
    assert [len(table) for table in days[:3]] == [110, 108, 118]
    month = SessionTable.join(days)
    assert len(month) == 2608 == len(set(month.id.tolist()))
    assert (month.departure_s > month.arrival_s).all()
    assert len(np.unique(month.charger)) == 102
    said = ~np.isnan(month.stated_energy_kwh)
    assert 0.85 < said.mean() < 1.0
    np.testing.assert_array_equal(said, ~np.isnan(month.stated_departure_s))
    assert len(book.draw_next()) == 0


def test_the_platform_can_pass_the_recorded_month_and_serves_everybody_when_nobody_limits_it() -> None:
    arguments = ["--gateway", "127.0.0.1:1", "--token-file", "t", "--inventory", str(FOLDER / "tree.toml")]
    chosen = ["--recorded", str(FOLDER / "sessions.csv"), "--from-day", "2019-05-15"]
    start = DeliveryDay(day=date(2019, 5, 15), zone=FIRST.zone).interval.start + timedelta(hours=11)
    world = build_simulation(parse_arguments([*arguments, *chosen]), start)
    assert len(world.history) > 1000
    assert len(world.plugged_in()) > 50
    world.set_obedience(np.arange(102), Obedience.NOT_FOLLOWING)
    for _ in range(1440):
        world.step()
    assert world.score.ended_count > 80
    assert world.score.missed_count == 0
    assert 800.0 < world.score.delivered_kwh < 2500.0


def test_a_row_becomes_a_session(tmp_path: Path) -> None:
    table = _book(tmp_path, GOOD + "h-002,2019-05-01T07:00-07:00,2019-05-02T07:00-07:00,,3,\n").draw_next()
    assert table.charger.tolist() == [1, 0]
    assert table.energy_kwh.tolist() == [3.0, 12.5]
    assert table.departure_s[1] - table.arrival_s[1] == 9 * 3600
    assert np.isnan(table.stated_energy_kwh).tolist() == [True, False]
    assert table.stated_departure_s[1] - table.arrival_s[1] == 8 * 3600


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (GOOD.replace("h-001", "h-009"), "charger"),
        (GOOD.replace("h-001", ""), "charger"),
        (GOOD.replace("2019-05-01T08:00-07:00", "2019-05-01T08:00"), "arrival"),
        (GOOD.replace("2019-05-01T08:00-07:00", "morning"), "arrival"),
        (GOOD.replace("2019-05-01T17:00-07:00", ""), "departure"),
        (GOOD.replace("2019-05-01T17:00-07:00", "2019-05-01T08:00-07:00"), "departure"),
        (GOOD.replace("2019-05-01T16:00-07:00", "soon"), "estimated_departure"),
        (GOOD.replace("12.5", "much"), "delivered_kwh"),
        (GOOD.replace("12.5", "-1"), "delivered_kwh"),
        (GOOD.replace("12.5", ""), "delivered_kwh"),
        (GOOD.replace(",20,", ",inf,"), "requested_kwh"),
        (GOOD.replace("T08", "T09"), "arrival"),
        ("h-002\n", "arrival"),
    ],
    ids=str,
)
def test_a_wrong_row_is_refused_by_its_number_and_column(row: str, field: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        _book(tmp_path, GOOD + row)
    assert refused.value.field == f"sessions.csv[1].{field}"
