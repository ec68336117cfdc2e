"""What bids earn and deliver: a walk through real auctions against uncontrolled, volume-only and perfect foresight.

Belgium in October 2025 (quarter-hours, recorded imbalance prices) is shipped; with `--data` the Netherlands 2019 and 2023 follow
(hourly, deviations at the day-ahead price and a spread). Sessions are the sandbox's synthetic European fleet, and the recorded
Californian workplace sessions; every row says which. Each session is counted several times, so that lots of 0.1 MW are as fine as
for a real portfolio. The exchange's block limits are an assumption of this bench. Energy that a driver does not get by leaving
before the announced time is charged at the day's highest price.

Finished days are saved under `var/bench/bids` and a stopped study goes on where it ended; the days are also written as one table
(Parquet where pyarrow is installed, else compressed CSV), with a chart as SVG beside it. One certificate case a study is saved for
`python -m scripts.verify_certificate FILE`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from bidding.backtest.gate import GateSettings
from bidding.backtest.price_paths import DayTypeMean, LearnedPrices, PriceModel
from bidding.backtest.results import DayResult, SessionKnowledge
from bidding.backtest.strategies import (
    BlockGroups,
    FittedCurves,
    PerfectForesight,
    PriceCurves,
    Strategy,
    Uncontrolled,
    VolumeOnly,
)
from bidding.backtest.summary import Saving, StrategySummary, summarise
from bidding.backtest.walk import walk_forward
from bidding.forecasts.prices import PastPrices
from bidding.orders.market_file import parse_markets
from bidding.orders.market_products import MarketBook
from gateway.domain.timegrid import DeliveryDay
from scripts.bid_study import chart
from scripts.bid_study.cases import first_case
from scripts.bid_study.data import ROOT, Study, belgian_studies, dutch_study
from scripts.bid_study.store import StudyFolder, as_row
from scripts.measuring import Goal, Report, Value, at_least, at_most

SPECIFICATION = {
    "valid_from": date(2014, 2, 4),
    "specification": "assumption of this bench, no exchange's document",
    "max_blocks_per_group": 24,
    "max_groups": 4,
    "max_block_mw": "600",
    "min_block_minutes": 15,
    "max_block_minutes": 1500,
    "takes_gaps": True,
}
UNCONTROLLED, VOLUME_ONLY, FORESIGHT = "uncontrolled", "volume-only", "perfect-foresight"
PLANNER = "24 blocks in 4 groups"
"""The strategy that the product bids with when the exchange takes as many blocks."""
STRATEGIES: tuple[Strategy, ...] = (
    Uncontrolled(),
    VolumeOnly(),
    BlockGroups(blocks=1, groups=1),
    BlockGroups(blocks=8, groups=1),
    BlockGroups(blocks=24, groups=1),
    BlockGroups(blocks=1, groups=4),
    BlockGroups(blocks=8, groups=4),
    BlockGroups(blocks=24, groups=4),
    PriceCurves(),
    FittedCurves(),
    PerfectForesight(),
)
CERTIFICATE_SCENARIOS = 10
SEED = 20251001
WHOLE_YEAR_DAYS = 300
RMAE_TARGETS = {"nl-2019-synthetic": 0.72, "nl-2023-synthetic": 0.62}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what the bench may be asked."""
    parser.add_argument("--data", type=Path, help="folder with the longer price series; adds the Netherlands")
    parser.add_argument("--days", type=int, default=60, help="most delivery days a study (default 60)")
    parser.add_argument("--sessions", type=int, default=1000, help="sessions a day (default 1000)")
    parser.add_argument("--counted", type=int, default=20, help="how often each session is counted (default 20)")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "bench" / "bids", help="where days are saved")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """One study under one way of knowing."""

    study: Study
    knowledge: SessionKnowledge
    results: tuple[DayResult, ...]
    summaries: tuple[StrategySummary, ...]
    price_model: PriceModel

    def of(self, name: str) -> StrategySummary:
        """Return the summary of a strategy."""
        return next(one for one in self.summaries if one.strategy == name)


def run(options: argparse.Namespace) -> Report:
    """Walk through all studies and return a row for each strategy, with the goals."""
    outcomes = [outcome for study in _studies(options) for outcome in _walk(study, options)]
    rows = [row for outcome in outcomes for row in _rows(outcome)]
    return {"results": rows, "goals": [goal for outcome in outcomes for goal in _goals(outcome)]}


