"""`voltbridge csms serve` and `voltbridge csms passport` as programs, with the example settings and a simulated charger beside them."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway.clock import SystemClock, write_clock_file
from gateway.domain.errors import InvalidInput
from gateway.ocpp.program import gateway_of
from gateway.ocpp.settings import (
    CsmsSettings,
    GatewaySettings,
    ListenSettings,
    StationSettings,
    TimeSettings,
    load_csms_settings,
)
from gateway.sandbox.charge_point import ChargePoint, ChargerModel
from tests.app.example_keys import CONFIG, keys_by_table

EXAMPLE = CONFIG / "reference_csms.toml"
SPEED = 300.0
PATIENT = pytest.mark.timeout(60)
"""Whole programs start, which takes long on a busy machine."""


def example_in(folder: Path, **changes: str) -> Path:
    """Return a copy of the example with other values of some keys."""
    text = EXAMPLE.read_text(encoding="utf-8")
    changes = {"state_folder": f'"{folder / "state"}"', "token_file": f'"{folder / "token"}"'} | changes
    for key, value in changes.items():
        text, count = re.subn(rf"^(?:# )?{key} = \S+", f"{key} = {value}", text, count=1, flags=re.MULTILINE)
        assert count == 1, key
    (folder / "token").write_text("token")
    (folder / "token").chmod(0o600)
    (folder / "csms.toml").write_text(text)
    return folder / "csms.toml"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(*arguments: str) -> list[str]:
    """Return the command without the other groups of the command line, which take seconds to load."""
    return [sys.executable, "-c", "from gateway.cli.csms import app; app()", *arguments]


@PATIENT
async def test_serve_takes_a_charger_in_without_a_gateway_and_stops_when_told(tmp_path: Path) -> None:
    config, ready = example_in(tmp_path, port="0"), tmp_path / "ready.json"
    process = subprocess.Popen(
        command("serve", "--config", str(config), "--ready", str(ready)), stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(2000):
            if ready.exists() or process.poll() is not None:
                break
            await asyncio.sleep(0.02)
        assert process.poll() is None
        port = json.loads(ready.read_text())["port"]
        charger = ChargePoint(f"ws://127.0.0.1:{port}/CP-1", ChargerModel(), SystemClock())
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(charger.run())
            await charger.connected.wait()
            await charger.plug()
            assert charger.evses[1].transaction == "1"
            running.cancel()
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
    assert process.returncode == 0, log
    assert "04E91C" not in log, "who the driver is is in no log"
    assert "UNAVAILABLE" in log


@PATIENT
def test_passport_tests_a_simulated_charger_in_the_time_of_a_clock_file(tmp_path: Path) -> None:
    clock, port = tmp_path / "clock.json", free_port()
    write_clock_file(clock, datetime(2026, 11, 21, 10, 0, tzinfo=UTC), SPEED)
    config = example_in(tmp_path, port=str(port), clock_file=f'"{clock}"')
    url = f"ws://127.0.0.1:{port}/CP-1"
    charger = subprocess.Popen(
        [sys.executable, "-m", "gateway.sandbox.charge_point", url, "--clock", str(clock), "--version", "2.0.1"],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(CONFIG.parent)},
    )
    try:
        out = tmp_path / "out"
        arguments = ("passport", "site-1-001", "--config", str(config), "--out", str(out))
        done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=50)
    finally:
        charger.terminate()
        charger.wait(timeout=5)
    assert done.returncode in {0, 1}, done.stderr
    document = json.loads((out / "passport-site-1-001.json").read_text())
    assert document["is_simulated_time"] is True
    assert document["ocpp"] == "2.0.1"
    assert {"car", "takes_fallback"} <= {found["name"] for found in document["findings"]}
    assert f"class {document['enforcement']}" in done.stdout


@PATIENT
@pytest.mark.parametrize("words", [("serve",), ("passport", "site-1-001")])
def test_a_port_that_is_taken_is_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = example_in(tmp_path, port=str(taken.getsockname()[1]))
        whole = [sys.executable, "-m", "gateway", "csms", *words, "--config", str(config)]
        done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 2
    assert re.fullmatch(r"INVALID_INPUT: listen: port \d+ of 127.0.0.1 is in use: .*\n", done.stderr), done.stderr


def test_the_example_shows_every_key() -> None:
    shown = keys_by_table("reference_csms.toml")
    tables: dict[str, type[BaseModel]] = {
        "listen": ListenSettings,
        "gateway": GatewaySettings,
        "times": TimeSettings,
        "stations": StationSettings,
    }
    for table, kind in tables.items():
        assert set(kind.model_fields) == shown[table], table
    text = EXAMPLE.read_text(encoding="utf-8")
    assert all(re.search(rf"^(?:# )?{key} = |^\[+{key}\]", text, re.MULTILINE) for key in CsmsSettings.model_fields)
    assert load_csms_settings(EXAMPLE).stations[0].identity == "CP-1"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"host": '"0.0.0.0"'}, "config"),
        ({"certificate": '"a.pem"'}, "listen.certificate"),
        ({"renew_share": "2.0"}, "times.renew_share"),
        ({"carrier": '"wires"'}, "stations.0.carrier"),
        ({"password_sha256": '"secret"'}, "stations.0.password_sha256"),
        ({"certificate_name": '"CP-1"'}, "config"),
    ],
)
def test_a_wrong_key_is_named_and_no_secret_is_told(tmp_path: Path, changes: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        load_csms_settings(example_in(tmp_path, **changes))
    assert field in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0o600, "cannot be read"),
        ("  ", 0o600, "is empty"),
        ("token-1", 0o644, "must be readable by its owner only"),
    ],
)
async def test_a_token_file_that_does_not_serve_is_named_in_full_and_never_its_content(
    tmp_path: Path, content: str | None, mode: int, said: str
) -> None:
    file = tmp_path / "csms.token"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    settings = GatewaySettings(address="127.0.0.1:1", token_file=file)
    with pytest.raises(InvalidInput) as refused:
        async with gateway_of(settings):
            pass
    assert str(refused.value).startswith(f"gateway.token_file: {file} {said}")
    assert "token-1" not in str(refused.value)
