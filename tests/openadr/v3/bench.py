"""A 3.x VEN on a bench: a VTN in memory, a signal desk with the real intake, virtual time."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from gateway.domain.identity import Principal, system_principal
from gateway.domain.programs import HeldObject, NonCompliance
from gateway.domain.signals import EventAnswer, EventInterval, GridEvent, OptType
from gateway.openadr.v3.companion import Companion
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.settings import Credentials, VenSettings
from gateway.openadr.v3.understanding import GateOf
from gateway.openadr.v3.ven import Ven, VenPorts
from gateway.ports import Batch, Put, ReceivedEvents
from gateway.services.gather_signals.intake import Intake
from tests.fakes.clock import VirtualClock
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore
from tests.openadr.v3.memory_vtn import BASE, MemoryVtn
from tests.openadr.virtual_life import AUTHORITY, START, TENANT, DeskOnDisk, Step, in_virtual_time, live


class DeskOfEvents(DeskOnDisk):
    """A signal desk that takes events in by the real rules and opts into everything."""

    def __init__(self, store: MemoryStore, clock: VirtualClock) -> None:
        super().__init__(store, clock)
        self.effects: list[str] = []
        """Every event that was decided anew: `receive e1/0`, `modify e1/1`, `unroll e1/0`, `cancel e1/2`."""

    async def receive(self, principal: Principal, received: ReceivedEvents) -> Sequence[EventAnswer]:
        self.check_disk()
        self.received.append(received)
        known = {event.id: event for event in self._store.all(GridEvent, TENANT)}
        intake = Intake(known=known, decide=_accept, draw=lambda longest: longest, now=self._clock.now())
        decided = [intake.take(event) for event in received.events]
        if received.complete:
            decided += intake.cancel_missing(AUTHORITY, [one.event_id for one in received.rejected])
        changed = [(one.event, one.action) for one in decided if one.event is not None]
        self.effects += [
            f"{action.removeprefix('event.')} {event.event_id}/{event.modification}" for event, action in changed
        ]
        puts = tuple(Put(record=record) for record in (received.raw, *(event for event, _ in changed)))
        await self._store.apply(Batch(tenant=TENANT, puts=puts))
        return [*(one.answer for one in decided if one.answer is not None), *received.rejected]


def _accept(event: GridEvent, _now: datetime) -> tuple[GridEvent, str]:
    return replace(event, opt=OptType.OPT_IN), ""


def settings(**changes: Any) -> VenSettings:
    wanted: dict[str, Any] = {
        "authority": AUTHORITY,
        "tenant": TENANT,
        "dialect": Dialect.V310,
        "vtn_url": BASE,
        "ven_name": "Depot A&B",
        "own_nodes": ("vpp-be",),
        "credentials": Credentials(client_id="ven-client", client_secret="s3cret-of-the-ven"),
        "poll_interval": timedelta(seconds=10),
        "lost_after": timedelta(hours=1),
        **changes,
    }
    return VenSettings(**wanted)


@dataclass
class Bench:
    """Everything around one VEN; the VEN itself may be killed and built again."""

    settings: VenSettings = field(default_factory=settings)
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(START))
    ids: CountingIds = field(default_factory=CountingIds)
    gate_of: GateOf | None = None
    companions: list[Companion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)
        self.vtn = MemoryVtn(self.clock, self.settings.dialect)
        self.desk = DeskOfEvents(self.store, self.clock)
        self.ven = self.build()

    def build(self) -> Ven:
        ports = VenPorts(
            store=self.store,
            signal_desk=self.desk,
            clock=self.clock,
            ids=self.ids,
            principal=system_principal(TENANT, "openadr"),
        )
        ven = Ven(self.settings, ports, gate_of=self.gate_of, transport=self.vtn)
        for companion in self.companions:
            ven.accompany(companion)
        return ven

    async def run(self, *steps: Step, seconds: float) -> Ven:
        """Let the VEN live for so long while steps happen at their seconds, then kill it; a new one takes its place."""
        ven = self.ven
        await live(ven, self.clock, *steps, seconds=seconds)
        self.ven = self.build()
        return ven

    # ------------------------------------------------------------ what came of it

    def events(self) -> dict[str, GridEvent]:
        """Return all events by the partner's id."""
        return {event.event_id: event for event in self.store.all(GridEvent, TENANT)}

    def in_force(self) -> dict[str, int]:
        """Return the events that are not cancelled, with their modification."""
        return {event_id: event.modification for event_id, event in self.events().items() if not event.cancelled}

    def now(self, event_id: str = "e1", **later: float) -> list[EventInterval]:
        """Return what an event says now, or later."""
        at = self.clock.now() + timedelta(**later)
        event = self.events()[event_id]
        return [one for one in event.intervals if one.start <= at and (one.end is None or at < one.end)]

    def broken(self) -> list[NonCompliance]:
        """Return what objects broke."""
        return self.store.all(NonCompliance, TENANT)

    def held(self) -> dict[str, HeldObject]:
        """Return the objects as last seen, by `kind:id`."""
        return {f"{one.kind}:{one.object_id}": one for one in self.store.all(HeldObject, TENANT)}


def virtually(scenario: Callable[[Bench], Awaitable[None]], **changes: Any) -> Bench:
    """Run a scenario in virtual time and return the bench for a look."""
    around = {name: changes.pop(name) for name in ("gate_of", "companions") if name in changes}
    return in_virtual_time(lambda: Bench(settings=settings(**changes), **around), scenario)
