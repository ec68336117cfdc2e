"""A capacity provider and our room for it, in memory: the door is called as an ASGI application, what we send is written down."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.domain.authorities import StatedRules
from gateway.domain.errors import PeerUnavailable
from gateway.domain.identity import system_principal
from gateway.domain.limits import Direction, Resolution
from gateway.domain.oscp import OscpLink, OscpMessage
from gateway.domain.signals import UsageReading
from gateway.domain.timegrid import TimeGrid
from gateway.domain.topology import CapacityGroup, Node, NodeKind
from gateway.openadr.journal import ExchangeJournal
from gateway.oscp.admission import AddressGate
from gateway.oscp.names import PeerRole
from gateway.oscp.outbox import Lane
from gateway.oscp.room import OscpRoom, OscpUnit
from gateway.oscp.settings import PeerSettings
from gateway.oscp.site import create_door
from gateway.oscp.surroundings import AssetReading, Surroundings
from gateway.outbound import AddressRules, Answer, Call
from gateway.ports import Batch, Clock, Put
from gateway.sealing import Seal
from gateway.services.gather_signals import SignalGatherer, SignalSettings, SignalSources
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore

T = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
TENANT, DSO, SITE = "demo", "oscp:dso", "site-1"
BASE = "https://dso.example/oscp/cp/2.0"
TOKEN_A, TOKEN_B = "a" * 43, "b" * 43
SEAL_KEY = "k" * 40
FUSE_KW = 43.47
"""63 A on three phases."""
NODES = (
    Node(
        id="vpp",
        tenant=TENANT,
        parent=None,
        kind=NodeKind.PORTFOLIO,
        name="vpp",
        max_import_kw=100.0,
        fail_safe_import_kw=0.0,
    ),
    Node(
        id=SITE,
        tenant=TENANT,
        parent="vpp",
        kind=NodeKind.SITE,
        name="site",
        max_import_kw=80.0,
        max_export_kw=30.0,
        fail_safe_import_kw=7.0,
    ),
)
EVENT = {"group_id": "g1", "type": "CONSUMPTION"}


@dataclass(frozen=True)
class Reply:
    """What the door answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["message"])


