"""A VEN that is killed with SIGKILL at a given step of its life; run as a program of its own, forked for each life.

```
python -m tests.openadr.v20b.mortal_ven SITE.json      then a number per line on standard input: the step to die at
```

A step is the moment before or after a message goes to the VTN, and before or after a batch goes to disk. Each line is answered with
`killed`, or with `alive` when the life got through three polls before its step came.
"""

from pathlib import Path
from typing import Any

from gateway.clock import FileClock
from gateway.domain.identity import system_principal
from gateway.ids import RandomIds
from gateway.openadr.v20b.names import Service
from gateway.openadr.v20b.schema import schema
from gateway.openadr.v20b.settings import VenSettings
from gateway.openadr.v20b.transport import HttpTransport
from gateway.openadr.v20b.ven import Ven
from tests.openadr.desk_of_usage import DeskOfUsage
from tests.openadr.mortality import AUTHORITY, NODE, TENANT, Fate, fork_lives, mortal_desk


class MortalTransport(HttpTransport):
    """A transport that may die before and after each message, and ends a life that has seen enough polls."""

    fate: Fate

    async def post(self, service: Service, body: bytes) -> bytes:
        self.fate.step()
        if service is Service.POLL:
            self.fate.poll()
        answer = await super().post(service, body)
        self.fate.step()
        return answer


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
    async with mortal_desk(site["store"], fate, clock, ids) as (store, desk):
        usage: Any = DeskOfUsage(clock.now)  # never asked
        ven = Ven(settings, store, desk, usage, clock, ids, system_principal(TENANT, "openadr"), transport=transport)
        await ven.run()


if __name__ == "__main__":
    schema()  # read once, before lives are forked
    fork_lives(live)
