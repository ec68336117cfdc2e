"""The example client as a separate process: short, obedient, and it resumes without loss or repeat when it is killed."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from gateway.v1 import dispatch_service_pb2 as dispatch_pb
from tests.sandbox.scripted_gateway import ScriptedGateway

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "scripts" / "examples" / "csms_client.py"
LEASE_S = 2_000_000_000


@asynccontextmanager
async def _client(address: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    (folder / "token").write_text("secret\n", encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scripts.examples.csms_client",
        address,
        str(folder / "token"),
        "c-1",
        "c-2",
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(15.0):
        return (await process.stdout.readline()).decode().rstrip("\n")


def test_the_example_has_fewer_than_forty_lines() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 40


async def test_it_prints_and_acknowledges_limits_and_gives_signs_of_life(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _client(script.address, tmp_path) as process:
        await script.until(lambda: script.hellos)
        assert list(script.hellos[0].charger_ids) == ["c-1", "c-2"]
        assert script.tokens == {"Bearer secret"}
        script.send_limits([1, 0], [7.4, 0.0], [1.38, 1.38], lease_until_s=LEASE_S)
        assert await _line(process) == "1 c-2=7.4 c-1=0"
        await script.until(lambda: script.acks == [dispatch_pb.Ack(sequence=1)])
        await script.until(lambda: script.pings)


async def test_killed_and_started_again_it_resumes_where_it_was(tmp_path: Path) -> None:
    async with ScriptedGateway() as script:
        async with _client(script.address, tmp_path) as process:
            await script.until(lambda: script.hellos)
            script.send_limits([0], [3.0], [1.38], lease_until_s=LEASE_S)
            script.send_limits([0], [4.0], [1.38], lease_until_s=LEASE_S)
            await script.until(lambda: len(script.acks) == 2)
            assert [await _line(process), await _line(process)] == ["1 c-1=3", "2 c-1=4"]
            process.kill()
            await process.wait()
        script.break_dispatch(grpc.StatusCode.CANCELLED)
        async with _client(script.address, tmp_path) as process:
            await script.until(lambda: len(script.hellos) == 2)
            assert [hello.resume_token for hello in script.hellos] == ["", "token-2"]
            script.send_limits([0], [5.0], [1.38], lease_until_s=LEASE_S)
            assert await _line(process) == "3 c-1=5"


async def test_it_comes_back_when_the_gateway_was_away_and_forgets_a_place_that_expired(tmp_path: Path) -> None:
    async with ScriptedGateway() as script, _client(script.address, tmp_path) as process:
        await script.until(lambda: script.hellos)
        script.send_limits([0], [3.0], [1.38], lease_until_s=LEASE_S)
        await script.until(lambda: script.acks)
        await script.stop()
        await script.start()
        await script.until(lambda: len(script.hellos) == 2)
        assert script.hellos[1].resume_token == "token-1"
        script.break_dispatch(grpc.StatusCode.OUT_OF_RANGE)
        await script.until(lambda: len(script.hellos) == 3)
        assert script.hellos[2].resume_token == ""
        assert process.returncode is None
