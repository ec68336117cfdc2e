"""Who we are for a 3.x VTN, how we get in, and what happens when it does not answer: in virtual time over memory."""

from datetime import timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest

from gateway.domain.signals import VenRegistration
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.settings import Credentials, OwnResource
from gateway.openadr.v3.wire import Target
from tests.openadr.v3.bench import Bench, virtually
from tests.openadr.v3.memory_vtn import AUTH, BASE, limit_event
from tests.openadr.virtual_life import START, TENANT

BOTH = pytest.mark.parametrize("dialect", list(Dialect), ids=lambda dialect: dialect.value)
RESOURCES = (OwnResource(name="site-a", node="node-a"), OwnResource(name="site-b", node="node-b"))


def registration(bench: Bench) -> VenRegistration:
    [row] = bench.store.all(VenRegistration, TENANT)
    return row


# ---------------------------------------------------------------- B1: tokens and waiting


@BOTH
def test_b1_a_token_is_found_by_discovery_and_asked_for_with_what_a_ven_needs(dialect: Dialect) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=35)

    vtn = virtually(scenario, dialect=dialect).vtn
    [asked] = [one for one in vtn.heard if one.method == "POST" and "token" in one.path]
    assert vtn.heard[0].path == "/auth/server"
    assert asked.content["grant_type"] == "client_credentials"
    assert asked.content["scope"].split()[0] == {"3.0.1": "read_all", "3.1.0": "read_targets"}[dialect.value]
    assert all(one.token == "token-1" for one in vtn.heard[2:])


def test_b1_a_vtn_without_discovery_gives_tokens_itself() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.has_discovery = False
        await bench.run(seconds=15)
        assert bench.ven.health().failures == 0
        assert [one.path for one in bench.vtn.heard][:2] == ["/auth/server", "/auth/token"]
        assert len(bench.vtn.asked("GET /events")) == 2

    virtually(scenario)


def test_b1_a_revoked_token_is_renewed_once_and_no_poll_is_lost() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run((25, bench.vtn.revoke_tokens), seconds=45)
        polls = [one for one in bench.vtn.asked("GET /events") if one.token in bench.vtn.tokens or one.at < START]
        assert bench.vtn.issued == 2
        assert [(one.at - START).total_seconds() for one in polls] == [30.0, 40.0]
        [refused] = [
            one for one in bench.vtn.heard if one.token == "token-1" and one.at > START + timedelta(seconds=25)
        ]
        assert refused.at == polls[0].at, "repeated at once"

    virtually(scenario)


def test_b1_a_vtn_that_never_takes_the_token_is_not_asked_in_a_loop() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.on_request = lambda _heard: bench.vtn.tokens.clear()
        ven = await bench.run(seconds=600)
        assert ven.health().failures >= 3
        assert "401" in ven.health().last_error
        assert bench.vtn.issued == ven.health().failures + 1, "one renewal for each attempt"
        assert bench.vtn.issued <= 20

    virtually(scenario)


def test_b1_a_token_is_renewed_before_it_ends() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.token_life = 120
        await bench.run(seconds=600)
        assert bench.vtn.issued == 7, "each 90 s"

    virtually(scenario)


@pytest.mark.parametrize("expires", ["soon", -5, 0, 1e30], ids=["text", "negative", "zero", "huge"])
def test_b1_any_life_of_a_token_is_survived(expires: Any) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.token_life = expires
        ven = await bench.run(seconds=25)
        assert (ven.health().failures == 0) is (expires != "soon")

    virtually(scenario)


def test_b1_a_secret_is_only_sent_over_https() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.once("GET /auth/server", 200, {"tokenURL": "http://login.example/token"})
        ven = await bench.run(seconds=3)
        assert "tokenURL" in ven.health().last_error
        assert not [one for one in bench.vtn.heard if one.method == "POST"]

    virtually(scenario)


def test_b1_refused_credentials_are_not_repeated_in_errors() -> None:
    credentials = Credentials(client_id="ven-client", client_secret="wr0ng-secret", token_url=AUTH)

    async def scenario(bench: Bench) -> None:
        ven = await bench.run(seconds=25)
        assert "401" in ven.health().last_error
        assert "wr0ng" not in repr(bench.settings) + ven.health().last_error

    virtually(scenario, credentials=credentials)


@pytest.mark.parametrize("status", [429, 503], ids=str)
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_b1_a_busy_vtn_is_left_alone_as_long_as_it_wants(status: int, form: str) -> None:
    async def scenario(bench: Bench) -> None:
        until = START + timedelta(seconds=400)
        text = "400" if form == "seconds" else format_datetime(until, usegmt=True)
        bench.vtn.once("GET /events", status, {"title": "busy"}, retry_after=text)
        await bench.run(seconds=500)
        first, second, *_ = bench.vtn.asked("GET /events")
        assert (second.at - first.at) >= timedelta(seconds=399)
        assert bench.vtn.asked("GET /events")[-1].at > until

    virtually(scenario)


