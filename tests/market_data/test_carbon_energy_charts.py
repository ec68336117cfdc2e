"""Carbon of energy-charts: computed where it is, forecast elsewhere, gaps as gaps, nothing guessed about what it counts."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import aiohttp
import pytest

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import CarbonBasis, CarbonKind, CarbonMeasure, CarbonScope, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.carbon_energy_charts import EnergyChartsCarbon
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import ScriptedPeer

DAY = DeliveryDay(day=date(2026, 10, 3), zone="Europe/Berlin")
Values = Sequence[float | None]


def document(measured: Values, forecast: Values, **changes: Any) -> dict[str, Any]:
    seconds = [int(start.timestamp()) for start in DAY.grid().starts()]
    return {"unix_seconds": seconds, "co2eq": list(measured), "co2eq_forecast": list(forecast), **changes}


def answer(peer: ScriptedPeer, content: object) -> None:
    peer.answers.clear()
    peer.reply(json.dumps(content).encode(), content_type="application/json")


@pytest.fixture
def source(peer: ScriptedPeer, session: aiohttp.ClientSession) -> EnergyChartsCarbon:
    clock = HandClock(DAY.interval.start + timedelta(hours=12))
    return EnergyChartsCarbon(zone="DE_LU", country="DE", session=session, clock=clock, url=peer.url)


async def test_what_is_computed_goes_before_a_forecast(source: EnergyChartsCarbon, peer: ScriptedPeer) -> None:
    measured = [400.5] * 48 + [None] * 48
    answer(peer, document(measured, [None] * 48 + [300.0] * 47 + [None]))
    found = await source.fetch("DE_LU", DAY)
    assert found is not None
    assert found.intensity_g_per_kwh[:48] == (400.5,) * 48
    assert found.intensity_g_per_kwh[48:] == (300.0,) * 47 + (None,)
    assert found.quality is Quality.ESTIMATED
    assert found.measure == CarbonMeasure(
        kind=CarbonKind.AVERAGE, basis=CarbonBasis.UNSTATED, scope=CarbonScope.UNSTATED
    )
    assert dict(peer.asked[0].query) == {"country": "de", "start": "2026-10-03", "end": "2026-10-03"}


async def test_a_whole_day_that_was_computed_is_final(source: EnergyChartsCarbon, peer: ScriptedPeer) -> None:
    answer(peer, document([350.0] * 96, []))
    found = await source.fetch("DE_LU", DAY)
    assert found is not None
    assert (found.quality, found.is_complete) == (Quality.FINAL, True)


@pytest.mark.parametrize("status", [204, 404])
async def test_a_day_that_is_not_there_is_none(source: EnergyChartsCarbon, peer: ScriptedPeer, status: int) -> None:
    peer.reply(status=status)
    assert await source.fetch("DE_LU", DAY) is None
    answer(peer, document([None] * 96, [None] * 96))
    assert await source.fetch("DE_LU", DAY) is None


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (document([1.0] * 95, []), "co2eq"),
        (document([-1.0] + [1.0] * 95, []), "co2eq at"),
        (document([1.0] * 96, [], unix_seconds=[0] * 96), "unix_seconds"),
        (document([1.0] * 96, [], unix_seconds="soon"), "unix_seconds"),
        ([], "co2eq"),
    ],
)
async def test_a_reply_that_breaks_a_rule_is_refused(
    source: EnergyChartsCarbon, peer: ScriptedPeer, content: object, field: str
) -> None:
    answer(peer, content)
    with pytest.raises(InvalidInput) as refusal:
        await source.fetch("DE_LU", DAY)
    assert refusal.value.field.startswith(field)


async def test_another_place_and_a_wrong_country_are_refused(
    source: EnergyChartsCarbon, peer: ScriptedPeer, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(InvalidInput, match="not the place"):
        await source.fetch("FR", DAY)
    assert peer.asked == []
    with pytest.raises(InvalidInput, match="two or three letters"):
        EnergyChartsCarbon(zone="DE_LU", country="d3", session=session, clock=HandClock())


async def test_a_server_in_trouble_is_no_value(source: EnergyChartsCarbon, peer: ScriptedPeer) -> None:
    peer.reply(b"busy", status=503)
    with pytest.raises(PeerUnavailable, match="status 503"):
        await source.fetch("DE_LU", DAY)
