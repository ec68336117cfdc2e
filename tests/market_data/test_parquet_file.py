"""Prices from real Parquet files, where pyarrow (the extra `parquet`) is installed: the same days as from CSV, digit for digit."""

import importlib
import importlib.util
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.commands import app
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data import table_file
from gateway.market_data.table_file import read_table

# pyarrow takes 170 MB on disk, more than a third of the whole environment of the tests, for one optional format: whoever installs the
# extra runs these tests with real files; that a file without it is refused precisely is tested beside the other tables.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="needs pyarrow: pip install voltbridge[parquet], 170 MB"
)
ZONE = "Europe/Brussels"
AUTUMN = DeliveryDay(day=date(2025, 10, 26), zone=ZONE)
Run = Callable[..., Result]


def written(path: Path, starts: list[datetime], prices: list[Any], *, unit: str = "us", kind: str = "") -> Path:
    """Write begins and prices as a Parquet file."""
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    times = arrow.array(starts, type=arrow.timestamp(unit, tz=str(starts[0].tzinfo)))
    values = arrow.array(prices, type=arrow.decimal128(12, 5) if kind == "decimal" else arrow.float64())
    parquet.write_table(arrow.table({"start_utc": times, "price_eur_mwh": values}), path, compression="zstd")
    return path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'tenants = ["demo"]\n[store]\nurl = "sqlite:///{tmp_path / "rows.sqlite"}"\n[rpc]\nallow_plain_on_loopback = true\n'
        f'[web]\nallow_plain_on_loopback = true\n[market]\nzone = "DE_LU"\ntime_zone = "{ZONE}"\n'
        'feeds = [{name = "energy-charts"}]\n'
    )
    assert CliRunner().invoke(app, ["market", "fetch", "2025-10-26", "--config", str(config)]).exit_code == 1

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["market", *arguments, "--config", str(config)])

    return command


def test_m7_a_clock_change_day_is_imported_with_its_gap_after_a_dry_run(run: Run, tmp_path: Path) -> None:
    starts = list(AUTUMN.grid().starts())
    prices = [None if i == 9 else i + 0.25 for i in range(100)]
    file = written(tmp_path / "prices.parquet", starts, prices)
    said = run("import", str(file), "--dry-run")
    assert said.exit_code == 0, said.output
    assert "2025-10-26: new, 1 delivery periods have no price" in said.output
    assert "would import 1 days: 1 new" in said.output
    assert "imported 1 days: 1 new" in run("import", str(file)).output
    lines = run("show", "2025-10-26").output.splitlines()
    assert "source file: prices.parquet" in lines[1]
    shown = [line.split() for line in lines if line[:2].isdigit()]
    assert len(shown) == 100
    assert (shown[8], shown[9], shown[12]) == (["02:00+0200", "8.25"], ["02:15+0200", "gap"], ["02:00+0100", "12.25"])
    assert "1 same" in run("import", str(file)).output


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_instants_of_every_unit_and_zone_are_the_same_ones(tmp_path: Path, unit: str) -> None:
    starts = list(AUTUMN.grid().starts())
    local = [start.astimezone(ZoneInfo(ZONE)) for start in starts]
    prices = [1.5] * 100
    plain = read_table(written(tmp_path / "a.parquet", starts, prices, unit=unit))
    there = read_table(written(tmp_path / "b.parquet", local, prices, unit=unit))
    assert [datetime.fromisoformat(text) for text in plain.column("start_utc")] == starts
    assert [datetime.fromisoformat(text) for text in there.column("start_utc")] == starts


def test_decimals_are_kept_digit_for_digit_and_no_number_is_a_gap(tmp_path: Path) -> None:
    starts = list(AUTUMN.grid().starts())[:3]
    exact = [Decimal("0.10000"), Decimal("-500.00001"), None]
    assert read_table(written(tmp_path / "a.parquet", starts, exact, kind="decimal")).column("price_eur_mwh") == [
        "0.10000",
        "-500.00001",
        "",
    ]
    plain = read_table(written(tmp_path / "b.parquet", starts, [0.1, float("nan"), None]))
    assert plain.column("price_eur_mwh") == ["0.1", "", ""]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"start_utc,price\n", b"PAR1" + b"\x00" * 64 + b"PAR1"])
def test_what_is_no_parquet_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="is no readable Parquet file"):
        read_table(path)


def test_a_file_that_unpacks_to_more_than_the_cap_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    text = "x" * 1_000_000
    parquet.write_table(arrow.table({"start_utc": [text, text[:-1]]}), path, compression="zstd", use_dictionary=False)
    monkeypatch.setattr(table_file, "MAX_TEXT_BYTES", 100_000)
    assert path.stat().st_size < 20_000
    with pytest.raises(InvalidInput, match="more than 100000"):
        read_table(path)