@pytest.mark.parametrize("text", ["", "-7", "soon", "99999999999999999999", "Sat, 01 Jan 0000"], ids=str)
def test_b1_any_retry_after_is_survived(text: str) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.once("GET /events", 503, {}, retry_after=text)
        ven = await bench.run(seconds=4000)
        assert ven.health().failures == 0

    virtually(scenario)


def test_without_credentials_everything_is_asked_anonymously() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.is_anonymous = True
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 1.0))
        await bench.run(seconds=15)
        assert bench.in_force() == {"e1": 0}
        assert {one.token for one in bench.vtn.heard} == {""}
        assert {one.path for one in bench.vtn.heard} == {"/programs", "/events"}

    virtually(scenario, credentials=None, registers=False)


# ---------------------------------------------------------------- B2: pages


@pytest.mark.parametrize("count", [0, 49, 50, 61, 100, 250], ids=str)
def test_b2_all_events_are_seen_however_many_pages(count: int) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        for number in range(count):
            bench.vtn.event(f"e{number}", **limit_event(START, float(number)))
        await bench.run(seconds=5)
        assert len(bench.in_force()) == count
        assert len(bench.vtn.asked("GET /events")) == count // 50 + 1
        assert {one.all("limit")[0] for one in bench.vtn.asked("GET /events")} == {"50"}

    virtually(scenario)


@pytest.mark.parametrize("count", [50, 61], ids=str)
def test_b2_a_vtn_that_ignores_skip_is_not_asked_for_ever(count: int) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.ignores_skip = True
        for number in range(count):
            bench.vtn.event(f"e{number}", **limit_event(START, 1.0))
        await bench.run(seconds=5)
        assert len(bench.in_force()) == 50
        assert len(bench.vtn.asked("GET /events")) == 2

    virtually(scenario)


def test_b2_a_list_that_is_too_long_releases_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        for number in range(120):
            bench.vtn.event(f"e{number:03}", **limit_event(START, 1.0))
        await bench.run(seconds=5)
        assert len(bench.in_force()) == 100
        bench.vtn.events.pop("e007")
        await bench.run(seconds=5)
        assert "e007" in bench.in_force(), "it may be on a page that was not read"

    virtually(scenario, most_pages=2)


def test_b2_an_event_that_slips_between_two_pages_is_not_released() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        for number in range(70):
            bench.vtn.event(f"e{number:03}", **limit_event(START, 1.0))
        await bench.run(seconds=5)

        def delete_first(heard: Any) -> None:
            if heard.path == "/events" and heard.all("skip") == ["50"]:
                bench.vtn.events.pop("e000", None)

        bench.vtn.on_request = delete_first
        await bench.run(seconds=5)
        assert "e050" in bench.in_force(), "it moved to the first page while the second was asked for"
        await bench.run(seconds=15)
        assert len(bench.in_force()) == 69

    bench = virtually(scenario)
    assert [effect for effect in bench.desk.effects if "cancel" in effect] == ["cancel e000/0"]


# ---------------------------------------------------------------- B3: targets


def test_b3_the_ven_learns_its_targets_and_sees_what_is_for_it() -> None:
    async def scenario(bench: Bench) -> None:
        vtn = bench.vtn
        vtn.program()
        for target in ("ours", "site-target", "foreign"):
            vtn.event(f"for-{target}", **limit_event(START, 5.0), targets=[target])
        vtn.event("for-all", **limit_event(START, 6.0))
        to_ven, to_site = partial(vtn.grant, ["ours"]), partial(vtn.grant, ["site-target"], resource="site-a")
        await bench.run((15, to_ven), (16, to_site), seconds=75)
        assert set(bench.in_force()) == {"for-all", "for-ours", "for-site-target"}
        nodes = {key: event.nodes for key, event in bench.events().items()}
        assert nodes == {"for-all": ("vpp-be",), "for-ours": ("vpp-be",), "for-site-target": ("node-a",)}
        assert vtn.asked("GET /events")[-1].all("targets") == ["ours", "site-target"]
        vtn.grant([])
        await bench.run(seconds=15)
        assert "for-ours" in bench.in_force(), "not shown to us any more, and not deleted either"
        vtn.events.pop("for-ours")
        vtn.grant(["ours"])
        await bench.run(seconds=15)
        assert "for-ours" not in bench.in_force()

    virtually(scenario, resources=RESOURCES, survey_interval=timedelta(seconds=60))


