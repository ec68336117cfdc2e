"""HTTP to the VTN: one POST, one bounded answer, no redirect, no patience for trickles."""

from typing import Protocol

import aiohttp

from gateway.domain.errors import PeerUnavailable
from gateway.openadr.https import TlsFiles, open_session, read_bounded, tls_context
from gateway.openadr.v20b.names import Service

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
        self._context = tls_context(tls) if self._url.startswith("https:") else None
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def post(self, service: Service, body: bytes) -> bytes:
        """Send a message and return the body of the answer (see `Transport.post`)."""
        if self._session is None:
            self._session = open_session(self._pins, self._timeout_s, {"Content-Type": "application/xml"})
        try:
            async with self._session.post(
                f"{self._url}/{service}", data=body, allow_redirects=False, ssl=self._context or True
            ) as answer:
                if answer.status != _HTTP_OK:
                    raise PeerUnavailable(f"the VTN answered {service} with HTTP {answer.status}")
                return await read_bounded(answer, self._max_bytes)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PeerUnavailable(f"the VTN did not answer {service} ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
