"""The bench of prices measures what it says: our reader reads what was written, and what was written is asked for."""

from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.market_data.entsoe_document import read_publication
from gateway.storage.store import SqlStore
from scripts import price_years, read_price_year
from scripts.benches import prices
from scripts.environment import SetupError


def test_a_year_is_what_a_year_of_quarter_hours_is() -> None:
    rows = list(price_years.price_rows("BE", 1, 0))
    days = {row.grid.start for row in rows}
    assert len(days) == 366  # 2016 was a leap year
    assert sum(row.grid.count for row in {row.grid.start: row for row in rows}.values()) == 366 * 96
    assert len(rows) > len(days)


def test_our_reader_is_judged_on_the_whole_year(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object) -> Path:
        raise SetupError("no peer here")

    monkeypatch.setattr(prices, "python_of", cannot)
    rows, goals = prices.measure_parse(1)
    assert [row["count"] for row in rows] == [365 * 96]
    assert all(goal["met"] for goal in goals)


def test_a_document_is_read_as_it_was_written() -> None:
    document = read_publication(price_years.year_document(2024), area=price_years.AREA, max_span=read_price_year.YEAR)
    assert document is not None
    counts = [len(period.prices_per_mwh) for series in document.series for period in series.periods]
    assert sorted({*counts}) == [92, 96, 100]
    assert len(counts) == 366


async def test_rows_are_written_and_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "QUESTION_COUNT", 20)
    monkeypatch.setattr(prices, "ZONES", ("BE",))
    async with SqlStore.open(f"sqlite:///{tmp_path / 'prices.sqlite'}", SystemClock()) as store:
        rows, goals = await prices._rows_and_questions(store, 1)
    assert [row["count"] for row in rows] == [366 + 37, 20, 366 * 96]
    assert goals[0]["measured"] > 0.0
