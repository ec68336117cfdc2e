"""The stream to a charging platform over a real connection."""

import asyncio
import math
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from gateway.client import connect
from gateway.domain.dispatch import DispatchState
from gateway.services.follow_dispatch import Follower
from gateway.v1 import dispatch_service_pb2 as pb
from gateway.v1 import fleet_service_pb2, signals_service_pb2
from tests.fakes.wired import TENANT, Wired, token_of, wired
from tests.rpc.conftest import Caller
from tests.rpc.refusals import Refusal, refusal
from tests.rpc.test_services import limit_request, session_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def running(house: Wired) -> AsyncIterator[Wired]:
    """Let the dispatcher act at every wake-up."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(house.services.dispatcher.run())
        yield house
        task.cancel()


def hello(house: Wired, token: str = "", chargers: list[str] | None = None) -> pb.ConnectRequest:
    ids = house.chargers if chargers is None else chargers
    return pb.ConnectRequest(hello=pb.Hello(charger_ids=ids, resume_token=token))


@asynccontextmanager
async def connected(call: Caller, house: Wired, token: str = "") -> AsyncIterator[tuple[Any, pb.Welcome]]:
    async with call("csms") as gateway:
        stream = gateway.dispatch.Connect()
        await stream.write(hello(house, token))
        welcome = await stream.read()
        assert welcome.WhichOneof("payload") == "welcome"
        yield stream, welcome.welcome
        stream.cancel()


async def refused(stream: Any) -> Refusal:
    """Read on until the stream is refused; one that ends well is a failure."""
    try:
        while (await stream.read()) is not grpc.aio.EOF:
            pass
    except grpc.RpcError as error:
        return refusal(error)
    pytest.fail("the stream ended well")


async def limits_of(stream: Any) -> pb.Limits:
    async with asyncio.timeout(5):
        while True:
            message = await stream.read()
            assert message is not grpc.aio.EOF
            if message.HasField("limits"):
                limits: pb.Limits = message.limits
                return limits


async def plug_cars(house: Wired, call: Caller) -> None:
    """Let a car be at each of the chargers; without one the limit is zero anyway."""
    sessions = [session_of(house, n) for n in range(len(house.chargers))]
    request = fleet_service_pb2.ReportSessionsRequest(request_id="cars", sessions=sessions)
    async with call("csms") as gateway:
        await gateway.fleet.ReportSessions(request, timeout=5)


async def settle(house: Wired, state: DispatchState, charger: str) -> None:
    """Wait until a charger's command is in a state."""
    for _ in range(200):
        book = house.services.follower.book(TENANT)
        if book.charger_ids and book.state[book.charger_ids.index(charger)] == state:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{charger} never became {state.name}")


async def test_hello_welcome_limits_ack_outcome_ping(running: Wired, call: Caller) -> None:
    async with connected(call, running) as (stream, welcome):
        assert (welcome.lease_seconds, welcome.heartbeat_seconds, welcome.resumed_sequence) == (120.0, 5.0, 0)
        assert welcome.gateway_time.ToDatetime() == running.scene.clock.now().replace(tzinfo=None)
        limits = await limits_of(stream)
        assert sorted(limits.charger_index) == [0, 1, 2]
        assert len(limits.limit_power_kw) == len(limits.fallback_power_kw) == 3
        assert limits.sequence > 0
        assert limits.lease_expire_time.ToDatetime() > welcome.gateway_time.ToDatetime()
        ack = pb.Ack(sequence=limits.sequence, rejected_index=[1], reject_reasons=["Faulted"])
        await stream.write(pb.ConnectRequest(ack=ack))
        await settle(running, DispatchState.ACCEPTED, running.chargers[0])
        await settle(running, DispatchState.REJECTED, running.chargers[1])
        outcome = pb.Outcome(sequence=limits.sequence, charger_index=[0], states=[pb.DISPATCH_STATE_APPLIED])
        await stream.write(pb.ConnectRequest(outcome=outcome))
        await settle(running, DispatchState.APPLIED, running.chargers[0])
        await stream.write(pb.ConnectRequest(ping=pb.Ping()))
        assert (await stream.read()).WhichOneof("payload") == "pong"
    async with call("olga") as gateway:
        answer = await gateway.dispatch.ListDispatchStates(pb.ListDispatchStatesRequest(only_not_following=True))
    assert [(one.charger_id, one.state) for one in answer.chargers] == [
        (running.chargers[1], pb.DISPATCH_STATE_REJECTED)
    ]
    assert "Faulted" in answer.chargers[0].likely_cause


