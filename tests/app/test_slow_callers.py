"""Whoever sends a byte now and then is cut off, and others are served meanwhile (case C3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, Request

from gateway.app import slow_callers
from gateway.app.pages import PageServer
from gateway.settings import WebSettings

SLOW = 500
PLAIN = b"GET /here HTTP/1.1\r\nhost: x\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


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
