"""A VEN on a bench: a VTN that plays a script in memory, a signal desk and a usage desk with faults on order, virtual time."""

import asyncio
import pickle
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from lxml import etree

from gateway.domain.errors import PeerUnavailable
from gateway.domain.identity import Principal, system_principal
from gateway.domain.signals import EventAnswer, EventStatus, GridEvent, OptType
from gateway.openadr.profiles import ProfileGate
from gateway.openadr.v20b.names import Service
from gateway.openadr.v20b.schema import schema
from gateway.openadr.v20b.settings import ReportPoint, VenSettings
from gateway.openadr.v20b.ven import Ven
from gateway.ports import Batch, Put, ReceivedEvents
from tests.fakes.clock import VirtualClock
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore
from tests.openadr.desk_of_usage import DeskOfUsage
from tests.openadr.v20b import messages
from tests.openadr.v20b.desk_of_status import DeskOfStatus
from tests.openadr.virtual_life import AUTHORITY, START, TENANT, DeskOnDisk, Step, in_virtual_time, live

NS = {
    "oadr": "http://openadr.org/oadr-2.0b/2012/07",
    "ei": "http://docs.oasis-open.org/ns/energyinterop/201110",
    "pyld": "http://docs.oasis-open.org/ns/energyinterop/201110/payloads",
    "xcal": "urn:ietf:params:xml:ns:icalendar-2.0",
}


@dataclass(frozen=True)
class Said:
    """One message of the VEN as the VTN saw it."""

    at: datetime
    service: str
    name: str
    root: Any

    def texts(self, path: str) -> list[str]:
        return [str(element.text or "") for element in self.root.xpath(path, namespaces=NS)]

    def text(self, path: str) -> str | None:
        found = self.texts(path)
        return found[0] if found else None


Answer = Callable[[Said], bytes]


class ScriptedVtn:
    """Answers as a decent VTN would; `script` replaces answers by message name, `queue` is what polls get, `is_down` is silence.

    Every message of the VEN is validated against the schema on arrival.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.heard: list[Said] = []
        self.queue: deque[bytes] = deque()
        self.script: dict[str, Answer] = {}
        self.once: dict[str, deque[bytes]] = {}
        self.poll_interval = "PT10S"
        self.events: list[str] = []
        self.is_down = False
        self.down_until: datetime | None = None
        self.closed = 0
        self.acknowledged: list[Said] = []

    async def post(self, service: Service, body: bytes) -> bytes:
        await asyncio.sleep(0)
        if self.is_down or (self.down_until is not None and self._clock.now() < self.down_until):
            raise PeerUnavailable("connection refused")
        root = etree.fromstring(body)
        schema().assertValid(root)
        name = etree.QName(root.find(f"{{{NS['oadr']}}}oadrSignedObject")[0]).localname.removeprefix("oadr")  # type: ignore[index]
        said = Said(at=self._clock.now(), service=service.value, name=name, root=root)
        self.heard.append(said)
        if self.once.get(name):
            return self.once[name].popleft()
        return self.script.get(name, self._decent)(said)

    async def close(self) -> None:
        self.closed += 1

    def _decent(self, said: Said) -> bytes:  # noqa: PLR0911  # one answer each
        match said.name:
            case "QueryRegistration" | "CreatePartyRegistration":
                return messages.created_registration(poll=self.poll_interval)
            case "CreateOpt" | "CancelOpt" | "CancelPartyRegistration":
                return _acknowledged(said)
            case "Poll":
                return self.queue.popleft() if self.queue else messages.oadr_response()
            case "RequestEvent":
                return messages.distribute_event(*self.events) if self.events else messages.oadr_response()
            case "RegisterReport":
                return messages.registered_report()
            case "UpdateReport":
                self.acknowledged.append(said)
                return messages.updated_report()
            case _:
                return messages.oadr_response()

    def all(self, name: str) -> list[Said]:
        return [said for said in self.heard if said.name == name]

    def names(self) -> list[str]:
        return [said.name for said in self.heard]

    def opts(self) -> list[tuple[str, int, str, str]]:
        """Return every event answer so far: event id, modification, code, opt."""
        found = []
        for said in self.all("CreatedEvent"):
            for answer in said.root.iter(f"{{{NS['ei']}}}eventResponse"):
                event_id, number, code, opt = (
                    str(answer.findtext(f".//ei:{name}", namespaces=NS))
                    for name in ("eventID", "modificationNumber", "responseCode", "optType")
                )
                found.append((event_id, int(number), code, opt))
        return found


def _acknowledged(said: Said) -> bytes:
    opt_id = said.text("//ei:optID") or ""
    if said.name == "CancelPartyRegistration":
        return messages.canceled_registration()
    return messages.created_opt(opt_id) if said.name == "CreateOpt" else messages.canceled_opt(opt_id)


class DeskOfEvents(DeskOnDisk):
    """A signal desk with the rules that are the desk's: order of modifications, implied cancel, one bad event harms no other."""

    def __init__(self, store: MemoryStore, clock: VirtualClock) -> None:
        super().__init__(store, clock)
        self.dispatched: list[str] = []
        self.failing: set[str] = set()

    async def receive(self, principal: Principal, received: ReceivedEvents) -> Sequence[EventAnswer]:
        self.check_disk()
        self.received.append(received)
        answers = [await self._judge(event) for event in received.events]
        if received.complete:
            await self._cancel_missing(received)
        return [*answers, *received.rejected]

    async def _judge(self, event: GridEvent) -> EventAnswer:
        def said(code: int, opt: OptType, text: str) -> EventAnswer:
            return EventAnswer(
                event_id=event.event_id, modification=event.modification, opt=opt, code=code, description=text
            )

        if event.event_id in self.failing:
            return said(469, OptType.OPT_OUT, "failed here")
        stored = await self._store.get(GridEvent, TENANT, event.id)
        if stored is not None and event.modification < stored.record.modification:
            return said(450, OptType.OPT_OUT, "older than what we have")
        is_new = stored is None or event.modification > stored.record.modification
        if is_new and not event.cancelled and not event.test_event:
            self.dispatched.append(f"{event.event_id}/{event.modification}")
        kept = replace(event, opt=OptType.OPT_IN)
        await self._store.apply(Batch(tenant=TENANT, puts=(Put(record=kept),)))
        return said(200, OptType.OPT_IN, "OK")

    async def _cancel_missing(self, received: ReceivedEvents) -> None:
        listed = {event.event_id for event in received.events} | {answer.event_id for answer in received.rejected}
        for event in self._store.all(GridEvent, TENANT):
            if event.event_id not in listed and not event.cancelled:
                gone = replace(event, cancelled=True, cancelled_at=self._clock.now())
                await self._store.apply(Batch(tenant=TENANT, puts=(Put(record=gone),)))

    def in_force(self) -> dict[str, int]:
        """Return the events that are not cancelled, with their modification."""
        now = self._clock.now()
        return {
            event.event_id: event.modification
            for event in self._store.all(GridEvent, TENANT)
            if event.status(now) is not EventStatus.CANCELLED
        }


