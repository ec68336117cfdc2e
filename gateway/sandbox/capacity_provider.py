"""The sandbox capacity provider: an OSCP 2.0 grid operator that limits a group, goes silent, answers slowly or wrongly on order.

```
python -m gateway.sandbox.capacity_provider --clock FILE --ready FILE --group trafo-17
```

It waits for orders at its control door, on loopback and without credentials:

```
POST   /control/register    {"fp_url": "http://127.0.0.1:8080/oscp/fp/2.0", "token": "..."}   with the one-time token
PUT    /control/register    {"path": "/oscp/cp/2.0"}          another token and, where wanted, address
DELETE /control/register    leaves
POST   /control/handshake   {"heartbeat_s": 60, "measurements": ["CONTINUOUS"]}
POST   /control/heartbeats  {"every_s": 60, "promise_s": 180}  from now on; every_s 0 goes silent
POST   /control/heartbeat   {"promise_s": 180}                 one
POST   /control/forecast    {"type": "CONSUMPTION", "blocks": [...], "segments": 2, "order": [2, 1]}
POST   /control/send        {"path": "...", "body": {...}, "method": "POST", "headers": {}}   anything, right or wrong
POST   /control/faults      {"on": "register", "do": "hang", "seconds": 30, "status": 503, "times": 2}
DELETE /control/faults
GET    /control/log         what was sent both ways, without tokens
```

A block is `{"capacity": 60.0, "phase": "ALL", "unit": "KW", "start_time": "2026-01-01T00:00:00Z", "end_time": ...}`, as on the wire.
`do` is `answer` (with `status`, `body` and `headers`), `hang` (so many real seconds, then as `answer`) or `late` (nothing else wrong).
"""

import argparse
import asyncio
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from gateway.domain.errors import InvalidInput
from gateway.sandbox.capacity_provider_world import PATH, CapacityProvider, Said
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.program import log_to_stderr, serve_until_stopped
from gateway.sandbox.vtn_control import Fault, Script, bad_request, document_of

_DOING = frozenset({"answer", "hang", "late"})


