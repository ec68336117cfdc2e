"""The bench of bids: its recordings are what they say, finished days survive a stop, and an auditor needs one file."""

import gzip
import json
from argparse import ArgumentParser
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from bidding.backtest.gate import GateSettings
from bidding.backtest.price_paths import DayTypeMean, LearnedPrices, over_horizon
from bidding.backtest.results import SessionKnowledge
from bidding.backtest.strategies import BlockGroups, FittedCurves, PriceCurves, Uncontrolled, VolumeOnly
from bidding.backtest.summary import Saving
from bidding.backtest.walk import walk_forward
from bidding.forecasts.boosting import BoostingOptions
from bidding.forecasts.learned_prices import LearningOptions
from bidding.forecasts.prices import PastPrices
from bidding.orders.bid_check import check_curves
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.units import QUARTER_HOUR
from scripts import verify_certificate
from scripts.benches import bids
from scripts.bid_study import chart, data
from scripts.bid_study.cases import first_case
from scripts.bid_study.store import StudyFolder, as_row
from tests.bidding.recordings import HOUR, ZONE, book, prices, recording

FIRST = date(2025, 10, 6)
SETTINGS = GateSettings(book=book(), market="quarters", certificate_scenarios=2)


def test_a_stopped_study_goes_on_where_it_ended(tmp_path: Path) -> None:
    recorded, strategies = recording(), (VolumeOnly(), BlockGroups(blocks=4, groups=1))
    last = FIRST + timedelta(days=2)
    whole = [one for day in walk_forward(recorded, FIRST, last, strategies, SETTINGS) for one in day.results]
    stopped = StudyFolder(tmp_path)
    assert stopped.load() == ([], None)
    stopped.save(next(walk_forward(recorded, FIRST, last, strategies, SETTINGS)))
    results, state = StudyFolder(tmp_path).load()
    assert [one.day for one in results] == [FIRST, FIRST]
    for day in walk_forward(recorded, FIRST, last, strategies, SETTINGS, state):
        stopped.save(day)
    results, _ = StudyFolder(tmp_path).load()
    assert [as_row(one) for one in results] == [as_row(one) for one in whole]
    assert [one.certificate for one in results] == [one.certificate for one in whole]
    assert [one.deviation_kwh.tolist() for one in results] == [one.deviation_kwh.tolist() for one in whole]


def test_a_day_saved_without_its_state_is_walked_again(tmp_path: Path) -> None:
    recorded = recording()
    walk = walk_forward(recorded, FIRST, FIRST + timedelta(days=2), (VolumeOnly(),), SETTINGS)
    first, second = next(walk), next(walk)
    folder = StudyFolder(tmp_path)
    folder.save(first)
    kept = (tmp_path / "state.npz").read_bytes()
    folder.save(second)
    (tmp_path / "state.npz").write_bytes(kept)
    results, state = folder.load()
    assert [one.day for one in results] == [FIRST]
    assert state is not None
    assert state.next_day == FIRST + timedelta(days=2)


def test_all_days_are_one_table(tmp_path: Path) -> None:
    days = walk_forward(recording(), FIRST, FIRST, (VolumeOnly(),), SETTINGS)
    rows = [as_row(one) for day in days for one in day.results]
    path = StudyFolder(tmp_path).export(rows)
    if path.suffix == ".gz":
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        assert lines[0].split(",")[:3] == ["day", "knowledge", "strategy"]
        assert len(lines) == 2


def test_an_auditor_recomputes_a_certificate_with_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = first_case(recording(), FIRST, BlockGroups(blocks=4, groups=2), SETTINGS)
    path = tmp_path / "case.json.gz"
    path.write_bytes(gzip.compress(json.dumps(document).encode()))
    assert verify_certificate.main([str(path)]) == 0
    assert "holds: every number was recomputed" in capsys.readouterr().out
    certificate = document["certificate"]
    assert isinstance(certificate, dict)
    plain = tmp_path / "case.json"
    plain.write_text(json.dumps({**document, "certificate": {**certificate, "energy_share": 1.0}}), encoding="utf-8")
    assert verify_certificate.main([str(plain)]) == 1
    assert "energy_share: 1.0 was stated" in capsys.readouterr().out
    plain.write_text("{}", encoding="utf-8")
    assert verify_certificate.main([str(plain)]) == 2
    assert verify_certificate.main([]) == 2


def test_the_shipped_recordings_are_complete_and_labelled() -> None:
    synthetic, acn = data.belgian_studies(None, 40, 10)
    for study in (synthetic, acn):
        assert len(study.recording.days) == 19
        assert all(one.imbalance_eur_per_mwh is not None for one in study.recording.days)
        assert study.recording.days[0].day_ahead_eur_per_mwh[0] == 102.68
        assert len(study.recording.sessions) > 1000
    assert "synthetic" in synthetic.label
    assert "Californian" in acn.label
    # A Wednesday at 01:18 in California is a Wednesday at 01:18 in Brussels.
    first = DeliveryDay(day=date(2025, 9, 24), zone=data.BELGIUM)
    assert acn.recording.sessions.arrival_s[0] == first.interval.start.timestamp() + 78 * 60


def test_sessions_are_counted_as_often_as_asked() -> None:
    one, _ = data.synthetic(FIRST, FIRST, 100, 1, data.BELGIUM)
    ten, classes = data.synthetic(FIRST, FIRST, 100, 10, data.BELGIUM)
    assert ten.energy_kwh.tolist() == (one.energy_kwh * 10).tolist()
    assert classes == ("home", "workplace", "public")
    assert 60 <= len(one) <= 140


