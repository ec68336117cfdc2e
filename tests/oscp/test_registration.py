"""Registration: tokens A, B and C, versions, addresses, leaving and coming back (cases o1 to o7, C1, C2, C5)."""

import asyncio
from datetime import timedelta

import pytest

from gateway.domain.limits import Limit
from gateway.domain.oscp import LinkState, OscpLink, OscpMessage
from gateway.domain.signals import RawSignal
from gateway.oscp.names import PeerRole
from gateway.oscp.outbox import Lane
from gateway.outbound import AddressRules
from gateway.sealing import token_hash
from tests.fakes.clock import HandClock
from tests.oscp.scene import BASE, DSO, TENANT, TOKEN_A, TOKEN_B, Scene, T, block, provider_settings

REGISTER = {"token": TOKEN_B, "version_url": [{"version": "2.0", "base_url": BASE}]}


async def kept(scene: Scene) -> int:
    rows = [await scene.store.find(kind, TENANT) for kind in (OscpLink, OscpMessage, Limit)]
    return sum(len(found) for found in rows)


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param("", id="o1-none"),
        pytest.param("Token unknown", id="o2-unknown"),
        pytest.param(f"Bearer {TOKEN_A}", id="c1-other-scheme"),
        pytest.param("Token", id="c1-empty"),
    ],
)
async def test_a_stranger_is_told_nothing_and_leaves_nothing(authorization: str) -> None:
    scene = await Scene().begin()
    reply = await scene.call("register", REGISTER, headers={"authorization": authorization}, token="")
    assert reply.status == 401
    assert await kept(scene) == 0
    assert scene.http.calls == []


async def test_o3_without_a_common_version_nothing_changes_and_the_first_token_lives() -> None:
    scene = await Scene().begin()
    said = {"token": TOKEN_B, "version_url": [{"version": "3.0", "base_url": BASE}]}
    reply = await scene.call("register", said, token=TOKEN_A)
    assert (reply.status, reply.message) == (501, "only version 2.0 is spoken here")
    assert await kept(scene) == 0
    assert (await scene.call("register", REGISTER, token=TOKEN_A)).status == 204


async def test_o4_the_answer_is_empty_and_one_register_follows_with_token_b() -> None:
    scene = await Scene().begin()
    reply = await scene.call("register", REGISTER, token=TOKEN_A, request_id="r1")
    assert (reply.status, reply.body) == (204, b"")
    assert scene.http.calls == []  # the answer comes first, what follows leaves afterwards
    await scene.flush()
    [call] = scene.http.calls
    assert (call.method, call.url) == ("POST", f"{BASE}/register")
    assert call.headers["Authorization"] == f"Token {TOKEN_B}"
    assert call.headers["X-Correlation-ID"] == "r1"
    [body] = scene.http.bodies("register")
    assert body["version_url"] == [{"version": "2.0", "base_url": "https://gw.example/oscp/fp/2.0"}]
    assert len(body["token"]) >= 43
    assert (await scene.call("register", REGISTER, token=TOKEN_A)).status == 401
    assert (await scene.handshake()).status == 204
    assert scene.link.state is LinkState.HANDSHAKEN


async def test_o5_retries_keep_the_token_and_the_request_id() -> None:
    scene = await Scene().begin()
    scene.http.answers["register"] = [None, 503, None, 204]
    assert (await scene.call("register", REGISTER, token=TOKEN_A)).status == 204
    clock = scene.clock
    assert isinstance(clock, HandClock)
    for seconds in (0, 4, 1, 9, 1, 14, 1):
        clock.move(seconds=seconds)
        await scene.unit.outbox.send_due(Lane.CONTACT)
    assert [(at - T).total_seconds() for at in scene.http.at] == [0, 5, 15, 30]
    assert len({call.headers["X-Request-ID"] for call in scene.http.calls}) == 1
    assert len({body["token"] for body in scene.http.bodies("register")}) == 1
    assert scene.link.state is LinkState.REGISTERED
    assert (await scene.messages())[0].outcome == "HTTP 204"


