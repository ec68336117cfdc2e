"""The doctor of files finds what real sets of prices and production hold: files of the same shape, built here."""

import gzip
import importlib
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.domain.errors import InvalidInput
from gateway.market_data.file_findings import FileReport, examine
from gateway.market_data.table_file import Table, read_table

QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
BRUSSELS = "Europe/Brussels"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def span(first: str, last: str, step: timedelta) -> list[datetime]:
    """All periods from the first to the last one, both included."""
    start, end = utc(first), utc(last)
    return [start + step * i for i in range((end - start) // step + 1)]


def written(path: Path, head: str, rows: Iterable[Sequence[object]]) -> Path:
    text = "\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def report(path: Path, *, against: Table | None = None, time_zone: str = BRUSSELS) -> FileReport:
    return examine(read_table(path), time_zone=time_zone, against=against)


def whys(found: FileReport, kind: str) -> list[str]:
    return [one.why for one in found.findings if one.kind == kind]


def belgian_set(path: Path) -> Path:
    """Quarter-hours of 2024 to 2025 without the hours around three clock changes, as the Belgian set is."""
    gone = {
        *span("2024-03-31 00:00", "2024-03-31 01:45", QUARTER),
        *span("2024-10-27 00:00", "2024-10-27 01:45", QUARTER),
        *span("2025-03-30 00:45", "2025-03-30 01:00", QUARTER),
    }
    rows = [
        (f"{start:%Y-%m-%d %H:%M:%S}", "0.1")
        for start in span("2023-12-31 23:00", "2025-10-21 21:45", QUARTER)
        if start not in gone
    ]
    assert len(rows) == 63_338
    return written(path, "datetime_utc,price_eur_mwh", rows)


def test_the_hours_that_vanish_at_clock_changes_are_named(tmp_path: Path) -> None:
    found = report(belgian_set(tmp_path / "dam_prices.csv.gz"))
    assert whys(found, "missing") == [
        "8 periods are missing at a clock change: 2024-03-31 00:00Z to 2024-03-31 02:00Z",
        "8 periods are missing at a clock change: 2024-10-27 00:00Z to 2024-10-27 02:00Z",
        "2 periods are missing at a clock change: 2025-03-30 00:45Z to 2025-03-30 01:15Z",
    ]
    assert len(found.findings) == 3


def test_two_missing_hours_in_ten_years_are_named(tmp_path: Path) -> None:
    gone = {utc("2023-12-30 23:00"), utc("2024-12-30 23:00")}
    hours = [start for start in span("2015-01-01 00:00", "2025-01-07 23:00", HOUR) if start not in gone]
    assert len(hours) == 87_838
    path = written(
        tmp_path / "nl.csv", "start_utc,price_eur_mwh", ((f"{one:%Y-%m-%dT%H:%M:%SZ}", "34.94") for one in hours)
    )
    found = report(path)
    assert whys(found, "missing") == [
        "1 periods are missing: 2023-12-30 23:00Z to 2023-12-31 00:00Z",
        "1 periods are missing: 2024-12-30 23:00Z to 2024-12-31 00:00Z",
    ]
    assert whys(found, "coarse") == []


def test_times_in_two_forms_and_repeated_rows_are_told(tmp_path: Path) -> None:
    early = [
        ("Netherlands", f"{one:%Y-%m-%d %H:%M:%S}", "5") for one in span("2022-12-01 00:00", "2022-12-31 22:00", HOUR)
    ]
    late = [("Netherlands", f"{one:%d/%m/%Y %H:%M}", "6") for one in span("2022-12-31 23:00", "2023-01-03 00:00", HOUR)]
    found = report(written(tmp_path / "orig.csv", "Country,Datetime (UTC),Price (EUR/MWhe)", [*early, *late, *late]))
    assert whys(found, "repeated") == [
        "50 rows repeat a period with the same values, 2022-12-31 23:00Z to 2023-01-03 00:00Z"
    ]
    assert whys(found, "format") == ["rows write times in different ways: 743 as yyyy-mm-dd and 100 as dd/mm/yyyy"]
    assert whys(found, "missing") == []


def test_a_period_with_two_values_is_contradictory(tmp_path: Path) -> None:
    rows = [(f"{one:%Y-%m-%dT%H:%MZ}", "5") for one in span("2024-01-01 00:00", "2024-01-01 05:00", HOUR)]
    found = report(written(tmp_path / "a.csv", "start_utc,price", [*rows, (rows[2][0], "6")]))
    assert "1 rows repeat a period with other values, first 2024-01-01 02:00Z" in whys(found, "contradictory")[0]


def test_269_quarter_hours_in_which_nobody_reported_are_unknown_not_zero(tmp_path: Path) -> None:
    starts = span("2018-12-31 23:00", "2019-12-31 22:45", QUARTER)
    silent = {*starts[:4], *random.Random(7).sample(starts[4:], 265)}
    rows = [
        (f"{one:%Y-%m-%dT%H:%M:%SZ}", *(("0.0",) * 3 if one in silent else ("5633.0", "485.0", "0.0")), "")
        for one in starts
    ]
    found = report(written(tmp_path / "nl_2019.csv.gz", "start_utc,Fossil Gas,Nuclear,Solar,ci_g_per_kwh", rows))
    (why,) = whys(found, "gaps")
    assert why.startswith("269 periods have no report of any of 3 types")
    assert "first 2018-12-31 23:00Z" in why
    assert whys(found, "missing") == []


def test_production_below_nothing_is_contradictory_but_pumps_may_draw(tmp_path: Path) -> None:
    rows = [(f"{one:%Y-%m-%dT%H:%MZ}", 10, -1.0, -500) for one in span("2020-01-01 00:00", "2020-01-01 02:00", QUARTER)]
    head = "start_utc,Fossil Gas,Solar,Hydro Pumped Storage"
    found = report(written(tmp_path / "x.csv", head, rows))
    assert [(one.what, one.kind) for one in found.findings] == [("x.csv: Solar", "contradictory")]


def quarter_prices(starts: Sequence[datetime]) -> dict[datetime, float]:
    chance = random.Random(1)
    return {start: round(80 + chance.uniform(-40, 40), 2) for start in starts}


def german_set(path: Path, pick: Callable[[list[float]], float]) -> tuple[Path, Table]:
    """Hours across the begin of the quarter-hour market, and the quarter-hours that they come from."""
    quarters = quarter_prices(span("2025-09-25 00:00", "2025-10-15 23:45", QUARTER))
    rows = []
    for start in span("2025-09-25 00:00", "2025-10-15 23:00", HOUR):
        four = [quarters[start + QUARTER * i] for i in range(4)]
        rows.append((start.isoformat(), pick(four)))
    table = Table(
        name="quarters",
        columns={"start_utc": [one.isoformat() for one in quarters], "price": [str(one) for one in quarters.values()]},
    )
    return written(path, "datetime_utc,day_ahead_price_eur_mwh", rows), table


def test_hours_that_are_one_quarter_hours_price_are_a_trap(tmp_path: Path) -> None:
    path, quarters = german_set(tmp_path / "de.csv", lambda four: four[0])
    (why,) = whys(report(path), "coarse")
    assert why.startswith("362 hourly prices lie after 2025-09-30 22:00Z")
    assert "all end on whole cents" in why
    (proof,) = whys(report(path, against=quarters), "contradictory")
    assert "have the price of their first quarter-hour instead of the mean of four" in proof


def test_hours_that_are_means_are_coarse_but_no_first_quarter_hours(tmp_path: Path) -> None:
    path, quarters = german_set(tmp_path / "de.csv", lambda four: sum(four) / 4)
    (why,) = whys(report(path), "coarse")
    assert "all end" not in why
    assert whys(report(path, against=quarters), "contradictory") == []


def test_files_that_differ_by_more_than_a_cent_contradict_each_other(tmp_path: Path) -> None:
    rows = [(f"{one:%Y-%m-%dT%H:%MZ}", 50.00) for one in span("2024-01-01 00:00", "2024-01-01 05:00", HOUR)]
    path = written(tmp_path / "a.csv", "start_utc,price", rows)
    other = written(tmp_path / "b.csv", "start_utc,price", [(rows[0][0], 50.01), (rows[1][0], 50.02), *rows[2:]])
    (why,) = whys(report(path, against=read_table(other)), "contradictory")
    assert why == "1 of 6 periods differ from b.csv, first 2024-01-01 01:00Z"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", b"start_utc,price\n2024-01-01T00:00Z\n", "1 values in row 2, 2 columns"),
        ("a.csv", b"a,a\n1,2\n", "different column names"),
        ("a.csv", b"\xff\xfe\n", "no CSV in UTF-8"),
        ("a.csv.gz", b"no gzip", "cannot be read"),
        ("a.txt", b"", "must end with"),
        ("a.csv", b"hour,price\n1,2\n", "no column of times"),
        ("a.csv", b"start_utc,price\n31.12.2024 14 Uhr,2\n", "is no instant"),
        ("a.csv", b"start_utc,price\n2024-02-30T00:00Z,2\n", "is no instant"),
        ("a.csv", b"start_utc,price\n2024-01-01T00:00Z,2\n", "fewer than two periods"),
    ],
)
def test_a_file_that_is_no_table_of_times_is_refused(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=problem):
        report(path)


