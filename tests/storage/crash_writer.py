"""Writes to a store and is killed while it writes, again and again; then tells which writes it was promised.

Started as a program with a database URL, a number of kills and a seed. Each round forks a writer that reports every
acknowledged batch through a pipe; after a random number of reports it gets SIGKILL. What was in the pipe counts as promised.
Prints the promised names, one a line.
"""

import asyncio
import os
import signal
import sys
from datetime import datetime

import numpy as np

from gateway.ports import Batch, Put
from gateway.storage.store import SqlStore
from tests.storage.records import T0, TENANT, entry, item, session

WRITERS = 8


class StoppedClock:
    def now(self) -> datetime:
        return T0


def batch(name: str) -> Batch:
    """Return a batch whose parts are found or missing together."""
    return Batch(
        tenant=TENANT,
        puts=tuple(Put(record=session(f"{name}:{part}"), expected_version=0) for part in range(3)),
        audit=(entry(name),),
        outbox=(item(name),),
        request_id=name,
        request_hash="h",
        response=name,
    )


async def _write(url: str, kill: int, pipe: int) -> None:
    async def write_on(store: SqlStore, writer: int) -> None:
        for number in range(10_000):
            name = f"{kill}-{writer}-{number}"
            await store.apply(batch(name))
            os.write(pipe, f"{name}\n".encode())

    async with SqlStore.open(url, StoppedClock()) as store, asyncio.TaskGroup() as group:  # type: ignore[arg-type]
        for writer in range(WRITERS):
            group.create_task(write_on(store, writer))


def _round(url: str, kill: int, reports: int) -> list[str]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            asyncio.run(_write(url, kill, writer))
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        promised = [pipe.readline() for _ in range(reports)]
        os.kill(child, signal.SIGKILL)
        promised += pipe.readlines()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit("the writer ended by itself")
    return [name.strip() for name in promised]


def main() -> None:
    url, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = np.random.default_rng(seed)
    for kill in range(kills):
        print("\n".join(_round(url, kill, int(rng.integers(1, 60)))))


if __name__ == "__main__":
    main()
