"""The sandbox market: a price server, a carbon server, an exchange and a BRP in one program, on loopback only.

```
python -m gateway.sandbox.market --clock FILE --ready FILE --seed 1
```

It replays the Belgian prices of October 2025 by the market clock. When it listens it writes the ready file with the addresses
and the credentials of its doors; these open nothing but this program.
"""

import argparse
import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from pathlib import Path

import numpy as np
from aiohttp import web

from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.market_auction import AuctionHouse
from gateway.sandbox.market_auction_http import ExchangeDoor
from gateway.sandbox.market_brp import BrpDoor
from gateway.sandbox.market_carbon import CarbonDoor
from gateway.sandbox.market_entsoe import EntsoeDoor
from gateway.sandbox.market_faults import FaultSwitch
from gateway.sandbox.market_recorded import DATA, read_recording
from gateway.sandbox.program import log_to_stderr, serve_until_stopped


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketOptions:
    """What the market is called and who may enter; the defaults are those of the demo."""

    portfolios: tuple[str, ...] = ("BE-EV",)
    brp: str = "brp-demo"
    username: str = "sandbox-trader"
    password: str = "sandbox-password"  # noqa: S105  # opens nothing but this program
    token: str = "sandbox-token"  # noqa: S105
    data: Path = DATA


def create_app(options: MarketOptions, clock: SandboxClock, seed: int) -> web.Application:
    """Return the application with all doors."""
    recording = read_recording(options.data)
    rng = np.random.default_rng(seed)
    house = AuctionHouse(recording.day_ahead_eur_per_mwh, clock, rng, options.portfolios)
    exchange = ExchangeDoor(house, rng, options.username, options.password)
    faults = FaultSwitch()
    app = web.Application(middlewares=[faults.play, exchange.guard], client_max_size=4_000_000)

    async def say_market_time(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = format_datetime(clock.now(), usegmt=True)

    app.on_response_prepare.append(say_market_time)
    app.add_routes(faults.routes())
    app.add_routes(EntsoeDoor(recording, clock, options.token).routes())
    app.add_routes(CarbonDoor(recording.marginal_g_per_kwh, clock, options.token).routes())
    app.add_routes(exchange.routes())
    app.add_routes(BrpDoor(house, options.brp, options.token).routes())
    return app


def ready_document(options: MarketOptions, root: str) -> dict[str, object]:
    """Return what the ready file says: the address of each door and what opens it."""
    return {
        "url": root,
        "entsoe_url": f"{root}/entsoe/api",
        "entsoe_token": options.token,
        "carbon_url": f"{root}/carbon",
        "carbon_token": options.token,
        "exchange_url": f"{root}/exchange/api/v1",
        "sts_url": f"{root}/exchange/connect/token",
        "exchange_username": options.username,
        "exchange_password": options.password,
        "brp_url": f"{root}/brp",
        "brp_token": options.token,
        "control_url": f"{root}/control",
    }


async def serve(
    options: MarketOptions, *, clock_path: Path | None, ready_path: Path | None, seed: int, port: int
) -> None:
    """Serve until the process is told to stop."""
    app = create_app(options, SandboxClock(clock_path), seed)
    ready = functools.partial(ready_document, options)
    await serve_until_stopped(app, "market", port=port, ready_path=ready_path, ready_document=ready)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program with its command line."""
    parser = argparse.ArgumentParser(prog="python -m gateway.sandbox.market", description="The sandbox market.")
    parser.add_argument("--clock", type=Path, help="clock file; real time without one")
    parser.add_argument("--ready", type=Path, help="file to write when it listens")
    parser.add_argument("--seed", type=int, default=1, help="seed of order ids and tokens")
    parser.add_argument("--port", type=int, default=0, help="port on loopback; any free one by default")
    parser.add_argument("--portfolio", action="append", help="portfolio that may trade; may be given several times")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the recordings")
    options = parser.parse_args(arguments)
    log_to_stderr()
    market = MarketOptions(
        portfolios=tuple(options.portfolio) if options.portfolio else MarketOptions().portfolios, data=options.data
    )
    asyncio.run(serve(market, clock_path=options.clock, ready_path=options.ready, seed=options.seed, port=options.port))


if __name__ == "__main__":
    main()
