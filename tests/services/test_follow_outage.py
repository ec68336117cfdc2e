"""What became of commands while the store is away: however long that takes, where each charger is is written afterwards (G1)."""

import numpy as np
from structlog.testing import capture_logs

from gateway.domain.dispatch import DispatchOutcome, DispatchState
from gateway.observe import OUTCOMES_WAITING
from tests.services.scene import TENANT, Platform, Scene

APPLIED, REJECTED, TIMED_OUT = DispatchState.APPLIED, DispatchState.REJECTED, DispatchState.TIMED_OUT
LONG = 1_200
"""Looks of an outage of twenty minutes."""


async def away(states: dict[int, dict[int, DispatchState]], looks: int) -> tuple[Scene, Platform]:
    """Let the store be away for so many looks while platforms say what became of commands, and come back.

    Args:
        states: By look and position of the charger.
        looks: How many.
    """
    scene = Scene()
    platform = await scene.start()
    follower = scene.services.follower
    await follower.flush()
    book = follower.book(TENANT)
    scene.store.is_down = True
    for look in range(looks):
        said = {0: REJECTED if look % 2 else TIMED_OUT} | states.get(look, {})
        for i, state in said.items():
            follower.told(TENANT, np.array([i]), np.array([state], dtype=np.int8), int(book.sequence[i]))
        assert not await follower.flush()
    assert OUTCOMES_WAITING._value.get() <= 100
    scene.store.is_down = False
    assert await follower.flush()
    return scene, platform


def written(scene: Scene, charger: str) -> list[int]:
    """The states of a charger by name, in the order in which they were written."""
    rows = scene.store.all(DispatchOutcome, TENANT)
    return [state for row in rows for name, state in zip(row.charger_ids, row.states, strict=True) if name == charger]


async def test_g1_what_came_about_in_a_long_outage_is_written_when_the_store_is_back() -> None:
    with capture_logs() as logs:
        scene, platform = await away({2: {1: REJECTED}, LONG - 50: {2: REJECTED}}, LONG)
    assert [written(scene, platform.chargers[i])[-1] for i in (0, 1, 2)] == [REJECTED] * 3, "early, late and in between"
    assert OUTCOMES_WAITING._value.get() == 0
    audit = [change.entry for change in await scene.store.audit_entries()]
    named = {name for one in audit if one.action == "dispatch.rejected" for name in one.detail["chargers"].split()}
    assert {platform.chargers[i] for i in (0, 1, 2)} <= named, "and so is the alarm"
    lines = [line["event"] for line in logs]
    assert len([line for line in lines if "only the newest state is kept" in line]) == 1, lines
    assert "changes are written one by one again" in lines


async def test_g1_a_start_after_a_long_outage_knows_who_refuses() -> None:
    scene, platform = await away({3: {1: REJECTED}, 900: {2: REJECTED}}, LONG)
    await scene.restart(keeps_stream=False)
    assert [scene.state(platform.chargers[i]) for i in (0, 1, 2)] == [REJECTED] * 3
    assert scene.state(platform.chargers[3]) is not REJECTED


async def test_g1_a_short_outage_loses_nothing_of_what_was_in_between() -> None:
    with capture_logs() as logs:
        scene, platform = await away({}, 60)
    assert len(written(scene, platform.chargers[0])) >= 60
    assert not [line for line in logs if "only the newest state is kept" in line["event"]]
