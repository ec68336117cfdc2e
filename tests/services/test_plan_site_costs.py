"""The optimiser sees what a site really pays: layers on top of the market's prices, and a charge on the month's highest power."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from bidding.optimum.site_plan import DemandTariff
from gateway.domain.bids import Schedule
from gateway.domain.errors import InvalidInput, PreconditionFailed
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.site_tariff import LayerKind, LayerUnit, SiteTariff, TariffLayer, TariffWindow
from gateway.domain.timegrid import TimeGrid
from gateway.market_data.site_tariff_file import load_site_tariff
from gateway.services.plan_bids.knowledge import KnowledgeReader
from gateway.services.plan_bids.records import market_rules
from gateway.services.plan_bids.settings import PlanSettings
from gateway.services.plan_bids.site_costs import layer_shift, peak_kw
from tests.services.market_scene import DAY, PORTFOLIO, TENANT, ZONE, MarketScene

TARIFFS = Path(__file__).resolve().parents[2] / "config" / "tariffs"


def depot(name: str = "de_depot_2025.toml") -> SiteTariff:
    """A German example on the market's clock of the scene, which is the same."""
    return replace(load_site_tariff(TARIFFS / name), time_zone=ZONE)


def flat(unit: LayerUnit, amount: str, **changes: object) -> SiteTariff:
    layer = TariffLayer(
        name="x",
        kind=LayerKind.NETWORK,
        unit=unit,
        valid_from=date(2025, 1, 1),
        valid_until=None,
        windows=(TariffWindow(amount=Decimal(amount)),),
    )
    made = SiteTariff(name="t", currency="EUR", time_zone=ZONE, source="s", licence="l", layers=(layer,))
    return replace(made, **changes)  # type: ignore[arg-type]  # fields of the tariff


def metered(point: str, grid: TimeGrid, kw: list[float], *, coverage: float = 1.0) -> list[MeteredPeriod]:
    return [
        MeteredPeriod(
            id=f"{point}:{grid.slot_start(i).isoformat()}",
            tenant=TENANT,
            connection_point=point,
            start=grid.slot_start(i),
            end=grid.slot_start(i) + grid.step,
            energy_kwh=power / 4.0,
            chargers_kwh=power / 4.0,
            coverage=coverage,
        )
        for i, power in enumerate(kw)
    ]


async def inputs(scene: MarketScene, tariff: SiteTariff | None):  # type: ignore[no-untyped-def]  # noqa: ANN201
    settings = PlanSettings(tenants=(TENANT,), history_days=14, site_tariff=tariff)
    reader = KnowledgeReader(scene.store, settings)
    scope = await reader.scope(TENANT, PORTFOLIO)
    return (await reader.read(scope, DAY, scene.clock.now(), market_rules(None, DAY, "EUR"))).inputs


def test_layers_are_a_shift_per_slot_of_the_whole_horizon() -> None:
    grid = TimeGrid(start=DAY.next(-1).interval.start + timedelta(hours=11), count=150)
    shift = layer_shift(depot("de_controllable_low_voltage_2025.toml"), grid, "EUR")
    by_clock = {
        start.astimezone(DAY.grid().start.tzinfo).hour: value for start, value in zip(grid.starts(), shift, strict=True)
    }
    assert len(shift) == 150
    assert np.isfinite(shift).all()
    assert max(by_clock.values()) - min(by_clock.values()) == pytest.approx(73.9)


async def test_every_point_gets_its_shift_and_its_own_peak_of_the_month() -> None:
    scene = await MarketScene().with_past()
    before = await inputs(scene, None)
    point = before.points[0].connection_point
    month = TimeGrid(start=DAY.next(-10).interval.start, count=3)
    september = TimeGrid(start=DAY.next(-40).interval.start, count=1)
    await scene.store.seed(TENANT, *metered(point, month, [10.0, 42.0, 7.0]), *metered(point, september, [400.0]))
    found = await inputs(scene, depot())
    assert all(one.price_shift_eur_per_mwh is None for one in before.points)
    assert all(one.price_shift_eur_per_mwh is not None for one in found.points)
    assert found.points[0].demand_tariff == DemandTariff(eur_per_kw=19.85, peak_so_far_kw=42.0)
    assert {one.demand_tariff.peak_so_far_kw for one in found.points[1:]} <= {0.0}


def test_a_peak_that_was_hardly_measured_is_no_peak() -> None:
    grid = TimeGrid(start=DAY.interval.start, count=2)
    assert peak_kw(metered("p", grid, [5.0, 90.0], coverage=0.5)) == 0.0
    assert peak_kw(metered("p", grid, [5.0, -90.0])) == 5.0
    assert peak_kw([]) == 0.0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"currency": "GBP"}, "is in GBP"), ({}, "prices the energy itself")],
)
async def test_a_tariff_that_does_not_fit_the_market_is_refused(changes: dict[str, object], problem: str) -> None:
    grid = TimeGrid(start=DAY.interval.start, count=96)
    made = flat(LayerUnit.PER_KWH, "0.1", **changes)
    if not changes:
        made = replace(made, layers=(replace(made.layers[0], kind=LayerKind.ENERGY),))
    with pytest.raises(InvalidInput, match=problem):
        layer_shift(made, grid, "EUR")


async def highest_kw(tariff: SiteTariff | None) -> float:
    """Plan after the gate, when nothing is bid, and return the highest power of the delivery day's schedules."""
    scene = await MarketScene().with_past()
    scene.clock.set(scene.gate + timedelta(hours=1))
    planner = scene.new_planner(site_tariff=tariff)
    scene.planner = planner
    await scene.plan()
    schedules = [one for one in scene.store.all(Schedule, TENANT) if one.delivery_day == scene.iso]
    assert schedules
    return max(max(one.power_kw) for one in schedules)


async def test_a_charge_on_the_highest_power_flattens_the_plan() -> None:
    charge = flat(LayerUnit.PER_KW_MONTH, "25").layers[0]
    fee = flat(LayerUnit.PER_KWH, "0.03")
    both = replace(fee, layers=(*fee.layers, replace(charge, name="demand")))
    assert await highest_kw(both) < 0.8 * await highest_kw(None)


async def test_what_the_site_pays_is_known_or_nothing_is_planned() -> None:
    scene = await MarketScene().with_past()
    tariff = depot()
    expired = replace(tariff, layers=tuple(replace(one, valid_until=DAY.day) for one in tariff.layers))
    with pytest.raises(PreconditionFailed, match="what the site pays is not known"):
        await inputs(scene, expired)
