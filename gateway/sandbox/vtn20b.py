"""The scripted OpenADR 2.0b VTN: many utilities in one program, each saying exactly what its script tells it.

```
python -m gateway.sandbox.vtn20b --clock FILE --ready FILE
```

A utility lives under `/{world}/OpenADR2/Simple/2.0b/{service}`. The control door, on loopback without credentials:

```
PUT    /control/worlds/{world}          {vtn_id, ven_name, poll, context, ...}: make it, or change it and keep the rest
POST   /control/worlds/{world}/say      {kind, ...}: queue a message; {"raw": text} or {"base64": ...}: queue bytes
POST   /control/worlds/{world}/faults   {on, do, times, ...}: let something go wrong
DELETE /control/worlds/{world}/faults   let nothing go wrong any more
POST   /control/worlds/{world}/forget   know the VEN no longer
GET    /control/worlds/{world}/log      what the VEN said since ?after=N, with the verdict of the schema
```
"""

import argparse
import asyncio
import base64
import binascii
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from gateway.domain.errors import InvalidInput
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.program import log_to_stderr, serve_until_stopped
from gateway.sandbox.vtn20b_reading import official_schema, read_message
from gateway.sandbox.vtn20b_world import MessageFault, World, WorldOptions, parse_fault
from gateway.sandbox.vtn_control import DOOR, Worlds, bad_request, document_of, fault_routes

PATH = "OpenADR2/Simple/2.0b"
_DRIP_SECONDS = 0.2
_LARGEST_BODY = 50_000_000


class ScriptedVtn:
    """HTTP handlers of all utilities and of their control door."""

    def __init__(self, clock: SandboxClock) -> None:
        self._clock = clock
        self._worlds = Worlds[World]()
        self.app = web.Application(client_max_size=_LARGEST_BODY)
        self.app.add_routes(
            [
                web.post(f"/{{world}}/{PATH}/{{service}}", self._serve),
                web.put(DOOR, self._make),
                web.post(f"{DOOR}/say", self._say),
                *fault_routes(lambda request: self._worlds.of(request).faults, parse_fault),
                web.post(f"{DOOR}/forget", self._forget),
                web.get(f"{DOOR}/log", self._read_log),
            ]
        )

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        world = self._worlds.of(request)
        message = read_message(await request.read())
        fault = world.faults.take(message.kind)
        world.note(request.match_info["service"], message, fault)
        if fault is None:
            return _xml(world.answer(message))
        return await self._go_wrong(world, fault, request)

    async def _go_wrong(self, world: World, fault: MessageFault, request: web.Request) -> web.StreamResponse:
        if fault.do == "drop" and request.transport is not None:
            request.transport.abort()
        if fault.do == "redirect":
            return web.Response(status=fault.status, headers={"Location": fault.body})
        if fault.do == "code":
            return _xml(world.written("oadrResponse", {"code": fault.code, "description": "scripted"}))
        if fault.do == "say":
            return _xml(world.written(str(fault.message.get("kind", "")), fault.message))
        if fault.do == "raw":
            return _xml(fault.body.encode())
        if fault.do == "drip":
            return await _drip(world.written("oadrResponse", {}), request)
        return web.Response(status=fault.status, headers={name: str(each) for name, each in fault.headers.items()})

    async def _make(self, request: web.Request) -> web.Response:
        name, document = request.match_info["world"], await document_of(request)
        requests = {"report_requests": tuple(document["report_requests"])} if "report_requests" in document else {}
        known = self._worlds.get(name)
        try:
            options = dataclasses.replace(
                WorldOptions() if known is None else known.options, **{**document, **requests}
            )
        except TypeError as error:
            raise bad_request(InvalidInput("world", str(error))) from error
        if known is None:
            self._worlds.put(name, World(name, options, self._clock))
        else:
            known.options = options
        return web.json_response({"url": f"{request.url.origin()}/{name}/{PATH}"}, status=201)

    async def _say(self, request: web.Request) -> web.Response:
        world, document = self._worlds.of(request), await document_of(request)
        try:
            if "raw" in document:
                world.say_raw(str(document["raw"]).encode())
            elif "base64" in document:
                world.say_raw(base64.b64decode(document["base64"], validate=True))
            else:
                world.say(document)
        except binascii.Error as error:
            raise bad_request(InvalidInput("base64", "must be base64")) from error
        except InvalidInput as error:
            raise bad_request(error) from error
        return web.json_response({"waiting": world.waiting}, status=201)

    async def _forget(self, request: web.Request) -> web.Response:
        self._worlds.of(request).forget()
        return web.json_response({})

    async def _read_log(self, request: web.Request) -> web.Response:
        world = self._worlds.of(request)
        after = int(request.query.get("after", "0"))
        return web.json_response(
            {
                "market_time": self._clock.now().isoformat(),
                "ven_id": world.ven_id,
                "registration_id": world.registration_id,
                "waiting": world.waiting,
                "entries": world.log[after:],
            }
        )


def _xml(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/xml")


async def _drip(body: bytes, request: web.Request) -> web.StreamResponse:
    """Answer a byte at a time, for as long as the VEN has the patience."""
    answer = web.StreamResponse(headers={"Content-Type": "application/xml"})
    await answer.prepare(request)
    for position in range(len(body)):
        await answer.write(body[position : position + 1])
        await asyncio.sleep(_DRIP_SECONDS)
    return answer


def _ready_document(root: str) -> dict[str, object]:
    return {"url": root, "control_url": f"{root}/control"}


async def serve(*, clock_path: Path | None, ready_path: Path | None, port: int) -> None:
    """Serve until the process is told to stop."""
    official_schema()
    vtn = ScriptedVtn(SandboxClock(clock_path))
    await serve_until_stopped(vtn.app, "vtn20b", port=port, ready_path=ready_path, ready_document=_ready_document)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program with its command line."""
    parser = argparse.ArgumentParser(prog="python -m gateway.sandbox.vtn20b", description="The scripted 2.0b VTN.")
    parser.add_argument("--clock", type=Path, help="clock file; real time without one")
    parser.add_argument("--ready", type=Path, help="file to write when it listens")
    parser.add_argument("--port", type=int, default=0, help="port on loopback; any free one by default")
    options = parser.parse_args(arguments)
    log_to_stderr()
    asyncio.run(serve(clock_path=options.clock, ready_path=options.ready, port=options.port))


if __name__ == "__main__":
    main()
