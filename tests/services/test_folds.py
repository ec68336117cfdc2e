"""What limits come to is folded again only where something changed, and is at every instant what a fold from nothing gives."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.fleet import FleetView
from gateway.domain.limits import Limit, LimitKind, NodeLimits, Resolution, resolve
from gateway.domain.topology import Node
from gateway.services.plan_dispatch.folds import Fold, Folds, Orders
from tests.fakes.clock import START
from tests.services.scene import TENANT, Scene, tree
from tests.services.test_stated_limits import DSO, limit

LEAD = timedelta(seconds=90)
PLACES = ("site-1", "vpp", "ch-1-0", "nowhere")
SAID = st.tuples(
    st.sampled_from(PLACES),
    st.floats(0.0, 90.0),
    st.integers(0, 8),
    st.integers(1, 6),
    st.sampled_from([LimitKind.LIMIT, LimitKind.FALLBACK]),
)


async def seen() -> tuple[Scene, FleetView]:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    return scene, scene.services.tracker.view(TENANT)


def ordered(scene: Scene, limits: Mapping[str, Sequence[Limit]], lost: Sequence[str] = ()) -> Orders:
    def find(name: str) -> Node | None:
        return scene.services.tracker.find_charger(TENANT, name)

    return Orders(limits=limits, lost=dict.fromkeys(lost, frozenset({DSO})), schedules=(), find_charger=find)


def told(fold: Fold) -> tuple[object, ...]:
    return fold.place, fold.until, [(one.kw, one.authority, one.until, one.applying) for one in fold.found]


@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(SAID, max_size=8),
    looks=st.lists(st.tuples(st.integers(0, 900), st.sets(st.sampled_from(PLACES))), min_size=1, max_size=8),
)
async def test_what_is_remembered_is_what_a_fold_from_nothing_gives(
    said: list[tuple[str, float, int, int, LimitKind]], looks: list[tuple[int, set[str]]]
) -> None:
    scene, view = await seen()
    limits: dict[str, list[Limit]] = {}
    for k, (node, kw, start, minutes, kind) in enumerate(said):
        limits.setdefault(node, []).append(limit(f"l{k}", kw, start, start + minutes, node=node, kind=kind))
    by_node = {node: NodeLimits(found) for node, found in limits.items()}
    remembering = Folds(LEAD)
    for second, lost in looks:
        now, orders, anew = START + timedelta(seconds=second), ordered(scene, by_node, sorted(lost)), Folds(LEAD)
        for known, fresh in (
            (remembering.at_nodes(view, orders, now), anew.at_nodes(view, orders, now)),
            (remembering.at_chargers(view, orders, now), anew.at_chargers(view, orders, now)),
        ):
            assert {fold.name: told(fold) for fold in known} == {fold.name: told(fold) for fold in fresh}


async def test_only_what_changed_is_folded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, view = await seen()
    folded: list[str] = []

    def counted(node: Node, *args: Any, **options: Any) -> Resolution:
        folded.append(node.id)
        return resolve(node, *args, **options)

    monkeypatch.setattr("gateway.services.plan_dispatch.folds.resolve", counted)
    known = Folds(LEAD)

    def look(limits: Mapping[str, Sequence[Limit]], seconds: float) -> list[str]:
        folded.clear()
        orders, now = ordered(scene, limits), START + timedelta(seconds=seconds)
        list(known.at_nodes(view, orders, now))
        list(known.at_chargers(view, orders, now))
        return sorted(folded)

    limits = {name: NodeLimits([limit(name, 5.0, 0, 10, node=name)]) for name in ("site-1", "vpp", "ch-1-0")}
    assert look(limits, 1.0) == ["ch-1-0", "site-1", "vpp"]
    assert look(limits, 500.0) == []
    assert look({**limits, "vpp": NodeLimits([limit("new", 4.0, 0, 10, node="vpp")])}, 505.0) == ["vpp"]
    assert look({"site-1": limits["site-1"]}, 511.0) == ["site-1", "site-1"], "its end is within the lead"
