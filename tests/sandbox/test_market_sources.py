"""The sandbox's sources as a program, and what its control door takes."""

import json
import subprocess
import sys
import time as real
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import date, time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.market_world import DayScript, PriceWorld
from tests.fakes.clock import HandClock
from tests.fakes.market_sources import Sources, market_sources

DAY = DeliveryDay(day=date(2026, 10, 3), zone="Europe/Berlin")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def world() -> AsyncIterator[Sources]:
    async with market_sources(HandClock(DAY.next(-1).at(time(14)))) as served:
        yield served


def test_the_program_says_where_it_listens_and_stops_when_told(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "gateway.sandbox.market_sources", "--ready", str(ready), "--seed", "3"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        while not ready.exists():
            assert process.poll() is None
            real.sleep(0.02)
        doors = json.loads(ready.read_text())
        address = urlsplit(doors["smard_url"])
        with closing(HTTPConnection(address.netloc)) as connection:
            connection.request("GET", f"{address.path}/chart_data/4169/DE-LU/index_quarterhour.json")
            assert len(json.load(connection.getresponse())["timestamps"]) == 6
        assert {"entsoe_token", "watttime_password", "control_url", "energy_charts_url"} <= set(doors)
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize(
    ("door", "document"),
    [
        ("days", {"zone": "XX", "auction": "sdac", "day": "2026-10-03"}),
        ("days", {"zone": "BE", "auction": "ida9", "day": "2026-10-03"}),
        ("days", {"zone": "BE"}),
        ("days", {"zone": "BE", "auction": "sdac", "day": "2026-10-03", "publish_at": "noon"}),
        ("days", {"zone": "BE", "auction": "sdac", "day": "2026-10-03", "plus": "much"}),
        ("platform", {"mood": "bad"}),
        ("faults", {"door": "brp", "kind": "html", "count": 1}),
    ],
)
async def test_a_script_that_makes_no_sense_is_refused(world: Sources, door: str, document: dict[str, object]) -> None:
    async with world.session.post(f"{world.url}/control/{door}", json=document) as response:
        assert response.status == 400


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({}, 401),
        ({"securityToken": "wrong"}, 401),
        ({"securityToken": "sandbox-token"}, 400),
        ({"SecurityToken": "sandbox-token", "DocumentType": "A44", "In_Domain": "10YBE----------2",
          "PeriodStart": "202610012200", "PeriodEnd": "202610022200"}, 200),
        ({"securityToken": "sandbox-token", "documentType": "A44", "in_Domain": "10YXX----------2",
          "periodStart": "202610012200", "periodEnd": "202610022200"}, 400),
        ({"securityToken": "sandbox-token", "documentType": "A44", "in_Domain": "10YBE----------2",
          "periodStart": "202410012200", "periodEnd": "202610022200"}, 400),
        ({"securityToken": "sandbox-token", "documentType": "A75", "in_Domain": "10YBE----------2",
          "periodStart": "202608012200", "periodEnd": "202610022200"}, 400),
        ({"securityToken": "sandbox-token", "documentType": "A44", "in_Domain": "10YBE----------2",
          "periodStart": "202610022200", "periodEnd": "202610022200"}, 400),
    ],
)  # fmt: skip
async def test_the_platform_answers_as_the_real_one(world: Sources, params: dict[str, str], status: int) -> None:
    async with world.session.get(f"{world.url}/entsoe/api", params=params) as response:
        assert response.status == status


async def test_a_request_is_answered_with_the_whole_days_that_it_touches(world: Sources) -> None:
    params = {
        "securityToken": "sandbox-token",
        "documentType": "A44",
        "in_Domain": "10YBE----------2",
        "periodStart": "202610012300",
        "periodEnd": "202610022300",
    }
    async with world.session.get(f"{world.url}/entsoe/api", params=params) as response:
        text = await response.text()
    assert text.count("<TimeSeries>") == 2
    assert "<start>2026-10-01T22:00Z</start><end>2026-10-03T22:00Z</end>" in text


def test_a_world_is_the_same_for_the_same_seed_and_bends_as_told() -> None:
    clock = HandClock(DAY.next(-1).at(time(12)))
    one, other, third = PriceWorld(1, clock), PriceWorld(1, clock), PriceWorld(2, clock)
    assert one.truth("BE", "sdac", DAY) == other.truth("BE", "sdac", DAY) != third.truth("BE", "sdac", DAY)
    assert one.paper("BE", "sdac", DAY) is None
    one.script("BE", "sdac", DAY.day.isoformat(), DayScript(publish_at=clock.now(), slots=5))
    paper = one.paper("BE", "sdac", DAY)
    assert paper is not None
    assert sum(price is not None for price in paper.prices) == 5
