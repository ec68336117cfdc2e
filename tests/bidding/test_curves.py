"""Lots, ticks, demand curves and the newsvendor's volume."""

import itertools
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidding.fleet.flexibility import FlexibilityTable, power_bounds
from bidding.fleet.sessions import SessionArrays
from bidding.optimum.greedy import PriceResponse
from bidding.orders.bid_check import check_curves
from bidding.orders.curves import MarketRules, Tranche, demand_curve, newsvendor_volume, round_to_lots
from bidding.orders.order import DayAheadOrder, TooSmallToBid
from bidding.orders.risk import best_option, mean_cvar_cost
from bidding.orders.scenario_curves import ImbalanceSpread, curve_order, fit_curves, price_edges
from gateway.domain.bids import BidPeriod, CurvePoint
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid

Sessions = Callable[..., SessionArrays]

RULES = MarketRules()
LOT = Decimal("0.1")
VOLUMES = st.lists(st.floats(-5, 20, allow_nan=False), min_size=1, max_size=100)


@given(VOLUMES)
def test_rounding_keeps_the_energy_within_half_a_lot(volumes: list[float]) -> None:
    lots = np.array(round_to_lots(np.array(volumes), LOT))
    error = np.cumsum(np.array(volumes) - lots * 0.1)
    assert np.all(np.abs(error) <= 0.05 + 1e-9)


@given(VOLUMES, st.lists(st.floats(0, 5), min_size=100, max_size=100))
def test_rounding_never_exceeds_what_can_be_drawn(volumes: list[float], slack: list[float]) -> None:
    wanted = np.array(volumes)
    capability = wanted + np.array(slack[: len(volumes)])
    lots = np.array(round_to_lots(wanted, LOT, capability))
    assert np.all(lots * 0.1 <= capability + 1e-9)
    assert np.all(np.abs(lots * 0.1 - wanted) <= 0.15 + 1e-9)  # what was cut comes back a lot at a time
    error = np.cumsum(wanted - lots * 0.1)
    assert np.all(error >= -0.05 - 1e-9)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=100))
def test_whole_lots_stay_as_they_are(lots: list[int]) -> None:
    assert list(round_to_lots(np.array(lots) * 0.1, LOT)) == lots


def test_what_was_cut_is_made_up_slowly() -> None:
    wanted = np.array([0.19] * 10 + [0.0] * 10)
    capability = np.array([0.19] * 10 + [1.0] * 10)
    lots = round_to_lots(wanted, LOT, capability)
    assert lots[:10] == (1,) * 10
    assert set(lots[10:]) == {0, 1}
    assert sum(lots) == 19


PRICES = st.decimals(-500, 4000, places=2)
TRANCHES = st.lists(
    st.builds(Tranche, limit_price_per_mwh=PRICES, volume_mw=st.floats(0, 3, allow_nan=False)), max_size=8
)


def period(tranches: list[Tranche], total: int, rules: MarketRules = RULES) -> BidPeriod:
    from datetime import UTC, datetime, timedelta

    start = datetime(2026, 5, 1, tzinfo=UTC)
    # The domain refuses curves that are not ascending in price and falling in volume.
    curve = demand_curve(tranches, total, rules)
    return BidPeriod(start=start, end=start + timedelta(minutes=15), curve=curve)


@given(TRANCHES, st.integers(-1, 1))
def test_a_curve_is_legal_and_holds_the_total(tranches: list[Tranche], carried: int) -> None:
    total = max(0, round(10 * sum(tranche.volume_mw for tranche in tranches)) + carried)
    bought = period(tranches, total)
    assert bought.max_volume_mw == total * LOT
    assert bought.curve[-1].price_per_mwh == RULES.max_price_per_mwh
    assert all(point.volume_mw % LOT == 0 and point.volume_mw >= 0 for point in bought.curve)
    for tranche in tranches:
        wanted = sum(t.volume_mw for t in tranches if t.limit_price_per_mwh >= tranche.limit_price_per_mwh)
        assert float(bought.volume_at(tranche.limit_price_per_mwh)) <= max(wanted + 0.05, total * 0.1) + 1e-9
        if total * 0.1 >= wanted and tranche.volume_mw > 0:
            assert float(bought.volume_at(tranche.limit_price_per_mwh)) >= wanted - 0.05 - 1e-9


