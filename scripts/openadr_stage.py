"""A real gateway between sandbox utilities and a charging platform, all processes on loopback and on real time, for benches.

```
 publisher (here) ── control door ──> sandbox VTN <── polls ── gateway ── dispatch stream ──> platform process ── lines ──> here
```
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import operator
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from gateway.demo.configuration import environment, free_port, run_command
from gateway.demo.folder import RunFolder, toml_text
from gateway.demo.programs import Program

ROOT = Path(__file__).resolve().parent.parent
TENANT, CSMS, CONTEXT = "bench", "csms-bench", "http://grid-bench.example/dr"
POLL_S = 1.0
SELDOM_S = 60.0
NOTIFIED_REST_S = 1.1
LOOK_S = 0.1
CHARGERS = 20
"""At each node, all with a car."""
HIGHEST_KW, STEP_KW = 60.0, 0.4
"""Limit of the first round, and how much lower every round goes: a reduction acts at once."""
RAMP_S = 120.0
"""How long the cars may take to charge freely."""
_RATING_KW = 500.0
Publish = Callable[[float, int], Awaitable[None]]
"""Makes the event of a transport limit its node to so many kW; the number counts the rounds."""


@dataclass(frozen=True, kw_only=True)
class Utility:
    """One way from a publisher to the gateway."""

    name: str
    """For the row, for example `2.0b poll 1 s`; its node and charger are called after it."""
    table: Mapping[str, Any]
    """Settings of the gateway for this VTN."""
    publish: Publish
    rest_s: float = 0.0
    """Shortest pause between two events: the VEN looks at most once a second, however often it is notified."""

    @property
    def node(self) -> str:
        """Its node in the site tree."""
        return node_of(self.name)


def node_of(name: str) -> str:
    """Return a name as an id."""
    return name.replace(" ", "-").replace(".", "-").lower()


@dataclass
class Arrivals:
    """What the chargers of each node have been allowed, message by message."""

    totals: list[tuple[float, str, float]] = field(default_factory=list)
    """When (seconds of the monotonic clock), at which node, how much altogether in kW."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _limit_kw: dict[str, dict[str, float]] = field(default_factory=dict)

    def take(self, at: float, limits: Mapping[str, float]) -> None:
        """Take a message that has reached the platform."""
        touched = set()
        for charger, kw in limits.items():
            node = charger.rpartition("-")[0]
            self._limit_kw.setdefault(node, {})[charger] = kw
            touched.add(node)
        self.totals += [(at, node, sum(self._limit_kw[node].values())) for node in touched]
        self.changed.set()

    async def first(
        self, node: str, fits: Callable[[float], bool], since: float, patience_s: float = 30.0
    ) -> tuple[float, float]:
        """Return when a node was first allowed a total that fits, and the total.

        Raises:
            TimeoutError: It was not in time.
        """
        async with asyncio.timeout(patience_s):
            while True:
                self.changed.clear()
                for at, name, total in self.totals:
                    if at >= since and name == node and fits(total):
                        return at, total
                await self.changed.wait()


@asynccontextmanager
async def program(folder: RunFolder, name: str, module: str, *arguments: str) -> AsyncIterator[dict[str, Any]]:
    """Run a program and give out what its ready file says."""
    started = Program(name=name, module=module, arguments=arguments, folder=folder.path, environment=environment())
    ready = await started.start()
    try:
        yield ready
    finally:
        await started.stop()


@asynccontextmanager
async def polled_20b(folder: RunFolder, http: aiohttp.ClientSession) -> AsyncIterator[list[Utility]]:
    """Run openleadr's VTN, polled every second."""
    name = "2.0b poll 1 s"
    who = ("--no-event", "--ven-name", "ven-bench", "--market-context", CONTEXT, "--poll-seconds", str(POLL_S))
    async with program(folder, "grid", "gateway.sandbox.grid", *who) as ready:

        async def publish(kw: float, _round: int) -> None:
            event = {
                "event_id": "bench",
                "start": (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="seconds"),
                "duration_minutes": 600,
                "payload": [kw],
                "target": node_of(name),
                "market_context": CONTEXT,
            }
            async with http.post(f"{ready['control_url']}/events", json=event, raise_for_status=True):
                pass

        table = {
            "url": ready["vtn_url"],
            "vtn_id": ready["vtn_id"],
            "ven_name": "ven-bench",
            "market_contexts": [CONTEXT],
            "targets": {node_of(name): node_of(name)},
            "signature": "off",
        }
        yield [Utility(name=name, table=table, publish=publish)]


