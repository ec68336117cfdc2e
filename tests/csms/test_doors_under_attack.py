"""What strangers and broken peers send to the callback port: refused, bounded, and without effect on others; and TLS."""

import asyncio
import contextlib
import io
import json
import ssl
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.csms.listening import LARGEST_BODY_BYTES, DoorListener, ListenSettings
from gateway.csms.ocpi.envelope import authorization
from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.outbound import AddressRules, Call, ClientTls, PeerHttp
from tests.csms.door_scene import OcpiScene, free_port, ocpi_scene, running, until

BODIES = st.one_of(
    st.binary(max_size=300),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)
PATHS = (
    ("POST", "2.2.1/credentials"),
    ("PUT", "2.2.1/credentials"),
    ("PUT", "2.2.1/sessions/NL/CPO/s1"),
    ("PATCH", "2.2.1/sessions/NL/CPO/s1"),
    ("PUT", "2.2.1/sessions/NL/CPO/s1/charging_preferences"),
    ("PUT", "2.2.1/chargingprofiles/s1"),
    ("POST", "2.2.1/results/token"),
)


async def statuses(ocpi: OcpiScene, bodies: list[bytes]) -> set[int]:
    assert ocpi.cpo.partner is not None
    headers = {"Authorization": authorization(ocpi.cpo.partner.token)}
    found = set()
    async with aiohttp.ClientSession(headers=headers) as http:
        for body in bodies:
            for method, path in PATHS:
                async with http.request(method, f"{ocpi.root}/{path}", data=body) as answer:
                    found.add(answer.status)
                    content = json.loads(await answer.read())
                    assert content["status_code"] >= 2000
    return found


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(bodies=st.lists(BODIES, min_size=6, max_size=10))
def test_whatever_a_platform_sends_is_answered_with_an_envelope(bodies: list[bytes]) -> None:
    async def play() -> None:
        async with ocpi_scene() as ocpi:
            assert await statuses(ocpi, bodies) <= {400, 404, 405}

    asyncio.run(play())


async def test_deep_and_huge_bodies_are_refused() -> None:
    async with ocpi_scene() as ocpi:
        nested = b"[" * 100_000 + b"]" * 100_000
        assert await statuses(ocpi, [nested, b'{"a": 1, "a": 2}', b'{"kwh": 1e999}', b"NaN"]) <= {400, 404, 405}
        assert ocpi.cpo.partner is not None
        url, huge = f"{ocpi.root}/2.2.1/results/token", b"x" * (LARGEST_BODY_BYTES + 1)
        known = {"Authorization": authorization(ocpi.cpo.partner.token)}
        async with aiohttp.ClientSession() as http:
            for headers, status in (({}, 401), (known, 413)):
                # Whoever is refused before the end of the body may find the connection closed instead.
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.post(url, data=io.BytesIO(huge), headers=headers) as answer:
                        assert answer.status == status
        assert ocpi.door.standing().is_connected


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "0.0.0.0"},
        {"public_url": "http://vpp.example/x"},
        {"public_url": "https://169.254.169.254/x"},
        {"cert_file": Path("none")},
    ],
)
def test_a_listener_never_carries_tokens_in_the_clear(changes: dict[str, object]) -> None:
    told: dict[str, object] = {"port": 0, "public_url": "https://vpp.example/x"}
    with pytest.raises(InvalidInput):
        DoorListener(ListenSettings(**(told | changes)))  # type: ignore[arg-type]  # as the settings say


async def test_a_taken_port_is_said() -> None:
    port = free_port()
    listen = ListenSettings(port=port, public_url="https://vpp.example/x")
    first, second = DoorListener(listen), DoorListener(listen)
    async with running(first.run):
        await until(lambda: first.port is not None, "listening")
        with pytest.raises(PeerUnavailable, match="cannot listen"):
            await second.run()


async def test_tls_both_ways_and_nobody_else(tmp_path: Path) -> None:
    authority, port = trustme.CA(), free_port()
    certificate = authority.issue_cert("127.0.0.1")
    files = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    certificate.cert_chain_pems[0].write_to_path(files[0])
    certificate.private_key_pem.write_to_path(files[1])
    authority.cert_pem.write_to_path(files[2])
    listen = ListenSettings(port=port, public_url=f"https://127.0.0.1:{port}", cert_file=files[0], key_file=files[1])
    listener = DoorListener(listen)

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    listener.add([web.get("/x", hello)])
    url = f"https://127.0.0.1:{port}/x"
    rules = AddressRules(hosts=frozenset({"127.0.0.1"}))
    async with running(listener.run):
        await until(lambda: listener.port is not None, "listening")
        known = PeerHttp(rules, ClientTls(ca_file=files[2]), max_bytes=100, timeout_s=2.0)
        assert (await known.call(Call(method="GET", url=url))).body == b"hello"
        stranger = PeerHttp(rules, ClientTls(), max_bytes=100, timeout_s=2.0)
        with pytest.raises(PeerUnavailable):
            await stranger.call(Call(method="GET", url=url))
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(files[2])
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("DEFAULT")
        async with aiohttp.ClientSession() as http, http.get(url, ssl=old) as answer:
            assert answer.status == 200
        await known.close()
        await stranger.close()
