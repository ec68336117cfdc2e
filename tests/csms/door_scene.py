"""Doors over real sockets against peers in the same process, with services behind them and a clock moved by hand."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
from aiohttp import web

from gateway.csms.delivery import DoorPorts
from gateway.csms.listening import DoorListener, ListenSettings, path_of
from gateway.csms.ocpi.client import OcpiClient
from gateway.csms.ocpi.door import OcpiDoor
from gateway.csms.ocpi.receiver import OcpiReceiver
from gateway.csms.ocpi.registration import OcpiPeer
from gateway.csms.ocpi.settings import OcpiSettings
from gateway.domain.dispatch import DispatchState
from gateway.domain.topology import Charger, EnforcementClass
from gateway.outbound import AddressRules, ClientTls, PeerHttp
from gateway.sandbox.ocpi_cpo import CpoOptions, OcpiCpo
from gateway.sandbox.ocpi_world import Car
from gateway.sealing import Seal
from tests.services.scene import CSMS, PLATFORM, TENANT, Scene, tree

TOKEN_A = "token-a-of-the-test"
SEAL = Seal("k" * 40)
RULES = AddressRules(allow_plain_on_loopback=True)
PATIENCE_S = 5.0
LEASE = timedelta(minutes=15)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def until(condition: Callable[[], bool], what: str = "it") -> None:
    """Wait in real time until something is the case."""
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{what} never happened")


@asynccontextmanager
async def serving(app: web.Application, port: int = 0) -> AsyncIterator[str]:
    """Serve an application on loopback and give out its root."""
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(*jobs: Callable[[], Any]) -> AsyncIterator[None]:
    """Let jobs run beside the test."""
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(job()) for job in jobs]
        yield
        for task in started:
            task.cancel()


def rows(enforcement: EnforcementClass, count: int = 2) -> list[object]:
    """A tree of so many chargers per circuit, all of one class."""
    return [
        replace(row, enforcement=enforcement, fallback_kw=0.0) if isinstance(row, Charger) else row
        for row in tree(count)
    ]


class Behind:
    """The services behind a door and what tests ask of them."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.ports = DoorPorts(store=scene.store, clock=scene.clock, ids=scene.ids, principal=PLATFORM)

    async def step(self) -> None:
        """Let the dispatcher look once."""
        await self.scene.services.dispatcher.step(TENANT)
        await self.scene.services.follower.flush()

    async def pass_time(self, seconds: float, step: float = 5.0) -> None:
        """Let market time pass, and the sockets work in between."""
        for _ in range(round(seconds / step)):
            self.scene.clock.move(seconds=step)
            await asyncio.sleep(0.02)
            await self.step()
            await asyncio.sleep(0.02)

    async def steps_until(self, condition: Callable[[], bool], what: str = "it") -> None:
        """Let the dispatcher look, without time passing, until something is the case."""
        for _ in range(int(PATIENCE_S / 0.02)):
            await self.step()
            if condition():
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{what} never happened")

    def state(self, charger: str) -> DispatchState:
        return self.scene.state(charger)

    def counted_kw(self, charger: str) -> float:
        """What the dispatcher counts a charger at, without measurements."""
        book = self.scene.services.follower.book(TENANT)
        view = self.scene.services.tracker.view(TENANT)
        now, rules = self.scene.clock.now().timestamp(), self.scene.services.follower.rules
        counted = book.counted_kw(view.lapsed_kw, np.full(len(view.max_kw), np.nan), now, rules)
        return float(counted[book.charger_ids.index(charger)])


@dataclass
class OcpiScene(Behind):
    """An OCPI operator of the sandbox on one side, the services on the other."""

    scene: Scene
    door: OcpiDoor
    cpo: OcpiCpo
    cpo_url: str
    root: str

    def __post_init__(self) -> None:
        super().__init__(self.scene)

    async def plug(self, evse: str, **changes: Any) -> Car:
        """Begin a session and tell the gateway."""
        car = self.cpo.world.plug(evse, **changes)
        await self.cpo.tell(car)
        return car

    def profiles(self, car: Car) -> list[dict[str, Any]]:
        """Profiles that a car was sent, oldest first."""
        return [b["charging_profile"] for m, s, b in self.cpo.requests if (m, s) == ("PUT", car.session) and b]


def ocpi_door(scene: Scene, root: str, versions_url: str | None, version: str, **settings: Any) -> OcpiDoor:
    """A door as the app makes it."""
    ports = DoorPorts(store=scene.store, clock=scene.clock, ids=scene.ids, principal=PLATFORM)
    http = PeerHttp(RULES, ClientTls(), max_bytes=1_000_000, timeout_s=2.0)
    told = OcpiSettings(version=version, root_url=root, token_a=TOKEN_A, versions_url=versions_url, **settings)
    peer = OcpiPeer(settings=told, ports=ports, client=OcpiClient(http, scene.ids), rules=RULES, seal=SEAL)
    return OcpiDoor(peer, scene.services.dispatcher, scene.services.tracker, lease=LEASE)


@asynccontextmanager
async def ocpi_scene(
    version: str = "2.2.1", *, they_register: bool = False, plugged: Sequence[str] = (), **settings: Any
) -> AsyncIterator[OcpiScene]:
    """A registered operator with four charge points, and sessions at those that are plugged from the beginning."""
    scene = Scene()
    await scene.store.seed(TENANT, *rows(EnforcementClass.C))
    await scene.load()
    options = CpoOptions(token_a=TOKEN_A, version=version, evses=tuple(f"ch-{s}-{k}" for s in (1, 2) for k in (0, 1)))
    cpo = OcpiCpo(options, scene.clock)
    for evse in plugged:
        cpo.world.plug(evse)
    port = free_port()
    listen = ListenSettings(port=port, public_url=f"http://127.0.0.1:{port}", allow_plain_on_loopback=True)
    root = f"{listen.root_of(CSMS)}/ocpi"
    async with serving(cpo.app()) as cpo_url:
        cpo.listens_at(cpo_url)
        door = ocpi_door(scene, root, None if they_register else f"{cpo_url}/ocpi/versions", version, **settings)
        receiver = OcpiReceiver(door, door.settings, scene.clock, f"{path_of(CSMS)}/ocpi")
        listener = DoorListener(listen)
        listener.add(receiver.routes())
        async with running(listener.run):
            await until(lambda: listener.port is not None, "listening")
            if they_register:
                async with running(door.run):
                    await cpo.register(f"{root}/versions")
                    await until(lambda: door._delivery is not None, "the link")
                    yield OcpiScene(scene, door, cpo, cpo_url, root)
            else:
                async with running(door.run):
                    await until(lambda: door.standing().is_connected, "registration")
                    await until(lambda: door._delivery is not None, "the link")
                    yield OcpiScene(scene, door, cpo, cpo_url, root)