class Internet:
    """Answers our calls: 204, unless a test says otherwise for an address or a path."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.calls: list[Call] = []
        self.at: list[datetime] = []
        self.answers: dict[str, list[int | Callable[[], Awaitable[int]] | None]] = {}
        """By path: statuses to answer in turn, the last for ever; None is no answer."""

    async def call(self, call: Call) -> Answer:
        self.calls.append(call)
        self.at.append(self._clock.now())
        script = self.answers.get(call.url.rpartition("/")[2], [204])
        said = script.pop(0) if len(script) > 1 else script[0]
        if said is None:
            raise PeerUnavailable("no answer to POST (ClientConnectorError)")
        return Answer(status=said if isinstance(said, int) else await said(), body=b"")

    async def close(self) -> None:
        return None

    def sent(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.url.rpartition("/")[2] == path]

    def bodies(self, path: str) -> list[Any]:
        return [json.loads(call.body or b"") for call in self.sent(path)]


class Names(AbstractResolver):
    """A name server: public unless the name is known otherwise."""

    def __init__(self, addresses: Mapping[str, str] | None = None) -> None:
        self.addresses = dict(addresses or {})
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        self.asked.append(host)
        address = self.addresses.get(host, "93.184.216.34")
        if not address:
            raise OSError("no such name")
        return [ResolveResult(hostname=host, host=address, port=port, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        return None


class Meters:
    """Usage of nodes: a power by the start of the quarter-hour."""

    def __init__(self) -> None:
        self.power_kw: dict[datetime, float | None] = {}
        self.coverage = 1.0

    async def usage(self, principal: Any, node: str, grid: TimeGrid) -> Sequence[UsageReading]:
        return [
            UsageReading(start=at, end=at + grid.step, power_kw=self.power_kw.get(at), coverage=self.coverage)
            for at in grid.starts()
        ]


@dataclass
class Cars:
    """What cars want and chargers draw."""

    wanted_kw: float | None = None
    readings: list[AssetReading] = field(default_factory=list)

    def demand_kw(self, tenant: str, node: str) -> float | None:
        return self.wanted_kw

    def assets(self, tenant: str, node: str) -> Sequence[AssetReading]:
        return self.readings


def provider_settings(**changed: Any) -> PeerSettings:
    """Return the settings for a capacity provider that registers with us."""
    told = PeerSettings(
        authority=DSO,
        tenant=TENANT,
        role=PeerRole.CAPACITY_PROVIDER,
        public_url="https://gw.example/oscp",
        first_token=TOKEN_A,
        rules=AddressRules(),
    )
    return replace(told, **changed)


class Scene:
    """A gateway's room with one partner or more, and its limit desk."""

    def __init__(self, *settings: PeerSettings, after: "Scene | None" = None, clock: Any = None) -> None:
        """Set the scene; `after` another one, it is the same gateway started again on the rows that one left."""
        self.clock = HandClock(T) if clock is None else clock
        self.clock = self.clock if after is None else after.clock
        self.store: MemoryStore = MemoryStore(self.clock) if after is None else after.store
        self.ids: CountingIds = CountingIds() if after is None else after.ids
        self.http = Internet(self.clock)
        self.names = Names()
        self.meters, self.cars = Meters(), Cars()
        self.journal = ExchangeJournal()
        nodes = {node.id: node for node in NODES}
        self.desk = SignalGatherer(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            tenants=[TENANT],
            sources=SignalSources(
                find_node=lambda _, name: nodes.get(name),
                decide=_undecided,
                baseline_kw=lambda _tenant, _node, _at: None,
            ),
            settings=_signal_settings(settings or (provider_settings(),)),
        )
        self.told = settings or (provider_settings(),)
        self.units = tuple(self._unit(told) for told in self.told)
        self.room = OscpRoom(units=self.units)
        self.door = create_door(self.room)
        self._count: int = 0 if after is None else after._count

    def _unit(self, told: PeerSettings) -> OscpUnit:
        around = Surroundings(
            settings=told,
            store=self.store,
            limit_desk=self.desk,
            usage_desk=self.meters,
            facts=self.cars,
            clock=self.clock,
            ids=self.ids,
            principal=system_principal(TENANT, "oscp"),
            seal=Seal(SEAL_KEY),
            notes=self.journal.page(TENANT, told.authority, self.clock),
        )
        return OscpUnit(around, self.http, AddressGate(told.rules, self.names))

    async def begin(self) -> "Scene":
        """Write the inventory and start without tasks: the test decides what happens when."""
        groups = [
            CapacityGroup(id=f"{told.authority}:g1", tenant=TENANT, authority=told.authority, name="g1", node=SITE)
            for told in self.told
        ]
        await self.store.apply(Batch(tenant=TENANT, puts=tuple(Put(record=one) for one in (*NODES, *groups))))
        await self.desk.load()
        for unit in self.units:
            await unit.peer.begin()
            unit.is_ready = True
        return self

    @property
    def unit(self) -> OscpUnit:
        return self.units[0]

    @property
    def link(self) -> OscpLink:
        return self.unit.peer.link

    async def flush(self) -> None:
        """Send what is due now, until nothing is."""
        for unit in self.units:
            before = -1
            while before != len(self.http.calls):
                before = len(self.http.calls)
                for lane in Lane:
                    await unit.outbox.send_due(lane)

    async def call(  # what a request is made of
        self,
        message: str,
        body: Any = None,
        *,
        token: str | None = None,
        method: str = "POST",
        request_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        role: str = "fp",
        raw: Sequence[bytes] | None = None,
    ) -> Reply:
        """Send a request to the door; the token is the one that we gave last unless another is named."""
        self._count += 1
        sent = {
            "content-type": "application/json",
            "x-request-id": f"req-{self._count}" if request_id is None else request_id,
            "authorization": f"Token {self.token_c if token is None else token}",
            **{name.lower(): value for name, value in (headers or {}).items()},
        }
        chunks = [b"" if body is None else json.dumps(body).encode()] if raw is None else list(raw)
        return await ask(self.door, method, f"/{role}/2.0/{message}", sent, chunks)

    @property
    def token_c(self) -> str:
        """The token that we gave the first partner in our last Register."""
        return str(self.http.bodies("register")[-1]["token"])

    async def register(self, *, role: str = "fp", token: str = TOKEN_A, **more: Any) -> Reply:
        """Register the provider and let our answer out."""
        said = {"token": TOKEN_B, "version_url": [{"version": "2.0", "base_url": BASE}]}
        reply = await self.call("register", said, token=token, role=role, **more)
        await self.flush()
        return reply

    async def handshake(self, interval: float | None = 60, role: str = "fp") -> Reply:
        """Shake hands as the provider and let our acknowledgement out."""
        wish: dict[str, Any] = {"measurement_configuration": ["CONTINUOUS"]}
        if interval is not None:
            wish["heartbeat_interval"] = interval
        reply = await self.call("handshake", {"required_behaviour": wish}, role=role)
        await self.flush()
        return reply

    async def online(self) -> "Scene":
        """Register, shake hands and send a heartbeat that holds for 3 minutes."""
        await self.begin()
        assert (await self.register()).status == 204
        assert (await self.handshake()).status == 204
        assert (await self.beat(180)).status == 204
        return self

    async def beat(self, seconds: float) -> Reply:
        """Send a heartbeat as the provider that holds for so many seconds."""
        return await self.call("heartbeat", {"offline_mode_at": text(self.clock.now() + timedelta(seconds=seconds))})

    async def forecast(self, *blocks: Mapping[str, Any], type: str = "CONSUMPTION", **more: Any) -> Reply:  # noqa: A002  # its name
        """State a forecast for g1 as the provider."""
        return await self.call("update_group_capacity_forecast", said(*blocks, type=type), **more)

    async def resolved(self, at: datetime | None = None, direction: Direction = Direction.IMPORT) -> Resolution:
        return await self.desk.resolve(system_principal(TENANT, "test"), SITE, at, direction=direction)

    async def messages(self) -> list[OscpMessage]:
        return [row.record for row in await self.store.find(OscpMessage, TENANT)]


