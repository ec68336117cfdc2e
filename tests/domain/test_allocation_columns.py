"""Large trees are summed and split by other steps than small ones: both say the same."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.allocation import Demand, PhaseBounds, TreeLevels, allocate, clip
from gateway.domain.allocation.frames import Frame
from gateway.domain.topology import SiteTree

FloatArray = npt.NDArray[np.float64]
ROOMS = "gateway.domain.allocation"


def as_if_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small trees take the steps of large ones: columns of two places, three at a time, sums by level, chargers together."""
    monkeypatch.setattr(f"{ROOMS}.levels._FEW_NODES", 0)
    monkeypatch.setattr(f"{ROOMS}.levels._MOST_HEIGHT", 2)
    monkeypatch.setattr(f"{ROOMS}.levels._MANY_CHARGERS", 1)
    monkeypatch.setattr(f"{ROOMS}.filling._BLOCK", 3)
    monkeypatch.setattr(f"{ROOMS}.frames._SMALL", 0)
    monkeypatch.setattr(f"{ROOMS}.frames._SPARSE", 2)


def random_tree(generator: np.random.Generator, chargers: int) -> SiteTree:
    parent = np.array([-1, 0, 0, 1, 1, 2, 2, int(generator.integers(0, 7))])
    level = np.zeros(8, dtype=np.int32)
    for node in range(1, 8):
        level[node] = level[parent[node]] + 1
    return SiteTree(
        node_ids=tuple(f"n{i}" for i in range(8)),
        parent=parent.astype(np.int32),
        level=level,
        rating_kw=np.full(8, 1e9),
        charger_ids=tuple(f"c{i}" for i in range(chargers)),
        charger_node=generator.choice([0, 3, 3, 3, 4, 5, 6, 7], chargers).astype(np.int32),
    )


def split(tree: SiteTree, seed: int) -> list[FloatArray]:
    """Return a split per phase of a random demand, and its clips to two limits."""
    generator, count = np.random.default_rng(seed), len(tree.charger_ids)
    levels = TreeLevels.of(tree)
    used = generator.choice([1, 3], count)
    share = np.where((used == 1)[:, None], np.eye(3)[generator.integers(0, 3, count)], 1.0 / 3.0)
    below = levels.totals(np.ones(count))
    caps, phase_caps = below * generator.uniform(0.5, 5.0, 8), below[:, None] * generator.uniform(0.3, 2.0, (8, 3))
    demand = Demand(
        wanted_kw=np.where(generator.random(count) < 0.2, 0.0, 1.38 * used + generator.uniform(0.0, 9.0, count)),
        min_kw=1.38 * used,
        priority=generator.integers(0, 5, count).astype(np.float64),
        weight=generator.choice([1.0, 2.0], count),
        must_run=generator.random(count) < 0.1,
        reserved_kw=np.zeros(count),
    )
    phases = PhaseBounds(share=share, caps_kw=phase_caps)
    setpoints = allocate(levels, caps, demand, phases)
    found = [setpoints]
    for part in (0.95, 0.5):
        lower = PhaseBounds(share=share, caps_kw=phase_caps * part)
        clipped = clip(levels, caps * part, setpoints, min_kw=demand.min_kw, priority=demand.priority, phases=lower)
        found.append(clipped)
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_the_steps_of_large_trees_split_and_clip_small_ones_alike(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = random_tree(np.random.default_rng(seed), 40)
    small = split(tree, seed)
    with monkeypatch.context() as patch:
        as_if_large(patch)
        large = split(tree, seed)
    for one, other in zip(small, large, strict=True):
        assert other == pytest.approx(one, abs=1e-9)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), share=st.floats(0.0, 1.0))
def test_everybody_of_a_frame_stands_in_one_place_and_sums_are_those_of_the_tree(
    seed: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(seed)
    tree = random_tree(generator, 30)
    who, power = generator.random(30) < share, generator.uniform(0.0, 11.0, 30)
    with monkeypatch.context() as patch:
        as_if_large(patch)
        levels = TreeLevels.of(tree)
        frame = Frame.of(levels, who)
        walked, values = frame.walked(), frame.values(power)
        assert sorted(walked.tolist()) == np.flatnonzero(who).tolist()
        assert np.where(who, power, 0.0) == pytest.approx(frame.chargers(values))
        assert frame.totals(values[None])[0] == pytest.approx(levels.totals(np.where(who, power, 0.0)))


def test_a_node_with_more_chargers_than_a_column_has_places_has_several() -> None:
    generator = np.random.default_rng(5)
    levels = TreeLevels.of(random_tree(generator, 2_000))
    assert levels.grid.is_split
    power = generator.uniform(0.0, 22.0, 2_000)
    frame = Frame.of(levels, np.ones(2_000, dtype=bool))
    assert frame.totals(frame.values(power)[None])[0] == pytest.approx(levels.totals(power))
