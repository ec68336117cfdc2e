"""A plan and a cost say what they were made from and how far it may be trusted: prices, carbon with its issue time, the tariff."""

import csv
import io
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.domain.series import CarbonBasis, CarbonKind, CarbonSeries, PriceProduct, Quality
from gateway.domain.site_tariff import ILLUSTRATIVE
from gateway.domain.used_inputs import InputKind, UsedInput, provenance, qualities
from gateway.market_data.site_tariff_file import load_site_tariff
from gateway.rpc.bid_messages import input_message, tariff_cost_message
from gateway.storage.codec import decode, encode
from gateway.web.trader_view import csv_lines, period_rows
from tests.services.market_scene import DAY, TENANT, ZONE, MarketScene
from tests.services.test_tariff_day import cost_of, on_tariff

GERMAN = Path(__file__).resolve().parents[2] / "config" / "tariffs" / "de_depot_2025.toml"


@pytest.fixture
async def scene() -> MarketScene:
    return await MarketScene().with_past()


def intensity(offset: int, issued_at: datetime, *, quality: Quality = Quality.ESTIMATED) -> CarbonSeries:
    day = DAY.next(offset)
    return CarbonSeries(
        id=f"carbon-{offset}-{quality.value}",
        zone="BE",
        kind=CarbonKind.AVERAGE,
        basis=CarbonBasis.LIFECYCLE,
        grid=day.grid(),
        intensity_g_per_kwh=(250.0,) * day.grid().count,
        source="feed",
        fetched_at=issued_at + timedelta(minutes=5 + offset),
        quality=quality,
        licence="l",
        issued_at=issued_at,
    )


def of(kind: InputKind, inputs: tuple[UsedInput, ...]) -> list[UsedInput]:
    return [one for one in inputs if one.kind is kind]


async def test_a_plan_names_carbon_forecast_tariff_and_its_own_price_forecast(scene: MarketScene) -> None:
    issued = scene.clock.now() - timedelta(hours=2)
    older = intensity(0, issued - timedelta(hours=6), quality=Quality.PRELIMINARY)
    await scene.store.seed(TENANT, older, *(intensity(offset, issued) for offset in (-1, 0, 1)))
    tariff = replace(load_site_tariff(GERMAN), time_zone=ZONE)
    scene.planner = scene.new_planner(carbon_eur_per_tonne=80.0, site_tariff=tariff)
    outcome = await scene.plan()
    inputs = outcome.plan.inputs
    [prices] = of(InputKind.PRICES, inputs)
    assert (prices.quality, prices.source, prices.what) == ("forecast", "own model", "day-ahead-sdac")
    assert prices.issued_at == outcome.plan.made_at
    carbon = of(InputKind.CARBON, inputs)
    assert {one.series for one in carbon} == {"carbon--1-estimated", "carbon-0-estimated", "carbon-1-estimated"}
    assert {(one.quality, one.issued_at) for one in carbon} == {("estimated", issued)}
    assert carbon[0].what == "carbon intensity (average, lifecycle)"
    [layers] = of(InputKind.TARIFF, inputs)
    assert (layers.quality, layers.what) == ("estimated", tariff.name)
    assert layers.note == f"{ILLUSTRATIVE}: metering"
    assert decode(type(outcome.plan), encode(outcome.plan)) == outcome.plan


async def test_published_prices_are_named_with_their_quality(scene: MarketScene) -> None:
    scene.clock.set(scene.gate + timedelta(hours=1))
    await scene.publish(DAY, PriceProduct.DAY_AHEAD_SDAC)
    outcome = await scene.plan()
    [prices] = of(InputKind.PRICES, outcome.plan.inputs)
    assert (prices.quality, prices.series) == ("final", outcome.plan.price_series)
    assert not of(InputKind.CARBON, outcome.plan.inputs)
    assert not of(InputKind.TARIFF, outcome.plan.inputs)


async def test_a_tariff_without_examples_is_final(scene: MarketScene) -> None:
    whole = load_site_tariff(GERMAN)
    real = replace(whole, time_zone=ZONE, layers=tuple(one for one in whole.layers if not one.is_illustrative))
    scene.planner = scene.new_planner(site_tariff=real)
    [layers] = of(InputKind.TARIFF, (await scene.plan()).plan.inputs)
    assert (layers.quality, layers.note) == ("final", "")


async def test_the_export_and_the_contract_say_the_same(scene: MarketScene) -> None:
    issued = scene.clock.now() - timedelta(hours=2)
    await scene.store.seed(TENANT, *(intensity(offset, issued) for offset in (-1, 0, 1)))
    scene.planner = scene.new_planner(carbon_eur_per_tonne=80.0)
    outcome = await scene.plan()
    assert outcome.bid is not None
    out = io.StringIO()
    csv.writer(out).writerows(csv_lines(outcome.bid, period_rows(outcome.bid, outcome.plan, None), outcome.plan.inputs))
    lines = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert {line["price_quality"] for line in lines} == {"forecast"}
    assert {line["carbon_quality"] for line in lines} == {"estimated"}
    assert {line["carbon_provenance"] for line in lines} == {provenance(outcome.plan.inputs, InputKind.CARBON)}
    assert f"forecast issued {issued:%Y-%m-%d %H:%M}Z" in lines[0]["carbon_provenance"]
    assert {line["tariff_quality"] for line in lines} == {""}
    messages = [input_message(one) for one in outcome.plan.inputs]
    assert [(one.kind, one.quality) for one in messages] == [("prices", "forecast"), *(("carbon", "estimated"),) * 3]
    assert messages[1].issue_time.ToDatetime(tzinfo=issued.tzinfo) == issued
    assert not messages[0].HasField("publish_time")


async def test_the_cost_of_a_day_on_a_tariff_says_what_it_was_computed_from() -> None:
    scene = await on_tariff()
    await scene.store.seed(TENANT, intensity(0, scene.clock.now()))
    scene.clock.set(DAY.next().interval.start)
    day = await cost_of(scene)
    assert [(one.kind, one.quality, one.series) for one in day.inputs] == [
        (InputKind.PRICES, "final", day.price_series),
        (InputKind.CARBON, "estimated", day.carbon_series),
    ]
    assert [one.quality for one in tariff_cost_message(day).inputs] == ["final", "estimated"]


def test_a_quality_is_said_once() -> None:
    one = UsedInput(kind=InputKind.CARBON, quality="final", source="s", what="w")
    many = (one, replace(one, quality="estimated"), one, replace(one, kind=InputKind.PRICES, quality="forecast"))
    assert qualities(many, InputKind.CARBON) == "final; estimated"
    assert not qualities((), InputKind.TARIFF)
