"""HTTP to a VTN over real sockets: what is sent, and every way an answer can be refused."""

import asyncio
import gzip
import hashlib
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.openadr.https import TlsFiles
from gateway.openadr.v20b.names import Service
from gateway.openadr.v20b.transport import HttpTransport

MOST = 10_000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/OpenADR2/Simple/2.0b/{service}", handler)
    app.router.add_route("*", "/elsewhere", _trap)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    scheme = "http" if context is None else "https"
    try:
        yield f"{scheme}://127.0.0.1:{port}/OpenADR2/Simple/2.0b"
    finally:
        await runner.cleanup()


trapped: list[str] = []


async def _trap(request: web.Request) -> web.StreamResponse:
    trapped.append(request.method)
    return web.Response(text="followed")


async def ask(url: str, *, tls: TlsFiles | None = None, timeout_s: float = 5.0, body: bytes = b"<q/>") -> bytes:
    transport = HttpTransport(url, tls or TlsFiles(), max_bytes=MOST, timeout_s=timeout_s)
    try:
        return await transport.post(Service.POLL, body)
    finally:
        await transport.close()


async def test_a_message_goes_to_its_service_as_xml() -> None:
    seen: list[tuple[str, str, str | None, bytes]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(
            (request.path, request.headers["Content-Type"], request.headers.get("Content-Length"), await request.read())
        )
        return web.Response(text="<a/>")

    async with served(handler) as url:
        transport = HttpTransport(url + "/", TlsFiles(), max_bytes=MOST, timeout_s=5.0)
        assert await transport.post(Service.EVENT, b"<q>1</q>") == b"<a/>"
        await transport.close()
        assert await transport.post(Service.REPORT, b"<q>2</q>") == b"<a/>"
        await transport.close()
    assert seen == [
        ("/OpenADR2/Simple/2.0b/EiEvent", "application/xml", "8", b"<q>1</q>"),
        ("/OpenADR2/Simple/2.0b/EiReport", "application/xml", "8", b"<q>2</q>"),
    ]


async def test_an_empty_answer_is_an_answer() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response()

    async with served(handler) as url:
        assert await ask(url) == b""


@pytest.mark.parametrize("status", [204, 301, 307, 401, 404, 500, 502, 503])
async def test_hostile_a19_only_200_counts(status: int) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html/>" if status != 204 else None)

    async with served(handler) as url:
        with pytest.raises(PeerUnavailable, match=f"HTTP {status}"):
            await ask(url)


async def test_hostile_a21_a_redirect_is_not_followed() -> None:
    trapped.clear()

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with served(handler) as url:
        with pytest.raises(PeerUnavailable, match="HTTP 307"):
            await ask(url)
    assert trapped == []


async def test_hostile_a5_an_answer_without_end_is_cut() -> None:
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(3_000):
            await answer.write(b"x" * 100_000)
            sent += 100_000
        return answer

    async with served(handler) as url:
        with pytest.raises(PeerUnavailable, match="longer than"):
            await ask(url)
    assert sent < 100_000_000


async def test_hostile_a5_a_compressed_answer_is_read_up_to_the_cap() -> None:
    bodies = {"small": gzip.compress(b"<a/>" * 10), "bomb": gzip.compress(bytes(30_000_000)), "junk": b"not gzip"}
    assert len(bodies["bomb"]) > MOST

    async def handler(request: web.Request) -> web.StreamResponse:
        body = bodies[(await request.read()).decode()]
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    async with served(handler) as url:
        assert await ask(url, body=b"small") == b"<a/>" * 10
        with pytest.raises(PeerUnavailable, match="longer than"):
            await ask(url, body=b"bomb")
        with pytest.raises(PeerUnavailable, match="cannot read"):
            await ask(url, body=b"junk")


async def test_a_bomb_smaller_than_the_cap_is_not_inflated_beyond_it() -> None:
    bomb = gzip.compress(bytes(50_000_000), compresslevel=9)
    cap = 200_000
    assert len(bomb) < cap

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with served(handler) as url:
        transport = HttpTransport(url, TlsFiles(), max_bytes=cap, timeout_s=5.0)
        tracemalloc.start()
        with pytest.raises(PeerUnavailable, match="longer than"):
            await transport.post(Service.POLL, b"<q/>")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await transport.close()
    assert peak < 10_000_000


async def test_hostile_a6_a_trickle_ends_at_the_total_timeout() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x")
            await asyncio.sleep(0.02)

    async with served(handler) as url:
        with pytest.raises(PeerUnavailable, match="TimeoutError"):
            await ask(url, timeout_s=0.3)


async def test_nobody_there_is_a_peer_that_is_unavailable(unused_tcp_port: int) -> None:
    with pytest.raises(PeerUnavailable, match="ClientConnectorError"):
        await ask(f"http://127.0.0.1:{unused_tcp_port}")


async def test_a_peer_that_hangs_up_is_unavailable() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with served(handler) as url:
        with pytest.raises(PeerUnavailable):
            await ask(url)


class Pki:
    """A certificate authority with a server and a client certificate, as files."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.authority = trustme.CA()
        self.server = self.authority.issue_cert(host)
        self.client = self.authority.issue_cert("ven.example")
        self.ca_file, self.cert_file, self.key_file = folder / "ca.pem", folder / "client.pem", folder / "client.key"
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.client.cert_chain_pems[0].write_to_path(self.cert_file)
        self.client.private_key_pem.write_to_path(self.key_file)

    def context(self, *, wants_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.configure_cert(context)
        if wants_client:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    @property
    def fingerprints(self) -> tuple[str, str]:
        der = x509.load_pem_x509_certificate(self.server.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER)
        digest = hashlib.sha256(der).digest()
        return digest[-10:].hex(":").upper(), digest.hex(":").upper()


async def hello(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<a/>")


async def test_tls_with_a_private_authority_needs_no_client_certificate(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    async with served(hello, pki.context()) as url:
        assert await ask(url, tls=TlsFiles(ca_file=pki.ca_file)) == b"<a/>"
        with pytest.raises(PeerUnavailable, match="Certificate"):
            await ask(url)


async def test_the_host_name_is_checked(tmp_path: Path) -> None:
    pki = Pki(tmp_path, host="vtn.example")
    async with served(hello, pki.context()) as url:
        with pytest.raises(PeerUnavailable, match="Certificate"):
            await ask(url, tls=TlsFiles(ca_file=pki.ca_file))


async def test_a_pin_is_checked_before_anything_is_sent(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    received: list[bytes] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        received.append(await request.read())
        return web.Response(text="<a/>")

    async with served(handler, pki.context()) as url:
        for pin in pki.fingerprints:
            assert await ask(url, tls=TlsFiles(ca_file=pki.ca_file, fingerprints=frozenset({pin, "AA:BB"}))) == b"<a/>"
        received.clear()
        with pytest.raises(PeerUnavailable, match="Fingerprint"):
            await ask(url, tls=TlsFiles(ca_file=pki.ca_file, fingerprints=frozenset({"00:" * 9 + "00"})))
    assert received == []


async def test_mutual_tls(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    files = TlsFiles(ca_file=pki.ca_file, cert_file=pki.cert_file, key_file=pki.key_file)
    async with served(hello, pki.context(wants_client=True)) as url:
        assert await ask(url, tls=files) == b"<a/>"
        with pytest.raises(PeerUnavailable):
            await ask(url, tls=TlsFiles(ca_file=pki.ca_file))


def test_files_that_cannot_be_used_are_named_at_the_start(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for tls in (TlsFiles(ca_file=tmp_path / "none.pem"), TlsFiles(ca_file=junk), TlsFiles(cert_file=junk)):
        with pytest.raises(InvalidInput, match=r"openadr\.tls"):
            HttpTransport("https://vtn.example", tls, max_bytes=MOST, timeout_s=1.0)
