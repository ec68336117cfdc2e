"""The sandbox's sources of prices and carbon in one program, on loopback only: to develop against what goes wrong out there.

```
python -m gateway.sandbox.market_sources --clock FILE --ready FILE --seed 1
POST /control/days      {"zone": "DE_LU", "auction": "sdac", "day": "2026-10-03", "publish_at": "2026-10-02T12:25:00Z"}
                        also: "is_never": true, "slots": 48, "plus": "3.00" with "plus_at"
POST /control/platform  {"cap_points": 1000, "ignores_offset": true, "mixes_sequences": true, "curve": "A01", "per_minute": 400}
                        also: "refuse_points": 1000, "refuse_series": 100, "whole_days": true
POST /control/faults    as in `market_faults`, for the doors named there
```
Prices are made from the seed. When it listens, the ready file says each door's address and what opens it.
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from aiohttp import web

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.market_carbon_public import PublicCarbonDoor
from gateway.sandbox.market_faults import FaultSwitch
from gateway.sandbox.market_platform import PlatformDoor
from gateway.sandbox.market_public import PublicFeedsDoor
from gateway.sandbox.market_world import PUBLICATION, ZONES, DayScript, MarketTime, PriceWorld
from gateway.sandbox.program import log_to_stderr, serve_until_stopped

TOKEN = "sandbox-token"  # noqa: S105  # opens nothing but this program
USERNAME = "sandbox-user"
PASSWORD = "sandbox-password"  # noqa: S105
DOORS = (
    "entsoe",
    "energy-charts",
    "smard",
    "portal",
    "elering",
    "awattar",
    "octopus",
    "oasis",
    "maps",
    "watttime",
    "uk",
)


class SourcesControl:
    """Bends the world and the platform as a test or a developer says."""

    def __init__(self, world: PriceWorld, platform: PlatformDoor) -> None:
        self._world = world
        self._platform = platform

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the control door."""
        return [web.post("/control/days", self._day), web.post("/control/platform", self._habits)]

    async def _day(self, request: web.Request) -> web.Response:
        document = await request.json()
        try:
            zone, auction, day = (str(document[name]) for name in ("zone", "auction", "day"))
            script = DayScript(
                publish_at=_instant(document, "publish_at"),
                is_never=bool(document.get("is_never", False)),
                slots=document.get("slots"),
                plus=Decimal(str(document.get("plus", "0"))),
                plus_at=_instant(document, "plus_at"),
            )
        except (KeyError, ValueError, ArithmeticError, InvalidInput) as error:
            return web.json_response({"problem": str(error)}, status=400)
        if zone not in ZONES or auction not in PUBLICATION:
            return web.json_response({"zones": sorted(ZONES), "auctions": sorted(PUBLICATION)}, status=400)
        self._world.script(zone, auction, day, script)
        return web.json_response({}, status=201)

    async def _habits(self, request: web.Request) -> web.Response:
        document = await request.json()
        habits = self._platform.habits
        known = {field.name for field in fields(habits)} - {"ban"}
        if not set(document) <= known:
            return web.json_response({"known": sorted(known)}, status=400)
        for name, value in document.items():
            setattr(habits, name, value)
        return web.json_response({}, status=201)


def _instant(document: Mapping[str, object], name: str) -> datetime | None:
    text = document.get(name)
    return None if text is None else require_utc(name, datetime.fromisoformat(str(text)))


def create_app(clock: MarketTime, seed: int, token: str = TOKEN) -> web.Application:
    """Return the application with all doors; `token` is that of ENTSO-E and of Electricity Maps."""
    world = PriceWorld(seed, clock)
    platform, faults = PlatformDoor(world, token), FaultSwitch(DOORS)
    carbon = PublicCarbonDoor(world, token=token, username=USERNAME, password=PASSWORD)
    app = web.Application(middlewares=[faults.play])
    for door in (faults, SourcesControl(world, platform), platform, PublicFeedsDoor(world), carbon):
        app.add_routes(door.routes())
    return app


def ready_document(root: str) -> dict[str, object]:
    """Return what the ready file says: the address of each door and what opens it."""
    addresses: dict[str, object] = {f"{door.replace('-', '_')}_url": f"{root}/{door}" for door in DOORS}
    return addresses | {
        "entsoe_url": f"{root}/entsoe/api",
        "entsoe_token": TOKEN,
        "maps_token": TOKEN,
        "watttime_username": USERNAME,
        "watttime_password": PASSWORD,
        "control_url": f"{root}/control",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program with its command line."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway.sandbox.market_sources", description="The sandbox's sources of prices and carbon."
    )
    parser.add_argument("--clock", type=Path, help="clock file; real time without one")
    parser.add_argument("--ready", type=Path, help="file to write when it listens")
    parser.add_argument("--seed", type=int, default=1, help="seed of all prices")
    parser.add_argument("--port", type=int, default=0, help="port on loopback; any free one by default")
    options = parser.parse_args(arguments)
    log_to_stderr()
    app = create_app(SandboxClock(options.clock), options.seed)
    asyncio.run(
        serve_until_stopped(
            app, "market_sources", port=options.port, ready_path=options.ready, ready_document=ready_document
        )
    )


if __name__ == "__main__":
    main()