def test_must_run_stands_at_the_maximum_price() -> None:
    tranches = [
        Tranche(limit_price_per_mwh=Decimal(4000), volume_mw=0.8),
        Tranche(limit_price_per_mwh=Decimal(45), volume_mw=2.4),
        Tranche(limit_price_per_mwh=Decimal(0), volume_mw=0.3),
    ]
    bought = period(tranches, 35)
    by_price = [(int(point.price_per_mwh), str(point.volume_mw)) for point in bought.curve]
    assert by_price == [(0, "3.5"), (45, "3.2"), (4000, "0.8")]


def test_a_period_without_volume_says_zero() -> None:
    assert [str(point.volume_mw) for point in period([], 0).curve] == ["0.0"]


def test_a_sold_volume_is_sold_at_any_price() -> None:
    bought = period([Tranche(limit_price_per_mwh=Decimal(4000), volume_mw=-0.7)], -7)
    assert [(str(point.price_per_mwh), str(point.volume_mw)) for point in bought.curve] == [("4000", "-0.7")]


def test_the_smallest_steps_are_given_up_first() -> None:
    volumes = {4000: 0.5, 90: 0.4, 80: 0.1, 70: 0.6, 60: 0.2}
    tranches = [Tranche(limit_price_per_mwh=Decimal(price), volume_mw=volume) for price, volume in volumes.items()]
    bought = period(tranches, 18, MarketRules(max_points=4))
    by_price = [(int(point.price_per_mwh), str(point.volume_mw)) for point in bought.curve]
    assert by_price == [(60, "1.8"), (70, "1.6"), (90, "0.9"), (4000, "0.5")]


def test_a_curve_has_at_most_the_points_a_market_takes() -> None:
    tranches = [Tranche(limit_price_per_mwh=Decimal(price), volume_mw=0.1 + price / 1000) for price in range(0, 500, 5)]
    total = round(10 * sum(tranche.volume_mw for tranche in tranches))
    bought = period(tranches, total, MarketRules(max_points=7))
    assert len(bought.curve) == 7
    assert bought.max_volume_mw == total * LOT
    full = period(tranches, total)
    for tranche in tranches:
        assert bought.volume_at(tranche.limit_price_per_mwh) <= full.volume_at(tranche.limit_price_per_mwh)


@pytest.mark.parametrize(
    ("price", "legal"), [(12.3449, "12.34"), (-900.0, "-500"), (9000.0, "4000"), (0.0, "0.00"), (-0.004, "0.00")]
)
def test_prices_are_put_on_the_tick_and_into_the_range(price: float, legal: str) -> None:
    assert RULES.legal_price(price) == Decimal(legal)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lot_mw", Decimal(0)),
        ("price_tick", Decimal("-0.01")),
        ("min_volume_mw", Decimal("0.05")),
        ("max_price_per_mwh", Decimal(-500)),
        ("max_points", 1),
        ("slots_per_period", 0),
    ],
)
def test_impossible_rules_are_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        MarketRules(**{field: value})
    assert refused.value.field == f"market.{field}"


def test_21_newsvendor() -> None:
    demand = np.array([8.0, 12.0])
    volume = newsvendor_volume(demand, price=50.0, surplus_price=40.0, shortage_price=70.0)
    assert volume == 12.0
    cost = 50 * volume + np.mean(70 * np.maximum(demand - volume, 0) - 40 * np.maximum(volume - demand, 0))
    assert cost == pytest.approx(520)


def test_newsvendor_beats_every_other_volume() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        demand = rng.uniform(0, 10, rng.integers(1, 9))
        low, price, high = np.sort(rng.uniform(0, 100, 3))
        best = newsvendor_volume(demand, price=price, surplus_price=low, shortage_price=high)
        costs = {
            volume: price * volume
            + np.mean(high * np.maximum(demand - volume, 0) - low * np.maximum(volume - demand, 0))
            for volume in demand
        }
        assert costs[best] == pytest.approx(min(costs.values()))


