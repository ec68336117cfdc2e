"""The control door of the sandbox utility: publish, change and cancel events, and read what the VENs said.

```
POST   /control/events        {event_id, start, duration_minutes, payload, signal, target, priority, ...}; again: a modification
DELETE /control/events/{id}   cancels
GET    /control/events        the book
GET    /control/log           registrations, opts, report readings, and the market time
```
"""

import json

from aiohttp import web

from gateway.domain.errors import InvalidInput, NotFound, VoltbridgeError
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.grid_events import DrEvent, parse_event
from gateway.sandbox.grid_vtn import UtilityVtn


class ControlDoor:
    """HTTP handlers of the control door; loopback only, no credentials."""

    def __init__(self, vtn: UtilityVtn, clock: SandboxClock) -> None:
        self._vtn = vtn
        self._clock = clock

    def routes(self) -> list[web.AbstractRouteDef]:
        """Return the routes of the door."""
        return [
            web.post("/control/events", self._publish),
            web.get("/control/events", self._list),
            web.delete("/control/events/{event_id}", self._cancel),
            web.get("/control/log", self._read_log),
        ]

    async def _publish(self, request: web.Request) -> web.Response:
        try:
            event = self._vtn.publish(parse_event(json.loads(await request.text())))
        except ValueError:
            return _refusal(400, InvalidInput("event", "must be a JSON object"))
        except InvalidInput as error:
            return _refusal(400, error)
        return web.json_response(_plain(event), status=201)

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response([_plain(event) for event in self._vtn.events])

    async def _cancel(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(_plain(self._vtn.cancel(request.match_info["event_id"])))
        except NotFound as error:
            return _refusal(404, error)

    async def _read_log(self, _: web.Request) -> web.Response:
        log = self._vtn.log
        return web.json_response(
            {
                "market_time": self._clock.now().isoformat(),
                "registrations": log.registrations,
                "opts": log.opts,
                "readings": log.readings,
            }
        )


def _plain(event: DrEvent) -> dict[str, object]:
    return {
        "event_id": event.event_id,
        "modification": event.modification,
        "cancelled": event.cancelled,
        "start": event.start.isoformat(),
        "duration_minutes": event.duration_minutes,
        "signal": event.signal,
        "payload": list(event.payload),
        "target": event.target,
        "priority": event.priority,
        "publish_at": None if event.publish_at is None else event.publish_at.isoformat(),
    }


def _refusal(status: int, error: VoltbridgeError) -> web.Response:
    field = error.field if isinstance(error, InvalidInput) else ""
    return web.json_response({"reason": error.reason, "field": field, "problem": str(error)}, status=status)
