"""Finished days on disk, so that a stopped study goes on where it ended: one compressed NPZ a day, and the state after it.

NPZ, because Parquet needs pyarrow, which the product does not use; where pyarrow can be imported, the days are written as one
Parquet file as well, otherwise as one compressed CSV.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from bidding.backtest.certificate import certificate_document, parse_certificate
from bidding.backtest.results import DayResult, ImbalanceBasis, Part, SessionKnowledge
from bidding.backtest.walk import StrategyState, WalkedDay, WalkState

STATE = "state.npz"
PART_ARRAYS = ("award_kwh", "delivered_kwh")
MONEY = ("day_ahead_eur", "imbalance_eur", "unserved_eur")
Row = dict[str, str | int | float]


class StudyFolder:
    """The days of one study under one way of knowing.

    Args:
        folder: Made when it is not there. A folder of other inputs is not mixed up with it: the caller names it by them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, walked: WalkedDay) -> None:
        """Save a finished day, then the state: a stop between the two repeats the day."""
        rows = [_header(one) for one in walked.results]
        arrays: dict[str, Any] = {}
        for number, one in enumerate(walked.results):
            arrays |= {f"{number}.{name}": getattr(one.part, name) for name in PART_ARRAYS}
            arrays[f"{number}.day_ahead_eur_per_mwh"] = one.day_ahead_eur_per_mwh
        self._write(f"{walked.results[0].day.isoformat()}.npz", {"rows": rows}, arrays)
        self._write(STATE, *_state_document(walked.state))

    def load(self) -> tuple[list[DayResult], WalkState | None]:
        """Return the days that are there, in order, and the state after the last one; None when there is none."""
        if not (self._folder / STATE).exists():
            return [], None
        header, arrays = self._read(STATE)
        state = _parse_state(header, arrays)
        found: list[DayResult] = []
        for path in sorted(self._folder.glob("????-??-??.npz")):
            rows, columns = self._read(path.name)
            if date.fromisoformat(path.stem) < state.finished_until:
                found += [_parse_result(row, columns, number) for number, row in enumerate(rows["rows"])]
        return found, state.walk

    def export(self, rows: list[Row]) -> Path:
        """Write one table of all days for people and other programs: Parquet when pyarrow is there, else compressed CSV."""
        try:
            arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
        except ImportError:
            text = io.StringIO()
            writer = csv.DictWriter(text, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
            path = self._folder / "days.csv.gz"
            path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
            return path
        path = self._folder / "days.parquet"
        parquet.write_table(arrow.Table.from_pylist(rows), path)
        return path

    def _write(self, name: str, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        unfinished = self._folder / f"{name}.part"
        with unfinished.open("wb") as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)
        unfinished.replace(self._folder / name)

    def _read(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        with np.load(self._folder / name, allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
        header: dict[str, Any] = json.loads(str(arrays.pop("header")))
        return header, arrays


def as_row(one: DayResult) -> Row:
    """Return a day as one row of a table; money as EUR, energy as MWh."""
    return {
        "day": one.day.isoformat(),
        "knowledge": one.knowledge.value,
        "strategy": one.strategy,
        "cost_eur": float(one.cost_eur),
        **{name: float(getattr(one, name)) for name in MONEY},
        "bought_mwh": float(one.part.award_kwh.sum()) / 1000.0,
        "delivered_mwh": float(one.part.delivered_kwh.sum()) / 1000.0,
        "unserved_mwh": one.part.unserved_kwh / 1000.0,
        "delivered_share": one.delivered_share,
        "period_share": one.period_share,
        "promised": one.part.promised_count,
        "missed": one.part.missed_count,
        "departed": one.part.departed_count,
        "imbalance_basis": one.imbalance_basis.value,
    }


def _header(one: DayResult) -> dict[str, Any]:
    counts = {name: value for name, value in asdict(one.part).items() if name not in PART_ARRAYS}
    return {
        "day": one.day.isoformat(),
        "strategy": one.strategy,
        "knowledge": one.knowledge.value,
        "imbalance_basis": one.imbalance_basis.value,
        **{name: str(getattr(one, name)) for name in MONEY},
        "part": counts,
        "certificate": None if one.certificate is None else certificate_document(one.certificate),
    }


def _parse_result(row: Mapping[str, Any], arrays: Mapping[str, Any], number: int) -> DayResult:
    part = Part(**{name: arrays[f"{number}.{name}"] for name in PART_ARRAYS}, **row["part"])
    return DayResult(
        day=date.fromisoformat(row["day"]),
        strategy=row["strategy"],
        knowledge=SessionKnowledge(row["knowledge"]),
        part=part,
        day_ahead_eur_per_mwh=arrays[f"{number}.day_ahead_eur_per_mwh"],
        imbalance_basis=ImbalanceBasis(row["imbalance_basis"]),
        **{name: Decimal(row[name]) for name in MONEY},
        certificate=None if row["certificate"] is None else parse_certificate(row["certificate"]),
    )


class _SavedState:
    """A state, and the first delivery day that is not finished in it."""

    def __init__(self, walk: WalkState) -> None:
        self.walk = walk
        # The auction of the day before the next one has been held, but its evening is still to come.
        self.finished_until = date.fromordinal(walk.next_day.toordinal() - 1)


def _state_document(state: WalkState) -> tuple[dict[str, Any], dict[str, Any]]:
    header: dict[str, Any] = {"next_day": state.next_day.isoformat(), "strategies": []}
    arrays: dict[str, Any] = {}
    for number, (name, one) in enumerate(state.strategies.items()):
        counts: dict[str, Any] = {}
        arrays[f"{number}.drawn_kwh"] = one.drawn_kwh
        if one.evening_award_kwh is not None:
            arrays[f"{number}.evening_award_kwh"] = one.evening_award_kwh
        if one.morning is not None:
            arrays |= {f"{number}.{column}": getattr(one.morning, column) for column in PART_ARRAYS}
            counts = {key: value for key, value in asdict(one.morning).items() if key not in PART_ARRAYS}
        certificate = None if one.certificate is None else certificate_document(one.certificate)
        header["strategies"].append({"name": name, "part": counts, "certificate": certificate})
    return header, arrays


def _parse_state(header: Mapping[str, Any], arrays: Mapping[str, Any]) -> _SavedState:
    strategies: dict[str, StrategyState] = {}
    for number, one in enumerate(header["strategies"]):
        morning = None
        if one["part"]:
            morning = Part(**{column: arrays[f"{number}.{column}"] for column in PART_ARRAYS}, **one["part"])
        strategies[one["name"]] = StrategyState(
            drawn_kwh=arrays[f"{number}.drawn_kwh"],
            evening_award_kwh=arrays.get(f"{number}.evening_award_kwh"),
            morning=morning,
            certificate=None if one["certificate"] is None else parse_certificate(one["certificate"]),
        )
    return _SavedState(WalkState(next_day=date.fromisoformat(header["next_day"]), strategies=strategies))