async def test_what_a_charger_shows_beyond_its_limit_counts_and_survives_a_restart(
    running: Wired, call: Caller
) -> None:
    await plug_cars(running, call)
    async with connected(call, running) as (stream, _):
        limits = await limits_of(stream)
        ack = pb.Ack(
            sequence=limits.sequence,
            rejected_index=[1, 2],
            reject_reasons=["its composite schedule allows more", "Faulted"],
            shown_power_kw=[500.0, math.nan],
        )
        await stream.write(pb.ConnectRequest(ack=ack))
        await settle(running, DispatchState.REJECTED, running.chargers[1])
    follower = running.services.follower
    view, book = running.services.fleet.view(TENANT), follower.book(TENANT)
    at = [view.tree.charger_ids.index(name) for name in running.chargers]
    assert book.shown_kw[at[1]] == view.max_kw[at[1]], "at most what it can draw"
    assert np.isnan(book.shown_kw[[at[0], at[2]]]).all()
    await follower.flush()
    fresh = Follower(
        store=running.scene.store, clock=running.scene.clock, ids=running.scene.ids, fleet=running.services.fleet.view
    )
    await fresh.load(TENANT)
    assert fresh.book(TENANT).shown_kw[at[1]] == view.max_kw[at[1]]
    assert np.isnan(fresh.book(TENANT).shown_kw[at[2]])


async def test_a_limit_reaches_the_stream(running: Wired, call: Caller) -> None:
    await plug_cars(running, call)
    async with connected(call, running) as (stream, _), call("olga") as operator:
        assert min((await limits_of(stream)).limit_power_kw) > 4.0
        request = limit_request(running, max_power_kw=0.0)
        await operator.signals.SetManualLimit(request, timeout=5)
        limits = await limits_of(stream)
        assert set(limits.limit_power_kw) == {0.0}
        assert limits.cause.startswith("limit:")


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.ConnectRequest(ping=pb.Ping()), "payload"),
        (pb.ConnectRequest(), "payload"),
        (pb.ConnectRequest(hello=pb.Hello()), "hello.charger_ids"),
        (pb.ConnectRequest(hello=pb.Hello(charger_ids=["of-nobody"])), "charger_ids"),
        (pb.ConnectRequest(hello=pb.Hello(charger_ids=["site-01/ev000"] * 2)), "charger_ids"),
    ],
    ids=["ping", "nothing", "no chargers", "foreign charger", "charger twice"],
)
async def test_what_is_no_hello_ends_the_stream(call: Caller, message: pb.ConnectRequest, field: str) -> None:
    async with call("csms") as gateway:
        stream = gateway.dispatch.Connect()
        await stream.write(message)
        seen = await refused(stream)
    assert seen.code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in seen.field


