"""A limit of what is drawn from the grid: own generation carries more, other load leaves less, the unmeasured never helps."""

from dataclasses import replace

import numpy as np
import pytest

from gateway.domain.compliance import ComplianceShortfall
from gateway.services.track_fleet.other_load import OtherLoad
from tests.services.scene import GRID, OPERATOR, TENANT, Platform, Scene
from tests.services.test_stated_limits import limit, said

BOX = "lpc:box"
POINTS = np.array([0, 1])


async def limited(max_kw: float = 30.0, *, guaranteed_kw: float = 0.0) -> tuple[Scene, Platform]:
    scene = Scene()
    platform = await scene.start()
    stated = limit("l1", max_kw, 0, None, authority=BOX)
    bounded = replace(stated, is_at_grid=True, guaranteed_kw=guaranteed_kw)
    await scene.services.signals.state_limits(GRID, said(bounded, authority=BOX))
    await scene.pass_time(300)
    return scene, platform


def ordered(scene: Scene) -> float:
    return round(sum(kw for name, kw in scene.limits().items() if name.startswith("ch-1")), 6)


async def test_own_generation_carries_the_chargers_and_other_load_takes_their_room() -> None:
    scene, platform = await limited()
    assert 25.0 < ordered(scene) <= 28.5
    platform.beside_kw[1] = -15.0
    await scene.pass_time(600)
    assert scene.services.tracker.other_kw(TENANT, "site-1") == pytest.approx(-15.0)
    assert 40.0 < ordered(scene) <= 43.5
    platform.beside_kw[1] = 10.0
    await scene.pass_time(130)
    assert 15.0 < ordered(scene) <= 18.5
    assert scene.services.tracker.other_kw(TENANT, "site-2") == pytest.approx(0.0)
    assert scene.services.tracker.other_kw(TENANT, "vpp") == pytest.approx(10.0)


async def test_what_is_not_measured_any_more_counts_at_the_worst_that_was_seen() -> None:
    scene, platform = await limited()
    platform.beside_kw[1] = 8.0
    await scene.pass_time(130)
    platform.beside_kw[1] = -20.0
    await scene.pass_time(600)
    assert ordered(scene) > 40.0
    platform.beside_kw[1] = np.nan
    await scene.pass_time(200)
    assert scene.services.tracker.other_kw(TENANT, "site-1") == pytest.approx(8.0, abs=0.1)
    assert ordered(scene) <= 20.5


async def test_other_load_is_still_known_after_the_tree_was_imported_anew() -> None:
    scene, platform = await limited()
    platform.beside_kw[1] = 10.0
    await scene.pass_time(130)
    await scene.services.tracker.reload(TENANT)
    assert scene.services.tracker.other_kw(TENANT, "site-1") == pytest.approx(10.0)
    platform.beside_kw[1] = np.nan
    await scene.pass_time(200)
    assert scene.services.tracker.other_kw(TENANT, "site-1") == pytest.approx(10.0, abs=0.1)


async def test_other_load_never_takes_what_the_authority_guarantees() -> None:
    scene, platform = await limited(10.0, guaranteed_kw=8.4)
    platform.beside_kw[1] = 60.0
    await scene.pass_time(200)
    assert 8.2 < ordered(scene) <= 8.4


def test_the_first_reading_a_short_window_and_an_unread_charger_say_what_they_can() -> None:
    other = OtherLoad(np.array([0, 0, 1, -1], dtype=np.int32), np.array([80.0, 80.0]), np.full(4, 22.0))
    unread = np.array([10.0, np.nan, 5.0, 7.0])
    other.take(POINTS, np.array([100.0, 50.0]), 0.0, unread)
    assert other.kw(POINTS, 0.0) == 0.0, "nothing was ever measured"
    other.take(POINTS, np.array([100.2, 50.0]), 30.0, unread + 0.05)
    assert other.kw(POINTS, 30.0) == 0.0, "too short to say"
    other.take(POINTS, np.array([100.5, 50.1]), 60.0, unread + 0.1)
    assert other.kw(POINTS[:1], 60.0) == pytest.approx(24.0), "what no charger counted is other load"
    assert other.kw(POINTS[1:], 60.0) == pytest.approx(0.0)


async def test_what_flowed_beside_the_chargers_counts_from_the_first_moment_after_a_restart() -> None:
    scene, platform = await limited()
    platform.beside_kw[1] = 10.0
    await scene.pass_time(2_400)
    assert await scene.services.tracker.close_periods()
    assert ordered(scene) <= 18.5
    platform.beside_kw[1] = np.nan
    await scene.restart()
    assert scene.services.tracker.other_kw(TENANT, "site-1") == pytest.approx(10.0, abs=0.1)
    assert scene.services.tracker.other_kw(TENANT, "site-2") == pytest.approx(0.0, abs=0.1)
    assert ordered(scene) <= 18.5
    await scene.pass_time(60)
    assert ordered(scene) <= 18.5, "unknown is not zero"


