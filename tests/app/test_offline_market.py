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
from gateway.domain.contradictions import Contradiction, ContradictionWord
from gateway.domain.errors import NotFound, VoltbridgeError
from gateway.domain.market_asking import SourceBan
from gateway.domain.price_doubts import AFTER_DECOUPLING
from gateway.domain.series import (
    CarbonKind,
    CarbonSeries,
    DayState,
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
    SlotRun,
    market_day_id,
    price_series_id,
)
from gateway.domain.system_series import SystemKind, SystemSeries, system_series_id
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


def test_m6_native_resolutions_are_shown_and_exported(run: Run, tmp_path: Path) -> None:
    day = DeliveryDay(day=date(2025, 10, 15), zone=ZONE)
    fine = SlotRun(count=92, native_step=timedelta(minutes=15), source="entsoe", quality=Quality.FINAL)
    hour = SlotRun(count=4, native_step=timedelta(hours=1), source="smard", quality=Quality.ESTIMATED)
    held = series(day, runs=(fine, hour))
    keep(tmp_path, held, status(day, held))
    lines = run("show", "2025-10-15").output.splitlines()
    assert lines[2] == "from 00:00+0200: native resolution 15 minutes, final, source entsoe"
    assert lines[3] == "from 23:00+0200: native resolution 60 minutes, estimated, source smard"
    out = tmp_path / "out.csv"
    run("export", "2025-10-15", "2025-10-15", str(out))
    with out.open(newline="") as stream:
        rows = [(row["native_minutes"], row["quality"], row["source"]) for row in csv.DictReader(stream)]
    assert rows == [("15", "final", "entsoe")] * 92 + [("60", "estimated", "smard")] * 4


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


def test_what_is_not_final_or_came_after_a_decoupling_is_a_finding_in_every_zone_of_the_database(
    run: Run, tmp_path: Path
) -> None:
    soon, late, doubted = TODAY.next(-1), TODAY.next(-2), TODAY.next(-1)
    early = series(soon, quality=Quality.PRELIMINARY, source="exaa")
    after = series(late)
    abroad = [replace(series(day), zone="NL") for day in (TODAY.next(-3), doubted)]
    abroad = [replace(one, id=f"NL-{one.id}") for one in abroad]
    old, new = (
        status(day, one, id=market_day_id("NL", SDAC, day), zone="NL")
        for day, one in zip((TODAY.next(-3), doubted), abroad, strict=True)
    )
    word = ContradictionWord(actor="tara", spoken_at=SystemClock().now(), believed="smard", reason="checked")
    contradiction = Contradiction(
        id="c", source="entsoe", other="smard", told="t", found_at=SystemClock().now(), word=word
    )
    keep(
        tmp_path,
        *whole_days(soon, late),
        *(early, status(soon, early)),
        *(after, status(late, after, note=f"{AFTER_DECOUPLING}; x")),
        *(*abroad, old, replace(new, cross_check="t", contradiction=contradiction)),
    )
    result = run("doctor", "--days", "6", "--json")
    found = {(one["kind"], one["what"]): one["why"] for one in json.loads(result.output)}
    assert found["preliminary", market_day_id("BE", SDAC, soon)] == "exaa has only preliminary prices"
    assert found["decoupled", market_day_id("BE", SDAC, late)] == f"{AFTER_DECOUPLING}; x"
    told = found["contradictory", market_day_id("NL", SDAC, doubted)]
    assert told == "t; acknowledged by tara, who believes smard: checked"
    # Nobody asked for days of the other zone before its first and after its last.
    missing = {what for kind, what in found if kind == "missing" and what.startswith("NL:")}
    assert missing == {market_day_id("NL", SDAC, TODAY.next(-2))}


def test_carbon_that_stays_estimated_and_system_series_with_gaps_are_findings(run: Run, tmp_path: Path) -> None:
    held = [carbon_of(TODAY.next(-3), Quality.ESTIMATED), carbon_of(TODAY, Quality.ESTIMATED)]
    keep(tmp_path, *whole_days(), *held, power(TODAY.next(-3), gaps=2), power(TODAY, gaps=5))
    found = {(one["kind"], one["what"]) for one in json.loads(run("doctor", "--days", "3", "--json").output)}
    then = f"{TODAY.next(-3).interval.start:%Y-%m-%dT%H:%M}Z"
    assert found == {("estimated", f"FR:carbon-average:{then}"), ("gaps", f"BE:load:{then}")}


def carbon_of(day: DeliveryDay, quality: Quality) -> CarbonSeries:
    return CarbonSeries(
        id=f"carbon-{day.day}",
        zone="FR",
        kind=CarbonKind.AVERAGE,
        grid=day.grid(),
        intensity_g_per_kwh=(50.0,) * day.grid().count,
        source="somewhere",
        fetched_at=SystemClock().now(),
        quality=quality,
        licence="test",
    )


def power(day: DeliveryDay, *, gaps: int = 0, level: float = 8000.5, hours_old: float = 0.0) -> SystemSeries:
    values = tuple(None if i < gaps else level for i in range(day.grid().count))
    return SystemSeries(
        id=system_series_id("BE", SystemKind.LOAD, day, values),
        zone="BE",
        kind=SystemKind.LOAD,
        grid=day.grid(),
        power_mw=values,
        source="entsoe",
        published_at=None,
        fetched_at=SystemClock().now() - timedelta(hours=hours_old),
        licence="test",
    )


def test_a_system_series_is_shown_and_exported_with_its_gaps_and_as_it_was_known(run: Run, tmp_path: Path) -> None:
    day = DeliveryDay(day=date(2025, 10, 26), zone=ZONE)
    keep(tmp_path, power(day, gaps=4, hours_old=5.0), power(day, gaps=1, level=9000.0, hours_old=1.0))
    shown = run("show", "2025-10-26", "--system", "load")
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0] == "BE load 2025-10-26 in MW"
    assert lines[1].startswith("source entsoe, fetched ")
    assert (len(lines), lines[2].split(), lines[3].split()) == (
        2 + 100,
        ["00:00+0200", "gap"],
        ["00:15+0200", "9000"],
    )
    at = (SystemClock().now() - timedelta(hours=3)).isoformat()
    then = run("show", "2025-10-26", "--system", "load", "--known-at", at).output.splitlines()
    assert [line.split()[1] for line in then[2:8]] == ["gap"] * 4 + ["8000.5"] * 2
    out = tmp_path / "load.csv"
    written = run("export", "2025-10-25", "2025-10-26", str(out), "--system", "load")
    assert written.exit_code == 1
    assert "not known: 2025-10-25" in written.output
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    assert [row["power_mw"] for row in rows[:2]] == ["", "9000.0"]
    assert {(row["kind"], row["source"], row["licence"]) for row in rows} == {("load", "entsoe", "test")}


def test_a_system_series_that_nobody_knows_is_said_by_name(run: Run, tmp_path: Path) -> None:
    keep(tmp_path)
    assert isinstance(run("show", "2025-10-26", "--system", "solar-forecast").exception, NotFound)
    wrong = run("show", "2025-10-26", "--system", "gold")
    assert isinstance(wrong.exception, VoltbridgeError)
    assert "system" in str(wrong.exception)
