"""Carbon from WattTime and from the UK API over real sockets: units, tokens, and what is measured and what is not."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import CarbonBasis, CarbonKind, CarbonMeasure, CarbonScope, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.carbon_uk import UkCarbonIntensity
from gateway.market_data.carbon_watttime import WattTime, WattTimeAccount
from gateway.market_data.http_fetch import FetchCaps
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import ScriptedPeer

CAPS = FetchCaps(connect_s=1.0, total_s=1.0)
CANARY = "canary-watttime-password"
US_DAY = DeliveryDay(day=date(2026, 4, 1), zone="America/Los_Angeles")
GB_DAY = DeliveryDay(day=date(2026, 10, 4), zone="Europe/London")
FIVE, HALF = timedelta(minutes=5), timedelta(minutes=30)
REPLIES = Path(__file__).parent / "replies"


class WattTimeServer:
    """Login, tokens that die, and five-minute points up to now; the rest is forecast."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.value = 412.5
        self.units = "lbs_co2_per_mwh"
        self.logins = 0
        self.token = ""
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path == "/login":
            wanted = base64.b64encode(f"who:{CANARY}".encode()).decode()
            if request.headers["Authorization"] != f"Basic {wanted}":
                return web.Response(status=401)
            self.logins += 1
            self.token = f"token-{self.logins}"
            return web.json_response({"token": self.token})
        if request.headers["Authorization"] != f"Bearer {self.token}":
            return web.Response(status=401)
        if request.path == "/v3/historical":
            start, end = (datetime.fromisoformat(request.query[name]) for name in ("start", "end"))
        else:
            start = self.clock.now().replace(second=0, microsecond=0)
            end = start + timedelta(hours=int(request.query["horizon_hours"]))
        return web.json_response(self.document(start, end))

    def document(self, start: datetime, end: datetime) -> dict[str, Any]:
        points = [start + FIVE * i for i in range((end - start) // FIVE + 1)]
        return {
            "data": [{"point_time": point.isoformat(), "value": self.value} for point in points],
            "meta": {
                "data_point_period_seconds": 300,
                "region": "CAISO_NORTH",
                "signal_type": "co2_moer",
                "units": self.units,
                "generated_at": "2026-04-01T18:00:00+00:00",
            },
        }


@pytest.fixture
def clock() -> HandClock:
    return HandClock(US_DAY.interval.start + timedelta(hours=12))


@pytest.fixture
def server(peer: ScriptedPeer, clock: HandClock) -> WattTimeServer:
    served = WattTimeServer(clock)
    peer.answers.append(served.answer)
    return served


@pytest.fixture
def watttime(server: WattTimeServer, peer: ScriptedPeer, session: aiohttp.ClientSession, clock: HandClock) -> WattTime:
    account = WattTimeAccount(username="who", password=CANARY, region="CAISO_NORTH", zone="CAISO_NORTH", url=peer.url)
    return WattTime(account=account, session=session, clock=clock, caps=CAPS)


async def test_23_pounds_per_mwh_are_grams_per_kwh(watttime: WattTime) -> None:
    """412.5 lbs/MWh are 187.1 g/kWh."""
    found = await watttime.fetch("CAISO_NORTH", US_DAY)
    assert found is not None
    assert found.is_complete
    assert found.intensity_g_per_kwh[0] == pytest.approx(187.1, abs=0.01)
    assert found.measure == CarbonMeasure(
        kind=CarbonKind.MARGINAL, basis=CarbonBasis.DIRECT, scope=CarbonScope.UNSTATED
    )
    assert found.quality is Quality.ESTIMATED
    assert found.issued_at == datetime(2026, 4, 1, 18, tzinfo=UTC)


async def test_a_day_that_is_over_is_history_alone(
    watttime: WattTime, server: WattTimeServer, clock: HandClock
) -> None:
    clock.set(US_DAY.next().interval.start + timedelta(hours=1))
    found = await watttime.fetch("CAISO_NORTH", US_DAY)
    assert found is not None
    assert (found.quality, found.issued_at, found.is_complete) == (Quality.FINAL, None, True)
    assert server.asked == ["/login", "/v3/historical"]


async def test_a_token_that_died_is_renewed_once(watttime: WattTime, server: WattTimeServer) -> None:
    assert await watttime.fetch("CAISO_NORTH", US_DAY) is not None
    server.token = "died after thirty minutes"
    assert await watttime.fetch("CAISO_NORTH", US_DAY) is not None
    assert server.logins == 2


async def test_a_token_that_never_holds_is_no_loop(
    watttime: WattTime, server: WattTimeServer, peer: ScriptedPeer
) -> None:
    async def forget(request: web.Request) -> web.StreamResponse:
        answer = await server.answer(request)
        server.token = ""
        return answer

    peer.answers[:] = [forget]
    with pytest.raises(InvalidInput, match="token"):
        await watttime.fetch("CAISO_NORTH", US_DAY)
    assert server.asked == ["/login", "/v3/historical"] * 2


async def test_a_wrong_password_is_told_without_it(
    server: WattTimeServer, peer: ScriptedPeer, session: aiohttp.ClientSession, clock: HandClock
) -> None:
    account = WattTimeAccount(username="who", password="canary-wrong", region="R", zone="R", url=peer.url)
    assert "canary" not in repr(account)
    with pytest.raises(InvalidInput) as refusal:
        await WattTime(account=account, session=session, clock=clock, caps=CAPS).fetch("R", US_DAY)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(("units", "factor"), [("kg_co2_per_kwh", 1000.0), ("g_co2_per_kwh", 1.0)])
async def test_the_unit_is_read(watttime: WattTime, server: WattTimeServer, units: str, factor: float) -> None:
    server.units, server.value = units, 0.243
    found = await watttime.fetch("CAISO_NORTH", US_DAY)
    assert found is not None
    assert found.intensity_g_per_kwh[5] == pytest.approx(0.243 * factor)


async def test_an_unknown_unit_is_refused(watttime: WattTime, server: WattTimeServer) -> None:
    server.units = "stones_per_acre"
    with pytest.raises(InvalidInput, match=r"meta\.units"):
        await watttime.fetch("CAISO_NORTH", US_DAY)


async def test_too_many_requests_are_waited_out(watttime: WattTime, peer: ScriptedPeer, clock: HandClock) -> None:
    peer.answers.clear()
    peer.reply(status=429)
    for _ in range(3):
        with pytest.raises(PeerUnavailable):
            await watttime.fetch("CAISO_NORTH", US_DAY)
    assert len(peer.asked) == 1
    clock.move(minutes=1)
    with pytest.raises(PeerUnavailable):
        await watttime.fetch("CAISO_NORTH", US_DAY)
    assert len(peer.asked) == 2


# ---------------------------------------------------------------- Great Britain

Uk = Callable[..., UkCarbonIntensity]


@pytest.fixture
def uk(peer: ScriptedPeer, session: aiohttp.ClientSession, clock: HandClock) -> Uk:
    def make(postcode: str | None = None) -> UkCarbonIntensity:
        return UkCarbonIntensity(zone="GB", postcode=postcode, session=session, clock=clock, url=peer.url, caps=CAPS)

    return make


def half_hours(count: int = 48, *, actual: int = 0, forecast: int | None = 200) -> dict[str, Any]:
    starts = [GB_DAY.grid().start + HALF * i for i in range(count)]
    return {
        "data": [
            {
                "from": f"{start:%Y-%m-%dT%H:%MZ}",
                "to": f"{start + HALF:%Y-%m-%dT%H:%MZ}",
                "intensity": {"forecast": forecast, "actual": 100 + i if i < actual else None, "index": "low"},
            }
            for i, start in enumerate(starts)
        ]
    }


async def test_measured_half_hours_come_before_forecasts(uk: Uk, peer: ScriptedPeer) -> None:
    peer.reply(json.dumps(half_hours(actual=10)).encode())
    found = await uk().fetch("GB", GB_DAY)
    assert found is not None
    assert found.intensity_g_per_kwh[18:22] == (109.0, 109.0, 200.0, 200.0)
    assert found.quality is Quality.ESTIMATED
    assert (found.basis, found.scope) == (CarbonBasis.DIRECT, CarbonScope.CONSUMPTION)
    peer.answers.clear()
    peer.reply(json.dumps(half_hours(actual=48)).encode())
    measured = await uk().fetch("GB", GB_DAY)
    assert measured is not None
    assert measured.quality is Quality.FINAL


async def test_a_real_regional_reply(uk: Uk, peer: ScriptedPeer) -> None:
    """London on 3 and 4 October 2026, as served: no actual values, keys in any order, times without seconds."""
    peer.reply((REPLIES / "uk_carbon_sw1a.json").read_bytes())
    found = await uk("SW1A").fetch("GB", GB_DAY)
    assert found is not None
    assert found.is_complete
    assert found.quality is Quality.ESTIMATED
    assert "/postcode/SW1A" in peer.asked[0].path


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"to": "2026-10-04T07:00Z"}, "data[3].to", id="an hour"),
        pytest.param({"from": "2026-10-03T23:00Z", "to": "2026-10-03T23:30Z"}, "data[3].from", id="twice"),
        pytest.param({"intensity": {"forecast": -1}}, "data[3].intensity.forecast", id="negative"),
        pytest.param({"intensity": None}, "data[3].intensity", id="nothing"),
    ],
)
async def test_a_reply_that_breaks_a_rule_is_refused_by_place(
    uk: Uk, peer: ScriptedPeer, change: dict[str, Any], field: str
) -> None:
    document = half_hours()
    document["data"][3] |= change
    peer.reply(json.dumps(document).encode())
    with pytest.raises(InvalidInput) as refusal:
        await uk().fetch("GB", GB_DAY)
    assert refusal.value.field == field


async def test_unknown_is_a_gap(uk: Uk, peer: ScriptedPeer) -> None:
    peer.reply(json.dumps(half_hours(forecast=None)).encode())
    assert await uk().fetch("GB", GB_DAY) is None


@pytest.mark.parametrize("postcode", ["", "S", "SW1A 1AA", "../x"])
async def test_a_postcode_is_an_outward_code(uk: Uk, postcode: str) -> None:
    with pytest.raises(InvalidInput, match="postcode"):
        uk(postcode)
