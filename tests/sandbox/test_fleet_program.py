"""The fleet as a program: its command line, its ready file, its inspection door, the demo's inventory, and how it ends."""

import argparse
import asyncio
import json
import os
import signal
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import numpy as np
import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.inventory import parse_inventory
from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.fleet import build_simulation, parse_arguments, share
from gateway.sandbox.fleet_bank import Obedience
from gateway.sandbox.fleet_inspect import inspection_app
from gateway.sandbox.fleet_link import DispatchLink
from gateway.sandbox.fleet_reports import SessionReporter, TelemetryReporter
from gateway.sandbox.fleet_retry import Backoff
from gateway.sandbox.fleet_simulation import FleetSimulation
from tests.sandbox.fleet_worlds import (
    START,
    START_S,
    ZONE,
    inventory_text,
    options,
    small_world,
    stand_clock,
    world_of,
)
from tests.sandbox.scripted_gateway import ScriptedGateway

ROOT = Path(__file__).parents[2]
DEMO_INVENTORY = ROOT / "config" / "data" / "demo_be_tree.toml"
EVERYBODY = ["h-001", "h-002", "h-003", "p-001", "p-002", "p-003", "w-001", "w-002", "w-003"]


@asynccontextmanager
async def _door(world: FleetSimulation) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    generator = np.random.default_rng(1)
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        sessions = SessionReporter(channel, "", world, Backoff("sessions", generator))
        telemetry = TelemetryReporter(channel, "", world, Backoff("telemetry", generator))
        link = DispatchLink(
            channel, "", world, SandboxClock(None), Backoff("dispatch", generator), on_welcome=lambda: None
        )
        runner = aiohttp.web.AppRunner(inspection_app(world, link, sessions, telemetry))
        await runner.setup()
        try:
            await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
            async with aiohttp.ClientSession() as client:
                yield client, f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def test_the_door_tells_what_the_fleet_does() -> None:
    world = small_world(chosen=options(rejecting=0.1, not_following=0.05))
    for _ in range(300):
        world.step()
    async with _door(world) as (client, url), client.get(f"{url}/state") as response:
        state = await response.json()
    assert state["market_time"] == "2025-10-14T14:00:00+00:00"
    assert state["site_power_kw"].keys() == {"h", "p", "w"}
    assert state["power_kw"] == pytest.approx(world.bank.power_kw.sum(), abs=0.01)
    assert state["ended_count"] == world.score.ended_count > 0
    assert state["missed_departure_count"] == world.score.missed_count == len(state["missed_session_ids"])
    still_there_kwh = world.bank.delivered_kwh[world.plugged_in()].sum()
    assert state["delivered_kwh"] == pytest.approx(world.score.delivered_kwh + still_there_kwh, abs=0.01)
    assert (len(state["rejecting"]), len(state["not_following"])) == (6, 3)
    assert state["is_connected"] is False
    assert state["plugged_in_count"] == len(world.plugged_in())


async def test_the_door_makes_named_chargers_misbehave_and_obey_again() -> None:
    world = small_world(count=3)
    async with _door(world) as (client, url):
        for mode, obedience in (
            ("not-following", Obedience.NOT_FOLLOWING),
            ("rejecting", Obedience.REJECTING),
            ("obeying", Obedience.OBEYS),
        ):
            async with client.post(f"{url}/fault", json={"mode": mode, "charger_ids": ["h-002", "w-001"]}) as response:
                assert response.status == 200
                assert await response.json() == {"charger_ids": ["h-002", "w-001"]}
            assert np.flatnonzero(world.bank.obedience == obedience).tolist()[-2:] in ([1, 6], [7, 8])
            assert world.bank.obedience[[1, 6]].tolist() == [obedience, obedience]


async def test_the_door_can_choose_the_chargers_that_draw_most() -> None:
    world = small_world(count=3)
    world.bank.power_kw[:] = np.arange(9.0)
    async with (
        _door(world) as (client, url),
        client.post(f"{url}/fault", json={"mode": "not-following", "count": 2}) as response,
    ):
        assert await response.json() == {"charger_ids": ["w-003", "w-002"]}
    assert world.bank.obedience.tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{", "body"),
        ("[]", "body"),
        ('{"count": 1}', "mode"),
        ('{"mode": "sulking", "count": 1}', "mode"),
        ('{"mode": ["rejecting"], "count": 1}', "mode"),
        ('{"mode": "rejecting"}', "charger_ids"),
        ('{"mode": "rejecting", "count": 1, "charger_ids": ["h-001"]}', "charger_ids"),
        ('{"mode": "rejecting", "charger_ids": []}', "charger_ids"),
        ('{"mode": "rejecting", "charger_ids": ["h-001", "x"]}', "charger_ids[1]"),
        ('{"mode": "rejecting", "charger_ids": [7]}', "charger_ids[0]"),
        ('{"mode": "rejecting", "count": 0}', "count"),
        ('{"mode": "rejecting", "count": 10}', "count"),
        ('{"mode": "rejecting", "count": true}', "count"),
    ],
)
async def test_the_door_refuses_what_it_does_not_understand_and_changes_nothing(body: str, field: str) -> None:
    world = small_world(count=3)
    async with _door(world) as (client, url), client.post(f"{url}/fault", data=body) as response:
        assert response.status == 400
        assert (await response.json())["field"] == field
    assert not world.bank.obedience.any()


@pytest.mark.parametrize(("text", "value"), [("0.5%", 0.005), ("0.005", 0.005), ("0", 0.0), ("100%", 1.0)])
def test_a_share_is_a_number_or_a_percentage(text: str, value: float) -> None:
    assert share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "%", "half", "101%", "-0.1", "nan"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        share(text)


