"""Phases, voltage, state of charge and contradictions of a fleet, and what the dispatcher makes of them."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.fleet import ChargerData, DataFlag, FleetView, TelemetryBatch
from gateway.domain.sessions import DriverGoal, Session, SessionState
from gateway.domain.topology import Charger, Node
from gateway.services.plan_dispatch.caps import Margins, read_caps
from gateway.services.plan_dispatch.folds import Folds, Orders
from gateway.services.plan_dispatch.phases import phase_bounds, phases_beside, pilots_of
from gateway.services.plan_dispatch.wants import read_wants
from tests.fakes.clock import START
from tests.services.scene import PLATFORM, TENANT, Scene, session, tree

CHARGERS = ("ch-1-0", "ch-1-1")


def wired(**wiring: object) -> list[object]:
    """Return rows of a fleet whose chargers have a wiring and of which one circuit has a fuse of 32 A."""
    rows: list[object] = []
    for row in tree():
        if isinstance(row, Charger):
            rows.append(replace(row, **wiring))  # type: ignore[arg-type]
        elif isinstance(row, Node) and row.id == "c-1":
            rows.append(replace(row, phase_rating_a=32.0, max_unbalance_a=10.0))
        else:
            rows.append(row)
    return rows


async def a_scene(**wiring: object) -> Scene:
    scene = Scene()
    await scene.store.seed(TENANT, *wired(**wiring))
    await scene.load()
    return scene


def readings(at: datetime, kw: float = 3.68, kwh: float = 100.0, **changes: object) -> TelemetryBatch:
    values: dict[str, object] = {
        "charger_ids": CHARGERS,
        "connection_point_ids": (),
        "measure_time": at,
        "charger_index": np.array([0], dtype=np.int32),
        "power_kw": np.array([kw]),
        "energy_register_kwh": np.array([kwh]),
        "meter_register_kwh": np.zeros(0),
    }
    return TelemetryBatch(**(values | changes))  # type: ignore[arg-type]


def take(scene: Scene, batch: TelemetryBatch) -> None:
    scene.services.tracker.take_telemetry(PLATFORM, batch)


def seen(scene: Scene, charger: str = "ch-1-0") -> tuple[FleetView, ChargerData, int]:
    view = scene.services.tracker.view(TENANT)
    assert view.data is not None
    return view, view.data, view.tree.charger_ids.index(charger)


def flags(scene: Scene, charger: str = "ch-1-0") -> DataFlag:
    _view, data, i = seen(scene, charger)
    return DataFlag(int(data.flags[i]))


async def plug_in(scene: Scene, *sessions: Session) -> None:
    await scene.services.tracker.report_sessions(PLATFORM, sessions, is_history=False, request_id=sessions[0].id)


# ---------------------------------------------------------------- states of data


async def test_unknown_and_stale_data_are_states() -> None:
    scene = await a_scene()
    assert flags(scene) == DataFlag.UNKNOWN
    take(scene, readings(START))
    assert flags(scene) == DataFlag(0)
    scene.clock.move(seconds=121)
    assert flags(scene) == DataFlag.STALE
    assert flags(scene, "ch-1-1") == DataFlag.UNKNOWN


async def test_the_same_is_seen_until_something_comes_or_grows_too_old() -> None:
    scene = await a_scene()
    take(scene, readings(START))
    before, _data, i = seen(scene)
    scene.clock.set(START + timedelta(seconds=119))
    assert seen(scene)[0] is before
    scene.clock.set(START + timedelta(seconds=121))
    assert (before.power_kw[i], np.isnan(seen(scene)[0].power_kw[i])) == (3.68, True)
    take(scene, readings(START + timedelta(seconds=121), kw=2.0))
    assert (seen(scene)[0].power_kw[i], before.power_kw[i]) == (2.0, 3.68)


async def test_a_register_that_goes_backwards_is_told_for_a_while() -> None:
    scene = await a_scene()
    take(scene, readings(START, kwh=100.0))
    take(scene, readings(START + timedelta(seconds=10), kwh=3.0))
    scene.clock.move(seconds=60)
    assert flags(scene) == DataFlag.REGISTER_FELL
    take(scene, readings(START + timedelta(seconds=60), kwh=3.1))
    scene.clock.move(seconds=900)
    take(scene, readings(START + timedelta(seconds=960), kwh=4.0))
    assert flags(scene) == DataFlag(0)


@pytest.mark.parametrize(
    ("kwh_per_step", "expected"),
    [
        (11.0 / 360.0, DataFlag(0)),
        (5.0 / 360.0, DataFlag.POWER_CONTRADICTS_REGISTER),
        (0.0, DataFlag.POWER_CONTRADICTS_REGISTER),
    ],
)
async def test_power_that_its_register_does_not_count_is_a_contradiction(
    kwh_per_step: float, expected: DataFlag
) -> None:
    scene = await a_scene()
    for step in range(32):
        take(scene, readings(START + timedelta(seconds=10 * step), kw=11.0, kwh=100.0 + kwh_per_step * step))
        scene.clock.move(seconds=10)
    assert flags(scene) == expected


async def test_readings_too_far_apart_say_nothing_about_power_and_register() -> None:
    scene = await a_scene()
    for step in range(8):
        take(scene, readings(START + timedelta(seconds=90 * step), kw=11.0, kwh=100.0))
        scene.clock.move(seconds=90)
    assert flags(scene) == DataFlag(0)


@pytest.mark.parametrize(
    ("charge", "expected"),
    [(0.48, DataFlag(0)), (0.449, DataFlag.CHARGE_CONTRADICTS_METER), (0.56, DataFlag.CHARGE_CONTRADICTS_METER)],
)
async def test_a_state_of_charge_that_disagrees_with_the_meter_by_more_than_a_twentieth_is_not_used(
    charge: float, expected: DataFlag
) -> None:
    scene = await a_scene()
    await plug_in(scene, session("ch-1-0", battery_kwh=50.0, energy_needed_kwh=None))
    take(scene, readings(START, kwh=100.0, state_of_charge=np.array([0.4])))
    assert seen(scene)[1].state_of_charge[seen(scene)[2]] == pytest.approx(0.4)
    take(scene, readings(START + timedelta(seconds=30), kwh=105.0, state_of_charge=np.array([charge])))
    scene.clock.move(seconds=30)
    _view, data, i = seen(scene)
    assert DataFlag(int(data.flags[i])) == expected
    assert np.isnan(data.state_of_charge[i]) == (expected != DataFlag(0))


async def test_a_battery_that_is_known_says_what_the_car_still_needs() -> None:
    scene = await a_scene()
    await plug_in(
        scene,
        session("ch-1-0", battery_kwh=50.0, energy_needed_kwh=None),
        session("ch-1-1", energy_needed_kwh=None),
    )
    take(scene, readings(START, state_of_charge=np.array([0.9])))
    view, _data, i = seen(scene)
    wants = read_wants(view, view.expected_departure, 15.0, START.timestamp())
    slots_left = (view.expected_departure[i] - START.timestamp()) / 900.0
    assert slots_left - wants.laxity[i] == pytest.approx(5.0 / 11.0 * 4.0)
    other = view.tree.charger_ids.index("ch-1-1")
    assert slots_left - wants.laxity[other] == pytest.approx(15.0 / 11.0 * 4.0)


async def test_current_and_voltage_tell_the_phases_that_a_car_uses_and_what_six_amperes_are() -> None:
    scene = await a_scene(phase_map="231")
    await plug_in(scene, session("ch-1-0"))
    view, data, i = seen(scene)
    assert (data.used_phases[i], view.min_kw[i]) == (3, pytest.approx(4.14))
    take(
        scene,
        readings(
            START,
            kw=3.84,
            phase_current_a=np.array([[16.0, 0.1, np.nan]]),
            phase_voltage_v=np.array([[240.0, 239.0, 241.0]]),
        ),
    )
    view, data, i = seen(scene)
    assert data.used_phases[i] == 1
    assert data.phase_share[i].tolist() == [0.0, 1.0, 0.0]
    assert data.voltage_v[i] == pytest.approx(239.0)
    assert view.min_kw[i] == pytest.approx(4.14 / 3 * 239.0 / 230.0)
    node = view.tree.node_index("c-1")
    assert data.voltage_factor[node] == pytest.approx(239.0 / 230.0)
    assert flags(scene) == DataFlag(0)
    await plug_in(scene, session("ch-1-0", 2, arrival=START))
    assert seen(scene)[1].used_phases[i] == 3


async def test_a_voltage_that_no_grid_has_is_not_used_and_power_without_current_is_a_contradiction() -> None:
    scene = await a_scene()
    take(
        scene,
        readings(
            START,
            kw=11.0,
            phase_current_a=np.array([[1.0, 1.0, 1.0]]),
            phase_voltage_v=np.array([[400.0, 400.0, 400.0]]),
        ),
    )
    assert flags(scene) == DataFlag.VOLTAGE_IMPLAUSIBLE | DataFlag.POWER_CONTRADICTS_CURRENT
    _view, data, i = seen(scene)
    assert data.voltage_v[i] == pytest.approx(230.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("phase_current_a", np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])),
        ("phase_current_a", np.array([[1.0, -2.0, 3.0]])),
        ("phase_voltage_v", np.array([[np.inf, 2.0, 3.0]])),
        ("state_of_charge", np.array([1.01])),
        ("state_of_charge", np.array([0.5, 0.5])),
    ],
)
def test_columns_of_phases_and_charge_that_cannot_be_are_refused(field: str, value: np.ndarray) -> None:
    changes: dict[str, object] = {field: value}
    with pytest.raises(InvalidInput, match=field):
        readings(START, 3.68, 100.0, **changes)


# ---------------------------------------------------------------- sessions in one go


async def test_reports_of_one_charger_in_one_batch_count_one_after_the_other() -> None:
    scene = await a_scene()
    first, second = session("ch-1-0", 1), session("ch-1-0", 2, arrival=START)
    gone = replace(first, state=SessionState.ENDED, departure=START)
    await plug_in(scene, first, gone, second, session("ch-1-1", boost=True))
    view, data, i = seen(scene)
    assert view.session_ids[i] == second.id
    late = replace(first, id="late")
    await plug_in(scene, late, replace(second, energy_needed_kwh=7.0))
    view, data, i = seen(scene)
    assert (view.session_ids[i], view.energy_needed_kwh[i]) == (second.id, 7.0)
    assert data.is_boosted.tolist().count(True) == 1
    await plug_in(scene, replace(second, id=second.id, state=SessionState.ENDED, departure=START))
    view, data, i = seen(scene)
    assert (view.session_ids[i], view.session_max_kw[i]) == (None, 0.0)


# ---------------------------------------------------------------- what the dispatcher makes of it


async def test_boost_and_guarantee_run_now_and_the_others_wait_for_their_slack() -> None:
    scene = await a_scene()
    await plug_in(
        scene,
        session("ch-1-0", boost=True, energy_needed_kwh=None),
        session("ch-1-1", goal=DriverGoal.GUARANTEED),
        session("ch-1-2", goal=DriverGoal.GREENEST),
    )
    view, data, _i = seen(scene)
    wants = read_wants(view, np.where(view.has_session, START.timestamp() + 8 * 3600, np.inf), 15.0, START.timestamp())
    names = [view.tree.charger_ids[i] for i in np.flatnonzero(wants.must_run).tolist()]
    assert names == ["ch-1-0", "ch-1-1"]
    assert data.is_greenest[view.tree.charger_ids.index("ch-1-2")]


async def test_fuses_unbalance_and_steps_reach_the_allocation_at_the_measured_voltage() -> None:
    scene = await a_scene(phase_map="123", pilots_a=(6.0, 16.0))
    take(scene, readings(START, phase_voltage_v=np.array([[207.0, 230.0, 230.0]])))
    view, _data, i = seen(scene)
    margins = Margins(headroom=np.full(len(view.tree.node_ids), 0.05), guaranteed_min_kw={})
    orders = Orders(limits={}, lost={}, schedules=(), find_charger=lambda _name: None)
    caps = read_caps(view, orders, margins, Folds(timedelta(0)), START)
    bounds = phase_bounds(view, caps.phase_cap_kw)
    assert bounds is not None
    assert bounds.max_unbalance_kw is not None
    circuit = view.tree.node_index("c-1")
    assert bounds.caps_kw[circuit] == pytest.approx([32 * 0.207 * 0.95] * 3)
    assert bounds.max_unbalance_kw[circuit] == pytest.approx(10 * 0.207)
    assert np.isinf(bounds.caps_kw[view.tree.node_index("c-2")]).all()
    taken = np.zeros(len(view.max_kw))
    taken[i] = 3.0
    beside = phases_beside(view, caps.phase_cap_kw, taken)
    assert beside is not None
    assert beside.caps_kw[circuit] == pytest.approx([32 * 0.207 * 0.95 - 1.0] * 3)
    pilots = pilots_of(view, view.max_kw)
    assert pilots is not None
    assert pilots.steps(np.full(len(view.max_kw), 9.0))[0][i] == pytest.approx(6.0 * 0.207 * 3)


async def test_a_fleet_without_wiring_is_bounded_in_total_only() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    view = scene.services.tracker.view(TENANT)
    assert phase_bounds(view, np.full((len(view.tree.node_ids), 3), np.inf)) is None
    assert pilots_of(view, view.max_kw) is None


@pytest.mark.parametrize(
    ("phase_map", "most_kw"),
    [("123", 10 * 0.23), ("", 10 * 0.23)],
    ids=["all-on-one-phase", "unknown-phases-count-on-one"],
)
async def test_g10_single_phase_cars_keep_the_unbalance_of_their_circuit_on_the_wire(
    phase_map: str, most_kw: float
) -> None:
    scene = Scene()
    platform = await scene.start(0, wired(phase_map=phase_map))
    cars = [f"ch-1-{k}" for k in range(5)]
    await plug_in(scene, *(session(c, phases=1, max_power_kw=7.36) for c in cars))
    platform.plug(*cars)
    await scene.pass_time(300)
    assert 1.38 <= sum(platform.limit_kw[c] for c in cars) <= most_kw + 1e-6


async def test_g10_single_phase_cars_spread_over_the_phases_use_the_whole_fuse() -> None:
    scene = Scene()
    rows = wired(phase_map="123")
    turned = [
        replace(row, phase_map=("123", "231", "312")[int(row.id[-1]) % 3]) if isinstance(row, Charger) else row
        for row in rows
    ]
    platform = await scene.start(0, turned)
    cars = [f"ch-1-{k}" for k in range(3)]
    await plug_in(scene, *(session(c, phases=1, max_power_kw=7.36) for c in cars))
    platform.plug(*cars)
    await scene.pass_time(300)
    assert [platform.limit_kw[c] for c in cars] == pytest.approx([32 * 0.23 * 0.95] * 3, abs=0.02)
