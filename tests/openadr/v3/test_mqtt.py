"""Listening to a VTN's broker: what it offers, real brokers over real sockets, restarts, certificates."""

import asyncio
import gc
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import pytest
import trustme
from pwdlib.hashers.argon2 import Argon2Hasher

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.mqtt_binding import (
    Broker,
    Method,
    MqttBinding,
    read_binding,
    read_topics,
    tls_context,
    topic_paths,
)
from gateway.openadr.v3.mqtt_listener import MqttListener, MqttSettings
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.notifications import Interest
from gateway.openadr.v3.settings import Credentials, VenSettings
from gateway.openadr.v3.transport import Reply, Request
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.openadr.v3.brokers import Amqtt, BrokerProcess, Mosquitto, free_port, needs_mosquitto

BASE = "/openadr3/3.1.0"
TOPICS = f"{BASE}/notifiers/mqtt/topics"
ANONYMOUS = {"method": "ANONYMOUS"}


class Notifying:
    """A VTN in memory that says where its broker is; it never speaks MQTT itself."""

    def __init__(self, uris: list[str], authentication: dict[str, str]) -> None:
        self.answers: dict[str, Any] = {
            f"{BASE}/notifiers": {
                "WEBHOOK": True,
                "MQTT": {"URIS": uris, "serialization": "JSON", "authentication": authentication},
            },
            f"{TOPICS}/vens/v-1/events": {"topics": {"ALL": "vens/v-1/events/+", "UPDATE": "x", "DELETE": "y"}},
            f"{TOPICS}/programs/p-1/events": {"topics": {"CREATE": "p1/create", "UPDATE": "p1/u", "DELETE": "p1/d"}},
        }
        self.is_down = False
        self.asked: list[str] = []

    async def request(self, request: Request) -> Reply:
        await asyncio.sleep(0)
        if self.is_down:
            raise PeerUnavailable("connection refused")
        path = urlsplit(request.url).path
        if path.endswith("/auth/server"):
            return Reply(status=200, body=json.dumps({"tokenURL": "https://vtn.example/token"}).encode())
        if path == "/token":
            return Reply(status=200, body=b'{"access_token": "T-1", "expires_in": 3600, "token_type": "bearer"}')
        self.asked.append(path)
        found = self.answers.get(path)
        return Reply(status=404, body=b"{}") if found is None else Reply(status=200, body=json.dumps(found).encode())

    async def close(self) -> None:
        return None


@dataclass
class Room:
    """A listener, its VTN, and somebody who publishes."""

    vtn: Notifying
    port: int
    changes: dict[str, Any] = field(default_factory=dict)
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        settings = VenSettings(
            authority="vtn:test",
            tenant="demo",
            dialect=Dialect.V310,
            vtn_url=f"https://vtn.example{BASE}",
            ven_name="v",
            own_nodes=("vpp-be",),
            credentials=Credentials(client_id="us", client_secret="s"),
        )
        self.woken = 0
        self.listener = MqttListener(
            MqttSettings(
                authority="vtn:test", client_id="us", allow_plain_mqtt=True, **{"patience_s": 2.0, **self.changes}
            ),
            VtnClient(settings, self.vtn, self.clock),
            lambda: ("v-1", ("p-1", "p-2")),
            lambda: Interest(targets=frozenset({"group-1"}), programs=frozenset({"p-1", "p-2"})),
            self._wake,
            self.clock,
            CountingIds(),
        )

    def _wake(self) -> None:
        self.woken += 1

    async def until(self, is_so: Callable[[], bool], step_s: float = 1.0) -> None:
        """Let real time pass, and some market time with it, until something is so."""
        async with asyncio.timeout(15.0):
            while not is_so():
                self.clock.move(seconds=step_s)
                await asyncio.sleep(0.01)

    async def say(self, topic: str, message: object, **how: Any) -> None:
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        async with aiomqtt.Client("127.0.0.1", self.port, **how) as publisher:
            await publisher.publish(topic, payload, qos=1)


def notice(**more: Any) -> dict[str, Any]:
    return {"objectType": "EVENT", "operation": "CREATE", "object": {"id": "e-1", "programID": "p-1"}, **more}


