"""From a grid event to the limits on a platform's stream: real services, real SQLite with fsync, the demo's 3,470 chargers.

Each round an event gets a smaller limit. Measured is the wall time from its receipt until the reduced limits can be written to the
CSMS's stream: translation, decision, two durable commits and the vectorised clip are in it; XML and the socket are not.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np

from gateway.app.offline import import_inventory, read_inventory
from gateway.app.services import Services, World, wire_services
from gateway.clock import SystemClock
from gateway.domain.identity import Principal, Role, system_principal
from gateway.domain.sessions import Session, SessionState
from gateway.domain.signals import EventInterval, GridEvent, Instruction, RawSignal
from gateway.domain.timegrid import Interval
from gateway.exchanges.absent import AbsentBrp, AbsentExchange
from gateway.ids import RandomIds
from gateway.ports import ReceivedEvents
from gateway.services.plan_dispatch import DispatchLink
from gateway.services.track_fleet import TelemetryBatch
from gateway.settings import RpcSettings, Settings, WebSettings
from gateway.storage.store import SqlStore
from gateway.workers import ProcessWorker
from scripts.measuring import Report, at_most

ROOT = Path(__file__).resolve().parents[2]
TENANT, CSMS, PORTFOLIO, AUTHORITY = "demo", "csms-demo", "vpp-be", "vtn:bench"
ROUNDS = 40
FIRST_KW, FACTOR = 4_000.0, 0.95


def run() -> Report:
    """Measure and return the wall times per round and the promise of one second at the 99th percentile."""
    seconds = np.array(asyncio.run(_measure()))
    p50, p99 = (float(np.quantile(seconds, share)) for share in (0.5, 0.99))
    row: dict[str, str | int | float | None] = {
        "what": "event to limits on the stream",
        "charger_count": 3470,
        "round_count": len(seconds),
        "p50_ms": round(p50 * 1e3, 1),
        "p99_ms": round(p99 * 1e3, 1),
        "worst_ms": round(float(seconds.max()) * 1e3, 1),
    }
    return {"results": [row], "goals": [at_most("p99 from receipt of a reduction to the CSMS's stream, s", 1.0, p99)]}


async def _measure() -> list[float]:
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        async with SqlStore.open(f"sqlite:///{folder}/rows.sqlite", clock) as store:
            inventory = read_inventory(ROOT / "config" / "data" / "demo_be_tree.toml")
            await import_inventory(store, inventory, clock, dry_run=False)
            services = wire_services(_settings(), _world(store, clock))
            await services.load()
            chargers = [charger.id for charger in inventory.chargers if charger.csms == CSMS]
            await _plug_in(services, chargers, clock)
            return await _rounds(services, chargers, clock)


async def _plug_in(services: Services, chargers: list[str], clock: SystemClock) -> None:
    csms = Principal(tenant=TENANT, actor=CSMS, roles=frozenset({Role.CSMS}), csms=CSMS)
    now = clock.now()
    sessions = [
        Session(
            id=f"session-{charger}",
            tenant=TENANT,
            charger=charger,
            arrival=now - timedelta(seconds=1),
            state=SessionState.PLUGGED_IN,
            max_power_kw=7.4,
            phases=1,
            energy_needed_kwh=30.0,
            expected_departure=now + timedelta(hours=12),
        )
        for charger in chargers
    ]
    await services.fleet.report_sessions(csms, sessions, is_history=False, request_id="bench")
    count = len(chargers)
    batch = TelemetryBatch(
        charger_ids=tuple(chargers),
        connection_point_ids=(),
        measure_time=now,
        charger_index=np.arange(count, dtype=np.int32),
        power_kw=np.full(count, 1.4),
        energy_register_kwh=np.zeros(count),
        meter_register_kwh=np.zeros(0),
    )
    services.fleet.take_telemetry(csms, batch)


async def _rounds(services: Services, chargers: list[str], clock: SystemClock) -> list[float]:
    csms = Principal(tenant=TENANT, actor=CSMS, roles=frozenset({Role.CSMS}), csms=CSMS)
    link = await services.dispatcher.connect(csms, chargers, "")
    spent = []
    async with asyncio.TaskGroup() as tasks:
        dispatching = tasks.create_task(services.dispatcher.run())
        await link.next()
        for number in range(ROUNDS):
            event = _event(clock, number, FIRST_KW * FACTOR**number)
            started = time.perf_counter()
            await services.signals.receive(system_principal(TENANT, "openadr"), event)
            await _reduced(link)
            spent.append(time.perf_counter() - started)
        dispatching.cancel()
    link.close()
    return spent


async def _reduced(link: DispatchLink) -> None:
    """Return when the platform has been given the next limits, and acknowledge them."""
    batch = await link.next()
    link.ack(batch.sequence, np.zeros(0, dtype=np.int32), ())


def _event(clock: SystemClock, number: int, limit_kw: float) -> ReceivedEvents:
    now = clock.now()
    span = Interval(start=now - timedelta(seconds=1), end=now + timedelta(hours=1))
    interval = EventInterval(
        start=span.start, end=span.end, instruction=Instruction.IMPORT_LIMIT_KW, value=limit_kw, signal_id="s"
    )
    raw = RawSignal(
        id=f"signal-{number}",
        tenant=TENANT,
        authority=AUTHORITY,
        protocol="bench",
        received_at=now,
        sha256="0" * 64,
        body=b"",
    )
    event = GridEvent(
        id=f"{AUTHORITY}:event",
        tenant=TENANT,
        authority=AUTHORITY,
        event_id="event",
        modification=number,
        cancelled=False,
        cancelled_at=None,
        market_context="http://bench.example",
        priority=1,
        test_event=False,
        response_required=True,
        active=span,
        start_offset=timedelta(0),
        start_after=timedelta(0),
        notification=timedelta(0),
        intervals=(interval,),
        nodes=(PORTFOLIO,),
        opt=None,
        opt_reason="",
        raw_signal=raw.id,
        received_at=now,
    )
    return ReceivedEvents(raw=raw, events=(event,), rejected=(), complete=False)


def _settings() -> Settings:
    return Settings(
        tenants=(TENANT,),
        rpc=RpcSettings(allow_plain_on_loopback=True),
        web=WebSettings(allow_plain_on_loopback=True),
    )


def _world(store: SqlStore, clock: SystemClock) -> World:
    return World(
        store=store,
        clock=clock,
        ids=RandomIds(),
        worker=ProcessWorker(),
        prices={},
        carbon={},
        exchange=AbsentExchange(),
        nomination_desk=AbsentBrp(),
    )
