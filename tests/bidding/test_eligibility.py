"""Can a fleet hold a power for a time in enough scenarios: exact, against an LP per session and slot."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays
from bidding.optimum.greedy import respond_to_price
from bidding.orders.eligibility import Direction, Obligation, check_eligibility
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]
HALF = Obligation(power_kw=1.0, slot_count=2, share=0.5, direction=Direction.LESS, starts=(0, 2))


def fits(sessions: SessionArrays, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether some schedule per session keeps the fleet between these draws."""
    count, slots = len(sessions), len(low)
    present = (np.arange(slots) >= sessions.arrival_slot[:, None]) & (
        np.arange(slots) < sessions.departure_slot[:, None]
    )
    upper = np.where(present, sessions.rate_kwh_per_slot[:, None], 0.0).ravel()
    own = np.kron(np.eye(count), np.ones(slots))
    total = np.tile(np.eye(slots), count)
    result = linprog(
        np.zeros(count * slots),
        A_ub=np.vstack([own, -own, total, -total]),
        b_ub=np.concatenate([sessions.energy_max_kwh, -sessions.energy_min_kwh, high, -low]),
        bounds=[(0.0, most) for most in upper],
        method="highs",
    )
    return bool(result.status == 0)


@pytest.mark.parametrize("direction", list(Direction))
def test_it_agrees_with_the_whole_problem(random_sessions: Sessions, direction: Direction) -> None:
    passed = refused = by_slots = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sessions = random_sessions(rng, 5, 6, with_range=seed % 2 == 0)
        table = FlexibilityTable.build(sessions, 6)
        reference = np.round(rng.uniform(0.5, 3.0, 6), 1)
        power = float(np.round(rng.uniform(0.1, 1.5), 1))
        start = int(rng.integers(0, 4))
        obligation = dataclasses.replace(
            HALF, power_kw=power, slot_count=3, direction=direction, starts=(start,), share=1.0
        )
        low, high = np.zeros(6), np.full(6, 1e3)
        inside = slice(start, start + 3)
        if direction is Direction.LESS:
            high[inside] = reference[inside] - power + 1e-6
        else:
            low[inside] = reference[inside] + power - 1e-6
        found = check_eligibility([table], reference[None, :], obligation, step_hours=1.0)
        expected = bool(np.all(high >= low)) and fits(sessions, low, high)
        assert found.is_eligible is expected, seed
        passed += expected
        refused += not expected
        by_slots += not expected and found.worst_margin_kwh > 0
    assert min(passed, refused) >= 5
    assert by_slots >= 1  # the energy of the window alone is not enough


@pytest.mark.parametrize(("limit", "is_eligible"), [(1.4, False), (1.6, True)])
def test_a_set_of_slots_inside_the_window_may_be_the_bottleneck(
    sessions_of: Sessions, limit: float, is_eligible: bool
) -> None:
    """Two cars need 3 kWh in the first two of three slots: neither the window nor a single slot shows it."""
    table = FlexibilityTable.build(sessions_of((0, 2, 1.0, 1.5), (0, 2, 1.0, 1.5)), 3)
    asked = dataclasses.replace(HALF, slot_count=3, starts=(0,), share=1.0)
    found = check_eligibility([table], np.full((1, 3), limit + 1.0), asked, step_hours=1.0)
    assert found.is_eligible is is_eligible
    assert found.worst_margin_kwh == pytest.approx(3 * limit - 3.0)


def test_the_share_and_the_weakest_scenario(sessions_of: Sessions) -> None:
    # 7, 2 and 5 kWh over four slots at up to 2; the reference draws 2 in the first two slots.
    tables = [FlexibilityTable.build(sessions_of((0, 4, 2.0, need)), 4) for need in (7.0, 2.0, 5.0)]
    reference = np.tile([2.0, 2.0, 0.0, 0.0], (3, 1))
    asked = dataclasses.replace(HALF, power_kw=8.0, starts=(0,))  # 2 kWh per quarter-hour: nothing may flow
    found = check_eligibility(tables, reference, asked, step_hours=0.25)
    assert not found.is_eligible
    assert found.share == pytest.approx(1 / 3)
    assert found.holds == (False, True, False)
    assert (found.worst_scenario, found.worst_start) == (0, 0)
    assert found.worst_margin_kwh == pytest.approx(-3.0)
    weighed = check_eligibility(tables, reference, asked, step_hours=0.25, probability=[0.25, 0.5, 0.25])
    assert weighed.is_eligible
    assert weighed.share == pytest.approx(0.5)