@asynccontextmanager
async def listening(
    broker: BrokerProcess, authentication: dict[str, str] = ANONYMOUS, scheme: str = "mqtt", **changes: Any
) -> AsyncIterator[Room]:
    room = Room(Notifying([f"{scheme}://127.0.0.1:{broker.port}"], authentication), broker.port, changes)
    await broker.start()
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(room.listener.run())
            await room.until(lambda: room.listener.health.topics != ())
            yield room
            task.cancel()
    finally:
        await broker.kill()


def subscribed(room: Room) -> tuple[str, ...]:
    return room.listener.health.topics


async def test_b15_a_broker_that_restarts_is_subscribed_again(tmp_path: Path) -> None:
    broker = Amqtt(tmp_path)
    async with listening(broker) as room:
        health = room.listener.health
        assert health.version == "3.1.1"
        assert subscribed(room) == ("vens/v-1/events/+", "p1/create", "p1/u", "p1/d")
        assert room.woken == 1, "what was missed before is looked for once"
        await room.say("p1/create", notice())
        await room.until(lambda: room.woken == 2)
        await broker.kill()
        await room.until(lambda: health.failures > 0)
        assert subscribed(room) == ()
        await broker.start()
        await room.until(lambda: health.topics != ())
        assert room.woken == 3, "what was missed meanwhile is looked for once"
        await room.say("vens/v-1/events/update", notice(operation="UPDATE"))
        await room.until(lambda: room.woken == 4)
        assert (health.failures, health.last_error, health.count.taken) == (0, "", 2)


async def test_b15_messages_for_foreign_targets_are_ignored(tmp_path: Path) -> None:
    async with listening(Amqtt(tmp_path)) as room:
        count = room.listener.health.count
        await room.say("p1/create", notice(targets=["group-9"]))
        await room.say("p1/create", {**notice(), "object": {"id": "e", "programID": "p-9"}})
        await room.say("p1/create", b"[" * 5_000)
        await room.say("p1/create", b"")
        await room.say("elsewhere", notice())
        await room.until(lambda: count.foreign + count.refused == 4)
        assert room.woken == 1
        await room.say("p1/create", notice(targets=["group-1", "group-9"]))
        await room.until(lambda: room.woken == 2)
        assert (count.taken, count.foreign, count.refused) == (1, 2, 2)


@needs_mosquitto
async def test_mqtt_5_is_spoken_where_the_broker_does(tmp_path: Path) -> None:
    async with listening(Mosquitto(tmp_path)) as room:
        assert room.listener.health.version == "5"
        await room.say("p1/u", notice(operation="UPDATE"))
        await room.until(lambda: room.woken == 2)


async def test_a_bearer_token_opens_the_broker(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"us:{Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1).hash('T-1')}\n")
    plugins = {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(tmp_path / "users")}}
    method = {"method": "OAUTH2_BEARER_TOKEN", "username": "{clientID}"}
    async with listening(Amqtt(tmp_path, plugins=plugins), method, patience_s=1.0) as room:
        await room.say("p1/d", notice(operation="DELETE"), username="us", password="T-1")
        await room.until(lambda: room.woken == 2)


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = made.issue_cert("127.0.0.1")
    server.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    server.cert_chain_pems[0].write_to_path(str(tmp_path / "server.pem"))
    return made


def as_text(blob: trustme.Blob) -> str:
    return blob.bytes().decode()


def certificates(authority: trustme.CA) -> dict[str, str]:
    ours = authority.issue_cert("us.example")
    return {
        "method": "CERTIFICATE",
        "caCert": as_text(authority.cert_pem),
        "clientCert": as_text(ours.cert_chain_pems[0]),
        "clientKey": as_text(ours.private_key_pem),
    }


