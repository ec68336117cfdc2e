"""`python -m gateway.sandbox.fleet`: a charging platform with chargers and cars, a pure client of the gateway's gRPC contract.

It draws synthetic sessions, reports them as a platform would, obeys limits, leases and fallbacks as its chargers do (class B: the
platform enforces them), and streams measurements. It keeps its world running while the gateway is away.
"""

import argparse
import asyncio
import logging
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import grpc
import numpy as np
from aiohttp import web

from gateway.domain.errors import InvalidInput
from gateway.domain.inventory import Inventory, parse_inventory
from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.fleet_bank import STEP_S
from gateway.sandbox.fleet_inspect import inspection_app
from gateway.sandbox.fleet_link import DispatchLink
from gateway.sandbox.fleet_recorded import RecordedBook
from gateway.sandbox.fleet_reports import MeterHistoryReporter, SessionReporter, TelemetryReporter
from gateway.sandbox.fleet_retry import CHANNEL_OPTIONS, Backoff
from gateway.sandbox.fleet_sessions import SessionBook, SessionSource
from gateway.sandbox.fleet_simulation import FleetOptions, FleetSimulation, own_chargers, own_sites
from gateway.sandbox.fleet_statistics import DEFAULT_FOLDER, load_statistics
from gateway.sandbox.program import log_to_stderr, stop_signal, write_ready

_STEPS_PER_TURN = 10
"""So many minutes are simulated before other tasks get a turn, when the clock has jumped."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Programme:
    """What the command line says."""

    clock: Path | None
    ready: Path | None
    gateway: str
    token_file: Path
    inventory: Path
    statistics: Path
    recorded: Path | None
    from_day: date | None
    history_days: int
    telemetry_minutes: int
    port: int
    options: FleetOptions


def share(text: str) -> float:
    """Return a share from 0 to 1 written as `0.005` or `0.5%`.

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    try:
        value = float(text[:-1]) / 100.0 if text.endswith("%") else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no share such as 0.005 or 0.5%") from error
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 0 to 1")
    return value


def parse_arguments(arguments: Sequence[str] | None = None) -> Programme:
    """Return what the command line says; leaves with status 2 and a message when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m gateway.sandbox.fleet", description=__doc__)
    parser.add_argument("--clock", type=Path, help="clock file; left out: real time")
    parser.add_argument("--ready", type=Path, help="written as JSON when the program is ready")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gateway", required=True, metavar="HOST:PORT", help="the gateway's gRPC port, plain text")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the bearer token")
    parser.add_argument("--inventory", type=Path, required=True, help="inventory as TOML")
    parser.add_argument("--statistics", type=Path, default=DEFAULT_FOLDER, help="what sessions are drawn from")
    parser.add_argument("--recorded", type=Path, help="CSV of sessions that are replayed instead of drawn ones")
    parser.add_argument("--csms", default="csms-demo", help="which platform of the inventory this is")
    parser.add_argument("--from-day", type=date.fromisoformat, help="day before delivery; left out: today")
    parser.add_argument("--history-days", type=int, default=14)
    parser.add_argument("--rejecting", type=share, default=0.005, help="share of chargers that refuse limits")
    parser.add_argument("--not-following", type=share, default=0.007, help="share that accepts and does not follow")
    parser.add_argument("--telemetry-minutes", type=int, default=1, help="market minutes between measurements")
    parser.add_argument("--port", type=int, default=0, help="of the door for inspection; 0: any free one")
    given = parser.parse_args(arguments)
    if given.seed < 0 or given.history_days < 1 or given.telemetry_minutes < 1:
        parser.error("--seed must be at least 0, --history-days and --telemetry-minutes at least 1")
    return Programme(
        clock=given.clock,
        ready=given.ready,
        gateway=given.gateway,
        token_file=given.token_file,
        inventory=given.inventory,
        statistics=given.statistics,
        recorded=given.recorded,
        from_day=given.from_day,
        history_days=given.history_days,
        telemetry_minutes=given.telemetry_minutes,
        port=given.port,
        options=FleetOptions(
            csms=given.csms,
            seed=given.seed,
            rejecting_share=given.rejecting,
            not_following_share=given.not_following,
        ),
    )


def build_simulation(programme: Programme, now: datetime) -> FleetSimulation:
    """Read inventory and statistics and build the world as it is at `now`.

    Raises:
        InvalidInput: A file is wrong, the platform has no chargers in the inventory, or `from_day` lies in the future.
        OSError: A file cannot be read.
    """
    try:
        document = tomllib.loads(programme.inventory.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput("inventory", f"is no TOML: {error}") from error
    inventory = parse_inventory(document)
    zone = _zone_of(inventory, programme.options.csms)
    today = DeliveryDay.containing(now, zone)
    first = today if programme.from_day is None else DeliveryDay(day=programme.from_day, zone=zone)
    if first.day > today.day:
        raise InvalidInput("from_day", f"is after {today.day.isoformat()}, the market's today")
    book = _open_book(programme, inventory, first.next(-programme.history_days))
    return FleetSimulation(inventory, book, programme.options, now)


async def simulate(
    simulation: FleetSimulation,
    clock: SandboxClock,
    sessions: SessionReporter,
    telemetry: TelemetryReporter,
    telemetry_minutes: int,
) -> None:
    """Let the world follow the clock minute by minute and report what happens; ends only by cancellation."""
    while True:
        await clock.sleep_until(datetime.fromtimestamp(simulation.time_s + STEP_S, UTC))
        for _ in range(_STEPS_PER_TURN):
            if simulation.time_s + STEP_S > clock.now().timestamp():
                break
            events = simulation.step()
            if events.ended is not None:
                sessions.add_ended(events.ended)
            sessions.add_plugged_in(events.plugged)
            if simulation.time_s % (telemetry_minutes * STEP_S) == 0:
                telemetry.add(simulation.reading())
        await asyncio.sleep(0)


async def report_past(meters: MeterHistoryReporter, sessions: SessionReporter, day_count: int) -> None:
    """Report what meters counted, then the sessions: whoever waits for the sessions of the past finds the meters' there, too."""
    await meters.send(day_count)
    await sessions.send_history()