@pytest.mark.parametrize(("price", "surplus", "shortage"), [(30, 40, 70), (80, 40, 70), (50, 50, 50)])
def test_newsvendor_refuses_money_machines(price: float, surplus: float, shortage: float) -> None:
    with pytest.raises(InvalidInput, match="price"):
        newsvendor_volume(np.ones(2), price=price, surplus_price=surplus, shortage_price=shortage)
    with pytest.raises(InvalidInput, match="demand"):
        newsvendor_volume(np.zeros(0), price=50, surplus_price=40, shortage_price=70)


# ---------------------------------------------------------------- curves from scenarios


def spread_of(periods: int, eur_per_kwh: float) -> ImbalanceSpread:
    each = np.full(periods, eur_per_kwh)
    return ImbalanceSpread(shortage_eur_per_kwh=each, surplus_eur_per_kwh=each)


@pytest.mark.parametrize(
    ("scenarios", "bin_count", "cost"),
    # Cases 22 and 23 of the acceptance list: one car, 1 kWh in either of two periods; imbalance costs a lot.
    [
        (((10.0, 50.0), (50.0, 10.0)), 1, 30.0),
        (((10.0, 50.0), (50.0, 10.0)), 2, 10.0),
        (((10.0, 20.0), (30.0, 20.0)), 1, 20.0),
        (((10.0, 20.0), (30.0, 20.0)), 2, 20.0),
    ],
)
def test_what_volumes_and_curves_cost(
    sessions_of: Sessions, scenarios: tuple[tuple[float, float], ...], bin_count: int, cost: float
) -> None:
    response = PriceResponse(FlexibilityTable.build(sessions_of((0, 2, 1.0, 1.0)), 2)).schedule
    fitted = fit_curves(response, scenarios, spread_of(2, 1000.0), bin_count=bin_count)
    assert fitted.expected_cost_eur == pytest.approx(cost)
    assert fitted.lower_bound_eur == pytest.approx(cost)


def test_free_imbalance_is_perfect_foresight(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(4)
    response = PriceResponse(FlexibilityTable.build(random_sessions(rng, 6, 8), 8)).schedule
    scenarios = rng.uniform(0, 1, (5, 8))
    fitted = fit_curves(response, scenarios, spread_of(8, 0.0), bin_count=1)
    assert fitted.expected_cost_eur == pytest.approx(np.mean([price @ response(price) for price in scenarios]))


def least_curve_cost(sessions: SessionArrays, scenarios: np.ndarray, bins: np.ndarray, spread: float) -> float:
    """Least expected cost by one LP with a variable per scenario, session and slot."""
    cvx: Any = cp  # publishes no types
    count, slots = scenarios.shape
    present = (np.arange(slots) >= sessions.arrival_slot[:, None]) & (
        np.arange(slots) < sessions.departure_slot[:, None]
    )
    steps = int(bins.max()) + 1
    volume = cvx.Variable((steps, slots))
    rules: list[Any] = [volume[1:] <= volume[:-1]] if steps > 1 else []
    cost: Any = 0.0
    for price, kind in zip(scenarios, bins, strict=True):
        drawn = cvx.Variable((len(sessions), slots), nonneg=True)
        rules += [
            drawn <= np.where(present, sessions.rate_kwh_per_slot[:, None], 0.0),
            cvx.sum(drawn, axis=1) >= sessions.energy_min_kwh,
            cvx.sum(drawn, axis=1) <= sessions.energy_max_kwh,
        ]
        total = cvx.sum(drawn, axis=0)
        bought = cvx.hstack([volume[kind[slot], slot] for slot in range(slots)])
        cost = cost + price @ total + spread * cvx.norm1(total - bought)
    problem = cvx.Problem(cvx.Minimize(cost / count), rules)
    problem.solve(solver=cvx.HIGHS)
    return float(problem.value)


@pytest.mark.parametrize("seed", range(6))
def test_curves_are_the_optimum_of_the_whole_problem(random_sessions: Sessions, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sessions = random_sessions(rng, 4, 5, with_range=seed % 2 == 1)
    response = PriceResponse(FlexibilityTable.build(sessions, 5)).schedule
    scenarios = np.round(rng.uniform(-0.2, 1.0, (4, 5)), 1)  # ties
    for bin_count, spread in ((1, 0.1), (2, 0.3), (4, 0.2)):
        fitted = fit_curves(response, scenarios, spread_of(5, spread), bin_count=bin_count, rounds=60)
        edges = price_edges(scenarios, bin_count)
        best = least_curve_cost(sessions, scenarios, (scenarios[None] > edges[:, None]).sum(axis=0), spread)
        assert fitted.expected_cost_eur == pytest.approx(best, abs=1e-5)
        assert fitted.lower_bound_eur <= best + 1e-6
        assert np.all(np.diff(fitted.volume_kwh, axis=0) <= 1e-9)
        assert len(fitted.volume_kwh) <= bin_count
        bought = np.array([fitted.bought_kwh(price) for price in scenarios])
        for one, other in itertools.permutations(range(4), 2):
            assert np.all(
                bought[one][scenarios[one] >= scenarios[other]]
                <= bought[other][scenarios[one] >= scenarios[other]] + 1e-9
            )


@pytest.mark.parametrize(
    ("day", "minutes"), [(date(2026, 5, 4), 15), (date(2026, 3, 29), 15), (date(2026, 10, 25), 60)]
)
def test_fitted_curves_become_a_legal_order(city_sessions: Sessions, day: date, minutes: int) -> None:
    periods = DeliveryDay(day=day, zone="Europe/Brussels").grid(timedelta(minutes=minutes))
    per_period = minutes // 15
    slots = periods.count * per_period
    one = city_sessions(100, slots)
    sessions = SessionArrays(
        arrival_slot=one.arrival_slot,
        departure_slot=one.departure_slot,
        rate_kwh_per_slot=one.rate_kwh_per_slot * 50,
        energy_min_kwh=one.energy_min_kwh * 50,
        energy_max_kwh=one.energy_max_kwh * 50,
    )
    table = FlexibilityTable.build(sessions, slots)
    rng = np.random.default_rng(1)
    scenarios = rng.normal(0.05, 0.06, (6, periods.count))
    fitted = fit_curves(
        PriceResponse(table).schedule,
        scenarios,
        spread_of(periods.count, 0.005),
        bin_count=3,
        slots_per_period=per_period,
        rounds=2,
    )
    capability = power_bounds(table)[1].reshape(-1, per_period).sum(axis=1) / periods.step_hours / 1000
    order = curve_order(fitted, slice(0, periods.count), periods, RULES, capability)
    assert isinstance(order, DayAheadOrder)
    assert check_curves(order.periods, RULES, periods, capability) == ()
    assert len(order.periods) == periods.count
    assert any(len(period.curve) == 3 for period in order.periods)
    assert abs(order.rounding_error_mwh) <= 0.05 * periods.step_hours + 1e-9
    for price in scenarios:
        bought = fitted.bought_kwh(price) / periods.step_hours / 1000
        for index, period in enumerate(order.periods):
            offered = float(period.volume_at(Decimal(repr(round(float(price[index]) * 1000, 2)))))
            assert abs(offered - bought[index]) <= 0.15 + 1e-9


def test_small_and_malformed_curves(sessions_of: Sessions) -> None:
    response = PriceResponse(FlexibilityTable.build(sessions_of((0, 2, 1.0, 1.0)), 2)).schedule
    fitted = fit_curves(response, [[1.0, 2.0]], spread_of(2, 1.0), bin_count=5)
    assert fitted.volume_kwh.tolist() == [[1.0, 0.0]]
    two = TimeGrid(start=datetime(2026, 5, 4, tzinfo=UTC), count=2)
    assert isinstance(curve_order(fitted, slice(0, 2), two, RULES, np.ones(2)), TooSmallToBid)
    with pytest.raises(InvalidInput, match="delivery"):
        curve_order(fitted, slice(0, 1), two, RULES, np.ones(2))
    many = fit_curves(response, [[1.0, 2.0], [2.0, 3.0], [3.0, 1.0]], spread_of(2, 1.0), bin_count=3)
    with pytest.raises(InvalidInput, match="points"):
        curve_order(many, slice(0, 2), two, MarketRules(max_points=2), np.ones(2))
    bad: list[tuple[Callable[[], object], str]] = [
        (lambda: fit_curves(response, [[1.0, np.nan]], spread_of(2, 1.0), bin_count=1), "scenarios_eur_per_kwh[0][1]"),
        (lambda: fit_curves(response, [[1.0, 2.0]], spread_of(3, 1.0), bin_count=1), "spread.shortage_eur_per_kwh"),
        (lambda: fit_curves(response, [[1.0, 2.0]], spread_of(2, 1.0), bin_count=0), "bin_count"),
        (
            lambda: fit_curves(response, [[1.0, 2.0]] * 2, spread_of(2, 1.0), bin_count=1, probability=[1.0, 0.0]),
            "probability[1]",
        ),
        (lambda: spread_of(2, -1.0), "shortage_eur_per_kwh[0]"),
    ]
    for build, field in bad:
        with pytest.raises(InvalidInput) as refused:
            build()
        assert refused.value.field == field


# ---------------------------------------------------------------- mean and tail


def test_a_hedge_pays_off_when_the_tail_counts() -> None:
    """Case 24: a hedge for 60, or 10 or 100 at even odds."""
    costs = [[60.0, 60.0], [10.0, 100.0]]
    assert mean_cvar_cost(costs, tail_weight=0.5, level=0.5).tolist() == [60.0, 77.5]
    assert best_option(costs, tail_weight=0.5, level=0.5) == 0
    assert best_option(costs, tail_weight=0.1, level=0.5) == 1
    assert mean_cvar_cost(costs, tail_weight=0.0, level=0.5)[1] == 55.0


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12), st.floats(0, 0.95), st.floats(0, 1))
def test_the_tail_is_the_mean_of_the_worst(costs: list[float], level: float, weight: float) -> None:
    found = float(mean_cvar_cost([costs], tail_weight=weight, level=level)[0])
    # Rockafellar and Uryasev: the least over thresholds, reached at one of the outcomes.
    tail = min(eta + np.maximum(np.array(costs) - eta, 0).mean() / (1 - level) for eta in costs)
    assert found == pytest.approx((1 - weight) * np.mean(costs) + weight * tail, abs=1e-6)
    assert best_option([costs, costs], tail_weight=weight, level=level) == 0


