"""Hostile answers over real sockets: nothing in a message makes us call anybody, and no way of sending it holds us up."""

import asyncio
import gzip
import resource
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from lxml import etree

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.openadr.https import TlsFiles
from gateway.openadr.v20b.guard import GuardPolicy, SignaturePolicy
from gateway.openadr.v20b.names import DS, Service
from gateway.openadr.v20b.reader import read
from gateway.openadr.v20b.transport import HttpTransport
from tests.openadr.v20b import messages, signing
from tests.openadr.v20b.test_transport import Pki, hello, served

MOST = 2_000_000
VTN = signing.make_identity()
SIGNED = GuardPolicy(signature=SignaturePolicy.REQUIRED, fingerprints=frozenset({VTN.fingerprint}))
XSI = "http://www.w3.org/2001/XMLSchema-instance"


class Trap:
    """A server that nobody must call."""

    def __init__(self) -> None:
        self.calls = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        writer.close()


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    found = Trap()
    server = await asyncio.start_server(found.take, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


def calls_in_markup(url: str) -> dict[str, bytes]:
    """Messages that would make a careless reader call an address."""
    good = messages.distribute_event(messages.event("E1"))
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{url}/x"/>'
    return {
        "external-entity": f'<!DOCTYPE r [<!ENTITY x SYSTEM "{url}/x">]><r>&x;</r>'.encode(),
        "public-entity": f'<!DOCTYPE r [<!ENTITY x PUBLIC "-//x" "{url}/x">]><r>&x;</r>'.encode(),
        "parameter-entity": f'<!DOCTYPE r [<!ENTITY % p SYSTEM "{url}/x.dtd">%p;]><r/>'.encode(),
        "external-dtd": f'<!DOCTYPE r SYSTEM "{url}/x.dtd"><r/>'.encode(),
        "declaration-inside": good.replace(b"<oadr:oadrDist", f'<!DOCTYPE r SYSTEM "{url}"><oadr:oadrDist'.encode(), 1),
        "stylesheet": good.replace(b"?>", f'?><?xml-stylesheet href="{url}/x.xsl" type="text/xsl"?>'.encode(), 1),
        "xinclude": messages.payload(include),
        "xinclude-inside": good.replace(b"<ei:vtnID>", include.encode() + b"<ei:vtnID>"),
        "schema-location": good.replace(
            b"<oadr:oadrPayload ",
            f'<oadr:oadrPayload xmlns:xsi="{XSI}" xsi:schemaLocation="urn:x {url}/x.xsd" '.encode(),
        ),
        "xml-base": good.replace(b"<oadr:oadrPayload ", f'<oadr:oadrPayload xml:base="{url}/" '.encode()),
        "market-context": messages.distribute_event(messages.event("E1", context=f"{url}/context")),
        "utf-7": f'+ADwAIQ-DOCTYPE r SYSTEM "{url}"+AD4-'.encode(),
        "utf-16": f'<!DOCTYPE r SYSTEM "{url}/x.dtd"><r/>'.encode("utf-16"),
    }


def calls_in_signature(url: str) -> dict[str, bytes]:
    """Signed messages whose signature points to an address."""
    body = messages.distribute_event(messages.event("E1"))

    def reference(root: etree._Element) -> None:
        next(root.iter(DS + "Reference")).set("URI", f"{url}/x")

    def retrieval(root: etree._Element) -> None:
        info = next(root.iter(DS + "KeyInfo"))
        etree.SubElement(info, DS + "RetrievalMethod", {"URI": f"{url}/key"})

    def transform(root: etree._Element) -> None:
        first = next(root.iter(DS + "Transform"))
        first.set("Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116")
        sheet = etree.SubElement(first, "{http://www.w3.org/1999/XSL/Transform}stylesheet", {"version": "1.0"})
        etree.SubElement(sheet, "{http://www.w3.org/1999/XSL/Transform}include", {"href": f"{url}/x"})

    spoilers = {"reference": reference, "retrieval-method": retrieval, "xslt-transform": transform}
    return {name: signing.sign(body, VTN, spoil=spoil) for name, spoil in spoilers.items()}


async def test_a25_hostile_a3_no_message_makes_us_call_anybody(trap: Trap) -> None:
    plain, signed = calls_in_markup(trap.url), calls_in_signature(trap.url)
    bodies = plain | signed

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bodies[(await request.read()).decode()])

    let_in = set()
    async with served(handler) as url:
        transport = HttpTransport(url, TlsFiles(), max_bytes=MOST, timeout_s=5.0)
        for name in bodies:
            body = await transport.post(Service.POLL, name.encode())
            assert body == bodies[name]
            try:
                read(body, SIGNED if name in signed else GuardPolicy(), signing.NOW)
                let_in.add(name)
            except InvalidInput:
                pass
        await transport.close()
    assert let_in == {"market-context", "schema-location", "retrieval-method"}
    assert trap.calls == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_hostile_a21_no_redirect_is_followed(trap: Trap, status: int) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": f"{trap.url}/latest/meta-data"})

    async with served(handler) as url:
        transport = HttpTransport(url, TlsFiles(), max_bytes=MOST, timeout_s=5.0)
        with pytest.raises(PeerUnavailable, match=f"HTTP {status}"):
            await transport.post(Service.POLL, b"<q/>")
        await transport.close()
    assert trap.calls == 0


