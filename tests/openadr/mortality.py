"""Lives that end with SIGKILL at a given step: what programs of mortal VENs share, whatever the VEN speaks.

Such a program takes a number per line on its standard input, the step to die at, and forks a life for each. It answers `killed`, or
`alive` when the life got through its polls before the step came.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.domain.programs import OptDecision
from gateway.domain.signals import OptType
from gateway.domain.topology import Node, NodeKind
from gateway.observe import configure_logs
from gateway.ports import Batch, Clock, Ids
from gateway.services.gather_signals import SignalGatherer, SignalSettings, SignalSources
from gateway.storage.store import SqlStore

TENANT, AUTHORITY, NODE = "demo", "vtn:mortal", "vpp-be"
ENOUGH_POLLS = 3
SITE = Node(
    id=NODE,
    tenant=TENANT,
    parent=None,
    kind=NodeKind.PORTFOLIO,
    name=NODE,
    max_import_kw=200.0,
    fail_safe_import_kw=50.0,
)


class Fate:
    """Counts steps and kills its own process at one of them."""

    def __init__(self, last_step: int) -> None:
        self._left = last_step
        self._polls = 0

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def poll(self) -> None:
        """Note a poll; a life that has seen enough of them ends in peace."""
        self._polls += 1
        if self._polls > ENOUGH_POLLS:
            os._exit(0)


class MortalStore:
    """A store that may die before and after each write."""

    def __init__(self, store: SqlStore, fate: Fate) -> None:
        self._store = store
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def apply(self, batch: Batch) -> None:
        self._fate.step()
        await self._store.apply(batch)
        self._fate.step()


@asynccontextmanager
async def mortal_desk(url: str, fate: Fate, clock: Clock, ids: Ids) -> AsyncIterator[tuple[Any, SignalGatherer]]:
    """Give out a store that may die and a signal desk on it that opts into everything."""
    async with SqlStore.open(url, clock) as plain:
        store: Any = MortalStore(plain, fate)
        sources = SignalSources(
            find_node=lambda tenant, node: SITE if node == NODE else None, decide=_opt_in, baseline_kw=_nobody_knows
        )
        slow = SignalSettings(store_patience_s=10.0)
        desk = SignalGatherer(store=store, clock=clock, ids=ids, tenants=[TENANT], sources=sources, settings=slow)
        await desk.load()
        yield store, desk


def _opt_in(*_: object) -> OptDecision:
    return OptDecision(opt=OptType.OPT_IN, reason="as agreed")


def _nobody_knows(_tenant: str, _node: str, _at: datetime) -> float | None:
    return None


def fork_lives(live: Callable[[dict[str, Any], int], Coroutine[Any, Any, None]]) -> None:
    """Fork a life for each step on standard input and say how it ended; the site is the file on the command line."""
    site = json.loads(Path(sys.argv[1]).read_text())
    configure_logs("ERROR", as_json=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(live(site, int(line)))
        _, status = os.waitpid(child, 0)
        was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        sys.stdout.write("killed\n" if was_killed else "alive\n" if status == 0 else f"failed {status}\n")
        sys.stdout.flush()
