"""The doors of the market over HTTP, in one process with the test, and the program as a process of its own."""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time as machine_time
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from lxml import etree

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.clock import ClockAnchor, SandboxClock, write_anchor
from gateway.sandbox.market import MarketOptions, create_app
from gateway.sandbox.market_recorded import MARKET_ZONE

DAY = DeliveryDay(day=date(2025, 10, 15), zone=MARKET_ZONE)
AUCTION = "CWE_QH_DA_1-20251014"
ROOT = Path(__file__).resolve().parents[2]

Ask = Callable[..., Awaitable[tuple[int, Any]]]


class Market:
    """The market's application on loopback, with its clock."""

    def __init__(self, url: str, clock: Path, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._clock = clock
        self._session = session
        self._token = ""

    def set(self, when: datetime) -> None:
        anchor = ClockAnchor(market_anchor=when, monotonic_anchor=machine_time.monotonic(), speed=1e-9)
        write_anchor(self._clock, anchor)
        machine_time.sleep(0.03)

    async def entsoe(self, **params: str) -> tuple[int, bytes, dict[str, str]]:
        async with self._session.get(f"{self.url}/entsoe/api", params=params) as response:
            return response.status, await response.read(), dict(response.headers)

    async def carbon(self, endpoint: str, token: str = "sandbox-token", **params: str) -> tuple[int, Any]:
        url = f"{self.url}/carbon/v3/carbon-intensity/{endpoint}"
        async with self._session.get(url, params=params, headers={"auth-token": token}) as response:
            return response.status, await response.json()

    async def login(self, **changed: str) -> tuple[int, Any]:
        form = {
            "grant_type": "password",
            "scope": "auction_api",
            "username": "sandbox-trader",
            "password": "sandbox-password",
        }
        client = aiohttp.encode_basic_auth("client_auction_api", "client_auction_api")
        async with self._session.post(
            f"{self.url}/exchange/connect/token", data={**form, **changed}, headers={"Authorization": client}
        ) as response:
            return response.status, await response.json()

    async def exchange(self, method: str, path: str, body: Any = None, **params: str) -> tuple[int, Any]:
        if not self._token:
            self._token = (await self.login())[1]["access_token"]
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        async with self._session.request(
            method,
            f"{self.url}/exchange/api/v1{path}",
            data=data,
            params=params,
            headers={"Authorization": f"Bearer {self._token}"},
        ) as response:
            return response.status, await response.json()


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    clock = tmp_path / "clock.json"
    anchor = ClockAnchor(market_anchor=DAY.next(-1).at(time(11)), monotonic_anchor=machine_time.monotonic(), speed=1e-9)
    write_anchor(clock, anchor)
    runner = web.AppRunner(create_app(MarketOptions(), SandboxClock(clock), 1), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Market(f"http://127.0.0.1:{runner.addresses[0][1]}", clock, session)
    await runner.cleanup()


def a44(**changed: str) -> dict[str, str]:
    area = "10YBE----------2"
    params = {
        "securityToken": "sandbox-token",
        "documentType": "A44",
        "in_Domain": area,
        "out_Domain": area,
        "periodStart": "202510142200",
        "periodEnd": "202510152200",
    }
    return {**params, **changed}


async def test_a_document_repeats_no_price(market: Market) -> None:
    market.set(DAY.at(time(8)))
    _, body, headers = await market.entsoe(**a44())
    root = etree.fromstring(body)
    values = [element.text for element in root.findall(".//{*}price.amount")]
    positions = [int(element.text or "") for element in root.findall(".//{*}position")]
    assert all(a != b for a, b in itertools.pairwise(values))
    assert positions == sorted(set(positions))
    assert positions[0] == 1
    assert root.findtext(".//{*}curveType") == "A03"
    assert "X-Stand-In" not in headers


async def test_whole_days_that_are_touched_are_served(market: Market) -> None:
    market.set(DAY.at(time(8)))
    _, body, _ = await market.entsoe(**a44(periodStart="202510130000", periodEnd="202510150000"))
    starts = [element.text for element in etree.fromstring(body).findall(".//{*}Period/{*}timeInterval/{*}start")]
    assert starts == ["2025-10-12T22:00Z", "2025-10-13T22:00Z", "2025-10-14T22:00Z"]


async def test_parameter_names_may_begin_with_either_case(market: Market) -> None:
    market.set(DAY.at(time(8)))
    params = {name[:1].upper() + name[1:]: value for name, value in a44().items()}
    assert (await market.entsoe(**params))[0] == 200


@pytest.mark.parametrize(
    ("changed", "status", "text"),
    [
        ({}, 200, "No matching data found"),
        ({"offset": "100", "periodStart": "202510122200", "periodEnd": "202510132200"}, 200, "No matching data found"),
        ({"periodEnd": "202710152200"}, 400, "too long"),
        ({"periodEnd": "202510142200"}, 400, "after periodStart"),
        ({"periodStart": "soon"}, 400, "malformed"),
        ({"in_Domain": "10YNL----------L"}, 400, "Invalid value"),
        ({"documentType": "A65"}, 400, "not valid"),
        ({"documentType": "A85"}, 400, "Invalid value"),
    ],
)
async def test_what_cannot_be_served_is_acknowledged(
    market: Market, changed: dict[str, str], status: int, text: str
) -> None:
    got, body, headers = await market.entsoe(**a44(**changed))
    assert got == status
    assert headers["Content-Type"] == "text/xml; charset=UTF-8"
    root = etree.fromstring(body)
    assert str(root.tag).endswith("Acknowledgement_MarketDocument")
    assert root.findtext(".//{*}code") == "999"
    assert text in (root.findtext(".//{*}text") or "")


async def test_a_wrong_token_gets_the_platforms_page(market: Market) -> None:
    status, body, headers = await market.entsoe(**a44(securityToken="x"))
    assert (status, headers["Content-Type"]) == (401, "text/html; charset=utf-8")
    assert b"Unauthorized" in body


async def test_imbalance_prices_come_in_an_archive(market: Market) -> None:
    market.set(DAY.at(time(1, 7)))
    params = {**a44(documentType="A85"), "controlArea_Domain": "10YBE----------2"}
    _, body, _ = await market.entsoe(**{**params, "periodStart": "202510132200"})
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        names = archive.namelist()
        status = [etree.fromstring(archive.read(name)).findtext("{*}docStatus/{*}value") for name in names]
        early = etree.fromstring(archive.read(names[1]))
    assert len(names) == 2
    assert status == ["A01", "A01"]
    assert len(early.findall(".//{*}Point")) == 2 * 4


@pytest.mark.parametrize(
    ("endpoint", "params", "key", "count"),
    [
        ("past-range", {"start": "2025-10-13T22:00:00Z", "end": "2025-10-14T22:00:00Z"}, "data", 44),
        ("past-range", {"start": "2025-10-13T22:00:00", "end": "2025-10-14T00:00:00"}, "data", 8),
        ("history", {}, "history", 96),
        ("forecast", {"horizonHours": "24"}, "forecast", 97),
    ],
)
async def test_carbon_comes_in_quarter_hours(
    market: Market, endpoint: str, params: dict[str, str], key: str, count: int
) -> None:
    status, document = await market.carbon(endpoint, zone="BE", temporalGranularity="15_minutes", **params)
    assert status == 200
    assert document["signalType"] == "marginal"
    assert len(document[key]) == count


async def test_an_hour_is_the_mean_of_its_quarters(market: Market) -> None:
    span = {"zone": "BE", "start": "2025-10-14T00:00:00Z", "end": "2025-10-14T01:00:00Z"}
    _, quarters = await market.carbon("past-range", temporalGranularity="15_minutes", **span)
    _, hours = await market.carbon("past-range", temporalGranularity="hourly", **span)
    mean = sum(row["carbonIntensity"] for row in quarters["data"]) / 4
    assert hours["data"][0]["carbonIntensity"] == pytest.approx(mean, abs=0.051)


async def test_a_forecast_knows_nothing_of_the_future(market: Market) -> None:
    _, before = await market.carbon("forecast", zone="BE", temporalGranularity="15_minutes", horizonHours="48")
    by_time = {row["datetime"]: row["carbonIntensity"] for row in before["forecast"]}
    market.set(DAY.next().at(time(12)))
    _, after = await market.carbon(
        "past-range",
        zone="BE",
        temporalGranularity="15_minutes",
        start="2025-10-14T10:00:00Z",
        end="2025-10-15T10:00:00Z",
    )
    same = [row["carbonIntensity"] == by_time[row["datetime"]] for row in after["data"]]
    assert not all(same)
    market.set(DAY.at(time(11)))
    _, past = await market.carbon(
        "past-range",
        zone="BE",
        temporalGranularity="15_minutes",
        start="2025-10-13T10:00:00Z",
        end="2025-10-14T08:45:00Z",
    )
    shifted = {row["datetime"].replace("2025-10-13", "2025-10-14"): row["carbonIntensity"] for row in past["data"][:20]}
    assert all(by_time[at] == value for at, value in shifted.items())


@pytest.mark.parametrize(
    ("endpoint", "token", "params", "status"),
    [
        ("latest", "wrong", {"zone": "BE"}, 401),
        ("latest", "sandbox-token", {"zone": "NL"}, 404),
        ("nothing", "sandbox-token", {"zone": "BE"}, 404),
        ("latest", "sandbox-token", {"zone": "BE", "temporalGranularity": "daily"}, 400),
        ("forecast", "sandbox-token", {"zone": "BE", "horizonHours": "25"}, 400),
        ("past-range", "sandbox-token", {"zone": "BE", "start": "2025-10-14T00:00:00Z"}, 400),
        (
            "past-range",
            "sandbox-token",
            {"zone": "BE", "start": "2025-10-01T00:00:00Z", "end": "2025-10-14T00:00:00Z"},
            400,
        ),
        ("latest", "sandbox-token", {"zone": "BE"}, 200),
    ],
)
async def test_carbon_requests_are_checked(
    market: Market, endpoint: str, token: str, params: dict[str, str], status: int
) -> None:
    assert (await market.carbon(endpoint, token=token, **params))[0] == status


@pytest.mark.parametrize(
    "changed", [{"password": "x"}, {"username": "x"}, {"grant_type": "client_credentials"}, {"scope": "x"}]
)
async def test_a_wrong_login_gets_no_token(market: Market, changed: dict[str, str]) -> None:
    assert (await market.login(**changed))[0] == 400


async def test_without_token_the_exchange_says_nothing(market: Market) -> None:
    market._token = "made-up"
    status, problem = await market.exchange("GET", f"/auctions/{AUCTION}")
    assert (status, problem["status"]) == (401, 401)


def curve_order(**changed: Any) -> dict[str, Any]:
    points = [
        {"price": -500, "volume": 2.5},
        {"price": 60, "volume": 2.5},
        {"price": 60.01, "volume": 0},
        {"price": 4000, "volume": 0},
    ]
    order = {
        "auctionId": AUCTION,
        "portfolio": "BE-EV",
        "areaCode": "BE",
        "comment": "key",
        "curves": [{"contractId": "CWE_QH_DA_1-20251015-01", "curvePoints": points}],
    }
    return {**order, **changed}


async def test_a_curve_order_is_placed_changed_and_cancelled(market: Market) -> None:
    status, placed = await market.exchange("POST", "/curveorders", curve_order())
    assert status == 201
    assert (placed["state"], placed["comment"], placed["resolutionSeconds"]) == ("Accepted", "key", 900)
    path = f"/curveorders/{placed['orderId']}"
    more = curve_order()["curves"][0] | {"contractId": "CWE_QH_DA_1-20251015-02"}
    _, changed = await market.exchange("PATCH", path, {"curves": [more]})
    assert [curve["contractId"][-2:] for curve in changed["curves"]] == ["01", "02"]
    assert (await market.exchange("GET", path))[1]["comment"] == "key"
    _, gone = await market.exchange("PATCH", path, {"curves": [], "comment": "not any more"})
    assert (gone["state"], gone["comment"]) == ("Cancelled", "not any more")
    assert [version["state"] for version in (await market.exchange("GET", f"{path}/versions"))[1]][-1] == "Cancelled"
    assert (await market.exchange("GET", "/curveorders/none"))[0] == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "$"),
        (b"[]", "$"),
        (b'{"curves": [{"contractId": "x", "curvePoints": [{"price": NaN, "volume": 1}]}]}', "$"),
        (curve_order(curves="all"), "curves"),
        (curve_order(curves=[]), "curves"),
        (curve_order(auctionId=None), "auctionId"),
        (curve_order(comment="x" * 256), "comment"),
        (curve_order(comment=3), "comment"),
        (
            curve_order(curves=[{"contractId": "a", "curvePoints": [{"price": "50", "volume": 1}]}]),
            "curves[0].curvePoints[0].price",
        ),
        (curve_order(curves=[{"curvePoints": []}]), "curves[0].contractId"),
        (curve_order(curves=curve_order()["curves"] * 2), "curves[1].contractId"),
    ],
)
async def test_a_body_that_is_no_order_names_the_field(market: Market, body: Any, field: str) -> None:
    status, problem = await market.exchange("POST", "/curveorders", body)
    assert status == 400
    assert list(problem["errors"]) == [field]


