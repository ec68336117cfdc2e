"""The web application: one FastAPI app with safe headers, logins, pages and the live stream."""

from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from gateway.domain import errors
from gateway.web import (
    availability,
    delivery,
    live,
    login,
    market,
    metrics,
    operator,
    operator_release,
    operator_time,
    operator_tree,
    partners,
    steering,
    trader,
)
from gateway.web.armour import Armour
from gateway.web.field_labels import told
from gateway.web.rooms import TEMPLATES, WebRooms

STATIC = Path(__file__).parent / "static"
STATUSES: tuple[tuple[type[errors.VoltbridgeError], int], ...] = (
    (errors.InvalidInput, 400),
    (errors.Unauthenticated, 401),
    (errors.PermissionRefused, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.RequestReused, 409),
    (errors.PreconditionFailed, 409),
    (errors.ResumeTokenExpired, 410),
    (errors.Overloaded, 429),
    (errors.Unavailable, 503),
)
"""HTTP status per class, first match wins; the same tree as in `gateway.domain.errors`."""


def create_site(rooms: WebRooms) -> FastAPI:
    """Return the application over the services it shows."""
    site = FastAPI(title="Voltbridge", docs_url=None, redoc_url=None, openapi_url=None)
    site.state.rooms = rooms
    for name in TEMPLATES.env.list_templates():
        TEMPLATES.env.get_template(name)  # compiled before anybody waits for a page
    site.add_middleware(Armour, is_secure=rooms.is_secure)
    site.add_exception_handler(errors.VoltbridgeError, _problem)
    site.add_exception_handler(RequestValidationError, _incomplete)
    site.add_exception_handler(HTTPException, _no_such_page)
    site.include_router(login.router)
    site.include_router(trader.router)
    site.include_router(delivery.router)
    site.include_router(market.router)
    for part in (operator, operator_release, operator_time, operator_tree):
        site.include_router(part.router)
    site.include_router(partners.router)
    site.include_router(availability.router)
    site.include_router(steering.router)
    site.include_router(steering.page_router)
    site.include_router(live.router)
    site.include_router(metrics.router)
    site.mount("/static", StaticFiles(directory=STATIC), name="static")

    @site.get("/")
    async def home() -> Response:
        return RedirectResponse("/trader", status_code=303)

    return site


async def _incomplete(request: Request, error: Exception) -> Response:
    """Answer a request that lacks a field or has one of the wrong kind."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    return await _problem(request, errors.InvalidInput(str(first["loc"][-1]), "is missing or has the wrong form"))


async def _no_such_page(request: Request, error: Exception) -> Response:
    """Answer a path or method that does not exist."""
    if not isinstance(error, HTTPException):
        raise error
    content = {"title": error.detail, "status": error.status_code}
    return JSONResponse(
        content, status_code=error.status_code, headers=error.headers, media_type="application/problem+json"
    )


async def _problem(request: Request, error: Exception) -> Response:
    """Answer an error of the domain.

    The login page for strangers in a browser, a message in the page for htmx, a page for other browsers' forms, and problem+json
    (RFC 9457) for everybody else.
    """
    if not isinstance(error, errors.VoltbridgeError):
        raise error
    status = next((code for kind, code in STATUSES if isinstance(error, kind)), 500)
    headers = {"Retry-After": "60"} if isinstance(error, errors.Overloaded) else {}
    if "hx-request" in request.headers:
        headers |= {"HX-Retarget": "#problem", "HX-Reswap": "innerHTML"}
        return TEMPLATES.TemplateResponse(
            request, "_problem.html", {"error": error, "told": told(error)}, status_code=status, headers=headers
        )
    if "text/html" in request.headers.get("accept", ""):
        if isinstance(error, errors.Unauthenticated) and request.method == "GET":
            return RedirectResponse("/login", status_code=303)
        return TEMPLATES.TemplateResponse(
            request, "problem.html", {"error": error, "told": told(error)}, status_code=status, headers=headers
        )
    content: dict[str, object] = {"title": error.reason, "status": status, "detail": str(error)}
    if isinstance(error, errors.InvalidInput):
        content["field"] = error.field
    return JSONResponse(content, status_code=status, headers=headers, media_type="application/problem+json")
