"""Exclusive groups: profiles of equal energy, the few that are worth most, whole lots, and the market's choice."""

import dataclasses
import itertools
from collections.abc import Callable
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from bidding.fleet.flexibility import FlexibilityTable, power_bounds
from bidding.fleet.sessions import SessionArrays, fit_to_horizon
from bidding.optimum.greedy import PriceResponse
from bidding.orders.bid_check import BidRejected, check_blocks, require_sound
from bidding.orders.block_bids import GroupSource, build_groups, period_capability_kwh
from bidding.orders.blocks import BlockBid, BlocksRefused, ExclusiveGroup, ProfileBlock, clear_blocks, clear_group
from bidding.orders.curves import MarketRules
from bidding.orders.lots import lots_with_total, nearest_total
from bidding.orders.market_products import AuctionRules, BlockRules, Gate, ValidDays
from bidding.orders.profiles import candidate_profiles, choose_profiles, respond_with_energy
from bidding.orders.window_types import WindowType, at_most_groups, share_caps, split_by_window
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid

Sessions = Callable[..., SessionArrays]
DAY = date(2026, 5, 4)
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)
BLOCKS = BlockRules(
    specification="Test exchange, 1 January 2026",
    max_blocks_per_group=8,
    max_groups=3,
    max_block_mw=Decimal(500),
    min_block_minutes=15,
    max_block_minutes=1500,
    takes_gaps=True,
)


def auction(blocks: BlockRules | None = BLOCKS, minutes: int = 15) -> AuctionRules:
    return AuctionRules(
        market="test",
        currency="EUR",
        days=ValidDays(first=date(2020, 1, 1)),
        gate=Gate(days_before=1, local_time=time(12), time_zone="Europe/Brussels"),
        mtu_minutes=minutes,
        curve=MarketRules(),
        blocks=blocks,
    )


def even(count: int) -> np.ndarray:
    return np.full(count, 1.0 / count)


# ---------------------------------------------------------------- whole lots

PROFILE = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=100)


@given(PROFILE)
def test_the_running_sum_stays_within_half_a_lot(wanted: list[float]) -> None:
    profile = np.array(wanted)
    total = nearest_total(profile)
    if profile.sum() <= 0:
        return
    lots = lots_with_total(profile, total, np.full(len(profile), 40.0))
    assert lots is not None
    assert lots.sum() == total
    assert np.all(lots >= 0)
    scaled = profile * total / profile.sum()
    assert np.all(np.abs(np.cumsum(scaled - lots)) <= 0.5 + 1e-6)
    assert np.all(np.abs(np.cumsum(profile - lots)) <= 1.0 + 1e-6)
    if abs(profile.sum() - total) < 1e-12:
        assert np.all(np.abs(np.cumsum(profile - lots)) <= 0.5 + 1e-6)


@given(PROFILE, st.lists(st.floats(0, 3, allow_nan=False), min_size=100, max_size=100))
def test_lots_never_exceed_what_can_be_drawn_and_hold_the_total_or_nothing(
    wanted: list[float], slack: list[float]
) -> None:
    profile = np.array(wanted)
    capability = profile + np.array(slack[: len(wanted)])
    total = nearest_total(profile, float(profile.sum()))
    assert total <= profile.sum() + 1e-6
    if profile.sum() <= 0:
        return
    lots = lots_with_total(profile, total, capability)
    if lots is None:
        assert np.floor(capability + 1e-9).sum() < total
    else:
        assert lots.sum() == total
        assert np.all(lots <= capability + 1e-6)


def test_a_cut_is_made_up_later_or_as_late_as_possible_before() -> None:
    wanted = np.array([0.0, 1.9, 1.9, 1.2, 0.0])
    cut = lots_with_total(wanted, 5, np.array([9, 1.9, 1.9, 9, 9.0]))
    assert cut is not None
    assert cut.tolist() == [0, 1, 1, 2, 1]
    held = lots_with_total(np.array([1.5, 1.5]), 3, np.array([5.0, 1.6]))
    assert held is not None
    assert held.tolist() == [2, 1]
    assert lots_with_total(wanted, 5, np.array([0, 1.9, 1.9, 1.9, 0.0])) is None
    with pytest.raises(InvalidInput, match="total"):
        lots_with_total(np.zeros(3), 1, np.ones(3))
    with pytest.raises(InvalidInput, match=r"volume_lots\[1\]"):
        lots_with_total(np.array([0.0, -1.0]), 1, np.ones(2))


