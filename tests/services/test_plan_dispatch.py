"""The control path in virtual time: signal, limit, dispatch, acknowledgement, measurement, calm restore."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from gateway.domain.bids import Schedule
from gateway.domain.dispatch import DispatchBatch, DispatchOutcome, DispatchState
from gateway.domain.errors import (
    InvalidInput,
    PermissionRefused,
    ResumeTokenExpired,
    StorageUnavailable,
    Superseded,
)
from gateway.domain.sessions import SessionState
from gateway.domain.signals import OptType
from gateway.domain.topology import CapacityGroup, Charger
from gateway.services.gather_signals import ProgramRules
from tests.fakes.clock import START
from tests.services.scene import (
    GRID,
    OPERATOR,
    PLATFORM,
    SETTINGS,
    TENANT,
    VTN,
    Platform,
    Scene,
    event,
    message,
    session,
    tree,
)


async def test_without_orders_every_car_charges_inside_ratings_with_headroom() -> None:
    scene = Scene()
    platform = await scene.start()
    assert platform.total() == pytest.approx(110.0)
    assert platform.total("ch-1") <= 70.0 * 0.95


async def test_a_tight_circuit_binds_with_headroom_and_nobody_is_between_zero_and_the_minimum() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="c-1", max_kw=20.0, start=None, end=START + timedelta(hours=2), reason="fuse", request_id="m1"
    )
    await scene.turn()
    limits = [kw for c, kw in scene.limits().items() if c.startswith("ch-1")]
    assert sum(limits) <= 19.0
    assert sum(kw > 0.0 for kw in limits) == 4
    assert all(kw == 0.0 or kw >= 4.14 for kw in limits)
    assert platform.total("ch-2") == pytest.approx(55.0)


async def test_an_event_that_begins_now_is_dispatched_in_the_same_wake_up() -> None:
    scene = Scene()
    platform = await scene.start()
    now = scene.clock.now()
    await scene.services.signals.receive(GRID, message(event(start=now, max_kw=60.0)))
    await scene.services.dispatcher.step(TENANT)
    await platform.read()
    assert scene.clock.now() == now
    assert platform.total() <= 57.0
    row = scene.store.all(DispatchBatch, TENANT)[-1]
    assert row.cause.startswith(f"limit:{VTN}:e1")


async def test_the_running_loop_wakes_for_an_event_without_time_passing() -> None:
    scene = Scene()
    platform = await scene.start()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.services.dispatcher.run())
        await asyncio.sleep(0)
        await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
        assert platform.link is not None
        batch = await asyncio.wait_for(platform.link.next(), 2.0)
        assert batch.limit_kw.sum() <= 57.01
        running.cancel()


async def test_the_running_loop_wakes_when_a_limit_begins() -> None:
    scene = Scene(settings=replace(SETTINGS, tick=timedelta(hours=1), lease=timedelta(hours=12)))
    platform = await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now() + timedelta(minutes=7))))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.services.dispatcher.run())
        for _ in range(20):
            await asyncio.sleep(0)
        await platform.read()
        platform.received.clear()
        scene.clock.move(minutes=7)
        assert platform.link is not None
        batch = await asyncio.wait_for(platform.link.next(), 2.0)
        assert batch.limit_kw.sum() <= 50.01
        running.cancel()


async def test_a_limit_is_sent_ahead_of_its_start_by_the_lead() -> None:
    scene = Scene(settings=replace(SETTINGS, lead=timedelta(seconds=30)))
    platform = await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now() + timedelta(seconds=60))))
    await scene.pass_time(25)
    assert platform.total() == pytest.approx(110.0)
    await scene.pass_time(10)
    assert platform.total() <= 50.0


async def test_event_end_brings_power_back_calmly() -> None:
    scene = Scene()
    platform = await scene.start()
    start = scene.clock.now()
    await scene.services.signals.receive(GRID, message(event(start=start, minutes=10, max_kw=60.0)))
    await scene.pass_time(600)
    during = platform.total()
    assert 50.0 <= during <= 57.0
    await scene.pass_time(50)
    assert platform.total() <= during + 0.01, "an increase waits for stability"
    history = []
    for _ in range(40):
        await scene.pass_time(5)
        history.append(platform.total())
    assert history[-1] == pytest.approx(110.0, abs=5.0)
    steps = np.diff([during, *history])
    assert steps.min() >= -0.01
    # Ten chargers at half a kW per second in five seconds, and those that start go to their minimum at once.
    assert steps.max() <= 10 * 0.5 * 5 + 6 * 4.15


async def test_a_cancelled_event_is_withdrawn_and_power_returns() -> None:
    scene = Scene()
    platform = await scene.start()
    now = scene.clock.now()
    await scene.services.signals.receive(GRID, message(event(start=now)))
    await scene.pass_time(30)
    assert platform.total() <= 50.0
    gone = event(start=now, modification=1, cancelled=True, cancelled_at=scene.clock.now())
    answers = await scene.services.signals.receive(GRID, message(gone, raw_id="raw-2"))
    assert [(a.code, a.opt) for a in answers] == [(200, OptType.OPT_IN)]
    await scene.pass_time(300)
    assert platform.total() == pytest.approx(110.0, abs=5.0)


async def test_a_duplicate_event_has_no_second_effect() -> None:
    scene = Scene()
    await scene.start()
    first = await scene.services.signals.receive(GRID, message(event(start=scene.clock.now())))
    await scene.turn()
    rows = len(scene.store.all(DispatchBatch, TENANT))
    again = await scene.services.signals.receive(GRID, message(event(start=scene.clock.now()), raw_id="raw-2"))
    await scene.turn()
    assert first == again
    assert len(scene.store.all(DispatchBatch, TENANT)) == rows


async def test_two_authorities_the_minimum_binds_and_the_other_takes_over_when_it_ends() -> None:
    scene = Scene()
    platform = await scene.start()
    now = scene.clock.now()
    await scene.services.signals.receive(GRID, message(event("a", start=now, minutes=60, max_kw=80.0)))
    other = event("b", start=now, minutes=10, max_kw=40.0, authority="vtn:dso")
    await scene.services.signals.receive(GRID, message(other, raw_id="raw-2"))
    await scene.turn()
    assert platform.total() <= 38.0
    line = scene.services.dispatcher.headline(TENANT, "vpp")
    assert line.limit_kw == 40.0
    assert "by order of vtn:dso" in line.why
    await scene.pass_time(900)
    assert 70.0 <= platform.total() <= 76.0


async def test_a_manual_limit_expires_by_itself() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.set_manual_limit(
        OPERATOR,
        node_id="site-1",
        max_kw=0.0,
        start=None,
        end=scene.clock.now() + timedelta(minutes=5),
        reason="works",
        request_id="m1",
    )
    await scene.turn()
    assert platform.total("ch-1") == 0.0
    await scene.pass_time(600)
    assert platform.total("ch-1") == pytest.approx(55.0, abs=3.0)


async def test_a_lost_unconditional_authority_never_opens_a_limit() -> None:
    scene = Scene(programs={VTN: ProgramRules(is_unconditional=True)})
    await scene.store.seed(TENANT, CapacityGroup(id=f"{VTN}:g", tenant=TENANT, authority=VTN, name="g", node="vpp"))
    platform = await scene.start()
    assert platform.total() <= 200.0 / 4, "never heard since the start: fail-safe"
    await scene.services.signals.contact(GRID, VTN, is_lost=False)
    await scene.pass_time(300)
    assert platform.total() > 100.0
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), minutes=20, max_kw=30.0)))
    await scene.turn()
    await scene.services.signals.contact(GRID, VTN, is_lost=True)
    await scene.pass_time(600)
    assert platform.total() <= 30.0, "its last limit runs to its end"
    await scene.pass_time(900)
    assert 35.0 <= platform.total() <= 50.0, "then the fail-safe"


async def test_a_conditional_authority_may_be_lost_without_consequence() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.contact(GRID, VTN, is_lost=True)
    await scene.pass_time(60)
    assert platform.total() == pytest.approx(110.0)
    assert scene.services.signals.lost == frozenset({VTN})


async def test_an_over_drawing_charger_is_named_within_a_minute_and_its_share_is_taken_from_others() -> None:
    scene = Scene()
    platform = await scene.start()
    platform.disobeys.add("ch-1-0")
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.pass_time(60)
    troubles = scene.services.follower.not_following(TENANT)
    assert [(t.charger_id, t.state, t.measured_kw) for t in troubles] == [("ch-1-0", DispatchState.NOT_FOLLOWING, 11.0)]
    assert troubles[0].likely_cause == "accepted by csms-demo but not applied"
    assert platform.total() <= 57.01
    assert scene.services.dispatcher.headline(TENANT, "vpp").not_following == ("ch-1-0",)
    actions = [c.entry.action for c in await scene.store.audit_entries()]
    assert actions.count("dispatch.not_following") == 1
    platform.disobeys.clear()
    await scene.pass_time(60)
    assert scene.services.follower.not_following(TENANT) == []
    assert scene.state("ch-1-0") is DispatchState.FOLLOWED


async def test_a_refusing_platform_keeps_its_share_and_is_asked_again() -> None:
    scene = Scene()
    platform = await scene.start()
    platform.rejects.add("ch-1-0")
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.pass_time(20)
    assert scene.state("ch-1-0") is DispatchState.REJECTED
    assert platform.total() <= 57.01, "others make room for the 11 kW that it still draws"
    cause = scene.services.follower.not_following(TENANT)[0].likely_cause
    assert cause == "refused by csms-demo: Rejected"
    platform.rejects.clear()
    await scene.pass_time(60)
    assert scene.state("ch-1-0") is DispatchState.FOLLOWED


async def test_a_charger_that_shows_more_than_it_was_sent_counts_at_that_until_it_follows() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.pass_time(60)
    assert scene.limits()["ch-1-0"] < 6.0
    platform.rejects.add("ch-1-0")
    await scene.services.signals.receive(GRID, message(event("e2", start=scene.clock.now(), max_kw=50.0)))
    await scene.pass_time(10)
    assert scene.state("ch-1-0") is DispatchState.REJECTED
    assert platform.link is not None
    platform.link.show(np.array([platform.chargers.index("ch-1-0")], dtype=np.int32), np.array([22.0]))
    await scene.pass_time(10)
    others = sum(kw for name, kw in scene.limits().items() if name != "ch-1-0")
    assert others <= 47.5 - 11.0 + 0.01, "it may draw all that it can although it draws less now"
    platform.rejects.clear()
    await scene.pass_time(60)
    assert scene.state("ch-1-0") is DispatchState.FOLLOWED
    assert np.isnan(scene.services.follower.book(TENANT).shown_kw).all()
    assert sum(scene.limits().values()) > 40.0


async def test_a_mute_platform_times_out_and_nothing_is_raised_meanwhile() -> None:
    scene = Scene()
    platform = await scene.start()
    platform.answers = False
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), minutes=5, max_kw=60.0)))
    await scene.pass_time(40)
    assert scene.state("ch-1-0") is DispatchState.TIMED_OUT
    assert scene.services.follower.not_following(TENANT)[0].likely_cause == "no acknowledgement from csms-demo"
    platform.answers = True
    await scene.pass_time(60)
    assert scene.state("ch-1-0") is DispatchState.FOLLOWED


async def test_a_silent_charger_is_named() -> None:
    scene = Scene()
    platform = await scene.start()
    platform.unmeasured.add("ch-2-1")
    await scene.pass_time(360)
    troubles = scene.services.follower.not_following(TENANT)
    assert [t.charger_id for t in troubles] == ["ch-2-1"]
    assert troubles[0].measured_kw is None
    assert troubles[0].likely_cause.startswith("no telemetry for ")


async def test_leases_are_renewed_after_a_third_and_lapse_when_the_platform_is_gone() -> None:
    scene = Scene()
    platform = await scene.start()
    platform.received.clear()
    await scene.pass_time(300)
    assert 5 <= len(platform.received) <= 9
    assert all(scene.clock.now() < until for until in platform.lease_until.values())
    await platform.disconnect()
    rows = len(scene.store.all(DispatchBatch, TENANT))
    await scene.pass_time(125)
    assert platform.total() == pytest.approx(10 * 4.14), "the fallback applies without us"
    assert len(scene.store.all(DispatchBatch, TENANT)) == rows, "nobody is there to be written to"


async def test_a_lost_platform_is_counted_at_its_fallback_for_the_others() -> None:
    rows = [
        replace(row, csms="csms-other") if isinstance(row, Charger) and row.id in {"ch-1-0", "ch-1-1"} else row
        for row in tree()
    ]
    scene = Scene()
    await scene.store.seed(TENANT, *rows)
    await scene.load()
    platform = scene.platform = Platform(scene)
    platform.chargers = [c for c in platform.chargers if c not in {"ch-1-0", "ch-1-1"}]
    await platform.connect()
    other = replace(PLATFORM, csms="csms-other", actor="other")
    await scene.services.tracker.report_sessions(
        other, [session("ch-1-0"), session("ch-1-1")], is_history=False, request_id="other"
    )
    cars = ["ch-1-2", "ch-1-3", "ch-1-4"]
    await scene.services.tracker.report_sessions(
        PLATFORM, [session(c) for c in cars], is_history=False, request_id="cars"
    )
    platform.plug(*cars)
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), minutes=60, max_kw=40.0)))
    await scene.pass_time(300)
    assert sum(kw for c, kw in scene.limits().items() if c in cars) <= 38.0 - 2 * 4.14
    assert platform.total() > 25.0


async def test_restart_goes_on_from_rows_without_a_second_dispatch() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.pass_time(30)
    before, sequence = scene.limits(), scene.store.all(DispatchBatch, TENANT)[-1].sequence
    rows = len(scene.store.all(DispatchBatch, TENANT))
    platform.received.clear()
    await scene.restart()
    await scene.turn()
    assert scene.limits() == before
    assert len(scene.store.all(DispatchBatch, TENANT)) == rows, "nothing changed, nothing is sent again"
    assert scene.services.follower.not_following(TENANT) == []
    await scene.pass_time(60)
    newer = [b.sequence for b in platform.received]
    assert newer == sorted(newer)
    assert newer[0] == sequence + 1
    assert platform.total() <= 57.01


async def test_a_command_that_never_arrived_is_sent_again_after_a_restart() -> None:
    scene = Scene()
    platform = await scene.start()
    await platform.disconnect()
    await platform.connect()
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.services.dispatcher.step(TENANT)  # written and laid into the mailbox, never read
    await scene.restart()
    await scene.turn()
    assert platform.total() <= 57.0


async def test_what_was_missed_comes_coalesced_and_what_was_applied_does_not_come_again() -> None:
    scene = Scene()
    platform = await scene.start()
    now = scene.clock.now()
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="c-1", max_kw=20.0, start=None, end=now + timedelta(hours=1), reason="x", request_id="m1"
    )
    await scene.services.dispatcher.step(TENANT)
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="c-1", max_kw=10.0, start=None, end=now + timedelta(hours=1), reason="x", request_id="m2"
    )
    await scene.services.dispatcher.step(TENANT)
    assert platform.link is not None
    batch = await platform.link.next()
    named = [platform.chargers[i] for i in batch.charger_index.tolist()]
    assert set(named) == {f"ch-1-{k}" for k in range(5)}
    assert batch.limit_kw.sum() <= 9.5
    assert not platform.link._pending.any()
    platform.received.clear()
    await platform.disconnect()
    await platform.connect()
    await scene.turn()
    again = [platform.chargers[i] for b in platform.received for i in b.charger_index.tolist()]
    assert sorted(again) == sorted(named)


async def test_when_the_store_fails_a_reduction_goes_out_and_the_message_stays_unanswered() -> None:
    scene = Scene()
    platform = await scene.start()
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), minutes=10, max_kw=60.0)))
    await scene.turn()
    assert platform.total() <= 57.0
    await scene.pass_time(900)
    assert platform.total() <= 57.0, "limits in force are renewed from memory, nothing is raised"
    assert all(scene.clock.now() < until for until in platform.lease_until.values())
    scene.store.is_down = False
    await scene.pass_time(200)
    assert platform.total() == pytest.approx(110.0, abs=5.0)
    sequences = [row.sequence for row in scene.store.all(DispatchBatch, TENANT)]
    assert platform.received[-1].sequence in sequences, "what went out from memory was written afterwards"
    assert {b.sequence for b in platform.received} <= set(sequences)


async def test_a_hanging_store_does_not_hold_a_reduction_up() -> None:
    scene = Scene()
    platform = await scene.start()
    scene.store.hang = asyncio.Event()
    with pytest.raises(StorageUnavailable):
        await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.services.dispatcher.step(TENANT)
    await platform.read()
    assert platform.total() <= 57.0


async def test_sequence_goes_on_above_what_the_platform_has_seen() -> None:
    scene = Scene()
    platform = await scene.start()
    number = int(platform.token.partition("@")[0])
    platform.token = f"{number + 7}@csms-demo"  # sent from memory before a crash, never written
    await scene.restart()
    platform.received.clear()
    await scene.pass_time(60)
    assert platform.received[0].sequence == number + 8


def _schedule(site: str, kw: float, **changes: object) -> Schedule:
    plain = Schedule(
        id=f"{site}:2025-10-15",
        tenant=TENANT,
        node=site,
        connection_point="541448820000000015",
        delivery_day="2025-10-15",
        start=START,
        step_minutes=15,
        power_kw=(kw,) * 32,
        cause="award:a1",
        made_at=START,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


async def test_the_schedule_is_followed_and_must_run_cars_win_over_it() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, _schedule("site-1", 20.0))
    platform = await scene.start()
    assert 15.0 <= platform.total("ch-1") <= 20.0
    assert platform.total("ch-2") == pytest.approx(55.0)
    soon = scene.clock.now() + timedelta(hours=1)
    hurried = [session(f"ch-1-{k}", expected_departure=soon, energy_needed_kwh=30.0) for k in range(3)]
    await scene.services.tracker.report_sessions(PLATFORM, hurried, is_history=False, request_id="hurry")
    await scene.pass_time(300)
    assert platform.total("ch-1") >= 32.9
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="site-1", max_kw=25.0, start=None, end=soon, reason="x", request_id="m1"
    )
    await scene.turn()
    assert platform.total("ch-1") <= 23.75, "but never over a limit"


async def test_a_schedule_that_rises_is_followed_within_its_own_quarter_hour() -> None:
    scene = Scene()
    # 15 kW in the first quarter-hour, 45 kW in the second, and so on.
    await scene.store.seed(TENANT, _schedule("site-1", 0.0, power_kw=(15.0, 45.0) * 16))
    platform = await scene.start()
    await scene.pass_time((START + timedelta(minutes=15) - scene.clock.now()).total_seconds() + 10)
    assert platform.total("ch-1") >= 40.0


async def test_a_schedule_does_not_hurry_power_back_after_a_limit() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, _schedule("site-1", 45.0))
    platform = await scene.start()
    end = scene.clock.now() + timedelta(minutes=5)
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="site-1", max_kw=20.0, start=None, end=end, reason="x", request_id="m1"
    )
    await scene.pass_time(290)
    assert platform.total("ch-1") <= 19.0
    await scene.pass_time(30)
    assert platform.total("ch-1") <= 30.0, "twenty seconds after the limit power is still on its way back"
    await scene.pass_time(600)
    assert platform.total("ch-1") >= 40.0


async def test_what_a_car_does_not_take_of_the_schedule_goes_to_others() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, _schedule("site-1", 30.0))
    platform = await scene.start()
    platform.cars |= {"ch-1-0": 4.2, "ch-1-1": 4.2}
    await scene.pass_time(900)
    assert 27.0 <= platform.total("ch-1") <= 31.0


async def test_a_car_that_takes_nothing_leaves_its_place_to_others_and_is_asked_again() -> None:
    """Ten amperes for a full car are ten amperes less for one that leaves with too little."""
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="c-1", max_kw=28.0, start=None, end=START + timedelta(hours=4), reason="x", request_id="m1"
    )
    platform.cars |= {"ch-1-0": 0.0, "ch-1-1": 0.0}
    await scene.pass_time(1200)
    assert platform.total("ch-1") >= 25.0, "the three that charge share what the two full ones leave"
    assert scene.limits()["ch-1-0"] == 0.0
    platform.cars |= {"ch-1-0": 11.0}
    await scene.pass_time(2400)
    assert platform.power("ch-1-0") >= 4.14, "asked again, it takes its share"
    assert platform.total("ch-1") <= 26.61


async def test_a_new_schedule_wakes_the_loop() -> None:
    scene = Scene()
    platform = await scene.start()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.services.dispatcher.run())
        for _ in range(20):
            await asyncio.sleep(0)
        await platform.read()
        await scene.store.seed(TENANT, _schedule("site-2", 10.0, id="site-2:2025-10-15"))
        assert platform.link is not None
        batch = await asyncio.wait_for(platform.link.next(), 2.0)
        assert batch.cause == "schedule:site-2:2025-10-15"
        running.cancel()


async def test_an_arriving_car_need_not_wait_for_stability() -> None:
    scene = Scene()
    platform = await scene.start(cars=2)
    now = scene.clock.now()
    await scene.services.tracker.report_sessions(
        PLATFORM, [session("ch-1-4", arrival=now)], is_history=False, request_id="new"
    )
    platform.plug("ch-1-4")
    await scene.turn()
    assert platform.power("ch-1-4") == 11.0


async def test_a_car_that_left_frees_its_charger_at_once() -> None:
    scene = Scene()
    await scene.start()
    gone = session("ch-1-4", state=SessionState.ENDED, departure=scene.clock.now())
    await scene.services.tracker.report_sessions(PLATFORM, [gone], is_history=False, request_id="gone")
    await scene.turn()
    assert scene.limits()["ch-1-4"] == 0.0


async def test_increases_wait_until_reductions_are_acknowledged() -> None:
    scene = Scene(settings=replace(SETTINGS, calm=replace(SETTINGS.calm, stability_s=0.0, ramp_kw_per_s=100.0)))
    platform = await scene.start(cars=4)
    end = scene.clock.now() + timedelta(hours=1)
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="c-1", max_kw=28.0, start=None, end=end, reason="x", request_id="m1"
    )
    await scene.pass_time(60)
    before = scene.limits()
    assert before["ch-1-0"] < 7.0
    platform.answers = False
    hurried = session("ch-1-0", expected_departure=scene.clock.now() + timedelta(minutes=30))
    await scene.services.tracker.report_sessions(PLATFORM, [hurried], is_history=False, request_id="hurry")
    await scene.pass_time(10)
    assert scene.limits()["ch-1-1"] < before["ch-1-1"], "the others come down for the car that must charge"
    assert scene.limits()["ch-1-0"] == before["ch-1-0"], "which waits until they are known to have come down"
    platform.answers = True
    await scene.pass_time(60)
    assert scene.limits()["ch-1-0"] == 11.0
    assert platform.total("ch-1") <= 26.61


async def test_increases_share_the_room_that_is_left_while_others_come_down() -> None:
    """Waiting until everybody has come down would leave a third of a busy site unused."""
    scene = Scene(settings=replace(SETTINGS, calm=replace(SETTINGS.calm, stability_s=0.0, ramp_kw_per_s=100.0)))
    platform = await scene.start(cars=2)
    now = scene.clock.now()
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="c-1", max_kw=28.0, start=None, end=now + timedelta(hours=1), reason="x", request_id="m1"
    )
    await scene.pass_time(60)
    assert platform.total("ch-1") == pytest.approx(22.0)
    platform.answers = False
    arrived = [session(f"ch-1-{k}", arrival=scene.clock.now()) for k in (2, 3)]
    await scene.services.tracker.report_sessions(PLATFORM, arrived, is_history=False, request_id="new")
    platform.plug("ch-1-2", "ch-1-3")
    await scene.pass_time(10)
    started = [scene.limits()[f"ch-1-{k}"] for k in (2, 3)]
    assert sorted(kw > 0.0 for kw in started) == [False, True], (
        "one minimum fits beside the two that still may draw 22 kW"
    )
    assert 4.14 <= max(started) <= 4.61
    platform.answers = True
    await scene.pass_time(120)
    assert all(scene.limits()[f"ch-1-{k}"] >= 6.0 for k in range(4))
    assert platform.total("ch-1") <= 26.61


async def test_a_second_stream_of_a_platform_ends_the_first() -> None:
    scene = Scene()
    platform = await scene.start()
    first = platform.link
    assert first is not None
    await platform.connect()
    with pytest.raises(Superseded) as raised:
        await first.next()
    assert raised.value.reason == "SUPERSEDED"
    first.close()
    platform.received.clear()
    await scene.pass_time(60)
    assert platform.received, "closing the old stream does not close the new one"


async def test_what_a_platform_may_not_say_is_refused() -> None:
    scene = Scene()
    platform = await scene.start()
    connect = scene.services.dispatcher.connect
    with pytest.raises(InvalidInput, match=r"charger_ids\[0\]"):
        await connect(PLATFORM, ["nobody's"], "")
    with pytest.raises(InvalidInput, match=r"charger_ids\[0\]"):
        await connect(replace(PLATFORM, csms="csms-other"), ["ch-1-0"], "")
    with pytest.raises(InvalidInput, match=r"charger_ids\[1\]"):
        await connect(PLATFORM, ["ch-1-0", "ch-1-0"], "")
    with pytest.raises(PermissionRefused):
        await connect(OPERATOR, ["ch-1-0"], "")
    for token in ("5@csms-other", "x@csms-demo", "-1@csms-demo", "99999999999@csms-demo", "9" * 30 + "@csms-demo"):
        with pytest.raises(ResumeTokenExpired):
            await connect(PLATFORM, platform.chargers, token)
    link = platform.link
    assert link is not None
    nothing = np.zeros(0, dtype=np.int32)
    with pytest.raises(InvalidInput, match=r"ack\.sequence"):
        link.ack(10**9, nothing, ())
    with pytest.raises(InvalidInput, match=r"ack\.rejected_index"):
        link.ack(1, np.array([99], dtype=np.int32), ("no",))
    with pytest.raises(InvalidInput, match=r"ack\.reject_reasons"):
        link.ack(1, np.array([0], dtype=np.int32), ())
    with pytest.raises(InvalidInput, match=r"outcome\.charger_index"):
        link.outcome(1, np.array([-1], dtype=np.int32), np.array([3], dtype=np.int8))
    with pytest.raises(InvalidInput, match=r"outcome\.states"):
        link.outcome(1, np.array([0], dtype=np.int32), np.zeros(0, dtype=np.int8))


async def test_outcomes_become_rows_and_old_sequences_change_nothing() -> None:
    scene = Scene()
    platform = await scene.start()
    link = platform.link
    assert link is not None
    newest = platform.received[-1].sequence
    index, applied = np.arange(10, dtype=np.int32), np.full(10, DispatchState.REJECTED, dtype=np.int8)
    link.outcome(newest - 1, index, applied)
    assert scene.services.follower.not_following(TENANT) == []
    named = platform.received[-1].charger_index[:1]
    link.outcome(newest, named, applied[:1])
    await scene.services.follower.flush()
    outcome = scene.store.all(DispatchOutcome, TENANT)[-1]
    assert outcome.charger_ids == (platform.chargers[int(named[0])],)
    assert outcome.states == (DispatchState.REJECTED,)
    assert outcome.batch == platform.received[-1].dispatch_id


async def test_the_audit_leads_from_a_command_to_the_event() -> None:
    scene = Scene()
    await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.turn()
    entries = [c.entry for c in await scene.store.audit_entries()]
    command = next(e for e in reversed(entries) if e.action == "dispatch.send")
    kind, _, limit_id = command.causes[0].partition(":")
    assert kind == "limit"
    limit = next(e for e in entries if e.action == "limit.set" and e.object_id == limit_id)
    assert limit.causes == (f"event:{VTN}:e1",)
    received = next(e for e in entries if e.action == "event.receive")
    assert received.causes == ("signal:raw-1",)


async def test_two_hundred_quiet_steps_cause_no_flicker() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), minutes=600, max_kw=60.0)))
    await scene.pass_time(300)
    changes = [c for c in await scene.store.audit_entries() if c.entry.action == "dispatch.send"]
    await scene.pass_time(1000)
    later = [c for c in await scene.store.audit_entries() if c.entry.action == "dispatch.send"]
    assert len(later) - len(changes) <= 10
    assert platform.total() <= 57.01


async def test_who_refused_is_still_named_after_a_restart() -> None:
    scene = Scene()
    platform = await scene.start()
    platform.rejects.add("ch-1-0")
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.pass_time(10)
    await scene.restart()
    assert scene.state("ch-1-0") is DispatchState.REJECTED
    assert scene.state("ch-1-1") is DispatchState.ACCEPTED
    assert scene.services.dispatcher.headline(TENANT, "vpp").not_following == ("ch-1-0",)


async def test_who_has_refused_for_hours_is_still_named_after_a_restart_and_alarmed_once() -> None:
    scene = Scene()
    platform = await scene.start()
    platform.rejects.add("ch-1-0")
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.pass_time(3 * SETTINGS.lease.total_seconds())
    await scene.restart()
    assert scene.state("ch-1-0") is DispatchState.REJECTED
    actions = [c.entry.action for c in await scene.store.audit_entries()]
    assert actions.count("dispatch.rejected") == 1


async def test_a_fleet_above_the_inline_size_is_allocated_in_a_thread_with_the_same_result() -> None:
    small, large = Scene(), Scene(settings=replace(SETTINGS, inline_charger_count=0))
    for scene in (small, large):
        platform = await scene.start()
        await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
        await scene.pass_time(120)
        assert platform.total() <= 57.01
    assert small.limits() == large.limits()


async def test_a_charger_that_appears_is_commanded_and_one_that_vanishes_is_forgotten() -> None:
    scene = Scene()
    platform = await scene.start()
    before = scene.limits()
    rows = [replace(r, id="ch-0-new", parent="c-1") for r in tree() if isinstance(r, Charger)][:1]
    await scene.store.seed(TENANT, *rows)
    await scene.services.tracker.reload(TENANT)
    await scene.turn()
    limits = scene.limits()
    assert {c: limits[c] for c in before} == before
    assert limits["ch-0-new"] == 0.0
    assert "ch-0-new" not in platform.chargers, "nobody commands it yet"
    platform.chargers = [*platform.chargers, "ch-0-new"]
    for values in (platform.limit_kw, platform.register):
        values["ch-0-new"] = 0.0
    platform.lease_until["ch-0-new"] = START
    await platform.connect()
    platform.received.clear()
    await scene.turn()
    assert [platform.chargers[i] for b in platform.received for i in b.charger_index.tolist()] == ["ch-0-new"]


async def test_of_commands_of_one_instant_the_largest_number_counts() -> None:
    scene = Scene()
    await scene.start()
    now = scene.clock.now()
    rows = [
        DispatchBatch(
            id=f"dispatch-{n}",
            tenant=TENANT,
            csms="csms-demo",
            sequence=n,
            issued_at=now,
            lease_until=now + timedelta(minutes=2),
            charger_ids=("ch-1-0",),
            limit_kw=(float(n) / 20.0,),
            fallback_kw=(4.14,),
            cause="limit:x",
        )
        for n in (99, 100)
    ]
    await scene.store.seed(TENANT, *rows)
    await scene.restart(keeps_stream=False)
    assert scene.limits()["ch-1-0"] == 5.0
    assert scene.services.dispatcher._controls[TENANT].sender.sequence_of("csms-demo") == 100