def market_book() -> MarketBook:
    """Return the configured European markets with the bench's block limits."""
    document = tomllib.loads((ROOT / "config" / "markets" / "europe.toml").read_text(encoding="utf-8"))
    document["auctions"]["sdac"]["specifications"] = [SPECIFICATION]
    return parse_markets(document)


def _studies(options: argparse.Namespace) -> Iterator[Study]:
    yield from belgian_studies(options.data, options.sessions, options.counted)
    if options.data is not None:
        for year in (2019, 2023):
            yield dutch_study(options.data, year, options.sessions, options.counted, options.days)


def _walk(study: Study, options: argparse.Namespace) -> Iterator[_Outcome]:
    last = min(study.last, study.first + timedelta(days=options.days - 1))
    model = _price_model(study, last, options)
    for knowledge in SessionKnowledge:
        settings = GateSettings(
            book=market_book(),
            market=study.market,
            knowledge=knowledge,
            price_model=model,
            certificate_scenarios=CERTIFICATE_SCENARIOS if knowledge is SessionKnowledge.FORECAST else 0,
            seed=SEED,
        )
        folder = StudyFolder(options.folder / f"{study.name}-{knowledge.value}-{_fingerprint(study, options)}")
        results, state = folder.load()
        results = [one for one in results if one.day <= last]
        if state is None or state.next_day <= last + timedelta(days=1):
            for walked in walk_forward(study.recording, study.first, last, STRATEGIES, settings, state):
                folder.save(walked)
                results += walked.results
                _say(f"{study.name}, sessions {knowledge.value}: {walked.results[0].day} of {last}")
        folder.export([as_row(one) for one in results])
        yield _summarised(study, knowledge, results, model, options)


def _summarised(
    study: Study,
    knowledge: SessionKnowledge,
    results: list[DayResult],
    model: PriceModel,
    options: argparse.Namespace,
) -> _Outcome:
    summaries = summarise(
        results, np.random.default_rng(SEED), references=(UNCONTROLLED, VOLUME_ONLY), foresight=FORESIGHT
    )
    bars = [
        (one.strategy, one.savings[0].eur_per_mwh, one.savings[0].low_eur_per_mwh, one.savings[0].high_eur_per_mwh)
        for one in summaries
    ]
    title = f"Saving against uncontrolled charging, sessions {knowledge.value}"
    drawn = chart.bars(title, study.label, "EUR per MWh", bars)
    (options.folder / f"{study.name}-{knowledge.value}.svg").write_text(drawn, encoding="utf-8")
    return _Outcome(study=study, knowledge=knowledge, results=tuple(results), summaries=summaries, price_model=model)


def _price_model(study: Study, last: date, options: argparse.Namespace) -> PriceModel:
    """Return learned prices where there is enough past, else the mean of like days; save a certificate case with it."""
    recording = study.recording
    model: PriceModel = DayTypeMean()
    if options.data is not None:
        _say(f"{study.name}: learning prices")
        past = [PastPrices(day=one.day, price_eur_per_mwh=one.day_ahead_eur_per_mwh) for one in recording.days]
        first_day, last_day = (DeliveryDay(day=day, zone=recording.zone) for day in (study.first, last))
        model = LearnedPrices.over(past, first_day, last_day, recording.period)
    settings = GateSettings(
        book=market_book(),
        market=study.market,
        price_model=model,
        certificate_scenarios=CERTIFICATE_SCENARIOS,
        seed=SEED,
    )
    document = first_case(recording, study.first, BlockGroups(blocks=24, groups=4), settings)
    options.folder.mkdir(parents=True, exist_ok=True)
    saved = gzip.compress(json.dumps(document).encode(), mtime=0)
    (options.folder / f"{study.name}-certificate.json.gz").write_bytes(saved)
    return model


def _fingerprint(study: Study, options: argparse.Namespace) -> str:
    """Return a short hash of everything the days depend on, so that runs of other inputs are never mixed up."""
    digest = hashlib.sha256()
    for day in study.recording.days:
        digest.update(day.day_ahead_eur_per_mwh.tobytes())
    sessions = study.recording.sessions
    for name in ("arrival_s", "departure_s", "energy_kwh", "power_kw"):
        digest.update(getattr(sessions, name).tobytes())
    for strategy in STRATEGIES:
        digest.update(repr(strategy).encode())
    for path in sorted((ROOT / "bidding").rglob("*.py")):
        digest.update(path.read_bytes())
    learned = min(study.last, study.first + timedelta(days=options.days - 1)) if options.data is not None else ""
    digest.update(f"{study.first} {learned} {SEED} {CERTIFICATE_SCENARIOS} {SPECIFICATION}".encode())
    return digest.hexdigest()[:12]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- the report


