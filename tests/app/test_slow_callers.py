"""Whoever sends a byte now and then is cut off, and others are served meanwhile (case C3)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import web
from fastapi import FastAPI, Request

from gateway.app import slow_callers
from gateway.app.pages import PageServer
from gateway.csms import listening
from gateway.csms.listening import DoorListener, ListenSettings
from gateway.openadr.listening import Listener
from gateway.settings import WebSettings

SLOW = 500
PLAIN = b"GET /here HTTP/1.1\r\nhost: x\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Door = Callable[[float, pytest.MonkeyPatch], AbstractAsyncContextManager[int]]


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    site = FastAPI()

    @site.get("/here")
    async def here() -> str:
        return "here"

    @site.post("/body")
    async def body(request: Request) -> int:
        return len(await request.body())

    server = PageServer(site, WebSettings(port=0, allow_plain_on_loopback=True))
    port = int(server.bind().rpartition(":")[2])
    task = asyncio.create_task(server.serve())
    try:
        while True:
            try:
                await ask(port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                break
        yield port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PLAIN)
    answer = await reader.readuntil(b'"here"')
    writer.close()
    return answer


async def is_cut_off(stream: Stream, drip: bytes) -> bool:
    """Send a byte now and then until the other side hangs up."""
    reader, writer = stream
    try:
        for _ in range(200):
            writer.write(drip)
            await writer.drain()
            try:
                async with asyncio.timeout(0.1):
                    return await reader.read(1) == b""
            except TimeoutError:
                continue
    except ConnectionError:
        return True
    finally:
        writer.close()
    return False


async def test_c3_headers_that_come_byte_by_byte_are_cut_off_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slow_callers, "HEAD_PATIENCE_S", 0.5)
    async with served() as port:
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SLOW)]
        for _, writer in slow:
            writer.write(b"GET /here HTTP/1.1\r\nx-slow: ")
        assert b"200 OK" in await ask(port)
        assert all(await asyncio.gather(*(is_cut_off(stream, b"a") for stream in slow)))
        assert b"200 OK" in await ask(port)


async def say_here(_: web.Request) -> web.Response:
    return web.json_response("here")


@asynccontextmanager
async def served_to_platforms(patience_s: float, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(listening, "_PATIENCE_S", patience_s)
    plain = ListenSettings(port=0, public_url="http://127.0.0.1:1", allow_plain_on_loopback=True)
    door = DoorListener(plain)
    door.add([web.get("/here", say_here)])
    async with running(door, asyncio.create_task(door.run())) as port:
        yield port


@asynccontextmanager
async def served_to_vtns(patience_s: float, _: pytest.MonkeyPatch) -> AsyncIterator[int]:
    app = web.Application()
    app.add_routes([web.get("/here", say_here)])
    door = Listener("127.0.0.1", 0, None, purpose="tests")
    async with running(door, asyncio.create_task(door.run(app, patience_s=patience_s))) as port:
        yield port


@asynccontextmanager
async def running(door: DoorListener | Listener, task: asyncio.Task[None]) -> AsyncIterator[int]:
    try:
        while door.port is None:
            await asyncio.sleep(0.01)
        yield door.port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


DOORS = pytest.mark.parametrize("door", [served_to_platforms, served_to_vtns], ids=["c3-platforms", "c3-vtns"])


@DOORS
async def test_c3_headers_that_come_byte_by_byte_are_cut_off_at_every_other_door(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with door(0.5, monkeypatch) as port:
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SLOW)]
        for _, writer in slow:
            writer.write(b"GET /here HTTP/1.1\r\nx-slow: ")
        assert b"200 OK" in await ask(port)
        assert all(await asyncio.gather(*(is_cut_off(stream, b"a") for stream in slow)))
        assert b"200 OK" in await ask(port)


@DOORS
@pytest.mark.parametrize("asked_before", [False, True], ids=["nothing", "second-request"])
async def test_c3_who_says_nothing_or_stops_in_the_second_request_is_cut_off_at_every_other_door(
    door: Door, asked_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with door(0.2, monkeypatch) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if asked_before:
            writer.write(PLAIN)
            await reader.readuntil(b'"here"')
            writer.write(b"GET /he")
        async with asyncio.timeout(10.0):
            assert await reader.read() == b""
        writer.close()


@DOORS
async def test_an_answer_that_takes_longer_than_the_patience_for_headers_is_given(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def slow_here(_: web.Request) -> web.Response:
        await asked.wait()
        return web.json_response("here")

    monkeypatch.setitem(globals(), "say_here", slow_here)
    async with door(0.1, monkeypatch) as port:
        answer = asyncio.create_task(ask(port))
        await asyncio.sleep(0.3)
        asked.set()
        assert b"200 OK" in await answer


@pytest.mark.parametrize("asked_before", [False, True], ids=["c3-nothing", "c3-second-request"])
async def test_who_says_nothing_or_stops_in_the_second_request_is_cut_off(
    asked_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_callers, "HEAD_PATIENCE_S", 0.2)
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if asked_before:
            writer.write(PLAIN)
            await reader.readuntil(b'"here"')
            writer.write(b"GET /he")
        async with asyncio.timeout(10.0):
            assert await reader.read() == b""
        writer.close()


async def test_c3_a_body_that_does_not_end_is_cut_off_and_one_that_comes_in_parts_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slow_callers, "HEAD_PATIENCE_S", 0.2)
    monkeypatch.setattr(slow_callers, "BODY_PATIENCE_S", 1.0)
    head = b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
    async with served() as port:
        stream = await asyncio.open_connection("127.0.0.1", port)
        stream[1].write(head)
        assert await is_cut_off(stream, b"a")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in (head, b"a" * 500, b"a" * 500):
            writer.write(part)
            await asyncio.sleep(0.3)
        assert b"200 OK" in await reader.readuntil(b"1000")
        writer.close()