class ControlDoor:
    """HTTP handlers of the control door.

    Args:
        provider: What is controlled.
    """

    def __init__(self, provider: CapacityProvider) -> None:
        self._provider = provider

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the door."""
        return [
            web.post("/control/register", self._register),
            web.put("/control/register", self._change),
            web.delete("/control/register", self._leave),
            web.post("/control/handshake", self._handshake),
            web.post("/control/heartbeats", self._heartbeats),
            web.post("/control/heartbeat", self._heartbeat),
            web.post("/control/forecast", self._forecast),
            web.post("/control/send", self._send),
            web.post("/control/faults", self._fault),
            web.delete("/control/faults", self._no_faults),
            web.get("/control/log", self._log),
        ]

    async def _register(self, request: web.Request) -> web.Response:
        script = await document_of(request)
        return _told(await self._provider.register(_text(script, "fp_url"), _text(script, "token")))

    async def _change(self, request: web.Request) -> web.Response:
        script = await document_of(request)
        return _told(await self._provider.change(str(script.get("path", PATH))))

    async def _leave(self, _request: web.Request) -> web.Response:
        return _told(await self._provider.leave())

    async def _handshake(self, request: web.Request) -> web.Response:
        script = await document_of(request)
        wanted = script.get("heartbeat_s", 60.0)
        configuration = tuple(script.get("measurements", ("CONTINUOUS",)))
        return _told(await self._provider.handshake(None if wanted is None else float(wanted), configuration))

    async def _heartbeats(self, request: web.Request) -> web.Response:
        script = await document_of(request)
        self._provider.beating.every_s = float(script.get("every_s", 60.0))
        self._provider.beating.promise_s = float(script.get("promise_s", 3 * self._provider.beating.every_s))
        return web.json_response({})

    async def _heartbeat(self, request: web.Request) -> web.Response:
        script = await document_of(request)
        return _told(await self._provider.heartbeat(float(script.get("promise_s", 180.0))))

    async def _forecast(self, request: web.Request) -> web.Response:
        try:
            return _told(*await self._provider.forecast(await document_of(request)))
        except InvalidInput as error:
            raise bad_request(error) from error

    async def _send(self, request: web.Request) -> web.Response:
        script = await document_of(request)
        headers = {str(name): str(value) for name, value in script.get("headers", {}).items()}
        said = await self._provider.send(
            _text(script, "path"), script.get("body"), method=str(script.get("method", "POST")), headers=headers
        )
        return _told(said)

    async def _fault(self, request: web.Request) -> web.Response:
        script = await document_of(request)
        do = str(script.get("do", "answer"))
        if do not in _DOING:
            raise bad_request(InvalidInput("do", f"must be one of {', '.join(sorted(_DOING))}"))
        headers = {**script.get("headers", {})}
        if do == "hang":
            headers["seconds"] = script.get("seconds", 30.0)
        fault = Fault(
            on=str(script.get("on", "*")),
            do=do,
            times=int(script.get("times", 1)),
            status=int(script.get("status", 204)),
            headers=headers,
            body=str(script.get("body", "")),
        )
        self._provider.faults.add(fault)
        return web.json_response({}, status=201)

    async def _no_faults(self, _request: web.Request) -> web.Response:
        self._provider.faults.clear()
        return web.json_response({})

    async def _log(self, _request: web.Request) -> web.Response:
        tie = self._provider.tie
        return web.json_response(
            {
                "market_time": self._provider.clock.now().isoformat(),
                "heard_until": tie.heard_until,
                "wants_beats_s": tie.wants_beats_s,
                "received": [dataclasses.asdict(one) for one in tie.log],
                "sent": [dataclasses.asdict(one) for one in tie.sent],
            }
        )


def _told(*said: Said) -> web.Response:
    return web.json_response([{"path": one.path, "request_id": one.request_id, "status": one.status} for one in said])


def _text(script: Script, name: str) -> str:
    value = script.get(name)
    if not isinstance(value, str) or not value:
        raise bad_request(InvalidInput(name, "must be a text"))
    return value


def application(provider: CapacityProvider) -> web.Application:
    """Return the application: the provider's own addresses and its control door."""
    app = web.Application()
    app.add_routes(ControlDoor(provider).routes())
    app.add_routes([web.route("*", f"{PATH}/{{message}}", provider.take)])
    app.cleanup_ctx.append(provider.running)
    return app


def ready_document(provider: CapacityProvider, root: str) -> dict[str, object]:
    """Return what the ready file says."""
    provider.root = root
    return {"url": root, "cp_url": f"{root}{PATH}", "control_url": f"{root}/control", "group": provider.group}


async def serve(provider: CapacityProvider, *, ready_path: Path | None, port: int) -> None:
    """Serve until the process is told to stop."""
    document = functools.partial(ready_document, provider)
    await serve_until_stopped(
        application(provider), "capacity_provider", port=port, ready_path=ready_path, ready_document=document
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program with its command line."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway.sandbox.capacity_provider", description="The sandbox capacity provider."
    )
    parser.add_argument("--clock", type=Path, help="clock file; real time without one")
    parser.add_argument("--ready", type=Path, help="file to write when it listens")
    parser.add_argument(
        "--seed", type=int, default=1, help="accepted like by every sandbox program; only tokens are drawn"
    )
    parser.add_argument("--port", type=int, default=0, help="port on loopback; any free one by default")
    parser.add_argument("--group", default="g1", help="group that it limits")
    options = parser.parse_args(arguments)
    log_to_stderr()
    provider = CapacityProvider(SandboxClock(options.clock), options.group)
    asyncio.run(serve(provider, ready_path=options.ready, port=options.port))


if __name__ == "__main__":
    main()