async def test_hostile_a5_300_megabytes_cost_neither_time_nor_memory() -> None:
    piece, bomb = b"x" * 1_000_000, gzip.compress(bytes(300_000_000), compresslevel=9)
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        if await request.read() == b"bomb":
            return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(300):
            await answer.write(piece)
            sent += len(piece)
        return answer

    assert 250_000 < len(bomb) < 350_000
    async with served(handler) as url:
        transport = HttpTransport(url, TlsFiles(), max_bytes=MOST, timeout_s=10.0)
        before_kb, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
        for body in (b"bomb", b"flood"):
            with pytest.raises(PeerUnavailable, match="longer than"):
                await transport.post(Service.POLL, body)
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        await transport.close()
    assert grown_kb < 100_000
    assert sent < 100_000_000
    assert time.thread_time() - started < 5.0


async def test_hostile_a6_after_a_trickle_the_next_poll_is_normal() -> None:
    drips = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal drips
        if await request.read() == b"normal":
            return web.Response(text="<a/>")
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            drips += 1
            await answer.write(b"x")
            await asyncio.sleep(0.02)

    async with served(handler) as url:
        transport = HttpTransport(url, TlsFiles(), max_bytes=MOST, timeout_s=0.3)
        with pytest.raises(PeerUnavailable, match="TimeoutError"):
            await transport.post(Service.POLL, b"slow")
        assert await transport.post(Service.POLL, b"normal") == b"<a/>"
        await transport.close()
    assert drips > 1


async def test_hostile_a19_a_connection_that_is_reset_costs_one_exchange() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if await request.read() == b"normal":
            return web.Response(text="<a/>")
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with served(handler) as url:
        transport = HttpTransport(url, TlsFiles(), max_bytes=MOST, timeout_s=5.0)
        with pytest.raises(PeerUnavailable):
            await transport.post(Service.POLL, b"reset")
        assert await transport.post(Service.POLL, b"normal") == b"<a/>"
        await transport.close()


async def test_hostile_a6_headers_that_never_end_are_given_up() -> None:
    is_gone = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X-Slow: 1\r\n")
            await asyncio.sleep(0.02)
        is_gone.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        transport = HttpTransport(f"http://127.0.0.1:{port}", TlsFiles(), max_bytes=MOST, timeout_s=0.3)
        with pytest.raises(PeerUnavailable):
            await transport.post(Service.POLL, b"<q/>")
        await transport.close()
        await is_gone.wait()


@asynccontextmanager
async def asking(url: str, tls: TlsFiles) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(url, tls, max_bytes=MOST, timeout_s=5.0)
    try:
        yield transport
    finally:
        await transport.close()


async def test_hostile_a11_the_vtn_must_show_the_right_certificate(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    other = pki.authority.issue_cert("127.0.0.1")
    expired = pki.authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) - timedelta(minutes=5))
    rogue = trustme.CA().issue_cert("127.0.0.1")
    misnamed = pki.authority.issue_cert("else.example")
    pinned = TlsFiles(ca_file=pki.ca_file, fingerprints=frozenset({pki.fingerprints[0]}))
    refused = {
        "right": "",
        "same-authority": "Fingerprint",
        "expired": "Certificate",
        "rogue": "Certificate",
        "name": "Cert",
    }
    for shown, certificate in zip(refused, (pki.server, other, expired, rogue, misnamed), strict=True):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        async with served(hello, context) as url, asking(url, pinned) as transport:
            if not refused[shown]:
                assert await transport.post(Service.POLL, b"<q/>") == b"<a/>"
                continue
            with pytest.raises(PeerUnavailable, match=refused[shown]):
                await transport.post(Service.POLL, b"<q/>")


async def test_a_vtn_that_wants_a_client_certificate_lets_only_ours_in(tmp_path: Path) -> None:
    pki, stranger = Pki(tmp_path), tmp_path / "stranger"
    stranger.mkdir()
    foreign = Pki(stranger)
    ours = TlsFiles(ca_file=pki.ca_file, cert_file=pki.cert_file, key_file=pki.key_file)
    theirs = TlsFiles(ca_file=pki.ca_file, cert_file=foreign.cert_file, key_file=foreign.key_file)
    async with served(hello, pki.context(wants_client=True)) as url:
        async with asking(url, ours) as transport:
            assert await transport.post(Service.POLL, b"<q/>") == b"<a/>"
        for tls in (theirs, TlsFiles(ca_file=pki.ca_file)):
            async with asking(url, tls) as transport:
                with pytest.raises(PeerUnavailable):
                    await transport.post(Service.POLL, b"<q/>")
