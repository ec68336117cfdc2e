"""A slice of the recorded month: limits are kept, cars get their energy, and who does not is named with a certificate."""

import argparse
import asyncio
from dataclasses import replace

import numpy as np
import pytest

from scripts.benches import replay
from scripts.replay_month import Month, Reduction, Replay, Stay, could_have_got, draw_events, read_stays, uncontrolled

HOUR_S = 3600.0


def stay(name: str, hours: tuple[float, float], energy_kwh: float, *, station: int = 0) -> Stay:
    begin, end = hours
    return Stay(
        name=name,
        station=station,
        arrival_s=begin * HOUR_S,
        departure_s=end * HOUR_S,
        energy_kwh=energy_kwh,
        announced_s=end * HOUR_S,
    )


def test_a_day_of_the_month_keeps_the_limits_and_serves_the_cars() -> None:
    report = replay.run(argparse.Namespace(days=1.0, seed=3))
    summary = report["results"][0]
    assert all(goal["met"] for goal in report["goals"]), report["goals"]
    assert float(summary["uncontrolled_peak_kw"] or 0.0) > 150.0 >= float(summary["peak_kw"] or 0.0)
    assert summary["missed"] == len(report["results"]) - 1


def test_the_same_seed_replays_the_same_day() -> None:
    stays = [s for s in read_stays(1.0) if s.station < 8]
    events = [Reduction(start_s=9 * HOUR_S, end_s=11 * HOUR_S, max_kw=20.0)]
    first, again = (asyncio.run(Replay(stays, events, 1).run(1.0)) for _ in range(2))
    assert first == again
    assert first.worst_excess_kw <= 0.0
    assert draw_events(np.random.default_rng(5), 31.0) == draw_events(np.random.default_rng(5), 31.0)


def test_what_uncontrolled_cars_get_and_draw() -> None:
    delivered, peak = uncontrolled([stay("a", (0, 2), 100.0), stay("b", (1, 3), 1.0, station=1)])
    assert delivered.tolist() == [pytest.approx(2 * 6.656), 1.0]
    assert peak == pytest.approx(2 * 6.656)


@pytest.mark.parametrize(
    ("max_kw", "possible"), [(0.0, 0.0), (1.0, 2.0), (150.0, 10.0)], ids=["closed", "narrow", "open"]
)
def test_the_certificate_is_the_most_that_the_limit_lets_through(max_kw: float, possible: float) -> None:
    one = stay("a", (1, 3), 10.0)
    month = Month(stays=[one], events=[Reduction(start_s=HOUR_S, end_s=3 * HOUR_S, max_kw=max_kw)])
    assert could_have_got(month, one) == pytest.approx(possible, abs=1e-6)


def test_the_certificate_leaves_the_others_what_they_got() -> None:
    one, other = stay("a", (0, 2), 12.0), stay("b", (0, 2), 12.0, station=1)
    event = Reduction(start_s=0.0, end_s=2 * HOUR_S, max_kw=8.0)
    month = Month(stays=[one, other], events=[event], delivered_kwh={"b": 10.0})
    assert could_have_got(month, one) == pytest.approx(6.0, abs=1e-5)


@pytest.mark.parametrize(
    ("got", "announced_h", "max_kw", "why"),
    [
        (1.0, 3.0, 0.5, "infeasible"),
        (1.0, 9.0, 150.0, "left early"),
        (1.0, 3.0, 150.0, "ours"),
        (9.8, 3.0, 150.0, None),
    ],
)
def test_who_missed_what_is_told_with_the_reason(
    got: float, announced_h: float, max_kw: float, why: str | None
) -> None:
    one = replace(stay("a", (1, 3), 10.0), announced_s=announced_h * HOUR_S)
    month = Month(
        stays=[one], events=[Reduction(start_s=0.0, end_s=4 * HOUR_S, max_kw=max_kw)], delivered_kwh={"a": got}
    )
    row = replay.judge(month, one, 10.0)
    assert (None if row is None else row["why"]) == why
