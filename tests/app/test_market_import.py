"""Prices from files: what would happen, then what happened; and the configured sources side by side."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from gateway.app.market_import import ask_all, fetch_day
from gateway.cli.commands import app
from gateway.domain.errors import InvalidInput, NotFound
from gateway.domain.series import DayState, MarketDayStatus, PriceProduct, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.price_file import FileTerms, PriceFile
from gateway.market_data.table_file import Table
from gateway.services.gather_market_data import SourceAnswer, compared
from gateway.settings import load_settings
from gateway.storage.store import SqlStore
from tests.app.test_offline_market import series
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import scripted_peer

SDAC = PriceProduct.DAY_AHEAD_SDAC
ZONE = "Europe/Brussels"
Run = Callable[..., Result]
AUTUMN = DeliveryDay(day=date(2025, 10, 26), zone=ZONE)


def write_config(tmp_path: Path, market: str) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'tenants = ["demo"]\n[store]\nurl = "sqlite:///{tmp_path / "rows.sqlite"}"\n[rpc]\nallow_plain_on_loopback = true\n'
        f'[web]\nallow_plain_on_loopback = true\n[market]\nzone = "DE_LU"\ntime_zone = "{ZONE}"\n{market}'
    )
    return path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = write_config(tmp_path, 'feeds = [{name = "energy-charts"}]\n')

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["market", *arguments, "--config", str(config)])

    return command


def rows(day: DeliveryDay, *, step: timedelta = timedelta(minutes=15), plus: int = 0) -> Iterator[str]:
    for index, start in enumerate(day.grid(step).starts()):
        yield f"{start:%Y-%m-%dT%H:%MZ},{index + plus}.25"


def file_of(path: Path, *lines: str, head: str = "start_utc,price_eur_mwh") -> Path:
    path.write_text("\n".join((head, *lines)) + "\n")
    return path


def test_a_dry_run_says_what_would_happen_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    whole, next_day = [*rows(AUTUMN)], [*rows(AUTUMN.next())]
    file = file_of(tmp_path / "prices.csv", *whole, *next_day[:90])
    assert run("fetch", "2025-10-26").exit_code == 1  # makes the database; nobody answers
    said = run("import", str(file), "--dry-run")
    assert said.exit_code == 0, said.output
    assert "2025-10-27: new, 6 delivery periods have no price" in said.output
    assert "would import 2 days: 2 new" in said.output
    assert run("show", "2025-10-26").exit_code != 0
    assert "imported 2 days: 2 new" in run("import", str(file)).output
    shown = run("show", "2025-10-26").output.splitlines()
    assert "source file: prices.csv, final" in shown[1]
    assert sum("gap" not in line for line in shown[2:]) == 100
    assert "imported 2 days: 2 same" in run("import", str(file)).output


def test_revised_and_poorer_days_are_told_apart(run: Run, tmp_path: Path) -> None:
    run("import", str(file_of(tmp_path / "a.csv", *rows(AUTUMN), *rows(AUTUMN.next()))))
    other = file_of(tmp_path / "b.csv", *rows(AUTUMN, plus=7), *[*rows(AUTUMN.next())][:9])
    said = run("import", str(other))
    assert "1 refused, 1 revised" in said.output
    assert "refused: it has fewer prices than are known" in said.output
    assert "7.25" in run("show", "2025-10-26").output
    assert "gap" not in run("show", "2025-10-27").output


def test_what_was_exported_can_be_imported_and_a_contradiction_is_refused(run: Run, tmp_path: Path) -> None:
    run("import", str(file_of(tmp_path / "a.csv", *rows(AUTUMN))))
    out = tmp_path / "out.csv"
    run("export", "2025-10-26", "2025-10-26", str(out))
    assert "1 revised" in run("import", str(out)).output or "1 same" in run("import", str(out)).output
    refused = run("import", str(out), "--currency", "PLN")
    assert isinstance(refused.exception, InvalidInput) or refused.exit_code != 0
    assert "says EUR, not PLN" in f"{refused.output}{refused.exception}"


def price_file(*lines: str, **terms: object) -> PriceFile:
    values = [line.split(",") for line in lines]
    table = Table(name="t.csv", columns={"start_utc": [one[0] for one in values], "price": [one[1] for one in values]})
    said = {"zone": "NL", "product": SDAC, "currency": "EUR", "licence": "made up", **terms}
    return PriceFile(table, FileTerms(**said), HandClock())  # type: ignore[arg-type]  # terms of the test


async def test_hours_before_the_quarter_hour_market_are_its_prices_later_ones_are_means() -> None:
    hour = timedelta(hours=1)
    for day, quality in [(date(2025, 9, 30), Quality.FINAL), (date(2025, 10, 2), Quality.ESTIMATED)]:
        delivery = DeliveryDay(day=day, zone=ZONE)
        found = await price_file(*rows(delivery, step=hour)).fetch("NL", delivery)
        assert found is not None
        assert (found.grid.count, found.quality) == (96, quality)
        assert found.prices_per_mwh[3:5] == (Decimal("0.25"), Decimal("1.25"))


async def test_m22_a_gap_in_the_file_is_a_gap_in_the_day() -> None:
    """The Belgian set lacks 2024-03-31T00:00Z to 01:45Z: two hours of a day of 92 quarter-hours."""
    day = DeliveryDay(day=date(2024, 3, 31), zone=ZONE)
    kept = [
        line for line in rows(day) if not "2024-03-31T00:00Z" <= line.split(",", maxsplit=1)[0] <= "2024-03-31T01:45Z"
    ]
    found = await price_file(*kept).fetch("NL", day)
    assert found is not None
    assert (found.grid.count, len(found.gaps)) == (92, 8)
    assert [f"{gap:%H:%M}" for gap in found.gaps[:2]] == ["00:00", "00:15"]


async def test_m9_negative_prices_come_through_digit_for_digit() -> None:
    """2023-07-02, 11:00Z to 13:00Z: three hours at -500.00 in the Netherlands."""
    day = DeliveryDay(day=date(2023, 7, 2), zone=ZONE)
    hours = [
        f"{start:%Y-%m-%dT%H:%MZ},{'-500.00' if 11 <= start.hour <= 13 else '-1.5'}"
        for start in day.grid(timedelta(hours=1)).starts()
    ]
    found = await price_file(*hours).fetch("NL", day)
    assert found is not None
    assert found.prices_per_mwh.count(Decimal("-500.00")) == 12
    assert min(found.as_array()) == -500.0


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (("2025-10-15T00:00Z,1", "2025-10-15T00:15Z,2", "2025-10-15T00:15Z,3"), "twice with different prices"),
        (("2025-10-15T00:00Z,1", "2025-10-15T00:05Z,2"), "no delivery period"),
        (("2025-10-15T00:00Z,1", "2025-10-15T00:15Z,nan"), "finite"),
        (("2025-10-15T00:00Z,1", "2025-10-15T00:15Z,zwei"), "no number"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(lines: tuple[str, ...], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        price_file(*lines)


async def test_a_period_beside_the_grid_and_another_zone_are_refused() -> None:
    day = DeliveryDay(day=date(2025, 10, 15), zone=ZONE)
    beside = price_file("2025-10-15T00:07Z,1", "2025-10-15T00:22Z,2")
    with pytest.raises(InvalidInput, match="no begin of a delivery period"):
        await beside.fetch("NL", day)
    with pytest.raises(InvalidInput, match="the file is of NL"):
        await beside.fetch("BE", day)


@given(kept=st.sets(st.integers(0, 99), min_size=1))
def test_every_price_of_a_file_is_in_its_slot(kept: set[int]) -> None:
    lines = [line for index, line in enumerate(rows(AUTUMN)) if index in kept]
    whole_day = rows(AUTUMN.next())
    found = asyncio.run(price_file(*lines, *whole_day).fetch("NL", AUTUMN))
    assert found is not None
    assert {i for i, price in enumerate(found.prices_per_mwh) if price is not None} == kept


# ---------------------------------------------------------------- the configured sources


def energy_charts(day: DeliveryDay, *, plus: float = 0.0) -> bytes:
    starts = day.grid().starts()
    prices = [round(20.0 + index + (plus if index == 9 else 0.0), 2) for index in range(len(starts))]
    seconds = [int(start.timestamp()) for start in starts]
    return json.dumps({"unix_seconds": seconds, "price": prices, "unit": "EUR / MWh"}).encode()


async def test_fetch_and_compare_ask_the_configured_sources(tmp_path: Path) -> None:
    day = date(2025, 10, 15)
    delivery = DeliveryDay(day=day, zone=ZONE)
    async with scripted_peer() as one, scripted_peer() as two, scripted_peer() as three:
        one.reply(energy_charts(delivery), content_type="application/json")
        two.reply(energy_charts(delivery, plus=0.02), content_type="application/json")
        three.reply(b"busy", status=503)
        feeds = ", ".join(f'{{name = "energy-charts", url = "{peer.url}"}}' for peer in (one, two, three))
        settings = load_settings(write_config(tmp_path, f"feeds = [{feeds}]\n"))
        status = await fetch_day(settings, "DE_LU", SDAC, day)
        assert (status.state, status.missing_count) == (DayState.COMPLETE, 0)
        answers = await ask_all(settings, "DE_LU", SDAC, day)
        with pytest.raises(NotFound):
            await ask_all(settings, "DE_LU", PriceProduct.IMBALANCE, day)
    assert [answer.problem for answer in answers] == ["", "", "energy-charts answered with status 503"]
    (result,) = compared(answers)
    assert not isinstance(result, str)
    assert [(one.price_per_mwh, one.other_per_mwh) for one in result.differences] == [
        (Decimal("29.0"), Decimal("29.02"))
    ]


async def test_m20_what_a_second_source_says_of_a_past_day_is_kept_when_asked_for(tmp_path: Path) -> None:
    day = date(2025, 10, 15)
    delivery = DeliveryDay(day=day, zone=ZONE)
    stamps = [1000 * int(start.timestamp()) for start in delivery.grid().starts()]
    index = {"timestamps": [stamps[0]]}
    chunk = {"series": [[stamp, 20.0 + number] for number, stamp in enumerate(stamps)]}
    async with scripted_peer() as one, scripted_peer() as two:
        one.reply(energy_charts(delivery, plus=0.02), content_type="application/json")
        for body in [index, chunk] * 3:
            two.reply(json.dumps(body).encode(), content_type="application/json")
        feeds = f'{{name = "energy-charts", url = "{one.url}"}}, {{name = "smard", url = "{two.url}"}}'
        config = write_config(tmp_path, f"feeds = [{feeds}]\n")

        def compare(*arguments: str) -> Result:
            return CliRunner().invoke(app, ["market", "compare", str(day), *arguments, "--config", str(config)])

        nothing = await asyncio.to_thread(compare, "--keep")
        assert "nothing is kept: the day is not complete" in nothing.output
        settings = load_settings(config)
        await fetch_day(settings, "DE_LU", SDAC, day)
        said = await asyncio.to_thread(compare, "--keep")
    assert said.exit_code == 1
    assert "kept: smard differs from energy-charts in 1 of 96 periods" in said.output
    async with SqlStore.open(settings.store.url, HandClock(), read_only=True) as store:
        [row] = await store.find(MarketDayStatus, "demo")
    assert "smard differs from energy-charts" in row.record.cross_check


def test_m20_what_differs_by_a_cent_agrees_and_by_two_does_not() -> None:
    day = DeliveryDay(day=date(2025, 10, 15), zone=ZONE)
    base = series(day)
    for cents, agrees in [(1, True), (2, False)]:
        moved = [price and price + Decimal(cents) / 100 for price in base.prices_per_mwh]
        other = series(day, prices_per_mwh=tuple(moved))
        answers = [SourceAnswer(source=name, series=one, problem="") for name, one in [("a", base), ("b", other)]]
        (result,) = compared(answers)
        assert not isinstance(result, str)
        assert result.agrees is agrees


def test_sources_that_measure_other_things_are_not_compared() -> None:
    day = DeliveryDay(day=date(2025, 10, 15), zone=ZONE)
    base, estimated, zloty = series(day), series(day, quality=Quality.ESTIMATED), series(day, currency="PLN")
    answers = [SourceAnswer(source="x", series=one, problem="") for one in (base, estimated, zloty)]
    told = compared(answers)
    assert all(isinstance(one, str) and "cannot be compared" in one for one in told)
    assert len(told) == 2


def test_a_dry_run_needs_no_database_yet(run: Run, tmp_path: Path) -> None:
    file = file_of(tmp_path / "prices.csv", *rows(AUTUMN))
    said = run("import", str(file), "--dry-run")
    assert (said.exit_code, "would import 1 days: 1 new" in said.output) == (0, True)


def test_prices_that_come_back_are_the_same_as_those_that_are_kept(run: Run, tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    file_of(one, *rows(AUTUMN))
    file_of(other, *rows(AUTUMN, plus=1))
    fates = [run("import", str(file)).output.splitlines()[-1] for file in (one, other, one)]
    assert [fate.rpartition(" ")[2] for fate in fates] == ["new", "revised", "revised"]
    assert "1 same" in run("import", str(one), "--dry-run").output


def test_m22_an_imported_day_with_a_gap_is_shown_with_its_gap_and_the_doctor_names_it(run: Run, tmp_path: Path) -> None:
    """As in the Belgian set, in which the hours around clock changes are missing."""
    week_ago = AUTUMN.next(-7)
    lines = [*rows(week_ago), *(row for i, row in enumerate(rows(AUTUMN)) if not 8 <= i < 16)]
    said = run("import", str(file_of(tmp_path / "prices.csv", *lines)))
    assert f"{AUTUMN.day}: new, 8 delivery periods have no price" in said.output
    shown = run("show", str(AUTUMN.day)).output
    assert shown.count("gap") == 8
    assert "stand-in" not in shown
    checked = run("doctor", "--days", "3000", "--json")
    assert f"DE_LU:day-ahead-sdac:{AUTUMN.day}" in checked.output
    assert "8 delivery periods have no price" in checked.output