def test_every_call_that_may_come_must_be_held(sessions_of: Sessions) -> None:
    table = FlexibilityTable.build(sessions_of((0, 4, 1.0, 2.0), (2, 4, 1.0, 2.0)), 4)
    reference = np.array([[1.0, 1.0, 2.0, 2.0]])
    both = dataclasses.replace(HALF, starts=(0, 2), share=1.0)
    assert check_eligibility([table], reference, both, step_hours=1.0).is_eligible
    # The second car alone needs 1 in each of the last two slots: only the later call fails.
    lower = np.array([[1.0, 1.0, 1.5, 1.5]])
    found = check_eligibility([table], lower, both, step_hours=1.0)
    assert not found.is_eligible
    assert found.worst_start == 2
    assert found.worst_margin_kwh == pytest.approx(-1.0)
    assert check_eligibility([table], lower, dataclasses.replace(both, starts=(0,)), step_hours=1.0).is_eligible


def test_an_absolute_draw_can_be_held_by_cars_that_may_take_more(sessions_of: Sessions) -> None:
    table = FlexibilityTable.build(sessions_of((0, 4, 2.0, 0.0, 5.0)), 4)
    more = Obligation(power_kw=2.0, slot_count=2, share=1.0, direction=Direction.MORE, starts=(0, 1, 2))
    nothing = np.zeros((1, 4))
    assert check_eligibility([table], nothing, more, step_hours=1.0).is_eligible
    longer = dataclasses.replace(more, slot_count=3, starts=(0, 1))
    found = check_eligibility([table], nothing, longer, step_hours=1.0)
    assert not found.is_eligible
    assert found.worst_margin_kwh == pytest.approx(-1.0)


@pytest.mark.parametrize("slots", [92, 96, 100])
def test_a_city_on_days_of_any_length(city_sessions: Sessions, slots: int) -> None:
    tables = [FlexibilityTable.build(city_sessions(300, slots, seed), slots) for seed in range(3)]
    flat = np.array([respond_to_price(table, np.arange(slots) % 7 / 10.0) for table in tables])
    asked = Obligation(power_kw=50.0, slot_count=8, share=1.0, direction=Direction.LESS, starts=(20, 30, 44))
    small = check_eligibility(tables, flat + 20.0, asked, step_hours=0.25)
    huge = check_eligibility(tables, flat + 20.0, dataclasses.replace(asked, power_kw=5000.0), step_hours=0.25)
    assert small.is_eligible
    assert huge.share == 0.0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"power_kw": 0.0}, "obligation.power_kw"),
        ({"slot_count": 0}, "obligation.slot_count"),
        ({"share": 1.1}, "obligation.share"),
        ({"starts": ()}, "obligation.starts"),
        ({"starts": (0, 3)}, "obligation.starts[1]"),
        ({"starts": (-1,)}, "obligation.starts[0]"),
    ],
    ids=str,
)
def test_a_malformed_obligation_is_named(sessions_of: Sessions, change: dict[str, Any], field: str) -> None:
    table = FlexibilityTable.build(sessions_of((0, 4, 1.0, 2.0)), 4)
    with pytest.raises(InvalidInput) as refused:
        check_eligibility([table], np.ones((1, 4)), dataclasses.replace(HALF, **change), step_hours=1.0)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("count", "reference", "field"),
    [(0, np.ones((1, 4)), "scenarios"), (1, np.ones((2, 4)), "reference_kwh"), (1, np.ones((1, 5)), "reference_kwh")],
    ids=str,
)
def test_malformed_scenarios_are_named(sessions_of: Sessions, count: int, reference: np.ndarray, field: str) -> None:
    tables = [FlexibilityTable.build(sessions_of((0, 4, 1.0, 2.0)), 4)] * count
    with pytest.raises(InvalidInput) as refused:
        check_eligibility(tables, reference, HALF, step_hours=1.0)
    assert refused.value.field == field
