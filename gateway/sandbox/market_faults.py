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
import socket
import struct
from collections import Counter
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
)
_LONGEST_HANG_S = 60.0
_LOOK_S = 0.02
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

    def __init__(self) -> None:
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
        if fault.door not in DOORS or fault.kind not in KINDS or fault.count < 1:
            return web.json_response({"doors": DOORS, "kinds": KINDS}, status=400)
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
    if kind == "truncated":
        body = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else b""
        return web.Response(status=response.status, body=body[: len(body) // 2], content_type=response.content_type)
    return await _vanish(request, hang=kind == "hang-after-accept")


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
