from datetime import timedelta

import pytest

from gateway.domain.sessions import Session, SessionState
from gateway.domain.topology import Charger, ConnectionPoint, Node, NodeKind
from gateway.services.believe_stays import UNTAUGHT_STAY, StayBeliefs
from tests.fakes.clock import START, HandClock
from tests.fakes.store import MemoryStore

HOURS = timedelta(hours=1)


def session(number: int, *, stay: timedelta, departed: bool = True) -> Session:
    arrival = START - timedelta(days=2) + timedelta(minutes=number)
    return Session(
        id=f"s{number}",
        tenant="demo",
        charger="c1",
        arrival=arrival,
        state=SessionState.ENDED if departed else SessionState.PLUGGED_IN,
        max_power_kw=11.0,
        phases=3,
        energy_needed_kwh=None,
        expected_departure=None,
        departure=arrival + stay if departed else None,
        delivered_kwh=10.0,
    )


async def fleet(*sessions: Session) -> StayBeliefs:
    clock = HandClock()
    store = MemoryStore(clock)
    await store.seed(
        "demo",
        Node(
            id="vpp",
            tenant="demo",
            parent=None,
            kind=NodeKind.PORTFOLIO,
            name="v",
            max_import_kw=10,
            fail_safe_import_kw=1,
        ),
        Node(
            id="s1", tenant="demo", parent="vpp", kind=NodeKind.SITE, name="s", max_import_kw=10, fail_safe_import_kw=1
        ),
        Charger(
            id="c1", tenant="demo", csms="x", parent="s1", max_import_kw=11, min_import_kw=1, phases=3, fallback_kw=1
        ),
        ConnectionPoint(
            id="ean",
            tenant="demo",
            site="s1",
            bidding_zone="BE",
            time_zone="Europe/Brussels",
            dso="d",
            brp=None,
            site_class="home",
        ),
        *sessions,
    )
    return StayBeliefs(store=store, clock=clock, tenants=("demo",), time_zone="Europe/Brussels")


@pytest.mark.parametrize("site_class", ["home", "workplace", "public", "harbour"])
async def test_without_a_past_the_belief_is_short_and_never_in_the_past(site_class: str) -> None:
    beliefs = await fleet()
    await beliefs.learn()
    stay = UNTAUGHT_STAY.get(site_class, 2 * HOURS)
    assert beliefs.believe_departure(site_class, START, START) == START + stay
    late = START + timedelta(days=1)
    assert beliefs.believe_departure(site_class, START, late) == late


async def test_stays_of_the_past_are_believed() -> None:
    beliefs = await fleet(*(session(number, stay=5 * HOURS) for number in range(40)))
    await beliefs.learn()
    assert beliefs.believe_departure("home", START, START) == START + 5 * HOURS


async def test_a_car_that_overstays_is_believed_to_leave_any_moment() -> None:
    beliefs = await fleet(*(session(number, stay=5 * HOURS) for number in range(40)))
    await beliefs.learn()
    now = START + 9 * HOURS
    assert beliefs.believe_departure("home", START, now) == now


async def test_cars_that_are_still_there_teach_nothing() -> None:
    beliefs = await fleet(*(session(number, stay=5 * HOURS, departed=False) for number in range(40)))
    await beliefs.learn()
    assert beliefs.believe_departure("home", START, START) == START + UNTAUGHT_STAY["home"]