async def test_a_partner_that_uses_its_token_has_it_whatever_became_of_our_answer() -> None:
    scene = await Scene().begin()
    scene.http.answers["register"] = [None]
    await scene.register()
    assert scene.link.state is LinkState.UNREGISTERED
    assert (await scene.handshake()).status == 204
    assert scene.link.state.value == "handshaken"
    assert (await scene.call("register", REGISTER, token=TOKEN_A)).status == 401
    scene.clock.move(seconds=5)
    await scene.flush()
    assert len(scene.http.sent("register")) == 1


async def test_a_second_exchange_kills_the_tokens_of_the_first() -> None:
    scene = await Scene().online()
    old = scene.token_c
    assert (await scene.register(token=old)).status == 204
    assert (scene.link.state, len(scene.http.sent("register"))) == (LinkState.REGISTERED, 2)
    assert (await scene.handshake()).status == 204
    assert (await scene.call("heartbeat", {"offline_mode_at": "2026-11-21T10:03:00Z"}, token=old)).status == 401


async def test_o8_a_handshake_with_the_old_token_outlives_the_change_of_tokens() -> None:
    scene = await Scene().online()
    old = scene.token_c
    scene.http.answers["register"] = [None, 204]
    assert (await scene.register(token=old)).status == 204
    wish = {"required_behaviour": {"heartbeat_interval": 60, "measurement_configuration": []}}
    assert (await scene.call("handshake", wish, token=old)).status == 204
    clock = scene.clock
    assert isinstance(clock, HandClock)
    clock.move(seconds=5)
    await scene.flush()
    assert (scene.link.state, scene.link.beat_every_s) == (LinkState.HANDSHAKEN, 60.0)
    assert (await scene.call("heartbeat", {"offline_mode_at": "2026-11-21T10:03:00Z"}, token=old)).status == 401
    assert (await scene.beat(180)).status == 204
    assert scene.link.state.value == "online"


async def test_g4_what_was_to_be_said_while_we_were_away_is_not_said_after_its_time() -> None:
    scene = await Scene().online()
    scene.http.answers["handshake_acknowledge"] = [503]
    await scene.handshake()
    clock = scene.clock
    assert isinstance(clock, HandClock)
    clock.move(days=3)
    later = await Scene(after=scene).begin()
    await later.flush()
    assert later.http.calls == []
    left = [one for one in await later.messages() if one.outcome != "HTTP 204"]
    assert [(one.path, one.outcome) for one in left] == [("handshake_acknowledge", "not sent: its time is over")]


async def test_a_message_that_is_never_taken_is_given_up_and_the_link_says_so() -> None:
    scene = await Scene().begin()
    scene.http.answers["register"] = [503]
    await scene.call("register", REGISTER, token=TOKEN_A)
    clock = scene.clock
    assert isinstance(clock, HandClock)
    for _ in range(70):
        await scene.unit.outbox.send_due(Lane.CONTACT)
        clock.move(minutes=1)
    assert not (await scene.messages())[0].is_open
    assert scene.unit.standing().last_error == "register: HTTP 503"
    assert (await scene.call("register", REGISTER, token=TOKEN_A)).status == 204  # the first token was not spent


async def test_a_refusal_is_not_tried_again() -> None:
    scene = await Scene().begin()
    scene.http.answers["register"] = [400]
    await scene.register()
    assert len(scene.http.calls) == 1
    assert (await scene.messages())[0].outcome == "HTTP 400"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "https://169.254.169.254/latest",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://127.0.0.1/oscp",
        "https://localhost/oscp",
        "https://10.0.0.7/oscp",
        "https://inner.example/oscp",
        "https://2130706433/oscp",
        "https://nobody.example/oscp",
        "http://dso.example/oscp",
        "file:///etc/passwd",
        "/oscp/cp/2.0",
        "https://user:secret@dso.example/oscp",
        "https://dso.example/oscp?x=1",
    ],
)
async def test_o6_c2_an_address_into_our_own_network_is_refused_before_anything_is_asked(url: str) -> None:
    scene = await Scene().begin()
    scene.names.addresses.update({"inner.example": "10.1.2.3", "nobody.example": "", "2130706433": "127.0.0.1"})
    said = {"token": TOKEN_B, "version_url": [{"version": "2.0", "base_url": url}]}
    reply = await scene.call("register", said, token=TOKEN_A)
    await scene.flush()
    assert reply.status == 400
    assert "secret" not in reply.message
    assert scene.http.calls == []
    assert await kept(scene) == 0


