"""The sandbox capacity provider: how it cuts forecasts, what it refuses, and that the program starts, takes orders and stops."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.domain.errors import InvalidInput
from gateway.sandbox import capacity_provider_wire as wire

BLOCK = {
    "capacity": 50.0,
    "phase": "ALL",
    "unit": "KW",
    "start_time": "2026-11-21T10:00:00Z",
    "end_time": "2026-11-21T10:15:00Z",
}
FORECAST = {"group_id": "g1", "type": "CONSUMPTION", "forecasted_blocks": [BLOCK]}


def test_a_forecast_is_cut_into_segments_in_the_order_asked_for() -> None:
    blocks = [{**BLOCK, "capacity": power} for power in range(5)]
    parts = wire.parts_of({"blocks": blocks, "segments": 3, "order": [3, 1]})
    assert [[block["capacity"] for block in body["forecasted_blocks"]] for body in parts.bodies] == [
        [0, 1],
        [2, 3],
        [4],
    ]
    assert parts.order == (3, 1)


@pytest.mark.parametrize(
    "script", [{"blocks": 1}, {"blocks": [BLOCK], "segments": 2}, {"blocks": [BLOCK], "order": [2]}]
)
def test_an_order_that_cannot_be_followed_is_refused(script: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        wire.parts_of(script)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "OTHER"},
        {"group_id": ""},
        {"forecasted_blocks": []},
        {"forecasted_blocks": [{**BLOCK, "capacity": "50"}]},
        {"forecasted_blocks": [{**BLOCK, "unit": "kW"}]},
        {"forecasted_blocks": [{**BLOCK, "end_time": "2026-11-21T09:00:00Z"}]},
        {"forecasted_blocks": [{**BLOCK, "end_time": "2026-11-21T11:00:00"}]},
    ],
)
def test_it_is_strict_about_what_the_gateway_sends(wrong: dict[str, Any]) -> None:
    wire.check_forecast(FORECAST)
    with pytest.raises(InvalidInput):
        wire.check_forecast({**FORECAST, **wrong})


def test_a_handshake_without_required_behaviour_is_refused() -> None:
    assert wire.check_behaviour(wire.behaviour_body(60.0, ("CONTINUOUS",))) == 60.0
    with pytest.raises(InvalidInput):
        wire.check_behaviour({})


def call(url: str, body: Any = None) -> tuple[int, Any]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, timeout=10)
    with contextlib.closing(connection):
        data = None if body is None else json.dumps(body)
        connection.request("GET" if data is None else "POST", place.path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    return answer.status, json.loads(text) if answer.status == 200 else None


def test_the_program_starts_takes_orders_and_stops(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "gateway.sandbox.capacity_provider", "--ready", str(ready), "--group", "trafo-17"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as program:
        try:
            patience = time.monotonic() + 15
            while not ready.exists() and time.monotonic() < patience:
                time.sleep(0.02)
            told = json.loads(ready.read_text())
            assert told["group"] == "trafo-17"
            assert call(f"{told['control_url']}/register", {"fp_url": "x"})[0] == 400
            status, said = call(
                f"{told['control_url']}/register", {"fp_url": "http://127.0.0.1:9/oscp/fp/2.0", "token": "a" * 40}
            )
            assert (status, [one["status"] for one in said]) == (200, [0])
            assert call(f"{told['cp_url']}/heartbeat", {"offline_mode_at": "2026-11-21T10:00:00Z"})[0] == 401
            assert [one["status"] for one in call(f"{told['control_url']}/log")[1]["received"]] == [401]
        finally:
            program.send_signal(signal.SIGTERM)
            assert program.wait(10) == 0
