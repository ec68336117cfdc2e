"""The door: HTTP in, 204 out, for `/fp/2.0/...` and `/co/2.0/...`, with the OpenAPI of all of it at `/openapi.json`.

Token first, then content type, then a bounded body, then the headers of the standard, then the message: nothing of a stranger is
read, and nothing is answered 204 that is not on disk. Refusals are `{"message": "..."}`.
"""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gateway.domain import errors
from gateway.observe import OSCP_REQUESTS, logger
from gateway.oscp.names import HANDSHAKE_ACKNOWLEDGMENT, MESSAGES, OWN_ROLE, REGISTER, VERSION
from gateway.oscp.openapi import operation, published
from gateway.oscp.peer import OscpPeer
from gateway.oscp.reading import MAX_BYTES, read_headers
from gateway.oscp.refusals import NoCommonVersion
from gateway.oscp.room import OscpRoom
from gateway.sealing import token_hash

STATUSES: tuple[tuple[type[errors.VoltbridgeError], int], ...] = (
    (errors.InvalidInput, 400),
    (errors.Unauthenticated, 401),
    (errors.PermissionRefused, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.RequestReused, 409),
    (NoCommonVersion, 501),
    (errors.PreconditionFailed, 409),
    (errors.Overloaded, 429),
    (errors.Unavailable, 503),
)
"""HTTP status per class, first match wins."""
BODY_PATIENCE_S = 10.0
"""Real seconds for the body of a request."""
_SCHEME = "token "
_JSON = "application/json"
_log = logger("oscp")
Handler = Callable[[Request], Awaitable[Response]]


def create_door(room: OscpRoom, *, body_patience_s: float = BODY_PATIENCE_S) -> FastAPI:
    """Return the application; mount it where `public_url` of the settings leads to.

    Args:
        room: The partners.
        body_patience_s: Real seconds for the body of a request.
    """
    door = FastAPI(title="Voltbridge OSCP", version=VERSION, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    names = {(OWN_ROLE[role], message) for role, messages in MESSAGES.items() for message in messages}
    for own_role, message in sorted(names):
        for method in ("POST", "PUT", "DELETE") if message == REGISTER else ("POST",):
            door.add_api_route(
                f"/{own_role}/{VERSION}/{message}",
                _handler(room, own_role, message, body_patience_s),
                methods=[method],
                status_code=204,
                response_class=Response,
                include_in_schema=message != HANDSHAKE_ACKNOWLEDGMENT,
                **operation(own_role, method, message),
            )
    door.openapi = published(door)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    door.add_exception_handler(HTTPException, _no_such_place)
    return door


def _handler(room: OscpRoom, own_role: str, message: str, body_patience_s: float) -> Handler:
    async def handle(request: Request) -> Response:
        peer: OscpPeer | None = None
        size = 0
        try:
            sha256 = token_hash(_token(request))
            peer = room.caller(own_role, sha256, message)
            _check_kind(request)
            body = await _body(request, body_patience_s)
            size = len(body)
            await peer.take(read_headers(request.method, message, request.headers, body), sha256)
            answer = Response(status_code=204)
        except errors.VoltbridgeError as error:
            answer = _refusal(error)
        except HTTPException as error:
            answer = _problem(error.status_code, error.detail)
        _note(request.method, message, peer, answer, size)
        return answer

    return handle


def _note(method: str, message: str, peer: OscpPeer | None, answer: Response, size: int) -> None:
    OSCP_REQUESTS.labels(message=message, status=str(answer.status_code)).inc()
    if peer is None:
        return
    is_failed = answer.status_code >= 400  # the first status that refuses
    sent = len(bytes(answer.body))
    peer.around.notes.called(
        f"{method} {message}", f"HTTP {answer.status_code}", sent=sent, received=size, is_failed=is_failed
    )


def _token(request: Request) -> str:
    said = request.headers.get("authorization", "")
    if said[: len(_SCHEME)].lower() != _SCHEME or not said[len(_SCHEME) :].strip():
        raise errors.Unauthenticated("Authorization: Token ... is required")
    return said[len(_SCHEME) :].strip()


def _check_kind(request: Request) -> None:
    """Refuse what is not plain JSON; without a body (DELETE) there is nothing to refuse."""
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise HTTPException(415, "compressed bodies are not taken")
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    charset = rest.partition("charset=")[2].strip().strip('"').lower()
    if request.method != "DELETE" and (kind.strip().lower() != _JSON or charset not in {"", "utf-8"}):
        raise HTTPException(415, "must be application/json in UTF-8")


async def _body(request: Request, patience_s: float) -> bytes:
    received = bytearray()
    try:
        async with asyncio.timeout(patience_s):
            async for chunk in request.stream():
                received += chunk
                if len(received) > MAX_BYTES:
                    raise HTTPException(413, f"must have at most {MAX_BYTES} bytes; send it in segments")
    except TimeoutError as error:
        raise HTTPException(408, "the body took too long") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the body is incomplete") from error
    return bytes(received)


def _refusal(error: errors.VoltbridgeError) -> Response:
    status = next((code for kind, code in STATUSES if isinstance(error, kind)), 500)
    answer = _problem(status, str(error))
    if isinstance(error, errors.Unauthenticated):
        answer.headers["WWW-Authenticate"] = "Token"
    return answer


def _problem(status: int, text: str) -> Response:
    headers = {"Connection": "close"} if status in {408, 413} else {}
    return JSONResponse({"message": text}, status_code=status, headers=headers)


async def _no_such_place(_request: Request, error: Exception) -> Response:
    """Answer a path or method that does not exist."""
    if not isinstance(error, HTTPException):
        raise error
    answer = _problem(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer
