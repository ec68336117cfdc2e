"""A fixed-seed slice of every long campaign, and proof that a campaign would see what it hunts."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.domain.limits import Limit, LimitKind, Resolution, resolve
from gateway.services.gather_signals.replacing import rows_after
from scripts import soak_runner
from scripts.campaigns import limits, stated_limits
from scripts.soak_runner import Outcome

ROOT = Path(__file__).resolve().parents[2]
SLICE_SECONDS = 10.0


@pytest.mark.soak
@pytest.mark.timeout(2 * soak_runner.LONGEST_SLICE_SECONDS)
@pytest.mark.parametrize("name", soak_runner.find_campaigns())
def test_a_slice_finds_nothing(name: str) -> None:
    module = soak_runner.load_campaign(name)
    seconds = getattr(module, "SLICE_SECONDS", SLICE_SECONDS)
    assert seconds <= soak_runner.LONGEST_SLICE_SECONDS
    outcome = module.run(1, soak_runner.deadline(seconds))
    assert outcome.failures == ()
    assert outcome.case_count > 0


def after(count: int) -> Callable[[], bool]:
    """A deadline in cases instead of seconds."""
    left = iter(range(count))
    return lambda: next(left, None) is None


def zero_is_absent(node: Any, stack: Any, now: datetime, **options: Any) -> Resolution:
    return resolve(node, [each for each in stack if each.max_kw], now, **options)


def fallback_is_forgotten(node: Any, stack: Any, now: datetime, **options: Any) -> Resolution:
    return resolve(node, [each for each in stack if each.kind is not LimitKind.FALLBACK], now, **options)


def loss_opens(node: Any, stack: Any, now: datetime, **options: Any) -> Resolution:
    lost = options["lost"]
    return resolve(node, [each for each in stack if each.authority not in lost], now, direction=options["direction"])


def end_is_inside(node: Any, stack: Any, now: datetime, **options: Any) -> Resolution:
    earlier = resolve(node, stack, now - timedelta(minutes=1), **options)
    return replace(resolve(node, stack, now, **options), kw=earlier.kw)


def gap_is_open(node: Any, stack: Any, now: datetime, **options: Any) -> Resolution:
    return resolve(node, stack, now, **{**options, "steady": frozenset()})


def phases_are_forgotten(node: Any, stack: Any, now: datetime, **options: Any) -> Resolution:
    return resolve(node, [replace(each, phase_max_kw=None) for each in stack], now, **options)


def guarantee_is_forgotten(node: Any, stack: Any, now: datetime, **options: Any) -> Resolution:
    return resolve(node, [replace(each, guaranteed_kw=0.0) for each in stack], now, **options)


def change_comes_too_late(node: Any, stack: Any, now: datetime, **options: Any) -> Resolution:
    return replace(resolve(node, stack, now, **options), until=None)


@pytest.mark.parametrize(
    "broken",
    [
        zero_is_absent,
        fallback_is_forgotten,
        loss_opens,
        end_is_inside,
        change_comes_too_late,
        gap_is_open,
        phases_are_forgotten,
        guarantee_is_forgotten,
    ],
)
def test_the_limits_campaign_sees_a_broken_fold(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[..., Resolution]
) -> None:
    monkeypatch.setattr(limits, "resolve", broken)
    assert limits.run(1, after(50)).failures


def tails_are_lost(known: Any, new: Any, withdrawn: Any, now: datetime) -> list[Limit]:
    return [row for row in rows_after(known, new, withdrawn, now) if "#" not in row.id]


def nothing_is_replaced(known: Any, new: Any, withdrawn: Any, now: datetime) -> list[Limit]:
    return [*rows_after(known, [], withdrawn, now), *new]


@pytest.mark.parametrize("broken", [tails_are_lost, nothing_is_replaced])
def test_the_stated_limits_campaign_sees_a_broken_replacement(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[..., list[Limit]]
) -> None:
    monkeypatch.setattr(stated_limits, "rows_after", broken)
    assert stated_limits.run(1, after(50)).failures


def test_a_case_is_drawn_again_from_its_number() -> None:
    first, again = limits.run(7, after(20)), limits.run(7, after(20))
    assert first == again
    assert first.case_count == 20
    assert first.measured != limits.run(8, after(20)).measured


def stand_in(monkeypatch: pytest.MonkeyPatch, *failures: str) -> None:
    """Let `limits` be a campaign that reports what it is told to."""

    def run_told(seed: int, until: Callable[[], bool]) -> Outcome:
        assert not until()
        return Outcome(case_count=seed, failures=failures, measured={"x_kw": 1.5})

    module = SimpleNamespace(__doc__="Hunts.", run=run_told)
    monkeypatch.setattr(soak_runner, "load_campaign", lambda name, package: module)


def test_a_campaign_leaves_a_dated_summary_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, "case 3")
    for _ in range(2):
        assert soak_runner.main(["limits", "--seed", "4"], tmp_path) == 1
    summaries = sorted((tmp_path / soak_runner.SUMMARIES).iterdir())
    today = datetime.now(UTC).date()
    assert [path.name for path in summaries] == [f"{today}-limits-2.json", f"{today}-limits.json"]
    summary = json.loads(summaries[0].read_text())
    assert summary["failures"] == ["case 3"]
    assert (summary["case_count"], summary["seed"], summary["measured"]) == (4, 4, {"x_kw": 1.5})
    assert "4 cases in 0 s, 1 failed" in capsys.readouterr().out


def test_a_campaign_without_failures_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    assert soak_runner.main(["limits"], tmp_path) == 0


def test_campaigns_are_listed_and_a_wrong_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak_runner.main([]) == 0
    assert "limits" in capsys.readouterr().out
    assert soak_runner.main(["nothing"]) == 2


def test_committed_summaries_found_nothing() -> None:
    for path in (ROOT / soak_runner.SUMMARIES).glob("*.json"):
        summary = json.loads(path.read_text())
        assert summary["failure_count"] == 0, path.name


def test_a_summary_counts_what_it_lists() -> None:
    outcome = Outcome(case_count=3, failures=("a", "b"))
    summary = soak_runner.summarise("x", 1, 2.04, outcome, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert (summary["ended"], summary["failure_count"], summary["duration_seconds"]) == (
        "2026-01-02T03:04:05+00:00",
        2,
        2.0,
    )
