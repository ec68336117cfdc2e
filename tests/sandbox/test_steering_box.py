"""The scripted steering box and the example sidecar against a whole gateway over real sockets."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.steering import SteeringState
from gateway.sandbox.steering_box import DEFAULT_SCRIPT, SteeringBoxPlayer, Step, main, read_script
from tests.fakes.clock import HandClock
from tests.fakes.steering import BOX, SPEAKER, steering_box
from tests.fakes.wired import TENANT, Wired, token_of, wired

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "scripts" / "examples" / "steering_sidecar.py"
ALLOWED_S = 15.0


@pytest.fixture
async def house() -> Wired:
    return await wired(steering_box=(steering_box(),))


def stepwise(seconds: float, kind: str, value: float, beside: float | None = None) -> Step:
    return Step(at=timedelta(seconds=seconds), kind=kind, value=value, beside=beside)


@asynccontextmanager
async def playing(house: Wired, script: tuple[Step, ...]) -> AsyncIterator[SteeringBoxPlayer]:
    """A player on the gateway's clock, which runs on in steps of 10 s whenever nobody has anything to do."""
    clock: HandClock = house.scene.clock
    async with house.listening() as address, grpc.aio.insecure_channel(address) as channel:
        yield SteeringBoxPlayer(box=BOX, channel=channel, token=token_of(TENANT, SPEAKER), clock=clock, script=script)


async def run_through(house: Wired, player: SteeringBoxPlayer) -> None:
    """Play the script while time passes for everybody."""
    clock: HandClock = house.scene.clock
    desk = house.services.steering
    async with asyncio.timeout(ALLOWED_S), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(player.play())
        while not task.done():
            await asyncio.sleep(0.002)
            if clock._sleepers:
                clock.move(seconds=10)
                for held in desk._held.values():
                    async with held.lock:
                        await desk._pass_time(held)


async def states(house: Wired) -> list[str]:
    """Return the states that consumption went through, as the audit tells them."""
    told = await house.scene.store.audit_of(TENANT, "limitation", f"{BOX}:import")
    return [chained.entry.detail["to"] for chained in told]


async def test_the_box_plays_limit_silence_and_return(house: Wired) -> None:
    script = (
        stepwise(0, "release", 1.0),
        stepwise(60, "limit_kw", 8.0, 120.0),
        stepwise(300, "failsafe_kw", 6.0, 7_200.0),
        stepwise(310, "silent_s", 300.0),
        stepwise(700, "dim", 1.0, 0.0),
        stepwise(760, "dim", 0.0, 0.0),
    )
    async with playing(house, script) as player:
        await run_through(house, player)
    free, limited = SteeringState.UNLIMITED_CONTROLLED, SteeringState.LIMITED
    assert await states(house) == [SteeringState.INIT, free, limited, free, SteeringState.FAILSAFE, free, limited, free]
    assert "failsafe 6 kW" in player.heard
    assert player.heard[-1] == "LPC-909: no limit"


async def test_a_gateway_that_was_started_anew_is_told_the_last_word_again(house: Wired) -> None:
    script = (stepwise(0, "limit_kw", 8.0), stepwise(200, "failsafe_kw", 5.0))
    async with playing(house, script) as player:
        clock: HandClock = house.scene.clock
        async with asyncio.timeout(ALLOWED_S), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(player.play())
            while player.heard[-1:] != ["LPC-904: 8 kW"]:
                await asyncio.sleep(0.002)
            await house.services.steering.load()
            while not task.done():
                await asyncio.sleep(0.002)
                if clock._sleepers:
                    clock.move(seconds=10)
    assert player.heard == ["LPC-904: 8 kW", "LPC-904: 8 kW", "failsafe 5 kW"]


def test_the_script_of_the_docstring_is_read_and_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    text = (sys.modules[SteeringBoxPlayer.__module__].__doc__ or "").split("```json")[1].split("```")[0]
    path.write_text(text)
    steps = read_script(path)
    assert steps[: len(DEFAULT_SCRIPT)] == DEFAULT_SCRIPT
    assert steps[-1] == stepwise(1_200, "dim", 1.0, 0.0)


@pytest.mark.parametrize(
    ("steps", "field"),
    [
        ([{"limit_kw": 1}], "script[0].at_s"),
        ([{"at_s": 0, "limit_kw": -1}], "script[0].limit_kw"),
        ([{"at_s": 0}], "script[0]"),
        ([{"at_s": 0, "limit_kw": 1, "release": True}], "script[0]"),
        ([{"at_s": 0, "release": True, "off": 1}], "script[0].off"),
        ([{"at_s": 9, "release": True}, {"at_s": 8, "release": True}], "script[1].at_s"),
        (["no"], "script[0]"),
        ({}, "script"),
    ],
    ids=["no time", "negative", "nothing", "two things", "unknown", "order", "text", "no list"],
)
def test_a_wrong_script_is_named(tmp_path: Path, steps: object, field: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(steps))
    with pytest.raises(InvalidInput) as caught:
        read_script(path)
    assert caught.value.field == field


def test_the_command_line_needs_a_gateway(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--box", "b"])
    assert "--gateway" in capsys.readouterr().err


def test_the_example_has_at_most_forty_lines() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 40


async def test_the_example_says_its_words_and_says_them_again_after_a_restart(house: Wired, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(token_of(TENANT, SPEAKER))
    async with house.listening() as address:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scripts.examples.steering_sidecar",
            address,
            str(token),
            BOX,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(ALLOWED_S):
                for word, answer in (("8.5", "LPC-904 8.5"), ("off", "LPC-909 free"), ("0", "LPC-910 0.0")):
                    process.stdin.write(f"{word}\n".encode())
                    assert (await process.stdout.readline()).decode().strip() == answer
        finally:
            process.kill()
            await process.wait()
