"""The past of the meters: modelled by the simulation's own other load, reported once before the sessions, harmless again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.fleet import report_past
from gateway.sandbox.fleet_load import draw_other_load
from gateway.sandbox.fleet_past import charging_kwh, model_past_meters
from gateway.sandbox.fleet_reports import MeterHistoryReporter, SessionReporter
from gateway.sandbox.fleet_retry import CHANNEL_OPTIONS, Backoff
from gateway.sandbox.fleet_simulation import FleetSimulation
from tests.sandbox.fleet_worlds import (
    MONDAY,
    START,
    START_S,
    ZONE,
    cars,
    options,
    small_inventory,
    small_world,
    world_of,
)
from tests.sandbox.scripted_gateway import ScriptedGateway

HOUR_S = 3600


@asynccontextmanager
async def _reporters(
    script: ScriptedGateway, world: FleetSimulation
) -> AsyncIterator[tuple[MeterHistoryReporter, SessionReporter]]:
    generator = np.random.default_rng(1)
    async with grpc.aio.insecure_channel(script.address, options=CHANNEL_OPTIONS) as channel:
        yield (
            MeterHistoryReporter(channel, "secret", world, Backoff("meters", generator, 0.05)),
            SessionReporter(channel, "secret", world, Backoff("sessions", generator, 0.05)),
        )


def test_a_car_charges_at_full_power_on_plug_in_until_it_has_its_energy() -> None:
    border_s = START_S + np.arange(5) * 900
    car = cars(1, arrival_s=START_S + 300, energy_kwh=4.0, max_kw=8.0)
    assert charging_kwh(car, border_s) == pytest.approx([8.0 / 6.0, 2.0, 4.0 - 2.0 - 8.0 / 6.0, 0.0])


def test_only_the_part_inside_the_borders_counts() -> None:
    border_s = START_S + np.arange(3) * 900
    before = cars(1, arrival_s=START_S - HOUR_S, energy_kwh=10.0, max_kw=8.0)
    after = cars(1, arrival_s=START_S + 2 * 900, energy_kwh=10.0, max_kw=8.0)
    assert charging_kwh(before, border_s) == pytest.approx([2.0, 0.0])
    assert charging_kwh(after, border_s).tolist() == [0.0, 0.0]
    assert charging_kwh(cars(0), border_s).tolist() == [0.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-300, 300), st.floats(0.0, 60.0), st.sampled_from([1.38, 3.7, 7.4, 11.0, 22.0])),
        max_size=20,
    )
)
def test_the_sum_of_many_cars_is_that_of_each_minute(drawn: list[tuple[int, float, float]]) -> None:
    border_s = START_S + np.arange(9) * 900
    table = cars(len(drawn))
    table = replace(
        table,
        arrival_s=START_S + 60 * np.array([row[0] for row in drawn], dtype=np.int64),
        energy_kwh=np.array([row[1] for row in drawn]),
        max_kw=np.array([row[2] for row in drawn]),
    )
    expected = np.zeros(8)
    for arrival_min, energy_kwh, max_kw in drawn:
        for slot in range(8):
            begin, end = slot * 900 - arrival_min * 60, (slot + 1) * 900 - arrival_min * 60
            at = np.clip(np.array([begin, end]) * max_kw / HOUR_S, 0.0, energy_kwh)
            expected[slot] += at[1] - at[0]
    assert charging_kwh(table, border_s) == pytest.approx(expected, abs=1e-6)


def test_the_other_load_of_the_past_is_what_the_simulation_draws_live() -> None:
    world = small_world(history_days=2)
    past = model_past_meters(world, 2)
    # The same day again, lived minute by minute.
    live = small_world(start=MONDAY.interval.start, history_days=1)
    quarters = []
    for _ in range(8):
        meters, chargers = live.meter_register_kwh.copy(), live.bank.register_kwh.copy()
        for _ in range(15):
            live.step()
        drawn = live.bank.register_kwh - chargers
        quarters.append(live.meter_register_kwh - meters - [drawn[site.charger].sum() for site in live.sites])
    monday = (int(MONDAY.interval.start.timestamp()) - past.start_s) // 900
    other = past.energy_kwh - past.charger_energy_kwh
    assert other[:, monday : monday + 8] == pytest.approx(np.array(quarters).T, abs=1e-6)


def test_the_energy_of_the_past_is_that_of_its_sessions() -> None:
    world = small_world(history_days=3)
    past = model_past_meters(world, 3)
    assert past.energy_kwh.shape == (3, 3 * 96)
    end_s = past.start_s + 3 * 86_400
    begun = world.past.take(world.past.arrival_s < end_s - 12 * HOUR_S)
    delivered = past.charger_energy_kwh.sum()
    assert begun.energy_kwh.sum() <= delivered <= world.past.energy_kwh.sum()
    assert (past.charger_energy_kwh >= 0.0).all()
    assert (past.energy_kwh > past.charger_energy_kwh).all()


def test_when_the_program_starts_later_the_past_of_the_meters_is_the_same() -> None:
    early = model_past_meters(small_world(history_days=2), 2)
    later = small_world(start=START + timedelta(hours=20), history_days=3)
    assert later.first_day == small_world(history_days=2).first_day
    again = model_past_meters(later, 2)
    assert again.start_s == early.start_s
    assert np.array_equal(np.round(again.energy_kwh, 4), np.round(early.energy_kwh, 4))


@pytest.mark.parametrize(("day", "count"), [(date(2025, 10, 26), 100), (date(2025, 3, 30), 92)])
def test_a_day_of_the_clock_change_has_its_periods(day: date, count: int) -> None:
    start = DeliveryDay(day=day, zone=ZONE).next().interval.start
    world = world_of(small_inventory(("w", "workplace", 5)), options(), start, 1)
    past = model_past_meters(world, 1)
    assert past.energy_kwh.shape == (1, count)
    minutes = draw_other_load(world.first_day, world.load_sites, world.seed)
    other = (past.energy_kwh - past.charger_energy_kwh).sum()
    assert other == pytest.approx(minutes.sum() / 60.0)


async def test_each_meter_is_reported_once_and_again_as_the_same_request_when_that_failed() -> None:
    world = small_world(history_days=2)
    async with ScriptedGateway() as script, _reporters(script, world) as (meters, _):
        script.refuse("ReportMeterHistory", grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)
        await meters.send(2)
        assert set(script.meter_history) == set(world.points)
        assert meters.period_count == 3 * 2 * 96
        assert len(script.meter_reports) == 5
        assert script.meter_reports[0] == script.meter_reports[1] == script.meter_reports[2]
        first = script.meter_history[world.points[0]]
        assert (first.resolution_minutes, len(first.energy_kwh), len(first.charger_energy_kwh)) == (15, 192, 192)
        assert first.start_time.seconds == int(world.first_day.interval.start.timestamp())
        assert script.tokens == {"Bearer secret"}


async def test_no_session_of_the_past_comes_before_the_meters_are_there() -> None:
    world = small_world(history_days=2)
    seen: list[int] = []

    class Watching(ScriptedGateway):
        async def note(self, rpc: str, context: object) -> None:
            if rpc == "ReportSessions":
                seen.append(len(self.meter_history))
            await super().note(rpc, context)

    async with Watching() as script, _reporters(script, world) as (meters, sessions):
        await report_past(meters, sessions, 2)
    assert seen
    assert set(seen) == {3}


async def test_a_second_start_sends_the_same_requests() -> None:
    ids = []
    async with ScriptedGateway() as script:
        for later in (0, 3):
            world = world_of(
                small_inventory(("h", "home", 5), ("w", "workplace", 5)), options(), START + timedelta(hours=later), 2
            )
            async with _reporters(script, world) as (meters, _):
                await meters.send(2)
            ids.append(sorted(request.request_id for request in script.meter_reports))
            script.meter_reports.clear()
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED]
)
async def test_what_is_refused_for_good_holds_nothing_up(code: grpc.StatusCode) -> None:
    world = small_world(history_days=2)
    async with ScriptedGateway() as script, _reporters(script, world) as (meters, sessions):
        script.refuse("ReportMeterHistory", code)
        await report_past(meters, sessions, 2)
        assert set(script.meter_history) == set(world.points[1:])
        assert sessions.history_count == len(world.history)