async def run(programme: Programme) -> None:
    """Run the platform until it is told to stop.

    Raises:
        InvalidInput: An input file is wrong.
        OSError: An input file cannot be read, or the port is taken.
    """
    clock = SandboxClock(programme.clock)
    token = programme.token_file.read_text(encoding="utf-8").strip()
    simulation = build_simulation(programme, clock.now())
    generator = np.random.default_rng([programme.options.seed, 1])
    async with grpc.aio.insecure_channel(programme.gateway, options=CHANNEL_OPTIONS) as channel:
        sessions = SessionReporter(channel, token, simulation, Backoff("sessions", generator))
        meters = MeterHistoryReporter(channel, token, simulation, Backoff("meters", generator))
        telemetry = TelemetryReporter(channel, token, simulation, Backoff("telemetry", generator))
        link = DispatchLink(
            channel,
            token,
            simulation,
            clock,
            Backoff("dispatch", generator),
            on_welcome=lambda: sessions.add_plugged_in(simulation.plugged_in()),
        )
        with stop_signal() as stop:
            url, runner = await _open_door(inspection_app(simulation, link, sessions, telemetry), programme.port)
            try:
                if programme.ready is not None:
                    write_ready(programme.ready, {"url": url, "charger_count": len(simulation.chargers)})
                _LOG.info("%d chargers at %d sites, %s", len(simulation.chargers), len(simulation.sites), url)
                async with asyncio.TaskGroup() as tasks:
                    running = [
                        tasks.create_task(
                            simulate(simulation, clock, sessions, telemetry, programme.telemetry_minutes)
                        ),
                        tasks.create_task(link.run()),
                        tasks.create_task(sessions.run()),
                        tasks.create_task(report_past(meters, sessions, programme.history_days)),
                        tasks.create_task(telemetry.run()),
                    ]
                    await stop.wait()
                    for task in running:
                        task.cancel()
            finally:
                await runner.cleanup()


async def _open_door(app: web.Application, port: int) -> tuple[str, web.AppRunner]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    bound = runner.addresses[0][1]
    return f"http://127.0.0.1:{bound}", runner


def _open_book(programme: Programme, inventory: Inventory, first: DeliveryDay) -> SessionSource:
    csms = programme.options.csms
    if programme.recorded is not None:
        return RecordedBook(first, programme.recorded, own_chargers(inventory, csms))
    statistics = load_statistics(programme.statistics)
    return SessionBook(first, own_sites(inventory, csms), programme.options.seed, statistics)


def _zone_of(inventory: Inventory, csms: str) -> str:
    if not any(charger.csms == csms for charger in inventory.chargers):
        raise InvalidInput("csms", f"{csms} has no chargers in the inventory")
    return inventory.connection_points[0].time_zone


def main() -> None:
    """Run the program; wrong input ends it with one line that says what is wrong."""
    log_to_stderr()
    programme = parse_arguments()
    try:
        asyncio.run(run(programme))
    except (InvalidInput, OSError) as error:
        raise SystemExit(f"fleet: {error}") from error


if __name__ == "__main__":
    main()
