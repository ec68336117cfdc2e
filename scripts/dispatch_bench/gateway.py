"""A whole gateway over a database of its own, told to receive a limit at planned instants and to say when all were acknowledged.

From receipt on everything is what a deployment does: the limit is made durable, resolved, clipped, the commands are written with
their audit and only then sent; the full allocation follows.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np

from gateway.app.gateway import rpc_server
from gateway.app.services import Services, World, wire_services
from gateway.clock import SystemClock
from gateway.domain.commands import Sent
from gateway.domain.identity import Account, Role, system_principal
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.sessions import Session, SessionState
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Charger, Node, NodeKind
from gateway.exchanges.absent import AbsentBrp, AbsentExchange
from gateway.ids import RandomIds
from gateway.observe import configure_logs
from gateway.ports import Batch, Put, StatedLimits
from gateway.services.follow_dispatch import Follower
from gateway.settings import RpcSettings, Settings
from gateway.storage.store import SqlStore
from gateway.workers import ProcessWorker
from scripts.dispatch_bench.clients import chargers_of
from scripts.dispatch_bench.talk import Acks, Lag, orders, resident_bytes, say

TENANT = "bench"
GRID = system_principal(TENANT, "bench")
ROOT_KW = 1e7
CAR_KW, MIN_KW = 11.0, 4.14
ROWS_AT_ONCE = 5_000
STEP = 0.04
"""So much of what all cars want is taken away by each event."""


def rows_of(platforms: int, per_platform: int) -> list[object]:
    """Return a tree with a site per platform, ten chargers a panel, a car at every charger, and an account per platform."""
    now = SystemClock().now()
    rows: list[object] = [_node("all", None, NodeKind.PORTFOLIO)]
    for p in range(platforms):
        digest = hashlib.sha256(f"token-{p}".encode()).hexdigest()
        rows.append(_node(f"site-{p}", "all", NodeKind.SITE))
        rows.append(
            Account(
                id=f"account-{p}",
                tenant=TENANT,
                actor=f"csms-{p}",
                roles=(Role.CSMS,),
                csms=f"csms-{p}",
                token_sha256=digest,
            )
        )
        for k, name in enumerate(chargers_of(p, per_platform)):
            panel = f"panel-{p}-{k // 10}"
            if k % 10 == 0:
                rows.append(_node(panel, f"site-{p}", NodeKind.CIRCUIT))
            rows.append(
                Charger(
                    id=name,
                    tenant=TENANT,
                    csms=f"csms-{p}",
                    parent=panel,
                    max_import_kw=CAR_KW,
                    min_import_kw=MIN_KW,
                    phases=3,
                    fallback_kw=0.0,
                )
            )
            rows.append(
                Session(
                    id=f"car-{name}",
                    tenant=TENANT,
                    charger=name,
                    arrival=now - timedelta(minutes=1),
                    state=SessionState.PLUGGED_IN,
                    max_power_kw=CAR_KW,
                    phases=3,
                    energy_needed_kwh=40.0,
                    expected_departure=now + timedelta(hours=12),
                )
            )
    return rows


def _node(node_id: str, parent: str | None, kind: NodeKind) -> Node:
    return Node(
        id=node_id,
        tenant=TENANT,
        parent=parent,
        kind=kind,
        name=node_id,
        max_import_kw=ROOT_KW,
        fail_safe_import_kw=ROOT_KW,
    )


class AckWatch:
    """Stands between the streams and the follower and notes when the commands of an event went out and came back."""

    def __init__(self, follower: Follower) -> None:
        self._sent, self._acked = follower.sent, follower.acked
        follower.sent = self.sent  # type: ignore[method-assign]
        follower.acked = self.acked  # type: ignore[method-assign]
        self._open: dict[str, int] = {}
        self._to_come = 0
        self._acks: Acks | None = None
        self.went_out_ms = 0.0
        self._due = 0.0

    def expect(self, due: float, count: int) -> Acks:
        """Wait for the commands to so many chargers of an event that is due at an instant."""
        self._open, self._to_come, self._due = {}, count, due
        self._acks = Acks(due, count)
        return self._acks

    def sent(self, tenant: str, sent: Sent) -> None:
        """Note a command that goes out; what goes out after the last of the event belongs to the allocation that follows."""
        if self._to_come > 0:
            self._open[sent.batch] = len(sent.index)
            self._to_come -= len(sent.index)
            self.went_out_ms = 1e3 * (time.perf_counter() - self._due)
        self._sent(tenant, sent)

    def acked(self, tenant: str, sent: Sent, rejected: Sequence[int], reasons: Sequence[str]) -> None:
        """Note an acknowledgement."""
        count = self._open.pop(sent.batch, 0)
        if count and self._acks is not None:
            self._acks.take(count)
        self._acked(tenant, sent, rejected, reasons)


async def fire(services: Services, watch: AckWatch, count: int, number: int, due: float) -> dict[str, float]:
    """Receive a limit now that lowers everybody, and return when all have acknowledged."""
    now = SystemClock().now()
    limit = Limit(
        id=f"limit-{number}",
        tenant=TENANT,
        authority="lpc:bench",
        node="all",
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.MANDATORY,
        max_kw=count * CAR_KW * (0.98 - STEP * number),
        interval=Interval(start=now, end=now + timedelta(hours=1)),
        cause="bench",
        known_at=now,
    )
    acks = watch.expect(due, count)
    await services.signals.state_limits(GRID, StatedLimits(authority="lpc:bench", raw=None, limits=(limit,)))
    async with asyncio.timeout(60.0):
        await acks.done.wait()
    return {**acks.facts(), "out_ms": watch.went_out_ms}


async def main() -> None:
    """Serve and fire when told to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("streams", type=int)
    parser.add_argument("per_platform", type=int)
    options = parser.parse_args()
    configure_logs("WARNING", as_json=False)  # to the error output: what is said to the bench goes out by the other
    count = options.streams * options.per_platform
    with tempfile.TemporaryDirectory(prefix="dispatch-bench-") as folder:
        async with SqlStore.open(f"sqlite:///{Path(folder) / 'bench.sqlite'}", SystemClock()) as store:
            rows = rows_of(options.streams, options.per_platform)
            for at in range(0, len(rows), ROWS_AT_ONCE):
                puts = tuple(Put(record=row) for row in rows[at : at + ROWS_AT_ONCE])
                await store.apply(Batch(tenant=TENANT, puts=puts))
            del rows
            gc.collect()
            await serve(store, count)