def test_b3_targets_of_3_0_1_choose_the_ven_and_the_place() -> None:
    def target(kind: str, *values: str) -> list[dict[str, Any]]:
        return [{"type": kind, "values": list(values)}]

    ours, other = target("VEN_NAME", "Depot A&B", "another"), target("VEN_NAME", "another")

    async def scenario(bench: Bench) -> None:
        for event_id, targets in {
            "ours": ours,
            "other": other,
            "place": target("POWER_SERVICE_LOCATION", "541448820000000015"),
            "nowhere": target("POWER_SERVICE_LOCATION", "999"),
            "resource": target("RESOURCE_NAME", "site-b"),
            "both": ours + target("POWER_SERVICE_LOCATION", "541448820000000015"),
            "other-place": other + target("POWER_SERVICE_LOCATION", "541448820000000015"),
        }.items():
            bench.vtn.event(event_id, **limit_event(START, 5.0), targets=targets)
        bench.vtn.program()
        await bench.run(seconds=15)
        assert {key: event.nodes for key, event in bench.events().items()} == {
            "ours": ("vpp-be",),
            "place": ("node-ean",),
            "resource": ("node-b",),
            "both": ("node-ean",),
        }
        assert all(not one.query[:-2] for one in bench.vtn.asked("GET /events"))

    nodes = {"541448820000000015": "node-ean"}
    virtually(scenario, dialect=Dialect.V301, resources=RESOURCES, nodes=nodes)


def test_b3_targets_that_settings_name_are_asked_for_in_3_0_1() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=5)
        queries = [one.query[:-2] for one in bench.vtn.asked("GET /events")]
        assert queries == [
            (),
            (("targetType", "GROUP"), ("targetValues", "a"), ("targetValues", "b")),
            (("targetType", "VEN_NAME"), ("targetValues", "Depot A&B")),
        ]

    targets = (Target("GROUP", "b"), Target("VEN_NAME", "Depot A&B"), Target("GROUP", "a"))
    virtually(scenario, dialect=Dialect.V301, targets=targets)


def test_b3_many_targets_are_asked_for_in_several_requests() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=5)
        asked = [one.all("targets") for one in bench.vtn.asked("GET /events")]
        assert [len(targets) for targets in asked] == [0, 50, 50, 20]
        assert len({target for targets in asked for target in targets}) == 120

    virtually(scenario, targets=tuple(Target("", f"{number:018}") for number in range(120)))


# ---------------------------------------------------------------- B19, identity


@BOTH
@pytest.mark.parametrize("request_types", [False, True], ids=["VEN", "BL_VEN_REQUEST"])
def test_b19_the_ven_and_its_resources_are_made_known_once(dialect: Dialect, request_types: bool) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.speaks_request_types = request_types
        for _ in range(3):
            await bench.run(seconds=25)

    bench = virtually(scenario, dialect=dialect, resources=RESOURCES)
    [made] = bench.vtn.asked("POST /vens")
    path = "/resources" if dialect is Dialect.V310 else "/vens/vens-1/resources"
    path = path.replace("vens-1", "ven-1")
    posted = [one.content for one in bench.vtn.asked(f"POST {path}")]
    if dialect is Dialect.V310:
        assert made.content == {"objectType": "VEN_VEN_REQUEST", "venName": "Depot A&B"}
        assert posted[0] == {"objectType": "VEN_RESOURCE_REQUEST", "resourceName": "site-a", "venID": "ven-1"}
    else:
        assert made.content == {"venName": "Depot A&B"}
        assert posted[0] == {"resourceName": "site-a"}
    assert len(posted) == 2
    row = registration(bench)
    assert (row.ven_id, row.active) == ("ven-1", True)
    assert {key.split(":")[0] for key in bench.held()} == {"ven", "resource"}
    assert sum(one.version for one in bench.held().values()) == 0


def test_a_ven_that_was_made_by_the_vtn_is_ours() -> None:
    async def scenario(bench: Bench) -> None:
        stamp = {"createdDateTime": "x", "modificationDateTime": "x", "objectType": "VEN"}
        bench.vtn.vens["v-7"] = {"id": "v-7", "venName": "Depot A&B", "targets": ["t"], **stamp}
        bench.vtn.vens["v-8"] = {"id": "v-8", "venName": "somebody else", **stamp}
        await bench.run(seconds=5)
        assert registration(bench).ven_id == "v-7"
        assert not bench.vtn.asked("POST /vens")
        await bench.run(seconds=5)
        assert len(bench.vtn.asked("GET /vens")) == 1, "by its id after that"

    virtually(scenario)


