"""The callbacks that VTNs notify us at: one listener for all of them, one address and one token each.

A VTN first asks `GET {callback}?echo={text}` and wants exactly that text back (User Guide 6.3); then it posts notifications with the
bearer token that we gave it in the subscription. The token is made anew with each start and each renewal, and only its hash is kept.
Whoever knows the token can make us poll, nothing else.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from gateway.domain.errors import InvalidInput
from gateway.observe import logger
from gateway.openadr.https import check_address, is_loopback
from gateway.openadr.listening import Listener, server_context
from gateway.openadr.v3.notifications import POLICY, Doorbell, Interest, Wake
from gateway.ports import Clock

_LONGEST_ECHO = 1_024
_TOKENS_ACCEPTED = 2
"""The current one, and the one before: while a subscription is renewed the VTN may still use it."""
_TOKEN_BYTES = 32
_BEARER = "bearer "
_log = logger("openadr")


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookSettings:
    """Where we listen for notifications and how VTNs reach it."""

    port: int
    """Port we listen on; 0 takes any free one (tests)."""
    public_url: str
    """Beginning of the addresses that VTNs are told, for example `https://vpp.example/openadr`."""
    host: str = "127.0.0.1"
    """Address we listen on: loopback behind a proxy that ends TLS, or any with a certificate of our own."""
    cert_file: Path | None = None
    key_file: Path | None = None
    allow_plain_http: bool = False
    """Accept plain http in `public_url` when it leads to loopback; for tests and the demo."""
    patience_s: float = 10.0
    """Real seconds for one request."""

    def __post_init__(self) -> None:
        """Reject addresses that would carry tokens in the clear."""
        check_address(self.public_url, allow_plain_http=self.allow_plain_http, field="openadr.webhook.public_url")
        if self.cert_file is None and not is_loopback(self.host):
            raise InvalidInput("openadr.webhook.cert_file", "is needed to listen on anything but loopback")


class Callback:
    """The address that one VTN notifies us at.

    Args:
        url: Address as the VTN is told.
        interest: Returns what of the VTN is ours.
        wake: Called for each notification about it.
        clock: Market time.
    """

    def __init__(self, url: str, interest: Callable[[], Interest], wake: Wake, clock: Clock) -> None:
        self.url = url
        self._bell = Doorbell(interest, wake, clock)
        self.count = self._bell.count
        self._hashes: deque[bytes] = deque(maxlen=_TOKENS_ACCEPTED)

    def renew_token(self) -> str:
        """Return a new bearer token for the VTN; the one before it holds until the next renewal."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._hashes.append(_hash(token))
        return token

    def admits(self, authorization: str) -> bool:
        """Tell whether a request's Authorization header carries a token of ours, in constant time."""
        is_bearer = authorization[: len(_BEARER)].lower() == _BEARER
        given = _hash(authorization[len(_BEARER) :].strip())
        matches = [hmac.compare_digest(given, kept) for kept in self._hashes]
        return is_bearer and any(matches)

    def take(self, body: bytes) -> None:
        """Take a notification (see `Doorbell.ring`)."""
        self._bell.ring(body)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class WebhookReceiver:
    """Listens for the notifications of all VTNs.

    Args:
        settings: Where.
        clock: Market time.

    Raises:
        InvalidInput: The certificate cannot be used.
    """

    def __init__(self, settings: WebhookSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        context = server_context(settings.cert_file, settings.key_file, field="openadr.webhook.cert_file")
        self._listener = Listener(settings.host, settings.port, context, purpose="notifications")
        self._callbacks: dict[str, Callback] = {}

    @property
    def port(self) -> int | None:
        """Port that is listened on; None while it is not."""
        return self._listener.port

    def add(self, authority: str, interest: Callable[[], Interest], wake: Wake) -> Callback:
        """Open an address for one VTN.

        Args:
            authority: Our name for the partner; the address does not tell it.
            interest: Returns what of the VTN is ours.
            wake: Called when it is worth to look now.
        """
        name = hashlib.sha256(authority.encode()).hexdigest()[:24]
        callback = Callback(f"{self._settings.public_url.rstrip('/')}/{name}", interest, wake, self._clock)
        self._callbacks[name] = callback
        return callback

    async def run(self) -> None:
        """Listen until cancelled.

        Raises:
            PeerUnavailable: The address is taken or not ours.
        """
        app = web.Application(client_max_size=POLICY.max_bytes)
        app.add_routes([web.get("/{below:.*}", self._echo), web.post("/{below:.*}", self._notified)])
        await self._listener.run(app, patience_s=self._settings.patience_s)

    def _called(self, request: web.Request) -> Callback:
        found = self._callbacks.get(request.path.rpartition("/")[2])
        if found is None:
            raise web.HTTPNotFound
        return found

    async def _echo(self, request: web.Request) -> web.Response:
        """Answer the challenge with exactly what was sent."""
        self._called(request)
        text = request.query.get("echo")
        if text is None or len(text) > _LONGEST_ECHO:
            raise web.HTTPBadRequest(text="echo is missing or too long")
        return web.Response(text=text, content_type="text/plain", headers={"X-Content-Type-Options": "nosniff"})

    async def _notified(self, request: web.Request) -> web.Response:
        callback = self._called(request)
        if not callback.admits(request.headers.get("Authorization", "")):
            callback.count.refused += 1
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        try:
            async with asyncio.timeout(self._settings.patience_s):
                body = await request.read()
            callback.take(body)
        except TimeoutError as error:
            callback.count.refused += 1
            raise web.HTTPRequestTimeout from error
        except InvalidInput as error:
            _log.warning("notification refused", problem=error.problem)
            raise web.HTTPBadRequest(text="not a notification") from error
        return web.Response()
