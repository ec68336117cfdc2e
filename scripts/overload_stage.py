"""A real gateway under everything at once: a storm of events, forecasts, plans, market fetches, slow callers; and reductions beside it.

```
 capacity provider "calm" ── OSCP: a reduction ──┐                         ┌── stream ──> a platform's process ── lines ──> here
 capacity provider "loud" ── OSCP: 3,000 blocks ─┤                         │
 scripted VTN ── 2.0b: 1,000 events a message ───┼──> gateway, its workers ┴── stream ──> sandbox fleet, 3,470 chargers
 trader (here) ── gRPC: a plan, page: a fetch ───┤
 500 sockets (here), a byte a second ────────────┘
```

All are processes of their own, on loopback; the market's clock runs as fast as the machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import time
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from gateway.client import connect
from gateway.clock import FileClock, write_clock_file
from gateway.demo import configuration
from gateway.demo.configuration import EXAMPLE_CSMS, MARKETS, environment, free_port
from gateway.demo.folder import Login, RunFolder, generate_logins, toml_text
from gateway.demo.programs import Program
from gateway.demo.timeline import Pace, Timeline, timeline_of
from gateway.domain.timegrid import DeliveryDay
from gateway.v1 import bidding_service_pb2 as bidding
from scripts.openadr_many import scripted_utility
from scripts.openadr_stage import LOOK_S, POLL_S, Arrivals, platform, program
from scripts.openadr_storm import limits, loop_lag_s

CALM, LOUD = "calm", "loud"
"""Capacity providers: one that reduces, one that states forecasts of very many blocks for another node."""
NODES = {CALM: "site-r", LOUD: "site-02"}
STORM_NODE = "site-03"
EVENTS, BLOCKS = 1_000, 3_000
CHARGERS = 20
"""Of the platform that is reduced."""
SITE_KW = 440.0
ENERGY_KWH = 240.0
"""What each of its cars needs: so much that it charges now, whatever the prices."""
FLOOD = "flood"
CALL_S = 300.0
"""For a plan, on a machine that has much else to do."""
STARTS_WITHIN_S = 180.0
SLOW_BYTE_S = 1.0
_HEARTBEAT_S, _PROMISE_S = 10.0, 120.0


@dataclass(kw_only=True, slots=True)
class Counts:
    """What was really done beside the reductions."""

    messages: int = 0
    """Storms answered by the gateway."""
    forecasts: int = 0
    plans: int = 0
    fetches: int = 0
    refused: int = 0
    """Answers that were no success; the work goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Everything that runs."""

    http: aiohttp.ClientSession
    served: Program
    page: str
    rpc: str
    callbacks: int
    """Port of the listener of aiohttp."""
    providers: Mapping[str, str]
    """Control address by name."""
    vtn: str
    clock: FileClock
    timeline: Timeline
    trader: Login
    arrivals: Arrivals
    done: Counts = field(default_factory=Counts)

    # ---------------------------------------------------------------- what is measured

    async def reduce(self, kw: float) -> float:
        """State a limit for the calm node and return when we did, in seconds of the monotonic clock."""
        start = self.clock.now() - timedelta(minutes=1)
        block = block_of(kw, start.isoformat(), (start + timedelta(hours=6)).isoformat())
        said_at = time.monotonic()
        await self._said(CALM, "forecast", {"type": "CONSUMPTION", "blocks": [block]})
        return said_at

    async def answer_ms(self, url: str) -> float:
        """Return how long one request of somebody else takes, on a connection of its own."""
        began = time.monotonic()
        async with self.http.get(url, headers={"Connection": "close"}) as answer:
            await answer.read()
        return 1e3 * (time.monotonic() - began)

    async def lag_s(self) -> float:
        """Return how late the gateway's loop was at worst within the last five to ten seconds."""
        return await loop_lag_s(self.http, self.page)

    # ---------------------------------------------------------------- what goes on beside it

    async def storm(self) -> None:
        """Send messages of a thousand new events each, the next as soon as one is answered, until cancelled."""
        world = f"{self.vtn}/{FLOOD}"
        while True:
            async with self.http.get(f"{world}/log", raise_for_status=True) as answer:
                since = len((await answer.json())["entries"])
            events = limits(f"s{self.done.messages}", EVENTS, self.clock.now())
            said = {"kind": "oadrDistributeEvent", "events": events}
            async with self.http.post(f"{world}/say", json=said, raise_for_status=True):
                pass
            await self._created(world, since)
            self.done.messages += 1

    async def _created(self, world: str, since: int) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            async with self.http.get(f"{world}/log?after={since}", raise_for_status=True) as answer:
                if any(one["kind"] == "oadrCreatedEvent" for one in (await answer.json())["entries"]):
                    return

    async def forecast(self) -> None:
        """State forecasts of very many blocks, one after the other, until cancelled."""
        while True:
            start = self.clock.now() + timedelta(hours=1)
            ends = [(start + timedelta(minutes=5 * number)).isoformat() for number in range(BLOCKS + 1)]
            blocks = [block_of(300.0 + n % 7, ends[n], ends[n + 1]) for n in range(BLOCKS)]
            await self._said(LOUD, "forecast", {"type": "CONSUMPTION", "blocks": blocks})
            self.done.forecasts += 1

    async def plan(self) -> None:
        """Have the delivery day planned, one plan after the other, until cancelled: the solver is never idle."""
        day = self.timeline.delivery.day.isoformat()
        async with connect(self.rpc, token=self.trader.token) as gateway:
            while True:
                request = bidding.PlanBidRequest(
                    request_id=secrets.token_hex(8), portfolio_id=MARKETS["be"].portfolio, delivery_day=day
                )
                await gateway.bidding.PlanBid(request, timeout=CALL_S)
                self.done.plans += 1

    async def fetch(self) -> None:
        """Ask the exchange's prices of one day after the other from the page, until cancelled: each is fetched and read anew."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            form = {"actor": self.trader.actor, "password": self.trader.password}
            async with browser.post(f"{self.page}/login", data=form, raise_for_status=True) as answer:
                await answer.read()
            day = self.timeline.delivery
            while True:
                day = self.timeline.delivery.next(-1 - self.done.fetches % 5)
                path = f"{self.page}/market/{day.day.isoformat()}"
                async with browser.get(path, raise_for_status=True) as answer:
                    fields = _form(await answer.text(), "/sources")
                async with browser.post(f"{path}/sources", data=fields, raise_for_status=True) as answer:
                    await answer.read()
                self.done.fetches += 1

    async def crawl(self, count: int) -> None:
        """Keep connections to both kinds of listeners open that say a byte a second, until cancelled."""
        ports = (int(self.page.rpartition(":")[2]), self.callbacks)
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(_drip(ports[number % 2]))

    async def _said(self, name: str, what: str, body: Mapping[str, Any]) -> None:
        """Have a provider say something; it counts what the gateway does not take."""
        async with self.http.post(f"{self.providers[name]}/{what}", json=body, raise_for_status=True) as answer:
            said = await answer.json()
        if any(one["status"] != 204 for one in said):  # what OSCP answers when it has taken a message
            self.done.refused += 1


def block_of(kw: float, start: str, end: str) -> dict[str, Any]:
    """Return one block of a forecast as it is on the wire."""
    return {"capacity": kw, "phase": "ALL", "unit": "KW", "start_time": start, "end_time": end}


def _form(page: str, action: str) -> dict[str, str]:
    """Return the hidden fields of the form that posts to an address that ends so.

    Raises:
        ValueError: There is none.
    """
    found = re.search(rf'<form[^>]*(?:action|hx-post)="[^"]*{re.escape(action)}".*?</form>', page, re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no form for {action}")
    return dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', found.group()))


async def _drip(port: int) -> None:
    """Send the head of a request byte by byte, and begin anew whenever we are cut off."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /login HTTP/1.1\r\nhost: x\r\nx-slow: ")
                while not writer.is_closing():
                    writer.write(b"a")
                    await writer.drain()
                    await asyncio.sleep(SLOW_BYTE_S)
            finally:
                writer.close()
        await asyncio.sleep(SLOW_BYTE_S)


