"""VTNs that misbehave while their messages are well made: the VEN with the real signal desk, in virtual time.

`hostile_a14` to `hostile_a23` are rows of the catalogue of hostile messages, continued from `test_hostile_ven`.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import PeerUnavailable
from gateway.openadr.health import VenState
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import Bench, Said, virtually
from tests.openadr.v20b.test_ven_with_the_desk import MINUTE, NINE, NODES, OTHER, Site, event, with_desk
from tests.openadr.virtual_life import START

RATING_KW = NODES["vpp-be"].max_import_kw
LONGEST_PAUSE = timedelta(minutes=5)
LAST = 99
"""Where priority 0, which is none at all, comes."""
FEW = settings(max_examples=20)


@pytest.mark.parametrize(
    ("vtn_id", "changes", "code"),
    [
        ("OTHER", {}, "452"),
        (messages.VTN_ID.lower(), {}, "452"),
        ("007", {}, "452"),
        (messages.VTN_ID, {"targets": messages.target("venID", "OTHER")}, "462"),
    ],
    ids=["another-vtn", "other-letters", "another-number", "another-ven"],
)
def test_hostile_a14_what_is_not_from_our_vtn_or_not_for_us_is_refused_and_limits_nothing(
    vtn_id: str, changes: dict[str, str], code: str
) -> None:
    async def scenario(site: Site) -> None:
        said = messages.distribute_event(event("E1", 40.0, **changes), vtn_id=vtn_id)
        await site.bench.play((5, lambda: site.bench.vtn.queue.append(said)), seconds=25)
        assert await site.kw(NINE + MINUTE) == RATING_KW

    bench = with_desk(scenario)
    [answer] = bench.vtn.all("CreatedEvent")
    assert code in answer.texts("//ei:responseCode")
    assert {opt for *_, opt in bench.vtn.opts()} <= {"optOut"}


def test_hostile_a14_a_vtn_id_that_looks_like_a_number_is_a_text() -> None:
    async def scenario(site: Site) -> None:
        vtn = site.bench.vtn
        created = messages.created_registration(vtn_id="007")
        vtn.script["QueryRegistration"] = vtn.script["CreatePartyRegistration"] = lambda _: created
        wrong = messages.distribute_event(event("E1", 20.0), vtn_id="7")
        right = messages.distribute_event(event("E2", 40.0), vtn_id="007")
        await site.bench.play((5, lambda: vtn.queue.extend([wrong, right])), seconds=25)
        assert await site.kw(NINE + MINUTE) == 40.0

    assert with_desk(scenario, vtn_id="007").vtn.opts() == [("E2", 0, "200", "optIn")]


@FEW
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_hostile_a15_the_highest_modification_holds_whatever_comes_in_which_order(numbers: list[int]) -> None:
    async def scenario(site: Site) -> None:
        steps = [(5 + 10 * place, _says(site, event("E1", 40 + n, modification=n))) for place, n in enumerate(numbers)]
        await site.bench.play(*steps, seconds=5 + 10 * len(numbers))
        assert await site.kw(NINE + MINUTE) == 40.0 + max(numbers)
        assert (await site.event()).modification == max(numbers)

    best = [max(numbers[: place + 1]) for place in range(len(numbers))]
    assert with_desk(scenario).vtn.opts() == [
        ("E1", number, "200", "optIn") if number == highest else ("E1", number, "450", "optIn")
        for number, highest in zip(numbers, best, strict=True)
    ]


def _says(site: Site, *events: str) -> Callable[[], None]:
    return lambda: site.says(*events)


@FEW
@given(st.lists(st.booleans(), min_size=3, max_size=3))
def test_hostile_a16_a_cancelled_event_that_comes_three_times_leaves_the_live_one_alone(gone_first: list[bool]) -> None:
    async def scenario(site: Site) -> None:
        gone, live = event("E1", 20.0, status="cancelled", modification=1), event("E2", 60.0, context=OTHER)
        again = [_says(site, *((gone, live) if is_first else (live, gone))) for is_first in gone_first]
        steps = [(15.0 + 10 * place, step) for place, step in enumerate(again)]
        await site.bench.play((5, _says(site, event("E1", 20.0), live)), *steps, seconds=50)
        assert await site.kw(NINE + MINUTE) == 60.0
        assert (await site.event("E1")).cancelled
        assert not (await site.event("E2")).cancelled

    opts = with_desk(scenario).vtn.opts()
    assert [one for one in opts if one[0] == "E2"] == [("E2", 0, "200", "optIn")] * 4
    assert {opt for *_, opt in opts} == {"optIn"}


def _silence(_: Said) -> bytes:
    raise PeerUnavailable("HTTP 503")


def _hung_up(_: Said) -> bytes:
    raise PeerUnavailable("ServerDisconnectedError")


FAULTS: dict[str, Callable[[Said], bytes]] = {
    "refused-connections": _silence,
    "reset-connections": _hung_up,
    "empty": lambda _: b"",
    "html": lambda _: b"<html><body>502 Bad Gateway</body></html>",
    "wrong-type": lambda _: messages.registered_report(),
    "another-profile": lambda _: messages.created_registration(profile="2.0a"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_hostile_a19_after_ten_bad_minutes_it_registers_within_one_backoff_step(fault: str) -> None:
    async def scenario(bench: Bench) -> None:
        for name in ("QueryRegistration", "CreatePartyRegistration"):
            bench.vtn.script[name] = FAULTS[fault]
        ven = await bench.play((600, bench.vtn.script.clear), seconds=600 + LONGEST_PAUSE.total_seconds() + 1)
        assert ven.state is VenState.REGISTERED

    bench = virtually(scenario)
    asked = [said.at for said in bench.vtn.all("QueryRegistration")]
    back = START + timedelta(minutes=10)
    assert 3 <= len([at for at in asked if at < back]) <= 20, "neither given up nor hammered"
    assert min(at for at in asked if at >= back) <= back + LONGEST_PAUSE


@pytest.mark.parametrize("answer", [451, 463, None], ids=["not-authorised", "not-possible", "nobody-there"])
def test_hostile_a20_a_wish_to_register_again_that_is_refused_three_times_and_then_granted(answer: int | None) -> None:
    seen: list[tuple[VenState, float]] = []
    refusals: list[Said] = []

    async def scenario(site: Site) -> None:
        bench = site.bench
        ven = bench.ven

        def refuse(said: Said) -> bytes:
            refusals.append(said)
            if len(refusals) == 3:
                del bench.vtn.script["CreatePartyRegistration"]
            return _silence(said) if answer is None else messages.created_registration(code=answer)

        def demand() -> None:
            bench.vtn.script["CreatePartyRegistration"] = refuse
            bench.vtn.queue.append(messages.request_reregistration())

        async def watch() -> None:
            seen.append((ven.state, await site.kw(NINE + MINUTE)))

        async with asyncio.TaskGroup() as tasks:
            looks = [(30.0 + 5 * number, lambda: tasks.create_task(watch())) for number in range(30)]
            await bench.play((5, _says(site, event("E1", 60.0))), (22, demand), *looks, seconds=400)
        assert ven.state is VenState.REGISTERED
        assert await site.kw(NINE + MINUTE) == 60.0
        assert not (await site.event("E1")).cancelled

    bench = with_desk(scenario)
    assert len(refusals) == 3
    assert {kw for _, kw in seen} == {60.0}, "the limit is in force all the time"
    assert VenState.REGISTERED in {state for state, _ in seen}
    assert len(bench.vtn.all("CreatePartyRegistration")) == 5
    assert len(bench.vtn.all("RegisterReport")) == 2, "reports are registered again"
    granted = bench.vtn.all("CreatePartyRegistration")[-1].at
    assert [said.at >= granted for said in bench.vtn.all("RegisterReport")] == [False, True]
    assert bench.vtn.all("Poll")[-1].at > granted


def test_hostile_a20_a_cancelled_registration_leaves_limits_in_force_and_registers_reports_again() -> None:
    async def scenario(site: Site) -> None:
        bench = site.bench
        cancel = messages.cancel_registration()
        ven = await bench.play(
            (5, _says(site, event("E1", 60.0))), (22, lambda: bench.vtn.queue.append(cancel)), seconds=600
        )
        assert ven.state is VenState.CANCELLED
        assert await site.kw(NINE + MINUTE) == 60.0
        bench.vtn.events = [event("E1", 60.0)]
        ven = await bench.play(seconds=1000)
        assert ven.state is VenState.REGISTERED
        assert await site.kw(NINE + MINUTE) == 60.0

    bench = with_desk(scenario, register_again_after=timedelta(minutes=20))
    assert len(bench.vtn.all("RegisterReport")) == 2
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")] * 2


def test_hostile_a22_an_open_ended_event_outlasts_its_vtn_and_a_restart() -> None:
    rows = [messages.signal([messages.interval("PT0S", 50)], unit=messages.power_unit())]

    async def scenario(site: Site) -> None:
        bench = site.bench
        endless = messages.event("E1", duration="PT0S", signals=rows)
        lost = (25, lambda: setattr(bench.vtn, "is_down", True))
        ven = await bench.play((5, _says(site, endless)), lost, seconds=3 * 3600)
        assert ven.health().is_lost
        assert await site.kw(bench.clock.now() + MINUTE) == 50.0
        await bench.play(seconds=3600)
        assert await site.kw(bench.clock.now() + timedelta(days=30)) == 50.0

    with_desk(scenario)


@FEW
@given(
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.integers(0, 10), st.integers(0, 10)),
)
def test_hostile_a23_random_starts_stay_in_their_windows_and_the_higher_priority_wins_else_the_first_else_the_lower_limit(
    priorities: tuple[int, int], windows: tuple[int, int]
) -> None:
    kws = (40.0, 60.0)

    async def scenario(site: Site) -> None:
        pairs = zip(kws, priorities, windows, (messages.CONTEXT, OTHER), strict=True)
        said = [
            event(f"E{n}", kw, priority=priority, start_after=f"PT{window}M", context=context)
            for n, (kw, priority, window, context) in enumerate(pairs)
        ]
        await site.bench.play((5, _says(site, *said)), seconds=15)
        both = [await site.event(f"E{n}") for n in range(2)]
        for one, window in zip(both, windows, strict=True):
            assert NINE <= one.active.start <= NINE + window * MINUTE
        assert await site.kw(NINE - MINUTE) == RATING_KW
        ranks = [(priority or LAST, one.active.start) for priority, one in zip(priorities, both, strict=True)]
        expected = min(kw for kw, rank in zip(kws, ranks, strict=True) if rank == min(ranks))
        assert await site.kw(NINE + 30 * MINUTE) == expected

    with_desk(scenario)