def test_a_vtn_that_was_set_up_anew_gets_us_again_with_the_same_seed() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=5)
        before = registration(bench)
        bench.vtn.vens.clear()
        bench.vtn.vens["other"] = {"id": "other", "venName": "other"}
        await bench.run(seconds=5)
        after = registration(bench)
        assert (before.ven_id, after.ven_id) == ("ven-1", "ven-2")
        assert before.registration_id == after.registration_id

    virtually(scenario)


def test_a_ven_that_is_there_but_was_not_shown_is_found_after_the_conflict() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.vens["v-7"] = {"id": "v-7", "venName": "Depot A&B"}
        bench.vtn.once("GET /vens", 200, [])
        await bench.run(seconds=5)
        assert registration(bench).ven_id == "v-7"
        assert len(bench.vtn.asked("POST /vens")) == 1

    virtually(scenario)


def test_a_refused_registration_is_tried_again_with_growing_pauses() -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(4):
            bench.vtn.once("POST /vens", 403, {"title": "Forbidden", "detail": "not you"})
        ven = await bench.run(seconds=600)
        assert [one.at for one in bench.vtn.asked("POST /vens")] == sorted(
            {one.at for one in bench.vtn.asked("POST /vens")}
        )
        assert len(bench.vtn.asked("POST /vens")) == 5
        assert ven.health().state.value == "registered"

    virtually(scenario)


def test_a_vtn_that_refuses_a_later_survey_is_polled_on() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        for _ in range(50):
            bench.vtn.once("GET /vens/ven-1", 500, {"detail": "out of order"})
        late = (200, lambda: bench.vtn.event(**limit_event(START, 5.0, duration="PT8H")))
        ven = await bench.run(late, seconds=300)
        assert bench.in_force() == {"e1": 0}
        assert (ven.health().failures, ven.health().last_error[-12:]) == (0, "out of order")
        assert len(bench.vtn.asked("GET /events")) >= 30

    virtually(scenario, survey_interval=timedelta(seconds=60))


# ---------------------------------------------------------------- silence, waking


def test_a_vtn_that_is_down_at_the_start_is_found_within_one_backoff_step() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.is_down = True
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 5.0, duration="PT8H"))
        await bench.run((3600, lambda: setattr(bench.vtn, "is_down", False)), seconds=3600 + 301)
        assert bench.in_force() == {"e1": 0}

    virtually(scenario)


def test_a_lost_vtn_is_told_once_and_so_is_its_return() -> None:
    async def scenario(bench: Bench) -> None:
        down = ((30, lambda: setattr(bench.vtn, "is_down", True)), (7200, lambda: setattr(bench.vtn, "is_down", False)))
        ven = await bench.run(*down, seconds=8000)
        lost = [(round((at - START).total_seconds(), -2), is_lost) for at, is_lost in bench.desk.contacts]
        assert lost[:2] == [(0, False), (3600, True)]
        assert [is_lost for _, is_lost in lost] == [False, True, False]
        assert not ven.health().is_lost

    virtually(scenario)


def test_waking_polls_at_once_and_a_storm_of_it_once_a_second() -> None:
    async def scenario(bench: Bench) -> None:
        ven = bench.ven
        storm = [(100 + number / 100, ven.wake) for number in range(300)]
        await bench.run((50.5, ven.wake), *storm, seconds=110)
        polls = [(one.at - START).total_seconds() for one in bench.vtn.asked("GET /events")]
        assert polls[:2] == [0.0, 50.5]
        assert 3 <= len([at for at in polls if at >= 100]) <= 5

    virtually(scenario, poll_interval=timedelta(seconds=1000))


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>502</html>", b"{", b'{"a": NaN}', b'"list"', b"[" * 5000, b'[{"id": "e1", "id": "e2"}]', b"\xff\xfe"],
    ids=["empty", "html", "broken", "nan", "no-list", "deep", "twice", "binary"],
)
def test_whatever_comes_instead_of_a_list_the_next_poll_is_normal(answer: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 5.0, duration="PT8H"))
        await bench.run(seconds=5)
        bench.vtn.once("GET /events", 200, raw=answer)
        ven = await bench.run(seconds=60)
        assert ven.health().failures == 0
        assert bench.in_force() == {"e1": 0}

    assert virtually(scenario).desk.effects == ["receive e1/0"]


def test_addresses_keep_whatever_path_the_vtn_has() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=5)
        assert {one.path.split("/")[1] for one in bench.vtn.heard} >= {"vens", "programs", "events"}

    virtually(scenario, vtn_url=f"{BASE}/")
