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
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from gateway.domain.errors import InvalidInput
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.program import log_to_stderr, serve_until_stopped
from gateway.sandbox.vtn3_api import Api
from gateway.sandbox.vtn3_notifying import Manners
from gateway.sandbox.vtn3_shapes import DIALECTS
from gateway.sandbox.vtn3_store import COLLECTIONS, Refused
from gateway.sandbox.vtn3_world import World, WorldOptions, parse_fault, parse_options
from gateway.sandbox.vtn_control import DOOR, Worlds, bad_request, document_of, fault_routes

_LARGEST_BODY = 20_000_000


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
        self._worlds = Worlds[World]()
        self._notifiers: list[asyncio.Task[None]] = []
        self.app = web.Application(client_max_size=_LARGEST_BODY)
        self.app.add_routes(
            [
                web.put(DOOR, self._make),
                web.post(f"{DOOR}/objects/{{collection}}", self._add),
                web.put(f"{DOOR}/objects/{{collection}}/{{id}}", self._change),
                web.delete(f"{DOOR}/objects/{{collection}}/{{id}}", self._remove),
                web.get(f"{DOOR}/objects/{{collection}}", self._list),
                web.post(f"{DOOR}/grant", self._grant),
                web.post(f"{DOOR}/revoke", self._revoke),
                *fault_routes(lambda request: self._worlds.of(request).faults, parse_fault),
                web.put(f"{DOOR}/manners", self._set_manners),
                web.get(f"{DOOR}/log", self._read_log),
                web.route("*", "/{world}/{path:.*}", self._serve),
            ]
        )

    def make(self, name: str, options: WorldOptions) -> None:
        """Make a utility."""
        world = World(name, options, self._clock)
        self._worlds.put(name, world)
        self._notifiers.append(self._tasks.create_task(world.notifier.run(options.broker)))

    def stop(self) -> None:
        """Tell subscribers nothing more."""
        for notifier in self._notifiers:
            notifier.cancel()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        return await self._api.serve(self._worlds.of(request), request)

    async def _make(self, request: web.Request) -> web.Response:
        name = request.match_info["world"]
        try:
            options = parse_options(await document_of(request), self._options)
        except InvalidInput as error:
            raise bad_request(error) from error
        if name in self._worlds:
            raise web.HTTPConflict(text=f"world {name} is there already")
        self.make(name, options)
        return web.json_response({"url": f"{request.url.origin()}/{name}"}, status=201)

    async def _add(self, request: web.Request) -> web.Response:
        world, collection = self._worlds.of(request), _collection(request)
        try:
            made = world.store.add(collection, dict(await document_of(request)), world.clients["ven"])
        except Refused as error:
            raise web.HTTPConflict(text=error.detail) from error
        world.changed("CREATE", collection, made)
        return web.json_response(made, status=201)

    async def _change(self, request: web.Request) -> web.Response:
        world, collection, body = self._worlds.of(request), _collection(request), dict(await document_of(request))
        try:
            changed = world.store.change(collection, request.match_info["id"], body, None)
        except Refused as error:
            raise web.HTTPConflict(text=error.detail) from error
        world.changed("UPDATE", collection, changed)
        return web.json_response(changed)

    async def _remove(self, request: web.Request) -> web.Response:
        world, collection = self._worlds.of(request), _collection(request)
        try:
            removed = world.store.remove(collection, request.match_info["id"])
        except Refused as error:
            raise web.HTTPNotFound(text=error.detail) from error
        world.changed("DELETE", collection, removed)
        return web.json_response(removed)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"objects": list(self._worlds.of(request).store.collections[_collection(request)].values())}
        )

    async def _grant(self, request: web.Request) -> web.Response:
        world, targets = self._worlds.of(request), (await document_of(request)).get("targets", [])
        vens = [each for each in world.store.collections["vens"].values() if each.get("clientID", "ven") == "ven"]
        for each in vens:
            each["targets"] = targets
            world.changed("UPDATE", "vens", each)
        return web.json_response({"vens": len(vens)})

    async def _revoke(self, request: web.Request) -> web.Response:
        self._worlds.of(request).tokens.revoke_all()
        return web.json_response({})

    async def _set_manners(self, request: web.Request) -> web.Response:
        try:
            self._worlds.of(request).notifier.manners = Manners(**await document_of(request))
        except TypeError as error:
            raise bad_request(InvalidInput("manners", str(error))) from error
        return web.json_response({})

    async def _read_log(self, request: web.Request) -> web.Response:
        world = self._worlds.of(request)
        return web.json_response(
            {
                "market_time": self._clock.now().isoformat(),
                "entries": world.log[int(request.query.get("after", "0")) :],
                "notifications": world.notifier.sent,
            }
        )


def _collection(request: web.Request) -> str:
    name = request.match_info["collection"]
    if name not in COLLECTIONS:
        raise web.HTTPNotFound(text="no such collection")
    return name


def _ready_document(root: str) -> dict[str, object]:
    return {"url": root, "vtn_url": f"{root}/main", "control_url": f"{root}/control"}


async def serve(options: WorldOptions, *, clock_path: Path | None, ready_path: Path | None, port: int) -> None:
    """Serve until the process is told to stop."""
    async with asyncio.TaskGroup() as tasks:
        vtn = StrictVtn(SandboxClock(clock_path), tasks, options)
        vtn.make("main", options)
        try:
            await serve_until_stopped(vtn.app, "vtn3", port=port, ready_path=ready_path, ready_document=_ready_document)
        finally:
            vtn.stop()


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
