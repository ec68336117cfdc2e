"""Reports, callbacks and MQTT against the strict VTN of the sandbox, over real sockets: every body is held against the description."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gateway.openadr.v3.mqtt_listener import MqttListener, MqttSettings
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.settings import Credentials, OwnResource
from gateway.openadr.v3.subscriptions import SubscriptionKeeper
from gateway.openadr.v3.transport import HttpTransport
from gateway.openadr.v3.ven import Ven
from gateway.openadr.v3.webhook import WebhookReceiver, WebhookSettings
from gateway.sandbox.vtn3 import StrictVtn
from gateway.sandbox.vtn3_world import WorldOptions
from tests.fakes.clock import START, HandClock
from tests.openadr.v3.bench import settings
from tests.openadr.v3.brokers import Amqtt, BrokerProcess
from tests.openadr.v3.report_bench import RESOURCES, ReportBench, wants
from tests.sandbox.test_vtn3 import Driver

BOTH = pytest.mark.parametrize("dialect", list(Dialect), ids=lambda dialect: dialect.value)
ASSETS: tuple[OwnResource, ...] = RESOURCES


class HttpBench(ReportBench):
    """The bench with a VTN behind HTTP."""

    def build(self) -> Ven:
        told = self.settings
        self.vtn = HttpTransport(told.tls, max_bytes=1_000_000, timeout_s=5.0)  # type: ignore[assignment]  # real, not in memory
        return super().build()


@dataclass
class Town:
    """A VEN, its VTN, and business logic."""

    bench: HttpBench
    vtn: Driver
    clock: HandClock
    program: str

    async def event(self, **fields: Any) -> str:
        status, made = await self.vtn.ask("bl", "POST", "events", {"programID": self.program, **fields})
        assert status == 201, made
        return str(made["id"])

    async def reports(self) -> list[dict[str, Any]]:
        return list((await self.vtn.script("GET", "/objects/reports"))["objects"])

    async def until(self, is_so: Callable[[], Any], *, step_s: float = 0.0) -> None:
        """Let real time pass, and market time where wanted, until something is so."""
        async with asyncio.timeout(10.0):
            while True:
                if is_so():
                    return
                self.clock.move(seconds=step_s)
                await asyncio.sleep(0.01)

    async def live_for(self, **duration: float) -> None:
        """Move market time in steps small enough for everything due to happen."""
        left = timedelta(**duration)
        while left > timedelta(0):
            step = min(left, timedelta(minutes=1))
            self.clock.move(seconds=step.total_seconds())
            left -= step
            await asyncio.sleep(0.02)


@asynccontextmanager
async def town(dialect: Dialect, *, broker: str | None = None, **changes: Any) -> AsyncIterator[Town]:
    clock = HandClock()
    async with asyncio.TaskGroup() as tasks:
        vtn = StrictVtn(clock, tasks, WorldOptions())  # type: ignore[arg-type]  # a clock moved by hand
        async with TestClient(TestServer(vtn.app)) as client:
            driver = Driver(client, "town")
            await driver.script("PUT", "", {"dialect": dialect.value, "broker": broker})
            if dialect is Dialect.V301:
                tokens = {who: await driver.token(who, path="auth/token") for who in ("ven", "bl")}
                driver.tokens = {who: answer["access_token"] for who, (_, answer) in tokens.items()}
            told = settings(
                dialect=dialect,
                vtn_url=str(client.make_url("/town")),
                allow_plain_http=True,
                credentials=Credentials(client_id="ven", client_secret="ven-secret"),
                ven_name="v-1",
                **{"poll_interval": timedelta(minutes=1), "lost_after": timedelta(days=1), **changes},
            )
            bench = HttpBench(settings=told, clock=clock)  # type: ignore[arg-type]  # a clock moved by hand
            task = tasks.create_task(bench.ven.run())
            yield Town(bench=bench, vtn=driver, clock=clock, program=await driver.program())
            task.cancel()
            await asyncio.wait({task})
        vtn.stop()


@BOTH
async def test_b16_reports_are_taken_by_a_strict_vtn(dialect: Dialect) -> None:
    async with town(dialect, resources=ASSETS) as place:
        descriptors: list[dict[str, Any]] = [
            {"payloadType": "USAGE", "readingType": "MEAN"},
            {"payloadType": "DATA_QUALITY", "readingType": "MEAN"},
            {"payloadType": "OPERATING_STATE", "aggregate": True},
        ]
        await place.event(**wants(*descriptors, kw=[10.0, 8.0]))
        await place.live_for(minutes=33)
        await place.until(lambda: not place.bench.engine.pending_count and len(place.bench.rows()) == 2)  # type: ignore[union-attr]  # it is built
        found = await place.reports()
        assert len(found) == 2
        measured = next(one for one in found if len(one["resources"]) == 2)
        assert [[i["id"] for i in one["intervals"]] for one in measured["resources"]] == [[0, 1], [0, 1]]
        assert all(row.sent_at is not None for row in place.bench.rows())


async def test_b17_a_report_that_arrived_although_we_never_heard_so_is_there_once() -> None:
    async with town(Dialect.V310) as place:
        await place.vtn.script("POST", "/faults", {"on": "POST /reports", "do": "swallow"})
        await place.event(**wants({"payloadType": "USAGE"}, kw=[10.0]))
        await place.live_for(minutes=25)
        await place.until(lambda: [row.sent_at is not None for row in place.bench.rows()] == [True], step_s=5)
        assert len(await place.reports()) == 1


async def test_b17_a_name_that_is_taken_is_replaced() -> None:
    async with town(Dialect.V310) as place:
        event_id = await place.event(**wants({"payloadType": "USAGE"}, kw=[10.0]))
        before = {
            "eventID": event_id,
            "clientName": "v-1",
            "clientID": "ven",
            "reportName": f"{event_id}.0.0.0",
            "resources": [{"resourceName": "AGGREGATED_REPORT", "intervals": []}],
        }
        await place.vtn.ask(
            "ven", "POST", "reports", {key: value for key, value in before.items() if key != "clientID"}
        )
        await place.live_for(minutes=20)
        await place.until(lambda: [row.sent_at is not None for row in place.bench.rows()] == [True], step_s=5)
        [report] = await place.reports()
        assert report["resources"][0]["intervals"]


@BOTH
async def test_b14_a_strict_vtn_takes_the_subscription_and_its_notification_makes_us_look(dialect: Dialect) -> None:
    async with (
        town(dialect, poll_interval=timedelta(hours=1), survey_interval=timedelta(days=1)) as place,
        asyncio.TaskGroup() as tasks,
    ):
        clock, bench = place.clock, place.bench
        receiver = WebhookReceiver(
            WebhookSettings(port=0, public_url="http://127.0.0.1/x", allow_plain_http=True), clock
        )
        listening = tasks.create_task(receiver.run())
        await place.until(lambda: receiver.port is not None)
        callback = receiver.add("vtn:test", bench.ven.interest, bench.ven.wake)
        callback.url = callback.url.replace("http://127.0.0.1", f"http://127.0.0.1:{receiver.port}")
        keeper = SubscriptionKeeper(bench.ven, bench.settings, callback, clock, bench.ids)
        keeping = tasks.create_task(keeper.run())
        await place.until(lambda: keeper.health.ids, step_s=1)
        event_id = await place.event(**wants(kw=[5.0], duration="PT6H"))
        await place.until(lambda: callback.count.taken > 0)
        await place.until(lambda: event_id in bench.in_force(), step_s=0.1)
        assert clock.now() - START < timedelta(minutes=30), "before any poll was due"
        await place.vtn.script("PUT", "/manners", {"bearer": "wrong"})
        await place.event(**wants(kw=[4.0], duration="PT6H"))
        await place.until(lambda: callback.count.refused > 0)
        assert len(bench.in_force()) == 1
        keeping.cancel()
        await asyncio.wait({keeping})
        assert not (await place.vtn.script("GET", "/objects/subscriptions"))["objects"]
        listening.cancel()


async def test_b15_a_strict_vtns_broker_makes_us_look_also_after_its_restart(tmp_path: Path) -> None:
    broker: BrokerProcess = Amqtt(tmp_path)
    await broker.start()
    try:
        address = f"mqtt://127.0.0.1:{broker.port}"
        long = {"poll_interval": timedelta(hours=20), "survey_interval": timedelta(days=1)}
        async with town(Dialect.V310, broker=address, **long) as place:
            await _hear(place, broker)
    finally:
        await broker.kill()


async def _hear(place: Town, broker: BrokerProcess) -> None:
    bench = place.bench
    listener = MqttListener(
        MqttSettings(authority="vtn:test", allow_plain_mqtt=True, patience_s=2.0),
        bench.ven.client,
        lambda: (bench.ven.ven_id, (place.program,)),
        bench.ven.interest,
        bench.ven.wake,
        place.clock,
        bench.ids,
    )
    async with asyncio.TaskGroup() as tasks:
        await place.until(lambda: bench.ven.ven_id, step_s=0.1)
        task = tasks.create_task(listener.run())
        await place.until(lambda: listener.health.topics, step_s=0.1)
        first = await place.event(**wants(kw=[5.0], duration="PT6H"))
        await place.until(lambda: first in bench.in_force(), step_s=0.1)
        await broker.kill()
        await place.until(lambda: listener.health.failures > 0, step_s=0.1)
        await broker.start()
        await place.until(lambda: listener.health.topics, step_s=0.5)
        second = await place.event(**wants(kw=[4.0], duration="PT6H"))
        await place.until(lambda: second in bench.in_force(), step_s=0.1)
        assert place.clock.now() - START < timedelta(hours=6), "before any poll was due"
        task.cancel()
