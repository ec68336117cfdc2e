"""One GET with caps: total time, bytes after decompression, no redirects, and no secret in any error.

Errors are raised outside the `except` blocks on purpose: aiohttp's exceptions carry the URL with the token, and a chained
exception would bring it into logs and tracebacks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from gateway.domain.errors import InvalidInput, PeerUnavailable

MAX_BODY_BYTES = 5_000_000
"""A day of quarter-hourly prices has about 15 kB; a year 2.6 MB."""
_CHUNK_BYTES = 65_536
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a peer answered."""

    status: int
    body: bytes
    """At most the cap, decompressed."""
    stand_in: str | None
    """What the sandbox says about values that are not of this day or place (`X-Stand-In`); None from real peers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchCaps:
    """Bounds of one request; all in real time, for sockets do not run on market time."""

    connect_s: float = 5.0
    total_s: float = 20.0
    max_bytes: int = MAX_BODY_BYTES


def checked_url(field: str, url: str) -> str:
    """Return the address if a token may be sent to it.

    Raises:
        InvalidInput: It is not https and not on loopback, or carries a user name.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(field, "must be an http or https address")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise InvalidInput(field, "must be https unless it is on loopback")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(field, "must not carry credentials")
    return url


async def fetch(
    session: aiohttp.ClientSession,
    url: str,
    *,
    peer: str,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    caps: FetchCaps,
) -> Reply:
    """Send one GET and return the reply, whatever its status.

    Raises:
        PeerUnavailable: No connection, no complete answer in time, a redirect, or a body over the cap.
    """
    timeout = aiohttp.ClientTimeout(total=caps.total_s, connect=caps.connect_s)
    asked = {**headers, "Accept-Encoding": "identity"}
    try:
        async with session.get(url, params=params, headers=asked, timeout=timeout, allow_redirects=False) as response:
            body = await _read_capped(response, caps.max_bytes)
            if body is not None and not 300 <= response.status < 400:
                return Reply(status=response.status, body=body, stand_in=response.headers.get("X-Stand-In"))
            failure = "redirects elsewhere" if body is not None else f"sends more than {caps.max_bytes} bytes"
    except TimeoutError:
        failure = f"did not answer within {caps.total_s:g} s"
    except aiohttp.ClientError as error:
        failure = f"cannot be reached ({type(error).__name__})"
    raise PeerUnavailable(f"{peer} {failure}")


async def _read_capped(response: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """Return the body, or None when it is longer; decompression is bounded per chunk, so a bomb stops at the cap."""
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            return None
        parts.append(chunk)
    return b"".join(parts)
