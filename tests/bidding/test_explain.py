"""Why nothing fits: the set of slots is the one that brute force finds, and the sentences say it in plain words."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays, fit_to_horizon
from bidding.optimum.coupling import Coupling
from bidding.optimum.explain import (
    WallClock,
    conflict_in,
    explain_conflict,
    forced_kwh,
    spans,
    tell_driver,
    tell_operator,
    tell_shortfall,
)
from bidding.optimum.optimise import OptimiserOptions, optimise
from bidding.optimum.outcome import Conflict, Infeasible
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid

Sessions = Callable[..., SessionArrays]
BY_COLUMNS = OptimiserOptions(session_model_limit=0)


def random_case(rng: np.random.Generator, sessions_of: Sessions) -> tuple[SessionArrays, np.ndarray]:
    """Five cars in six slots, often too many for the cap; rates and energies whole or not, a cap at times open."""
    rows = []
    for _ in range(5):
        arrival = int(rng.integers(0, 5))
        departure = int(rng.integers(arrival + 1, 7))
        rate = float(rng.choice([1.0, 2.0]))
        rows.append((arrival, departure, rate, rng.uniform(0.3, 1.0) * rate * (departure - arrival)))
    cap = rng.uniform(0.5, 3.0, 6)
    cap[rng.random(6) < 0.1] = np.inf
    return sessions_of(*rows), cap


def test_33_the_least_violation_is_that_of_the_worst_set_of_slots(sessions_of: Sessions, oracle: Any) -> None:
    """60 random instances against all sets of slots."""
    rng = np.random.default_rng(33)
    infeasible = 0
    for _ in range(60):
        sessions, cap = random_case(rng, sessions_of)
        worst = max(oracle.least(sessions, slots) - float(cap[slots].sum()) for slots in oracle.subsets(6))
        outcome = optimise(sessions, rng.uniform(0.1, 1.0, 6), Coupling(cap_kwh=cap), BY_COLUMNS).outcome
        assert isinstance(outcome, Infeasible) is (worst > 1e-6)
        if not isinstance(outcome, Infeasible):
            continue
        infeasible += 1
        [conflict] = outcome.conflicts
        slots = np.zeros(6, dtype=bool)
        slots[list(conflict.slots)] = True
        assert conflict.missing_kwh == pytest.approx(worst, abs=1e-8)
        assert conflict.must_flow_kwh == pytest.approx(oracle.least(sessions, slots), abs=1e-8)
        assert conflict.allowed_kwh == pytest.approx(cap[slots].sum())
        alone = [sessions.select(np.array([row])) for row in range(len(sessions))]
        forced = [f"s{row}" for row, one in enumerate(alone) if oracle.least(one, slots) > 1e-9]
        assert list(conflict.sessions) == forced
    assert infeasible >= 30


def test_duals_that_are_a_little_off_do_not_matter(sessions_of: Sessions, oracle: Any) -> None:
    """Any start leads to a set that no single slot improves; mostly that is the worst of all sets."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(40):
        sessions, cap = random_case(rng, sessions_of)
        table = FlexibilityTable.build(sessions, 6)
        worst = max(oracle.least(sessions, slots) - float(cap[slots].sum()) for slots in oracle.subsets(6))
        prices = np.where(np.isfinite(cap), rng.uniform(0.0, 1.0, 6), 0.0)
        conflict = explain_conflict(table, sessions, cap, prices)
        assert conflict.missing_kwh <= worst + 1e-9
        found.append(conflict.missing_kwh >= worst - 1e-9)
    assert np.mean(found) >= 0.9


def test_of_equally_bad_sets_the_smaller_is_told(sessions_of: Sessions) -> None:
    sessions = sessions_of((0, 1, 2, 2), (1, 2, 1, 1))
    table = FlexibilityTable.build(sessions, 3)
    conflict = explain_conflict(table, sessions, np.array([1.0, 1.0, np.inf]), np.array([1.0, 0.5, 0.0]))
    assert conflict.slots == (0,)
    assert conflict.sessions == ("s0",)
    unlimited = explain_conflict(table, sessions, np.array([1.0, np.inf, np.inf]), np.zeros(3))
    assert unlimited.slots == (0,)


def test_what_a_car_must_draw_by_hand(sessions_of: Sessions) -> None:
    slots = np.array([False, True, True, False])
    assert forced_kwh(sessions_of((0, 4, 1, 3), (1, 3, 2, 3), (0, 1, 1, 1), (2, 4, 1, 1)), slots).tolist() == [
        1,
        3,
        0,
        0,
    ]


CONFLICT = Conflict(slots=(3, 4, 9), must_flow_kwh=12.0, allowed_kwh=8.25, sessions=("ann", "bob", "cas", "dee", "eve"))