def _signal_settings(told: Sequence[PeerSettings]) -> SignalSettings:
    steady = StatedRules(is_forecast=True)
    wishing = StatedRules(is_unconditional=False)
    rules = {one.authority: steady if one.role is PeerRole.CAPACITY_PROVIDER else wishing for one in told}
    return SignalSettings(stated=rules)


def _undecided(*_: Any) -> Any:
    raise AssertionError("no event is decided on here")


def said(*blocks: Mapping[str, Any], type: str = "CONSUMPTION") -> dict[str, Any]:  # noqa: A002  # its name
    return {"group_id": "g1", "type": type, "forecasted_blocks": list(blocks)}


def text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def block(
    capacity: Any, begin: float = 0.0, end: float = 60.0, *, unit: str = "KW", phase: str = "ALL"
) -> dict[str, Any]:
    """Return a block from and to so many minutes after T."""
    return {
        "capacity": capacity,
        "phase": phase,
        "unit": unit,
        "start_time": text(T + timedelta(minutes=begin)),
        "end_time": text(T + timedelta(minutes=end)),
    }


async def ask(app: Any, method: str, path: str, headers: Mapping[str, str], chunks: Sequence[bytes]) -> Reply:
    """Send one request to an ASGI application and return its answer."""
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
        for place, chunk in enumerate(chunks)
    ]
    got: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        got.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    await app(scope, receive, send)
    start = got[0]
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(status=start["status"], headers=found, body=b"".join(part.get("body", b"") for part in got[1:]))
