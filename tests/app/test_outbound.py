"""Addresses that a peer tells us never lead into our own network."""

import asyncio
import socket
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.outbound import AddressRules, Call, ClientTls, GuardedResolver, PeerHttp
from gateway.sealing import Seal, is_token, new_token, token_hash
from tests.fakes.scripted_peer import scripted_peer

STRICT = AddressRules(hosts=frozenset({"cpo.example", "10.1.2.3"}))
DEMO = AddressRules(allow_plain_on_loopback=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/",
        "https://[fe80::1]/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.0.0.1/ocpi",
        "https://[::ffff:10.0.0.1]/",
        "https://192.168.1.1/",
        "https://0.0.0.0/",
        "https://2130706433/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://0/",
        "https://[::127.0.0.1]/",
        "https://[::ffff:0:127.0.0.1]/",
        "https://[64:ff9b::169.254.169.254]/",
        "https://[64:ff9b::10.0.0.1]/",
        "https://[64:ff9b:1::127.0.0.1]/",
        "https://[2002:a9fe:a9fe::1]/",
        "https://[fec0::1]/",
        "http://cpo.example/ocpi",
        "/ocpi/2.2.1",
        "ocpi/2.2.1",
        "//cpo.example/ocpi",
        "ftp://cpo.example/",
        "file:///etc/passwd",
        "https://user:word@cpo.example/",
        "https://cpo.example/#fragment",
        "https://cpo.example/a b",
        "https://cpo.example:99999/",
        "https:///nothing",
        "https://cpo.example/" + "a" * 3_000,
        "",
    ],
)
def test_o6_inner_and_broken_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"^response_url: "):
        STRICT.check("response_url", url)


@pytest.mark.parametrize("url", ["https://cpo.example/ocpi", "https://CPO.example:8443/x", "https://10.1.2.3/x"])
def test_hosts_of_the_settings_and_public_ones_pass(url: str) -> None:
    STRICT.check("url", url)
    STRICT.check("url", "https://8.8.8.8/x")


@pytest.mark.parametrize("host", ["[2a00:1450:4001::8a]", "[64:ff9b::8.8.8.8]", "[2002:808:808::1]"])
def test_public_addresses_of_ipv6_pass_also_where_they_lead_to_ipv4(host: str) -> None:
    STRICT.check("url", f"https://{host}/x")


def test_plain_http_passes_to_this_machine_only_when_allowed() -> None:
    DEMO.check("url", "http://127.0.0.1:8080/x")
    with pytest.raises(InvalidInput):
        DEMO.check("url", "http://10.0.0.1/x")
    with pytest.raises(InvalidInput):
        AddressRules().check("url", "http://127.0.0.1:8080/x")


class Names(AbstractResolver):
    """Resolves every name to the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        return None


async def test_a_name_is_judged_by_what_it_resolves_to() -> None:
    mixed = GuardedResolver(STRICT, Names("10.0.0.1", "8.8.8.8"))
    assert [one["host"] for one in await mixed.resolve("evil.example")] == ["8.8.8.8"]
    assert len(await mixed.resolve("cpo.example")) == 2
    with pytest.raises(OSError, match="no address"):
        await GuardedResolver(STRICT, Names("127.0.0.1", "169.254.169.254")).resolve("evil.example")
    with pytest.raises(OSError, match="no address"):
        await GuardedResolver(STRICT, Names("169.254.169.254")).resolve("cpo.example")


async def test_an_exchange_is_bounded_and_follows_no_redirect() -> None:
    http = PeerHttp(DEMO, ClientTls(), max_bytes=1_000, timeout_s=0.5)
    async with scripted_peer() as peer:
        peer.reply(b"x" * 1_001)
        peer.reply(b"", status=302, headers={"Location": "http://169.254.169.254/"})
        peer.reply(b"zip", headers={"Content-Encoding": "gzip"})
        peer.break_off()
        peer.hang()
        try:
            with pytest.raises(PeerUnavailable, match="longer"):
                await http.call(Call(method="GET", url=peer.url))
            assert (await http.call(Call(method="GET", url=peer.url))).status == 302
            for _ in range(3):
                with pytest.raises(PeerUnavailable):
                    await http.call(Call(method="GET", url=peer.url))
            with pytest.raises(InvalidInput):
                await http.call(Call(method="GET", url="https://169.254.169.254/"))
        finally:
            await http.close()
    await asyncio.sleep(0)


async def test_a_large_body_arrives_whole() -> None:
    http = PeerHttp(DEMO, ClientTls(), max_bytes=1_000, timeout_s=5.0)
    async with scripted_peer() as peer:
        peer.reply(b"ok")
        body = bytes(range(256)) * 3_000
        answer = await http.call(Call(method="POST", url=peer.url, headers={"Content-Type": "x/y"}, body=body))
        await http.close()
        assert (answer.status, peer.bodies[0], peer.asked[0].headers["Content-Type"]) == (200, body, "x/y")
        assert peer.asked[0].headers["Content-Length"] == str(len(body))


def test_a_call_shows_no_secret() -> None:
    call = Call(
        method="PUT", url="https://x.example/?token=s3cret", headers={"Authorization": "s3cret"}, body=b"s3cret"
    )
    assert "s3cret" not in repr(call)


def test_tokens_at_rest() -> None:
    seal, token = Seal("k" * 32), new_token()
    sealed = seal.close(token)
    assert token not in sealed
    assert seal.open(sealed) == token
    assert is_token(token, token_hash(token))
    assert not is_token("other", token_hash(token))
    with pytest.raises(InvalidInput, match="does not open"):
        Seal("j" * 32).open(sealed)
    with pytest.raises(InvalidInput, match="at least 32"):
        Seal("short")
