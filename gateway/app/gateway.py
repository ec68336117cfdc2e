"""One running gateway: opens the store, wires the rooms, listens, supervises, and stops in order."""

import asyncio
import gc
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp

from gateway.app.capacity_partners import oscp_jobs, oscp_room
from gateway.app.doors import DoorWorld, door_jobs
from gateway.app.keeping import keep_store
from gateway.app.notifications import receiver_of
from gateway.app.offline import clock_of
from gateway.app.pages import PageServer, page_site
from gateway.app.partner_errors import naming_partner
from gateway.app.peers import (
    PriceKey,
    carbon_sources,
    entsoe_endpoint,
    exchange_of,
    nomination_desk_of,
    price_sources,
    push_server_of,
    system_sources,
    tariff_carbon,
    tariff_prices,
    ven_of,
)
from gateway.app.services import Services, World, wire_services
from gateway.app.supervise import EssentialJobEnded, Job, run_jobs
from gateway.app.vtns import VenWorld, ven3_jobs
from gateway.app.watch import PAGE_SECONDS, LoopWatch
from gateway.app.watchdog import Watchdog
from gateway.domain.errors import InvalidInput
from gateway.domain.topology import Portfolio
from gateway.exchanges.absent import AbsentBrp, AbsentExchange
from gateway.grid_settings import VtnSettings
from gateway.ids import RandomIds, SeededIds
from gateway.market_data.entsoe import READER_MEMORY_BYTES
from gateway.observe import configure_logs, logger
from gateway.openadr.health import PartnerBook
from gateway.openadr.journal import ExchangeJournal
from gateway.openadr.v20b.reader import keep_warm
from gateway.ports import CarbonSource, Clock, Exchange, Ids, NominationDesk, PriceSource, Store, Worker
from gateway.rpc.bidding import BiddingServicer
from gateway.rpc.dispatch import DispatchServicer
from gateway.rpc.evidence import EvidenceServicer
from gateway.rpc.fleet import FleetServicer
from gateway.rpc.market_data import MarketDataServicer, MarketDoors
from gateway.rpc.server import RpcServer, Servicers, TlsFiles
from gateway.rpc.signals import SignalsServicer
from gateway.rpc.steering import SteeringServicer
from gateway.services.gather_market_data import PublicationLoop, SourceBans, SystemSource
from gateway.settings import RpcSettings, Settings, private_key
from gateway.storage.store import SqlStore
from gateway.ticker import Ticker
from gateway.turns import let_the_loop_go_first
from gateway.workers import ProcessWorker

_GRACE_SECONDS = 3.0
_PARENT_LOOK_SECONDS = 1.0
_COLLECT_AFTER = (10_000, 10, 50)
"""New objects after which the young are looked through, and how often that before the older: Python's own (700, 10, 10) looks through
everything every second while messages of thousands of events come in, and nobody else runs meanwhile.
"""
_log = logger("app")


async def run_gateway(settings: Settings, *, stop_with_parent: bool = False) -> int:
    """Run until told to stop and return the exit code.

    Args:
        settings: The deployment.
        stop_with_parent: Also stop when the process that started this one has ended.

    Returns:
        0 when asked to stop (SIGTERM, Ctrl-C), 1 when an essential part failed.
    """
    configure_logs(settings.log_level, as_json=settings.log_json)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    failed = False
    try:
        async with open_gateway(settings) as jobs, asyncio.TaskGroup() as tasks:
            _leave_out_of_collections()
            let_the_loop_go_first()
            running = tasks.create_task(run_jobs(jobs))
            watching = tasks.create_task(_watch_parent(stop)) if stop_with_parent else None
            await stop.wait()
            _log.info("stopping")
            running.cancel()
            if watching is not None:
                watching.cancel()
    except* EssentialJobEnded as group:
        failed = True
        _log.error("an essential part failed", parts=repr(group.exceptions))
    return 1 if failed else 0