async def test_c2_a_private_host_passes_when_the_settings_name_it() -> None:
    rules = AddressRules(hosts=frozenset({"dso.example"}))
    scene = await Scene(provider_settings(rules=rules)).begin()
    scene.names.addresses["dso.example"] = "10.1.2.3"
    assert (await scene.register()).status == 204


async def test_o7_a_change_of_address_and_token_holds_for_what_comes_next() -> None:
    scene = await Scene().online()
    said = {"token": "n" * 40, "version_url": [{"version": "2.0", "base_url": "https://new.example/cp"}]}
    assert (await scene.call("register", said, method="PUT")).status == 204
    assert len(scene.http.sent("register")) == 1
    await scene.handshake()
    call = scene.http.sent("handshake_acknowledge")[-1]
    assert call.url == "https://new.example/cp/handshake_acknowledge"
    assert call.headers["Authorization"] == f"Token {'n' * 40}"
    assert scene.link.state is LinkState.ONLINE


async def test_o7_who_leaves_is_a_stranger_and_its_group_goes_to_the_fail_safe() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50))
    token = scene.token_c
    assert (await scene.resolved()).kw == 50.0
    assert (await scene.call("register", method="DELETE")).status == 204
    for message in ("register", "handshake", "heartbeat", "update_group_capacity_forecast"):
        assert (await scene.call(message, {}, token=token)).status == 401
    assert (await scene.call("register", REGISTER, token=TOKEN_A)).status == 401  # used once
    assert (await scene.resolved()).kw == 7.0
    assert "fail-safe" in (await scene.resolved()).why()
    assert scene.link.state is LinkState.UNREGISTERED
    assert (scene.link.base_url, scene.link.sealed_token, scene.link.token_sha256) == ("", "", "")


async def test_a_message_that_was_on_its_way_when_the_partner_left_stays_given_up() -> None:
    scene = await Scene().online()
    await scene.handshake()

    async def leave_meanwhile() -> int:
        assert (await scene.call("register", method="DELETE")).status == 204
        return 503

    scene.http.answers["handshake_acknowledge"] = [leave_meanwhile, 204]
    assert (await scene.handshake()).status == 204
    assert [one.outcome for one in await scene.messages() if one.attempts == 0] == ["the partner has left"]
    assert not any(one.is_open for one in await scene.messages())


async def test_c5_the_same_register_twice_begins_one_exchange() -> None:
    scene = await Scene().begin()
    for _ in range(2):
        assert (await scene.call("register", REGISTER, token=TOKEN_A, request_id="r1")).status == 204
    await scene.flush()
    assert len(scene.http.sent("register")) == 1


async def test_c5_the_same_request_twice_at_once_has_one_effect() -> None:
    scene = await Scene().online()
    replies = await asyncio.gather(*(scene.forecast(block(50), request_id="f1") for _ in range(5)))
    assert [reply.status for reply in replies] == [204] * 5
    assert len(scene.desk.stated_by(TENANT, DSO)) == 1
    assert len(await scene.store.find(RawSignal, TENANT)) == 1


async def test_c5_a_request_id_with_another_content_is_refused() -> None:
    scene = await Scene().online()
    assert (await scene.forecast(block(50), request_id="f1")).status == 204
    reply = await scene.forecast(block(60), request_id="f1")
    assert reply.status == 409
    assert (await scene.resolved()).kw == 50.0


async def test_a_request_id_is_free_again_after_a_day_and_the_words_of_both_are_kept() -> None:
    scene = await Scene().online()
    assert (await scene.forecast(block(50), request_id="f1")).status == 204
    scene.clock.move(hours=24)
    assert (await scene.forecast(block(60, 24 * 60, 25 * 60), request_id="f1")).status == 204
    assert (await scene.resolved(scene.clock.now() + timedelta(seconds=1))).kw in {60.0, 7.0}
    assert len(await scene.store.find(RawSignal, TENANT)) == 2


async def test_tokens_are_hashed_or_encrypted_in_every_row() -> None:
    scene = await Scene().online()
    rows = [
        *(row.record for row in await scene.store.find(OscpLink, TENANT)),
        *(row.record for row in await scene.store.find(OscpMessage, TENANT)),
    ]
    shown = " ".join(map(repr, rows)) + repr([entry.entry for entry in await scene.store.audit_entries()])
    for token in (TOKEN_A, TOKEN_B, scene.token_c):
        assert token not in shown
    assert scene.link.token_sha256 == token_hash(scene.token_c)


async def test_we_begin_where_the_settings_say_so_and_answer_no_answer() -> None:
    scene = await Scene(provider_settings(url="https://dso.example/oscp/cp/2.0", sends_handshake=True)).begin()
    await scene.flush()
    [call] = scene.http.sent("register")
    assert call.headers["Authorization"] == f"Token {TOKEN_A}"
    assert "X-Correlation-ID" not in call.headers
    token_b = scene.token_c
    said = {"token": "c" * 40, "version_url": [{"version": "2.0", "base_url": BASE}]}
    assert (await scene.call("register", said, token=TOKEN_A)).status == 401  # it is ours to show
    headers = {"X-Correlation-ID": call.headers["X-Request-ID"]}
    assert (await scene.call("register", said, token=token_b, headers=headers)).status == 204
    await scene.flush()
    assert len(scene.http.sent("register")) == 1
    assert scene.link.state.value == "registered"
    [shake] = scene.http.sent("handshake")
    assert shake.headers["Authorization"] == f"Token {'c' * 40}"
    assert (await scene.call("handshake_acknowledgment", {}, token=token_b)).status == 204
    assert scene.link.state is LinkState.HANDSHAKEN


async def test_an_exchange_of_ours_that_was_given_up_begins_anew() -> None:
    scene = await Scene(provider_settings(url=BASE)).begin()
    scene.http.answers["register"] = [400]
    await scene.flush()
    await scene.unit.watch.look()
    await scene.flush()
    first, second = scene.http.bodies("register")
    assert first["token"] != second["token"]


async def test_a_restart_goes_on_where_the_link_was() -> None:
    scene = await Scene().begin()
    scene.http.answers["register"] = [None]
    await scene.register()
    scene.clock.move(seconds=5)
    again = await Scene(after=scene).begin()
    await again.flush()
    assert again.http.bodies("register") == [scene.http.bodies("register")[0]]
    assert (await again.handshake()).status == 204
    assert again.link.state is LinkState.HANDSHAKEN


async def test_a_full_disk_is_answered_503_and_nothing_changes() -> None:
    scene = await Scene().begin()
    scene.store.is_down = True
    assert (await scene.call("register", REGISTER, token=TOKEN_A)).status == 503
    assert scene.link.state is LinkState.UNREGISTERED
    scene.store.is_down = False
    assert (await scene.register()).status == 204


async def test_c1_a_token_of_another_role_opens_nothing() -> None:
    optimiser = provider_settings(authority="oscp:co", role=PeerRole.CAPACITY_OPTIMIZER, first_token="o" * 40)
    scene = await Scene(provider_settings(), optimiser).begin()
    assert (await scene.call("register", REGISTER, token=TOKEN_A, role="co")).status == 403
    assert (await scene.register(token="o" * 40)).status == 204
    reply = await scene.forecast(block(50))
    assert reply.status == 403
    assert not scene.desk.stated_by(TENANT, "oscp:co")
    assert (await scene.forecast(block(50), type="OPTIMUM")).status == 204
    assert not scene.desk.stated_by(TENANT, DSO)
