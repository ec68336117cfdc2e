"""Case 15: a secret that opens a market's sources appears nowhere: not in rows, logs, errors, metrics, traces, exports or pages."""

import asyncio
import time as real
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aiohttp
import grpc
import pytest
from aiohttp import web
from typer.testing import CliRunner

from gateway.app.accounts import NewAccount
from gateway.app.gateway import open_gateway
from gateway.app.offline import add_accounts, export_audit
from gateway.app.supervise import run_jobs
from gateway.cli.commands import app
from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.clock import ClockAnchor, SandboxClock, write_anchor
from gateway.sandbox.market_sources import create_app
from gateway.settings import Settings, load_settings
from gateway.v1 import market_data_service_pb2 as pb
from gateway.v1 import market_data_service_pb2_grpc as pb_grpc

CANARY = "canary-7f3a9c"
START = datetime(2026, 10, 2, 12, 50, tzinfo=UTC)
DAY = DeliveryDay(day=START.date(), zone="Europe/Brussels")
SPEED = 300.0
FAULTS = ("status-503", "html", "truncated", "bomb-xml", "charset", "status-500", "reset", "gzip", "bomb-zip")
_MOST_LOOKS = 200
_ENOUGH_REQUESTS = 8
LOOKED_AT = ("market-data", "system-data", "pages", "rpc")


@dataclass
class Place:
    """A gateway's files and the sources that it asks."""

    folder: Path
    sources: str

    def secret(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def settings(self) -> Path:
        token = self.secret("token", CANARY)
        path = self.folder / "gateway.toml"
        path.write_text(
            f"""tenants = ["demo"]
log_level = "DEBUG"
clock_file = "{self.folder / "clock.json"}"
ready_file = "{self.folder / "ready.json"}"
[store]
url = "sqlite:///{self.folder / "rows.sqlite"}"
[rpc]
port = 0
allow_plain_on_loopback = true
[web]
port = 0
tenant = "demo"
allow_plain_on_loopback = true
[market]
zone = "BE"
time_zone = "Europe/Brussels"
entsoe_url = "{self.sources}/entsoe/api"
entsoe_token_file = "{token}"
system = ["load", "wind-solar-forecast"]
history_days = 2
carbon_url = "{self.sources}/maps"
carbon_token_file = "{token}"
[[market.feeds]]
name = "energy-charts"
url = "{self.sources}/energy-charts"
"""
        )
        return path


@asynccontextmanager
async def sources(clock_path: Path, *, token: str) -> AsyncIterator[str]:
    runner = web.AppRunner(create_app(SandboxClock(clock_path), 3, token), shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def break_sources(url: str, *doors: str) -> None:
    async with aiohttp.ClientSession() as session:
        for kind in FAULTS:
            for door in doors:
                fault = {"door": door, "kind": kind, "count": 1}
                async with session.post(f"{url}/control/faults", json=fault) as response:
                    assert response.status == 201


async def wait_for_requests(url: str) -> None:
    """Return once several faults have been met and more has been asked for."""
    async with aiohttp.ClientSession() as session:
        for _ in range(_MOST_LOOKS):
            async with session.get(f"{url}/control/requests") as response:
                asked: dict[str, int] = await response.json()
            entsoe = sum(count for name, count in asked.items() if "/entsoe/" in name)
            if entsoe > 0 and sum(asked.values()) > _ENOUGH_REQUESTS:
                return
            await asyncio.sleep(0.05)


async def run_with(settings: Settings, url: str) -> dict[str, str]:
    """Run the market's jobs and the doors until the sources were asked enough; return what every door says meanwhile."""
    seen: dict[str, str] = {}
    async with open_gateway(settings) as jobs, asyncio.TaskGroup() as group:
        tasks = [group.create_task(run_jobs([job])) for job in jobs if job.name in LOOKED_AT]
        await wait_for_requests(url)
        assert settings.ready_file is not None
        addresses = settings.ready_file.read_text()
        rpc, page = (addresses.split(f'"{name}": "')[1].split('"')[0] for name in ("rpc", "page"))
        seen |= await read_pages(page)
        seen |= await read_rpc(rpc)
        for task in tasks:
            task.cancel()
    return seen


async def read_pages(url: str) -> dict[str, str]:
    seen: dict[str, str] = {}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.post(f"{url}/login", data={"actor": "tara", "password": "a password of tara"}) as answer:
            seen["login"] = await answer.text()
        for path in ("/metrics", "/market", "/trader", "/"):
            async with http.get(f"{url}{path}", headers={"Accept": "text/html"}) as answer:
                seen[path] = await answer.text()
    return seen


async def read_rpc(address: str) -> dict[str, str]:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = pb_grpc.MarketDataServiceStub(channel)
        request = pb.GetPricesRequest(
            zone="BE", delivery_day=DAY.next().day.isoformat(), product=pb.PRICE_PRODUCT_DAY_AHEAD_SDAC
        )
        metadata = (("authorization", "Bearer tara-token"),)
        try:
            return {"rpc": str(await stub.GetPrices(request, metadata=metadata))}
        except grpc.RpcError as error:
            return {"rpc": repr(error)}


def bytes_of(folder: Path) -> bytes:
    """Everything in the gateway's folder but the secret itself."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file() and path.name != "token")


@pytest.mark.parametrize("is_refused", [False, True], ids=["broken sources", "refused token"])
async def test_m15_a_canary_is_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str], *, is_refused: bool) -> None:
    clock_path = tmp_path / "clock.json"
    write_anchor(clock_path, ClockAnchor(market_anchor=START, monotonic_anchor=real.monotonic(), speed=SPEED))
    async with sources(clock_path, token="another" if is_refused else CANARY) as url:
        place = Place(tmp_path, url)
        config = place.settings()
        settings = load_settings(config)
        password, token = place.secret("tara", "a password of tara"), place.secret("bearer", "tara-token")
        account = NewAccount(tenant="demo", actor="tara", roles=("trader",), password_file=password, token_file=token)
        await add_accounts(settings, [account])
        # A refused token must be met at once; otherwise everything breaks first.
        await break_sources(url, "energy-charts", "maps", *(() if is_refused else ("entsoe",)))
        seen = await run_with(settings, url)
        seen["audit"] = str(await export_audit(settings, tmp_path / "audit.jsonl"))
        out = str(tmp_path / "prices.csv")
        day = DAY.next().day.isoformat()
        command = partial(CliRunner().invoke, app)
        for arguments in (["show", day], ["export", day, day, out], ["doctor"], ["compare", day]):
            done = await asyncio.to_thread(command, ["market", *arguments, "--config", str(config)])
            seen[arguments[0]] = f"{done.output}{done.exception!r}"
    logged = capfd.readouterr()
    seen["logs"] = logged.out + logged.err
    assert "market_day" in seen["logs"]
    assert ("entsoe_token_refused" in seen["logs"]) is is_refused
    assert "gateway_rpc_calls" in seen["/metrics"]
    assert [name for name, text in seen.items() if CANARY in text] == []
    assert CANARY.encode() not in bytes_of(tmp_path)
