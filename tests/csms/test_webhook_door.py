"""The signed webhook over real sockets: columnar limits out, acknowledgements in the answer or later, keys that change."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gateway.csms.listening import DoorListener, ListenSettings, path_of
from gateway.csms.webhook.door import WebhookDoor, WebhookSettings
from gateway.csms.webhook.messages import Limits
from gateway.csms.webhook.schema import schema_text
from gateway.csms.webhook.signing import KEY_HEADER, SIGNATURE_HEADER, TIME_HEADER, Signer, SigningKey
from gateway.domain.dispatch import DispatchState
from gateway.domain.errors import InvalidInput, Unauthenticated
from gateway.domain.topology import EnforcementClass
from gateway.outbound import Call, ClientTls, PeerHttp
from tests.csms.door_scene import RULES, Behind, free_port, rows, running, serving, until
from tests.services.scene import CSMS, GRID, PLATFORM, TENANT, Scene, event, message, session

ROOT = Path(__file__).resolve().parents[2]
NEW, OLD = SigningKey(id="k2", secret="n" * 40), SigningKey(id="k1", secret="o" * 40)
WINDOW = timedelta(minutes=5)
ACCEPTED, APPLIED, REJECTED, TIMED_OUT = (
    DispatchState.ACCEPTED,
    DispatchState.APPLIED,
    DispatchState.REJECTED,
    DispatchState.TIMED_OUT,
)


class Platform:
    """The other side: checks every signature, and answers what a test tells it to."""

    def __init__(self, scene: Scene) -> None:
        self.signer = Signer((NEW,), WINDOW)
        self.scene = scene
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        self.rejects: dict[str, str] = {}
        self.applied: tuple[str, ...] = ()
        self.garbage: bytes | None = None

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.signer.check(request.headers, body, self.scene.clock.now())
        content = json.loads(body)
        self.messages.append(content)
        if self.garbage is not None:
            return web.Response(body=self.garbage)
        if self.status != 200:
            return web.Response(status=self.status)
        return web.json_response(self.ack(content))

    def ack(self, content: dict[str, Any]) -> dict[str, Any]:
        refused = [{"charger_id": c, "reason": why} for c, why in self.rejects.items() if c in content["charger_ids"]]
        return {"sequence": content["sequence"], "rejected": refused, "applied": list(self.applied)}

    def limit(self, charger: str) -> float:
        """Return the newest limit of a charger; NaN before the first message that names it."""
        of_it = [m for m in self.messages if charger in m["charger_ids"]]
        return float(of_it[-1]["limit_kw"][of_it[-1]["charger_ids"].index(charger)]) if of_it else math.nan


@dataclass
class WebhookScene(Behind):
    """A platform on one side, the services on the other."""

    scene: Scene
    door: WebhookDoor
    platform: Platform
    ack_url: str

    def __post_init__(self) -> None:
        super().__init__(self.scene)

    async def is_in(self, state: DispatchState, name: str = "ch-1-0") -> None:
        await self.steps_until(lambda: self.state(name) is state, state.name)

    async def tighten(self, kw: float, number: int = 1) -> None:
        grid_event = event(f"e{number}", start=self.scene.clock.now(), max_kw=kw, minutes=240)
        await self.scene.services.signals.receive(GRID, message(grid_event, raw_id=f"raw-{number}"))

    async def charging(self) -> None:
        """Two cars at full power."""
        cars = ["ch-1-0", "ch-2-0"]
        await self.scene.services.tracker.report_sessions(
            PLATFORM, [session(name) for name in cars], is_history=False, request_id="cars"
        )
        for _ in range(60):
            await self.pass_time(10, step=10.0)
            if all(self.platform.limit(name) > 10.0 for name in cars):
                return
        raise AssertionError("never at full power")

    async def later(self, content: dict[str, Any], signer: Signer, at: datetime | None = None) -> int:
        """Post an acknowledgement and return the status."""
        body = json.dumps(content).encode()
        headers = signer.headers(body, self.scene.clock.now() if at is None else at)
        async with aiohttp.ClientSession() as http, http.post(self.ack_url, data=body, headers=headers) as answer:
            return answer.status


@asynccontextmanager
async def webhook_scene() -> AsyncIterator[WebhookScene]:
    scene = Scene()
    await scene.store.seed(TENANT, *rows(EnforcementClass.B))
    await scene.load()
    platform, port = Platform(scene), free_port()
    listen = ListenSettings(port=port, public_url=f"http://127.0.0.1:{port}", allow_plain_on_loopback=True)
    listener = DoorListener(listen)
    app = web.Application()
    app.add_routes([web.post("/limits", platform.take)])
    http = PeerHttp(RULES, ClientTls(), max_bytes=1_000_000, timeout_s=2.0)
    async with serving(app) as url:
        ack_url = f"{listen.root_of(CSMS)}/webhook/acks"
        told = WebhookSettings(url=f"{url}/limits", ack_url=ack_url)
        ports = Behind(scene).ports
        door = WebhookDoor(told, ports, http, scene.services.dispatcher, Signer((NEW, OLD), WINDOW))
        listener.add(door.routes(path_of(CSMS)))
        async with running(listener.run, door.run):
            await until(lambda: listener.port is not None and door.standing().charger_count == 4, "the link")
            yield WebhookScene(scene, door, platform, ack_url)


async def test_limits_are_columnar_and_acknowledged_in_the_answer() -> None:
    async with webhook_scene() as hook:
        hook.platform.applied = ("ch-2-1",)
        hook.platform.rejects = {"ch-1-1": "full"}
        await hook.is_in(ACCEPTED)
        assert (hook.state("ch-1-1"), hook.state("ch-2-1")) == (REJECTED, APPLIED)
        first = hook.platform.messages[0]
        assert first["schema_version"] == "voltbridge.limits.v1"
        assert first["charger_ids"] == ["ch-1-0", "ch-1-1", "ch-2-0", "ch-2-1"]
        assert len(first["limit_kw"]) == len(first["fallback_kw"]) == 4
        assert first["lease_until"] > first["issued_at"]
        assert first["ack_url"] == hook.ack_url
        Limits.model_validate(first)
        standing = hook.door.standing()
        assert (standing.is_connected, standing.accepted, standing.rejected) == (True, 3, 1)
        assert (standing.troubled, standing.last_error) == (("ch-1-1",), "full")


async def test_g8_part_of_a_message_refused_counts_at_the_old_value_and_the_others_make_room() -> None:
    async with webhook_scene() as hook:
        await hook.charging()
        hook.platform.rejects = {"ch-1-0": "Faulted"}
        await hook.tighten(16.0)
        await hook.is_in(REJECTED)
        assert hook.counted_kw("ch-1-0") == 11.0
        await hook.steps_until(lambda: hook.platform.limit("ch-2-0") <= 16.0 - 11.0, "room")
        hook.platform.rejects = {}
        await hook.pass_time(35)
        await hook.is_in(ACCEPTED)


async def test_g8_the_same_message_is_repeated_under_the_same_id() -> None:
    async with webhook_scene() as hook:
        await hook.is_in(ACCEPTED)
        hook.platform.status = 503
        hook.platform.messages.clear()
        await hook.tighten(6.0)
        await hook.scene.services.tracker.report_sessions(
            PLATFORM, [session("ch-1-0")], is_history=False, request_id="car"
        )
        await hook.pass_time(100, step=10.0)
        await until(lambda: len(hook.platform.messages) >= 2, "a repetition")
        ids = [(m["id"], m["sequence"]) for m in hook.platform.messages]
        assert ids[0] == ids[1]
        assert hook.platform.messages[0] == hook.platform.messages[1]
        assert not hook.door.standing().is_connected
        hook.platform.status = 200
        await hook.pass_time(70, step=10.0)
        assert hook.door.standing().is_connected


async def test_g3_a_newer_message_is_not_held_up_and_carries_what_was_not_taken() -> None:
    async with webhook_scene() as hook:
        await hook.charging()
        hook.platform.status = 503
        await hook.tighten(16.0)
        count = len(hook.platform.messages)
        await hook.steps_until(lambda: len(hook.platform.messages) > count, "a message")
        hook.platform.status = 200
        await hook.tighten(6.0, 2)
        await hook.steps_until(
            lambda: hook.platform.messages[-1]["sequence"] > hook.platform.messages[count]["sequence"]
        )
        await until(lambda: hook.state("ch-1-0") is ACCEPTED and hook.state("ch-2-0") is ACCEPTED, "both accepted")
        assert hook.platform.limit("ch-1-0") + hook.platform.limit("ch-2-0") <= 5.7


async def test_g3_what_was_not_taken_of_other_chargers_goes_along_with_the_newer_message() -> None:
    async with webhook_scene() as hook:
        await hook.charging()
        hook.platform.status = 503
        hook.platform.messages.clear()
        now = hook.scene.clock.now()
        for number, node in enumerate(("site-1", "site-2"), start=1):
            one = event(f"e{number}", start=now, max_kw=6.0, minutes=240, nodes=(node,))
            await hook.scene.services.signals.receive(GRID, message(one, raw_id=f"raw-{number}"))
            count = len(hook.platform.messages)
            await hook.steps_until(lambda: len(hook.platform.messages) > count, "a message")  # noqa: B023  # awaited here
            hook.platform.status = 200
        first, second = hook.platform.messages[0], hook.platform.messages[-1]
        assert "ch-2-0" not in first["charger_ids"]
        assert {"ch-1-0", "ch-2-0"} <= set(second["charger_ids"]), "both, although only the second changed"
        await hook.is_in(ACCEPTED)
        await hook.is_in(ACCEPTED, "ch-2-0")


async def test_an_acknowledgement_may_come_later_signed() -> None:
    async with webhook_scene() as hook:
        hook.platform.status = 202
        await hook.step()
        await until(lambda: len(hook.platform.messages) == 1, "a message")
        assert hook.state("ch-1-0") is DispatchState.SENT
        ack = {"sequence": hook.platform.messages[0]["sequence"], "rejected": [{"charger_id": "ch-1-1", "reason": "x"}]}
        assert await hook.later(ack, Signer((SigningKey(id="k2", secret="w" * 40),), WINDOW)) == 401
        assert await hook.later(ack, Signer((NEW,), WINDOW), hook.scene.clock.now() - timedelta(minutes=6)) == 401
        assert await hook.later(ack, Signer((NEW,), WINDOW), hook.scene.clock.now() + timedelta(minutes=6)) == 401
        assert await hook.later({"sequence": "x"}, Signer((NEW,), WINDOW)) == 400
        assert hook.state("ch-1-0") is DispatchState.SENT
        assert await hook.later(ack, Signer((OLD,), WINDOW)) == 204, "the key before is still taken"
        assert (hook.state("ch-1-0"), hook.state("ch-1-1")) == (ACCEPTED, REJECTED)
        assert await hook.later({"sequence": 10_000}, Signer((NEW,), WINDOW)) == 204, "unknown changes nothing"


async def test_g3_an_older_acknowledgement_never_changes_a_newer_limit() -> None:
    async with webhook_scene() as hook:
        await hook.charging()
        hook.platform.status = 202
        await hook.tighten(16.0)
        before = len(hook.platform.messages)
        await hook.steps_until(lambda: len(hook.platform.messages) > before, "a message")
        old = hook.platform.messages[-1]
        await hook.tighten(6.0, 2)
        await hook.steps_until(lambda: len(hook.platform.messages) > before + 1, "a newer message")
        assert await hook.later({"sequence": old["sequence"]}, Signer((NEW,), WINDOW)) == 204
        assert hook.state("ch-1-0") is DispatchState.SENT
        newest = hook.platform.messages[-1]
        assert await hook.later({"sequence": newest["sequence"]}, Signer((NEW,), WINDOW)) == 204
        await hook.is_in(ACCEPTED)


@pytest.mark.parametrize("garbage", [b"", b"<html>", b"[]", b'{"sequence": 0}', b'{"sequence": 99999}', b"\xff"])
async def test_an_answer_that_says_nothing_is_unknown(garbage: bytes) -> None:
    async with webhook_scene() as hook:
        hook.platform.garbage = garbage
        await hook.is_in(TIMED_OUT)
        assert hook.door.standing().unknown >= 4


async def test_a_platform_that_refuses_everything_is_named() -> None:
    async with webhook_scene() as hook:
        hook.platform.status = 403
        await hook.is_in(REJECTED)
        assert hook.door.standing().last_error == "the platform answered 403"


# -------------------------------------------------------------------- signatures

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


@given(body=st.binary(max_size=200), flip=st.integers(0, 7))
def test_a_changed_body_is_refused(body: bytes, flip: int) -> None:
    signer = Signer((NEW,), WINDOW)
    headers = signer.headers(body, NOW)
    assert signer.check(headers, body, NOW)
    assert not signer.check(headers, body, NOW), "the second time it is a repetition"
    changed = bytes([(body[0] if body else 0) ^ (1 << flip)]) + body[1:]
    with pytest.raises(Unauthenticated):
        signer.check(headers, changed if body else b"x", NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {TIME_HEADER: "0"},
        {TIME_HEADER: "-1"},
        {TIME_HEADER: "1e9"},
        {TIME_HEADER: "9" * 30},
        {TIME_HEADER: ""},
        {KEY_HEADER: "k9"},
        {SIGNATURE_HEADER: ""},
        {SIGNATURE_HEADER: "v1=é"},
        {SIGNATURE_HEADER: "v1=\udcff"},
        {TIME_HEADER: "\udcff"},
        {KEY_HEADER: "\udcff"},
    ],
)
def test_headers_that_do_not_fit_are_refused(changes: dict[str, str]) -> None:
    signer = Signer((NEW,), WINDOW)
    with pytest.raises(Unauthenticated):
        signer.check({**signer.headers(b"x", NOW), **changes}, b"x", NOW)


def test_keys_are_long_and_never_shown() -> None:
    with pytest.raises(InvalidInput):
        SigningKey(id="k1", secret="short")
    assert NEW.secret not in repr(NEW)


# -------------------------------------------------------------------- for those who write the other side


def test_the_published_schema_is_that_of_the_messages() -> None:
    assert (ROOT / "scripts/examples/webhook.schema.json").read_text() == schema_text()


async def test_the_example_receiver_takes_limits_and_refuses_strangers(tmp_path: Path) -> None:
    source = ROOT / "scripts/examples/webhook_receiver.py"
    assert len(source.read_text().splitlines()) < 40
    key_file, port = tmp_path / "key", free_port()
    key_file.write_text(OLD.secret)
    command = [sys.executable, "-m", "scripts.examples.webhook_receiver", str(port), str(key_file)]
    receiver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        await until_open(port)
        http = PeerHttp(RULES, ClientTls(), max_bytes=10_000, timeout_s=5.0)
        now = datetime.now(UTC)
        limits = Limits(
            id="d-1",
            sequence=7,
            csms="own",
            issued_at=now,
            lease_until=now + timedelta(minutes=15),
            charger_ids=("a", "b"),
            limit_kw=(7.4, 0.0),
            fallback_kw=(1.4, 1.4),
            cause="limit:1",
            ack_url="https://vpp.example/acks",
        )
        body, url = limits.model_dump_json().encode(), f"http://127.0.0.1:{port}/"
        good = Signer((OLD,), WINDOW).headers(body, now)
        answer = await http.call(Call(method="POST", url=url, headers=good, body=body))
        assert (answer.status, json.loads(answer.body)) == (200, {"sequence": 7, "rejected": []})
        for bad in ({**good, TIME_HEADER: "1"}, {**good, KEY_HEADER: "k2"}):
            assert (await http.call(Call(method="POST", url=url, headers=bad, body=body))).status == 401
        await http.close()
    finally:
        os.kill(receiver.pid, signal.SIGTERM)
        said, _ = receiver.communicate(timeout=5)
    assert "a 7.4 kW until" in said


async def until_open(port: int) -> None:
    import asyncio

    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise AssertionError("never listened")
