"""A limit of a 3.x VTN opens because it was taken back, never because programs, targets or our ven are out of sight."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from gateway.domain.errors import InvalidInput
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.settings import OwnResource
from gateway.openadr.v3.standing import Standing
from gateway.openadr.v3.survey import Survey
from gateway.openadr.v3.wire import Target
from tests.openadr.v3.bench import Bench, virtually
from tests.openadr.v3.memory_vtn import limit_event
from tests.openadr.virtual_life import START

BOTH = pytest.mark.parametrize("dialect", list(Dialect), ids=lambda dialect: dialect.value)
SURVEYS = timedelta(seconds=60)
LONG = "PT8H"

Trouble = Callable[[Bench], Any]


def unlisted(bench: Bench) -> None:
    bench.vtn.unlisted.add("p1")


def hidden_with_its_events(bench: Bench) -> None:
    bench.vtn.unlisted |= {"p1", "e1"}


def nameless(bench: Bench) -> None:
    bench.vtn.programs["p1"]["programName"] = None


def nameless_without_its_events(bench: Bench) -> None:
    nameless(bench)
    bench.vtn.unlisted.add("e1")


def renamed(bench: Bench) -> None:
    bench.vtn.programs["p1"]["programName"] = "another name"


def nothing_listed(bench: Bench) -> None:
    bench.vtn.unlisted |= {"p1", "p2", "e1", "e2"}


TROUBLES = pytest.mark.parametrize(
    "trouble",
    [unlisted, hidden_with_its_events, nameless, nameless_without_its_events, renamed, nothing_listed],
    ids=lambda trouble: trouble.__name__,
)
CHOICES = pytest.mark.parametrize(
    "programs", [("program p1",), ("p1",), ("program p1", "p2"), ()], ids=["name", "id", "two", "all"]
)


def two_programs(bench: Bench) -> None:
    for number in (1, 2):
        bench.vtn.program(f"p{number}")
        bench.vtn.event(f"e{number}", **limit_event(START, 10.0, duration=LONG) | {"programID": f"p{number}"})


@BOTH
@CHOICES
@TROUBLES
def test_a_program_out_of_sight_opens_no_limit(trouble: Trouble, programs: tuple[str, ...], dialect: Dialect) -> None:
    async def scenario(bench: Bench) -> None:
        two_programs(bench)
        await bench.run((75, partial(trouble, bench)), seconds=400)
        assert bench.in_force()["e1"] == 0
        await bench.run(seconds=200)
        assert bench.in_force()["e1"] == 0, "after a restart, too"
        bench.vtn.unlisted.clear()
        bench.vtn.programs["p1"]["programName"] = "program p1"
        await bench.run(seconds=200)
        assert bench.in_force()["e1"] == 0
        bench.vtn.events.pop("e1")
        await bench.run(seconds=5)
        assert "e1" not in bench.in_force(), "taken back with the first list without it"

    effects = virtually(scenario, programs=programs, dialect=dialect, survey_interval=SURVEYS).desk.effects
    assert [one for one in effects if "e1" in one] == ["receive e1/0", "cancel e1/0"]


@BOTH
@CHOICES
def test_a_deleted_program_releases_its_events(programs: tuple[str, ...], dialect: Dialect) -> None:
    async def scenario(bench: Bench) -> None:
        two_programs(bench)

        def delete() -> None:
            bench.vtn.programs.pop("p1")
            bench.vtn.events.pop("e1")

        await bench.run((75, delete), seconds=135)
        assert "e1" not in bench.in_force()
        assert [one.path for one in bench.vtn.heard].count("/programs/p1") == 1
        await bench.run(seconds=30)
        assert set(bench.in_force()) == ({"e2"} if len(programs) != 1 else set())

    virtually(scenario, programs=programs, dialect=dialect, survey_interval=SURVEYS)


def test_a_program_that_is_hidden_behind_a_404_with_our_targets_opens_no_limit() -> None:
    async def scenario(bench: Bench) -> None:
        two_programs(bench)
        bench.vtn.programs["p1"]["targets"] = bench.vtn.events["e1"]["targets"] = ["ours"]
        await bench.run((5, lambda: bench.vtn.grant(["ours"])), seconds=75)
        assert bench.in_force() == {"e1": 0}
        bench.vtn.refusal = 404
        hidden_with_its_events(bench)
        wiped(bench)
        await bench.run(seconds=200)
        assert bench.in_force() == {"e1": 0}

    virtually(scenario, programs=("program p1",), survey_interval=SURVEYS)


def test_a_deleted_program_releases_events_that_are_still_listed() -> None:
    async def scenario(bench: Bench) -> None:
        two_programs(bench)
        await bench.run((75, partial(bench.vtn.programs.pop, "p1")), seconds=135)
        assert bench.in_force() == {}
        assert bench.vtn.asked("GET /events")[-1].all("programID") == [], "asked all the same"

    virtually(scenario, programs=("program p1",), survey_interval=SURVEYS)


def test_a_program_that_settings_choose_no_more_releases_its_events() -> None:
    async def scenario(bench: Bench) -> None:
        two_programs(bench)
        await bench.run(seconds=15)
        assert set(bench.in_force()) == {"e1", "e2"}
        bench.settings = type(bench.settings)(
            **{name: getattr(bench.settings, name) for name in bench.settings.__slots__} | {"programs": ("p2",)}
        )
        bench.ven = bench.build()
        await bench.run(seconds=15)
        assert set(bench.in_force()) == {"e2"}

    virtually(scenario, programs=("p1", "p2"))


def test_a_chosen_program_that_is_missing_is_named_once() -> None:
    async def scenario(bench: Bench) -> None:
        two_programs(bench)
        await bench.run((75, partial(unlisted, bench)), seconds=400)

    bench = virtually(scenario, programs=("program p1", "never seen"), survey_interval=SURVEYS)
    assert {(one.rule, one.object_kind, one.object_id, one.is_applied) for one in bench.broken()} == {
        ("program-not-shown", "program", "p1", True),
        ("program-not-shown", "program", "never seen", False),
    }
    assert all("chosen program" in one.problem for one in bench.broken())


def test_a_vtn_that_falls_silent_while_its_programs_are_out_of_sight_is_lost() -> None:
    async def scenario(bench: Bench) -> None:
        two_programs(bench)
        down = (200, lambda: setattr(bench.vtn, "is_down", True))
        await bench.run((75, partial(nothing_listed, bench)), down, seconds=8000)
        assert bench.in_force() == {"e1": 0}
        assert [is_lost for _, is_lost in bench.desk.contacts] == [False, True]

    virtually(scenario, programs=("program p1",), survey_interval=SURVEYS)


def test_a_poll_without_a_request_cannot_be() -> None:
    with pytest.raises(InvalidInput, match="queries"):
        Survey(standing=Standing(ven=None), programs={}, takes_all=False, queries=())


# ---------------------------------------------------------------- our ven and its targets


def wiped(bench: Bench) -> None:
    bench.vtn.vens.clear()
    bench.vtn.vens["other"] = {"id": "other", "venName": "somebody else"}
    bench.vtn.resources.clear()


def ungranted(bench: Bench) -> None:
    bench.vtn.grant([])


SITE = (OwnResource(name="site-a", node="node-a"),)


@pytest.mark.parametrize("by_id", [200, 403, 404], ids=["readable-by-id", "forbidden", "hidden"])
@pytest.mark.parametrize("asks", [(), (Target("", "ours"),)], ids=["granted", "asked-anyway"])
@pytest.mark.parametrize("trouble", [wiped, ungranted], ids=lambda trouble: trouble.__name__)
def test_lost_targets_open_no_limit(trouble: Trouble, asks: tuple[Target, ...], by_id: int) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 5.0, duration="PT1H"), targets=["ours"])
        bench.vtn.event("unchanged", **limit_event(START, 6.0, duration="PT1H"))

        def strike() -> None:
            trouble(bench)
            bench.vtn.refusal = by_id
            bench.vtn.unlisted |= set() if by_id == 200 else {"e1"}

        grant = (5, lambda: bench.vtn.grant(["ours"]))
        await bench.run(grant, seconds=75)
        assert bench.in_force() == {"e1": 0, "unchanged": 0}
        await bench.run((5, strike), seconds=600)
        assert bench.in_force() == {"e1": 0, "unchanged": 0}
        await bench.run(seconds=100)
        assert bench.in_force() == {"e1": 0, "unchanged": 0}
        bench.vtn.unlisted.clear()
        bench.vtn.events.clear()
        await bench.run(seconds=30)
        assert bench.in_force() == {"e1": 0}, "deleted or hidden, who knows"
        bench.vtn.vens = {key: {**one, "targets": ["ours"]} for key, one in bench.vtn.vens.items()}
        await bench.run(seconds=5)
        assert bench.in_force() == {}, "deleted: GET by id says 404 to one who may see it"

    effects = virtually(scenario, targets=asks, resources=SITE, survey_interval=SURVEYS).desk.effects
    assert sorted(effects) == ["cancel e1/0", "cancel unchanged/0", "receive e1/0", "receive unchanged/0"]


def test_an_event_held_without_being_shown_ends_at_its_own_end_and_is_asked_for_no_more() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 5.0, duration="PT30M"))

        def strike() -> None:
            wiped(bench)
            bench.vtn.unlisted.add("e1")

        await bench.run((100, strike), seconds=1700)
        assert bench.in_force() == {"e1": 0}
        assert bench.held()["event:e1"].gone_at is None
        await bench.run(seconds=200)
        asked = len(bench.vtn.asked("GET /events/e1"))
        assert asked > 100
        await bench.run(seconds=200)
        assert len(bench.vtn.asked("GET /events/e1")) == asked
        assert bench.held()["event:e1"].gone_at is not None

    assert virtually(scenario, survey_interval=SURVEYS).desk.effects == ["receive e1/0"]


def test_targets_lost_between_two_surveys_open_no_limit() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 5.0, duration=LONG), targets=["ours"])
        await bench.run(seconds=2)
        bench.vtn.grant(["ours"])
        await bench.run((100, partial(ungranted, bench)), seconds=1000)
        assert bench.in_force() == {"e1": 0}

    virtually(scenario, survey_interval=timedelta(hours=4))


def test_in_3_0_1_an_event_that_is_listed_stays_when_our_resource_lost_its_targets() -> None:
    group = [{"type": "GROUP", "values": ["north"]}]

    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        await bench.run(seconds=5)
        bench.vtn.grant(group, resource="site-a")
        bench.vtn.event(**limit_event(START, 5.0, duration=LONG), targets=group)
        await bench.run(seconds=15)
        assert bench.in_force() == {"e1": 0}
        await bench.run((5, lambda: bench.vtn.grant([], resource="site-a")), seconds=300)
        assert bench.in_force() == {"e1": 0}
        await bench.run(seconds=30)
        assert bench.in_force() == {"e1": 0}
        bench.vtn.event(**limit_event(START, 5.0, duration=LONG), targets=[{"type": "GROUP", "values": ["south"]}])
        await bench.run(seconds=30)
        assert bench.in_force() == {}, "it is for others now, says the VTN"

    virtually(scenario, dialect=Dialect.V301, resources=SITE, survey_interval=SURVEYS)


def test_a_poll_asks_for_few_events_by_their_id_and_for_each_in_turn() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        for number in range(12):
            bench.vtn.event(f"e{number}", **limit_event(START, 5.0, duration=LONG))
        await bench.run(seconds=75)
        assert len(bench.in_force()) == 12
        wiped(bench)
        bench.vtn.unlisted |= set(bench.vtn.events)
        begun = len(bench.vtn.heard)
        await bench.run(seconds=45)
        heard = bench.vtn.heard[begun:]
        asked = [one for one in heard if one.path.startswith("/events/")]
        polls = [one for one in heard if one.path == "/events"]
        assert len(asked) == 3 * len({one.at for one in polls})
        assert len({one.path for one in asked}) == 12
        assert len([one for one in heard if one.path == "/programs"]) <= 3, "no survey with every poll"
        bench.vtn.events.clear()
        bench.vtn.unlisted.clear()
        await bench.run(seconds=45)
        assert bench.in_force() == {}

    virtually(scenario, survey_interval=SURVEYS)


# ---------------------------------------------------------------- refusals are no empty lists


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503], ids=str)
@pytest.mark.parametrize("what", ["GET /events", "GET /programs"])
def test_a_refused_list_releases_nothing(what: str, status: int) -> None:
    async def scenario(bench: Bench) -> None:
        two_programs(bench)
        await bench.run(seconds=15)
        for _ in range(20):
            bench.vtn.once(what, status, [])
        ven = await bench.run(seconds=60)
        assert set(bench.in_force()) == {"e1", "e2"}
        assert ven.health().failures > 0

    virtually(scenario, survey_interval=SURVEYS)


def test_an_empty_world_after_an_outage_releases_only_what_is_deleted() -> None:
    async def scenario(bench: Bench) -> None:
        two_programs(bench)
        down = (20, lambda: setattr(bench.vtn, "is_down", True))

        def back() -> None:
            bench.vtn.is_down = False
            wiped(bench)
            nothing_listed(bench)

        await bench.run(down, (600, back), seconds=1500)
        assert bench.in_force() == {"e1": 0, "e2": 0}

    virtually(scenario, survey_interval=SURVEYS)


def test_a_deleted_event_is_released_with_a_list_whose_survey_is_refused_when_its_id_says_404() -> None:
    async def scenario(bench: Bench) -> None:
        two_programs(bench)
        await bench.run(seconds=5)

        def delete() -> None:
            bench.vtn.events.pop("e1")
            for _ in range(5):
                bench.vtn.once("GET /vens/ven-1", 500, {})

        await bench.run((15, delete), seconds=25)
        assert bench.in_force() == {"e2": 0}

    virtually(scenario)
