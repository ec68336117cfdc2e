"""The example goes from two CSV files to a checked bid and a chart, and says which cell is wrong."""

import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gateway.domain.errors import InvalidInput

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "scripts" / "examples" / "bid_from_csv.py"
MIDNIGHT = datetime(2025, 10, 14, 22, tzinfo=UTC)  # 15 October in Brussels


def at(hour: float) -> str:
    return (MIDNIGHT + timedelta(hours=hour)).isoformat()


CARS = [[at(1.0), at(9.0), "500", "1200"], [at(18.1), at(23.5), "400", "800.5"], [at(0.0), at(24.0), "220", "600"]]


def run(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    cars: list[list[str]] | None = None,
    price_count: int = 96,
    market: str = "sdac",
) -> str:
    rows = [["arrival", "departure", "power_kw", "energy_kwh"], *(CARS if cars is None else cars)]
    (folder / "cars.csv").write_text("\n".join(",".join(row) for row in rows), encoding="utf-8")
    prices = [f"{at(number / 4)},{40.0 + abs(number - 20)}" for number in range(price_count)]
    (folder / "prices.csv").write_text("\n".join(["start,eur_per_mwh", *prices]), encoding="utf-8")
    monkeypatch.setattr(
        "sys.argv", ["x", *(str(folder / name) for name in ("cars.csv", "prices.csv")), market, str(folder / "bid.svg")]
    )
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    return (folder / "bid.svg").read_text(encoding="utf-8")


def test_it_is_shorter_than_forty_lines() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 40


def test_it_makes_a_checked_bid_and_a_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = ElementTree.fromstring(run(tmp_path, monkeypatch))  # noqa: S314  # our own
    assert len(picture.findall("{*}polyline")) == 2
    said = capsys.readouterr().out
    assert said.startswith("2.6")  # 2 600.5 kWh in lots of 0.1 MW over quarter-hours
    assert "96 delivery periods, checked" in said


@pytest.mark.parametrize(
    ("row", "place", "cell", "message"),
    [
        (1, 3, "nan", r"energy_kwh\[1\]: must be a finite number"),
        (2, 3, "", r"energy_kwh\[2\]: must be a finite number"),
        (0, 2, "fast", r"power_kw\[0\]: must be a finite number"),
        (0, 2, "-11", r"power_kw\[0\]: must be above 0"),
        (1, 1, at(17.0), r"departure\[1\]: must be at least a whole slot after the arrival"),
        (1, 3, "9000", r"energy_kwh\[1\]: is more than full power over the stay gives"),
        (2, 1, at(24.5), r"departure\[2\]: must not be after 2025-10-15T22:00"),
        (2, 0, at(-1.0), r"arrival\[2\]: must not be before 2025-10-14T22:00"),
        (0, 0, "2025-10-15T01:00", r"arrival\[0\]: must be an ISO 8601 instant with its offset"),
        (0, 0, "tomorrow", r"arrival\[0\]: must be an ISO 8601 instant with its offset"),
    ],
)
def test_a_wrong_cell_is_named(
    row: int, place: int, cell: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cars = [list(one) for one in CARS]
    cars[row][place] = cell
    with pytest.raises(InvalidInput, match=message):
        run(tmp_path, monkeypatch, cars)


def test_97_slots_and_an_unknown_market_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="price_eur_per_mwh: has 97 values, expected 96"):
        run(tmp_path, monkeypatch, price_count=97)
    with pytest.raises(InvalidInput, match="market: 'atlantis' is not configured"):
        run(tmp_path, monkeypatch, market="atlantis")


def test_too_little_to_bid_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="nothing to bid"):
        run(tmp_path, monkeypatch, [[at(1.0), at(9.0), "11", "20"]])
