"""Sessions, measurements and energy per delivery period."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput, NotFound, PermissionRefused, RequestReused, StorageUnavailable
from gateway.domain.fleet import RegisterReading, TelemetryBatch
from gateway.domain.sessions import Session, SessionState
from gateway.domain.settlement import MeteredPeriod
from gateway.services.track_fleet.registers import RegisterBank
from gateway.services.track_fleet.rings import PowerRing
from tests.fakes.clock import START
from tests.services.scene import OPERATOR, PLATFORM, POINTS, TENANT, Scene, session, tree

CHARGERS = ("ch-1-0", "ch-2-0")


async def a_scene() -> Scene:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    return scene


def readings(
    at: datetime, kw: float = 5.0, kwh: float = 100.0, meter: float | None = 1000.0, **changes: object
) -> TelemetryBatch:
    values: dict[str, object] = {
        "charger_ids": CHARGERS,
        "connection_point_ids": POINTS,
        "measure_time": at,
        "charger_index": np.array([0, 1], dtype=np.int32),
        "power_kw": np.array([kw, kw]),
        "energy_register_kwh": np.array([kwh, kwh]),
        "meter_register_kwh": np.zeros(0) if meter is None else np.array([meter, meter]),
    }
    return TelemetryBatch(**(values | changes))  # type: ignore[arg-type]


def take(scene: Scene, batch: TelemetryBatch) -> None:
    scene.services.tracker.take_telemetry(PLATFORM, batch)


def power(scene: Scene, charger: str) -> float:
    view = scene.services.tracker.view(TENANT)
    return float(view.power_kw[view.tree.charger_ids.index(charger)])


async def test_unknown_and_stale_power_is_not_zero() -> None:
    scene = await a_scene()
    assert np.isnan(power(scene, "ch-1-0"))
    take(scene, readings(START, kw=0.0))
    assert power(scene, "ch-1-0") == 0.0
    scene.clock.move(seconds=121)
    assert np.isnan(power(scene, "ch-1-0"))


async def test_an_older_measurement_never_replaces_a_newer_one() -> None:
    scene = await a_scene()
    take(scene, readings(START, kw=5.0))
    take(scene, readings(START - timedelta(seconds=10), kw=9.0))
    assert power(scene, "ch-1-0") == 5.0


async def test_readings_are_stored_as_energy_of_delivery_periods_only() -> None:
    scene = await a_scene()
    before = len(scene.store.applied)
    for step in range(90):
        take(scene, readings(START + timedelta(seconds=10 * step), kwh=100.0 + step, meter=1000.0 + step))
        scene.clock.move(seconds=10)
    assert len(scene.store.applied) == before
    take(scene, readings(START + timedelta(seconds=900), kwh=200.0, meter=1100.0))
    scene.clock.move(seconds=61)
    assert await scene.services.tracker.close_periods()
    assert len(scene.store.applied) == before + 1
    assert [row.energy_kwh for row in scene.store.all(MeteredPeriod, TENANT)] == pytest.approx([100.0] * len(POINTS))


async def test_what_is_not_the_platforms_is_refused_and_changes_nothing() -> None:
    scene = await a_scene()
    tracker = scene.services.tracker
    other = replace(PLATFORM, csms="csms-other")
    with pytest.raises(InvalidInput, match=r"charger_ids\[0\]"):
        tracker.take_telemetry(other, readings(START))
    with pytest.raises(InvalidInput, match=r"connection_point_ids\[1\]"):
        take(scene, readings(START, connection_point_ids=(POINTS[0], "foreign")))
    with pytest.raises(InvalidInput, match="repeat"):
        take(scene, readings(START, charger_ids=("ch-1-0", "ch-1-0")))
    with pytest.raises(InvalidInput, match="measure_time"):
        take(scene, readings(START + timedelta(minutes=5)))
    with pytest.raises(PermissionRefused):
        tracker.take_telemetry(OPERATOR, readings(START))
    with pytest.raises(NotFound):
        tracker.take_telemetry(replace(PLATFORM, tenant="other"), readings(START))
    assert np.isnan(power(scene, "ch-1-0"))


async def test_sessions_are_kept_and_seen_at_once() -> None:
    scene = await a_scene()
    tracker = scene.services.tracker
    woken: list[str] = []
    tracker.on_change.append(woken.append)
    reported = [session("ch-1-0"), session("ch-2-0", energy_needed_kwh=None, expected_departure=None)]
    assert await tracker.report_sessions(PLATFORM, reported, is_history=False, request_id="r1") == 2
    assert woken == [TENANT]
    view = tracker.view(TENANT)
    i, j = (view.tree.charger_ids.index(c) for c in CHARGERS)
    assert view.session_ids[i] == "s-ch-1-0-1"
    assert (view.energy_needed_kwh[i], np.isnan(view.energy_needed_kwh[j])) == (30.0, True)
    assert np.isnan(view.expected_departure[j])
    await scene.restart(keeps_stream=False)
    assert scene.services.tracker.view(TENANT).has_session.sum() == 2


async def test_what_is_reported_while_the_fleet_is_built_anew_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await a_scene()
    tracker, find = scene.services.tracker, scene.store.find
    await tracker.report_sessions(PLATFORM, [session("ch-2-0")], is_history=False, request_id="r1")

    async def find_slowly(kind: type, *said: Any, **more: Any) -> Any:
        found: list[Any] = await find(kind, *said, **more)
        if kind is Session:
            monkeypatch.setattr(scene.store, "find", find)
            ended = session("ch-2-0", state=SessionState.ENDED, departure=START)
            await tracker.report_sessions(PLATFORM, [session("ch-1-0"), ended], is_history=False, request_id="r2")
        return found

    monkeypatch.setattr(scene.store, "find", find_slowly)
    await tracker.reload(TENANT)
    view = tracker.view(TENANT)
    assert [view.session_ids[view.tree.charger_ids.index(c)] for c in CHARGERS] == ["s-ch-1-0-1", None]


async def test_a_repeated_report_is_answered_again_and_other_content_refused() -> None:
    scene = await a_scene()
    report = scene.services.tracker.report_sessions
    await report(PLATFORM, [session("ch-1-0")], is_history=False, request_id="r1")
    batches = len(scene.store.applied)
    assert await report(PLATFORM, [session("ch-1-0")], is_history=False, request_id="r1") == 1
    assert len(scene.store.applied) == batches
    with pytest.raises(RequestReused):
        await report(PLATFORM, [session("ch-2-0")], is_history=False, request_id="r1")
    with pytest.raises(InvalidInput, match="request_id"):
        await report(PLATFORM, [session("ch-2-0")], is_history=False, request_id="")


async def test_one_wrong_session_keeps_all_of_them_out() -> None:
    scene = await a_scene()
    report = scene.services.tracker.report_sessions
    with pytest.raises(InvalidInput, match=r"sessions\[1\]\.charger_id"):
        await report(PLATFORM, [session("ch-1-0"), session("nowhere")], is_history=False, request_id="r1")
    with pytest.raises(InvalidInput, match=r"sessions\[0\]\.departure_time"):
        await report(PLATFORM, [session("ch-1-0")], is_history=True, request_id="r2")
    with pytest.raises(InvalidInput, match=r"sessions\[0\]\.tenant"):
        await report(PLATFORM, [session("ch-1-0", tenant="other")], is_history=False, request_id="r3")
    assert scene.store.all(Session, TENANT) == []
    assert not scene.services.tracker.view(TENANT).has_session.any()


async def test_nothing_is_seen_that_is_not_on_disk() -> None:
    scene = await a_scene()
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await scene.services.tracker.report_sessions(PLATFORM, [session("ch-1-0")], is_history=False, request_id="r")
    assert not scene.services.tracker.view(TENANT).has_session.any()


async def test_past_sessions_teach_only() -> None:
    scene = await a_scene()
    past = session("ch-1-0", state=SessionState.ENDED, departure=START)
    await scene.services.tracker.report_sessions(PLATFORM, [past], is_history=True, request_id="r")
    assert scene.store.all(Session, TENANT) == [past]
    assert not scene.services.tracker.view(TENANT).has_session.any()


async def test_an_end_clears_its_own_car_only() -> None:
    scene = await a_scene()
    report = scene.services.tracker.report_sessions
    newer = session("ch-1-0", 2, arrival=START)
    await report(PLATFORM, [session("ch-1-0"), newer], is_history=False, request_id="r1")
    late = [session("ch-1-0", 1), session("ch-1-0", 1, state=SessionState.ENDED, departure=START)]
    await report(PLATFORM, late, is_history=False, request_id="r2")
    view = scene.services.tracker.view(TENANT)
    assert view.session_ids[view.tree.charger_ids.index("ch-1-0")] == newer.id


async def test_delivered_energy_follows_the_meter_between_reports() -> None:
    scene = await a_scene()
    take(scene, readings(START, kwh=100.0))
    reported = session("ch-1-0", delivered_kwh=4.0)
    await scene.services.tracker.report_sessions(PLATFORM, [reported], is_history=False, request_id="r1")
    scene.clock.move(seconds=60)
    take(scene, readings(scene.clock.now(), kwh=101.5))
    view = scene.services.tracker.view(TENANT)
    assert view.delivered_kwh[view.tree.charger_ids.index("ch-1-0")] == pytest.approx(5.5)


async def test_a_single_phase_car_needs_a_third_of_the_minimum() -> None:
    scene = await a_scene()
    single = session("ch-1-0", phases=1, max_power_kw=3.7)
    await scene.services.tracker.report_sessions(PLATFORM, [single], is_history=False, request_id="r1")
    view = scene.services.tracker.view(TENANT)
    assert view.min_kw[view.tree.charger_ids.index("ch-1-0")] == pytest.approx(1.38)


async def test_what_others_see_cannot_be_written() -> None:
    scene = await a_scene()
    with pytest.raises(ValueError, match="read-only"):
        scene.services.tracker.view(TENANT).max_kw[0] = 99.0


# ---------------------------------------------------------------- delivery periods


async def feed(scene: Scene, minutes: float, *, kw: float = 6.0, every: float = 60.0) -> None:
    """Meters that count a constant power: chargers `kw` each, connection points 1 kW more."""
    for _ in range(round(minutes * 60 / every)):
        hours = (scene.clock.now() - START).total_seconds() / 3600.0
        take(scene, readings(scene.clock.now(), kw=kw, kwh=100.0 + kw * hours, meter=1000.0 + (kw + 1.0) * hours))
        scene.clock.move(seconds=every)


async def test_a_quarter_hour_is_accounted_for_at_the_meter() -> None:
    scene = await a_scene()
    await feed(scene, 17)
    assert await scene.services.tracker.close_periods()
    periods = scene.store.all(MeteredPeriod, TENANT)
    assert [p.connection_point for p in periods] == list(POINTS)
    assert periods[0].id == f"{POINTS[0]}:2025-10-15T08:00:00+00:00"
    assert periods[0].end - periods[0].start == timedelta(minutes=15)
    assert periods[0].energy_kwh == pytest.approx(1.75)
    assert periods[0].chargers_kwh == pytest.approx(1.5)
    assert periods[0].coverage == pytest.approx(1.0)


async def test_a_period_is_not_closed_before_its_grace() -> None:
    scene = await a_scene()
    await feed(scene, 15)
    take(scene, readings(scene.clock.now()))
    scene.clock.move(seconds=29)
    await scene.services.tracker.close_periods()
    assert scene.store.all(MeteredPeriod, TENANT) == []
    scene.clock.move(seconds=1)
    await scene.services.tracker.close_periods()
    assert len(scene.store.all(MeteredPeriod, TENANT)) == 2


async def test_a_restart_loses_no_energy() -> None:
    scene = await a_scene()
    await feed(scene, 20)
    await scene.services.tracker.close_periods()
    await feed(scene, 4)
    await scene.restart(keeps_stream=False)
    await feed(scene, 8)
    await scene.services.tracker.close_periods()
    found = [p for p in scene.store.all(MeteredPeriod, TENANT) if p.connection_point == POINTS[0]]
    assert [p.energy_kwh for p in found] == [pytest.approx(1.75)] * 2
    assert [p.chargers_kwh for p in found] == [pytest.approx(1.5)] * 2
    assert found[1].coverage == pytest.approx(1.0)


async def test_a_long_gap_keeps_the_sum_and_says_that_it_was_not_covered() -> None:
    scene = await a_scene()
    await feed(scene, 10)
    scene.clock.move(minutes=30)
    await feed(scene, 10)
    await scene.services.tracker.close_periods()
    found = [p for p in scene.store.all(MeteredPeriod, TENANT) if p.connection_point == POINTS[0]]
    assert sum(p.energy_kwh for p in found) == pytest.approx(7.0 * 45 / 60)
    assert [round(p.coverage, 2) for p in found] == [0.6, 0.0, 0.33]


async def test_without_a_reading_there_is_no_row_rather_than_zero() -> None:
    scene = await a_scene()
    scene.clock.move(minutes=200)
    await scene.services.tracker.close_periods()
    assert scene.store.all(MeteredPeriod, TENANT) == []


async def test_after_an_outage_the_unknown_is_not_heaped_onto_the_next_period() -> None:
    scene = await a_scene()
    await feed(scene, 16)
    scene.clock.move(minutes=149)
    await scene.services.tracker.close_periods()
    await feed(scene, 20)
    await scene.services.tracker.close_periods()
    found = [p for p in scene.store.all(MeteredPeriod, TENANT) if p.connection_point == POINTS[0]]
    assert [p.start.strftime("%H:%M") for p in found] == ["08:00", "09:45", "10:00", "10:15", "10:30", "10:45"]
    assert [p.energy_kwh for p in found if p.coverage > 0.9] == [pytest.approx(1.75)] * 2, "the first and the last"
    assert max(p.energy_kwh for p in found) == pytest.approx(1.75)


async def test_periods_wait_for_the_store_and_are_then_written_once() -> None:
    scene = await a_scene()
    await feed(scene, 17)
    scene.store.is_down = True
    assert not await scene.services.tracker.close_periods()
    await feed(scene, 15)
    scene.store.is_down = False
    assert await scene.services.tracker.close_periods()
    assert len(scene.store.all(MeteredPeriod, TENANT)) == 4
    assert len(scene.store.all(RegisterReading, TENANT)) == 2, "one row per connection point"


async def test_the_running_tracker_closes_periods_and_follows_the_tree() -> None:
    import asyncio

    scene = await a_scene()
    await feed(scene, 14)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.services.tracker.run())
        await asyncio.sleep(0)
        await feed(scene, 2)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(scene.store.all(MeteredPeriod, TENANT)) == 2
        charger = next(row for row in tree() if getattr(row, "id", "") == "ch-1-0")
        await scene.store.seed(TENANT, replace(charger, id="ch-1-new"))  # type: ignore[type-var]
        for _ in range(10):
            await asyncio.sleep(0)
        assert "ch-1-new" in scene.services.tracker.view(TENANT).tree.charger_ids
        assert power(scene, "ch-1-0") == 6.0, "measurements survive a change of the tree"
        running.cancel()


# ---------------------------------------------------------------- registers


def bank(count: int = 1) -> RegisterBank:
    return RegisterBank(count, closed_until=0.0, step_s=900.0, longest_gap_s=300.0)


def read(meters: RegisterBank, kwh: float, at: float, *, may_fall: bool = False) -> None:
    meters.take(np.array([0]), np.array([kwh]), at, may_fall=may_fall)


def test_the_register_at_a_border_is_interpolated() -> None:
    meters = bank()
    read(meters, 0.0, 0.0)
    read(meters, 8.0, 800.0)
    read(meters, 10.0, 1000.0)
    assert meters.close().energy_kwh[0] == pytest.approx(9.0)


def test_a_replaced_register_counts_on() -> None:
    meters = bank()
    read(meters, 500.0, 0.0)
    read(meters, 503.0, 300.0)
    read(meters, 1.0, 600.0)
    read(meters, 3.0, 900.0)
    assert meters.close().energy_kwh[0] == pytest.approx(5.0)


def test_a_net_meter_may_fall() -> None:
    meters = bank()
    read(meters, 10.0, 0.0, may_fall=True)
    read(meters, 8.0, 900.0, may_fall=True)
    assert meters.close().energy_kwh[0] == pytest.approx(-2.0)


def test_energy_before_the_first_reading_is_unknown() -> None:
    meters = bank()
    read(meters, 10.0, 1000.0)
    assert np.isnan(meters.close().energy_kwh[0])
    read(meters, 11.0, 1800.0)
    assert meters.close().energy_kwh[0] == pytest.approx(1.0)


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(0.1, 3000.0), st.floats(0.0, 50.0)), min_size=1, max_size=30),
    close_each=st.booleans(),
)
def test_periods_always_add_up_to_the_registers(steps: list[tuple[float, float]], close_each: bool) -> None:
    meters, at, kwh, total = bank(), 0.0, 100.0, 0.0
    read(meters, kwh, at)
    for gap, energy in steps:
        at, kwh = at + gap, kwh + energy
        read(meters, kwh, at)
        while close_each and meters.closed_until + 900.0 <= at:
            closed = meters.close()
            total += float(np.nan_to_num(closed.energy_kwh[0]))
            assert 0.0 <= closed.coverage[0] <= 1.0
    while meters.closed_until < at:
        total += float(np.nan_to_num(meters.close().energy_kwh[0]))
    assert total == pytest.approx(kwh - 100.0, abs=1e-6)


def test_the_ring_is_bounded_and_in_order() -> None:
    ring = PowerRing(2, 10.0)
    for i in range(5000):
        at = i * 10.0
        assert ring.is_due(at)
        ring.add(at, np.array([float(i), np.nan]))
    assert not ring.is_due(49_995.0)
    times, kw = ring.since(0, 49_900.0)
    assert times.tolist() == [49_900.0 + 10.0 * k for k in range(10)]
    assert kw.tolist() == [4990.0 + k for k in range(10)]
    assert len(ring.since(0, 0.0)[0]) == 4096
    assert np.isnan(ring.since(1, 0.0)[1]).all()


async def test_the_power_of_nodes_is_remembered_and_unknown_is_not_zero() -> None:
    scene = await a_scene()
    take(scene, readings(START, kw=6.0))
    scene.clock.move(seconds=30)
    take(scene, readings(scene.clock.now(), kw=7.0))
    times, kw = scene.services.tracker.node_power(TENANT, "vpp", START)
    assert times == [START, START + timedelta(seconds=30)]
    assert kw.tolist() == [12.0, 14.0]
    with pytest.raises(NotFound):
        scene.services.tracker.node_power(TENANT, "nowhere", START)