async def test_blocks_are_placed_and_cleared(market: Market) -> None:
    periods = [{"contractId": f"CWE_QH_DA_1-20251015-{n:02}", "volume": 1.5} for n in (9, 10)]
    blocks = [
        {"name": "B1", "price": 400, "minimumAcceptanceRatio": None, "periods": periods},
        {"name": "B2", "price": -400.5, "minimumAcceptanceRatio": 0.67, "linkedTo": "B1", "periods": periods},
    ]
    body = {"auctionId": AUCTION, "portfolio": "BE-EV", "areaCode": "BE", "blocks": blocks}
    status, placed = await market.exchange("POST", "/blockorders", body)
    assert status == 201
    assert [block["state"] for block in placed["blocks"]] == ["Accepted", "Accepted"]
    assert placed["blocks"][0]["minimumAcceptanceRatio"] == 1
    assert (await market.exchange("POST", "/blockorders", {**body, "blocks": []}))[0] == 400
    await market.exchange("PATCH", f"/blockorders/{placed['orderId']}", {"blocks": [{**blocks[1], "price": -300}]})
    market.set(DAY.next(-1).at(time(12, 45)))
    market._token = ""
    _, trades = await market.exchange("GET", f"/auctions/{AUCTION}/trades", portfolios="BE-EV")
    assert [(trade["volume"], trade["side"]) for trade in trades[0]["trades"]] == [(1.5, "Buy"), (1.5, "Buy")]
    assert trades[0]["orderResultType"] == "Block"
    _, orders = await market.exchange("GET", f"/auctions/{AUCTION}/orders", areas="BE")
    assert orders["curveOrders"] == []
    assert orders["blockLists"][0]["blocks"][1]["price"] == -300
    _, volumes = await market.exchange("GET", f"/auctions/{AUCTION}/portfoliovolumes")
    net = volumes["portfolioNetVolumes"][0]["areaNetVolumes"][0]["netVolumes"]
    assert sum(row["netVolume"] for row in net) == 3
    assert len(net) == 96
    assert (await market.exchange("GET", f"/auctions/{AUCTION}/trades", portfolios="OTHER"))[1] == []