def test_parquet_without_its_library_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(InvalidInput, match="needs pyarrow to be installed"):
        read_table(tmp_path / "a.parquet")


class _Parquet:
    """What is used of pyarrow.parquet: sizes and whole columns of Python values; real files are in `test_parquet_file`."""

    num_row_groups = 1
    total_byte_size = 1_000

    def ParquetFile(self, path: Path) -> "_Parquet":  # noqa: N802  # the library's name
        return self

    def __enter__(self) -> "_Parquet":
        return self

    def __exit__(self, *_: object) -> None: ...

    @property
    def metadata(self) -> "_Parquet":
        return self

    def row_group(self, _index: int) -> "_Parquet":
        return self

    def read(self) -> "_Parquet":
        return self

    def to_pydict(self) -> dict[str, list[object]]:
        return {"start_utc": [utc("2024-01-01 00:00"), utc("2024-01-01 01:00")], "price": [1.25, float("nan")]}


def test_parquet_values_are_read_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", _Parquet())
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", _Parquet())
    table = read_table(tmp_path / "a.parquet")
    assert table.columns["price"] == ["1.25", ""]
    assert examine(table, time_zone=BRUSSELS).first == utc("2024-01-01 00:00")


def test_the_command_looks_at_a_folder_and_says_what_it_skips(tmp_path: Path) -> None:
    belgian_set(tmp_path / "dam_prices.csv.gz")
    written(tmp_path / "sessions.csv", "arrival,departure", [("1", "2")])
    shown = CliRunner().invoke(app, ["market", "doctor", "--data", str(tmp_path)])
    assert shown.exit_code == 1
    assert "sessions.csv is skipped: column: sessions.csv has no column of times" in shown.output
    assert "63338 rows of 15 minutes" in shown.output
    assert "3 findings in 2 files" in shown.output