async def test_a_client_that_ends_before_hello_is_told(call: Caller) -> None:
    async with call("csms") as gateway:
        stream = gateway.dispatch.Connect()
        await stream.done_writing()
        assert (await refused(stream)).field == "payload"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.ConnectRequest(hello=pb.Hello(charger_ids=["site-01/ev000"])), "payload"),
        (pb.ConnectRequest(), "payload"),
        (pb.ConnectRequest(ack=pb.Ack(sequence=10**9)), "ack.sequence"),
        (pb.ConnectRequest(ack=pb.Ack(rejected_index=[3], reject_reasons=["x"])), "ack.rejected_index"),
        (pb.ConnectRequest(ack=pb.Ack(rejected_index=[0])), "ack.reject_reasons"),
        (
            pb.ConnectRequest(ack=pb.Ack(rejected_index=[0], reject_reasons=["x"], shown_power_kw=[1.0, 2.0])),
            "ack.shown_power_kw",
        ),
        (
            pb.ConnectRequest(ack=pb.Ack(rejected_index=[0], reject_reasons=["x"], shown_power_kw=[-1.0])),
            "ack.shown_power_kw",
        ),
        (pb.ConnectRequest(outcome=pb.Outcome(charger_index=[0])), "outcome.states"),
        (
            pb.ConnectRequest(outcome=pb.Outcome(charger_index=[0], states=[pb.DISPATCH_STATE_FOLLOWED])),
            "outcome.states[0]",
        ),
        (
            pb.ConnectRequest(outcome=pb.Outcome(charger_index=[-1], states=[pb.DISPATCH_STATE_APPLIED])),
            "outcome.charger_index",
        ),
    ],
    ids=[
        "hello",
        "nothing",
        "unsent",
        "outside",
        "no reason",
        "many shown",
        "shown below 0",
        "no state",
        "wrong state",
        "below",
    ],
)
async def test_a_wrong_message_ends_the_stream_and_names_the_field(
    house: Wired, call: Caller, message: pb.ConnectRequest, field: str
) -> None:
    async with connected(call, house) as (stream, _):
        await stream.write(message)
        seen = await refused(stream)
    assert (seen.code, seen.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    async with connected(call, house) as (_, welcome):
        assert welcome.lease_seconds > 0


async def test_a_newer_stream_of_the_platform_ends_the_older(running: Wired, call: Caller) -> None:
    async with connected(call, running) as (older, _):
        first = await limits_of(older)
        async with connected(call, running, first.resume_token) as (newer, welcome):
            assert welcome.resumed_sequence == first.sequence
            seen = await refused(older)
            assert (seen.code, seen.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SUPERSEDED")
            await newer.write(pb.ConnectRequest(ping=pb.Ping()))
            assert await newer.read() is not grpc.aio.EOF


async def test_a_foreign_resume_token_is_out_of_range(call: Caller, house: Wired) -> None:
    async with call("csms") as gateway:
        stream = gateway.dispatch.Connect()
        await stream.write(hello(house, "5@csms-other"))
        assert (await refused(stream)).code is grpc.StatusCode.OUT_OF_RANGE


async def test_a_silent_client_is_gone_after_three_heartbeats(house: Wired) -> None:
    async with (
        house.listening(heartbeat_real_seconds=0.05) as address,
        connect(address, token=token_of(TENANT, "csms")) as gateway,
    ):
        stream = gateway.dispatch.Connect()
        await stream.write(hello(house))
        seen = await refused(stream)
    assert (seen.code, seen.reason) == (grpc.StatusCode.UNAVAILABLE, "PEER_UNAVAILABLE")


async def test_resumed_after_a_restart_of_the_gateway_sequences_go_on(running: Wired, call: Caller) -> None:
    async with connected(call, running) as (stream, _):
        first = await limits_of(stream)
        await stream.write(pb.ConnectRequest(ack=pb.Ack(sequence=first.sequence)))
    anew = await wired()
    async with (
        anew.listening() as address,
        connect(address, token=token_of(TENANT, "csms")) as gateway,
        asyncio.TaskGroup() as tasks,
    ):
        task = tasks.create_task(anew.services.dispatcher.run())
        stream = gateway.dispatch.Connect()
        await stream.write(hello(anew, first.resume_token))
        assert (await stream.read()).welcome.resumed_sequence == first.sequence
        assert (await limits_of(stream)).sequence > first.sequence
        stream.cancel()
        task.cancel()


async def test_a_platform_that_is_killed_resumes_without_loss_or_repeat(
    running: Wired, address: str, call: Caller, tmp_path: Path
) -> None:
    """The published example as a process of its own: killed, a limit set meanwhile, started again."""
    token = tmp_path / "token"
    token.write_text(token_of(TENANT, "csms"))

    async def start() -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "scripts.examples.csms_client", address, str(token), *running.chargers]
        return await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )

    async def line_of(process: asyncio.subprocess.Process) -> tuple[int, set[float]]:
        assert process.stdout is not None
        async with asyncio.timeout(10):
            number, *pairs = (await process.stdout.readline()).decode().split()
        return int(number), {float(pair.partition("=")[2]) for pair in pairs}

    await plug_cars(running, call)
    client = await start()
    try:
        first, _ = await line_of(client)
        await settle(running, DispatchState.ACCEPTED, running.chargers[0])
        client.kill()
        await client.wait()
        for _ in range(500):
            if not running.services.dispatcher._control(TENANT).links:
                break
            await asyncio.sleep(0.01)
        async with call("olga") as operator:
            request = limit_request(running, max_power_kw=0.0)
            await operator.signals.SetManualLimit(request, timeout=5)
        client = await start()
        second, limits = await line_of(client)
        assert second > first
        assert limits == {0.0}
        async with call("olga") as operator:
            resolve = signals_service_pb2.ResolveLimitRequest(node_id="site-01")
            assert (await operator.signals.ResolveLimit(resolve)).resolution.power_kw == 0.0
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