@asynccontextmanager
async def all_of_3(folder: RunFolder, http: aiohttp.ClientSession) -> AsyncIterator[list[Utility]]:
    """Run the strict 3.1.0 VTN and a broker: one utility is polled every second, the others only notify (and are polled seldom)."""
    async with broker(folder) as address, program(folder, "vtn3", "gateway.sandbox.vtn3") as ready:
        secret = folder.write_secret("ven.secret", "ven-secret")
        own: dict[str, Any] = {"client_id": "ven", "client_secret_file": str(secret)}
        yield [
            await _utility_3(http, ready["url"], "3.1.0 poll 1 s", {}, {"v3": own}),
            await _utility_3(
                http, ready["url"], "3.1.0 webhook", {}, {"v3": {**own, "webhook": True}, "poll": SELDOM_S}
            ),
            await _utility_3(
                http, ready["url"], "3.1.0 MQTT", {"broker": address}, {"v3": {**own, "mqtt": True}, "poll": SELDOM_S}
            ),
        ]


async def _utility_3(
    http: aiohttp.ClientSession, root: str, name: str, options: Mapping[str, Any], table: Mapping[str, Any]
) -> Utility:
    """Make a 3.x utility with one program; its event is made once and then changed."""
    door = f"{root}/control/worlds/{node_of(name)}"
    async with http.put(door, json=dict(options), raise_for_status=True) as answer:
        url = (await answer.json())["url"]
    made = {"programName": node_of(name)}
    async with http.post(f"{door}/objects/programs", json=made, raise_for_status=True) as answer:
        program_id = (await answer.json())["id"]
    known: list[str] = []

    async def publish(kw: float, _round: int) -> None:
        verb, path = ("PUT", f"/{known[0]}") if known else ("POST", "")
        document = limit_event(program_id, kw)
        async with http.request(verb, f"{door}/objects/events{path}", json=document, raise_for_status=True) as said:
            known[:] = [(await said.json())["id"]]

    own = {"url": url, "dialect": "3.1.0", "ven_name": f"ven-{node_of(name)}"}
    rest_s = 0.0 if table.get("poll") is None else NOTIFIED_REST_S
    return Utility(name=name, table={**own, **table}, publish=publish, rest_s=rest_s)


@asynccontextmanager
async def broker(folder: RunFolder) -> AsyncIterator[str]:
    """Run an MQTT broker and give out its address."""
    port = free_port()
    content = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    file = folder.path / "broker.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")
    with (folder.path / "broker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(file)), stdout=log, stderr=log
        )
    try:
        async with asyncio.timeout(RAMP_S):
            while not await _answers(port):  # noqa: ASYNC110  # another process's doing
                await asyncio.sleep(LOOK_S)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        return True
    return False


