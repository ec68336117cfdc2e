"""What partners are told: shortfalls, the wish for more, registers, chargers; and both ends of the optimiser's role (o41 to o43)."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.domain.bids import Schedule
from gateway.domain.compliance import ComplianceShortfall
from gateway.domain.timegrid import Interval
from gateway.oscp.names import PeerRole
from gateway.oscp.settings import PeerSettings
from gateway.oscp.surroundings import AssetReading
from gateway.ports import Batch, Put
from tests.oscp.scene import BASE, DSO, SITE, TENANT, Scene, T, block, provider_settings, text

QUARTER = timedelta(minutes=15)


async def shortfall(scene: Scene, expected_kw: float, **changed: Any) -> None:
    """Raise a shortfall as the dispatcher does."""
    [limit] = scene.desk.stated_by(TENANT, DSO)
    record = ComplianceShortfall(
        id="shortfall-1",
        tenant=TENANT,
        authority=DSO,
        node=SITE,
        limit_ids=(limit.id,),
        blocks=(limit.interval,),
        limit_kw=limit.max_kw,
        expected_kw=expected_kw,
        charger_ids=("ch-1",),
        reason="two chargers draw more than they were told",
        raised_at=scene.clock.now(),
        **changed,
    )
    await scene.store.apply(Batch(tenant=TENANT, puts=(Put(record=record),)))


async def test_o41_a_shortfall_is_told_once_with_the_forecast_it_is_about() -> None:
    scene = await Scene().online()
    assert (await scene.forecast(block(50), request_id="f-50")).status == 204
    await shortfall(scene, 55.0)
    for _ in range(3):
        await scene.unit.reports.look()
        await scene.flush()
    [call] = scene.http.sent("group_capacity_compliance_error")
    assert call.headers["X-Correlation-ID"] == "f-50"
    assert call.url == f"{BASE}/group_capacity_compliance_error"
    assert scene.http.bodies("group_capacity_compliance_error") == [
        {"message": "two chargers draw more than they were told", "forecasted_blocks": [block(50.0)]}
    ]


async def test_o41_a_shortfall_that_is_settled_or_of_another_authority_is_not_told() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50))
    await shortfall(scene, 55.0, settled_at=T, is_open=False)
    await scene.unit.reports.look()
    await scene.flush()
    assert scene.http.sent("group_capacity_compliance_error") == []


async def test_o41_a_forecast_in_segments_is_named_by_its_first_segment() -> None:
    scene = await Scene().online()
    first = {"X-Segment-Index": "1", "X-Segment-Count": "2"}
    second = {"X-Segment-Index": "2", "X-Segment-Count": "2", "X-Correlation-ID": "s1"}
    await scene.forecast(block(40, 60, 120), headers=second, request_id="s2")
    await scene.forecast(block(50), headers=first, request_id="s1")
    limits = [limit for limit in scene.desk.stated_by(TENANT, DSO) if limit.max_kw == 50.0]
    await shortfall_of(scene, limits[0].id, limits[0].interval)
    await scene.unit.reports.look()
    await scene.flush()
    assert scene.http.sent("group_capacity_compliance_error")[0].headers["X-Correlation-ID"] == "s1"


async def shortfall_of(scene: Scene, limit_id: str, span: Interval) -> None:
    record = ComplianceShortfall(
        id="shortfall-2",
        tenant=TENANT,
        authority=DSO,
        node=SITE,
        limit_ids=(limit_id,),
        blocks=(span,),
        limit_kw=50.0,
        expected_kw=60.0,
        charger_ids=(),
        reason="over",
        raised_at=T,
    )
    await scene.store.apply(Batch(tenant=TENANT, puts=(Put(record=record),)))


async def test_o42_more_is_asked_for_once_per_block() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50, 0, 30), block(40, 30, 60))
    scene.cars.wanted_kw = 60.0
    for _ in range(3):
        await scene.unit.reports.look()
        await scene.flush()
    assert scene.http.bodies("adjust_group_capacity_forecast") == [
        {"group_id": "g1", "type": "CONSUMPTION", "forecasted_blocks": [block(60.0, 0, 30)]}
    ]
    scene.clock.move(minutes=31)
    await scene.unit.reports.look()
    await scene.flush()
    wishes = [body["forecasted_blocks"] for body in scene.http.bodies("adjust_group_capacity_forecast")]
    assert wishes == [[block(60.0, 0, 30)], [block(60.0, 30, 60)]]


@pytest.mark.parametrize("wanted_kw", [None, 0.0, 50.0, 50.4])
async def test_o42_nothing_is_asked_for_where_the_limit_is_enough_or_nobody_knows(wanted_kw: float | None) -> None:
    scene = await Scene().online()
    await scene.forecast(block(50))
    scene.cars.wanted_kw = wanted_kw
    await scene.unit.reports.look()
    await scene.flush()
    assert scene.http.sent("adjust_group_capacity_forecast") == []


async def measured(scene: Scene, *power_kw: float | None) -> None:
    """Let quarter-hours pass with such powers."""
    for value in power_kw:
        scene.meters.power_kw[scene.clock.now()] = value
        scene.clock.move(minutes=15)
        await scene.unit.reports.look()
    await scene.flush()


def told(scene: Scene) -> list[tuple[float, str]]:
    found = [one for body in scene.http.bodies("update_group_measurements") for one in body["measurements"]]
    return [(one["value"], one["measure_time"]) for one in found]


async def test_o43_registers_grow_with_every_quarter_hour_that_was_measured() -> None:
    scene = await Scene().online()
    await scene.unit.reports.look()
    await measured(scene, 40.0, 0.0, 20.0)
    assert told(scene) == [(10.0, text(T + QUARTER)), (10.0, text(T + 2 * QUARTER)), (15.0, text(T + 3 * QUARTER))]
    [first, *_] = scene.http.bodies("update_group_measurements")
    assert first == {
        "group_id": "g1",
        "measurements": [
            {
                "value": 10.0,
                "phase": "ALL",
                "unit": "KWH",
                "direction": "IMPORT",
                "measure_time": text(T + QUARTER),
                "energy_type": "FLEXIBLE",
            }
        ],
    }


@pytest.mark.parametrize("wanted", [["INTERMITTENT"], ["CONTINUOUS", "INTERMITTENT"]])
async def test_o43_an_intermittent_register_says_since_when_it_counts(wanted: list[str]) -> None:
    scene = await Scene().begin()
    await scene.register()
    await scene.call("handshake", {"required_behaviour": {"measurement_configuration": wanted}})
    await scene.unit.reports.look()
    await measured(scene, 40.0)
    [body] = scene.http.bodies("update_group_measurements")
    assert body["measurements"][0]["initial_measure_time"] == text(T)


async def test_o43_who_wants_no_measurements_gets_none() -> None:
    scene = await Scene().begin()
    await scene.register()
    await scene.call("handshake", {"required_behaviour": {"measurement_configuration": []}})
    await measured(scene, 40.0)
    assert told(scene) == []


async def test_unknown_energy_is_waited_for_and_never_told_as_zero() -> None:
    scene = await Scene().online()
    await scene.unit.reports.look()
    await measured(scene, 40.0, None, 20.0)
    assert told(scene) == [(10.0, text(T + QUARTER))]
    scene.meters.power_kw[T + QUARTER] = 8.0
    await scene.unit.reports.look()
    await scene.flush()
    assert told(scene)[1:] == [(12.0, text(T + 2 * QUARTER)), (17.0, text(T + 3 * QUARTER))]


async def test_after_the_patience_the_register_goes_on_without_a_value_for_the_gap() -> None:
    scene = await Scene().online()
    await scene.unit.reports.look()
    await measured(scene, None, 20.0)
    scene.clock.move(hours=2)
    await scene.beat(180)
    await scene.unit.reports.look()
    await scene.flush()
    assert told(scene)[0] == (5.0, text(T + 2 * QUARTER))


async def test_a_register_goes_on_after_a_restart() -> None:
    scene = await Scene().online()
    await scene.unit.reports.look()
    await measured(scene, 40.0)
    again = await Scene(after=scene).begin()
    again.meters.power_kw = scene.meters.power_kw
    await measured(again, 20.0)
    assert [value for value, _ in told(scene)] + [value for value, _ in told(again)] == [10.0, 15.0]


# ---------------------------------------------------------------- optimisers

CO, FP = "oscp:co", "oscp:fp"


def optimiser(**changed: Any) -> PeerSettings:
    return provider_settings(
        authority=CO, role=PeerRole.CAPACITY_OPTIMIZER, first_token="o" * 40, sends_handshake=True, **changed
    )


async def with_optimiser() -> Scene:
    scene = await Scene(provider_settings(optimisers=(CO,)), optimiser()).begin()
    await scene.register(token="o" * 40)
    assert (await scene.call("handshake_acknowledge", {})).status == 204
    await scene.register()
    await scene.handshake()
    await scene.beat(600)
    return scene


async def test_a_providers_forecast_goes_on_to_the_optimiser_of_the_node_and_its_optimum_is_a_wish() -> None:
    scene = await with_optimiser()
    token_of_optimiser = scene.http.bodies("register")[0]["token"]
    assert scene.http.sent("handshake")[0].url == f"{BASE}/handshake"
    assert (await scene.forecast(block(50))).status == 204
    await scene.flush()
    assert scene.http.bodies("update_group_capacity_forecast") == [
        {"group_id": "g1", "type": "CONSUMPTION", "forecasted_blocks": [block(50.0)]}
    ]
    assert (await scene.forecast(block(30), type="OPTIMUM", token=token_of_optimiser)).status == 204
    await scene.flush()
    resolution = await scene.resolved()
    assert (resolution.kw, resolution.optimum_kw) == (50.0, 30.0)
    assert (await scene.forecast(block(45), type="OPTIMUM")).status == 204
    await scene.flush()
    assert len(scene.http.sent("update_group_capacity_forecast")) == 1


async def test_an_optimiser_that_is_gone_limits_nothing() -> None:
    scene = await with_optimiser()
    await scene.forecast(block(50, 0, 600))
    await scene.beat(36_000)
    scene.clock.move(hours=1)
    for unit in scene.units:
        await unit.watch.look()
    assert (await scene.resolved()).kw == 50.0


async def test_an_optimiser_gets_what_chargers_draw_and_nothing_of_those_that_nobody_measured() -> None:
    scene = await with_optimiser()
    reports = scene.units[1].reports
    await reports.look()
    assert scene.http.sent("update_asset_measurements") == []
    scene.cars.readings = [AssetReading(asset="ch-1", power_kw=10.8, at=T)]
    scene.clock.move(minutes=5)
    await reports.look()
    await reports.look()
    await scene.flush()
    measurement = {"value": 10.8, "phase": "ALL", "unit": "KW", "measure_time": text(T)}
    assert scene.http.bodies("update_asset_measurements") == [
        {
            "group_id": "g1",
            "measurements": [
                {"asset_id": "ch-1", "asset_category": "CHARGING", "instantaneous_measurement": measurement}
            ],
        }
    ]


async def as_optimiser(*schedules: Schedule) -> Scene:
    told = provider_settings(authority=FP, role=PeerRole.FLEXIBILITY_PROVIDER)
    scene = await Scene(told).begin()
    puts = tuple(Put(record=one) for one in schedules)
    await scene.store.apply(Batch(tenant=TENANT, puts=puts))
    assert (await scene.register(role="co")).status == 204
    assert (await scene.handshake(role="co")).status == 204
    return scene


def schedule(start: datetime, *power_kw: float) -> Schedule:
    return Schedule(
        id=f"{SITE}:2026-11-21",
        tenant=TENANT,
        node=SITE,
        connection_point="cp-1",
        delivery_day="2026-11-21",
        start=start,
        step_minutes=15,
        power_kw=power_kw,
        cause="award:1",
        made_at=T,
    )


async def test_as_an_optimiser_we_answer_with_what_our_schedule_wants_inside_the_capacity() -> None:
    scene = await as_optimiser(schedule(T, 10.0, 20.0, 90.0, 90.0))
    assert scene.http.bodies("register")[0]["version_url"][0]["base_url"] == "https://gw.example/oscp/co/2.0"
    reply = await scene.call(
        "update_group_capacity_forecast",
        {"group_id": "g1", "type": "CONSUMPTION", "forecasted_blocks": [block(50, 0, 30), block(50, 30, 60)]},
        role="co",
        request_id="f1",
    )
    assert reply.status == 204
    await scene.flush()
    [call] = scene.http.sent("update_group_capacity_forecast")
    assert call.headers["X-Correlation-ID"] == "f1"
    [body] = scene.http.bodies("update_group_capacity_forecast")
    assert body["type"] == "OPTIMUM"
    assert [one["capacity"] for one in body["forecasted_blocks"]] == [15.0, 50.0]
    assert scene.desk.stated_by(TENANT, FP) == []


async def test_as_an_optimiser_without_a_schedule_the_capacity_itself_is_the_best_we_know() -> None:
    scene = await as_optimiser()
    body = {"group_id": "g1", "type": "CONSUMPTION", "forecasted_blocks": [block(50)]}
    assert (await scene.call("update_group_capacity_forecast", body, role="co")).status == 204
    await scene.flush()
    assert scene.http.bodies("update_group_capacity_forecast")[0]["forecasted_blocks"] == [block(50.0)]


async def test_as_an_optimiser_we_take_measurements_and_no_optimum() -> None:
    scene = await as_optimiser()
    assert (
        await scene.call("update_asset_measurements", {"group_id": "g1", "measurements": []}, role="co")
    ).status == 204
    body = {"group_id": "g1", "type": "OPTIMUM", "forecasted_blocks": [block(50)]}
    assert (await scene.call("update_group_capacity_forecast", body, role="co")).status == 403
