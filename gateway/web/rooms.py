"""What the pages need of the rest of the gateway, and how a request reaches it."""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates

from gateway.domain.errors import InvalidInput, PermissionRefused
from gateway.ports import Clock, DoorHealth, Ids, PartnerHealth, PartnerJournal, SignalRereader, Store
from gateway.services.admit import Admission
from gateway.services.decide_opt import OptDecider
from gateway.services.declare_availability import AvailabilityDesk
from gateway.services.follow_dispatch import Follower
from gateway.services.gather_market_data import Contradictions, MarketDataGatherer, PriceHistories, SourceOpinions
from gateway.services.gather_signals import ProgramDesk, SignalGatherer
from gateway.services.plan_bids import BidPlanner
from gateway.services.plan_dispatch import Dispatcher
from gateway.services.report_delivery import DeliveryReporter
from gateway.services.review_bids import BidReviewer
from gateway.services.settle_delivery import Settler
from gateway.services.steer_power import SteeringDesk
from gateway.services.submit_orders import OrderSubmitter
from gateway.services.track_fleet import FleetTracker
from gateway.web.operator_folds import NodeFolds
from gateway.web.sessions import PageSession, SessionBook

TEMPLATES = Jinja2Templates(directory=Path(__file__).parent / "templates")
SECURE_COOKIE = "__Host-voltbridge"
PLAIN_COOKIE = "voltbridge"
"""Without the prefix, which browsers accept over TLS only; for the demo on loopback."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WebRooms:
    """Services behind the pages."""

    store: Store
    clock: Clock
    """Market time, which the pages show."""
    real_clock: Clock
    """Real time, by which logins age."""
    ids: Ids
    sessions: SessionBook
    admission: Admission
    market: MarketDataGatherer
    price_histories: PriceHistories
    price_opinions: SourceOpinions
    contradictions: Contradictions
    planner: BidPlanner
    reviewer: BidReviewer
    submitter: OrderSubmitter
    settler: Settler
    reporter: DeliveryReporter
    signals: SignalGatherer
    opt: OptDecider
    programs: ProgramDesk
    availability: AvailabilityDesk
    steering: SteeringDesk
    journal: PartnerJournal
    health: PartnerHealth
    doors: DoorHealth
    """Doors to charging platforms that do not open our stream."""
    rereader: SignalRereader
    partners: tuple[str, ...]
    """Grid partners of the tenant as configured, whether they were ever heard or not."""
    declarable_partners: tuple[str, ...]
    """Those of them that can be told when we are available, and be left and joined: OpenADR 3 knows no words for it."""
    fleet: FleetTracker
    follower: Follower
    dispatcher: Dispatcher
    portfolio: str
    """Portfolio whose bids and power the pages show."""
    time_zone: str
    """The market's time zone."""
    tenant: str
    """Tenant that people log in to at this address."""
    is_secure: bool
    """Whether the site is served over TLS, which decides the cookie."""
    folds: NodeFolds = field(default_factory=NodeFolds)
    """What binds at every node, folded once for everybody who looks."""

    @property
    def cookie(self) -> str:
        """Name of the session cookie."""
        return SECURE_COOKIE if self.is_secure else PLAIN_COOKIE


def rooms_of(request: Request) -> WebRooms:
    """Return the services behind the page."""
    return cast("WebRooms", request.app.state.rooms)


def session_of(request: Request) -> PageSession:
    """Return the login of the request; raises Unauthenticated without one."""
    rooms = rooms_of(request)
    is_page = "text/html" in request.headers.get("accept", "") and "hx-request" not in request.headers
    return rooms.sessions.find(
        request.cookies.get(rooms.cookie),
        rooms.real_clock.monotonic(),
        is_person=is_page or request.method == "POST",
    )


def require_same_origin(request: Request) -> None:
    """Raise unless a form comes from our own page.

    Raises:
        PermissionRefused: The browser says that another site sent it.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host', '')}":
        raise PermissionRefused("same-origin")


def iso_day(day: str) -> date:
    """Return the delivery day that an address names.

    Raises:
        InvalidInput: It is no ISO date.
    """
    try:
        return date.fromisoformat(day)
    except ValueError as error:
        raise InvalidInput("day", "must be an ISO date such as 2025-10-15") from error


def go_to(request: Request, path: str) -> Response:
    """Answer a form that succeeded: a redirect, in htmx's way when htmx sent it."""
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"HX-Redirect": path})
    return RedirectResponse(path, status_code=303)


Rooms = Annotated[WebRooms, Depends(rooms_of)]
Login = Annotated[PageSession, Depends(session_of)]
SameOrigin = Depends(require_same_origin)
