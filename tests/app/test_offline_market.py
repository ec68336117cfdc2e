"""`voltbridge market` on a real database: what it shows, what it exports, and what it finds wrong."""

import asyncio
import csv
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.commands import app
from gateway.clock import SystemClock
from gateway.domain.errors import VoltbridgeError
from gateway.domain.market_asking import SourceBan
from gateway.domain.series import (
    CarbonKind,
    CarbonSeries,
    DayState,
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
    market_day_id,
    price_series_id,
)
from gateway.domain.timegrid import DeliveryDay
from gateway.ports import Batch, Put
from gateway.storage.store import SqlStore
from tests.fakes.market import price_series

ZONE = "Europe/Brussels"
SDAC = PriceProduct.DAY_AHEAD_SDAC
TODAY = DeliveryDay.containing(SystemClock().now(), ZONE)
Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path, token = tmp_path / "gateway.toml", tmp_path / "token"
    token.write_text("token")
    token.chmod(0o600)
    path.write_text(
        f'tenants = ["demo"]\n[store]\nurl = "sqlite:///{tmp_path / "rows.sqlite"}"\n[rpc]\nallow_plain_on_loopback = true\n'
        f'[web]\nallow_plain_on_loopback = true\n[market]\nzone = "BE"\ntime_zone = "{ZONE}"\n'
        f'entsoe_url = "https://example.com/api"\nentsoe_token_file = "{token}"\n'
    )
    return path


@pytest.fixture
def run(config: Path) -> Run:
    def command(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["market", *arguments, "--config", str(config)])

    return command


def series(day: DeliveryDay, *, gaps: int = 0, plus: int = 0, **changes: object) -> PriceSeries:
    count = day.grid().count
    prices: list[Decimal | None] = [None if i < gaps else Decimal(i + plus) / 4 for i in range(count)]
    found = replace(price_series(day, prices, fetched_at=SystemClock().now()), **changes)  # type: ignore[arg-type]
    return replace(found, id=price_series_id(found, day))


def status(day: DeliveryDay, held: PriceSeries | None, **changes: object) -> MarketDayStatus:
    found = MarketDayStatus(
        id=market_day_id("BE", SDAC, day),
        tenant="demo",
        zone="BE",
        product=SDAC,
        day=day.day.isoformat(),
        state=DayState.COMPLETE,
        missing_count=0 if held is None else len(held.gaps),
        series_id=None if held is None else held.id,
        checked_at=SystemClock().now(),
    )
    return replace(found, **changes)  # type: ignore[arg-type]  # fields of the status


def keep(tmp_path: Path, *records: object) -> None:
    async def write() -> None:
        async with SqlStore.open(f"sqlite:///{tmp_path / 'rows.sqlite'}", SystemClock()) as store:
            await store.apply(Batch(tenant="demo", puts=tuple(Put(record=record) for record in records)))

    asyncio.run(write())


def whole_days(*except_days: DeliveryDay, back: int = 3) -> list[object]:
    records: list[object] = []
    for offset in range(-1, back):
        day = TODAY.next(-offset)
        if day not in except_days:
            held = series(day)
            records += [held, status(day, held)]
    return records


def test_a_day_is_shown_with_where_it_comes_from(run: Run, tmp_path: Path) -> None:
    day = DeliveryDay(day=date(2025, 10, 26), zone=ZONE)
    held = series(day, gaps=2, note="two quarter-hours are missing")
    keep(tmp_path, held, status(day, held))
    shown = run("show", "2025-10-26")
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0] == "BE day-ahead-sdac 2025-10-26 in EUR per MWh"
    assert held.source in lines[1]
    assert lines[2] == "note: two quarter-hours are missing"
    assert len(lines) == 3 + 100
    assert lines[3].split() == ["00:00+0200", "gap"]
    assert sum(line.startswith("02:00+") for line in lines) == 2, "the repeated hour is there twice, told apart"


def test_a_day_is_shown_as_it_was_known(run: Run, tmp_path: Path) -> None:
    first = replace(series(TODAY), fetched_at=SystemClock().now() - timedelta(hours=5))
    second = series(TODAY, plus=400)
    keep(tmp_path, first, second, status(TODAY, second))
    between = (SystemClock().now() - timedelta(hours=2)).isoformat()
    then = run("show", TODAY.day.isoformat(), "--known-at", between)
    now = run("show", TODAY.day.isoformat())
    assert then.output.splitlines()[2].split()[1] == "0"
    assert now.output.splitlines()[2].split()[1] == "100"


def test_an_export_has_its_provenance_in_every_row(run: Run, tmp_path: Path) -> None:
    held = series(TODAY, gaps=1)
    keep(tmp_path, held, status(TODAY, held))
    out = tmp_path / "prices.csv"
    iso, yesterday = TODAY.day.isoformat(), TODAY.next(-1).day.isoformat()
    result = run("export", yesterday, iso, str(out))
    assert result.exit_code == 1
    assert yesterday in result.output
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == held.grid.count
    assert rows[0]["price_per_mwh"] == ""
    assert rows[4]["price_per_mwh"] == "1"
    assert {(row["currency"], row["source"], row["licence"]) for row in rows} == {("EUR", held.source, held.licence)}
    assert datetime.fromisoformat(rows[0]["start_utc"]) == held.grid.start
    assert rows[0]["end_utc"] == rows[1]["start_utc"]


def test_a_healthy_database_has_no_findings(run: Run, tmp_path: Path) -> None:
    keep(tmp_path, *whole_days())
    result = run("doctor", "--days", "3")
    assert (result.exit_code, result.output) == (0, "0 findings in 3 days\n")


def test_the_doctor_finds_each_kind_by_day_and_says_why(run: Run, tmp_path: Path) -> None:
    gone, holed, contradicted, stood_in, forgotten = (TODAY.next(-back) for back in (1, 2, 3, 4, 5))
    holes, other, shifted = series(holed, gaps=7), series(contradicted), series(
        stood_in, quality=Quality.SUBSTITUTED, note="stand-in: prices of last week"
    )  # fmt: skip
    old = SystemClock().now() - timedelta(days=3)
    carbon = CarbonSeries(
        id="carbon",
        zone="BE",
        kind=CarbonKind.AVERAGE,
        grid=TODAY.grid(),
        intensity_g_per_kwh=(None, *[200.0] * (TODAY.grid().count - 1)),
        source="somewhere",
        fetched_at=old,
        quality=Quality.FINAL,
        licence="test",
    )
    keep(
        tmp_path,
        *whole_days(gone, holed, contradicted, stood_in, forgotten, back=6),
        *(holes, status(holed, holes, state=DayState.LATE)),
        *(other, status(contradicted, other, cross_check="smard differs from entsoe in 1 of 96 periods")),
        *(shifted, status(stood_in, shifted, state=DayState.FALLBACK)),
        status(forgotten, None, state=DayState.LATE, missing_count=96, checked_at=old, note="entsoe does not answer"),
        carbon,
    )
    result = run("doctor", "--days", "6", "--json")
    assert result.exit_code == 1
    found = {(one["kind"], one["what"].rpartition(":")[2]): one["why"] for one in json.loads(result.output)}
    assert "never looked at" in found["missing", gone.day.isoformat()]
    assert found["gaps", holed.day.isoformat()] == "7 delivery periods have no price"
    assert "smard differs" in found["contradictory", contradicted.day.isoformat()]
    assert found["stand-in", stood_in.day.isoformat()] == "stand-in: prices of last week"
    assert found["missing", forgotten.day.isoformat()] == "entsoe does not answer"
    assert "not looked at since" in found["stale", forgotten.day.isoformat()]
    assert any("1 slots have no intensity" in why for why in found.values())
    assert len(found) == 7


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        pytest.param(("show", "yesterday"), "day", id="no date"),
        pytest.param(("show", "2025-10-15", "--zone", "XX"), "zone", id="no zone"),
        pytest.param(("show", "2025-10-15", "--product", "gold"), "product", id="no product"),
        pytest.param(("show", "2025-10-15", "--known-at", "2025-10-15T00:00"), "known_at", id="no offset"),
    ],
)
def test_wrong_words_are_refused_by_name(run: Run, arguments: tuple[str, ...], field: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, VoltbridgeError)
    assert field in str(result.exception)


def test_a_gateway_without_a_market_is_healthy() -> None:
    root = Path(__file__).resolve().parents[2]
    result = CliRunner().invoke(app, ["market", "doctor", "--config", str(root / "config" / "gateway.toml")])
    assert (result.exit_code, result.output) == (0, "0 findings in 14 days\n")


def test_a_source_that_banned_us_and_a_decoupled_day_are_findings(run: Run, tmp_path: Path) -> None:
    now = SystemClock().now()
    ban = SourceBan(id="entsoe", tenant="demo", banned_at=now, until=now + timedelta(minutes=20))
    over = SourceBan(id="smard", tenant="demo", banned_at=now - timedelta(hours=2), until=now - timedelta(hours=1))
    bad = TODAY.next(-1)
    keep(tmp_path, *whole_days(bad), ban, over, status(bad, None, state=DayState.DECOUPLED, missing_count=96))
    said = run("doctor", "--days", "3")
    assert said.exit_code == 1
    assert "source entsoe: asked to be left alone" in said.output
    assert "smard" not in said.output
    assert "the coupling published nothing by its deadline" in said.output
