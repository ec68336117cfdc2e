"""What cars want, what caps leave, and numbers that survive the wire."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.fleet import FleetView
from gateway.domain.limits import Binding, Direction, Limit, LimitKind, resolve
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Charger, EnforcementClass, Node
from gateway.services.plan_dispatch import DispatchSettings
from gateway.services.plan_dispatch.wants import (
    Departures,
    IdleCars,
    Wants,
    command_minimum,
    floor_to_quantum,
    priority_of,
    read_wants,
    weight_of,
)
from tests.fakes.clock import START
from tests.services.scene import PLATFORM, TENANT, Scene, session, tree


async def a_view(**changes: object) -> FleetView:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    await scene.services.tracker.report_sessions(
        PLATFORM, [session("ch-1-0", 1, **changes)], is_history=False, request_id="r"
    )
    return scene.services.tracker.view(TENANT)


def wants_at(view: FleetView, leaves_in_hours: float) -> Wants:
    leaves_at = np.where(view.has_session, START.timestamp() + 3600.0 * leaves_in_hours, np.inf)
    return read_wants(view, leaves_at, 15.0, START.timestamp())


async def test_laxity_is_slots_left_minus_slots_needed() -> None:
    wants = wants_at(await a_view(energy_needed_kwh=22.0), 4.0)
    assert wants.laxity[0] == pytest.approx(16.0 - 8.0)
    assert not wants.must_run.any()
    assert np.isinf(wants.laxity[1:]).all()
    assert wants.wanted_kw[1:].tolist() == [0.0] * 9


@pytest.mark.parametrize(("hours", "must_run"), [(2.8, False), (2.7, True), (0.5, True), (-1.0, True)])
async def test_little_slack_beyond_the_taper_must_run(hours: float, must_run: bool) -> None:
    assert bool(wants_at(await a_view(energy_needed_kwh=22.0), hours).must_run[0]) == must_run


async def test_a_car_that_has_what_it_asked_for_wants_nothing() -> None:
    wants = wants_at(await a_view(energy_needed_kwh=20.0, delivered_kwh=20.0), 0.1)
    assert (wants.wanted_kw[0], bool(wants.must_run[0])) == (0.0, False)


async def test_a_car_of_unknown_need_goes_on_wanting_but_must_not_run_for_ever() -> None:
    wants = wants_at(await a_view(energy_needed_kwh=None, delivered_kwh=40.0), 0.1)
    assert (wants.wanted_kw[0], bool(wants.must_run[0])) == (11.0, False)


async def test_a_belief_about_departure_is_asked_for_once_until_it_has_passed() -> None:
    view = await a_view(expected_departure=None)
    asked: list[tuple[str, datetime]] = []

    def believe(site_class: str, arrival: datetime, now: datetime) -> datetime:
        asked.append((site_class, arrival))
        return now + timedelta(hours=1)

    departures = Departures(believe)
    for minutes in (0, 30, 59):
        found = departures.of(view, START + timedelta(minutes=minutes))
        assert found[0] == (START + timedelta(hours=1)).timestamp()
    assert asked == [("public", START - timedelta(hours=1))]
    assert departures.of(view, START + timedelta(minutes=61))[0] == (START + timedelta(minutes=121)).timestamp()
    assert np.isinf(departures.of(view, START)[1:]).all()


async def test_what_the_driver_said_needs_no_belief() -> None:
    view = await a_view()
    departures = Departures(lambda *_: pytest.fail("nobody asks"))
    assert departures.of(view, START)[0] == (START + timedelta(hours=8)).timestamp()


async def test_a_target_that_nobody_enforces_is_counted_at_the_worst() -> None:
    scene = Scene()
    rows = [replace(r, enforcement=EnforcementClass.C) if isinstance(r, Charger) else r for r in tree()]
    await scene.store.seed(TENANT, *rows)
    await scene.load()
    view = scene.services.tracker.view(TENANT)
    assert view.fallback_kw.tolist() == [4.14] * 10
    assert view.lapsed_kw.tolist() == [11.0] * 10


@given(min_kw=st.floats(0.5, 50.0))
def test_a_commanded_minimum_is_still_one_after_the_wire(min_kw: float) -> None:
    command = command_minimum(np.array([min_kw]))
    assert np.float32(command[0]) >= min_kw
    assert command[0] < min_kw + 0.0201
    assert floor_to_quantum(command)[0] == command[0]


@given(kw=st.floats(0.0, 400.0))
def test_set_points_are_never_rounded_up_by_more_than_an_error(kw: float) -> None:
    floored = floor_to_quantum(np.array([kw]))
    assert kw - 0.0101 <= floored[0] <= kw + 1e-7
    assert floor_to_quantum(floored)[0] == floored[0]


def test_less_slack_comes_first_and_weighs_more() -> None:
    laxity = np.array([-5.0, 0.0, 10.0, np.inf])
    idle = np.zeros(4, dtype=bool)
    assert (np.diff(priority_of(laxity, idle)) < 0).all()
    assert (np.diff(weight_of(laxity)) <= 0).all()
    assert (weight_of(laxity) > 0).all()
    assert priority_of(laxity, ~idle)[1] > priority_of(laxity, idle)[1]


@pytest.mark.parametrize(
    ("kw", "authority", "left"),
    [(100.0, "dso", 95.0), (4.3, "dso", 4.2), (4.0, "dso", 4.0), (100.0, "other", 95.0), (0.0, "dso", 0.0)],
)
def test_headroom_never_goes_under_what_an_authority_guarantees(kw: float, authority: str, left: float) -> None:
    node = next(row for row in tree() if isinstance(row, Node) and row.id == "vpp")
    limit = Limit(
        id="l",
        tenant=TENANT,
        authority=authority,
        node="vpp",
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.MANDATORY,
        max_kw=kw,
        interval=Interval(start=START, end=None),
        cause="signal:1",
        known_at=START,
    )
    assert resolve(node, [limit], START).usable_kw(0.05, 0.0, {"dso": 4.2}) == pytest.approx(left)


@pytest.mark.parametrize(
    "changes", [{"tick": timedelta(0)}, {"lease": -timedelta(1)}, {"headroom": 1.0}, {"headroom": -0.1}]
)
def test_impossible_settings_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=rf"dispatch\.{next(iter(changes))}"):
        replace(DispatchSettings(), **changes)  # type: ignore[arg-type]


async def test_an_idle_car_is_asked_again_and_sooner_when_it_must_run() -> None:
    view = await a_view()
    idle = IdleCars(timedelta(minutes=30), timedelta(minutes=5))
    nobody, everybody = np.zeros(len(view.arrival), dtype=bool), np.ones(len(view.arrival), dtype=bool)

    def is_last(minute: float, *, takes_nothing: bool = False, must_run: bool = False) -> bool:
        took, must = (everybody if flag else nobody for flag in (takes_nothing, must_run))
        return bool(idle.of(view, took, must, START.timestamp() + 60.0 * minute)[0])

    assert not is_last(0)
    assert is_last(1, takes_nothing=True)
    assert is_last(3)
    assert not is_last(7, must_run=True), "a promise is asked for at once when it becomes urgent"
    assert is_last(9, takes_nothing=True, must_run=True)
    assert not is_last(14.5, must_run=True)
    assert is_last(38)
    assert not is_last(39)
    assert is_last(50, takes_nothing=True)
    other = replace(view, arrival=view.arrival + 60.0)
    assert not idle.of(other, nobody, nobody, START.timestamp() + 3060.0)[0], "another car on that charger"