# ---------------------------------------------------------------- the programs


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Run everything in an empty folder.

    Raises:
        PeerUnavailable: A program did not come up.
        TimeoutError: The partners did not come together in time.
    """
    run_folder, market = RunFolder(path=folder), MARKETS["be"]
    timeline = timeline_of(DeliveryDay(day=market.day, zone=market.time_zone))
    write_clock_file(run_folder.clock, timeline.opening, 1.0)
    clock = ("--clock", str(run_folder.clock))
    async with AsyncExitStack() as stack:
        run = partial(program, run_folder)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        doors = {"market": await stack.enter_async_context(run("market", "gateway.sandbox.market", *clock))}
        vtn = (await stack.enter_async_context(run("vtn20b", "gateway.sandbox.vtn20b", *clock)))["url"]
        flood = await scripted_utility(http, f"{vtn}/control/worlds", FLOOD)
        tokens = {name: secrets.token_urlsafe(32) for name in NODES}
        tables = configuration.gateway_tables(run_folder, market, _PACE, doors, seed=1)
        tables |= overload_tables(run_folder, tables, flood.table, tokens)
        run_folder.config.write_text(toml_text(tables), encoding="utf-8")
        inventory = folder / "inventory.toml"
        inventory.write_text(toml_text(inventory_of(market.inventory)), encoding="utf-8")
        logins = generate_logins()
        await configuration.seed_rows(run_folder, replace(market, inventory=inventory), logins)
        served = await stack.enter_async_context(_running(run_folder))
        addresses = json.loads(served.ready_file.read_text(encoding="utf-8"))
        providers = {}
        for name in NODES:
            one = run(name, "gateway.sandbox.capacity_provider", *clock, "--group", f"trafo-{name}")
            providers[name] = (await stack.enter_async_context(one))["control_url"]
            await _introduce(http, providers[name], f"{addresses['page']}/oscp/fp/2.0", tokens[name])
        fleet = configuration.fleet_arguments(run_folder, market, timeline, _PACE, addresses["rpc"])
        await stack.enter_async_context(run("fleet", "gateway.sandbox.fleet", *clock, *fleet))
        yield Stage(
            http=http,
            served=served,
            page=addresses["page"],
            rpc=addresses["rpc"],
            callbacks=tables["csms_listener"]["port"],
            providers=providers,
            vtn=f"{vtn}/control/worlds",
            clock=FileClock(run_folder.clock),
            timeline=timeline,
            trader=logins["trader"],
            arrivals=await stack.enter_async_context(
                platform(run_folder, _platform_arguments(run_folder, addresses["rpc"]))
            ),
        )


_PACE = Pace(deciding=1.0, quiet=1.0, delivery=1.0)


def overload_tables(
    folder: RunFolder, tables: Mapping[str, Any], flood: Mapping[str, Any], tokens: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a gateway of the demo is told besides: calm switched off, a VTN, two capacity providers, a door for callbacks."""
    page, callbacks, tenant = tables["web"]["port"], free_port(), MARKETS["be"].tenant
    plain = {"allow_plain_on_loopback": True, "tenant": tenant}
    return {
        "dispatch": {"tick": 1.0, "stability": 1.0, "restore_spread": 1.0, "headroom": 0.0, "least_headroom": 0.0},
        "vtn": [
            {"authority": f"vtn:{FLOOD}", "portfolio_node": STORM_NODE, "poll": POLL_S, **plain, **flood},
        ],
        "csms_listener": {
            "port": callbacks,
            "public_url": f"http://127.0.0.1:{callbacks}",
            "allow_plain_on_loopback": True,
        },
        "oscp_door": {
            "public_url": f"http://127.0.0.1:{page}/oscp",
            "seal_key_file": str(folder.write_secret("seal", secrets.token_urlsafe(32))),
        },
        "oscp": [
            {"name": name, "token_file": str(folder.write_secret(f"{name}.token", token)), "heartbeat": _HEARTBEAT_S}
            | plain
            for name, token in tokens.items()
        ],
    }