# ---------------------------------------------------------------- profiles of equal energy


def least_cost_with_energy(sessions: SessionArrays, price: np.ndarray, delivery: slice, energy: float) -> float | None:
    """Least cost by an LP with a variable per session and slot, the day's energy given."""
    count, slots = len(sessions), len(price)
    inside = np.zeros(slots)
    inside[delivery] = 1.0
    slot = np.arange(slots)
    present = (slot >= sessions.arrival_slot[:, None]) & (slot < sessions.departure_slot[:, None])
    upper = np.where(present, sessions.rate_kwh_per_slot[:, None], 0.0).ravel()
    own = np.kron(np.eye(count), np.ones(slots))
    result = linprog(
        np.tile(price, count),
        A_ub=np.vstack([own, -own]),
        b_ub=np.concatenate([sessions.energy_max_kwh, -sessions.energy_min_kwh]),
        A_eq=np.tile(inside, count)[None, :],
        b_eq=[energy],
        bounds=[(0.0, high) for high in upper],
        method="highs",
    )
    if result.status != 0 or result.fun is None:
        return None
    return float(result.fun)


@pytest.mark.parametrize("seed", range(12))
def test_the_cheapest_schedule_with_a_given_energy_in_the_day(
    random_sessions: Sessions, oracle: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    sessions = random_sessions(rng, 5, 6, with_range=seed % 2 == 0)
    response = PriceResponse(FlexibilityTable.build(sessions, 6)).schedule
    price = np.round(rng.uniform(-0.1, 0.2, 6), 2)
    delivery = slice(1, 4)
    inside = np.zeros(6, dtype=np.bool_)
    inside[delivery] = True
    low, high = oracle.least(sessions, inside), oracle.most(sessions, inside)
    for share in (0.0, 0.3, 0.8, 1.0):
        energy = low + share * (high - low)
        schedule = respond_with_energy(response, price, delivery, energy)
        assert schedule[delivery].sum() == pytest.approx(energy, abs=1e-6)
        best = least_cost_with_energy(sessions, price, delivery, energy)
        assert best is not None
        assert float(price @ schedule) == pytest.approx(best, abs=1e-4)
        for slots in oracle.subsets(6):
            drawn = schedule[slots].sum()
            assert oracle.least(sessions, slots) - 1e-6 <= drawn <= oracle.most(sessions, slots) + 1e-6
    with pytest.raises(InvalidInput, match="energy_kwh"):
        respond_with_energy(response, price, delivery, high + 1.0)


@pytest.mark.parametrize("slots", [92, 96, 100])
def test_candidates_have_equal_energy_and_the_mean_price_comes_first(
    city_sessions: Sessions, evening_prices: Callable[..., np.ndarray], slots: int
) -> None:
    sessions = city_sessions(200, slots + 48)
    response = PriceResponse(FlexibilityTable.build(sessions, slots + 48)).schedule
    rng = np.random.default_rng(3)
    scenarios = evening_prices(slots + 48)[None, :] - 0.06 + rng.normal(0, 0.02, (10, slots + 48))
    scenarios[3] = scenarios[2]  # ties between scenarios
    scenarios[4] = 0.0  # and inside one
    delivery = slice(20, 20 + slots)
    profiles = candidate_profiles(response, scenarios, delivery)
    assert profiles.shape[1] == slots
    assert len(profiles) <= 10
    assert profiles[0] == pytest.approx(response(scenarios.mean(axis=0))[delivery])
    assert np.ptp(profiles.sum(axis=1)) <= 1e-6 * profiles[0].sum()
    least, most = power_bounds(FlexibilityTable.build(sessions, slots + 48))
    assert np.all(profiles <= most[delivery] + 1e-6)
    assert np.all(profiles >= least[delivery] - 1e-6)


# ---------------------------------------------------------------- which profiles


def best_choice(cost: np.ndarray, count: int) -> float:
    columns = range(cost.shape[1])
    return min(float(cost[:, list(some)].min(axis=1).mean()) for some in itertools.combinations(columns, count))


@pytest.mark.parametrize("seed", range(20))
def test_the_greedy_choice_keeps_its_guarantee(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost = np.round(rng.uniform(-5, 20, (12, 9)), 0 if seed % 2 else 3)
    choice = choose_profiles(cost, 3, even(12))
    single = cost.mean(axis=0).min()
    assert choice.expected_cost_eur[0] == pytest.approx(single)
    assert list(choice.expected_cost_eur) == sorted(choice.expected_cost_eur, reverse=True)
    assert choice.expected_cost_eur[-1] == pytest.approx(cost[:, list(choice.index)].min(axis=1).mean())
    first = choice.index[0]
    best_saving = single - min(
        float(cost[:, [first, *some]].min(axis=1).mean()) for some in itertools.combinations(range(9), 2)
    )
    assert single - choice.expected_cost_eur[-1] >= (1 - 1 / np.e) * best_saving - 1e-9
    assert choice.expected_cost_eur[-1] >= best_choice(cost, len(choice.index)) - 1e-9


def test_among_equals_the_first_is_taken_and_useless_ones_are_not() -> None:
    cost = np.array([[1.0, 1.0, 5.0], [2.0, 2.0, 9.0]])
    assert choose_profiles(cost, 3, even(2)).index == (0,)
    with pytest.raises(InvalidInput, match="count"):
        choose_profiles(cost, 0, even(2))
    with pytest.raises(InvalidInput, match=r"cost_eur\[0\]\[1\]"):
        choose_profiles(np.array([[1.0, np.nan]]), 1, even(1))


@pytest.mark.parametrize(
    ("scenarios", "volume", "exclusive"),
    # Cases 22 and 23 of the acceptance list: one car, 1 kWh in either of two slots.
    [(((10.0, 50.0), (50.0, 10.0)), 30.0, 10.0), (((10.0, 20.0), (30.0, 20.0)), 20.0, 15.0)],
)
def test_what_exclusive_blocks_save(
    sessions_of: Sessions, scenarios: tuple[tuple[float, float], ...], volume: float, exclusive: float
) -> None:
    response = PriceResponse(FlexibilityTable.build(sessions_of((0, 2, 1.0, 1.0)), 2)).schedule
    profiles = candidate_profiles(response, scenarios, slice(0, 2))
    choice = choose_profiles(np.array(scenarios) @ profiles.T, 2, even(2))
    assert choice.expected_cost_eur[0] == pytest.approx(volume)
    assert choice.expected_cost_eur[-1] == pytest.approx(exclusive)


# ---------------------------------------------------------------- window types


def test_every_session_that_touches_the_day_has_one_type(sessions_of: Sessions) -> None:
    grid = TimeGrid(start=DeliveryDay(day=DAY, zone="Europe/Brussels").next(-1).at(time(12)), count=192)
    delivery = slice(48, 144)
    rows = [
        (20, 80, 1, 1),  # the night before
        (130, 180, 1, 1),  # the night after
        (40, 150, 1, 1),  # the whole day: still has a night to come
        (48 + 32, 48 + 68, 1, 1),  # 8 to 17
        (48 + 52, 48 + 70, 1, 1),  # 13 to 17:30
        (48 + 40, 48 + 55, 1, 1),  # 3 h 45
        (140, 150, 1, 1),  # short, over the border
        (0, 48, 1, 1),  # gone before
        (144, 190, 1, 1),  # comes after
        (48, 80, 1, 1),  # there when the day begins
    ]
    found = split_by_window(sessions_of(*rows), grid, delivery)
    assert {kind: list(row) for kind, row in found.items()} == {
        WindowType.OVERNIGHT_LEAVING: [0, 9],
        WindowType.OVERNIGHT_ARRIVING: [1, 2],
        WindowType.MORNING: [3],
        WindowType.AFTERNOON: [4],
        WindowType.SHORT: [5, 6],
    }
    energy = np.array([1.0, 5, 5, 8, 2, 1, 1, 99, 99, 0.5])
    groups = at_most_groups(found, energy, 3)
    assert [(name, list(row)) for name, row in groups] == [
        ("overnight-arriving", [1, 2]),
        ("morning", [3]),
        ("short+afternoon+overnight-leaving", [0, 4, 5, 6, 9]),
    ]
    assert len(at_most_groups(found, energy, 9)) == 5
    with pytest.raises(InvalidInput, match="count"):
        at_most_groups(found, energy, 0)


def test_shared_caps_hold_whatever_is_awarded_and_keep_every_plan() -> None:
    cap = np.array([10.0, 6.0, np.inf, 0.0])
    plans = [np.array([2.0, 4, 1, 0]), np.array([3.0, 2, 0, 0])]
    shares = share_caps(cap, plans)
    assert np.all(np.sum(shares, axis=0)[:2] <= cap[:2] + 1e-9)
    assert all(np.all(share >= plan) for share, plan in zip(shares, plans, strict=True))
    assert np.isinf(shares[0][2])
    with pytest.raises(InvalidInput, match=r"planned_kwh\[1\]"):
        share_caps(np.array([10.0, 5.0, 1.0, 0.0]), plans)


# ---------------------------------------------------------------- groups that a market takes


def groups_for(
    day: date,
    sessions: SessionArrays,
    *,
    minutes: int = 15,
    blocks: BlockRules | None = BLOCKS,
    prices: Callable[[np.random.Generator, int], np.ndarray] | None = None,
) -> tuple[BlockBid | BlocksRefused, dict[str, np.ndarray], AuctionRules]:
    """Plan from noon to noon around the day and build a group per window type."""
    rules = auction(blocks, minutes)
    zone = rules.gate.time_zone
    grid_start = DeliveryDay(day=day, zone=zone).next(-1).at(time(12))
    inside = DeliveryDay(day=day, zone=zone).grid()
    first = int((inside.start - grid_start) / inside.step)
    count = first + inside.count + 48
    grid = TimeGrid(start=grid_start, count=count)
    delivery = grid.sub(DeliveryDay(day=day, zone=zone).interval)
    rng = np.random.default_rng(5)
    hours = np.arange(count) / 4.0
    mean = 0.08 + 0.05 * np.sin(hours / 24 * 2 * np.pi)
    drawn = prices(rng, count) if prices else mean + np.cumsum(rng.normal(0, 0.004, (20, count)), axis=1)
    per_period = minutes // 15
    drawn = np.repeat(drawn.reshape(len(drawn), -1, per_period).mean(axis=2), per_period, axis=1)
    sources, capability = [], {}
    fitted = fit_to_horizon(sessions, count).sessions
    rows = split_by_window(fitted, grid, delivery)
    for name, row in at_most_groups(rows, fitted.energy_min_kwh, BLOCKS.max_groups):
        table = FlexibilityTable.build(fitted.select(row), count)
        profiles = candidate_profiles(PriceResponse(table).schedule, drawn, delivery)
        hours_per_period = minutes / 60
        most = period_capability_kwh(table, delivery, per_period) / hours_per_period / 1000
        mask = np.zeros(count, dtype=np.bool_)
        mask[delivery] = True
        capability[name] = most
        sources.append(
            GroupSource(
                name=name,
                profiles_mw=profiles.reshape(len(profiles), -1, per_period).sum(axis=2) / hours_per_period / 1000,
                capability_mw=most,
                capability_mwh=table.most_kwh(mask) / 1000,
            )
        )
    scenarios = drawn[:, delivery].reshape(len(drawn), -1, per_period).mean(axis=2) * 1000
    return build_groups(sources, scenarios, rules, rules.periods(day)), capability, rules


def big_city(city_sessions: Sessions, slots: int = 192) -> SessionArrays:
    one = city_sessions(300, slots)
    return SessionArrays(
        arrival_slot=one.arrival_slot,
        departure_slot=one.departure_slot,
        rate_kwh_per_slot=one.rate_kwh_per_slot * 40,
        energy_min_kwh=one.energy_min_kwh * 40,
        energy_max_kwh=one.energy_max_kwh * 40,
    )


@pytest.mark.parametrize(("day", "minutes"), [(DAY, 15), (SPRING, 15), (AUTUMN, 15), (DAY, 60), (AUTUMN, 60)])
def test_groups_hold_every_rule_on_long_and_short_days(city_sessions: Sessions, day: date, minutes: int) -> None:
    bid, capability, rules = groups_for(day, big_city(city_sessions), minutes=minutes)
    assert isinstance(bid, BlockBid)
    assert bid.periods.count == {DAY: 24, SPRING: 23, AUTUMN: 25}[day] * 60 // minutes
    assert len(bid.groups) == 3
    assert check_blocks(bid, rules, rules.periods(day), capability) == ()
    for group in bid.groups:
        assert 2 <= len(group.blocks) <= 8
        assert len({sum(block.volume_mw) for block in group.blocks}) == 1
        assert {block.limit_price_per_mwh for block in group.blocks} == {Decimal(4000)}
    assert abs(bid.rounding_mwh) <= 3 * 0.1 * minutes / 60
    assert not bid.left_over_mw.any()


@pytest.mark.parametrize("kind", ["ties", "negative"])
def test_groups_hold_with_ties_and_negative_prices(city_sessions: Sessions, kind: str) -> None:
    def ties(rng: np.random.Generator, count: int) -> np.ndarray:
        return np.round(rng.uniform(0, 0.02, (20, count)), 2)

    def negative(rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.uniform(-0.5, -0.1, (20, count))

    bid, capability, rules = groups_for(DAY, big_city(city_sessions), prices={"ties": ties, "negative": negative}[kind])
    assert isinstance(bid, BlockBid)
    assert check_blocks(bid, rules, rules.periods(DAY), capability) == ()
    price = np.full(96, -100.0)
    assert len(clear_blocks(bid, price).accepted) == 3


def test_blocks_beat_one_profile_in_expectation(city_sessions: Sessions) -> None:
    bid, _, _ = groups_for(DAY, big_city(city_sessions))
    assert isinstance(bid, BlockBid)
    rng = np.random.default_rng(9)
    only_first = dataclasses.replace(
        bid, groups=tuple(dataclasses.replace(group, blocks=group.blocks[:1]) for group in bid.groups)
    )
    price = 80 + np.cumsum(rng.normal(0, 4, (30, 96)), axis=1)
    many = np.mean([clear_blocks(bid, one).cost_eur for one in price])
    assert many < np.mean([clear_blocks(only_first, one).cost_eur for one in price])


def test_without_a_product_specification_no_groups_are_built(city_sessions: Sessions) -> None:
    refused, _, _ = groups_for(DAY, big_city(city_sessions), blocks=None)
    assert isinstance(refused, BlocksRefused)
    assert "product specification" in refused.reason
    assert "test" in refused.reason


def source(name: str, *profiles: list[float], capability: list[float] | None = None, most: float = 99) -> GroupSource:
    table = np.array(profiles, dtype=float)
    limit = np.array(capability) if capability else table.max(axis=0) + 1.0
    return GroupSource(name=name, profiles_mw=table, capability_mw=limit, capability_mwh=most)


def small(*sources: GroupSource, blocks: BlockRules = BLOCKS, **options: Any) -> BlockBid | BlocksRefused:
    count = sources[0].profiles_mw.shape[1]
    periods = TimeGrid(start=DeliveryDay(day=DAY, zone="UTC").at(time(0)), count=count)
    scenarios = np.arange(3 * count, dtype=float).reshape(3, count)
    return build_groups(sources, scenarios, auction(blocks), periods, **options)


def test_what_no_block_can_carry_is_handed_back() -> None:
    tiny = source("tiny", [0.04, 0.0, 0.0])
    big = source("big", [1.0, 0.0, 0.0], [0.0, 0.0, 1.0])
    refused = small(tiny)
    assert isinstance(refused, BlocksRefused)
    assert "fills no lot" in refused.reason
    bid = small(big, tiny)
    assert isinstance(bid, BlockBid)
    assert bid.left_over_mw.tolist() == [0.04, 0.0, 0.0]
    assert bid.notes == ("tiny: it fills no lot",)
    one = small(big, source("next", [2.0, 0.0, 0.0]), blocks=dataclasses.replace(BLOCKS, max_groups=1))
    assert isinstance(one, BlockBid)
    assert one.left_over_mw.tolist() == [2.0, 0.0, 0.0]
    nothing = build_groups((), np.ones((1, 4)), auction(), TimeGrid(start=one.periods.start, count=4))
    assert isinstance(nothing, BlocksRefused)


def test_rounding_goes_toward_what_can_be_delivered() -> None:
    wanted = source("w", [0.38, 0.38], [0.0, 0.76], capability=[0.39, 0.76], most=0.76 / 4)
    bid = small(wanted)
    assert isinstance(bid, BlockBid)
    # 7.6 lots are wanted and are all there is: seven are bought, what is missing is shown.
    assert {sum(block.volume_mw) for block in bid.groups[0].blocks} == {Decimal("0.7")}
    assert bid.rounding_mwh == pytest.approx(0.06 / 4)
    unlimited = small(source("w", [0.38, 0.38], capability=[0.5, 0.5]))
    assert isinstance(unlimited, BlockBid)
    assert sum(unlimited.groups[0].blocks[0].volume_mw) == Decimal("0.8")
    # No room for seven lots in the first profile: fewer, equal in all blocks.
    tight = small(source("w", [0.38, 0.38], [0.0, 0.76], capability=[0.39, 0.38], most=0.19))
    assert isinstance(tight, BlockBid)
    assert {sum(block.volume_mw) for block in tight.groups[0].blocks} == {Decimal("0.6")}
    assert len(tight.groups[0].blocks) == 1


def test_a_markets_limits_on_blocks_are_kept() -> None:
    gap, whole = [0.5, 0.0, 0.5, 0.0], [0.0, 0.5, 0.5, 0.0]
    both = source("f", gap, whole)
    bid = small(both, blocks=dataclasses.replace(BLOCKS, takes_gaps=False))
    assert isinstance(bid, BlockBid)
    assert [block.volume_mw[1] for block in bid.groups[0].blocks] == [Decimal("0.5")]
    changes: tuple[dict[str, Any], ...] = (
        {"min_block_minutes": 60},
        {"max_block_mw": Decimal("0.4")},
        {"max_block_minutes": 29},
    )
    for change in changes:
        refused = small(both, blocks=dataclasses.replace(BLOCKS, **{"min_block_minutes": 1, **change}))
        assert isinstance(refused, BlocksRefused), change
        assert "none of its profiles" in refused.reason
    one = small(both, blocks_per_group=1)
    assert isinstance(one, BlockBid)
    assert len(one.groups[0].blocks) == 1
    limited = small(both, limit_price_per_mwh=Decimal("55.555"))
    assert isinstance(limited, BlockBid)
    assert limited.groups[0].blocks[0].limit_price_per_mwh == Decimal("55.56")


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: source("x", [1.0, -1.0]), "x.profiles_mw[0][1]"),
        (lambda: source("x", [1.0], [np.inf]), "x.profiles_mw[1][0]"),
        (lambda: source("x", [1.0], capability=[1.0, 2.0]), "x.capability_mw"),
        (lambda: source("", [1.0]), "source.name"),
        (lambda: small(source("x", [1.0] * 4), source("y", [1.0] * 3)), "y.profiles_mw"),
        (lambda: small(source("x", [1.0] * 4), probability=[0.5, 0.6, 0.1]), "probability"),
        (lambda: small(source("x", [1.0] * 4), probability=[1.5, -0.5, 0.0]), "probability[1]"),
        (
            lambda: build_groups(
                [source("x", [1.0] * 96)],
                np.ones((2, 97)),
                auction(),
                DeliveryDay(day=DAY, zone="Europe/Brussels").grid(),
            ),
            "scenarios_per_mwh",
        ),
    ],
)
def test_malformed_input_is_named(build: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        build()
    assert refused.value.field == field


# ---------------------------------------------------------------- clearing


def group_of(volumes: np.ndarray, limit: float = 4000.0, name: str = "g") -> ExclusiveGroup:
    return ExclusiveGroup(
        name=name,
        blocks=tuple(
            ProfileBlock(
                name=f"{name}-{index}",
                limit_price_per_mwh=Decimal(repr(limit)),
                volume_mw=tuple(Decimal(int(lots)) / 10 for lots in row),
            )
            for index, row in enumerate(volumes)
        ),
    )


@settings(max_examples=200)
@given(st.data())
def test_the_market_takes_the_cheapest_block_and_never_two(data: st.DataObject) -> None:
    """R10: equal energies and one limit price."""
    periods = data.draw(st.integers(1, 6))
    count = data.draw(st.integers(1, 6))
    seed = data.draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    volumes = rng.multinomial(12, np.full(periods, 1.0 / periods), size=count)
    price = np.round(rng.uniform(-400, 400, periods), 0)
    limit = data.draw(st.sampled_from([-500.0, 0.0, 90.0, 4000.0]))
    taken = clear_group(group_of(volumes, limit), price)
    costs = volumes @ price / 10
    if costs.min() > limit * 1.2 + 1e-9:
        assert taken is None
    elif costs.min() < limit * 1.2 - 1e-9:
        assert taken is not None
        assert taken.name == f"g-{int(np.argmin(np.round(costs, 9)))}"


def bid_of(*groups: ExclusiveGroup, count: int = 4) -> BlockBid:
    return BlockBid(
        market="test",
        specification=BLOCKS.specification,
        periods=TimeGrid(start=DeliveryDay(day=DAY, zone="UTC").at(time(0)), count=count),
        groups=groups,
        rounding_mwh=0.0,
        left_over_mw=np.zeros(count),
    )


def test_groups_add_up_and_a_rejected_block_leaves_its_group_to_the_next() -> None:
    one = group_of(np.array([[10, 0, 0, 0], [0, 10, 0, 0]]), name="a")
    two = group_of(np.array([[0, 0, 5, 5], [5, 5, 0, 0]]), name="b")
    price = np.array([50.0, 40.0, 30.0, 20.0])
    cleared = clear_blocks(bid_of(one, two), price)
    assert cleared.accepted == (("a", "a-1"), ("b", "b-0"))
    assert cleared.volume_mw.tolist() == [0.0, 1.0, 0.5, 0.5]
    assert cleared.cost_eur == pytest.approx((40 + 15 + 10) / 4)
    rejected = clear_blocks(bid_of(one, two), price, {"a-1", "b-0", "b-1"})
    assert rejected.accepted == (("a", "a-0"),)
    assert rejected.empty_groups == ("b",)
    with pytest.raises(InvalidInput, match="price_per_mwh"):
        clear_blocks(bid_of(one), price[:3])


# ---------------------------------------------------------------- the independent check


def broken_rules(*groups: ExclusiveGroup, blocks: BlockRules | None = BLOCKS, day_count: int = 4) -> list[str]:
    bid = bid_of(*groups)
    capability = {group.name: np.full(4, 2.0) for group in groups}
    day = dataclasses.replace(bid.periods, count=day_count)
    return sorted({broken.rule for broken in check_blocks(bid, auction(blocks), day, capability)})


def test_the_check_finds_every_fault() -> None:
    good = group_of(np.array([[10, 0, 0, 0], [0, 10, 0, 0]]))
    first = good.blocks[0]

    def with_first(**changes: Any) -> ExclusiveGroup:
        return dataclasses.replace(good, blocks=(dataclasses.replace(first, **changes), good.blocks[1]))

    def volumes(*mw: str) -> tuple[Decimal, ...]:
        return tuple(Decimal(one) for one in mw)

    strict = dataclasses.replace(BLOCKS, takes_gaps=False, max_block_minutes=30, max_groups=1, max_blocks_per_group=2)
    assert broken_rules(good) == []
    assert broken_rules(good, blocks=None) == ["count"]
    assert broken_rules(good, day_count=5) == ["count", "period"]
    assert broken_rules(with_first(volume_mw=volumes("0.9", "0", "0", "0"))) == ["energy"]
    assert broken_rules(with_first(limit_price_per_mwh=Decimal(3999))) == ["limit"]
    assert broken_rules(with_first(limit_price_per_mwh=Decimal("4000.01"))) == ["limit", "price"]
    assert broken_rules(with_first(limit_price_per_mwh=Decimal("1.005"))) == ["limit", "tick"]
    assert broken_rules(with_first(volume_mw=volumes("0.95", "0.05", "0", "0"))) == ["lot", "volume"]
    assert broken_rules(with_first(volume_mw=volumes("1.5", "-0.5", "0", "0"))) == ["volume"]
    assert broken_rules(with_first(volume_mw=volumes("1.0", "0", "0"))) == ["count"]
    assert broken_rules(with_first(name="g-1")) == ["name"]
    assert broken_rules(group_of(np.zeros((1, 4)))) == ["volume"]
    assert broken_rules(group_of(np.array([[21, 0, 0, 0]]))) == ["capability"]
    assert broken_rules(group_of(np.array([[9, 0, 9, 0]])), blocks=strict) == ["gap", "length"]
    assert broken_rules(group_of(np.full((3, 4), 1), name="a"), blocks=strict) == ["count", "length"]
    assert broken_rules(good, group_of(np.array([[1, 0, 0, 0]]), name="h"), blocks=strict) == ["count"]
    assert broken_rules(good, good) == ["name"]


def test_a_broken_bid_never_leaves() -> None:
    bad = bid_of(group_of(np.array([[21, 0, 0, 0]])))
    found = check_blocks(bad, auction(), bad.periods, {"g": np.ones(4)})
    with pytest.raises(BidRejected, match="can be drawn"):
        require_sound(found)
    require_sound(())
