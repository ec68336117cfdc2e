"""What holds for every answer and every request before a page sees it: safe headers and bounded bodies."""

import json
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY_BYTES = 256 * 1024
"""A form of 100 delivery periods is under 10 kB."""
PARTNER_PATH = "/oscp/"
"""Below it grid partners send forecasts, which bound their bodies themselves."""
LARGEST_PARTNER_BODY_BYTES = 1024 * 1024
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_TOO_LARGE = "BODY_TOO_LARGE"
_HSTS = "max-age=31536000"


class Armour:
    """ASGI middleware around the whole site; unlike a `BaseHTTPMiddleware` it lets streams end with their reader."""

    def __init__(self, app: ASGIApp, *, is_secure: bool) -> None:
        """Take the site and whether it is served over TLS."""
        self._app = app
        self._is_secure = is_secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_static = scope["path"].startswith("/static/")

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(message, is_static=is_static)
            await send(message)

        largest = LARGEST_PARTNER_BODY_BYTES if scope["path"].startswith(PARTNER_PATH) else LARGEST_BODY_BYTES
        if _declared_length(scope) > largest:
            await _refuse(send_safely)
            return
        await self._app(scope, _BoundedBody(receive, largest).receive, send_safely)

    def _add_headers(self, message: Message, *, is_static: bool) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        headers["Cache-Control"] = "public, max-age=3600" if is_static else "no-store"
        if self._is_secure:
            headers["Strict-Transport-Security"] = _HSTS


class _BoundedBody:
    """Counts what comes in."""

    def __init__(self, receive: Receive, largest: int) -> None:
        self._receive = receive
        self._largest = largest
        self._taken = 0

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        if self._taken > self._largest:
            raise HTTPException(413, _TOO_LARGE)
        return message


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    body = json.dumps({"title": _TOO_LARGE, "status": 413}).encode()
    await send({"type": "http.response.body", "body": body})
