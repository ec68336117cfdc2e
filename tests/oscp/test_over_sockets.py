"""Our room and the sandbox provider over real sockets on a real loop; market time is moved by hand (o4, o5, o8, o10, o16, o18, C2)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from fastapi import FastAPI

from gateway.app.capacity_partners import DOOR_PATH
from gateway.app.pages import PageServer
from gateway.domain.oscp import LinkState
from gateway.oscp.room import OscpRoom, OscpUnit
from gateway.oscp.site import create_door
from gateway.outbound import AddressRules, ClientTls, PeerHttp
from gateway.sandbox.capacity_provider import application, ready_document
from gateway.sandbox.capacity_provider_world import CapacityProvider
from gateway.settings import WebSettings
from tests.oscp.scene import TOKEN_A, Scene, block, provider_settings

WEB = WebSettings(host="127.0.0.1", port=0, allow_plain_on_loopback=True)


@dataclass
class Town:
    """The gateway's room and a provider that reach each other."""

    scene: Scene
    provider: CapacityProvider
    control: str
    fp_url: str
    http: aiohttp.ClientSession

    async def order(self, path: str, body: Any = None, method: str = "POST") -> Any:
        async with self.http.request(method, f"{self.control}/{path}", json=body or {}) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def register(self) -> Any:
        return await self.order("register", {"fp_url": self.fp_url, "token": TOKEN_A})

    async def log(self) -> list[Any]:
        async with self.http.get(f"{self.control}/log") as answer:
            return list((await answer.json())["received"])

    async def heard(self, path: str) -> list[Any]:
        return [one for one in await self.log() if one["path"].endswith(f" {path}")]

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait, in real time, until something holds: sockets take as long as they take."""
        async with asyncio.timeout(10):
            while not await holds():
                await asyncio.sleep(0.01)

    async def until_heard(self, path: str, count: int = 1) -> None:
        async def holds() -> bool:
            return len(await self.heard(path)) >= count

        await self.until(holds)

    async def until_state(self, state: LinkState) -> None:
        async def holds() -> bool:
            return self.scene.link.state is state

        await self.until(holds)


@asynccontextmanager
async def town(*, is_strict: bool = False) -> AsyncIterator[Town]:
    """Start both on free ports of loopback."""
    site = FastAPI(openapi_url=None)
    server = PageServer(site, WEB)
    root = server.bind()
    rules = AddressRules(allow_plain_on_loopback=not is_strict)
    told = provider_settings(public_url=f"{root}{DOOR_PATH}", rules=rules)
    scene = Scene(told)
    calls = PeerHttp(told.rules, ClientTls(), max_bytes=65_536, timeout_s=2.0)
    unit = OscpUnit(scene.unit.peer.around, calls)
    scene.units = (unit,)
    scene.room = OscpRoom(units=scene.units)
    provider = CapacityProvider(scene.clock)
    runner = web.AppRunner(application(provider), shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    control = str(ready_document(provider, f"http://127.0.0.1:{runner.addresses[0][1]}")["control_url"])
    await scene.begin()
    site.mount(DOOR_PATH, create_door(scene.room))
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        serving, living = tasks.create_task(server.serve()), tasks.create_task(unit.run())
        while not server._server.started:
            await asyncio.sleep(0.005)
        try:
            yield Town(scene, provider, control, f"{root}{DOOR_PATH}/fp/2.0", http)
        finally:
            living.cancel()
            await runner.cleanup()
            server._server.should_exit = True
            await asyncio.wait({serving}, timeout=5)


async def test_o4_o8_o16_o18_the_sandbox_provider_registers_limits_and_goes_silent() -> None:
    async with town() as here:
        assert [one["status"] for one in await here.register()] == [204]
        await here.until_state(LinkState.REGISTERED)
        [ours] = await here.heard("register")
        assert (ours["status"], ours["body"]["version_url"]) == (204, [{"version": "2.0", "base_url": here.fp_url}])
        assert [one["status"] for one in await here.order("handshake", {"heartbeat_s": 60})] == [204]
        await here.until_heard("handshake_acknowledge")
        here.scene.clock.move(seconds=1)
        await here.until_heard("heartbeat")
        assert {one["status"] for one in await here.log()} == {204}
        assert [one["status"] for one in await here.order("heartbeat", {"promise_s": 180})] == [204]
        sent = {"blocks": [block(50, 0, 30), block(40, 30, 60)], "segments": 2, "order": [2, 1]}
        assert [one["status"] for one in await here.order("forecast", sent)] == [204, 204]
        assert (await here.scene.resolved()).kw == 50.0
        fallback = {"type": "FALLBACK_CONSUMPTION", "blocks": [block(20, 0, 600)]}
        assert [one["status"] for one in await here.order("forecast", fallback)] == [204]
        here.scene.clock.move(seconds=181)
        await here.until_state(LinkState.OFFLINE)
        assert (await here.scene.resolved()).kw == 20.0
        assert [one["status"] for one in await here.order("heartbeat", {"promise_s": 180})] == [204]
        assert (await here.scene.resolved()).kw == 50.0
        assert [one["status"] for one in await here.order("register", method="DELETE")] == [204]
        assert [one["status"] for one in await here.order("heartbeat", {"promise_s": 180})] == [401]


async def test_o5_a_provider_whose_register_hangs_gets_its_204_at_once_and_the_same_token_later() -> None:
    async with town() as here:
        await here.order("faults", {"on": "register", "do": "hang", "seconds": 30, "times": 1})
        assert [one["status"] for one in await here.register()] == [204]

        async def has_failed() -> bool:
            return here.scene.unit.outbox.failures == 1

        await here.until(has_failed)
        assert here.scene.link.state is LinkState.UNREGISTERED
        here.scene.clock.move(seconds=5)
        await here.until_state(LinkState.REGISTERED)


async def test_c2_a_redirect_is_not_followed() -> None:
    async with town() as here:
        elsewhere = {"Location": f"{here.control}/log"}
        await here.order("faults", {"on": "register", "status": 307, "headers": elsewhere})
        assert [one["status"] for one in await here.register()] == [204]

        async def is_settled() -> bool:
            return any(one.outcome == "HTTP 307" for one in await here.scene.messages())

        await here.until(is_settled)
        assert len(await here.log()) == 1
        assert here.scene.link.state is LinkState.UNREGISTERED


async def test_c2_an_address_on_this_machine_is_refused_unless_the_settings_allow_it() -> None:
    async with town(is_strict=True) as here:
        assert [one["status"] for one in await here.register()] == [400]
        assert await here.log() == []
        assert await here.scene.messages() == []