async def serve(store: SqlStore, count: int) -> None:
    """Run the control path and its door until the parent goes away."""
    empty = resident_bytes()
    world = World(
        store=store,
        clock=SystemClock(),
        ids=RandomIds(),
        worker=ProcessWorker(),
        prices={},
        carbon={},
        exchange=AbsentExchange(),
        nomination_desk=AbsentBrp(),
    )
    settings = Settings(
        tenants=(TENANT,), rpc=RpcSettings(port=0, allow_plain_on_loopback=True, heartbeat_real_seconds=30.0)
    )
    services = wire_services(settings, world)
    await services.load()
    gc.collect()
    gc.freeze()
    watch, lag = AckWatch(services.follower), Lag()
    server = rpc_server(settings, world, services)
    port = await server.start("127.0.0.1:0", None)
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(job)
            for job in (services.dispatcher.run(), services.follower.run(), services.fleet.run(), lag.watch())
        ]
        say(port=port, loaded_bytes=resident_bytes() - empty)
        number = 0
        async for order in orders():
            if "memory" in order:
                say(resident_bytes=resident_bytes(), settled=_is_settled(services, count))
                continue
            number += 1
            lag.take()
            due = time.perf_counter() + order["in_s"]
            await asyncio.sleep(order["in_s"])
            facts = await fire(services, watch, count, number, due)
            say(**facts, **lag.take())
        for task in running:
            task.cancel()
    await server.stop(0.1)


def _is_settled(services: Services, count: int) -> bool:
    """Tell whether every charger has a command, acknowledged, at what its car wants."""
    book = services.follower.book(TENANT)
    is_full = (book.limit_kw >= CAR_KW - 0.01) & (book.acked_sequence == book.sequence)
    return int(np.count_nonzero(is_full)) == count


if __name__ == "__main__":
    asyncio.run(main())
