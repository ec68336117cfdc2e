"""How every sandbox program starts and stops: it says when it is ready, stops on SIGTERM and never outlives its parent."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from aiohttp import web

HOST = "127.0.0.1"
_PARENT_CHECK_SECONDS = 1.0
_SHUTDOWN_SECONDS = 1.0


def log_to_stderr() -> None:
    """Send log records to stderr, one line each."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")


def write_ready(path: Path, document: Mapping[str, object]) -> None:
    """Write the ready file atomically: whoever sees it sees all of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(document), encoding="utf-8")
    beside.replace(path)


@contextlib.contextmanager
def stop_signal() -> Iterator[asyncio.Event]:
    """Give an event that is set on SIGTERM, on SIGINT and when the parent process has died; for a running loop only."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    parent = os.getppid()
    check: asyncio.TimerHandle | None = None

    def watch_parent() -> None:
        nonlocal check
        if os.getppid() != parent:
            stop.set()
            return
        check = loop.call_later(_PARENT_CHECK_SECONDS, watch_parent)

    watch_parent()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if check is not None:
            check.cancel()


async def serve_until_stopped(
    app: web.Application,
    name: str,
    *,
    port: int,
    ready_path: Path | None,
    ready_document: Callable[[str], Mapping[str, object]],
) -> None:
    """Serve an application on loopback until the process is told to stop.

    Args:
        app: What is served.
        name: Of the program, for the log.
        port: Port; 0 takes any free one.
        ready_path: File to write when it listens; None for none.
        ready_document: Returns what the ready file says for the root address that is listened on.
    """
    log = logging.getLogger(f"sandbox.{name}")
    runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_SECONDS, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        root = f"http://{HOST}:{runner.addresses[0][1]}"
        with stop_signal() as stop:
            if ready_path is not None:
                write_ready(ready_path, ready_document(root))
            log.info("%s listens on %s", name, root)
            await stop.wait()
    finally:
        await runner.cleanup()
    log.info("%s stopped", name)