class PicklingWorker:
    """Runs functions here, but only what could have travelled to another process and back."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.is_slow = False

    async def run(self, function: Any, *args: Any, deadline_s: float) -> Any:
        if self.is_slow:
            raise TimeoutError
        called, given = pickle.loads(pickle.dumps((function, args)))  # noqa: S301  # our own
        self.ran.append(called.__name__)
        await asyncio.sleep(0)
        return pickle.loads(pickle.dumps(called(*given)))  # noqa: S301


def settings(**changes: Any) -> VenSettings:
    wanted: dict[str, Any] = {
        "authority": AUTHORITY,
        "tenant": TENANT,
        "vtn_url": "https://vtn.example/OpenADR2/Simple/2.0b",
        "ven_name": "Depot A&B <1>",
        "market_contexts": (messages.CONTEXT,),
        "own_nodes": ("vpp-be",),
        "nodes": {"R-1": "site-01"},
        "report_points": (
            ReportPoint(r_id="vpp-be-power", node="vpp-be", resource_id="vpp-be"),
            ReportPoint(r_id="site-01-power", node="site-01", resource_id="site-01"),
        ),
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

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)
        self.vtn = ScriptedVtn(self.clock)
        self.desk = DeskOfEvents(self.store, self.clock)
        self.usage = DeskOfUsage(self.clock.now)
        self.status = DeskOfStatus()
        self.worker: PicklingWorker | None = None
        self.gate: ProfileGate | None = None
        self.ven = self.build()

    def build(self) -> Ven:
        return Ven(
            self.settings,
            self.store,
            self.desk,
            self.usage,
            self.clock,
            self.ids,
            system_principal(TENANT, "openadr"),
            status_desk=self.status,
            transport=self.vtn,
            worker=self.worker,
            gate=self.gate,
        )

    async def run(self, **duration: float) -> None:
        """Let the VEN live for a while of market time, then kill it; a new one takes its place."""
        try:
            async with asyncio.timeout(timedelta(**duration).total_seconds()):
                await self.ven.run()
        except TimeoutError:
            pass
        self.ven = self.build()

    async def play(self, *steps: Step, seconds: float) -> Ven:
        """Run the VEN for so many market seconds while the steps happen at theirs; return the VEN, stopped."""
        ven = self.ven
        await live(ven, self.clock, *steps, seconds=seconds)
        self.ven = self.build()
        return ven


def virtually(scenario: Callable[[Bench], Awaitable[None]], **changes: Any) -> Bench:
    """Run a scenario in virtual time and return the bench for a look."""
    return in_virtual_time(lambda: Bench(settings=settings(**changes)), scenario)