def _rows(outcome: _Outcome) -> Iterator[dict[str, Value]]:
    model, rmae = outcome.price_model, None
    if isinstance(model, LearnedPrices):
        rmae = model.relative_mae(*(DeliveryDay(day=day, zone=outcome.study.recording.zone) for day in _span(outcome)))
    for one in outcome.summaries:
        against_none, against_volume = one.savings
        certificates = [
            found.certificate for found in outcome.results if found.strategy == one.strategy and found.certificate
        ]
        yield {
            "data": outcome.study.label,
            "prices_by": outcome.price_model.name,
            "sessions": outcome.knowledge.value,
            "strategy": one.strategy,
            "days": one.day_count,
            "eur": round(one.cost_eur),
            "eur_per_mwh": one.eur_per_mwh,
            "imbalance_eur": round(one.imbalance_eur),
            "saved_eur_per_mwh": against_none.eur_per_mwh,
            "saved_low": against_none.low_eur_per_mwh,
            "saved_high": against_none.high_eur_per_mwh,
            "saved_eur_per_car_year": against_none.eur_per_car_year,
            "over_volume_eur_per_mwh": against_volume.eur_per_mwh,
            "over_volume_low": against_volume.low_eur_per_mwh,
            "over_volume_high": against_volume.high_eur_per_mwh,
            "over_volume_eur_per_car_year": against_volume.eur_per_car_year,
            "captured_share": one.captured_share,
            "energy_delivered_share": one.delivered_share,
            "periods_delivered_share": one.period_share,
            "deviation_mean_kwh": one.deviation_mean_kwh,
            "deviation_p95_kwh": one.deviation_p95_kwh,
            "promised": one.promised_count,
            "missed": one.missed_count,
            "unserved_mwh": one.unserved_mwh,
            "certified_exact_share": _mean([each.deliverable_share for each in certificates]),
            "certified_energy_share": _mean([each.energy_share for each in certificates]),
            "price_rmae": rmae,
            "imbalance_at": outcome.results[0].imbalance_basis.value,
        }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _goals(outcome: _Outcome) -> Iterator[Goal]:
    where = f"{outcome.study.name}, sessions {outcome.knowledge.value}"
    planner = outcome.of(PLANNER)
    saving = planner.savings[1]
    why = "" if saving.is_sure else f" ({_why_not(saving, planner.day_count)})"
    goal = f"{where}: {PLANNER} over volume-only, EUR per MWh, low end of 95 % above 0{why}"
    yield {"goal": goal, "target": 0.0, "measured": saving.low_eur_per_mwh, "met": saving.is_sure}
    if outcome.knowledge is SessionKnowledge.REALISED:
        shares = [one.delivered_share for one in outcome.summaries if one.strategy != UNCONTROLLED]
        yield at_least(f"{where}: share of bid energy delivered, worst strategy", 0.98, min(shares))
    missed = sum(one.missed_count for one in outcome.summaries if one.strategy != UNCONTROLLED)
    yield at_most(f"{where}: guaranteed departures missed", 0.0, float(missed))
    model, target = outcome.price_model, RMAE_TARGETS.get(outcome.study.name)
    if isinstance(model, LearnedPrices) and target is not None and planner.day_count >= WHOLE_YEAR_DAYS:
        days = (DeliveryDay(day=day, zone=outcome.study.recording.zone) for day in _span(outcome))
        yield at_most(f"{where}: rMAE of the price forecast", target, model.relative_mae(*days))


def _why_not(saving: Saving, day_count: int) -> str:
    """Return why a saving is not sure: it is none, or too small for so few days."""
    if saving.eur_per_mwh <= 0.0:
        return f"the mean of {day_count} days is {saving.eur_per_mwh:.2f}: these forecasts are worth nothing here"
    needed = day_count * (1.0 - saving.low_eur_per_mwh / saving.eur_per_mwh) ** 2
    return f"the mean of {day_count} days is {saving.eur_per_mwh:.2f}; about {needed:.0f} days would show one so small"


def _span(outcome: _Outcome) -> tuple[date, date]:
    days = [one.day for one in outcome.results]
    return min(days), max(days)
