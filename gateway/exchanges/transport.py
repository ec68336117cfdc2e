"""One HTTP exchange with a market peer, and what is certain about its outcome.

```
no connection                      PeerUnavailable     nothing left
status 429, 503                    PeerUnavailable     refused before it was taken
another answer                     the answer          the caller knows what a status means
no or half an answer               OutcomeUnknown      timeout, reset
```

A message that only asks changes nothing at the peer, so that there the last row is PeerUnavailable too. Errors are raised
outside the `except` blocks: aiohttp's exceptions carry the request with its credentials.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp

from gateway.domain.errors import InvalidInput, OutcomeUnknown, PeerUnavailable

MAX_BODY_BYTES = 10_000_000
"""The trades of a portfolio's day are below 100 kB."""
_CHUNK_BYTES = 65_536
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_REFUSED_UNREAD = frozenset({429, 503})


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a peer answered."""

    status: int
    body: bytes
    date: datetime | None = None
    """When the peer made it by its own clock, to the second; None when it does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is sent.

    Attributes:
        method: `GET`, `POST`, `PUT` or `PATCH`.
        url: Full address.
        params: Query, repeated names allowed.
        headers: Including credentials.
        body: JSON text or form as bytes; None without one.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    params: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Real seconds; sockets do not run on market time."""

    connect_s: float = 5.0
    total_s: float = 20.0


def checked_url(field: str, url: str) -> str:
    """Return the address without a trailing slash if credentials may be sent to it.

    Raises:
        InvalidInput: It is not https and not on loopback, or carries credentials.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(field, "must be an http or https address")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise InvalidInput(field, "must be https unless it is on loopback")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(field, "must not carry credentials")
    return url.rstrip("/")


async def ask(session: aiohttp.ClientSession, request: Request, *, peer: str, timeouts: Timeouts) -> Answer:
    """Send a message that changes nothing at the peer.

    Raises:
        PeerUnavailable: No usable answer, whatever the reason.
    """
    try:
        answer = await send(session, request, peer=peer, timeouts=timeouts)
    except OutcomeUnknown as error:
        problem = str(error)
    else:
        return answer
    raise PeerUnavailable(problem)


async def send(session: aiohttp.ClientSession, request: Request, *, peer: str, timeouts: Timeouts) -> Answer:
    """Send a message that has an effect, once.

    Raises:
        PeerUnavailable: It certainly had no effect.
        OutcomeUnknown: It left, and no answer tells whether it had one.
    """
    try:
        answer = await _exchange(session, request, timeouts)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
        failure: type[PeerUnavailable | OutcomeUnknown] = PeerUnavailable
        problem = f"{peer} cannot be reached ({type(error).__name__})"
    except (TimeoutError, aiohttp.ClientError) as error:
        failure = OutcomeUnknown
        problem = f"{peer} took a message but gave no answer ({type(error).__name__})"
    else:
        if answer.status not in _REFUSED_UNREAD:
            return answer
        failure = PeerUnavailable
        problem = f"{peer} answered with status {answer.status}"
    raise failure(problem)


async def _exchange(session: aiohttp.ClientSession, request: Request, timeouts: Timeouts) -> Answer:
    async with session.request(
        request.method,
        request.url,
        params=list(request.params),
        headers={**request.headers, "Accept-Encoding": "identity"},
        data=request.body,
        timeout=aiohttp.ClientTimeout(total=timeouts.total_s, connect=timeouts.connect_s),
        allow_redirects=False,
    ) as response:
        parts: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise aiohttp.ClientPayloadError("the answer is too long")
            parts.append(chunk)
        return Answer(status=response.status, body=b"".join(parts), date=_date_of(response.headers.get("Date", "")))


def _date_of(text: str) -> datetime | None:
    """Return the instant of a `Date` header; None when it is none."""
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date.astimezone(UTC) if date.tzinfo is not None else None