async def test_mqtts_trusts_the_authority_it_is_given(tmp_path: Path, authority: trustme.CA) -> None:
    tls = {"ssl": True, "certfile": str(tmp_path / "server.pem"), "keyfile": str(tmp_path / "server.key")}
    async with listening(Amqtt(tmp_path, listener=tls), scheme="mqtts", ca_file=tmp_path / "ca.pem") as room:
        assert room.listener.health.broker == f"mqtts://127.0.0.1:{room.port}"
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        await room.say("p1/create", notice(), tls_context=context)
        await room.until(lambda: room.woken == 2)


@needs_mosquitto
async def test_a_client_certificate_opens_the_broker(tmp_path: Path, authority: trustme.CA) -> None:
    lines = [
        f"cafile {tmp_path / 'ca.pem'}",
        f"certfile {tmp_path / 'server.pem'}",
        f"keyfile {tmp_path / 'server.key'}",
        "require_certificate true",
        "allow_anonymous true",
    ]
    async with listening(Mosquitto(tmp_path, lines=lines), certificates(authority), "mqtts") as room:
        assert room.listener.health.topics


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_a_broker_with_another_certificate_is_not_trusted(tmp_path: Path, authority: trustme.CA) -> None:
    tls = {"ssl": True, "certfile": str(tmp_path / "server.pem"), "keyfile": str(tmp_path / "server.key")}
    broker = Amqtt(tmp_path, listener=tls)
    room = Room(Notifying([f"mqtts://127.0.0.1:{broker.port}"], certificates(trustme.CA())), broker.port)
    await broker.start()
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(room.listener.run())
            await room.until(lambda: room.listener.health.failures > 0)
            task.cancel()
    finally:
        await broker.kill()
    gc.collect()  # paho leaves the socket of a failed handshake to the garbage collector
    assert "certificate" in room.listener.health.last_error.lower()
    assert (room.woken, room.listener.health.topics) == (0, ())


async def broken(vtn: Notifying, **changes: Any) -> Room:
    """Run a listener until it has failed twice."""
    room = Room(vtn, 0, changes)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(room.listener.run())
        await room.until(lambda: room.listener.health.failures > 1)
        task.cancel()
    assert room.woken == 0
    return room


async def test_nobody_at_the_address_is_tried_again() -> None:
    room = await broken(Notifying([f"mqtt://127.0.0.1:{free_port()}"], ANONYMOUS))
    assert "refused" in room.listener.health.last_error


async def test_a_broker_that_never_answers_leaves_nothing_behind() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        room = await broken(Notifying([f"mqtt://127.0.0.1:{port}"], ANONYMOUS), patience_s=0.1)
        assert "timed out" in room.listener.health.last_error
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if "misc" in repr(task)]
        assert not left


async def test_b20_a_broker_in_the_clear_elsewhere_is_refused() -> None:
    room = await broken(Notifying(["mqtt://broker.example"], ANONYMOUS))
    assert "mqtts://" in room.listener.health.last_error


async def test_a_vtn_without_topics_for_us_is_asked_again() -> None:
    vtn = Notifying(["mqtts://broker.example"], ANONYMOUS)
    vtn.answers = {f"{BASE}/notifiers": vtn.answers[f"{BASE}/notifiers"]}
    room = await broken(vtn)
    assert "no MQTT topic" in room.listener.health.last_error


async def test_a_vtn_that_is_down_is_asked_again() -> None:
    vtn = Notifying([], ANONYMOUS)
    vtn.is_down = True
    assert "connection refused" in (await broken(vtn)).listener.health.last_error


async def test_a_vtn_without_mqtt_is_asked_again_an_hour_later() -> None:
    vtn = Notifying([], ANONYMOUS)
    vtn.answers[f"{BASE}/notifiers"] = {"WEBHOOK": True}
    room = Room(vtn, 0)
    began = room.clock.now()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(room.listener.run())
        await room.until(lambda: len(vtn.asked) == 2, step_s=60.0)
        task.cancel()
    assert room.clock.now() - began >= timedelta(hours=1)
    assert room.listener.health.is_offered is False
    assert room.listener.health.failures == 0


def offer(**changes: Any) -> dict[str, Any]:
    base = {"URIS": ["mqtts://broker.example"], "serialization": "JSON", "authentication": ANONYMOUS}
    return {"WEBHOOK": True, "MQTT": {**base, **changes}}


