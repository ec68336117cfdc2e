"""HTTP to a VTN, whatever it speaks: https with checked names and pins, no redirect, no proxy, no cookie, bounded bodies."""

import hashlib
import ipaddress
import ssl
import zlib
from asyncio import Transport as SocketTransport
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from typing_extensions import override

from gateway.domain.errors import InvalidInput, PeerUnavailable

_CHUNK = 65_536
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain"})


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """Files for the transport, all PEM."""

    ca_file: Path | None = None
    """Who may vouch for the VTN; None is the machine's own list."""
    cert_file: Path | None = None
    """Our client certificate; None for none."""
    key_file: Path | None = None
    fingerprints: frozenset[str] = frozenset()
    """The VTN's certificate must be one of these too: SHA-256, last 10 bytes or all 32, as `AA:BB:...`. Empty for any."""


def check_address(url: str, *, allow_plain_http: bool, field: str = "openadr.vtn_url") -> None:
    """Refuse an address that is not https; plain http passes only to this machine itself and only when allowed.

    Args:
        url: The address.
        allow_plain_http: For the demo and for tests.
        field: What to name in an error.

    Raises:
        InvalidInput: It is not such an address.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise InvalidInput(field, "must be an https address") from error
    if parts.scheme == "https" and host:
        return
    if parts.scheme != "http" or not host:
        raise InvalidInput(field, "must be an https address")
    if not allow_plain_http or not is_loopback(host):
        raise InvalidInput(field, "must be https; plain http needs allow_plain_http and a loopback address")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOOPBACK_NAMES


class AnswerTooLong(PeerUnavailable):
    """The VTN's answer has more bytes than are read."""


def tls_context(tls: TlsFiles) -> ssl.SSLContext:
    """Return a context that checks chain and host name, speaks TLS 1.2 or newer and shows our certificate.

    Raises:
        InvalidInput: A file is missing or cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert_file is not None:
            context.load_cert_chain(str(tls.cert_file), None if tls.key_file is None else str(tls.key_file))
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput("openadr.tls", f"has a file that cannot be used ({type(error).__name__})") from error
    return context


def open_session(pins: frozenset[str], timeout_s: float, headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """Return a session for one VTN; it must be closed.

    Args:
        pins: Certificates that the VTN may show; empty for any that the chain vouches for.
        timeout_s: Real seconds for a whole exchange.
        headers: Sent with every request.
    """
    check: aiohttp.Fingerprint | bool = _Pins(pins) if pins else True
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=4, ssl=check),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={**headers, "Accept-Encoding": "identity"},
    )


async def read_bounded(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the body of an answer, decompressed, or refuse one that is longer than allowed.

    Raises:
        AnswerTooLong: Longer than allowed.
        PeerUnavailable: Compressed in a way we cannot read.
    """
    received = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        received += chunk
        if len(received) > max_bytes:
            raise AnswerTooLong(f"the VTN's answer is longer than {max_bytes} bytes")
    if answer.headers.get("Content-Encoding", "identity").strip().lower() in {"", "identity"}:
        return bytes(received)
    return _inflate(bytes(received), max_bytes)


def _inflate(packed: bytes, max_bytes: int) -> bytes:
    """Decompress what was sent compressed although we asked for it plain, never beyond the cap."""
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = inflater.decompress(packed, max_bytes + 1)
    except zlib.error as error:
        raise PeerUnavailable("the VTN's answer is compressed in a way we cannot read") from error
    if len(plain) > max_bytes:
        raise AnswerTooLong(f"the VTN's answer is longer than {max_bytes} bytes")
    return plain


def fingerprints_of(der: bytes) -> tuple[str, str]:
    """Return the fingerprints of a certificate in DER: the last 10 bytes of its SHA-256, and all 32, as `AA:BB:...`."""
    digest = hashlib.sha256(der).digest()
    return digest[-10:].hex(":").upper(), digest.hex(":").upper()


class _Pins(aiohttp.Fingerprint):
    """Checks the peer's certificate against OpenADR fingerprints right after the handshake, before anything is sent."""

    def __init__(self, pins: frozenset[str]) -> None:
        super().__init__(bytes(32))
        self._pins = pins

    @override
    def check(self, transport: SocketTransport) -> None:
        """Close the connection unless the certificate is pinned."""
        if not transport.get_extra_info("sslcontext"):
            return
        der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if not self._pins.intersection(fingerprints_of(der)):
            host, port, *_ = transport.get_extra_info("peername")
            raise aiohttp.ServerFingerprintMismatch(self.fingerprint, hashlib.sha256(der).digest(), host, port)
