"""How the chargers below a node are, as status reports to grid partners tell it."""

from datetime import timedelta

import pytest

from gateway.domain.errors import NotFound, PermissionRefused
from gateway.domain.identity import Principal
from gateway.domain.signals import ResourceStatus
from tests.services.scene import GRID, OPERATOR, PLATFORM, TENANT, Scene, event, message, tree


async def status(scene: Scene, node: str = "site-1") -> ResourceStatus:
    return await scene.services.dispatcher.status(GRID, node)


async def limit(scene: Scene, node: str, max_kw: float) -> None:
    await scene.services.signals.set_manual_limit(
        OPERATOR,
        node_id=node,
        max_kw=max_kw,
        start=None,
        end=scene.clock.now() + timedelta(hours=2),
        reason="works",
        request_id=f"m-{node}",
    )
    await scene.turn()


async def test_a_site_with_charging_cars_is_online_and_free() -> None:
    scene = Scene()
    platform = await scene.start()
    found = await status(scene)
    assert (found.is_online, found.is_overridden) == (True, False)
    assert found.power_kw == pytest.approx(platform.total("ch-1"))
    assert (found.limit_kw, found.rating_kw) == (80.0, 80.0)
    assert found.floor_kw == pytest.approx(5 * 4.14)
    assert found.at == scene.clock.now()


async def test_an_event_limits_the_site_below_without_overriding_it() -> None:
    scene = Scene()
    await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.turn()
    assert (await status(scene, "vpp")).limit_kw == 60.0
    found = await status(scene)
    assert (found.limit_kw, found.is_overridden) == (60.0, False)


async def test_an_order_of_a_person_above_overrides_below_too() -> None:
    scene = Scene()
    await scene.start()
    await limit(scene, "site-1", 10.0)
    assert [(await status(scene, node)).is_overridden for node in ("vpp", "site-1", "c-1", "site-2")] == [
        False,
        True,
        True,
        False,
    ]
    found = await status(scene, "c-1")
    assert (found.limit_kw, found.floor_kw) == (10.0, 10.0)
    assert found.rating_kw == 70.0


async def test_it_is_offline_when_neither_orders_nor_measurements_get_through() -> None:
    scene = Scene()
    platform = await scene.start()
    await platform.disconnect()
    platform.unmeasured = set(platform.chargers)
    await scene.pass_time(30)
    assert (await status(scene)).is_online is True, "what it draws was heard a moment ago"
    await scene.pass_time(300)
    found = await status(scene)
    assert found.is_online is False
    assert found.power_kw is None


async def test_nobody_knows_of_chargers_that_never_said_a_word() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    assert (await status(scene)).is_online is None
    assert (await status(scene)).floor_kw == 0.0


async def test_a_node_without_chargers_is_neither_here_nor_there() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, *tree(chargers_per_circuit=0))
    await scene.load()
    assert (await status(scene)).is_online is None


async def test_a_connected_platform_is_enough() -> None:
    scene = Scene()
    platform = await scene.start()
    platform.unmeasured = set(platform.chargers)
    await scene.pass_time(300)
    assert (await status(scene)).is_online is True


async def test_an_unknown_node_and_a_stranger_are_refused() -> None:
    scene = Scene()
    await scene.start()
    with pytest.raises(NotFound):
        await status(scene, "site-9")
    nobody = Principal(tenant=TENANT, actor="nobody", roles=frozenset())
    with pytest.raises(PermissionRefused):
        await scene.services.dispatcher.status(nobody, "vpp")
    assert (await scene.services.dispatcher.status(PLATFORM, "vpp")).rating_kw == 200.0
