"""Runs the CSMS: chargers on one side, the gateway on the other, neither waits for the other."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from gateway.client import Gateway, connect
from gateway.clock import FileClock, SystemClock
from gateway.domain.errors import InvalidInput
from gateway.ocpp.dispatch_uplink import DispatchUplink
from gateway.ocpp.journal import Journal
from gateway.ocpp.report_uplink import ReportUplink
from gateway.ocpp.server import ChargerServer
from gateway.ocpp.settings import CsmsSettings, GatewaySettings
from gateway.ocpp.station import Station
from gateway.ocpp.surroundings import Clock
from gateway.ocpp.words import Answer

_LOG = logging.getLogger(__name__)
_SLOWEST_FACTOR = 10.0
"""Refusals that need a person are tried again this much more slowly."""
_OTHERS_MAY_READ = 0o077
_PASSING = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)


class _Desk:
    """Passes what stations report to both uplinks, which are there once all stations are."""

    def __init__(self) -> None:
        self.dispatch: DispatchUplink | None = None
        self.reports: ReportUplink | None = None

    def settled(self, charger: str, sequence: int, answer: Answer) -> None:
        if self.dispatch is not None:
            self.dispatch.settled(charger, sequence, answer)

    def has_news(self) -> None:
        if self.reports is not None:
            self.reports.has_news()


@dataclass(frozen=True, kw_only=True, slots=True)
class Csms:
    """All parts of one CSMS."""

    settings: CsmsSettings
    stations: dict[str, Station]
    """By identity."""
    server: ChargerServer
    dispatch: DispatchUplink
    reports: ReportUplink

    @asynccontextmanager
    async def running(self, gateway: Gateway) -> AsyncIterator[int]:
        """Serve chargers and the gateway; gives the port that chargers connect to."""
        async with self.server.listening() as port, asyncio.TaskGroup() as tasks:
            calls: tuple[Callable[[Gateway], Awaitable[None]], ...] = (
                self._learn_and_converse,
                self.reports.tell_news,
                self.reports.stream_telemetry,
            )
            running = [tasks.create_task(self._again_and_again(call, gateway)) for call in calls]
            yield port
            for task in running:
                task.cancel()

    async def _learn_and_converse(self, gateway: Gateway) -> None:
        await self.reports.learn(gateway)
        await self.dispatch.converse(gateway)

    async def _again_and_again(self, call: Callable[[Gateway], Awaitable[None]], gateway: Gateway) -> None:
        pause, said = self.settings.times.reconnect_real, None
        while True:
            try:
                await call(gateway)
                wait, said = pause, None
            except grpc.aio.AioRpcError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError from error  # gRPC answers a cancelled task with an error of its own
                is_passing = error.code() in _PASSING
                if error.code() is not said:
                    _LOG.warning("the gateway: %s %s; it is called again", error.code().name, error.details())
                    said = error.code()
                wait = pause if is_passing else pause * _SLOWEST_FACTOR
            await asyncio.sleep(wait)


def assemble(settings: CsmsSettings, clock: Clock) -> Csms:
    """Return the parts of a CSMS, with what was kept."""
    journal, desk = Journal(settings.state_folder), _Desk()
    stations = {entry.identity: Station(entry, settings.times, clock, journal, desk) for entry in settings.stations}
    record = journal.uplink()
    by_charger = {c.charger: station for station in stations.values() for c in station.connectors.values()}
    desk.dispatch = DispatchUplink(
        clock=clock, times=settings.times, journal=journal, record=record, stations=by_charger
    )
    desk.reports = ReportUplink(
        clock=clock, times=settings.times, journal=journal, record=record, stations=list(stations.values())
    )
    return Csms(
        settings=settings,
        stations=stations,
        server=ChargerServer(settings, stations, clock),
        dispatch=desk.dispatch,
        reports=desk.reports,
    )


def clock_of(settings: CsmsSettings) -> Clock:
    """Return the clock that the settings name."""
    return SystemClock() if settings.clock_file is None else FileClock(settings.clock_file)


@asynccontextmanager
async def gateway_of(settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """Open the channel to the gateway.

    Raises:
        InvalidInput: A file is missing, or the token's file can be read by others.
    """
    token = "" if settings.token_file is None else _secret("gateway.token_file", settings.token_file)
    credentials = None
    if settings.ca is not None:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_bytes("gateway.ca", settings.ca),
            private_key=None if settings.private_key is None else _bytes("gateway.private_key", settings.private_key),
            certificate_chain=None
            if settings.certificate is None
            else _bytes("gateway.certificate", settings.certificate),
        )
    async with connect(settings.address, token=token, credentials=credentials) as gateway:
        yield gateway


async def serve(settings: CsmsSettings, stop: asyncio.Event, on_ready: Callable[[int], None]) -> None:
    """Run until told to stop.

    Args:
        settings: The whole file.
        stop: Set from outside.
        on_ready: Told the port that chargers connect to, once it listens.
    """
    csms = assemble(settings, clock_of(settings))
    async with gateway_of(settings.gateway) as gateway, csms.running(gateway) as port:
        on_ready(port)
        await stop.wait()


def _secret(field: str, path: Path) -> str:
    secret = _bytes(field, path).decode("utf-8", "replace").strip()
    if path.stat().st_mode & _OTHERS_MAY_READ:
        raise InvalidInput(field, f"{path} must be readable by its owner only (chmod 600)")
    if not secret:
        raise InvalidInput(field, f"{path} is empty")
    return secret


def _bytes(field: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(field, f"{path} cannot be read ({error.strerror})") from error
