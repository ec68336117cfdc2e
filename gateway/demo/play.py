"""One run of the demo from the opening to settlement."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from gateway.clock import FileClock, write_clock_file
from gateway.demo import configuration
from gateway.demo.autopilot import Autopilot, wait_for_bid
from gateway.demo.configuration import MARKETS, Market
from gateway.demo.folder import Login, RunFolder, fresh_folder, generate_logins
from gateway.demo.programs import Program
from gateway.demo.progress import Reporter
from gateway.demo.tariff_day import tariff_summary, wait_for_schedules
from gateway.demo.timeline import Pace, Timeline, pace_for, timeline_of
from gateway.domain.errors import PeerUnavailable
from gateway.domain.timegrid import DeliveryDay

Say = Callable[[str], None]
_LOOK_REAL_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoOptions:
    """What a run of the demo is asked to be."""

    market: str
    day: date | None
    speed: float | None
    seed: int
    is_autopilot: bool
    until_settled: bool
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Everything that runs, for those who play on it."""

    market: Market
    folder: RunFolder
    timeline: Timeline
    pace: Pace
    clock: FileClock
    logins: Mapping[str, Login]
    rpc_address: str
    page_url: str
    fleet_url: str
    gateway: Program


async def play(options: DemoOptions, say: Say) -> dict[str, Any]:
    """Run the demo and return its summary; SIGTERM and Ctrl-C stop every program that was started.

    Raises:
        PeerUnavailable: One of the programs did not come up.
        CancelledError: It was stopped.
    """
    playing = asyncio.current_task()
    if playing is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    peers = "grid, prices and exchange, " if MARKETS[options.market].has_exchange else "tariff and carbon files, "
    say(f"Starting the market in a box: {peers}charging platform, gateway")
    async with _stage(options) as stage:
        _introduce(stage, say)
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(_keep_gateway_running(stage.gateway, say))
            reporter = tasks.create_task(
                Reporter(
                    stage.rpc_address, stage.logins["operator"].token, stage.clock, say, stage.market.portfolio
                ).run()
            )
            summary = await _pass_time(stage, options, say)
            keeper.cancel()
            reporter.cancel()
        return summary


async def _pass_time(stage: Stage, options: DemoOptions, say: Say) -> dict[str, Any]:
    pilot = Autopilot(
        address=stage.rpc_address,
        tokens={name: login.token for name, login in stage.logins.items()},
        fleet_url=stage.fleet_url,
        market=stage.market,
        timeline=stage.timeline,
    )
    if stage.market.has_exchange:
        await wait_for_bid(pilot, say)
        _set_pace(stage, stage.pace.deciding)
        if options.is_autopilot:
            await pilot.propose_and_approve(say)
        await pilot.until_submitted_or_gate(stage.clock)
        _hurry_to(stage, stage.timeline.award_look)
        await pilot.until_nominated_or(stage.clock, stage.timeline.quiet_from)
    else:
        await wait_for_schedules(pilot, say)
    _set_pace(stage, stage.pace.quiet)
    await stage.clock.sleep_until(stage.timeline.delivery_start)
    say("The delivery day begins")
    _set_pace(stage, stage.pace.delivery)
    await stage.clock.sleep_until(stage.timeline.delivery_end)
    say("The delivery day is over; waiting for meters, prices and settlement")
    summary = await (pilot.summary(stage.clock) if stage.market.has_exchange else tariff_summary(pilot, stage.clock))
    if not options.until_settled:
        say("Settled. The demo goes on until Ctrl-C")
        await asyncio.Event().wait()
    return summary


def _set_pace(stage: Stage, speed: float) -> None:
    write_clock_file(stage.folder.clock, stage.clock.now(), speed)


def _hurry_to(stage: Stage, instant: datetime) -> None:
    """Jump over minutes in which nothing can happen: between the order and the auction's result."""
    if stage.clock.now() < instant:
        write_clock_file(stage.folder.clock, instant, stage.pace.deciding)


@asynccontextmanager
async def _stage(options: DemoOptions) -> AsyncIterator[Stage]:
    market = MARKETS[options.market]
    folder = fresh_folder(options.folder)
    timeline = timeline_of(DeliveryDay(day=options.day or market.day, zone=market.time_zone))
    pace = pace_for(options.speed, is_autopilot=options.is_autopilot)
    write_clock_file(folder.clock, timeline.opening, 1.0)
    logins = generate_logins()
    started: list[Program] = []

    async def start(name: str, module: str, *arguments: str) -> tuple[Program, dict[str, Any]]:
        program = Program(
            name=name, module=module, arguments=arguments, folder=folder.path, environment=configuration.environment()
        )
        started.append(program)
        return program, await program.start()

    try:
        shared = ("--clock", str(folder.clock), "--seed", str(options.seed))
        doors: dict[str, dict[str, Any]] = {}
        if market.has_exchange:
            grid_arguments = configuration.grid_arguments(market, timeline)
            async with asyncio.TaskGroup() as tasks:
                market_start = tasks.create_task(start("market", "gateway.sandbox.market", *shared))
                grid_start = tasks.create_task(start("grid", "gateway.sandbox.grid", *shared, *grid_arguments))
            doors = {"market": market_start.result()[1], "grid": grid_start.result()[1]}
        configuration.write_gateway_config(folder, market, pace, doors, seed=options.seed)
        await configuration.seed_rows(folder, market, logins)
        gateway, addresses = await start(
            "gateway", "gateway", "serve", "--stop-with-parent", "--config", str(folder.config)
        )
        fleet_arguments = configuration.fleet_arguments(folder, market, timeline, pace, addresses["rpc"])
        _, fleet = await start("fleet", "gateway.sandbox.fleet", *shared, *fleet_arguments)
        yield Stage(
            market=market,
            folder=folder,
            timeline=timeline,
            pace=pace,
            clock=FileClock(folder.clock),
            logins=logins,
            rpc_address=addresses["rpc"],
            page_url=addresses["page"],
            fleet_url=fleet["url"],
            gateway=gateway,
        )
    finally:
        for program in reversed(started):
            await program.stop()


async def _keep_gateway_running(gateway: Program, say: Say) -> None:
    """Start the gateway again whenever it dies, as a service manager would; ports stay the same."""
    while True:
        code = await gateway.ended()
        say(f"The gateway ended with {code}; starting it again on the same rows")
        try:
            await gateway.start()
        except PeerUnavailable as error:
            say(str(error))
            await asyncio.sleep(1.0)


def _introduce(stage: Stage, say: Say) -> None:
    say(f"Page     {stage.page_url}")
    for login in stage.logins.values():
        say(f"Login    {login.actor} / {login.password}")
    say(f"gRPC     {stage.rpc_address} (plain text, this machine only; reflection is on)")
    if stage.market.example_chargers:
        token_file = stage.folder.path / "example.token"
        chargers = " ".join(stage.market.example_chargers)
        say(f"Client   {sys.executable} -m scripts.examples.csms_client {stage.rpc_address} {token_file} {chargers}")
    say(f"Logs     {os.path.relpath(stage.folder.path)}/*.log; gateway process {stage.gateway.pid}")
