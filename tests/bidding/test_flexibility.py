"""The additive table says exactly what the fleet can do; its export is an inner approximation without few cars."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidding.fleet.export import FlexibilityExport, export_flexibility
from bidding.fleet.flexibility import QUANTUM_KWH, FlexibilityTable, power_bounds, window_layout
from bidding.fleet.sessions import SessionArrays, join_sessions
from bidding.fleet.summary import outer_bound
from bidding.optimum.greedy import respond_to_price
from gateway.domain.errors import InvalidInput

SLOTS = 6


@st.composite
def fleets(draw: st.DrawFn, *, with_range: bool = True) -> SessionArrays:
    """Up to six sessions in six slots, amounts in eighths so that sums are exact in floating point."""
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        arrival = draw(st.integers(0, SLOTS - 1))
        departure = draw(st.integers(arrival + 1, SLOTS))
        rate = draw(st.integers(1, 16))
        need = draw(st.integers(0, rate * (departure - arrival)))
        most = draw(st.integers(need, rate * (departure - arrival))) if with_range else need
        rows.append((arrival, departure, rate / 8, need / 8, most / 8))
    columns = np.array(rows, dtype=float).reshape(-1, 5).T
    return SessionArrays(
        arrival_slot=columns[0].astype(np.int64),
        departure_slot=columns[1].astype(np.int64),
        rate_kwh_per_slot=columns[2],
        energy_min_kwh=columns[3],
        energy_max_kwh=columns[4],
    )


def assert_same(left: FlexibilityTable, right: FlexibilityTable) -> None:
    np.testing.assert_allclose(left.major, right.major, atol=1e-12)
    np.testing.assert_allclose(left.minor, right.minor, atol=1e-12)
    np.testing.assert_array_equal(left.session_count, right.session_count)


def test_the_layout_has_one_row_per_window() -> None:
    layout = window_layout(96)
    assert layout.window_count == 96 * 97 // 2
    assert layout.cell_count == 152_096
    windows = layout.window_of(layout.arrival, layout.departure)
    np.testing.assert_array_equal(windows, np.arange(layout.window_count))
    with pytest.raises(InvalidInput, match="slot_count"):
        window_layout(0)


@given(fleets())
def test_most_and_least_of_every_set_equal_their_definitions(sessions: SessionArrays) -> None:
    from_definition = _definition(sessions)
    table = FlexibilityTable.build(sessions, SLOTS)
    for slots, most, least in from_definition:
        assert table.most_kwh(slots) == pytest.approx(most, abs=1e-12)
        assert table.least_kwh(slots) == pytest.approx(least, abs=1e-12)


def _definition(sessions: SessionArrays) -> list[tuple[np.ndarray, float, float]]:
    slot = np.arange(SLOTS)
    window = (slot >= sessions.arrival_slot[:, None]) & (slot < sessions.departure_slot[:, None])
    found = []
    for bits in range(2**SLOTS):
        slots = np.array([(bits >> t) & 1 for t in range(SLOTS)], dtype=bool)
        most = np.minimum(sessions.rate_kwh_per_slot * (window & slots).sum(axis=1), sessions.energy_max_kwh)
        outside = sessions.rate_kwh_per_slot * (window & ~slots).sum(axis=1)
        found.append((slots, float(most.sum()), float(np.maximum(sessions.energy_min_kwh - outside, 0).sum())))
    return found


@given(fleets(), fleets())
def test_r6_tables_add_up(one: SessionArrays, other: SessionArrays) -> None:
    together = FlexibilityTable.build(join_sessions([one, other]), SLOTS)
    assert_same(FlexibilityTable.build(one, SLOTS) + FlexibilityTable.build(other, SLOTS), together)


@given(fleets(), fleets())
def test_r6_adding_and_removing_is_the_identity(one: SessionArrays, other: SessionArrays) -> None:
    table = FlexibilityTable.build(one, SLOTS)
    table.add(other)
    assert_same(table, FlexibilityTable.build(join_sessions([one, other]), SLOTS))
    table.remove(other)
    assert_same(table, FlexibilityTable.build(one, SLOTS))
    table.remove(one)
    assert not table.major.any()
    assert not table.minor.any()


def odd(sessions: SessionArrays) -> SessionArrays:
    """The same sessions with rates that no binary fraction holds."""
    return replace(
        sessions,
        rate_kwh_per_slot=sessions.rate_kwh_per_slot * 3.7,
        energy_min_kwh=sessions.energy_min_kwh * 3.7,
        energy_max_kwh=sessions.energy_max_kwh * 3.7,
    )


@pytest.mark.parametrize("with_range", [False, True])
def test_r6_the_undo_is_exact_to_the_last_bit_whatever_the_order(
    random_sessions: Callable[..., SessionArrays], with_range: bool
) -> None:
    rng = np.random.default_rng(11)
    stay, guests = (odd(random_sessions(rng, count, 24, with_range=with_range)) for count in (500, 700))
    before = FlexibilityTable.build(stay, 24)
    major, minor = before.major.copy(), before.minor.copy()
    before.add(guests)
    for part in np.array_split(rng.permutation(len(guests)), 40):
        before.remove(guests.select(part))
    np.testing.assert_array_equal(before.major, major)
    np.testing.assert_array_equal(before.minor, minor)
    shuffled = FlexibilityTable.build(stay.select(rng.permutation(len(stay))), 24)
    np.testing.assert_array_equal(shuffled.major, major)


def test_a_car_that_has_charged_takes_the_place_of_its_former_state(sessions_of: Callable[..., SessionArrays]) -> None:
    others = sessions_of((0, 3, 0.7, 0.9), (1, 4, 0.3, 0.4, 0.8))
    former, present = sessions_of((0, 4, 0.1, 0.33)), sessions_of((1, 4, 0.1, 0.23))
    table = FlexibilityTable.build(join_sessions([others, former]), 4)
    table.replace(former, present)
    wanted = FlexibilityTable.build(join_sessions([others, present]), 4)
    np.testing.assert_array_equal(table.major, wanted.major)
    np.testing.assert_array_equal(table.minor, wanted.minor)
    with pytest.raises(InvalidInput, match="fit_to_horizon"):
        table.replace(present, sessions_of((1, 9, 1, 1)))
    with pytest.raises(InvalidInput, match="sessions"):
        table.replace(former, present)
    np.testing.assert_array_equal(table.major, wanted.major)


def test_a_reader_cannot_write_into_the_table(sessions_of: Callable[..., SessionArrays]) -> None:
    table = FlexibilityTable.build(sessions_of((0, 3, 1, 2)), 4)
    with pytest.raises(ValueError, match="read-only"):
        table.major[0] = 1.0


def test_a_table_is_made_again_from_its_amounts(random_sessions: Callable[..., SessionArrays]) -> None:
    table = FlexibilityTable.build(random_sessions(np.random.default_rng(2), 40, 8, with_range=True), 8)
    again = FlexibilityTable.from_amounts(8, table.session_count, table.major, table.minor)
    again.add(random_sessions(np.random.default_rng(3), 20, 8))
    table.add(random_sessions(np.random.default_rng(3), 20, 8))
    np.testing.assert_array_equal(again.major, table.major)
    np.testing.assert_array_equal(again.minor, table.minor)
    rising = table.major.copy()
    rising[table.layout.offset[table.layout.window_count - 2]] = -1.0
    with pytest.raises(InvalidInput, match="at least 0"):
        FlexibilityTable.from_amounts(8, table.session_count, rising)
    with pytest.raises(InvalidInput, match="rank before"):
        FlexibilityTable.from_amounts(8, table.session_count, np.arange(table.layout.cell_count, dtype=float))
    with pytest.raises(InvalidInput, match="session_count"):
        FlexibilityTable.from_amounts(8, np.zeros(3, dtype=np.int64), table.major)


@given(fleets(), st.randoms(use_true_random=False))
def test_r8_order_and_splitting_do_not_matter(sessions: SessionArrays, shuffle: object) -> None:
    order = list(range(len(sessions)))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    table = FlexibilityTable.build(sessions, SLOTS)
    shuffled = sessions.select(np.array(order, dtype=np.int64))
    assert_same(FlexibilityTable.build(shuffled, SLOTS), table)
    half = SessionArrays(
        arrival_slot=sessions.arrival_slot,
        departure_slot=sessions.departure_slot,
        rate_kwh_per_slot=sessions.rate_kwh_per_slot / 2,
        energy_min_kwh=sessions.energy_min_kwh / 2,
        energy_max_kwh=sessions.energy_max_kwh / 2,
    )
    split = FlexibilityTable.build(join_sessions([half, half]), SLOTS)
    np.testing.assert_allclose(split.major, table.major, atol=1e-12)
    np.testing.assert_allclose(split.minor, table.minor, atol=1e-12)


@given(fleets())
def test_the_outer_bound_holds_what_it_says(sessions: SessionArrays) -> None:
    bound = outer_bound(FlexibilityTable.build(sessions, SLOTS))
    for slots, most, least in _definition(sessions):
        members = np.flatnonzero(slots)
        if members.size == 1:
            assert bound.power_max_kwh[members[0]] == pytest.approx(most, abs=1e-12)
            assert bound.power_min_kwh[members[0]] == pytest.approx(least, abs=1e-12)
        if members.size and members.tolist() == list(range(members.size)):
            assert bound.energy_max_kwh[members[-1]] == pytest.approx(most, abs=1e-12)
            assert bound.energy_min_kwh[members[-1]] == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("slot_count", [92, 96, 100, 184, 200])
def test_r7_days_of_any_length(
    city_sessions: Callable[..., SessionArrays], evening_prices: Callable[..., np.ndarray], slot_count: int
) -> None:
    sessions = city_sessions(300, slot_count)
    table = FlexibilityTable.build(sessions, slot_count)
    total = respond_to_price(table, evening_prices(slot_count)).sum()
    assert total == pytest.approx(sessions.energy_min_kwh.sum(), rel=1e-12)


def test_power_bounds_of_nobody_are_zero(sessions_of: Callable[..., SessionArrays]) -> None:
    least, most = power_bounds(FlexibilityTable.build(sessions_of((0, 1, 1, 1)).select(np.zeros(0, dtype=int)), 4))
    assert not least.any()
    assert not most.any()


def test_what_does_not_belong_is_refused(sessions_of: Callable[..., SessionArrays]) -> None:
    table = FlexibilityTable.build(sessions_of((0, 2, 1, 1)), 4)
    with pytest.raises(InvalidInput, match="sessions"):
        table.remove(sessions_of((0, 2, 1, 1), (0, 3, 1, 1)))
    assert table.session_count.sum() == 1
    with pytest.raises(InvalidInput, match="slot_count"):
        _ = table + FlexibilityTable(5)
    with pytest.raises(InvalidInput, match="fit_to_horizon"):
        FlexibilityTable.build(sessions_of((0, 9, 1, 1)), 4)


def test_many_cars_do_not_blur_the_small_ones(random_sessions: Callable[..., SessionArrays]) -> None:
    rng = np.random.default_rng(6)
    crowd = random_sessions(rng, 3000, 24)
    huge = SessionArrays(
        arrival_slot=crowd.arrival_slot,
        departure_slot=crowd.departure_slot,
        rate_kwh_per_slot=crowd.rate_kwh_per_slot * 1e9 / 3,
        energy_min_kwh=crowd.energy_min_kwh * 1e9 / 3,
        energy_max_kwh=crowd.energy_max_kwh * 1e9 / 3,
    )
    window = (huge.arrival_slot == 20) & (huge.departure_slot == 23)
    small = SessionArrays(
        arrival_slot=np.array([20]),
        departure_slot=np.array([23]),
        rate_kwh_per_slot=np.array([0.001]),
        energy_min_kwh=np.array([0.0015]),
        energy_max_kwh=np.array([0.0015]),
    )
    table = FlexibilityTable.build(join_sessions([huge.select(~window), small]), 24)
    number = int(table.layout.window_of(np.array([20]), np.array([23]))[0])
    row = table.major[table.layout.offset[number] : table.layout.offset[number + 1]]
    np.testing.assert_allclose(row, [0.001, 0.0005, 0.0], atol=QUANTUM_KWH)


@pytest.mark.parametrize("scale", [1.0, 1e9 / 3])
def test_the_last_car_leaves_exact_zeros(sessions_of: Callable[..., SessionArrays], scale: float) -> None:
    rng = np.random.default_rng(8)
    rows = np.sort(rng.uniform(0.1, 0.9, (60, 3)), axis=1) * scale
    cars = sessions_of(*((0, 3, rate, need, most) for need, most, rate in rows))
    table = FlexibilityTable(4)
    table.add(cars)
    for leaving in np.array_split(rng.permutation(60), 7):
        table.remove(cars.select(leaving))
    assert not table.major.any()
    assert not table.minor.any()


@given(fleets(), st.integers(1, 4))
def test_whatever_is_planned_inside_an_export_can_be_done(sessions: SessionArrays, fewest: int) -> None:
    """For every set of slots the export with its fixed load is inside b and p of the sessions that are in it."""
    table = FlexibilityTable.build(sessions, SLOTS)
    export = export_flexibility(table, fewest)
    assert sum(export.session_count) + export.fixed_count + export.withheld_count == len(sessions)
    assert export.withheld_count < fewest
    if export.withheld_count:
        return
    published, fixed = export.table(), np.array(export.fixed_kwh)
    for slots, most, least in _definition(sessions):
        assert published.most_kwh(slots) + fixed[slots].sum() <= most + 1e-12
        assert published.least_kwh(slots) + fixed[slots].sum() >= least - 1e-12
    everywhere = np.ones(SLOTS, dtype=bool)
    assert published.least_kwh(everywhere) + fixed.sum() == pytest.approx(sessions.energy_min_kwh.sum(), abs=1e-12)


def test_an_export_of_a_city_keeps_most_of_its_flexibility(
    city_sessions: Callable[..., SessionArrays], evening_prices: Callable[..., np.ndarray]
) -> None:
    table = FlexibilityTable.build(city_sessions(5000), 96)
    export = export_flexibility(table, 5)
    assert min(export.session_count) >= 5
    assert export.fixed_count < 0.1 * 5000
    price = evening_prices(96)
    least = float(price @ respond_to_price(table, price))
    published = float(price @ (respond_to_price(export.table(), price) + export.fixed_kwh))
    assert least <= published <= 1.01 * least


def test_an_export_by_hand(sessions_of: Callable[..., SessionArrays]) -> None:
    # Two narrow to [2, 4); the third fills its whole window; a fourth has a window of its own with room in it.
    cars = sessions_of((1, 5, 1, 1), (2, 5, 1, 1.5, 3), (0, 3, 1, 3))
    export = export_flexibility(FlexibilityTable.build(cars, 6), 2)
    assert (export.arrival_slot, export.departure_slot, export.session_count) == ((2,), (4,), (2,))
    assert export.major_kwh == (2.0, 1.0)
    assert export.minor_kwh == (2.0, 0.5)
    assert export.withheld_count == 1
    assert not any(export.fixed_kwh)
    more = export_flexibility(FlexibilityTable.build(join_sessions([cars, sessions_of((1, 2, 1, 0.5))]), 6), 2)
    assert more.fixed_kwh == (1.0, 1.5, 1.0, 0.0, 0.0, 0.0)
    assert more.fixed_count == 2


def test_an_export_survives_json_and_a_false_one_is_refused(random_sessions: Callable[..., SessionArrays]) -> None:
    table = FlexibilityTable.build(odd(random_sessions(np.random.default_rng(2), 400, 12, with_range=True)), 12)
    export = export_flexibility(table, 3)
    wire = json.loads(json.dumps(export.columns()))
    assert FlexibilityExport.from_columns(wire) == export
    np.testing.assert_array_equal(FlexibilityExport.from_columns(wire).table().major, export.table().major)
    whole = export_flexibility(table, 1).table()
    np.testing.assert_array_equal(whole.major, table.major)
    np.testing.assert_array_equal(whole.minor, table.minor)
    assert not {"session_ids", "site_index"} & set(wire)
    broken: list[tuple[dict[str, object], str]] = [
        ({"session_count": [2, *wire["session_count"][1:]]}, r"session_count\[0\]"),
        ({"major_kwh": wire["major_kwh"][1:]}, "major_kwh"),
        ({"departure_slot": [13, *wire["departure_slot"][1:]]}, r"departure_slot\[0\]"),
        ({"fixed_count": 1}, "fixed_count"),
        ({"fixed_kwh": "none"}, "fixed_kwh"),
        ({"slot_count": [12]}, "slot_count"),
        ({"slot_count": True}, "slot_count"),
        ({"driver": "someone"}, "driver"),
    ]
    for change, field in broken:
        with pytest.raises(InvalidInput, match=field):
            FlexibilityExport.from_columns({**wire, **change})
    with pytest.raises(InvalidInput, match="arrival_slot"):
        FlexibilityExport.from_columns({name: wire[name] for name in wire if name != "arrival_slot"})
    with pytest.raises(InvalidInput, match="fewest_sessions"):
        export_flexibility(table, 0)
