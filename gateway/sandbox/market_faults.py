"""Faults on request: the next requests to a door fail the way real peers fail.

```
POST   /control/faults    {"door": "exchange", "kind": "reset-after-accept", "count": 1, "method": "POST", "path": "curveorders"}
GET    /control/faults    what is still to come
DELETE /control/faults    none any more
GET    /control/requests  how often each door was asked, by method and path
```

`door` is the first part of the path: `entsoe`, `carbon`, `exchange`, `brp`. `method` and `path` (a part of it) narrow it down.
"""

import asyncio
import gzip
import io
import socket
import struct
import zipfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

DOORS = ("entsoe", "carbon", "exchange", "brp")
KINDS = (
    "status-429",
    "status-500",
    "status-503",
    "html",
    "truncated",
    "hang",
    "hang-after-accept",
    "reset",
    "reset-after-accept",
    "charset",
    "slow",
    "gzip",
    "bomb-zip",
    "bomb-xml",
)
"""Status codes and web pages; bodies cut short, charsets spelled out, drips, compression and bombs; silence and broken lines."""
_LONGEST_HANG_S = 60.0
_LOOK_S = 0.02
_SLOW_PIECES = 10
_BOMB_MEGABYTES = 20
_PAGE = "<html><head><title>Maintenance</title></head><body>We will be back soon.</body></html>"


@dataclass(kw_only=True, slots=True)
class Fault:
    """What shall happen to the next `count` requests that match."""

    door: str
    kind: str
    count: int
    method: str | None
    path: str

    def matches(self, request: web.Request) -> bool:
        """Tell whether it happens to this request."""
        return (
            self.count > 0
            and request.path.startswith(f"/{self.door}/")
            and (self.method is None or request.method == self.method)
            and self.path in request.path
        )


class FaultSwitch:
    """The control door and the middleware that plays the faults."""

    def __init__(self, doors: Sequence[str] = DOORS) -> None:
        """Take the doors that faults may be asked for."""
        self._doors = tuple(doors)
        self._faults: list[Fault] = []
        self._asked: Counter[str] = Counter()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the control door."""
        return [
            web.post("/control/faults", self._add),
            web.get("/control/faults", self._list),
            web.delete("/control/faults", self._clear),
            web.get("/control/requests", self._requests),
        ]

    @web.middleware
    async def play(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count the request, and let it fail if a fault waits for it."""
        if request.path.startswith("/control/"):
            return await handler(request)
        self._asked[f"{request.method} {request.path}"] += 1
        fault = next((fault for fault in self._faults if fault.matches(request)), None)
        if fault is None:
            return await handler(request)
        fault.count -= 1
        return await _fail(fault.kind, request, handler)

    async def _add(self, request: web.Request) -> web.Response:
        document = await request.json()
        fault = Fault(
            door=str(document.get("door")),
            kind=str(document.get("kind")),
            count=int(document.get("count", 1)),
            method=document.get("method"),
            path=str(document.get("path", "")),
        )
        if fault.door not in self._doors or fault.kind not in KINDS or fault.count < 1:
            return web.json_response({"doors": self._doors, "kinds": KINDS}, status=400)
        self._faults.append(fault)
        return web.json_response({"waiting": len(self._faults)}, status=201)

    async def _list(self, _request: web.Request) -> web.Response:
        waiting = [fault for fault in self._faults if fault.count > 0]
        return web.json_response([{"door": f.door, "kind": f.kind, "count": f.count} for f in waiting])

    async def _clear(self, _request: web.Request) -> web.Response:
        self._faults.clear()
        return web.json_response([])

    async def _requests(self, _request: web.Request) -> web.Response:
        return web.json_response(dict(self._asked))


async def _fail(kind: str, request: web.Request, handler: Handler) -> web.StreamResponse:
    if kind.startswith("status-"):
        return web.Response(status=int(kind.removeprefix("status-")), text=_PAGE, content_type="text/html")
    if kind == "html":
        return web.Response(text=_PAGE, content_type="text/html")
    if kind in {"hang", "reset"}:
        return await _vanish(request, hang=kind == "hang")
    response = await handler(request)
    body = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else b""
    if kind in _BODIES:
        return await _BODIES[kind](request, response, body)
    return await _vanish(request, hang=kind == "hang-after-accept")


async def _truncated(_request: web.Request, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
    return web.Response(status=response.status, body=body[: len(body) // 2], content_type=response.content_type)


async def _charset(_request: web.Request, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
    return web.Response(status=response.status, body=body, headers={"Content-Type": "text/xml;charset=UTF-8"})


async def _slow(request: web.Request, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
    """Send the body in pieces with pauses; whoever reads until the end has all of it."""
    found = web.StreamResponse(status=response.status, headers={"Content-Type": response.content_type})
    await found.prepare(request)
    piece = max(1, len(body) // _SLOW_PIECES)
    for begin in range(0, len(body), piece):
        await found.write(body[begin : begin + piece])
        await asyncio.sleep(_LOOK_S)
    return found


async def _gzipped(_request: web.Request, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
    """Compress, whether the other side has asked for it or not."""
    headers = {"Content-Type": response.content_type, "Content-Encoding": "gzip"}
    return web.Response(status=response.status, body=gzip.compress(body), headers=headers)


async def _bomb_zip(_request: web.Request, _response: web.StreamResponse, _body: bytes) -> web.StreamResponse:
    """Send a small archive with a member of many megabytes of spaces."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("001-BOMB.xml", "w") as member:
        for _ in range(_BOMB_MEGABYTES):
            member.write(b" " * 1_000_000)
    return web.Response(body=buffer.getvalue(), content_type="application/zip")


async def _bomb_xml(_request: web.Request, _response: web.StreamResponse, _body: bytes) -> web.StreamResponse:
    """Send entities that expand to a thousand million characters."""
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 9))
    text = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "0123456789">{entities}]><x>&e8;</x>'
    return web.Response(text=text, content_type="text/xml")


_BODIES: Mapping[str, Callable[[web.Request, web.StreamResponse, bytes], Awaitable[web.StreamResponse]]] = {
    "truncated": _truncated,
    "charset": _charset,
    "slow": _slow,
    "gzip": _gzipped,
    "bomb-zip": _bomb_zip,
    "bomb-xml": _bomb_xml,
}
"""What becomes of the body that would have been sent."""


async def _vanish(request: web.Request, *, hang: bool) -> web.StreamResponse:
    """Never answer: keep the connection until the other side gives up, or break it at once."""
    left = _LONGEST_HANG_S
    while hang and left > 0 and request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(_LOOK_S)
        left -= _LOOK_S
    if request.transport is not None:
        raw = request.transport.get_extra_info("socket")
        if raw is not None:
            # Linger 0 makes the kernel send RST instead of FIN.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()
