"""The strict OpenADR 3.x VTN: many utilities in one program, in 3.0.1 or 3.1.0, each with a script of its own.

```
python -m gateway.sandbox.vtn3 --clock FILE --ready FILE --dialect 3.1.0
```

A utility lives under `/{world}/...`; the world `main` is there from the start. Clients are `ven` and `bl` (business logic). The
control door, on loopback without credentials:

```
PUT    /control/worlds/{world}                    options (see WorldOptions): make it; it cannot be changed later
POST   /control/worlds/{world}/objects/{plural}   put in an object as it is, also one that breaks the rules
PUT    /control/worlds/{world}/objects/{plural}/{id}
DELETE /control/worlds/{world}/objects/{plural}/{id}
GET    /control/worlds/{world}/objects/{plural}
POST   /control/worlds/{world}/grant              {targets}: give them to every ven of the client `ven`
POST   /control/worlds/{world}/revoke             know no token any more
POST   /control/worlds/{world}/faults             {on, do, times, ...}; DELETE takes all back
PUT    /control/worlds/{world}/manners            {lose, times, bearer}: what goes wrong with notifications
GET    /control/worlds/{world}/log                what was asked since ?after=N, and the notifications sent
```
"""

import argparse
import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.domain.errors import InvalidInput
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.program import log_to_stderr, stop_signal, write_ready
from gateway.sandbox.vtn3_api import Api
from gateway.sandbox.vtn3_notifying import Manners
from gateway.sandbox.vtn3_shapes import DIALECTS
from gateway.sandbox.vtn3_store import COLLECTIONS, Refused
from gateway.sandbox.vtn3_world import World, WorldOptions, parse_fault, parse_options

HOST = "127.0.0.1"
_LARGEST_BODY = 20_000_000
_log = logging.getLogger("sandbox.vtn3")


class StrictVtn:
    """HTTP handlers of all utilities and of their control door.

    Args:
        clock: Market time.
        tasks: Runs what tells subscribers.
        options: Of worlds, but for what their makers change.
    """

    def __init__(self, clock: SandboxClock, tasks: asyncio.TaskGroup, options: WorldOptions) -> None:
        self._clock = clock
        self._tasks = tasks
        self._options = options
        self._api = Api(clock)
        self._worlds: dict[str, World] = {}
        self._notifiers: list[asyncio.Task[None]] = []
        self.app = web.Application(client_max_size=_LARGEST_BODY)
        door = "/control/worlds/{world}"
        self.app.add_routes(
            [
                web.put(door, self._make),
                web.post(f"{door}/objects/{{collection}}", self._add),
                web.put(f"{door}/objects/{{collection}}/{{id}}", self._change),
                web.delete(f"{door}/objects/{{collection}}/{{id}}", self._remove),
                web.get(f"{door}/objects/{{collection}}", self._list),
                web.post(f"{door}/grant", self._grant),
                web.post(f"{door}/revoke", self._revoke),
                web.post(f"{door}/faults", self._add_fault),
                web.delete(f"{door}/faults", self._clear_faults),
                web.put(f"{door}/manners", self._set_manners),
                web.get(f"{door}/log", self._read_log),
                web.route("*", "/{world}/{path:.*}", self._serve),
            ]
        )

    def make(self, name: str, options: WorldOptions) -> None:
        """Make a utility."""
        world = self._worlds[name] = World(name, options, self._clock)
        self._notifiers.append(self._tasks.create_task(world.notifier.run(options.broker)))

    def stop(self) -> None:
        """Tell subscribers nothing more."""
        for notifier in self._notifiers:
            notifier.cancel()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        return await self._api.serve(self._world(request), request)

    async def _make(self, request: web.Request) -> web.Response:
        name = request.match_info["world"]
        try:
            options = parse_options(await _document(request), self._options)
        except InvalidInput as error:
            raise _bad(error) from error
        if name in self._worlds:
            raise web.HTTPConflict(text=f"world {name} is there already")
        self.make(name, options)
        return web.json_response({"url": f"{request.url.origin()}/{name}"}, status=201)

    async def _add(self, request: web.Request) -> web.Response:
        world, collection = self._world(request), _collection(request)
        try:
            made = world.store.add(collection, dict(await _document(request)), world.clients["ven"])
        except Refused as error:
            raise web.HTTPConflict(text=error.detail) from error
        world.changed("CREATE", collection, made)
        return web.json_response(made, status=201)

    async def _change(self, request: web.Request) -> web.Response:
        world, collection, body = self._world(request), _collection(request), dict(await _document(request))
        try:
            changed = world.store.change(collection, request.match_info["id"], body, None)
        except Refused as error:
            raise web.HTTPConflict(text=error.detail) from error
        world.changed("UPDATE", collection, changed)
        return web.json_response(changed)

    async def _remove(self, request: web.Request) -> web.Response:
        world, collection = self._world(request), _collection(request)
        try:
            removed = world.store.remove(collection, request.match_info["id"])
        except Refused as error:
            raise web.HTTPNotFound(text=error.detail) from error
        world.changed("DELETE", collection, removed)
        return web.json_response(removed)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"objects": list(self._world(request).store.collections[_collection(request)].values())}
        )

    async def _grant(self, request: web.Request) -> web.Response:
        world, targets = self._world(request), (await _document(request)).get("targets", [])
        vens = [each for each in world.store.collections["vens"].values() if each.get("clientID", "ven") == "ven"]
        for each in vens:
            each["targets"] = targets
            world.changed("UPDATE", "vens", each)
        return web.json_response({"vens": len(vens)})

    async def _revoke(self, request: web.Request) -> web.Response:
        self._world(request).tokens.revoke_all()
        return web.json_response({})

    async def _add_fault(self, request: web.Request) -> web.Response:
        try:
            self._world(request).add_fault(parse_fault(await _document(request)))
        except InvalidInput as error:
            raise _bad(error) from error
        return web.json_response({}, status=201)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._world(request).clear_faults()
        return web.json_response({})

    async def _set_manners(self, request: web.Request) -> web.Response:
        try:
            self._world(request).notifier.manners = Manners(**await _document(request))
        except TypeError as error:
            raise _bad(InvalidInput("manners", str(error))) from error
        return web.json_response({})

    async def _read_log(self, request: web.Request) -> web.Response:
        world = self._world(request)
        return web.json_response(
            {
                "market_time": self._clock.now().isoformat(),
                "entries": world.log[int(request.query.get("after", "0")) :],
                "notifications": world.notifier.sent,
            }
        )

    def _world(self, request: web.Request) -> World:
        world = self._worlds.get(request.match_info["world"])
        if world is None:
            raise web.HTTPNotFound(text="no such world")
        return world


