"""How every sandbox program starts and stops: it says when it is ready, stops on SIGTERM and never outlives its parent."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_PARENT_CHECK_SECONDS = 1.0


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
