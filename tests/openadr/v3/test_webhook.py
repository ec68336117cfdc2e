"""The callbacks that VTNs notify us at, over real sockets."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.openadr.v3.notifications import POLICY, Interest
from gateway.openadr.v3.webhook import Callback, WebhookReceiver, WebhookSettings
from tests.fakes.clock import START, HandClock

PLAIN = WebhookSettings(port=0, public_url="http://127.0.0.1/openadr", allow_plain_http=True, patience_s=0.5)
OURS = Interest(targets=frozenset({"group-1", "site-1"}), programs=frozenset({"p-1"}))


def notice(kind: str = "EVENT", operation: str = "CREATE", **more: Any) -> dict[str, Any]:
    subject = {"id": "e-1", "programID": "p-1", "objectType": kind, "unknown": {"to": "us"}}
    return {"objectType": kind, "operation": operation, "object": subject, **more}


class Door:
    """A listener with one callback, and a VTN that uses it."""

    def __init__(self, receiver: WebhookReceiver, session: aiohttp.ClientSession, scheme: str) -> None:
        self.woken = 0
        self.interest = OURS
        self.callback: Callback = receiver.add("vtn:test", lambda: self.interest, self._wake)
        self.session = session
        name = self.callback.url.rpartition("/")[2]
        self.url = f"{scheme}://127.0.0.1:{receiver.port}/openadr/{name}"

    def _wake(self) -> None:
        self.woken += 1

    async def notify(self, body: object, token: str | None, **headers: str) -> int:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = headers if token is None else {"Authorization": f"Bearer {token}", **headers}
        async with self.session.post(self.url, data=sent, headers=given) as answer:
            return answer.status


@asynccontextmanager
async def listening(settings: WebhookSettings = PLAIN, context: ssl.SSLContext | None = None) -> AsyncIterator[Door]:
    receiver = WebhookReceiver(settings, HandClock())
    connector = aiohttp.TCPConnector(ssl=context or True)
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession(connector=connector) as session:
        server = group.create_task(receiver.run())
        while receiver.port is None:
            await asyncio.sleep(0)
        yield Door(receiver, session, "http" if context is None else "https")
        server.cancel()


@pytest.mark.parametrize("text", ["b7f3", "ä & <x> ?=+/", "0" * 1024], ids=["plain", "signs", "longest"])
async def test_b14_the_echo_is_answered_with_exactly_what_was_sent(text: str) -> None:
    async with listening() as door, door.session.get(door.url, params={"echo": text}) as answer:
        assert answer.status == 200
        assert await answer.text() == text
        assert answer.content_type == "text/plain"
    assert door.woken == 0


async def test_an_echo_without_text_or_to_nobody_is_refused() -> None:
    async with listening() as door:
        for url, status in ((door.url, 400), (f"{door.url}?echo={'0' * 1025}", 400), (f"{door.url}x?echo=1", 404)):
            async with door.session.get(url) as answer:
                assert answer.status == status


async def test_b14_a_wrong_bearer_gets_401_and_is_ignored() -> None:
    async with listening() as door:
        token = door.callback.renew_token()
        for wrong in (None, "", "x", token[:-1], token + "x", f"{token} {token}", "ä"):
            assert await door.notify(notice(), wrong) == 401
        async with door.session.post(door.url, data=b"{}", headers={"Authorization": f"Digest {token}"}) as answer:
            assert answer.status == 401
        assert door.woken == 0
        assert door.callback.count.refused == 8
        assert await door.notify(notice(), token) == 200
        assert door.woken == 1


async def test_nobody_gets_in_before_there_is_a_token() -> None:
    async with listening() as door:
        assert await door.notify(notice(), "") == 401


async def test_a_renewal_keeps_the_token_before_it_and_no_older_one() -> None:
    async with listening() as door:
        first, second, third = (door.callback.renew_token() for _ in range(3))
        assert [await door.notify(notice(), token) for token in (first, second, third)] == [401, 200, 200]


@pytest.mark.parametrize("word", ["CREATE", "UPDATE", "DELETE", "READ", "POST", "PUT", "GET"])
async def test_the_operations_of_both_dialects_are_understood(word: str) -> None:
    async with listening() as door:
        assert await door.notify(notice(operation=word), door.callback.renew_token()) == 200
        assert door.woken == 1


@pytest.mark.parametrize(
    ("message", "wakes"),
    [
        pytest.param(notice(), 1, id="without-targets"),
        pytest.param(notice(targets=["group-1", "group-2"]), 1, id="one-of-ours"),
        pytest.param(notice(targets=[{"type": "GROUP", "values": ["group-1"]}]), 1, id="one-of-ours-3.0.1"),
        pytest.param(notice(targets=["group-2"]), 0, id="foreign-target"),
        pytest.param({**notice(), "object": {"id": "e", "programID": "p-2"}}, 0, id="foreign-program"),
        pytest.param(notice("PROGRAM"), 1, id="program"),
        pytest.param(notice("REPORT"), 0, id="report-of-ours"),
        pytest.param(notice("SUBSCRIPTION"), 0, id="subscription-of-ours"),
    ],
)
async def test_only_what_concerns_us_makes_us_look(message: dict[str, Any], wakes: int) -> None:
    async with listening() as door:
        assert await door.notify(message, door.callback.renew_token()) == 200
        assert door.woken == wakes
        assert (door.callback.count.taken, door.callback.count.foreign) == (wakes, 1 - wakes)
        assert door.callback.count.last_at == (START if wakes else None)


async def test_before_the_vtn_has_said_what_is_ours_everything_is() -> None:
    async with listening() as door:
        door.interest = Interest()
        assert await door.notify(notice(targets=["group-9"]), door.callback.renew_token()) == 200
        assert door.woken == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="empty"),
        pytest.param(b"[]", 400, id="list"),
        pytest.param(b"{}", 400, id="nothing-said"),
        pytest.param(b'{"objectType": "EVENT", "operation": "EXPLODE", "object": {}}', 400, id="unknown-operation"),
        pytest.param(b"\xff\xfe", 400, id="no-utf-8"),
        pytest.param(b"[" * 100_000, 400, id="deep"),
        pytest.param(b" " * (POLICY.max_bytes + 1), 413, id="long"),
    ],
)
async def test_what_is_no_notification_is_refused(body: bytes, status: int) -> None:
    async with listening() as door:
        token = door.callback.renew_token()
        assert await door.notify(body, token) == status
        assert door.woken == 0
        assert await door.notify(notice(), token) == 200


async def test_a_trickle_is_cut_off() -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b'{"objectType":'
        await asyncio.sleep(60)

    async with listening() as door:
        headers = {"Authorization": f"Bearer {door.callback.renew_token()}"}
        async with door.session.post(door.url, data=trickle(), headers=headers) as answer:
            assert answer.status == 408
        assert door.woken == 0


def test_two_vtns_have_addresses_and_tokens_of_their_own() -> None:
    receiver = WebhookReceiver(PLAIN, HandClock())
    one, other = (receiver.add(name, lambda: OURS, lambda: None) for name in ("vtn:a", "vtn:b"))
    assert one.url != other.url
    assert not one.admits(f"Bearer {other.renew_token()}")
    assert "vtn:a" not in one.url


async def test_it_listens_with_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ours.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    settings = WebhookSettings(port=0, public_url="https://vpp.example/openadr", cert_file=tmp_path / "ours.pem")
    async with listening(settings, context) as door:
        assert door.callback.url.startswith("https://vpp.example/openadr/")
        assert await door.notify(notice(), door.callback.renew_token()) == 200
        assert door.woken == 1


async def test_a_taken_port_says_so() -> None:
    async with listening() as door:
        taken = int(door.url.split(":")[2].partition("/")[0])
        receiver = WebhookReceiver(WebhookSettings(port=taken, public_url="https://vpp.example"), HandClock())
        with pytest.raises(PeerUnavailable, match="cannot listen"):
            await receiver.run()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"public_url": "http://vpp.example/x"}, "public_url"),
        ({"public_url": "http://127.0.0.1/x"}, "public_url"),
        ({"public_url": "http://vpp.example/x", "allow_plain_http": True}, "public_url"),
        ({"public_url": "https://"}, "public_url"),
        ({"public_url": "ftp://127.0.0.1/x", "allow_plain_http": True}, "public_url"),
        ({"host": "0.0.0.0"}, "cert_file"),
    ],
    ids=["clear", "clear-loopback", "clear-allowed-elsewhere", "no-host", "not-http", "open-without-tls"],
)
def test_b20_a_callback_in_the_clear_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        WebhookSettings(**{"port": 0, "public_url": "https://vpp.example", **changes})


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "ours.pem").write_text("no certificate")
    settings = WebhookSettings(port=0, public_url="https://vpp.example", cert_file=tmp_path / "ours.pem")
    with pytest.raises(InvalidInput, match="cert_file"):
        WebhookReceiver(settings, HandClock())
