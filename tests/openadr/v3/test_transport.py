"""HTTP to a 3.x VTN over real sockets: what is sent, what is refused, and every way an answer can be bad."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.json_guard import JsonPolicy
from gateway.openadr.https import TlsFiles
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.refusals import VtnBusy, VtnRefused
from gateway.openadr.v3.settings import Credentials, VenSettings
from gateway.openadr.v3.transport import HttpTransport
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import ScriptedPeer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def listening(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Listen on a free port of loopback and give out the address."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{'http' if tls is None else 'https'}://{host}:{port}/openadr3"
    finally:
        await runner.cleanup()


def settings(url: str, **changes: Any) -> VenSettings:
    wanted: dict[str, Any] = {
        "authority": "vtn:test",
        "tenant": "demo",
        "dialect": Dialect.V310,
        "vtn_url": url,
        "ven_name": "V",
        "own_nodes": ("n",),
        "allow_plain_http": True,
        "request_timeout_s": 5.0,
        **changes,
    }
    return VenSettings(**wanted)


@asynccontextmanager
async def client_of(url: str, **changes: Any) -> AsyncIterator[VtnClient]:
    told = settings(url, **changes)
    transport = HttpTransport(told.tls, max_bytes=told.json.max_bytes, timeout_s=told.request_timeout_s)
    try:
        yield VtnClient(told, transport, HandClock())
    finally:
        await transport.close()


# ---------------------------------------------------------------- B20


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://vtn.example/openadr3", False),
        ("http://127.0.0.1:8080/openadr3", True),
        ("http://localhost/openadr3", True),
        ("http://[::1]:8080/openadr3", True),
    ],
)
def test_b20_https_passes_and_plain_http_to_this_machine_where_it_is_allowed(url: str, allowed: bool) -> None:
    assert settings(url, allow_plain_http=allowed).vtn_url == url


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:8080/openadr3", False),
        ("http://vtn.example/openadr3", True),
        ("http://127.0.0.1.example/openadr3", True),
        ("http://10.0.0.1/openadr3", True),
        ("ftp://vtn.example/openadr3", True),
        ("vtn.example/openadr3", True),
        ("https:///openadr3", True),
        ("https://[broken/openadr3", True),
        ("", True),
    ],
)
def test_b20_plain_http_is_refused(url: str, allowed: bool) -> None:
    with pytest.raises(InvalidInput, match="vtn_url"):
        settings(url, allow_plain_http=allowed)


def test_b20_tokens_are_asked_for_over_https_only() -> None:
    credentials = Credentials(client_id="c", client_secret="s", token_url="http://login.example/token")
    with pytest.raises(InvalidInput, match="token_url"):
        settings("https://vtn.example", credentials=credentials)


# ---------------------------------------------------------------- what is sent


async def test_requests_carry_token_query_and_body_as_the_specification_has_them() -> None:
    asked: list[tuple[str, str, str, bytes]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append((request.method, request.raw_path, request.headers.get("Authorization", ""), await request.read()))
        if request.path.endswith("/auth/server"):
            return web.json_response({"tokenURL": str(request.url.with_path("/login"))})
        if request.path == "/login":
            return web.json_response({"access_token": "T0KEN", "token_type": "Bearer", "expires_in": 60})
        if request.method == "POST":
            body = {"id": "v1", "objectType": "VEN", "createdDateTime": "x", "modificationDateTime": "x"}
            return web.json_response({**await request.json(), **body}, status=201)
        return web.json_response([])

    async with (
        listening(answer) as url,
        client_of(url, credentials=Credentials(client_id="me", client_secret="p&ss=1", scope="read_targets")) as client,
    ):
        await client.events((("targets", "a b&c"), ("targets", "é")))
        ven = await client.create_ven("Depot A&B <1>")
    assert ven.name == "Depot A&B <1>"
    discovery, login, events, vens = asked
    assert discovery[:3] == ("GET", "/openadr3/auth/server", "")
    assert login[3] == b"grant_type=client_credentials&client_id=me&client_secret=p%26ss%3D1&scope=read_targets"
    assert login[2] == ""
    assert events[1:3] == ("/openadr3/events?targets=a%20b%26c&targets=%C3%A9&skip=0&limit=50", "Bearer T0KEN")
    assert json.loads(vens[3]) == {"objectType": "VEN_VEN_REQUEST", "venName": "Depot A&B <1>"}


# ---------------------------------------------------------------- what is refused


async def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect(location="/openadr3/elsewhere")

    async with listening(answer) as url, client_of(url) as client:
        with pytest.raises(VtnRefused, match="307"):
            await client.events()
    assert asked == ["/openadr3/events"]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip-bomb"])
async def test_a_body_that_is_too_long_is_cut(packed: bool) -> None:
    body = b"[" + b" " * 3_000_000 + b"]"

    async def answer(_request: web.Request) -> web.StreamResponse:
        headers = {"Content-Encoding": "gzip"} if packed else {}
        return web.Response(body=gzip.compress(body) if packed else body, headers=headers)

    async with listening(answer) as url, client_of(url, json=JsonPolicy(max_bytes=1_000_000)) as client:
        with pytest.raises(PeerUnavailable, match="longer than 1000000 bytes"):
            await client.events()


async def test_a_compressed_answer_is_read_although_nobody_asked_for_it() -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(b"[]"), headers={"Content-Encoding": "gzip"})

    async with listening(answer) as url, client_of(url) as client:
        assert (await client.events()).objects == ()


@pytest.mark.parametrize("fault", ["hang", "drip", "break_off"])
async def test_a_vtn_that_never_finishes_is_given_up(fault: str) -> None:
    peer = ScriptedPeer()
    getattr(peer, fault)()

    async def answer(request: web.Request) -> web.StreamResponse:
        return await peer.answers[0](request)

    async with listening(answer) as url, client_of(url, request_timeout_s=0.3) as client:
        with pytest.raises(PeerUnavailable, match="did not answer GET"):
            await client.events()


async def test_nobody_there_is_unavailable() -> None:
    async with listening(_empty) as url:
        pass
    async with client_of(url) as client:
        with pytest.raises(PeerUnavailable):
            await client.events()


async def _empty(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(0)
    return web.json_response([])


@pytest.mark.parametrize(
    ("status", "busy", "wait"),
    [(400, False, None), (403, False, None), (404, False, None), (500, False, None), (429, True, 7), (503, True, None)],
    ids=str,
)
async def test_a_refusal_tells_status_reason_and_wait(status: int, busy: bool, wait: int | None) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        headers = {} if wait is None else {"Retry-After": str(wait)}
        return web.json_response({"title": "No", "detail": "because"}, status=status, headers=headers)

    async with listening(answer) as url, client_of(url) as client:
        with pytest.raises(VtnRefused, match=f"HTTP {status}: because") as refused:
            await client.events()
    assert refused.value.status == status
    assert isinstance(refused.value, VtnBusy) is busy
    if isinstance(refused.value, VtnBusy):
        assert refused.value.retry_after == (None if wait is None else timedelta(seconds=wait))


async def test_ids_from_outside_never_leave_their_place_in_a_path() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.raw_path)
        raise web.HTTPNotFound

    async with listening(answer) as url, client_of(url) as client:
        for event_id in ("../../admin", "a?b=c", "a/b#c", "é%2F"):
            with pytest.raises(VtnRefused):
                await client.event(event_id)
    assert asked == [
        "/openadr3/events/..%2F..%2Fadmin",
        "/openadr3/events/a%3Fb%3Dc",
        "/openadr3/events/a%2Fb%23c",
        "/openadr3/events/%C3%A9%252F",
    ]


# ---------------------------------------------------------------- TLS


class Pki:
    """An authority, a server certificate for loopback, a client certificate, and their files."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        server = self.authority.issue_cert("127.0.0.1")
        client = self.authority.issue_cert("ven.example")
        self.ca_file, self.cert_file, self.key_file = folder / "ca.pem", folder / "ven.pem", folder / "ven.key"
        self.authority.cert_pem.write_to_path(self.ca_file)
        client.cert_chain_pems[0].write_to_path(self.cert_file)
        client.private_key_pem.write_to_path(self.key_file)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.configure_cert(self.context)
        self.authority.configure_trust(self.context)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


async def test_the_vtn_must_be_vouched_for_and_may_want_our_certificate(pki: Pki) -> None:
    pki.context.verify_mode = ssl.CERT_REQUIRED
    async with listening(_empty, pki.context) as url:
        ours = TlsFiles(ca_file=pki.ca_file, cert_file=pki.cert_file, key_file=pki.key_file)
        async with client_of(url, tls=ours) as client:
            assert (await client.events()).objects == ()
        for tls in (TlsFiles(ca_file=pki.ca_file), TlsFiles(cert_file=pki.cert_file, key_file=pki.key_file)):
            async with client_of(url, tls=tls) as client:
                with pytest.raises(PeerUnavailable):
                    await client.events()
        pinned = TlsFiles(
            ca_file=pki.ca_file, cert_file=pki.cert_file, key_file=pki.key_file, fingerprints=frozenset({"AA:BB"})
        )
        async with client_of(url, tls=pinned) as client:
            with pytest.raises(PeerUnavailable, match="Fingerprint"):
                await client.events()
