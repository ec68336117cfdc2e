"""Serves an application of aiohttp and waits only so long for the first request of a connection, which aiohttp itself does not limit.

Without it, whoever sends a byte of the headers now and then keeps a connection for ever (case C3). Later requests of the same
connection are bounded by `keepalive_timeout`, bodies by whoever reads them.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_STOP_S = 1.0
"""Real seconds in which answers under way may end when we stop."""
_BACKLOG = 128
"""Connections that the system keeps until we accept them, as aiohttp has it."""


@asynccontextmanager
async def serving(
    app: web.Application,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    *,
    patience_s: float,
    auto_decompress: bool = True,
) -> AsyncIterator[int]:
    """Serve an application and give out the port that is listened on.

    Args:
        app: What is served; it must not have been served before.
        host: Address to listen on.
        port: Port; 0 takes any free one.
        context: Our certificate; None listens in the clear.
        patience_s: Real seconds from the connection to the end of the first request's headers, the TLS handshake included, and
            after which an idle connection is closed.
        auto_decompress: Whether compressed bodies are unpacked.

    Raises:
        OSError: The address is taken or not ours.
    """
    waiting: set[asyncio.BaseProtocol] = set()
    app.middlewares.insert(0, _admitting(waiting))
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=auto_decompress,
        keepalive_timeout=patience_s,
        shutdown_timeout=_STOP_S,
    )
    await runner.setup()
    try:
        listener = await _listen(runner, waiting, host, port, context, patience_s)
        try:
            yield int(listener.sockets[0].getsockname()[1])
        finally:
            listener.close()
    finally:
        await runner.cleanup()


def _admitting(waiting: set[asyncio.BaseProtocol]) -> Middleware:
    """Return what notes that a connection has said a whole request head."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        waiting.discard(request.protocol)
        return await handler(request)

    return note


async def _listen(
    runner: web.AppRunner,
    waiting: set[asyncio.BaseProtocol],
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    patience_s: float,
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    server = runner.server
    if server is None:
        raise TypeError("a runner that is set up has a server")

    def accept() -> web.RequestHandler:
        handler = server()
        waiting.add(handler)
        loop.call_later(patience_s, give_up, handler)
        return handler

    def give_up(handler: web.RequestHandler) -> None:
        if handler in waiting:
            waiting.discard(handler)
            handler.force_close()

    handshake_s = None if context is None else patience_s
    return await loop.create_server(
        accept, host, port, ssl=context, ssl_handshake_timeout=handshake_s, backlog=_BACKLOG
    )