def test_what_is_remembered_is_never_generation_and_yields_to_what_is_measured() -> None:
    other = OtherLoad(np.array([0, 1], dtype=np.int32), np.array([80.0, 80.0]), np.full(2, 22.0))
    other.remember(np.array([0, 1, 0]), np.array([4.0, -9.0, 6.0]))
    assert other.kw(np.array([0]), 0.0) == 6.0
    assert other.kw(np.array([1]), 0.0) == 0.0
    other.take(POINTS, np.array([0.0, 0.0]), 0.0, np.zeros(2))
    other.take(POINTS, np.array([0.05, -0.1]), 60.0, np.zeros(2))
    assert other.kw(POINTS, 60.0) == pytest.approx(3.0 - 6.0)
    other.remember(np.zeros(0, dtype=np.int64), np.zeros(0))
    assert other.kw(np.array([0]), 600.0) == 6.0


async def test_a_meter_that_is_exchanged_is_no_generation_and_its_silence_counts_at_the_worst() -> None:
    scene, platform = await limited()
    platform.beside_kw[1] = 10.0
    await scene.pass_time(130)
    platform.beside_kwh[1] -= 300.0
    platform.beside_kw[1] = 9.0
    for _ in range(40):
        await scene.pass_time(5)
        assert scene.services.tracker.other_kw(TENANT, "site-1") > 8.0, "300 kWh in a minute is no generation"
        assert ordered(scene) <= 20.5
    platform.beside_kw[1] = np.nan
    await scene.pass_time(200)
    assert scene.services.tracker.other_kw(TENANT, "site-1") == pytest.approx(10.0, abs=0.1)


async def test_a_charger_whose_meter_is_exchanged_makes_no_room_at_the_grid() -> None:
    scene, platform = await limited()
    platform.beside_kw[1] = 0.0
    platform.register["ch-1-0"] += 500.0
    platform.beside_kwh[1] -= 500.0
    for _ in range(40):
        await scene.pass_time(5)
        assert scene.services.tracker.other_kw(TENANT, "site-1") > -0.1
        assert ordered(scene) <= 28.5


def test_a_mistaken_unit_counts_as_the_most_that_can_be_and_is_forgotten_after_two_days_of_measurements() -> None:
    other, meter_kwh, day_s = (
        OtherLoad(np.array([0], dtype=np.int32), np.array([80.0]), np.array([22.0])),
        0.0,
        86_400.0,
    )
    first = POINTS[:1]
    for at in np.arange(0.0, 2.5 * day_s, 60.0):
        meter_kwh += 1000.0 if at == 120.0 else 5.0 / 60.0
        other.take(first, np.array([meter_kwh]), at, np.zeros(1))
        if at == 120.0:
            assert other.kw(first, at) == 800.0, "ten times the rating of the site"
    assert other.kw(first, at) == pytest.approx(5.0)
    assert other.kw(first, at + 600.0) == pytest.approx(5.0), "of the last two days"
    assert other.kw(first, at + 30 * day_s) == pytest.approx(5.0), "silence is not forgotten"


async def test_own_generation_is_no_shortfall_and_losing_it_is_one() -> None:
    scene, platform = await limited()
    platform.beside_kw[1] = -15.0
    await scene.pass_time(600)
    assert ordered(scene) > 40.0
    assert not scene.store.all(ComplianceShortfall, TENANT)
    await platform.disconnect()
    platform.beside_kw[1] = 0.0
    await scene.pass_time(130)
    [told] = scene.store.all(ComplianceShortfall, TENANT)
    assert told.limit_kw == 30.0
    assert told.expected_kw > 40.0, "nobody can lower them, and nothing carries them any more"
    platform.beside_kw[1] = -15.0
    await platform.connect()
    await scene.pass_time(600)
    assert not any(one.is_open for one in scene.store.all(ComplianceShortfall, TENANT))


async def test_other_load_beside_chargers_that_obey_makes_what_is_expected_larger() -> None:
    scene, platform = await limited()
    await scene.pass_time(60)
    platform.beside_kw[1] = 12.0
    await platform.disconnect()
    await scene.pass_time(130)
    [told] = scene.store.all(ComplianceShortfall, TENANT)
    drawn = sum(platform.power(name) for name in scene.limits() if name.startswith("ch-1"))
    assert told.expected_kw == pytest.approx(drawn + 12.0, rel=0.15)


async def test_a_status_says_that_a_limit_at_the_node_or_below_it_is_not_kept() -> None:
    scene, platform = await limited()
    await platform.disconnect()
    await scene.services.signals.state_limits(
        GRID, said(limit("l2", 5.0, 0, None, authority="lpc:other"), authority="lpc:other")
    )
    await scene.pass_time(20)
    open_at = {one.node for one in scene.store.all(ComplianceShortfall, TENANT) if one.is_open}
    assert open_at == {"site-1"}
    assert [
        (await scene.services.dispatcher.status(OPERATOR, name)).is_short for name in ("site-1", "vpp", "site-2")
    ] == [
        True,
        True,
        False,
    ]