def inventory_of(tree: Path) -> dict[str, Any]:
    """Return the demo's inventory with the site whose chargers are reduced, and the groups of the capacity providers."""
    found = tomllib.loads(tree.read_text(encoding="utf-8"))
    group = {
        "parent": NODES[CALM],
        "id_prefix": f"{NODES[CALM]}-",
        "count": CHARGERS,
        "csms": EXAMPLE_CSMS,
        "phases": 3,
    }
    site = {
        "id": NODES[CALM],
        "portfolio": MARKETS["be"].portfolio,
        "name": "Reduced",
        "max_import_kw": SITE_KW,
        "fail_safe_import_kw": SITE_KW,
        "connection_points": [
            {"id": f"meter-{NODES[CALM]}", "dso": "dso-demo", "brp": "brp-demo", "site_class": "home"}
        ],
        "charger_groups": [group | {"max_import_kw": 22.0, "min_import_kw": 1.38, "fallback_kw": 1.38}],
    }
    groups = [{"authority": f"oscp:{name}", "name": f"trafo-{name}", "node": node} for name, node in NODES.items()]
    return {**found, "sites": [*found["sites"], site], "capacity_groups": groups}


@asynccontextmanager
async def _running(folder: RunFolder) -> AsyncIterator[Program]:
    arguments = ("serve", "--stop-with-parent", "--config", str(folder.config))
    started = Program(
        name="gateway", module="gateway", arguments=arguments, folder=folder.path, environment=environment()
    )
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


async def _introduce(http: aiohttp.ClientSession, control: str, fp_url: str, token: str) -> None:
    """Exchange tokens and heartbeats between a provider and the gateway."""

    async def said(what: str, body: Mapping[str, Any]) -> bool:
        async with http.post(f"{control}/{what}", json=body, raise_for_status=True) as answer:
            return all(
                one["status"] == 204 for one in await answer.json()
            )  # what OSCP answers to a message it has taken

    async with asyncio.timeout(STARTS_WITHIN_S):
        for what, body in (
            ("register", {"fp_url": fp_url, "token": token}),
            ("handshake", {"heartbeat_s": _HEARTBEAT_S}),
        ):
            while not await said(what, body):  # noqa: ASYNC110  # another process's doing
                await asyncio.sleep(LOOK_S)
    async with http.post(
        f"{control}/heartbeats", json={"every_s": _HEARTBEAT_S, "promise_s": _PROMISE_S}, raise_for_status=True
    ):
        pass


def _platform_arguments(folder: RunFolder, rpc: str) -> tuple[str, ...]:
    """Return what the platform that is reduced is told."""
    chargers = (f"{NODES[CALM]}-{number:03d}" for number in range(1, CHARGERS + 1))
    clock = ("--clock", str(folder.clock), "--energy-kwh", str(ENERGY_KWH))
    return (rpc, str(folder.path / "example.token"), *chargers, *clock)