def clock_on(day: datetime, zone: str = "Europe/Brussels") -> WallClock:
    return WallClock(grid=TimeGrid(start=day, step=timedelta(minutes=15), count=200), zone=zone)


def test_neighbours_are_told_as_spans() -> None:
    assert spans((3, 4, 5, 9)) == ((3, 6), (9, 10))
    assert spans(()) == ()


def test_an_operator_reads_where_when_and_how_much() -> None:
    winter = clock_on(datetime(2026, 1, 14, 16, 0, tzinfo=UTC))
    assert tell_operator(CONFLICT, nodes=["feeder 2"], clock=winter) == (
        "At feeder 2, from 2026-01-14 17:45 to 18:15 and from 2026-01-14 19:15 to 19:30: 5 cars must draw 12.0 kWh even if "
        "they charge as much as they can at all other times, but the limit allows 8.2 kWh; 3.8 kWh cannot be delivered "
        "(ann, bob, cas and 2 more)."
    )
    told = tell_operator(Conflict(slots=(7,), must_flow_kwh=2.0, allowed_kwh=1.0, sessions=("ann",)))
    assert told.startswith("At the connection point, in slot 7: 1 car must draw 2.0 kWh")
    assert told.endswith("1.0 kWh cannot be delivered (ann).")
    asked = tell_operator(Conflict(slots=(1, 2), must_flow_kwh=9.0, allowed_kwh=4.0, sessions=()), nodes=["a", "b"])
    assert asked == "At a and b, in slots 1 to 2: 9.0 kWh must flow, but only 4.0 kWh can; 5.0 kWh are missing."


def test_the_wall_clock_is_that_of_the_place() -> None:
    """Midnight, the hour that is missing in spring and the one that comes twice in autumn."""
    night = clock_on(datetime(2026, 6, 1, 21, 0, tzinfo=UTC))
    assert night.span(2, 6) == "2026-06-01 23:30 to 2026-06-02 00:30"
    spring = WallClock(
        grid=DeliveryDay(day=datetime(2026, 3, 29, tzinfo=UTC).date(), zone="Europe/Brussels").grid(),
        zone="Europe/Brussels",
    )
    assert spring.grid.count == 92
    assert spring.span(4, 12) == "2026-03-29 01:00 CET to 04:00 CEST"
    autumn = WallClock(
        grid=DeliveryDay(day=datetime(2026, 10, 25, tzinfo=UTC).date(), zone="Europe/Brussels").grid(),
        zone="Europe/Brussels",
    )
    assert autumn.grid.count == 100
    assert autumn.span(8, 12) == "2026-10-25 02:00 CEST to 02:00 CET"
    with pytest.raises(InvalidInput):
        clock_on(datetime(2026, 1, 1, tzinfo=UTC), "Europe/Atlantis")


def test_a_driver_reads_what_concerns_the_own_car(sessions_of: Sessions) -> None:
    sessions = sessions_of((0, 2, 4, 6), (0, 2, 4, 7), (1, 3, 4, 2))
    conflict = conflict_in(
        FlexibilityTable.build(sessions, 3), sessions, np.array([5.0, 5.0, 5.0]), np.array([True, True, False])
    )
    assert tell_driver(conflict, sessions, 0, clock_on(datetime(2026, 1, 14, 16, 0, tzinfo=UTC))) == (
        "Your car must take 6.0 kWh of its 6.0 kWh from 2026-01-14 17:00 to 17:30, because the rest of its stay is too "
        "short; with 1 other car that makes 13.0 kWh where 10.0 kWh are possible. A later departure or a lower target would "
        "help."
    )
    with pytest.raises(InvalidInput, match="row"):
        tell_driver(conflict, sessions, 2)
    alone = sessions_of((0, 1, 4, 4))
    lonely = conflict_in(FlexibilityTable.build(alone, 1), alone, np.array([1.0]), np.array([True]))
    assert "it needs 4.0 kWh where 1.0 kWh are possible" in tell_driver(lonely, alone, 0)


def test_a_stay_that_is_too_short_is_told_by_name(sessions_of: Sessions) -> None:
    fitted = fit_to_horizon(sessions_of((0, 8, 2.75, 30), (0, 8, 2.75, 20)), 96)
    told = tell_shortfall(fitted, 0, 0.25, clock_on(datetime(2026, 7, 1, 4, 0, tzinfo=UTC)))
    assert told == (
        "s0 leaves at 2026-07-01 08:00 and takes at most 22.0 kWh until then at 11.0 kW; 8.0 kWh of what it needs cannot be "
        "delivered at any price."
    )
    assert "at slot 8" in tell_shortfall(fitted, 0, 0.25)
    with pytest.raises(InvalidInput, match="row"):
        tell_shortfall(fitted, 1, 0.25)
