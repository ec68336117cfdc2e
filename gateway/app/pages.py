"""The page server: uvicorn without its signal handlers, on a socket of ours."""

import contextlib
import socket
from collections.abc import Generator

import uvicorn
from fastapi import FastAPI
from typing_extensions import override

from gateway.app.capacity_partners import AllPartners, mount_door
from gateway.app.partner_errors import naming_partner
from gateway.app.peers import rereader_of
from gateway.app.services import Services, World
from gateway.app.slow_callers import PatientProtocol
from gateway.app.vtns import rereader3_of
from gateway.clock import SystemClock
from gateway.openadr.health import PartnerBook
from gateway.openadr.journal import ExchangeJournal
from gateway.openadr.rereading import PartnerRereader, SignalRereading
from gateway.oscp.room import OscpRoom
from gateway.settings import Settings, WebSettings, private_key
from gateway.web.rooms import WebRooms
from gateway.web.sessions import SessionBook
from gateway.web.site import create_site


def page_site(
    settings: Settings,
    world: World,
    services: Services,
    journal: ExchangeJournal | None = None,
    book: PartnerBook | None = None,
    oscp: OscpRoom | None = None,
) -> FastAPI:
    """Return the pages over the services.

    Args:
        settings: The deployment.
        world: Rows, clocks and ids.
        services: What the pages show.
        journal: Exchanges with grid partners; None shows none.
        book: Knows how we stand with VTNs; None says nothing of it.
        oscp: The OSCP partners and their door; None for none.
    """
    plan = settings.plan
    capacity = OscpRoom() if oscp is None else oscp
    partners = [vtn for vtn in settings.vtn if vtn.tenant == settings.web.tenant]
    rooms = WebRooms(
        store=world.store,
        clock=world.clock,
        real_clock=SystemClock(),
        ids=world.ids,
        sessions=SessionBook(),
        admission=services.admission,
        market=services.market,
        price_histories=services.price_histories,
        price_opinions=services.price_opinions,
        contradictions=services.contradictions,
        planner=services.planner,
        reviewer=services.reviewer,
        submitter=services.submitter,
        settler=services.settler,
        reporter=services.reporter,
        signals=services.signals,
        opt=services.opt,
        programs=services.programs,
        availability=services.availability,
        steering=services.steering,
        journal=ExchangeJournal() if journal is None else journal,
        health=AllPartners(rooms=(PartnerBook() if book is None else book, capacity)),
        doors=world.doors,
        rereader=_rereading(settings, world),
        partners=(
            *(vtn.authority for vtn in partners),
            *(one.authority for one in settings.oscp if one.tenant == settings.web.tenant),
        ),
        declarable_partners=tuple(vtn.authority for vtn in partners if vtn.dialect == "2.0b"),
        fleet=services.fleet,
        follower=services.follower,
        dispatcher=services.dispatcher,
        portfolio="" if plan is None else plan.portfolio,
        time_zone=settings.time_zone,
        tenant=settings.web.tenant,
        is_secure=settings.web.tls_certificate is not None,
    )
    site = create_site(rooms)
    mount_door(site, capacity)
    return site


def _rereading(settings: Settings, world: World) -> SignalRereading:
    """Return what reads stored messages of all grid partners again."""
    readers: dict[tuple[str, str], PartnerRereader] = {}
    for place, vtn in enumerate(settings.vtn):
        with naming_partner(place, vtn):
            read_of = rereader_of if vtn.dialect == "2.0b" else rereader3_of
            readers[vtn.tenant, vtn.authority] = read_of(vtn, world.store)
    return SignalRereading(readers)


class PageServer:
    """Serves the pages on the gateway's event loop."""

    def __init__(self, site: FastAPI, settings: WebSettings) -> None:
        """Prepare; `bind` listens."""
        self._settings = settings
        self._socket: socket.socket | None = None
        key = private_key("web.tls_key", settings.tls_key)
        config = uvicorn.Config(
            site,
            http=PatientProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            ssl_keyfile=None if key is None else str(key),
            ssl_certfile=None if settings.tls_certificate is None else str(settings.tls_certificate),
        )
        self._server = _Server(config)

    def bind(self) -> str:
        """Take the port and return the address of the pages."""
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((self._settings.host, self._settings.port))
        scheme = "http" if self._settings.tls_certificate is None else "https"
        return f"{scheme}://{self._settings.host}:{self._socket.getsockname()[1]}"

    async def serve(self) -> None:
        """Serve until cancelled."""
        try:
            await self._server.serve([] if self._socket is None else [self._socket])
        finally:
            if self._socket is not None:
                self._socket.close()


class _Server(uvicorn.Server):
    """Leaves signals to the composition root."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield
