"""One HTTP exchange with a VTN or its authorization server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
from yarl import URL

from gateway.domain.errors import PeerUnavailable
from gateway.openadr.https import TlsFiles, open_session, read_bounded, tls_context


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is sent. Headers and body may hold secrets and are never shown."""

    method: str
    url: str
    """With its query, encoded."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came back, whatever its status."""

    status: int
    body: bytes = field(repr=False)
    retry_after: str = ""
    """The `Retry-After` header as sent."""


class Transport(Protocol):
    """Carries a request to a peer and its reply back."""

    async def request(self, request: Request) -> Reply:
        """Send a request and return the reply.

        Raises:
            PeerUnavailable: No reply, or not a whole one of acceptable size. Whether the request took effect is unknown.
        """
        ...

    async def close(self) -> None:
        """Give up connections; the transport may be used again."""
        ...


class HttpTransport:
    """HTTP over real sockets: TLS 1.2 or newer, no redirect, no cookie, no proxy, one deadline for all of it.

    Args:
        tls: Files and pins for https; ignored for plain http.
        max_bytes: Longest reply that is read, decompressed.
        timeout_s: Real seconds for a whole exchange.

    Raises:
        InvalidInput: A TLS file is missing or cannot be used.
    """

    def __init__(self, tls: TlsFiles, *, max_bytes: int, timeout_s: float) -> None:
        self._pins = tls.fingerprints
        self._context = tls_context(tls)
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def request(self, request: Request) -> Reply:
        """Send a request and return the reply (see `Transport.request`)."""
        if self._session is None:
            self._session = open_session(self._pins, self._timeout_s, {"Accept": "application/json"})
        try:
            async with self._session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                ssl=self._context,
            ) as answer:
                body = await read_bounded(answer, self._max_bytes)
                return Reply(status=answer.status, body=body, retry_after=answer.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise PeerUnavailable(f"the VTN did not answer {request.method} ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
