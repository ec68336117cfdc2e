"""An HTTP peer on loopback that answers what a test tells it to, also the way broken peers answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ScriptedPeer:
    """Answers come in the order they were given; the last one stays."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    asked: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def reply(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: str = "text/xml",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with a body."""

        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body, headers={"Content-Type": content_type, **(headers or {})})

        self.answers.append(answer)

    def hang(self) -> None:
        """Take the request and say nothing."""

        async def answer(request: web.Request) -> web.StreamResponse:
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.01)
            return web.Response()

        self.answers.append(answer)

    def break_off(self) -> None:
        """Take the request and break the connection."""

        async def answer(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        self.answers.append(answer)

    def drip(self) -> None:
        """Send one byte at a time, for ever."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while request.transport is not None and not request.transport.is_closing():
                await response.write(b"<")
                await asyncio.sleep(0.01)
            return response

        self.answers.append(answer)

    def promise_more(self) -> None:
        """Announce a longer body than is sent, then break off."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b'{"orderId": "half')
            assert request.transport is not None
            request.transport.abort()
            return response

        self.answers.append(answer)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Give the next answer."""
        self.asked.append(request)
        self.bodies.append(await request.read())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)


@asynccontextmanager
async def scripted_peer() -> AsyncIterator[ScriptedPeer]:
    """Serve a peer on loopback."""
    peer = ScriptedPeer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", peer.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        peer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield peer
    finally:
        await runner.cleanup()
