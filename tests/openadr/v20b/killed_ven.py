"""A VEN in a process of its own, with a database and a real socket, for tests that kill it.

Started with a database URL, the VTN's address and a clock file. The program forks the VEN, prints its process id, and forks
another one each time it was killed; when its own input ends it kills the last one and ends too. Power grows by 1 kW a minute.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from gateway.clock import FileClock
from gateway.domain.identity import Principal, system_principal
from gateway.domain.signals import EventAnswer
from gateway.ids import RandomIds
from gateway.openadr.v20b.settings import ReportPoint, VenSettings
from gateway.openadr.v20b.ven import Ven
from gateway.ports import ReceivedEvents
from gateway.storage.store import SqlStore
from tests.openadr.desk_of_usage import DeskOfUsage
from tests.openadr.v20b import messages
from tests.openadr.v20b.desk_of_status import DeskOfStatus
from tests.openadr.virtual_life import AUTHORITY, TENANT


class DeskOfNothing:
    """A signal desk that never gets an event."""

    async def receive(self, principal: Principal, received: ReceivedEvents) -> Sequence[EventAnswer]:
        return []

    async def contact(self, principal: Principal, authority: str, *, is_lost: bool) -> None:
        pass


async def main(database: str, vtn_url: str, clock_file: str) -> None:
    clock = FileClock(Path(clock_file))
    settings = VenSettings(
        authority=AUTHORITY,
        tenant=TENANT,
        vtn_url=vtn_url,
        ven_name="killed",
        market_contexts=(messages.CONTEXT,),
        own_nodes=("vpp-be",),
        report_points=(ReportPoint(r_id="vpp-be-power", node="vpp-be", resource_id="vpp-be"),),
        first_backoff=timedelta(seconds=5),
        allow_plain_http=True,
    )
    usage = DeskOfUsage(clock.now)
    principal = system_principal(TENANT, "openadr")
    async with SqlStore.open(database, clock) as store:
        ven = Ven(settings, store, DeskOfNothing(), usage, clock, RandomIds(), principal, status_desk=DeskOfStatus())
        await ven.run()


def fork() -> int:
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(main(*sys.argv[1:]))
        finally:
            os._exit(1)
    print(child, flush=True)
    return child


def keep() -> None:
    """Fork a VEN; each line of input asks for the next one, once the last is dead; the end of input ends all."""
    child = fork()
    for _ in sys.stdin:
        os.waitpid(child, 0)
        child = fork()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    keep()
