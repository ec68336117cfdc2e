"""Random histories of a box over the real desk of limits: silences, restarts, a store that fails, and never an instant above."""

import contextlib
import random

import pytest

from gateway.domain.errors import PreconditionFailed, StorageUnavailable
from gateway.domain.limits import Direction
from gateway.domain.steering import LimitationRules, SteeringState
from gateway.domain.steering_orders import SteeringOrder, orders_of_audit
from tests.services.scene import TENANT
from tests.services.test_steer_power import IMPORT, OFF, House, box, on

RATING_KW = 80.0
FLOOR_KW = 4.2
STEPS = 120


async def act(house: House, chance: random.Random) -> None:
    """Let the box, the process or the store do something."""
    match chance.choices(["beat", "beat and write", "write", "restart", "fail", "heal"], [6, 6, 1, 1, 1, 3])[0]:
        case "beat":
            await house.beat()
        case "beat and write":
            await house.beat()
            await write(house, chance)
        case "write":
            await write(house, chance)
        case "restart":
            house.scene.store.is_down = False
            await house.restart()
        case "fail":
            house.scene.store.is_down = True
        case _:
            house.scene.store.is_down = False


async def write(house: House, chance: random.Random) -> None:
    if chance.random() < 0.3:
        await house.write(OFF)
    else:
        duration_s = None if chance.random() < 0.5 else chance.uniform(0.0, 500.0)
        await house.write(on(chance.choice([0.0, 3.0, 8.0, 30.0, 100.0]), duration_s))


def most_kw(house: House) -> float:
    """Return the most that may be drawn by what the machine knows at this instant, its missed time counted."""
    held = house.desk._held[TENANT, "box-7"]
    rules, now = held.box.rules[IMPORT], house.scene.clock.now()
    limit = held.limitations[IMPORT].pass_time(rules, now).in_force_kw(rules, now)
    return RATING_KW if limit is None else min(limit, RATING_KW)


@pytest.mark.parametrize("seed", range(6))
async def test_no_history_opens_what_is_limited(seed: int) -> None:
    chance = random.Random(seed)
    house = await House(box(rules={IMPORT: LimitationRules(failsafe_kw=20.0, guaranteed_kw=FLOOR_KW)})).start()
    seen = set()
    for _ in range(STEPS):
        house.scene.clock.move(seconds=chance.choice([1.0, 30.0, 59.0, 61.0, 119.0, 121.0, 400.0]))
        for attempt in (house.let(0), act(house, chance)):
            with contextlib.suppress(PreconditionFailed, StorageUnavailable):
                await attempt
        kw = await house.kw()
        assert kw <= most_kw(house) + 1e-9
        assert kw >= FLOOR_KW
        seen.add(house.state)
    assert seen >= set(SteeringState) - {SteeringState.UNLIMITED_AUTONOMOUS}
    house.scene.store.is_down = False
    await house.let(0)
    await house.beat()
    await house.write(on(33.0))
    assert await house.kw() == 33.0, "nothing of the past is left"
    orders = {one.id: one for one in house.scene.store.all(SteeringOrder, TENANT)}
    assert sum(one.is_open for one in orders.values()) <= 1
    told = orders_of_audit(chained.entry for chained in await house.scene.store.audit_entries())
    assert {one.id: one for one in told} == orders
    assert all(one.direction is Direction.IMPORT for one in told)