async def test_results_are_not_there_before_their_time(market: Market) -> None:
    for what in ("prices", "trades"):
        status, problem = await market.exchange("GET", f"/auctions/{AUCTION}/{what}")
        assert status == 404
        assert problem["type"].endswith("results-not-published")


async def test_a_list_must_have_a_sensible_range(market: Market) -> None:
    for start, end in (("2025-10-14", "soon"), ("2025-10-14", "2025-10-13"), ("2025-10-14", "2026-10-14")):
        status, _ = await market.exchange("GET", "/auctions", closeBiddingFrom=start, closeBiddingTo=end)
        assert status == 400


async def test_a_fault_that_does_not_exist_is_refused(market: Market) -> None:
    async with aiohttp.ClientSession() as session:
        for fault in (
            {"door": "bank", "kind": "reset"},
            {"door": "brp", "kind": "explode"},
            {"door": "brp", "kind": "reset", "count": 0},
        ):
            async with session.post(f"{market.url}/control/faults", json=fault) as response:
                assert response.status == 400


async def test_faults_wait_for_their_request_and_end(market: Market) -> None:
    async with aiohttp.ClientSession() as session:
        fault = {"door": "carbon", "kind": "status-503", "count": 2, "path": "latest"}
        async with session.post(f"{market.url}/control/faults", json=fault) as response:
            assert response.status == 201
        assert (await market.entsoe(**a44()))[0] == 200
        for expected in (503, 503, 200):
            url = f"{market.url}/carbon/v3/carbon-intensity/latest"
            async with session.get(url, params={"zone": "BE"}, headers={"auth-token": "sandbox-token"}) as response:
                assert response.status == expected
        async with session.get(f"{market.url}/control/faults") as response:
            assert await response.json() == []
        async with session.get(f"{market.url}/control/requests") as response:
            assert (await response.json())["GET /carbon/v3/carbon-intensity/latest"] == 3


