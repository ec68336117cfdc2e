"""A 3.x VEN that is killed with SIGKILL at a given step of its life; run as a program of its own, forked for each life.

```
python -m tests.openadr.v3.mortal_ven SITE.json      then a number per line on standard input: the step to die at
```

A step is the moment before or after a request goes to the VTN, and before or after a batch goes to disk. Each line is answered with
`killed`, or with `alive` when the life got through three polls before its step came. Power grows by 1 kW a minute; time is that of the
clock file where the site names one.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from gateway.clock import FileClock, SystemClock
from gateway.domain.identity import system_principal
from gateway.ids import RandomIds
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.report_engine import ReportEngine, ReportPorts
from gateway.openadr.v3.settings import Credentials, OwnResource, VenSettings
from gateway.openadr.v3.transport import HttpTransport, Reply, Request
from gateway.openadr.v3.ven import Ven, VenPorts
from tests.openadr.desk_of_usage import DeskOfUsage
from tests.openadr.mortality import AUTHORITY, NODE, TENANT, Fate, fork_lives, mortal_desk

TICK = timedelta(milliseconds=20)


class MortalTransport(HttpTransport):
    """A transport that may die before and after each request, and ends a life that has seen enough polls."""

    fate: Fate

    async def request(self, request: Request) -> Reply:
        self.fate.step()
        if request.method == "GET" and "/events" in request.url:
            self.fate.poll()
        reply = await super().request(request)
        self.fate.step()
        return reply


async def live(site: dict[str, Any], last_step: int) -> None:
    fate, ids = Fate(last_step), RandomIds()
    clock = FileClock(Path(site["clock"])) if "clock" in site else SystemClock()
    settings = VenSettings(
        authority=AUTHORITY,
        tenant=TENANT,
        dialect=Dialect(site["dialect"]),
        vtn_url=site["vtn_url"],
        ven_name="mortal",
        own_nodes=(NODE,),
        resources=(OwnResource(name="depot", node=NODE),),
        credentials=Credentials(client_id="ven-client", client_secret="s3cret-of-the-ven"),
        poll_interval=TICK,
        first_backoff=TICK,
        allow_plain_http=True,
    )
    transport = MortalTransport(settings.tls, max_bytes=2_000_000, timeout_s=20.0)
    transport.fate = fate
    async with mortal_desk(site["store"], fate, clock, ids) as (store, desk):
        ports = VenPorts(
            store=store, signal_desk=desk, clock=clock, ids=ids, principal=system_principal(TENANT, "openadr")
        )
        ven = Ven(settings, ports, transport=transport)
        readings = ReportPorts(usage_desk=DeskOfUsage(clock.now), standing=lambda: ven.standing)
        ven.accompany(ReportEngine(ven.around, ven.client, readings))
        await ven.run()


if __name__ == "__main__":
    fork_lives(live)
