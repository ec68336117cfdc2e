"""The gateway without its sandbox, as the README starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e


def start(tmp_path: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    ready = tmp_path / "ready.json"
    environment = dict(
        os.environ,
        VOLTBRIDGE_PYTHON=sys.executable,
        VOLTBRIDGE_STORE__URL=f"sqlite:///{tmp_path / 'rows.sqlite'}",
        VOLTBRIDGE_RPC__PORT="0",
        VOLTBRIDGE_WEB__PORT="0",
        VOLTBRIDGE_READY_FILE=str(ready),
    )
    process = subprocess.Popen(
        [str(ROOT / "scripts" / "run"), "--no-sandbox", "--config", "config/gateway.toml"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process, json.loads(ready.read_text())


def test_it_listens_says_that_it_serves_and_stops_when_asked(tmp_path: Path) -> None:
    process, addresses = start(tmp_path)
    try:
        with grpc.insecure_channel(addresses["rpc"]) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said


def test_a_second_one_on_the_same_rows_is_refused(tmp_path: Path) -> None:
    process, _ = start(tmp_path)
    try:
        environment = dict(os.environ, VOLTBRIDGE_STORE__URL=f"sqlite:///{tmp_path / 'rows.sqlite'}")
        second = subprocess.run(
            [sys.executable, "-m", "gateway", "serve", "--config", "config/gateway.toml"],
            capture_output=True,
            text=True,
            env=environment,
            cwd=ROOT,
            timeout=60,
            check=False,
        )
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert second.returncode == 2
    assert second.stderr.strip().splitlines()[-1].startswith("PRECONDITION_FAILED")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rpc]\nport = 99999\n", "INVALID_INPUT: rpc.port"),
        ("[dispatch]\nlease = -1\n", "INVALID_INPUT: dispatch.lease"),
        ("not toml at all", "INVALID_INPUT: config"),
    ],
)
def test_a_wrong_setting_is_one_precise_line(tmp_path: Path, text: str, said: str) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(text)
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--config", str(config)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith(said), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
