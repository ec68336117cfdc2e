"""What a platform may not report: other platforms' meters, other units, cars of the future."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.fleet import DataFlag
from gateway.domain.identity import Permission, Principal, Role
from gateway.domain.topology import Charger
from tests.services.scene import PLATFORM, POINTS, TENANT, Scene, session, tree
from tests.services.test_track_fleet import a_scene, power, readings, take

OTHER = Principal(tenant=TENANT, actor="csms:other", roles=frozenset({Role.CSMS}), csms="other")


def flags(scene: Scene, charger: str) -> DataFlag:
    view = scene.services.tracker.view(TENANT)
    assert view.data is not None
    return DataFlag(int(view.data.flags[view.tree.charger_ids.index(charger)]))


async def test_watts_are_refused_with_the_charger_that_shows_it() -> None:
    scene = await a_scene()
    batch = readings(scene.clock.now())
    with pytest.raises(InvalidInput) as caught:
        take(scene, replace(batch, power_kw=np.where(np.arange(len(batch.power_kw)) == 1, 7_400.0, batch.power_kw)))
    assert caught.value.field == "power_kw[1]"
    assert "7400 kW at a charger of" in caught.value.problem
    assert np.isnan(scene.services.tracker.view(TENANT).power_kw).all(), "nothing of the message counts"


async def test_power_far_above_the_rating_is_unknown_and_said_so_until_it_is_measured_again() -> None:
    scene = await a_scene()
    batch = readings(scene.clock.now())
    name = batch.charger_ids[int(batch.charger_index[0])]
    wrong = batch.power_kw.copy()
    wrong[0] = -40.0 * abs(wrong[0]) - 100.0
    take(scene, replace(batch, power_kw=wrong))
    assert np.isnan(power(scene, name))
    assert DataFlag.POWER_IMPLAUSIBLE in flags(scene, name)
    assert [power(scene, other) for other in batch.charger_ids[1:]] == batch.power_kw[1:].tolist()
    scene.clock.move(seconds=5)
    take(scene, readings(scene.clock.now()))
    assert power(scene, name) == batch.power_kw[0]
    assert DataFlag.POWER_IMPLAUSIBLE not in flags(scene, name)


async def test_a_meter_of_a_site_without_chargers_of_the_platform_is_not_its_own() -> None:
    scene = await a_scene()
    charger = next(row for row in tree() if isinstance(row, Charger) and row.id == "ch-2-0")
    await scene.store.seed(TENANT, replace(charger, id="other-1", csms="other"))
    await scene.services.tracker.reload(TENANT)
    batch = replace(
        readings(scene.clock.now()),
        charger_ids=("other-1",),
        charger_index=np.zeros(1, dtype=np.int32),
        power_kw=np.ones(1),
        energy_register_kwh=np.ones(1),
    )
    assert OTHER.may(Permission.TELEMETRY_WRITE)
    with pytest.raises(InvalidInput) as caught:
        scene.services.tracker.take_telemetry(OTHER, batch)
    assert caught.value.field == "connection_point_ids[0]"
    own = replace(batch, connection_point_ids=POINTS[1:], meter_register_kwh=batch.meter_register_kwh[1:])
    scene.services.tracker.take_telemetry(OTHER, own)
    assert power(scene, "other-1") == 1.0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arrival": timedelta(hours=24)}, "arrival_time"),
        ({"expected_departure": -timedelta(hours=1)}, "expected_departure_time"),
        ({"max_power_kw": 7_400.0}, "max_power_kw"),
        ({"energy_needed_kwh": 1e9}, "energy_needed_kwh"),
        ({"delivered_kwh": 40_000.0}, "delivered_energy_kwh"),
        ({"battery_kwh": 77_000.0}, "battery_kwh"),
    ],
)
async def test_a_car_that_cannot_be_is_refused_and_nothing_counts(changes: dict[str, Any], field: str) -> None:
    scene = await a_scene()
    now = scene.clock.now()
    given: Any = {name: now + value if isinstance(value, timedelta) else value for name, value in changes.items()}
    good, wrong = session("ch-1-0", arrival=now), replace(session("ch-1-1", arrival=now), **given)
    with pytest.raises(InvalidInput) as caught:
        await scene.services.tracker.report_sessions(PLATFORM, [good, wrong], is_history=False, request_id="r")
    assert caught.value.field == f"sessions[1].{field}"
    assert not scene.services.tracker.view(TENANT).has_session.any()