def test_the_bench_declares_its_options_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = ArgumentParser()
    bids.add_options(parser)
    arguments = ["--days", "2", "--sessions", "30", "--counted", "400", "--folder", str(tmp_path)]
    few = (Uncontrolled(), VolumeOnly(), BlockGroups(blocks=24, groups=4), bids.STRATEGIES[-1])
    monkeypatch.setattr(bids, "STRATEGIES", few)
    monkeypatch.setattr(bids, "CERTIFICATE_SCENARIOS", 2)
    both = data.belgian_studies(None, 30, 400)
    monkeypatch.setattr(bids, "belgian_studies", lambda *_: both[1:])
    report = bids.run(parser.parse_args(arguments))
    assert len(report["results"]) == 2 * len(few)
    assert {row["sessions"] for row in report["results"]} == {"forecast", "realised"}
    named = {goal["goal"]: goal for goal in report["goals"]}
    assert all(goal["met"] for name, goal in named.items() if "missed" in name)
    delivered = [goal["measured"] for name, goal in named.items() if "bid energy delivered" in name]
    assert len(delivered) == 1
    assert delivered[0] >= 0.98
    picture = ElementTree.parse(tmp_path / "be-2025-acn-forecast.svg")  # noqa: S314  # our own
    assert len(picture.findall("{*}rect")) == 1 + len(few)
    assert "2025-10-09 of 2025-10-09" in capsys.readouterr().err
    again = bids.run(parser.parse_args(arguments))
    assert again["results"] == report["results"]
    assert "2025-10-09 of" not in capsys.readouterr().err  # nothing was walked a second time


def test_a_goal_that_is_not_met_says_why() -> None:
    saving = Saving(
        reference="volume-only",
        eur_per_day=10.0,
        low_eur_per_day=-10.0,
        high_eur_per_day=30.0,
        confidence=0.95,
        eur_per_mwh=1.0,
        low_eur_per_mwh=-1.0,
        high_eur_per_mwh=3.0,
        eur_per_car_year=2.5,
        low_eur_per_car_year=-2.5,
        high_eur_per_car_year=7.5,
    )
    assert not saving.is_sure
    assert "about 48 days would show" in bids._why_not(saving, 12)
    assert "worth nothing here" in bids._why_not(replace(saving, eur_per_mwh=-1.0), 12)


def test_block_limits_are_the_benchs_own_and_say_so() -> None:
    rules = bids.market_book().auction("sdac", FIRST).blocks
    assert rules is not None
    assert "assumption" in rules.specification


def test_charts_escape_names() -> None:
    drawn = chart.bars("a < b", "c", "EUR", [("x & y", -1.0, -2.0, 0.5)])
    assert "a &lt; b" in ElementTree.fromstring(drawn).findtext("{*}text", "").replace("<", "&lt;")  # noqa: S314
    assert "x &amp; y" in drawn


def test_learned_prices_are_those_of_the_gate() -> None:
    recorded = prices(date(2025, 1, 1), 190, step=HOUR)
    past = [PastPrices(day=one.day, price_eur_per_mwh=one.day_ahead_eur_per_mwh) for one in recorded]
    first, last = recorded[180].day, recorded[183].day
    options = LearningOptions(boosting=BoostingOptions(model_count=0), refit_days=28, error_days=14)
    model = LearnedPrices.over(past[:186], first, last, HOUR, options)
    at_gate = past[:181]
    one, two = model.forecast(at_gate, first.next(), HOUR), model.forecast(at_gate, first.next(2), HOUR)
    assert one.point.shape == two.point.shape == (24,)
    assert len(one.paths) >= 10
    assert one.paths.mean(axis=0) == pytest.approx(one.point)
    assert 0.0 < model.relative_mae(first, last) < 2.0
    # The walk ends with the evening of the last day, for which no further day is forecast.
    walked = recording(first=first.day, past_days=14, count=3, per_day=6)
    settings = replace(SETTINGS, price_model=LearnedPrices.over(past[:186], first, last, HOUR, options))
    hourly = replace(walked, days=recorded[:186], period=HOUR)
    settings = replace(settings, market="hours", certificate_scenarios=0)
    assert len(list(walk_forward(hourly, first.day, last.day, (VolumeOnly(),), settings))) == 4
    # Prices that come later change nothing of what was said before.
    later = [*past[:181], *(replace(day, price_eur_per_mwh=day.price_eur_per_mwh + 50.0) for day in past[181:186])]
    other = LearnedPrices.over(later, first, last, HOUR, options)
    assert other.forecast(at_gate, first.next(), HOUR).point.tolist() == one.point.tolist()
    assert other.forecast(at_gate, first.next(2), HOUR).point.tolist() == two.point.tolist()


def test_prices_over_the_horizon_end_within_the_second_day() -> None:
    found = over_horizon(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0]), 2, 6)
    assert found.tolist() == [[1.0, 1.0, 2.0, 2.0, 5.0, 5.0], [3.0, 3.0, 4.0, 4.0, 5.0, 5.0]]
    with pytest.raises(InvalidInput, match="past"):
        DayTypeMean().forecast((), DeliveryDay(day=FIRST, zone=ZONE), QUARTER_HOUR)


def test_curves_of_both_kinds_are_sound_and_monotone() -> None:
    settings = replace(SETTINGS, knowledge=SessionKnowledge.REALISED, certificate_scenarios=0)
    walked = list(walk_forward(recording(), FIRST, FIRST, (PriceCurves(), FittedCurves(bins=3)), settings))
    for one in walked[0].results:
        assert one.part.award_kwh.sum() > 0.0
        assert not one.part.missed_count
    assert check_curves((), book().auction("quarters", FIRST).curve, DeliveryDay(day=FIRST, zone=ZONE).grid())