@pytest.mark.parametrize(("weight", "level", "field"), [(1.1, 0.5, "tail_weight"), (0.5, 1.0, "level")])
def test_weights_outside_their_range_are_refused(weight: float, level: float, field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        mean_cvar_cost([[1.0]], tail_weight=weight, level=level)


# ---------------------------------------------------------------- the independent check of curves


def test_the_check_finds_every_fault_of_a_curve() -> None:
    grid = TimeGrid(start=datetime(2026, 5, 4, tzinfo=UTC), count=2)

    def order(points: list[tuple[str, str]], *, start: int = 0, count: int = 2) -> list[BidPeriod]:
        curve = tuple(CurvePoint(price_per_mwh=Decimal(price), volume_mw=Decimal(mw)) for price, mw in points)
        quarter = timedelta(minutes=15)
        starts = [grid.start + quarter * (start + index) for index in range(count)]
        return [BidPeriod(start=one, end=one + quarter, curve=curve) for one in starts]

    def faults(periods: list[BidPeriod], rules: MarketRules = RULES, most: float = 9.0) -> list[str]:
        return sorted({broken.rule for broken in check_curves(periods, rules, grid, np.full(2, most))})

    good = [("50", "1.0"), ("4000", "0.2")]
    assert faults(order(good)) == []
    assert faults(order(good, count=1)) == ["count"]
    assert faults(order(good, start=1)) == ["period"]
    assert faults(order([("50", "1.0"), ("3999", "0.2")])) == ["end"]
    assert faults(order([("50.001", "1.0"), ("4000", "0.2")])) == ["tick"]
    assert faults(order([("-500.01", "1.0"), ("4000", "0.2")])) == ["price"]
    assert faults(order([("50", "1.05"), ("4000", "0.2")])) == ["lot"]
    assert faults(order(good), most=0.9) == ["capability"]
    assert faults(order([("4000", "-0.2")]), most=0.0) == []
    assert faults(order([("1", "0.3"), ("2", "0.2"), ("4000", "0.1")]), MarketRules(max_points=2)) == ["points"]
    rising = order(good)[0]
    object.__setattr__(rising, "curve", rising.curve[::-1])
    assert faults([rising, *order(good)[1:]]) == ["end", "order"]