def _collection(request: web.Request) -> str:
    name = request.match_info["collection"]
    if name not in COLLECTIONS:
        raise web.HTTPNotFound(text="no such collection")
    return name


async def _document(request: web.Request) -> Mapping[str, Any]:
    try:
        document: Any = json.loads(await request.text())
    except ValueError as error:
        raise _bad(InvalidInput("body", "must be JSON")) from error
    if not isinstance(document, dict):
        raise _bad(InvalidInput("body", "must be a JSON object"))
    return document


def _bad(error: InvalidInput) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=str(error))


async def serve(options: WorldOptions, *, clock_path: Path | None, ready_path: Path | None, port: int) -> None:
    """Serve until the process is told to stop."""
    async with asyncio.TaskGroup() as tasks:
        vtn = StrictVtn(SandboxClock(clock_path), tasks, options)
        vtn.make("main", options)
        runner = web.AppRunner(vtn.app, shutdown_timeout=1.0, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port).start()
            root = f"http://{HOST}:{runner.addresses[0][1]}"
            with stop_signal() as stop:
                if ready_path is not None:
                    write_ready(ready_path, {"url": root, "vtn_url": f"{root}/main", "control_url": f"{root}/control"})
                _log.info("listens on %s", root)
                await stop.wait()
        finally:
            vtn.stop()
            await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program with its command line."""
    parser = argparse.ArgumentParser(prog="python -m gateway.sandbox.vtn3", description="The strict 3.x VTN.")
    parser.add_argument("--clock", type=Path, help="clock file; real time without one")
    parser.add_argument("--ready", type=Path, help="file to write when it listens")
    parser.add_argument("--port", type=int, default=0, help="port on loopback; any free one by default")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), default="3.1.0", help="what worlds speak unless told")
    parser.add_argument("--broker", help="mqtt://host:port to publish notifications of the world `main` to")
    options = parser.parse_args(arguments)
    log_to_stderr()
    world = WorldOptions(dialect=options.dialect, broker=options.broker)
    asyncio.run(serve(world, clock_path=options.clock, ready_path=options.ready, port=options.port))


if __name__ == "__main__":
    main()