@pytest.mark.parametrize("wrong", [["--seed", "-1"], ["--history-days", "0"], ["--from-day", "tomorrow"]])
def test_a_wrong_command_line_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    needed = ["--gateway", "127.0.0.1:1", "--token-file", "t", "--inventory", "i"]
    with pytest.raises(SystemExit) as left:
        parse_arguments([*needed, *wrong])
    assert left.value.code == 2
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "field"), [(["--csms", "csms-x"], "csms"), (["--from-day", "2025-10-15"], "from_day")]
)
def test_an_impossible_start_is_refused_by_name(more: list[str], field: str, tmp_path: Path) -> None:
    inventory = tmp_path / "tree.toml"
    inventory.write_text(inventory_text(("h", "home", 3)), encoding="utf-8")
    needed = ["--gateway", "127.0.0.1:1", "--token-file", "t", "--inventory", str(inventory)]
    with pytest.raises(InvalidInput) as refused:
        build_simulation(parse_arguments([*needed, *more]), START)
    assert refused.value.field == field


def _arguments(folder: Path, address: str) -> list[str]:
    (folder / "token").write_text("secret\n", encoding="utf-8")
    inventory = folder / "tree.toml"
    inventory.write_text(inventory_text(("h", "home", 3), ("p", "public", 3), ("w", "workplace", 3)), encoding="utf-8")
    clock, ready = stand_clock(folder / "clock.json", START), folder / "ready.json"
    arguments = ["--clock", clock, "--ready", ready, "--token-file", folder / "token", "--inventory", inventory]
    chosen = [
        "--gateway",
        address,
        "--seed",
        "7",
        "--from-day",
        "2025-10-14",
        "--history-days",
        "2",
        "--rejecting",
        "0",
    ]
    return [*map(str, arguments), *chosen, "--not-following", "0"]


async def _ready(file: Path) -> dict[str, Any]:
    async with asyncio.timeout(15.0):
        while not file.exists():  # another process writes it
            await asyncio.sleep(0.02)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


async def test_the_program_runs_follows_the_clock_and_stops_when_asked(tmp_path: Path) -> None:
    async with ScriptedGateway() as script:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.sandbox.fleet",
            *_arguments(tmp_path, script.address),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        ready = await _ready(tmp_path / "ready.json")
        assert ready["charger_count"] == 9
        await script.until(lambda: script.hellos and script.sessions and script.history)
        assert list(script.hellos[0].charger_ids) == EVERYBODY
        assert script.tokens == {"Bearer secret"}
        stand_clock(tmp_path / "clock.json", datetime(2025, 10, 14, 10, tzinfo=UTC))
        await script.until(lambda: script.batches and script.batches[-1].sequence == START_S + 3600)
        async with aiohttp.ClientSession() as client, client.get(f"{ready['url']}/state") as response:
            assert (await response.json())["is_connected"] is True
        process.send_signal(signal.SIGTERM)
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert b"Traceback" not in said
        assert b"secret" not in said


async def test_the_program_does_not_outlive_its_parent(tmp_path: Path) -> None:
    async with ScriptedGateway() as script:
        command = json.dumps([sys.executable, "-m", "gateway.sandbox.fleet", *_arguments(tmp_path, script.address)])
        parent = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            f"import subprocess, sys; child = subprocess.Popen({command}); print(child.pid, flush=True); sys.stdin.read()",
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert parent.stdout is not None
        child = int(await parent.stdout.readline())
        await _ready(tmp_path / "ready.json")
        parent.kill()
        await parent.wait()
        async with asyncio.timeout(10.0):
            while _is_alive(child):  # nobody is told when a grandchild ends
                await asyncio.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_an_inventory_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    arguments = _arguments(tmp_path, "127.0.0.1:1")
    (tmp_path / "tree.toml").write_text("tenant =", encoding="utf-8")
    with pytest.raises(InvalidInput, match="inventory: is no TOML"):
        build_simulation(parse_arguments(arguments), START)


async def test_the_program_says_in_one_line_what_is_wrong_and_leaves(tmp_path: Path) -> None:
    arguments = _arguments(tmp_path, "127.0.0.1:1")
    (tmp_path / "tree.toml").write_text("tenant = 7", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.sandbox.fleet", *arguments, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().splitlines()[-1].startswith("fleet: tenant: must be a text")
    assert b"Traceback" not in said


def test_the_ratings_of_the_demo_bind_at_the_peak_of_uncontrolled_charging() -> None:
    inventory = parse_inventory(tomllib.loads(DEMO_INVENTORY.read_text(encoding="utf-8")))
    wednesday = DeliveryDay(day=date(2025, 10, 15), zone=ZONE)
    world = world_of(inventory, options(seed=3), wednesday.interval.start, 3)
    world.set_obedience(np.arange(len(world.chargers)), Obedience.NOT_FOLLOWING)
    power_kw = np.zeros((1440, len(world.sites)))
    for minute in range(1440):
        world.step()
        power_kw[minute] = list(world.site_power_kw().values())
    rating_of = {node.id: node.max_import_kw for node in inventory.nodes}
    peak_kw = power_kw.reshape(96, 15, -1).mean(axis=1).max(axis=0)
    ratio = np.array([rating_of[site.site] for site in world.sites]) / peak_kw
    assert 0.5 < ratio.mean() < 0.7
    assert ratio.max() < 0.85
    assert world.score.ended_count >= 4000
    assert world.score.missed_count == 0