def brp_body(**changed: Any) -> dict[str, Any]:
    periods = [
        {"start": slot.start.isoformat(), "end": slot.end.isoformat() if slot.end else "", "volumeMw": "0.1"}
        for slot in (DAY.grid().slot(i) for i in range(96))
    ]
    body = {
        "award": "a",
        "portfolio": "BE-EV",
        "connectionPoint": "541448820000000011",
        "brp": "brp-demo",
        "deliveryDay": "2025-10-15",
        "periods": periods,
    }
    return {**body, **changed}


def with_period(index: int, **changed: Any) -> dict[str, Any]:
    body = brp_body()
    body["periods"][index] = {**body["periods"][index], **changed}
    return body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        (brp_body(brp="other"), "brp: must be brp-demo"),
        (brp_body(portfolio="OTHER"), "portfolio: unknown"),
        (brp_body(award=""), "award: must be a text"),
        (brp_body(deliveryDay="15.10.2025"), "deliveryDay"),
        (brp_body(periods=brp_body()["periods"][:95]), "must be the day's 96 quarter-hours"),
        (brp_body(deliveryDay="2025-10-26"), "must be the day's 100 quarter-hours"),
        (with_period(3, start="2025-10-14T22:00:00"), "periods[3]"),
        (with_period(3, end="late"), "periods[3]"),
        (with_period(3, volumeMw=0.1), "periods[3].volumeMw"),
        (with_period(3, volumeMw="NaN"), "periods[3].volumeMw"),
        (with_period(3, volumeMw="much"), "periods[3].volumeMw"),
    ],
)
async def test_the_brp_says_why_it_rejects(market: Market, body: Any, reason: str) -> None:
    headers = {"Authorization": "Bearer sandbox-token"}
    text = body if isinstance(body, str) else json.dumps(body)
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{market.url}/brp/nominations/n1", data=text, headers=headers) as response,
    ):
        assert response.status == 422
        assert reason in (await response.json())["reason"]