def _leave_out_of_collections() -> None:
    """Keep what is loaded by now out of garbage collections, and look through all else rarely: it takes longer than the loop may stall."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


async def _watch_parent(stop: asyncio.Event) -> None:
    parent = os.getppid()
    while True:
        await asyncio.sleep(_PARENT_LOOK_SECONDS)
        if os.getppid() != parent:
            stop.set()
            return


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[list[Job]]:
    """Open everything, listen, write the ready file, and give out the jobs to run; close in reverse order at the end."""
    clock = clock_of(settings)
    ids: Ids = RandomIds() if settings.ids_seed is None else SeededIds(settings.ids_seed, clock.now().isoformat())
    async with SqlStore.open(settings.store.url, clock) as store, aiohttp.ClientSession() as http:
        world = await _world(settings, store, clock, ids, http)
        services = wire_services(settings, world)
        await services.load()
        server = rpc_server(settings, world, services)
        journal, book = ExchangeJournal(), PartnerBook()
        oscp = oscp_room(settings, world, services, journal)
        pages = PageServer(page_site(settings, world, services, journal, book, oscp), settings.web)
        rpc_port = await server.start(f"{settings.rpc.host}:{settings.rpc.port}", rpc_tls(settings.rpc))
        try:
            page_url = pages.bind()
            _write_ready(settings.ready_file, {"rpc": f"{settings.rpc.host}:{rpc_port}", "page": page_url})
            _log.info("listening", rpc_port=rpc_port, page=page_url)
            edge_jobs = _edge_jobs(server, pages, services)
            edge_jobs.append(Job(name="keeping", run=partial(keep_store, store, settings.store, clock)))
            edge_jobs += oscp_jobs(oscp)
            edge_jobs += door_jobs(settings, _door_world(world, services))
            yield [*_service_jobs(services), *edge_jobs, *_ven_jobs(settings, world, services, journal, book)]
        finally:
            await server.stop(_GRACE_SECONDS)


def _market_doors(services: Services) -> MarketDoors:
    return MarketDoors(
        market=services.market,
        system=services.system,
        currencies=services.currencies,
        contradictions=services.contradictions,
    )


def rpc_server(settings: Settings, world: World, services: Services) -> RpcServer:
    """Return the gRPC server over the services; it does not listen yet."""
    servicers = Servicers(
        fleet=FleetServicer(world.store, services.fleet, services.signals),
        signals=SignalsServicer(
            world.store,
            world.clock,
            signals=services.signals,
            opt=services.opt,
            programs=services.programs,
            availability=services.availability,
            simulator=services.dispatcher,
        ),
        dispatch=DispatchServicer(
            world.clock, services.dispatcher, services.follower, settings.rpc.heartbeat_real_seconds, world.ids.uniform
        ),
        market_data=MarketDataServicer(world.store, world.clock, _market_doors(services), settings.time_zones),
        bidding=BiddingServicer(
            store=world.store,
            clock=world.clock,
            planner=services.planner,
            reviewer=services.reviewer,
            submitter=services.submitter,
            settler=services.settler,
            time_zone=settings.time_zone,
        ),
        evidence=EvidenceServicer(services.reporter, services.auditor),
        steering=SteeringServicer(world.store, world.clock, services.steering),
    )
    return RpcServer(services.admission, world.ids, servicers, with_reflection=settings.rpc.with_reflection)


def _service_jobs(services: Services) -> list[Job]:
    return [
        Job(name="dispatch", run=services.dispatcher.run, is_essential=True),
        Job(name="follow", run=services.follower.run),
        Job(name="signals", run=services.signals.run),
        Job(name="availability", run=services.opt.run),
        Job(name="fleet", run=services.fleet.run),
        Job(name="beliefs", run=services.beliefs.run),
        Job(name="market-data", run=PublicationLoop(services.market).run),
        Job(name="system-data", run=services.system.run),
        Job(name="price-histories", run=services.price_histories.follow),
        Job(name="plan", run=services.planner.run),
        Job(name="orders", run=services.submitter.run),
        Job(name="settle", run=services.settler.run),
        Job(name="report", run=services.reporter.run),
        Job(name="steering", run=services.steering.run),
        Job(name="steering proofs", run=services.proofs.run),
    ]


class _Health:
    """Tells the health of the control loop at the gRPC door."""

    def __init__(self, server: RpcServer) -> None:
        self._server = server
        self._is_serving = True
        self._changed = asyncio.Event()

    def tell(self, is_serving: bool) -> None:  # noqa: FBT001  # a callback of one fact
        self._is_serving = is_serving
        self._changed.set()

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            _log.warning("the control loop", turns=self._is_serving)
            await self._server.tell_health(is_serving=self._is_serving)


def _edge_jobs(server: RpcServer, pages: PageServer, services: Services) -> list[Job]:
    ticker, watch = Ticker(), LoopWatch()
    health = _Health(server)
    watchdog = Watchdog(health.tell, has_fault_timer=True)
    services.dispatcher.on_turn.append(watchdog.beat)
    ticker.every(PAGE_SECONDS, "loop-lag", watch.turn_page)
    return [
        Job(name="rpc", run=server.wait, is_essential=True),
        Job(name="pages", run=pages.serve),
        Job(name="loop watch", run=watch.run),
        Job(name="watchdog", run=watchdog.run),
        Job(name="health", run=health.run),
        Job(name="ticker", run=ticker.run),
    ]


def _door_world(world: World, services: Services) -> DoorWorld:
    return DoorWorld(
        store=world.store,
        clock=world.clock,
        ids=world.ids,
        dispatcher=services.dispatcher,
        fleet=services.fleet,
        book=world.doors,
    )


def _ven_jobs(
    settings: Settings, world: World, services: Services, journal: ExchangeJournal, book: PartnerBook
) -> list[Job]:
    receiver = receiver_of(settings, world.clock)
    jobs = [] if receiver is None else [Job(name="webhook", run=receiver.run)]
    ven_world = VenWorld(
        store=world.store,
        signal_desk=services.signals,
        usage_desk=services.reporter,
        status_desk=services.dispatcher,
        clock=world.clock,
        ids=world.ids,
        journal=journal,
        receiver=receiver,
        book=book,
    )
    reader = ProcessWorker()
    if any(vtn.dialect == "2.0b" for vtn in settings.vtn):
        jobs.append(Job(name="openadr reader", run=partial(keep_warm, reader)))
    for place, vtn in enumerate(settings.vtn):
        with naming_partner(place, vtn):
            jobs += ven3_jobs(vtn, ven_world) if vtn.dialect != "2.0b" else _ven20b_jobs(vtn, ven_world, reader)
    return jobs


def _ven20b_jobs(vtn: VtnSettings, world: VenWorld, reader: Worker) -> list[Job]:
    ven = ven_of(
        vtn,
        store=world.store,
        signal_desk=world.signal_desk,
        usage_desk=world.usage_desk,
        status_desk=world.status_desk,
        clock=world.clock,
        ids=world.ids,
        worker=reader,
        journal=world.journal,
    )
    world.book.add(vtn.tenant, vtn.authority, ven)
    jobs = [Job(name=vtn.authority, run=ven.run)]
    door = push_server_of(vtn, ven)
    if door is not None:
        jobs.append(Job(name=f"{vtn.authority} push", run=door.run))
    return jobs


async def _world(settings: Settings, store: Store, clock: Clock, ids: Ids, http: aiohttp.ClientSession) -> World:
    worker = ProcessWorker()
    market = settings.market
    exchange: Exchange = AbsentExchange()
    desk: NominationDesk = AbsentBrp()
    if settings.exchange is not None:
        if market is None:
            raise InvalidInput("market", "is required with exchange")
        exchange = exchange_of(settings.exchange, market, http, clock)
    if settings.brp is not None:
        desk = nomination_desk_of(settings.brp, await _portfolio(settings, store), http)
    prices: dict[PriceKey, tuple[PriceSource, ...]] = {}
    carbon: dict[str, tuple[CarbonSource, ...]] = {}
    system: dict[str, tuple[SystemSource, ...]] = {}
    if market is not None:
        bans = SourceBans(store=store, clock=clock, ids=ids, tenant=settings.tenants[0])
        door = entsoe_endpoint(market, http, clock, ProcessWorker(memory_bytes=READER_MEMORY_BYTES), bans)
        prices = price_sources(market, door, http, clock, bans)
        carbon = carbon_sources(market, door, http, clock)
        system = system_sources(market, door)
    elif settings.tariff is not None:
        prices, carbon = tariff_prices(settings.tariff, clock), tariff_carbon(settings.tariff, clock)
    return World(
        store=store,
        clock=clock,
        ids=ids,
        worker=worker,
        prices=prices,
        carbon=carbon,
        exchange=exchange,
        nomination_desk=desk,
        system=system,
    )


async def _portfolio(settings: Settings, store: Store) -> Portfolio:
    if settings.plan is None:
        raise InvalidInput("plan", "is required with brp")
    row = await store.get(Portfolio, settings.plan.tenant, settings.plan.portfolio)
    if row is None:
        raise InvalidInput("plan.portfolio", f"{settings.plan.portfolio} is not known; import it first")
    return row.record


def rpc_tls(rpc: RpcSettings) -> TlsFiles | None:
    """Return the key and certificates of the gRPC door; None when it is in the clear.

    Raises:
        InvalidInput: The key is readable by others than its owner.
    """
    if rpc.tls_key is None or rpc.tls_certificate is None:
        return None
    private_key("rpc.tls_key", rpc.tls_key)
    client_ca = None if rpc.tls_client_ca is None else rpc.tls_client_ca.read_bytes()
    return TlsFiles(key=rpc.tls_key.read_bytes(), certificate=rpc.tls_certificate.read_bytes(), client_ca=client_ca)


def _write_ready(path: Path | None, addresses: dict[str, str]) -> None:
    if path is None:
        return
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(addresses), encoding="utf-8")
    draft.replace(path)
