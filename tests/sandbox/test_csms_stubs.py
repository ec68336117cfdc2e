"""The sandbox's charge point operator and its CitrineOS-shaped stub as programs of their own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.sandbox.ocpi_world import OcpiWorld, check_profile
from tests.fakes.clock import HandClock

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def program(module: str, folder: Path, *words: str) -> Iterator[dict[str, Any]]:
    """Start a stub, and give out what its ready file says."""
    ready = folder / "ready.json"
    command = [sys.executable, "-m", f"gateway.sandbox.{module}", "--ready", str(ready), *words]
    stub = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        for _ in range(800):
            if ready.exists():
                break
            time.sleep(0.02)
        yield json.loads(ready.read_text())
    finally:
        os.kill(stub.pid, signal.SIGTERM)
        assert stub.wait(timeout=5) == 0


def post(url: str, body: object) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")  # noqa: S310  # loopback
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  # loopback
        return json.loads(answer.read())


def test_the_operator_starts_lists_its_version_and_stops(tmp_path: Path) -> None:
    with program("ocpi_cpo", tmp_path, "--token-a", "secret", "--version", "2.3.0") as ready:
        request = urllib.request.Request(ready["versions_url"], headers={"Authorization": "Token c2VjcmV0"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  # loopback
            versions = json.loads(answer.read())["data"]
        assert [one["version"] for one in versions] == ["2.1.1", "2.3.0"]


def test_the_stub_answers_200_also_when_it_failed(tmp_path: Path) -> None:
    with program("citrineos", tmp_path, "--charger", "CP1") as ready:
        path = "ocpp/2.0.1/smartcharging/getCompositeSchedule?tenantId=1&identifier="
        body = {"evseId": 1, "duration": 60}
        assert post(f"{ready['url']}/{path}CP1", body)[0]["success"] is True
        assert post(f"{ready['url']}/{path}CP9", body) == [{"success": False, "payload": "charger is not connected"}]


def test_a_car_draws_what_its_profile_allows() -> None:
    clock = HandClock()
    world = OcpiWorld(clock, "NL", "CPO", ["E1"])
    car = world.plug("E1")
    profile = {
        "charging_rate_unit": "A",
        "start_date_time": clock.now().isoformat(),
        "duration": 1_800,
        "charging_profile_period": [{"start_period": 0, "limit": 10.0}, {"start_period": 900, "limit": 6.0}],
    }
    assert check_profile(profile) == ""
    world.apply(car.session, profile)
    drawn = []
    for _ in range(3):
        drawn.append(world.power_kw(car))
        clock.move(minutes=15)
    assert drawn == pytest.approx([6.9, 4.14, 11.0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"charging_rate_unit": "kW"},
        {"charging_profile_period": {"start_period": 0, "limit": 6.0}},
        {"charging_profile_period": []},
        {"charging_profile_period": [{"start_period": 5, "limit": 6.0}]},
        {"charging_profile_period": [{"start_period": 0, "limit": 6.05}]},
    ],
)
def test_the_operator_sees_what_breaks_the_specification(wrong: dict[str, Any]) -> None:
    good = {"charging_rate_unit": "A", "charging_profile_period": [{"start_period": 0, "limit": 6.1}]}
    assert check_profile(good) == ""
    assert check_profile({**good, **wrong}) != ""