def start_program(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway.sandbox.market", "--ready", str(folder / "ready.json"), *more]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


def wait_for_ready(folder: Path) -> dict[str, str]:
    while not (folder / "ready.json").exists():
        machine_time.sleep(0.02)
    document: dict[str, str] = json.loads((folder / "ready.json").read_text())
    return document


async def test_the_program_says_where_it_is_and_stops_when_told(tmp_path: Path) -> None:
    process = start_program(tmp_path, "--portfolio", "P1", "--portfolio", "P2")
    ready = wait_for_ready(tmp_path)
    assert all(value.startswith("http://127.0.0.1:") for name, value in ready.items() if name.endswith("url"))
    async with aiohttp.ClientSession() as session, session.get(f"{ready['control_url']}/requests") as response:
        assert await response.json() == {}
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    lines = errors.decode().splitlines()
    assert len(lines) == 2
    assert "listens on" in lines[0]
    assert "stopped" in lines[1]


def test_a_market_without_a_parent_ends(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            f"child = subprocess.Popen([sys.executable, '-m', 'gateway.sandbox.market', '--ready', {str(tmp_path / 'ready.json')!r}],"
            " stderr=subprocess.DEVNULL)\nprint(child.pid, flush=True)\ntime.sleep(60)",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_for_ready(tmp_path)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(200):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if "Z" in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]:
            return
        machine_time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the market outlived its parent")
