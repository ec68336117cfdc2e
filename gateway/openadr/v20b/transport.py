"""HTTP to the VTN: one POST, one bounded answer, no redirect, no patience for trickles."""

import hashlib
import ssl
import zlib
from asyncio import Transport as SocketTransport
from typing import Protocol

import aiohttp
from typing_extensions import override

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.openadr.v20b.names import Service
from gateway.openadr.v20b.settings import TlsFiles
from gateway.openadr.v20b.signature import fingerprints_of

_CHUNK = 65_536
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_HTTP_OK = 200


class Transport(Protocol):
    """Carries one message to the VTN and its answer back."""

    async def post(self, service: Service, body: bytes) -> bytes:
        """Send a message and return the body of the answer, which may be empty.

        Raises:
            PeerUnavailable: No answer, or not a whole one of acceptable size with status 200.
        """
        ...

    async def close(self) -> None:
        """Give up connections; the transport may be used again."""
        ...


class HttpTransport:
    """The simpleHttp transport of OpenADR 2.0b in pull mode, with our own limits.

    Args:
        url: Address of the VTN without the service name.
        tls: Files and pins for https; ignored for plain http.
        max_bytes: Longest answer that is read, decompressed.
        timeout_s: Real seconds for a whole exchange.

    Raises:
        InvalidInput: A TLS file is missing or cannot be used.
    """

    def __init__(self, url: str, tls: TlsFiles, *, max_bytes: int, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._pins = tls.fingerprints
        self._context = _tls_context(tls) if self._url.startswith("https:") else None
        self._max_bytes = max_bytes
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, service: Service, body: bytes) -> bytes:
        """Send a message and return the body of the answer (see `Transport.post`)."""
        if self._session is None:
            self._session = self._open()
        try:
            async with self._session.post(
                f"{self._url}/{service}", data=body, allow_redirects=False, ssl=self._context or True
            ) as answer:
                if answer.status != _HTTP_OK:
                    raise PeerUnavailable(f"the VTN answered {service} with HTTP {answer.status}")
                return await self._read(answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PeerUnavailable(f"the VTN did not answer {service} ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        pins: aiohttp.Fingerprint | bool = _Pins(self._pins) if self._pins else True
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=4, ssl=pins),
            timeout=self._timeout,
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Content-Type": "application/xml", "Accept-Encoding": "identity"},
        )

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        received = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            received += chunk
            if len(received) > self._max_bytes:
                raise PeerUnavailable(f"the VTN's answer is longer than {self._max_bytes} bytes")
        if answer.headers.get("Content-Encoding", "identity").strip().lower() in {"", "identity"}:
            return bytes(received)
        return self._inflate(bytes(received))

    def _inflate(self, packed: bytes) -> bytes:
        """Decompress what was sent compressed although we asked for it plain, never beyond the cap."""
        inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            plain = inflater.decompress(packed, self._max_bytes + 1)
        except zlib.error as error:
            raise PeerUnavailable("the VTN's answer is compressed in a way we cannot read") from error
        if len(plain) > self._max_bytes:
            raise PeerUnavailable(f"the VTN's answer is longer than {self._max_bytes} bytes")
        return plain


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


def _tls_context(tls: TlsFiles) -> ssl.SSLContext:
    """Return a context that checks chain and host name, speaks TLS 1.2 or newer and shows our certificate."""
    try:
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert_file is not None:
            context.load_cert_chain(str(tls.cert_file), None if tls.key_file is None else str(tls.key_file))
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput("openadr.tls", f"has a file that cannot be used ({type(error).__name__})") from error
    return context