def limit_event(program_id: str, kw: float) -> dict[str, Any]:
    """Return a 3.x event that limits the draw from now on."""
    start = datetime.now(UTC) - timedelta(seconds=1)
    return {
        "programID": program_id,
        "eventName": "bench",
        "priority": 0,
        "payloadDescriptors": [{"payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}],
        "intervalPeriod": {"start": f"{start:%Y-%m-%dT%H:%M:%SZ}", "duration": "PT10H"},
        "intervals": [{"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [kw]}]}],
    }


TRANSPORTS = (polled_20b, all_of_3)
"""Every way that is measured; one more is one more function that gives out utilities."""


async def measure(folder: Path, rounds: int, draw: Callable[[], float]) -> dict[str, list[float]]:
    """Return seconds from the publication of each round's event to the platform's stream, by transport.

    Args:
        folder: Empty folder for configuration, rows and logs.
        rounds: Events for each transport.
        draw: Uniform in [0, 1): how much of a poll period passes between rounds.

    Raises:
        TimeoutError: A limit did not arrive.
    """
    run_folder = RunFolder(path=folder)
    async with (
        aiohttp.ClientSession() as http,
        _all(run_folder, http) as utilities,
        gateway(run_folder, utilities) as served,
        platform(run_folder, _platform_arguments(run_folder, served, utilities)) as arrivals,
    ):
        return {utility.name: await _rounds(utility, arrivals, rounds, draw) for utility in utilities}


@asynccontextmanager
async def _all(folder: RunFolder, http: aiohttp.ClientSession) -> AsyncIterator[list[Utility]]:
    async with TRANSPORTS[0](folder, http) as first, TRANSPORTS[1](folder, http) as second:
        yield [*first, *second]


async def _rounds(utility: Utility, arrivals: Arrivals, rounds: int, draw: Callable[[], float]) -> list[float]:
    """Publish one warm-up event and the measured ones, each lower than the one before; the cars must charge freely first."""
    _, held_kw = await arrivals.first(utility.node, lambda total: total >= HIGHEST_KW, 0.0, RAMP_S)
    spent = []
    for number in range(rounds + 1):
        await asyncio.sleep(utility.rest_s + POLL_S * draw())
        published = time.monotonic()
        await utility.publish(HIGHEST_KW - STEP_KW * number, number)
        fits = functools.partial(operator.gt, held_kw - STEP_KW / 4)
        arrived, held_kw = await arrivals.first(utility.node, fits, published)
        spent.append(arrived - published)
    return spent[1:]


@asynccontextmanager
async def gateway(folder: RunFolder, utilities: Sequence[Utility]) -> AsyncIterator[Program]:
    """Run the gateway with these utilities, each with a node of its own."""
    tables = [
        {
            "authority": f"vtn:{utility.node}",
            "tenant": TENANT,
            "portfolio_node": utility.node,
            "poll": POLL_S,
            "allow_plain_on_loopback": True,
            **utility.table,
        }
        for utility in utilities
    ]
    door = free_port()
    settings = {
        "tenants": [TENANT],
        "store": {"url": f"sqlite:///{folder.database}"},
        "rpc": {"port": free_port(), "allow_plain_on_loopback": True},
        "web": {"port": free_port(), "allow_plain_on_loopback": True, "tenant": TENANT},
        "dispatch": {"tick": 1.0, "stability": 1.0, "restore_spread": 1.0},
        "vtn": tables,
        "webhook": {"port": door, "public_url": f"http://127.0.0.1:{door}", "allow_plain_on_loopback": True},
    }
    folder.config.write_text(toml_text(settings), encoding="utf-8")
    await _seed(folder, utilities)
    arguments = ("serve", "--stop-with-parent", "--config", str(folder.config))
    started = Program(
        name="gateway", module="gateway", arguments=arguments, folder=folder.path, environment=environment()
    )
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


async def _seed(folder: RunFolder, utilities: Sequence[Utility]) -> None:
    inventory, accounts = folder.path / "inventory.toml", folder.path / "accounts.toml"
    portfolio = {
        "id": "bench",
        "name": "Bench",
        "max_import_kw": _RATING_KW * len(utilities),
        "fail_safe_import_kw": _RATING_KW * len(utilities),
        "bidding_zone": "BE",
        "time_zone": "UTC",
        "currency": "EUR",
        "route": "tariff-only",
        "exchange_portfolio": "none",
        "max_order_mw": "1",
        "max_day_mwh": "24",
    }
    sites = [_site(utility.node) for utility in utilities]
    inventory.write_text(toml_text({"tenant": TENANT, "portfolios": [portfolio], "sites": sites}), encoding="utf-8")
    token = folder.write_secret("csms.token", secrets.token_urlsafe(32))
    rows = [{"actor": CSMS, "roles": ["csms"], "csms": CSMS, "token_file": str(token)}]
    accounts.write_text(toml_text({"tenant": TENANT, "accounts": rows}), encoding="utf-8")
    await run_command("import", str(inventory), "--accounts", str(accounts), "--config", str(folder.config))


def _site(node: str) -> dict[str, Any]:
    group = {"parent": node, "id_prefix": f"{node}-", "count": CHARGERS, "csms": CSMS, "phases": 3}
    power = {"max_import_kw": 22.0, "min_import_kw": 1.38, "fallback_kw": 1.38}
    return {
        "id": node,
        "portfolio": "bench",
        "name": node,
        "max_import_kw": _RATING_KW,
        "fail_safe_import_kw": _RATING_KW,
        "connection_points": [{"id": f"meter-{node}", "dso": "dso-bench", "site_class": "public"}],
        "charger_groups": [group | power],
    }


def _platform_arguments(folder: RunFolder, served: Program, utilities: Sequence[Utility]) -> tuple[str, ...]:
    """Return what the platform is told."""
    address = json.loads(served.ready_file.read_text(encoding="utf-8"))["rpc"]
    chargers = (f"{utility.node}-{number:03d}" for utility in utilities for number in range(1, CHARGERS + 1))
    return (address, str(folder.path / "csms.token"), *chargers)


@asynccontextmanager
async def platform(folder: RunFolder, arguments: Sequence[str]) -> AsyncIterator[Arrivals]:
    """Run the process of `scripts.openadr_platform` and collect the lines it prints.

    Args:
        folder: Where it writes its log.
        arguments: What it is told.

    Yields:
        What has arrived there so far.
    """
    arrivals = Arrivals()
    with (folder.path / "platform.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scripts.openadr_platform", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            env=dict(environment()),
        )
    if process.stdout is None:
        raise TypeError("the platform prints to nowhere")
    lines = process.stdout

    async def collect() -> None:
        async for line in lines:
            entry = json.loads(line)
            arrivals.take(entry["at"], entry["kw"])

    async with asyncio.TaskGroup() as tasks:
        collecting = tasks.create_task(collect())
        try:
            yield arrivals
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            collecting.cancel()
