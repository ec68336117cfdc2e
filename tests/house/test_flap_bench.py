"""The pieces of the bench of flapping chargers: who is silent, what the inventory is, and which numbers must hold."""

from typing import Any, cast

import numpy as np

from gateway.clock import SystemClock
from gateway.domain.inventory import parse_inventory
from scripts.benches.flap import QUIET, goals_of, inventory_of
from scripts.dispatch_bench.flapping import SILENT_S, Flapping, chargers_of, platform_name


def test_platforms_know_the_chargers_of_the_inventory() -> None:
    names = [platform_name(0), platform_name(1)]
    found = parse_inventory(inventory_of(names, 12))
    assert sorted(charger.id for charger in found.chargers) == sorted([*chargers_of(0, 12), *chargers_of(1, 12)])
    assert {(charger.id.rpartition("-")[0], charger.csms) for charger in found.chargers} == {(n, n) for n in names}


def test_a_tenth_falls_silent_in_a_minute_and_comes_back() -> None:
    platform = Flapping(cast("Any", None), chargers_of(0, 1_000), SystemClock())
    platform.silence(1, 1_000)
    assert len(platform.turn(100.0, 60.0)) == 1_000
    platform.is_flapping = True
    measuring = platform.turn(100.0, 60.0)
    assert 900 <= len(measuring) < 910
    platform.is_flapping = False
    assert np.array_equal(platform.turn(100.0 + SILENT_S - 1.0, 5.0), measuring)
    assert platform.come_back == 0
    assert len(platform.turn(100.0 + SILENT_S, 5.0)) == 1_000
    assert platform.come_back == 1_000 - len(measuring)


def test_whoever_does_not_flap_proves_nothing() -> None:
    row: dict[str, str | int | float | None] = {"chargers": 10, "lag_ms": 20.0, "cores": 0.5, "come_back": 0}
    quiet, flapping = goals_of([row | {"beside": QUIET}]), goals_of([row | {"beside": "10 % flap per minute"}])
    assert all(goal["met"] for goal in quiet)
    assert [goal["met"] for goal in flapping] == [True, True, False]
