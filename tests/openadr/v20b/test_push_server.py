"""The HTTP door that a VTN pushes to, over real sockets: who gets in, how much, how long, and what comes back."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.clock import SystemClock
from gateway.domain.errors import InvalidInput, PeerUnavailable, StorageUnavailable
from gateway.domain.identity import system_principal
from gateway.openadr.health import VenState
from gateway.openadr.https import fingerprints_of
from gateway.openadr.v20b.names import Service
from gateway.openadr.v20b.push_server import PushServer
from gateway.openadr.v20b.push_settings import PushSettings
from gateway.openadr.v20b.ven import Ven
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore
from tests.openadr.desk_of_usage import DeskOfUsage
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import DeskOfEvents, ScriptedVtn, settings
from tests.openadr.virtual_life import AUTHORITY, TENANT

MOST = 10_000
PATH = "/OpenADR2/Simple/2.0b/EiEvent"


class Taker:
    """Takes messages and answers them, or fails on order."""

    def __init__(self) -> None:
        self.taken: list[tuple[Service, bytes]] = []
        self.failure: Exception | None = None

    async def __call__(self, service: Service, body: bytes) -> bytes:
        if self.failure is not None:
            raise self.failure
        self.taken.append((service, body))
        return b"<answer/>"


@asynccontextmanager
async def listening(taker: Taker, settings: PushSettings) -> AsyncIterator[int]:
    server = PushServer(settings, taker, max_bytes=MOST, authority="vtn:test")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run())
        while server.port is None:
            await asyncio.sleep(0.005)
        yield server.port
        running.cancel()
    assert server.port is None


def plain(**changes: float) -> PushSettings:
    return PushSettings(port=0, public_url="http://127.0.0.1", allow_plain_http=True, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_message_is_taken_and_answered(session: aiohttp.ClientSession) -> None:
    taker = Taker()
    async with listening(taker, plain()) as port:
        async with session.post(f"http://127.0.0.1:{port}{PATH}", data=b"<x/>") as answer:
            assert (answer.status, answer.content_type, await answer.read()) == (200, "application/xml", b"<answer/>")
        async with session.post(
            f"http://127.0.0.1:{port}/a/prefix/OpenADR2/Simple/2.0b/EiReport", data=b"<y/>"
        ) as answer:
            assert answer.status == 200
    assert taker.taken == [(Service.EVENT, b"<x/>"), (Service.REPORT, b"<y/>")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", PATH, 405), ("POST", "/OpenADR2/Simple/2.0b/EiNothing", 404), ("POST", "/", 404), ("PUT", PATH, 405)],
    ids=range(4),
)
async def test_other_doors_are_closed(session: aiohttp.ClientSession, method: str, path: str, status: int) -> None:
    taker = Taker()
    async with (
        listening(taker, plain()) as port,
        session.request(method, f"http://127.0.0.1:{port}{path}", data=b"<x/>") as answer,
    ):
        assert answer.status == status
    assert not taker.taken


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_long_message_is_cut_off(session: aiohttp.ClientSession, is_announced: bool) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(20_000):
            sent += 1000
            yield b"x" * 1000

    taker = Taker()
    async with listening(taker, plain()) as port:
        data = b"x" * (MOST + 1) if is_announced else endless()
        try:
            async with session.post(f"http://127.0.0.1:{port}{PATH}", data=data) as answer:
                assert answer.status == 413
        except aiohttp.ClientError:
            assert not is_announced, "the door was shut while the rest was still coming"
    assert sent < 20_000_000
    assert not taker.taken


async def test_compressed_bodies_are_not_unpacked(session: aiohttp.ClientSession) -> None:
    taker = Taker()
    async with (
        listening(taker, plain()) as port,
        session.post(
            f"http://127.0.0.1:{port}{PATH}", data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}
        ) as answer,
    ):
        assert answer.status == 415
    assert not taker.taken


async def test_a_trickle_is_not_waited_for() -> None:
    taker = Taker()
    async with listening(taker, plain(patience_s=0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n<".encode())
        assert b" 408 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert not taker.taken


@pytest.mark.parametrize(
    ("failure", "status"),
    [(InvalidInput("openadr.message", "is empty"), 400), (StorageUnavailable("the disk is full"), 503)],
    ids=["refused", "not-kept"],
)
async def test_what_is_not_taken_is_not_acknowledged(
    session: aiohttp.ClientSession, failure: Exception, status: int
) -> None:
    taker = Taker()
    taker.failure = failure
    async with (
        listening(taker, plain()) as port,
        session.post(f"http://127.0.0.1:{port}{PATH}", data=b"<x/>") as answer,
    ):
        assert answer.status == status
        assert b"answer" not in await answer.read()


async def test_a_port_that_is_taken_says_so() -> None:
    async with listening(Taker(), plain()) as port:
        second = PushServer(
            PushSettings(port=port, public_url="http://127.0.0.1", allow_plain_http=True),
            Taker(),
            max_bytes=MOST,
            authority="vtn:test",
        )
        with pytest.raises(PeerUnavailable, match="cannot listen for vtn:test"):
            await second.run()


class Pki:
    """An authority for servers, one for VTNs, and files of all."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = trustme.CA(), trustme.CA()
        ours.cert_pem.write_to_path(folder / "ours.pem")
        theirs.cert_pem.write_to_path(folder / "theirs.pem")
        server = ours.issue_cert("127.0.0.1")
        server.private_key_pem.write_to_path(folder / "key.pem")
        server.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        self.folder = folder
        self.vtn = theirs.issue_cert("vtn.example")
        self.another = theirs.issue_cert("another.example")
        self.stranger = trustme.CA().issue_cert("vtn.example")

    def context(self, who: trustme.LeafCert | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ours.pem"))
        if who is not None:
            who.configure_cert(context)
        return context

    def pin(self) -> str:
        certificate = x509.load_pem_x509_certificate(self.vtn.cert_chain_pems[0].bytes())
        return fingerprints_of(certificate.public_bytes(Encoding.DER))[0]

    def settings(self, *pins: str) -> PushSettings:
        return PushSettings(
            port=0,
            public_url="https://ven.example:8443",
            cert_file=self.folder / "cert.pem",
            key_file=self.folder / "key.pem",
            client_ca_file=self.folder / "theirs.pem",
            fingerprints=frozenset(pins),
        )


async def test_a_vtn_shows_its_certificate(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    pki, taker = Pki(tmp_path), Taker()
    async with listening(taker, pki.settings(pki.pin())) as port:
        url = f"https://127.0.0.1:{port}{PATH}"
        async with session.post(url, data=b"<x/>", ssl=pki.context(pki.vtn)) as answer:
            assert answer.status == 200
        async with session.post(url, data=b"<x/>", ssl=pki.context(pki.another)) as answer:
            assert answer.status == 403
        for who in (None, pki.stranger):
            with pytest.raises(aiohttp.ClientError):
                await session.post(url, data=b"<x/>", ssl=pki.context(who))
    assert len(taker.taken) == 1


async def test_without_pins_the_authority_is_enough(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    pki, taker = Pki(tmp_path), Taker()
    async with (
        listening(taker, pki.settings()) as port,
        session.post(f"https://127.0.0.1:{port}{PATH}", data=b"<x/>", ssl=pki.context(pki.another)) as answer,
    ):
        assert answer.status == 200


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    settings = PushSettings(port=0, public_url="https://ven.example", cert_file=tmp_path / "none.pem")
    with pytest.raises(InvalidInput) as caught:
        PushServer(settings, Taker(), max_bytes=MOST, authority="vtn:test")
    assert caught.value.field == "openadr.push.tls"


async def test_from_the_socket_to_the_desk_and_back(session: aiohttp.ClientSession) -> None:
    clock = SystemClock()
    door = plain()
    store = MemoryStore(clock)
    vtn, desk = ScriptedVtn(clock), DeskOfEvents(store, clock)  # type: ignore[arg-type]  # any clock will do
    ven = Ven(
        settings(push=door, report_points=()),
        store,
        desk,
        DeskOfUsage(clock.now),
        clock,
        CountingIds(),
        system_principal(TENANT, "openadr"),
        transport=vtn,
    )
    server = PushServer(door, ven.receive, max_bytes=2_000_000, authority=AUTHORITY)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(ven.run()), tasks.create_task(server.run())]
        while server.port is None or ven.state is not VenState.REGISTERED:
            await asyncio.sleep(0.005)
        body = messages.distribute_event(messages.event("E1", start="2099-01-01T00:00:00Z"), request_id="RQ-9")
        async with session.post(f"http://127.0.0.1:{server.port}{PATH}", data=body) as answer:
            assert answer.status == 200
            said = await answer.read()
        async with session.post(f"http://127.0.0.1:{server.port}{PATH}", data=b"<!DOCTYPE x>") as answer:
            assert answer.status == 400
        while not vtn.opts():
            await asyncio.sleep(0.005)
        for task in running:
            task.cancel()
    assert b"oadrResponse" in said
    assert b">RQ-9<" in said
    assert vtn.opts() == [("E1", 0, "200", "optIn")]
    assert desk.dispatched == ["E1/0"]