def test_what_a_vtn_offers_is_read() -> None:
    uris = ["wss://broker.example", "mqtts://broker.example", "mqtt://[::1]:1884", 7, "mqtts://b:x", "mqtts://"]
    assert read_binding(offer(URIS=uris)) == MqttBinding(
        brokers=(
            Broker(host="broker.example", port=8883, is_secure=True),
            Broker(host="::1", port=1884, is_secure=False),
        ),
        method=Method.ANONYMOUS,
    )
    assert read_binding({"WEBHOOK": True}) is None
    assert read_binding({"WEBHOOK": True, "MQTT": None}) is None
    token = read_binding(offer(authentication={"method": "OAUTH2_BEARER_TOKEN", "username": "{clientID}"}))
    assert token is not None
    assert (token.method, token.username) == (Method.TOKEN, "{clientID}")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ([], "notifiers"),
        ({"MQTT": []}, "notifiers.MQTT"),
        (offer(serialization="XML"), "serialization"),
        (offer(URIS=["wss://broker.example"]), "URIS"),
        (offer(URIS=None), "URIS"),
        (offer(authentication=None), "authentication"),
        (offer(authentication={"method": "MAGIC"}), "method"),
        (offer(authentication={"method": "OAUTH2_BEARER_TOKEN"}), "username"),
        (offer(authentication={"method": "CERTIFICATE", "caCert": "x", "clientCert": "y"}), "clientKey"),
    ],
    ids=["list", "mqtt-list", "xml", "web-sockets-only", "no-uris", "no-auth", "unknown", "no-username", "no-key"],
)
def test_what_nobody_can_use_is_named(content: Any, field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        read_binding(content)


@pytest.mark.parametrize(
    ("topics", "found"),
    [
        ({"ALL": "e/+", "CREATE": "e/c"}, ("e/+",)),
        ({"CREATE": "e/c", "UPDATE": "e/u", "DELETE": "e/d"}, ("e/c", "e/u", "e/d")),
        ({"ALL": None, "UPDATE": "e/u", "DELETE": 7}, ("e/u",)),
    ],
    ids=["all", "each", "some"],
)
def test_topics_are_read(topics: dict[str, Any], found: tuple[str, ...]) -> None:
    assert read_topics({"topics": topics}) == found


@pytest.mark.parametrize(
    "content", [None, {}, {"topics": {}}, {"topics": {"ALL": "a\0b"}}, {"topics": {"ALL": "a" * 1025}}]
)
def test_no_topic_is_named(content: Any) -> None:
    with pytest.raises(InvalidInput, match="topics"):
        read_topics(content)


def test_topics_are_asked_for_our_ven_and_our_programs() -> None:
    assert topic_paths("v", ("p",)) == tuple(
        f"/notifiers/mqtt/topics/{path}"
        for path in (
            "vens/v",
            "vens/v/events",
            "vens/v/programs",
            "vens/v/resources",
            "programs/p",
            "programs/p/events",
        )
    )
    assert topic_paths("", ()) == ()


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_keys_are_on_disk_for_no_longer_than_they_are_read(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    load = ssl.SSLContext.load_cert_chain

    def watched(self: ssl.SSLContext, certfile: str, keyfile: str) -> None:
        seen.extend((mode_of(Path(name)), mode_of(Path(name).parent)) for name in (certfile, keyfile))
        load(self, certfile, keyfile)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
    binding = read_binding(offer(authentication=certificates(authority)))
    assert binding is not None
    before = sorted(tmp_path.iterdir())
    tls_context(binding, None)
    assert seen == [(0o600, 0o700)] * 2
    assert sorted(tmp_path.iterdir()) == before
    assert "PRIVATE" not in repr(binding)


@pytest.mark.parametrize("field", ["caCert", "clientCert", "clientKey"])
def test_a_certificate_that_is_none_is_refused(authority: trustme.CA, field: str) -> None:
    binding = read_binding(offer(authentication={**certificates(authority), field: "no certificate"}))
    assert binding is not None
    with pytest.raises(InvalidInput, match="certificate"):
        tls_context(binding, None)
