"""What is known of a fleet outlives an import of its tree, a long downtime, and readers that take their time."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from gateway.domain.fleet import RegisterReading
from gateway.domain.sessions import SessionState
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.topology import Charger
from gateway.ports import Batch
from gateway.services.track_fleet.registers import ClosedPeriod, RegisterBank
from gateway.services.track_fleet.rings import PowerRing
from tests.fakes.clock import START
from tests.services.scene import PLATFORM, POINTS, TENANT, Scene, session, tree
from tests.services.test_track_fleet import a_scene, feed


async def test_an_import_leaves_the_open_period_and_the_past_of_every_node_as_they_were() -> None:
    scene = await a_scene()
    await feed(scene, 10)
    tracker = scene.services.tracker
    instants, powers_kw = tracker.node_power(TENANT, "site-1", START)
    charger = next(row for row in tree() if isinstance(row, Charger) and row.id == "ch-1-0")
    await scene.store.seed(TENANT, replace(charger, id="ch-1-00"))
    await tracker.reload(TENANT)
    assert len(instants) == 10
    after, after_kw = tracker.node_power(TENANT, "site-1", START)
    assert (after, after_kw.tolist()) == (instants, powers_kw.tolist())
    await feed(scene, 7)
    await tracker.close_periods()
    [period] = [one for one in scene.store.all(MeteredPeriod, TENANT) if one.connection_point == POINTS[0]]
    assert period.energy_kwh == pytest.approx(1.75)
    assert period.chargers_kwh == pytest.approx(1.5)
    assert period.coverage == pytest.approx(1.0)


async def test_what_was_looked_at_does_not_change_under_who_awaits() -> None:
    scene = Scene()
    await scene.start()
    tracker = scene.services.tracker
    view = tracker.view(TENANT)
    place = view.tree.charger_ids.index("ch-1-0")

    def shown() -> list[object]:
        columns = (view.session_ids, view.arrival, view.energy_needed_kwh, view.expected_departure, view.session_max_kw)
        return [view.has_session[place], view.power_at[place], *(column[place] for column in columns)]

    before = shown()
    ended = replace(session("ch-1-0"), state=SessionState.ENDED)
    await tracker.report_sessions(PLATFORM, [ended], is_history=False, request_id="end")
    another = session("ch-1-0", 2, arrival=scene.clock.now(), energy_needed_kwh=5.0, max_power_kw=3.0)
    await tracker.report_sessions(PLATFORM, [another], is_history=False, request_id="another")
    await scene.pass_time(10)
    assert shown() == before
    assert tracker.view(TENANT).session_ids[place] == another.id


async def test_after_a_long_downtime_each_period_is_written_before_the_next_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await a_scene()
    await feed(scene, 17)
    await scene.services.tracker.close_periods()
    done: list[str] = []
    readings_at: list[datetime] = []
    close, apply = RegisterBank.close, scene.store.apply

    def noted_close(bank: RegisterBank) -> ClosedPeriod:
        done.append("close")
        return close(bank)

    async def noted_apply(batch: Batch) -> None:
        done.append("write")
        readings_at.extend(put.record.at for put in batch.puts if isinstance(put.record, RegisterReading))
        await apply(batch)

    monkeypatch.setattr(RegisterBank, "close", noted_close)
    scene.store.apply = noted_apply  # type: ignore[method-assign]
    scene.clock.move(minutes=24 * 60)
    assert await scene.services.tracker.close_periods()
    assert done == ["close", "close", "write"] * 92, "meters and chargers of one period, then its rows"
    assert len(set(readings_at)) == 1, "a restart goes on from the last border"
    assert min(readings_at) > START + timedelta(hours=23)


def test_a_bank_goes_on_with_the_meters_that_are_in_both() -> None:
    older = RegisterBank(3, closed_until=0.0, step_s=900.0, longest_gap_s=300.0)
    for at in np.arange(0.0, 1000.0, 60.0).tolist():
        older.take(np.arange(3), np.array([10.0, 20.0, 30.0]) + at / 60.0, at)
    newer = RegisterBank(3, closed_until=-900.0, step_s=900.0, longest_gap_s=300.0)
    newer.carry_over(older, np.array([2, 0]), np.array([0, 2]))
    was, period = older.close(), newer.close()
    assert period.start == 0.0
    assert period.energy_kwh[[2, 0]].tolist() == was.energy_kwh[[0, 2]].tolist() == [15.0, 15.0]
    assert period.coverage[[2, 0]].tolist() == [1.0, 1.0]
    assert np.isnan(period.energy_kwh[1]), "nobody read it"
    assert np.isnan(newer.register_kwh[1])


@pytest.mark.parametrize("sample_count", [0, 3, 40, 5000])
def test_a_ring_goes_on_with_the_nodes_that_are_in_both(sample_count: int) -> None:
    older, newer = PowerRing(2, 1.0), PowerRing(3, 1.0)
    for at in range(sample_count):
        older.add(float(at), np.array([1.0, 2.0]) * at)
    newer.carry_over(older, np.array([2]), np.array([0]))
    for at in range(sample_count, sample_count + 20):
        newer.add(float(at), np.array([0.0, 0.0, 1.0]) * at)
    times, power_kw = newer.since(2, 0.0)
    assert times.tolist() == power_kw.tolist() == [float(at) for at in range(sample_count + 20)][-4096:]
    assert np.isnan(newer.since(1, 0.0)[1][:-20]).all()
