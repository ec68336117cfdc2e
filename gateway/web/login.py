"""Log in and out."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from gateway.domain.errors import Unauthenticated
from gateway.web.rooms import TEMPLATES, Login, Rooms, SameOrigin
from gateway.web.sessions import LONGEST_SECONDS, require_csrf

router = APIRouter()


@router.get("/login")
async def login_page(request: Request) -> Response:
    """Show the login form."""
    return TEMPLATES.TemplateResponse(request, "login.html", {"problem": ""})


@router.post("/login", dependencies=[SameOrigin])
async def log_in(
    request: Request, rooms: Rooms, actor: Annotated[str, Form()], password: Annotated[str, Form()]
) -> Response:
    """Check the password and open a fresh session; the answer is the same for an unknown name and a wrong password."""
    try:
        principal = await rooms.admission.login(rooms.tenant, actor, password)
    except Unauthenticated as error:
        return TEMPLATES.TemplateResponse(request, "login.html", {"problem": str(error)}, status_code=401)
    rooms.sessions.close(request.cookies.get(rooms.cookie))
    response = RedirectResponse(_home_of(principal.roles), status_code=303)
    response.set_cookie(
        rooms.cookie,
        rooms.sessions.open(principal, rooms.real_clock.monotonic()),
        max_age=int(LONGEST_SECONDS),
        secure=rooms.is_secure,
        httponly=True,
        samesite="strict",
        path="/",
    )
    return response


@router.post("/logout", dependencies=[SameOrigin])
async def log_out(request: Request, rooms: Rooms, session: Login, csrf: Annotated[str, Form()] = "") -> Response:
    """End the session."""
    require_csrf(session, csrf)
    rooms.sessions.close(request.cookies.get(rooms.cookie))
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(rooms.cookie, path="/", secure=rooms.is_secure, httponly=True, samesite="strict")
    return response


def _home_of(roles: frozenset[str]) -> str:
    if "operator" in roles:
        return "/operator"
    return "/utility" if roles == {"utility"} else "/trader"
