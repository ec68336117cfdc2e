"""How far back measured power reaches: conformance rule 510 of OpenADR wants at least 100 stored points of history."""

from datetime import timedelta

import numpy as np
import pytest

from gateway.domain.timegrid import TimeGrid
from gateway.services.track_fleet.rings import PowerRing
from tests.services.market_scene import SYSTEM, TENANT, site_rows
from tests.services.test_report_delivery import BEGIN, POINT, Reporting, metered

MINUTE = timedelta(minutes=1)
POINTS = 192


@pytest.mark.parametrize("step", [MINUTE, 15 * MINUTE], ids=["minutes", "quarters"])
async def test_a31_the_history_survives_a_restart_in_the_stored_delivery_periods(step: timedelta) -> None:
    scene = Reporting()
    await scene.store.seed(TENANT, *site_rows())
    start = BEGIN - step * POINTS
    quarters = int(step * POINTS / (15 * MINUTE)) + 1
    await scene.store.seed(TENANT, *metered(POINT, start, [float(i) for i in range(quarters)]))
    scene.clock.set(BEGIN)
    readings = await scene.reporter.usage(SYSTEM, "site-01", TimeGrid(start=start, step=step, count=POINTS))
    assert [reading.power_kw for reading in readings] == pytest.approx(
        [float(step * i // (15 * MINUTE)) for i in range(POINTS)]
    )
    assert {round(reading.coverage, 6) for reading in readings} == {1.0}


async def test_a31_recent_minutes_are_told_as_they_were_sampled() -> None:
    scene = Reporting()
    await scene.store.seed(TENANT, *site_rows())
    scene.clock.set(BEGIN + POINTS * MINUTE)
    scene.samples.put("site-01", BEGIN, np.repeat(np.arange(POINTS), 2).tolist())
    readings = await scene.reporter.usage(SYSTEM, "site-01", TimeGrid(start=BEGIN, step=MINUTE, count=POINTS))
    assert [reading.power_kw for reading in readings] == [float(i) for i in range(POINTS)]


@pytest.mark.parametrize("nodes", [1, 1_000, 40_000])
def test_a31_samples_reach_back_far_enough_whatever_the_fleet(nodes: int) -> None:
    ring = PowerRing(nodes, sample_every_s=30.0)
    for i in range(2 * POINTS + 10):
        ring.add(30.0 * i, np.full(nodes, float(i)))
    times, power_kw = ring.since(nodes - 1, 10 * 30.0)
    assert len(times) == 2 * POINTS
    assert power_kw[0] == 10.0
