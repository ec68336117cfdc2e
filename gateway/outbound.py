"""HTTP to addresses that a peer told us: https, no redirect, no proxy, bounded bodies, and never into our own network.

A peer that may name the address of its own server may also name the address of ours (server-side request forgery). An address
passes when it is https and its host is one that the settings name, or a name or number of the public internet; a name is judged
by what it resolves to at the moment of the connection, so that changing it later does not help.
"""

import asyncio
import io
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override
from yarl import URL

from gateway.domain.errors import InvalidInput, PeerUnavailable

LONGEST_URL = 2_048
_CHUNK = 65_536
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain"})
_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
"""What IANA gives out for the public internet; all else of IPv6 is special, whatever Python's own table says of it."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_BITS = 0xFFFF_FFFF
_CONNECTIONS = 8
_LARGE_BYTES = 500_000
"""Bodies from this size on are written in parts, so that the event loop goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressRules:
    """Which addresses may be called."""

    hosts: frozenset[str] = frozenset()
    """Hosts that the settings name, in lower case: they may lie in private networks, never at a link-local address."""
    allow_plain_on_loopback: bool = False
    """Plain http passes to this machine itself; for the demo and for tests."""

    def check(self, field_name: str, url: str) -> None:
        """Refuse an address that must not be called.

        Args:
            field_name: What to name in an error.
            url: The address.

        Raises:
            InvalidInput: It is relative, not https, holds credentials or a fragment, or leads to an inner address.
        """
        host = _host_of(field_name, url)
        is_plain = url.lower().startswith("http:")
        if is_plain and not (self.allow_plain_on_loopback and is_loopback(host)):
            raise InvalidInput(field_name, "must be an https address")
        if host in _LOOPBACK_NAMES and not self._may_be_inner(host):
            raise InvalidInput(field_name, "leads to an inner address")
        literal = _address_of(host)
        is_inner = _is_odd_number(host) if literal is None else not self.may_connect(host, literal)
        if is_inner:
            raise InvalidInput(field_name, "leads to an inner address")

    def may_connect(self, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Tell whether a connection to an address may be opened for a host."""
        address = _innermost(address)
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            return False
        is_public = address.is_global and (isinstance(address, ipaddress.IPv4Address) or address in _UNICAST_6)
        return is_public or self._may_be_inner(host)

    def _may_be_inner(self, host: str) -> bool:
        return host in self.hosts or (self.allow_plain_on_loopback and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can only be this machine."""
    address = _address_of(host)
    return host in _LOOPBACK_NAMES if address is None else address.is_loopback


def _host_of(field_name: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(field_name, "must be an https address") from error
    if parts.scheme.lower() not in {"http", "https"} or not host or len(url) > LONGEST_URL:
        raise InvalidInput(field_name, "must be an https address")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidInput(field_name, "must hold neither credentials nor a fragment")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput(field_name, "must be an encoded address")
    return host.lower().rstrip(".")


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_odd_number(host: str) -> bool:
    """Tell whether a host is digits and dots but no address, such as 2130706433 or 127.1.

    The HTTP client takes it for an address and asks no resolver, the operating system makes 127.0.0.1 of it.
    """
    return host.replace(".", "").isdigit()


def _innermost(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 address leads to by mapping, 6to4 or NAT64; any other address as it is."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _IPV4_BITS)
    return address.ipv4_mapped or address.sixtofour or address


def _in_parts(body: bytes | None) -> bytes | io.BytesIO | None:
    return body if body is None or len(body) < _LARGE_BYTES else io.BytesIO(body)


class GuardedResolver(AbstractResolver):
    """Resolves names, and leaves out addresses that must not be connected to.

    Args:
        rules: Which addresses may.
        inner: Who resolves; None takes the machine's resolver.
    """

    def __init__(self, rules: AddressRules, inner: AbstractResolver | None = None) -> None:
        self._rules = rules
        self._inner = aiohttp.ThreadedResolver() if inner is None else inner

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host that may be called; an OSError when there is none."""
        found = await self._inner.resolve(host, port, family)
        name = host.lower().rstrip(".")
        passed = [one for one in found if self._rules.may_connect(name, ipaddress.ip_address(one["host"]))]
        if not passed:
            raise OSError(None, "the host has no address that may be called")
        return passed

    @override
    async def close(self) -> None:
        """Give up the resolver behind."""
        await self._inner.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientTls:
    """Files for https, all PEM."""

    ca_file: Path | None = None
    """Who may vouch for the peer's server; None is the machine's own list."""
    cert_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context that checks chain and host name, speaks TLS 1.2 or newer and shows our certificate.

        Raises:
            InvalidInput: A file is missing or cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert_file is not None:
                context.load_cert_chain(str(self.cert_file), None if self.key_file is None else str(self.key_file))
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput("tls", f"has a file that cannot be used ({type(error).__name__})") from error
        return context


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What is sent. Address, headers and body may hold secrets and are never shown."""

    method: str
    url: str = field(repr=False)
    """With its query, encoded."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class PeerHttp:
    """Calls one peer at addresses that pass the rules.

    Args:
        rules: Which addresses may be called.
        tls: Files for https.
        max_bytes: Longest answer that is read; compressed ones are refused.
        timeout_s: Real seconds for a whole exchange.

    Raises:
        InvalidInput: A TLS file cannot be used.
    """

    def __init__(self, rules: AddressRules, tls: ClientTls, *, max_bytes: int, timeout_s: float) -> None:
        self._rules = rules
        self._context = tls.context()
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(_CONNECTIONS)

    async def call(self, call: Call) -> Answer:
        """Send a request and return the answer.

        Raises:
            InvalidInput: The address must not be called; nothing was sent.
            PeerUnavailable: No answer, or not a whole one of acceptable size. Whether the request took effect is unknown.
        """
        self._rules.check("url", call.url)
        # Its own turn first: the time limit is for the exchange, not for waiting behind others of ours.
        async with self._turns:
            if self._session is None:
                self._session = self._open()
            try:
                return await self._exchange(self._session, call)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise PeerUnavailable(f"no answer to {call.method} ({type(error).__name__})") from error

    async def _exchange(self, session: aiohttp.ClientSession, call: Call) -> Answer:
        async with session.request(
            call.method,
            URL(call.url, encoded=True),
            headers=call.headers,
            data=_in_parts(call.body),
            allow_redirects=False,
            ssl=self._context,
        ) as answer:
            return Answer(status=answer.status, body=await self._read(answer), headers=dict(answer.headers))

    async def close(self) -> None:
        """Close all connections; it may be used again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, resolver=GuardedResolver(self._rules)),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
        )

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        if answer.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            raise PeerUnavailable("the answer is compressed although we asked for it plain")
        received = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            received += chunk
            if len(received) > self._max_bytes:
                raise PeerUnavailable(f"the answer is longer than {self._max_bytes} bytes")
        return bytes(received)
