"""The fleet as a client: its dispatch stream, reports and telemetry against a scripted gateway over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.fleet import simulate
from gateway.sandbox.fleet_bank import Obedience
from gateway.sandbox.fleet_link import DispatchLink
from gateway.sandbox.fleet_reports import MOST_WAITING_BATCHES, SessionReporter, TelemetryReporter
from gateway.sandbox.fleet_retry import CHANNEL_OPTIONS, Backoff
from gateway.sandbox.fleet_simulation import LATENCY_S, FleetSimulation
from gateway.v1 import dispatch_service_pb2 as dispatch_pb
from tests.sandbox.fleet_worlds import START, START_S, options, small_world, stand_clock
from tests.sandbox.scripted_gateway import ScriptedGateway

LEASE_S = START_S + 3600.0


@dataclass(kw_only=True)
class Platform:
    """A fleet on a channel, its clock standing still until a test moves it."""

    world: FleetSimulation
    clock_file: Path
    clock: SandboxClock
    sessions: SessionReporter
    telemetry: TelemetryReporter
    link: DispatchLink

    def jump(self, minutes: float) -> None:
        """Move market time to so many minutes after the start."""
        stand_clock(self.clock_file, START + timedelta(minutes=minutes))


@asynccontextmanager
async def _platform(
    script: ScriptedGateway, folder: Path, *, world: FleetSimulation | None = None, whole: bool = True
) -> AsyncIterator[Platform]:
    """Run a platform against the script: all of it or, unless `whole`, nothing of it."""
    world = world or small_world(start=START)
    clock_file = stand_clock(folder / "clock.json", START)
    clock = SandboxClock(clock_file)
    generator = np.random.default_rng(1)
    async with grpc.aio.insecure_channel(script.address, options=CHANNEL_OPTIONS) as channel:
        sessions = SessionReporter(channel, "secret", world, Backoff("sessions", generator, 0.05))
        telemetry = TelemetryReporter(channel, "secret", world, Backoff("telemetry", generator, 0.05))
        link = DispatchLink(
            channel,
            "secret",
            world,
            clock,
            Backoff("dispatch", generator, 0.05),
            on_welcome=lambda: sessions.add_plugged_in(world.plugged_in()),
        )
        platform = Platform(
            world=world, clock_file=clock_file, clock=clock, sessions=sessions, telemetry=telemetry, link=link
        )
        parts: list[Coroutine[Any, Any, None]] = [
            simulate(world, clock, sessions, telemetry, 1),
            link.run(),
            sessions.run(),
            sessions.send_history(),
            telemetry.run(),
        ]
        if not whole:
            for part in parts:
                part.close()
            yield platform
            return
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(part) for part in parts]
            yield platform
            for task in running:
                task.cancel()


async def _until(condition: Any) -> None:
    async with asyncio.timeout(15.0):
        while not condition():  # nothing tells when arrays change
            await asyncio.sleep(0.01)


async def test_it_says_hello_with_all_its_chargers_and_its_token(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _platform(script, tmp_path) as platform:
        await script.until(lambda: script.hellos and script.history and script.sessions)
        (hello,) = script.hellos
        assert list(hello.charger_ids) == [charger.id for charger in platform.world.chargers]
        assert hello.resume_token == ""
        assert script.tokens == {"Bearer secret"}
        await _until(lambda: platform.link.is_connected)


async def test_limits_are_acknowledged_applied_after_the_latency_and_kept(tmp_path: Path) -> None:
    world = small_world(start=START)
    async with ScriptedGateway() as script, _platform(script, tmp_path, world=world) as platform:
        await script.until(lambda: script.hellos)
        everyone = list(range(len(world.chargers)))
        sequence = script.send_limits(everyone, [2.0] * 60, [1.38] * 60, lease_until_s=LEASE_S)
        await script.until(lambda: script.acks)
        assert script.acks == [dispatch_pb.Ack(sequence=sequence)]
        assert not script.outcomes
        platform.jump(5)
        await script.until(lambda: len(script.outcomes) == len(LATENCY_S))
        assert sorted(index for outcome in script.outcomes for index in outcome.charger_index) == everyone
        states = {state for outcome in script.outcomes for state in outcome.states}
        assert states == {dispatch_pb.DISPATCH_STATE_APPLIED}
        await script.until(lambda: script.batches and script.batches[-1].sequence == START_S + 300)
        assert max(script.batches[-1].power_kw) == pytest.approx(2.0)
        assert platform.link.last_sequence == sequence


async def test_chargers_that_refuse_are_named_in_the_acknowledgement_and_never_called_applied(tmp_path: Path) -> None:
    world = small_world(chosen=options(rejecting=0.1), start=START)
    refusing = np.flatnonzero(world.bank.obedience == Obedience.REJECTING).tolist()
    async with ScriptedGateway() as script, _platform(script, tmp_path, world=world) as platform:
        await script.until(lambda: script.hellos)
        script.send_limits(range(60), [2.0] * 60, [1.38] * 60, lease_until_s=LEASE_S)
        await script.until(lambda: script.acks)
        (ack,) = script.acks
        assert list(ack.rejected_index) == refusing
        assert len(ack.reject_reasons) == len(refusing) == 6
        platform.jump(5)
        await script.until(lambda: sum(len(outcome.charger_index) for outcome in script.outcomes) == 54)
        assert not {index for outcome in script.outcomes for index in outcome.charger_index} & set(refusing)


async def test_a_newer_command_overtakes_an_older_one_before_it_is_applied(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _platform(script, tmp_path) as platform:
        await script.until(lambda: script.hellos)
        script.send_limits([0, 1], [2.0, 2.0], [1.38, 1.38], lease_until_s=LEASE_S)
        newest = script.send_limits([0], [5.0], [1.38], lease_until_s=LEASE_S)
        await script.until(lambda: len(script.acks) == 2)
        platform.jump(2)
        await script.until(lambda: sum(len(outcome.charger_index) for outcome in script.outcomes) == 2)
        applied = {index: outcome.sequence for outcome in script.outcomes for index in outcome.charger_index}
        assert applied == {0: newest, 1: newest - 1}


async def test_messages_that_make_no_sense_are_neither_applied_nor_acknowledged(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _platform(script, tmp_path) as platform:
        await script.until(lambda: script.hellos)
        script.send_limits([0, 1], [2.0], [1.38, 1.38], lease_until_s=LEASE_S)
        script.send_limits([60], [2.0], [1.38], lease_until_s=LEASE_S)
        script.send_limits([-1], [2.0], [1.38], lease_until_s=LEASE_S)
        script.send_limits([0], [float("nan")], [1.38], lease_until_s=LEASE_S)
        script.send_limits([0], [2.0], [-1.0], lease_until_s=LEASE_S)
        good = script.send_limits([3], [2.0], [1.38], lease_until_s=LEASE_S)
        await script.until(lambda: script.acks)
        assert [ack.sequence for ack in script.acks] == [good]
        assert platform.world.bank.sequence.nonzero()[0].tolist() == [3]


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.PERMISSION_DENIED,
    ],
)
async def test_after_a_break_it_resumes_with_the_token_of_the_last_message(
    code: grpc.StatusCode, tmp_path: Path
) -> None:
    async with ScriptedGateway() as script, _platform(script, tmp_path):
        await script.until(lambda: script.hellos)
        script.send_limits([0], [2.0], [1.38], lease_until_s=LEASE_S)
        await script.until(lambda: script.acks)
        script.refuse("Connect", code)
        script.break_dispatch(code)
        await script.until(lambda: len(script.hellos) == 2)
        assert script.hellos[1].resume_token == "token-1"
        assert script.calls["Connect"] == 3


async def test_a_token_that_has_expired_is_forgotten(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _platform(script, tmp_path) as platform:
        await script.until(lambda: script.hellos)
        script.send_limits([0], [2.0], [1.38], lease_until_s=LEASE_S)
        await script.until(lambda: script.acks)
        script.break_dispatch(grpc.StatusCode.OUT_OF_RANGE)
        await script.until(lambda: len(script.hellos) == 2)
        assert script.hellos[1].resume_token == ""
        await _until(lambda: platform.link.is_connected)


async def test_it_gives_signs_of_life_three_times_a_heartbeat(tmp_path: Path) -> None:
    async with ScriptedGateway(heartbeat_seconds=0.03) as script, _platform(script, tmp_path):
        await script.until(lambda: script.pings >= 3)


async def test_outcomes_that_fall_due_while_the_gateway_is_away_are_told_when_it_is_back(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _platform(script, tmp_path) as platform:
        await script.until(lambda: script.hellos)
        sequence = script.send_limits(range(60), [2.0] * 60, [1.38] * 60, lease_until_s=LEASE_S)
        await script.until(lambda: script.acks)
        await script.stop()
        platform.jump(3)
        await _until(lambda: platform.world.time_s == START_S + 180)
        await script.start()
        await script.until(lambda: sum(len(outcome.charger_index) for outcome in script.outcomes) == 60)
        assert {outcome.sequence for outcome in script.outcomes} == {sequence}


async def test_the_world_goes_on_without_the_gateway_and_nothing_is_lost(tmp_path: Path) -> None:
    world = small_world(start=START)
    async with ScriptedGateway() as script, _platform(script, tmp_path, world=world) as platform:
        await script.until(lambda: script.hellos and script.sessions)
        script.send_limits(range(60), [6.0] * 60, [1.38] * 60, lease_until_s=START_S + 600.0)
        await script.until(lambda: script.acks)
        platform.jump(4)
        await script.until(lambda: script.batches and script.batches[-1].sequence == START_S + 240)
        assert max(script.batches[-1].power_kw) == pytest.approx(6.0)
        before = set(script.sessions)
        await script.stop()
        platform.jump(120)
        await _until(lambda: world.time_s == START_S + 7200)
        assert world.bank.power_kw.max() == pytest.approx(1.38)
        assert platform.sessions.waiting_count > 0
        gone = set(before) - set(world.bank.cars.id[world.plugged_in()].tolist())
        assert gone
        await script.start()
        await script.until(lambda: len(script.hellos) == 2)
        await script.until(lambda: all(script.sessions[one].HasField("departure_time") for one in gone))
        here = world.plugged_in()
        open_now = set(world.bank.cars.id[here].tolist())
        await script.until(lambda: open_now <= set(script.sessions))
        assert all(not script.sessions[one].HasField("departure_time") for one in open_now)
        await script.until(lambda: script.batches[-1].sequence == START_S + 7200)
        minutes = {batch.sequence for batch in script.batches}
        assert {START_S + 900 * quarter for quarter in range(1, 9)} <= minutes


async def test_reports_reveal_no_more_than_a_platform_knows(tmp_path: Path) -> None:
    world = small_world(start=START)
    async with ScriptedGateway() as script, _platform(script, tmp_path, world=world):
        here = world.plugged_in()
        await script.until(lambda: len(script.sessions) >= len(here))
        rows = world.bank.cars.take(here)
        for row in range(len(here)):
            report = script.sessions[str(rows.id[row])]
            assert report.charger_id == world.chargers[int(here[row])].id
            assert report.arrival_time.seconds == rows.arrival_s[row]
            assert not report.HasField("departure_time")
            assert report.HasField("energy_needed_kwh") == (not np.isnan(rows.stated_energy_kwh[row]))
            assert report.HasField("expected_departure_time") == (not np.isnan(rows.stated_departure_s[row]))
            assert report.phase_count in {1, 3}
            assert report.max_power_kw == rows.max_kw[row]
        said = [report.HasField("energy_needed_kwh") for report in script.sessions.values()]
        assert 0 < sum(said) < len(said)


async def test_the_past_is_reported_once_as_history_with_departures_and_energy(tmp_path: Path) -> None:
    world = small_world(history_days=3, start=START)
    async with ScriptedGateway() as script, _platform(script, tmp_path, world=world) as platform:
        await script.until(lambda: len(script.history) == len(world.history))
        await _until(lambda: platform.sessions.history_count == len(world.history))
        assert all(report.HasField("departure_time") for report in script.history.values())
        assert all(report.delivered_energy_kwh > 0.0 for report in script.history.values())
        assert not set(script.history) & set(script.sessions)


async def test_a_report_that_failed_is_sent_again_as_the_same_request(tmp_path: Path) -> None:
    async with ScriptedGateway() as script:
        script.refuse("ReportSessions", grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
        async with _platform(script, tmp_path, world=small_world(start=START)) as platform:
            await script.until(lambda: script.history and script.sessions)
            await _until(lambda: platform.sessions.waiting_count == 0)
        ids = [request.request_id for request in script.reports]
        assert len(ids) > len(set(ids)) > 0
        by_id = {request.request_id: request.SerializeToString(deterministic=True) for request in script.reports}
        assert all(
            request.SerializeToString(deterministic=True) == by_id[request.request_id] for request in script.reports
        )
        assert all(len(request.request_id) <= 128 for request in script.reports)


async def test_what_the_gateway_refuses_for_good_is_let_go_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _platform(script, tmp_path, whole=False) as platform:
        script.refuse("ReportSessions", grpc.StatusCode.INVALID_ARGUMENT)
        here = platform.world.plugged_in()
        platform.sessions.add_plugged_in(here[:5])
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(platform.sessions.run())
            await _until(lambda: platform.sessions.waiting_count == 0)
            platform.sessions.add_plugged_in(here[5:])
            await script.until(lambda: len(script.sessions) == len(here) - 5)
            running.cancel()
        assert [len(request.sessions) for request in script.reports] == [5, len(here) - 5]


async def test_telemetry_names_its_columns_first_and_registers_only_grow(tmp_path: Path) -> None:
    world = small_world(start=START)
    async with ScriptedGateway() as script, _platform(script, tmp_path, world=world) as platform:
        platform.jump(45)
        await script.until(lambda: len(script.batches) == 45)
        first = script.batches[0]
        assert list(first.charger_ids) == [charger.id for charger in world.chargers]
        assert list(first.connection_point_ids) == ["h-ean", "p-ean", "w-ean"]
        assert all(not batch.charger_ids for batch in script.batches[1:])
        assert [batch.measure_time.seconds for batch in script.batches] == [START_S + 60 * m for m in range(1, 46)]
        registers = np.array([batch.energy_register_kwh for batch in script.batches])
        meters = np.array([batch.meter_register_kwh for batch in script.batches])
        assert registers.shape == (45, 60)
        assert (np.diff(registers, axis=0) >= 0.0).all()
        assert (np.diff(meters, axis=0) > 0.0).all()
        await _until(lambda: platform.telemetry.waiting_count == 0)


async def test_batches_wait_until_they_are_acknowledged_and_come_again_after_a_break(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _platform(script, tmp_path) as platform:
        script.acknowledges_telemetry = False
        platform.jump(3)
        await script.until(lambda: len(script.batches) == 3)
        assert platform.telemetry.waiting_count == 3
        script.acknowledges_telemetry = True
        await script.stop()
        await script.start()
        await script.until(lambda: len(script.batches) == 6)
        assert [batch.sequence for batch in script.batches[3:]] == [batch.sequence for batch in script.batches[:3]]
        assert script.batches[3].charger_ids
        await _until(lambda: platform.telemetry.waiting_count == 0)


async def test_a_batch_that_is_refused_for_its_content_is_let_go(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _platform(script, tmp_path, whole=False) as platform:
        script.refused_batches.add(START_S + 60)
        for _ in range(2):
            platform.world.step()
            platform.telemetry.add(platform.world.reading())
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(platform.telemetry.run())
            await script.until(lambda: script.batches)
            running.cancel()
        assert script.batches[0].sequence == START_S + 120
        assert script.batches[0].charger_ids


async def test_a_session_that_changes_while_it_is_reported_is_reported_again(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _platform(script, tmp_path, whole=False) as platform:
        script.may_answer_reports.clear()
        here = platform.world.plugged_in()[:1]
        platform.sessions.add_plugged_in(here)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(platform.sessions.run())
            await script.until(lambda: script.reports)
            platform.world.bank.delivered_kwh[here] += 1.0
            platform.sessions.add_plugged_in(here)
            script.may_answer_reports.set()
            await script.until(lambda: len(script.reports) == 2)
            await _until(lambda: platform.sessions.waiting_count == 0)
            running.cancel()
        (newest,) = script.sessions.values()
        assert newest.delivered_energy_kwh == pytest.approx(platform.world.bank.delivered_kwh[here[0]], abs=1e-4)


async def test_when_too_many_batches_wait_those_at_the_borders_of_periods_stay(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _platform(script, tmp_path, whole=False) as platform:
        for _ in range(24 * 60):
            platform.world.step()
            platform.telemetry.add(platform.world.reading())
        assert platform.telemetry.waiting_count == MOST_WAITING_BATCHES
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(platform.telemetry.run())
            await script.until(lambda: len(script.batches) == MOST_WAITING_BATCHES)
            running.cancel()
        sent = {batch.sequence for batch in script.batches}
        assert {START_S + 900 * quarter for quarter in range(1, 97)} <= sent
        assert START_S + 86_400 - 60 in sent


async def test_a_broken_part_ends_the_whole_platform(tmp_path: Path) -> None:
    world = small_world(start=START)

    def breaks() -> None:
        raise RuntimeError("a bug")

    async with ScriptedGateway() as script:
        with pytest.RaisesGroup(RuntimeError):
            async with _platform(script, tmp_path, world=world) as platform:
                world.step = breaks  # type: ignore[method-assign, assignment]
                platform.jump(1)
                await asyncio.Event().wait()
