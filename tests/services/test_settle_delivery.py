"""Every euro of a delivery day, its cause, and what a late limit puts at risk."""

import asyncio
import dataclasses
from datetime import datetime, time, timedelta
from decimal import Decimal

import pytest

from gateway.domain.bids import Nomination, Residual
from gateway.domain.dispatch import DispatchOutcome, DispatchState
from gateway.domain.errors import NotFound, PermissionRefused, PreconditionFailed
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.series import PriceProduct
from gateway.domain.settlement import MeteredPeriod, Settlement
from gateway.domain.timegrid import Interval
from gateway.services.settle_delivery import Settler, SettleSettings
from tests.services.market_scene import DAY, PORTFOLIO, STRANGER, SYSTEM, TENANT, TRADER, ZONE, MarketScene

POINT = "541448820000000000"


@pytest.fixture
async def scene() -> MarketScene:
    scene = await MarketScene().with_past()
    await scene.awarded()
    return scene


def nomination(scene: MarketScene, point: str = POINT) -> Nomination:
    return next(n for n in scene.store.all(Nomination, TENANT) if n.connection_point == point)


def busiest(scene: MarketScene, point: str = POINT) -> int:
    """Return the delivery period with the largest position, not the last one."""
    periods = nomination(scene, point).periods
    return max(range(len(periods) - 1), key=lambda i: periods[i].volume_mw)


def limit_on(node: str, max_kw: float, start: datetime, *, hours: float = 1.0, known: datetime) -> Limit:
    return Limit(
        id="limit-late",
        tenant=TENANT,
        authority="dso-demo",
        node=node,
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.MANDATORY,
        max_kw=max_kw,
        interval=Interval(start=start, end=start + timedelta(hours=hours)),
        cause="event:ev-1",
        known_at=known,
    )


async def settle(scene: MarketScene) -> dict[str, Settlement]:
    return {one.connection_point: one for one in await scene.settler.settle(SYSTEM, PORTFOLIO, scene.iso)}


async def test_delivered_as_bought_costs_the_day_ahead_price_only(scene: MarketScene) -> None:
    await scene.deliver()
    for one in (await settle(scene)).values():
        assert one.imbalance_cash == 0
        assert {period.cause for period in one.periods} == {"none"}


async def test_deviation_is_settled_at_the_imbalance_price_of_its_period(scene: MarketScene) -> None:
    await scene.deliver(share=1.5)
    one = (await settle(scene))[POINT]
    period = one.periods[busiest(scene)]
    assert period.metered_mwh == period.position_mwh * Decimal("1.5")
    assert period.imbalance_cash == period.position_mwh / 2 * period.imbalance_price_per_mwh
    assert period.cause == "forecast"


async def test_uncontrolled_cost_is_what_the_same_sessions_would_have_cost(scene: MarketScene) -> None:
    await scene.deliver()
    settled = await settle(scene)
    uncontrolled = sum(one.uncontrolled_cash for one in settled.values())
    actual = sum(one.day_ahead_cash for one in settled.values())
    assert actual < uncontrolled < actual * 5


async def test_missing_reading_is_waited_for_then_the_position_stands_in(scene: MarketScene) -> None:
    await scene.deliver()
    lost = busiest(scene)
    rows = scene.store._rows
    key = next(k for k in rows if k[0].__name__ == "MeteredPeriod")
    start = nomination(scene).periods[lost].start
    rows[key] = {i: row for i, row in rows[key].items() if not (i.startswith(POINT) and row.record.start == start)}
    with pytest.raises(PreconditionFailed, match="1 meter readings"):
        await settle(scene)
    scene.clock.set(DAY.next().at(time(3)))
    period = (await settle(scene))[POINT].periods[lost]
    assert period.cause == "missing-meter"
    assert period.metered_mwh == period.position_mwh
    assert period.imbalance_cash == 0


async def test_day_is_not_settled_before_it_is_over_or_without_imbalance_prices(scene: MarketScene) -> None:
    with pytest.raises(PreconditionFailed, match="imbalance prices"):
        await settle(scene)
    await scene.publish(DAY, PriceProduct.IMBALANCE)
    with pytest.raises(PreconditionFailed, match="not over"):
        await settle(scene)


async def test_settling_again_changes_nothing_until_something_was_revised(scene: MarketScene) -> None:
    await scene.deliver()
    first = await settle(scene)
    scene.clock.move(hours=1)
    batches = len(scene.store.applied)
    assert await settle(scene) == first
    assert len(scene.store.applied) == batches
    await scene.publish(DAY, PriceProduct.IMBALANCE, level=50.0)
    revised = await settle(scene)
    assert revised[POINT].causes != first[POINT].causes
    actions = [c.entry.action for c in await scene.store.audit_of(TENANT, "settlement", first[POINT].id)]
    assert actions == ["settlement.make", "settlement.revise"]


async def test_who_may_settle_and_see(scene: MarketScene) -> None:
    await scene.deliver()
    with pytest.raises(PermissionRefused):
        await scene.settler.settle(TRADER, PORTFOLIO, scene.iso)
    with pytest.raises(NotFound):
        await scene.settler.settle(SYSTEM, PORTFOLIO, "2025-10-14")
    await settle(scene)
    assert len(await scene.settler.positions(TRADER, scene.iso)) == 3
    assert await scene.settler.positions(STRANGER, scene.iso) == []


async def test_late_limit_is_the_cause_of_what_it_held_back_and_of_what_followed(scene: MarketScene) -> None:
    at = busiest(scene)
    period = nomination(scene).periods[at]
    limit = limit_on("site-01", 5.0, period.start, hours=0.25, known=scene.clock.now())
    await scene.store.seed(TENANT, limit)
    await scene.deliver()
    await _meter_at(scene, at, -9.0)
    await _meter_at(scene, at + 1, 7.0)
    one = (await settle(scene))[POINT]
    assert one.periods[at].cause == "limit:limit-late"
    assert one.periods[at + 1].cause == "after-limit:limit-late"
    assert "limit:limit-late" in one.causes
    assert all("limit" not in p.cause for p in (await settle(scene))["541448820000000001"].periods)


async def test_limit_that_left_room_for_the_position_is_no_cause(scene: MarketScene) -> None:
    at = busiest(scene)
    period = nomination(scene).periods[at]
    room = limit_on("site-01", float(period.volume_mw) * 1000.0 + 1.0, period.start, known=scene.clock.now())
    await scene.store.seed(TENANT, room)
    await scene.deliver()
    await _meter_at(scene, at, -9.0)
    assert (await settle(scene))[POINT].periods[at].cause == "forecast"


async def test_chargers_that_did_not_follow_are_the_cause_of_what_they_drew(scene: MarketScene) -> None:
    at = busiest(scene)
    period = nomination(scene).periods[at]
    outcome = DispatchOutcome(
        id="o",
        tenant=TENANT,
        batch="dispatch-7",
        csms="csms-demo",
        sequence=7,
        at=period.start + timedelta(minutes=3),
        charger_ids=("site-01/ev001", "site-02/ev001"),
        states=(int(DispatchState.NOT_FOLLOWING), int(DispatchState.FOLLOWED)),
    )
    await scene.store.seed(TENANT, outcome)
    await scene.deliver()
    await _meter_at(scene, at, 9.0)
    await _meter_at(scene, at, 9.0, point="541448820000000001")
    settled = await settle(scene)
    assert settled[POINT].periods[at].cause == "dispatch:dispatch-7"
    assert settled["541448820000000001"].periods[at].cause == "forecast"
    assert "dispatch:dispatch-7" in settled[POINT].causes


async def _meter_at(scene: MarketScene, index: int, more_kwh: float, point: str = POINT) -> None:
    period = nomination(scene, point).periods[index]
    row = await scene.store.get(MeteredPeriod, TENANT, f"{point}:{period.start.isoformat()}")
    assert row is not None
    energy = float(period.volume_mw) * 250.0 + more_kwh
    await scene.store.seed(TENANT, dataclasses.replace(row.record, energy_kwh=energy, chargers_kwh=energy))


# ---------------------------------------------------------------- residuals


async def test_limit_after_the_gate_opens_a_residual_with_its_exposure(scene: MarketScene) -> None:
    at = busiest(scene)
    period = nomination(scene).periods[at]
    kw = float(period.volume_mw) * 1000.0
    limit = limit_on("site-01", kw - 20.0, period.start, hours=0.25, known=scene.clock.now())
    await scene.store.seed(TENANT, limit)
    [residual] = await scene.settler.find_residuals(limit)
    assert residual.energy_mwh == Decimal("0.005")
    paid = scene.prices[at]
    assumed = Decimal(residual.basis.rsplit(": ", 1)[1].split()[0])
    assert residual.exposure == pytest.approx(Decimal("0.005") * (paid - assumed), abs=Decimal("0.0001"))
    assert "mean imbalance price of 2025-10-13" in residual.basis
    assert await scene.settler.residuals(TRADER, scene.iso, ZONE) == [residual]
    [entry] = [c.entry for c in await scene.store.audit_of(TENANT, "residual", residual.id)]
    assert "limit:limit-late" in entry.causes


async def test_limit_for_half_a_period_counts_half(scene: MarketScene) -> None:
    at = busiest(scene)
    period = nomination(scene).periods[at]
    kw = float(period.volume_mw) * 1000.0
    whole = limit_on("site-01", kw - 20.0, period.start, hours=0.25, known=scene.clock.now())
    half = dataclasses.replace(
        whole, interval=Interval(start=period.start, end=period.start + timedelta(minutes=7, seconds=30))
    )
    assert (await scene.settler.find_residuals(half))[0].energy_mwh == Decimal("0.0025")


async def test_limit_on_the_portfolio_counts_against_all_sites_and_on_a_circuit_by_its_share(
    scene: MarketScene,
) -> None:
    at = busiest(scene)
    start = nomination(scene).periods[at].start
    total = sum(float(n.periods[at].volume_mw) for n in scene.store.all(Nomination, TENANT)) * 1000.0
    everywhere = limit_on(PORTFOLIO, total - 40.0, start, hours=0.25, known=scene.clock.now())
    assert (await scene.settler.find_residuals(everywhere))[0].energy_mwh == Decimal("0.01")
    own = float(nomination(scene).periods[at].volume_mw) * 1000.0
    circuit = limit_on("site-01/c1", own / 2.0 - 4.0, start, hours=0.25, known=scene.clock.now())
    [residual] = await scene.settler.find_residuals(circuit)
    assert residual.energy_mwh == Decimal("0.001")
    assert "share of the site by charger power" in residual.basis


async def test_limit_that_costs_nothing_or_was_planned_with_leaves_no_residual(scene: MarketScene) -> None:
    start = nomination(scene).periods[busiest(scene)].start
    wide = limit_on("site-01", 1000.0, start, known=scene.clock.now())
    wish = dataclasses.replace(wide, max_kw=0.0, kind=LimitKind.OPTIMUM)
    asked = dataclasses.replace(wide, max_kw=0.0, binding=Binding.VOLUNTARY)
    elsewhere = dataclasses.replace(
        wide, max_kw=0.0, interval=Interval(start=start + timedelta(days=3), end=start + timedelta(days=4))
    )
    for limit in (wide, wish, asked, elsewhere):
        assert await scene.settler.find_residuals(limit) == []
    assert not scene.store.all(Residual, TENANT)


async def test_withdrawn_limit_shrinks_its_residual(scene: MarketScene) -> None:
    at = busiest(scene)
    start = nomination(scene).periods[at].start
    limit = limit_on("site-01", 0.0, start, hours=0.25, known=scene.clock.now())
    [before] = await scene.settler.find_residuals(limit)
    withdrawn = dataclasses.replace(limit, withdrawn_at=start + timedelta(minutes=5))
    [after] = await scene.settler.find_residuals(withdrawn)
    assert 0 < after.energy_mwh < before.energy_mwh
    [gone] = await scene.settler.find_residuals(dataclasses.replace(limit, withdrawn_at=start))
    assert gone.energy_mwh == 0
    assert len(scene.store.all(Residual, TENANT)) == 1


async def test_residual_without_any_imbalance_price_says_so(scene: MarketScene) -> None:
    rows = scene.store._rows
    key = next(k for k in rows if k[0].__name__ == "MarketDayStatus")
    rows[key] = {i: row for i, row in rows[key].items() if "imbalance" not in i}
    at = busiest(scene)
    period = nomination(scene).periods[at]
    limit = limit_on(
        "site-01", float(period.volume_mw) * 1000.0 - 20.0, period.start, hours=0.25, known=scene.clock.now()
    )
    [residual] = await scene.settler.find_residuals(limit)
    assert "assumed to bring nothing" in residual.basis
    assert residual.exposure == pytest.approx(Decimal("0.005") * scene.prices[at], abs=Decimal("0.0001"))


async def test_loop_finds_residuals_as_limits_come(scene: MarketScene) -> None:

    settler = Settler(
        store=scene.store,
        clock=scene.clock,
        ids=scene.ids,
        worker=scene.worker,
        settings=SettleSettings(tenants=(TENANT,)),
    )
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(settler.run())
        for _ in range(50):
            await asyncio.sleep(0)
        start = nomination(scene).periods[busiest(scene)].start
        await scene.store.seed(TENANT, limit_on("site-01", 0.0, start, known=scene.clock.now()))
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(scene.store.all(Residual, TENANT)) == 1
        loop.cancel()
