"""The CSMS between a real gateway over gRPC and simulated chargers over web sockets; only the clock is moved by hand."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.client import Gateway, connect
from gateway.domain.dispatch import DispatchState
from gateway.domain.sessions import Session, SessionState
from gateway.ocpp.connector import Connector
from gateway.ocpp.program import Csms, assemble
from gateway.ocpp.settings import ConnectorSettings, CsmsSettings, ListenSettings, StationSettings
from gateway.rpc.server import RpcServer
from gateway.sandbox.charge_point import ChargePoint, ChargerModel, external_limit
from gateway.sandbox.charge_point_profiles import Quirks
from gateway.sandbox.charge_point_wire import TOKEN
from gateway.v1 import signals_service_pb2 as signals
from tests.fakes.wired import TENANT, Wired, token_of, wired
from tests.ocpp.csms_scene import QUICK, until

CHARGER = "site-01/ev000"
WAIT = 5.0


@dataclass
class Chain:
    """Gateway, CSMS and charger."""

    house: Wired
    server: RpcServer
    csms: Csms
    charger: ChargePoint
    operator: Gateway
    address: str

    @property
    def clock(self) -> Any:
        return self.house.scene.clock

    async def later(self, **duration: float) -> None:
        self.clock.move(**duration)
        await self.quiet()

    async def quiet(self) -> None:
        count = -1
        while count != len(self.charger.calls):
            count = len(self.charger.calls)
            await asyncio.sleep(0.1)

    async def plug(self) -> None:
        await self.charger.plug()
        await until(lambda: self.sessions(SessionState.PLUGGED_IN), "the gateway knows the session")
        # An empty charger may be told to pause first: what is waited for is the car's own limit.
        await until(lambda: self.charger.limit_a() >= 5.9, "the car may charge")
        await until(lambda: self.state() == DispatchState.APPLIED, "its first limit is applied")

    def sessions(self, state: SessionState) -> list[Session]:
        rows = self.house.scene.store.all(Session, TENANT)
        return [row for row in rows if row.charger == CHARGER and row.state is state]

    def state(self) -> int:
        book = self.house.services.follower.book(TENANT)
        return int(book.state[book.charger_ids.index(CHARGER)]) if book.charger_ids else -1

    async def set_limit(self, kw: float, minutes: float = 60.0) -> None:
        request = signals.SetManualLimitRequest(
            request_id=f"limit-{kw}", node_id="site-01", max_power_kw=kw, reason="test"
        )
        request.expire_time.FromDatetime(self.clock.now() + timedelta(minutes=minutes))
        await self.operator.signals.SetManualLimit(request, timeout=WAIT)


@asynccontextmanager
async def chain(folder: Path, version: str = "1.6", quirk: str = "", **station: Any) -> AsyncIterator[Chain]:
    house = await wired()
    server = house.server()
    port = await server.start("127.0.0.1:0", None)
    address = f"127.0.0.1:{port}"
    entry = StationSettings(identity="CP-1", connectors=(ConnectorSettings(id=1, charger=CHARGER),), **station)
    settings = CsmsSettings(
        state_folder=folder,
        listen=ListenSettings(port=0),
        times=QUICK.model_copy(update={"telemetry": 5.0, "meter_interval": 10}),
        stations=(entry,),
    )
    csms = assemble(settings, house.scene.clock)
    async with (
        connect(address, token=token_of(TENANT, "olga")) as operator,
        connect(address, token=token_of(TENANT, "csms")) as gateway,
        csms.running(gateway) as ocpp_port,
        asyncio.TaskGroup() as tasks,
    ):
        model = ChargerModel(version=version, quirks=Quirks.named([quirk] if quirk else []))
        charger = ChargePoint(f"ws://127.0.0.1:{ocpp_port}/CP-1", model, house.scene.clock)
        running = [tasks.create_task(charger.run()), tasks.create_task(house.services.dispatcher.run())]
        try:
            await until(lambda: csms.dispatch.is_connected, "the gateway accepted the stream")
            await until(lambda: charger.profiles.history, "the fallback was pushed")
            yield Chain(house, server, csms, charger, operator, address)
        finally:
            for task in running:
                task.cancel()
            await server.stop(0.0)


async def test_a_limit_of_the_gateway_reaches_the_charger_and_the_gateway_knows(tmp_path: Path) -> None:
    async with chain(tmp_path) as world:
        await world.plug()
        assert world.charger.limit_a() >= 5.9
        await world.set_limit(0.0)
        await until(lambda: world.charger.limit_a() == 0.0, "the charger pauses")
        await until(lambda: world.state() == DispatchState.APPLIED, "the gateway knows")
        await world.later(seconds=5)
        assert world.charger.current_a() == 0.0


@pytest.mark.parametrize(
    ("version", "quirk"),
    [("1.6", "no_composite"), ("2.0.1", "no_composite"), ("2.1", "no_composite"), ("1.6", "ignores_expiry")],
)
async def test_g4_without_the_gateway_every_charger_is_at_its_fallback_by_the_end_of_the_lease(
    tmp_path: Path, version: str, quirk: str
) -> None:
    async with chain(tmp_path, version, quirk) as world:
        await world.plug()
        await world.set_limit(0.0)
        await until(lambda: world.charger.limit_a() == 0.0, "the charger pauses")
        await until(lambda: world.state() == DispatchState.APPLIED, "the gateway knows")
        lease_s = world.house.settings.dispatch.lease
        await world.server.stop(0.0)
        await until(lambda: not world.csms.dispatch.is_connected, "the stream is gone")
        await world.later(seconds=lease_s - 5.0)
        assert world.charger.limit_a() == 0.0
        await world.later(seconds=10.0)
        assert world.charger.limit_a() == pytest.approx(6.0), "its fallback is 4.14 kW"


async def test_sessions_and_measurements_arrive_and_no_driver_is_known_to_anybody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="gateway")
    caplog.set_level(logging.DEBUG, logger="ocpp")
    async with chain(tmp_path, "1.6") as world:
        await world.plug()
        for _ in range(6):
            await world.later(seconds=10)
        view = world.house.services.fleet.view(TENANT)
        place = view.tree.charger_ids.index(CHARGER)
        await until(lambda: world.house.services.fleet.view(TENANT).power_kw[place] > 3.9, "its power is known")
        await world.charger.unplug()
        await until(lambda: not world.sessions(SessionState.PLUGGED_IN), "the gateway knows that the car left")
        [session] = [row for row in world.sessions(SessionState.ENDED) if row.id.startswith("session-")]
        assert session.delivered_kwh > 0.03
        assert session.departure == world.clock.now()
        everything = repr(world.house.scene.store.all(Session, TENANT)) + caplog.text
        everything += "".join(path.read_text() for path in tmp_path.iterdir())
        assert TOKEN not in everything


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_o39_what_a_charger_announces_binds_and_leaves_again(tmp_path: Path, version: str) -> None:
    async with chain(tmp_path, version) as world:
        await world.plug()
        await world.charger.announce(external_limit(1, 3.0, "SO", world.clock.now()))
        held = world.house.services.signals.stated_by
        await until(lambda: held(TENANT, f"charger:{CHARGER}:SO"), "the gateway knows the limit")
        [limit] = held(TENANT, f"charger:{CHARGER}:SO")
        assert limit.max_kw == pytest.approx(3.0 * 0.69)
        await until(lambda: world.charger.limit_a() == 0.0, "under the minimum it pauses")
        await world.charger.announce({"chargingLimitSource": "SO", "evseId": 1}, is_cleared=True)
        await until(lambda: not [x for x in held(TENANT, f"charger:{CHARGER}:SO") if x.withdrawn_at is None])


async def test_o39_an_evse_whose_limit_is_cleared_stays_under_what_the_same_source_says_of_the_station(
    tmp_path: Path,
) -> None:
    async with chain(tmp_path, "2.0.1") as world:
        await world.plug()
        held = world.house.services.signals.stated_by
        await world.charger.announce(external_limit(0, 8.0, "SO", world.clock.now()))
        await world.charger.announce(external_limit(1, 3.0, "SO", world.clock.now()))
        await until(lambda: world.charger.limit_a() == 0.0, "under the minimum it pauses")
        await world.charger.announce({"chargingLimitSource": "SO", "evseId": 1}, is_cleared=True)
        await until(lambda: not [x for x in held(TENANT, f"charger:{CHARGER}:SO") if x.withdrawn_at is None])
        [limit] = [x for x in held(TENANT, f"station:{CHARGER}:SO") if x.withdrawn_at is None]
        assert limit.max_kw == pytest.approx(8.0 * 0.69)


async def test_a_charger_that_is_away_is_refused_at_once_and_has_the_limit_when_it_is_back(tmp_path: Path) -> None:
    async with chain(tmp_path) as world:
        await world.plug()
        station = world.csms.stations["CP-1"]
        url, world.charger._url = world.charger._url, "ws://127.0.0.1:9/CP-1"
        await world.charger.hang_up()
        await until(lambda: not station.is_connected, "the charger is away")
        await world.set_limit(0.0)
        await until(lambda: world.state() == DispatchState.REJECTED, "the gateway knows that it has not the limit")
        world.charger._url = url
        await until(lambda: station.is_connected, "the charger is back")
        await world.later(seconds=4)
        await until(lambda: world.charger.limit_a() == 0.0, "it has the limit")
        await until(lambda: world.state() == DispatchState.APPLIED, "the gateway knows")


async def test_a_restart_of_the_csms_resumes_the_stream_where_it_was(tmp_path: Path) -> None:
    async with chain(tmp_path) as world:
        await world.plug()
        await until((tmp_path / "uplink.json").exists)
        record = world.csms.dispatch._record

        def is_kept() -> bool:
            written = assemble(world.csms.settings, world.clock).dispatch._record.resume_token
            return bool(record.resume_token) and written == record.resume_token

        await until(is_kept, "the place in the stream is kept")
        again = assemble(world.csms.settings, world.clock)
        assert again.stations["CP-1"].connectors[1].facts is not None


def sequence_of(connector: Connector) -> float:
    """Return the number of the command that a connector has; infinite without one."""
    command = connector.record.command
    return float("inf") if command is None else command.sequence


async def test_a_gateway_that_counts_anew_is_obeyed(tmp_path: Path) -> None:
    async with chain(tmp_path) as world:
        await world.plug()
        connector = world.csms.stations["CP-1"].connectors[1]
        assert connector.record.command is not None
        connector.record.command.sequence = 10**9
        world.csms.dispatch._record.resume_token = "1000000000@another-platform"
        await world.server.stop(0.0)
        await until(lambda: not world.csms.dispatch.is_connected, "the stream is gone")
        again = world.house.server()
        await again.start(world.address, None)
        try:
            await until(lambda: world.csms.dispatch.is_connected, "the stream is back", 2000)
            await world.set_limit(0.0)
            await until(lambda: world.charger.limit_a() == 0.0, "the charger pauses")
            await until(lambda: sequence_of(connector) < 10**9, "the new count holds")
        finally:
            await again.stop(0.0)
