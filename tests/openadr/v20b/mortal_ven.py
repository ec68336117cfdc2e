"""A VEN that is killed with SIGKILL at a given step of its life; run as a program of its own, forked for each life.

```
python -m tests.openadr.v20b.mortal_ven SITE.json      then a number per line on standard input: the step to die at
```

A step is the moment before or after a message goes to the VTN, and before or after a batch goes to disk. Each line is answered with
`killed`, or with `alive` when the life got through three polls before its step came.
"""

import asyncio
import json
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.clock import FileClock
from gateway.domain.identity import system_principal
from gateway.domain.programs import OptDecision
from gateway.domain.signals import OptType
from gateway.domain.topology import Node, NodeKind
from gateway.ids import RandomIds
from gateway.observe import configure_logs
from gateway.openadr.v20b.names import Service
from gateway.openadr.v20b.schema import schema
from gateway.openadr.v20b.settings import VenSettings
from gateway.openadr.v20b.transport import HttpTransport
from gateway.openadr.v20b.ven import Ven
from gateway.ports import Batch
from gateway.services.gather_signals import SignalGatherer, SignalSettings, SignalSources
from gateway.storage.store import SqlStore
from tests.openadr.v20b.bench import DeskOfUsage

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
        self.polls = 0

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


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


class MortalTransport(HttpTransport):
    """A transport that may die before and after each message, and ends a life that has seen enough polls."""

    fate: Fate

    async def post(self, service: Service, body: bytes) -> bytes:
        self.fate.step()
        if service is Service.POLL:
            self.fate.polls += 1
        if self.fate.polls > ENOUGH_POLLS:
            os._exit(0)
        answer = await super().post(service, body)
        self.fate.step()
        return answer


def _opt_in(*_: object) -> OptDecision:
    return OptDecision(opt=OptType.OPT_IN, reason="as agreed")


async def live(site: dict[str, Any], last_step: int) -> None:
    fate, clock, ids = Fate(last_step), FileClock(Path(site["clock"])), RandomIds()
    settings = VenSettings(
        authority=AUTHORITY,
        tenant=TENANT,
        vtn_url=site["vtn_url"],
        ven_name="mortal",
        market_contexts=(site["context"],),
        own_nodes=(NODE,),
        allow_plain_http=True,
    )
    transport = MortalTransport(settings.vtn_url, settings.tls, max_bytes=2_000_000, timeout_s=20.0)
    transport.fate = fate
    async with SqlStore.open(site["store"], clock) as plain:
        store: Any = MortalStore(plain, fate)
        sources = SignalSources(
            find_node=lambda tenant, node: SITE if node == NODE else None, decide=_opt_in, baseline_kw=_nobody_knows
        )
        slow = SignalSettings(store_patience_s=10.0)
        desk = SignalGatherer(store=store, clock=clock, ids=ids, tenants=[TENANT], sources=sources, settings=slow)
        await desk.load()
        usage: Any = DeskOfUsage(clock)  # type: ignore[arg-type]  # never asked
        ven = Ven(settings, store, desk, usage, clock, ids, system_principal(TENANT, "openadr"), transport=transport)
        await ven.run()


def _nobody_knows(_tenant: str, _node: str, _at: datetime) -> float | None:
    return None


def main() -> None:
    site = json.loads(Path(sys.argv[1]).read_text())
    configure_logs("ERROR", as_json=True)
    schema()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(live(site, int(line)))
        _, status = os.waitpid(child, 0)
        was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        sys.stdout.write("killed\n" if was_killed else "alive\n" if status == 0 else f"failed {status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
