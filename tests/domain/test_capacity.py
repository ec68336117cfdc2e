"""Caps fold ratings and limits up the tree."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from gateway.domain.capacity import limit_profile_kw, site_caps_kw, touched_slots
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.domain.topology import Charger, Node, NodeKind

START = datetime(2025, 10, 15, tzinfo=UTC)
GRID = TimeGrid(start=START, count=4)


def node(name: str, parent: str | None, kind: NodeKind, kw: float) -> Node:
    return Node(id=name, tenant="t", parent=parent, kind=kind, name=name, max_import_kw=kw, fail_safe_import_kw=0.0)


def charger(name: str, parent: str, kw: float = 22.0) -> Charger:
    return Charger(
        id=name, tenant="t", csms="c", parent=parent, max_import_kw=kw, min_import_kw=4.0, phases=3, fallback_kw=4.0
    )


NODES = [
    node("vpp", None, NodeKind.PORTFOLIO, 1000.0),
    node("a", "vpp", NodeKind.SITE, 100.0),
    node("b", "vpp", NodeKind.SITE, 300.0),
    node("a1", "a", NodeKind.CIRCUIT, 60.0),
    node("a2", "a", NodeKind.CIRCUIT, 60.0),
]
CHARGERS = [charger(f"a{c}-{i}", f"a{c}") for c in (1, 2) for i in range(4)] + [
    charger(f"b-{i}", "b") for i in range(20)
]


def limit(where: str, kw: float, first: float = 0, last: float = 4, **changes: object) -> Limit:
    span = Interval(start=START + timedelta(minutes=15) * first, end=START + timedelta(minutes=15) * last)
    made = Limit(
        id=f"{where}-{kw}",
        tenant="t",
        authority="dso",
        node=where,
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.MANDATORY,
        max_kw=kw,
        interval=span,
        cause="x:y",
        known_at=START,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def caps(*limits: Limit, other: dict[str, float] | None = None) -> dict[str, list[float]]:
    loads = {site: np.full(4, kw) for site, kw in (other or {}).items()}
    return {site: cap.tolist() for site, cap in site_caps_kw(NODES, CHARGERS, limits, GRID, loads).items()}


def test_rating_binds_without_limits() -> None:
    assert caps() == {"a": [100.0] * 4, "b": [300.0] * 4}


def test_limit_on_a_site_binds_where_it_applies_and_the_least_of_several() -> None:
    assert caps(limit("a", 50.0, 1, 3), limit("a", 80.0, 2, 4))["a"] == [100.0, 50.0, 50.0, 80.0]


def test_limit_on_a_circuit_leaves_the_rest_of_the_site() -> None:
    assert caps(limit("a1", 10.0))["a"] == [70.0] * 4
    # Other load hangs on the site, not on the circuit.
    assert caps(limit("a1", 10.0), other={"a": 25.0})["a"] == [95.0] * 4


def test_chargers_cannot_draw_more_than_they_are() -> None:
    few = [charger("a1-0", "a1"), charger("b-0", "b")]
    assert {s: c.tolist() for s, c in site_caps_kw(NODES, few, [], GRID, {}).items()} == {
        "a": [22.0] * 4,
        "b": [22.0] * 4,
    }


def test_limit_on_the_portfolio_is_shared_by_rating() -> None:
    assert caps(limit("vpp", 200.0, 0, 2)) == {"a": [50.0, 50.0, 100.0, 100.0], "b": [150.0, 150.0, 300.0, 300.0]}


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": LimitKind.OPTIMUM},
        {"binding": Binding.VOLUNTARY},
        {"direction": Direction.EXPORT},
        {"withdrawn_at": START},
    ],
)
def test_what_does_not_oblige_does_not_bind(changes: dict[str, Any]) -> None:
    assert caps(limit("a", 0.0, **changes)) == caps()


@pytest.mark.parametrize(
    ("first", "last", "kept"),
    [
        (1, 3, [40.0, 70.0, 70.0, 40.0]),
        (1.5, 3, [40.0, 40.0, 70.0, 40.0]),
        (1, 2.5, [40.0, 70.0, 40.0, 40.0]),
        (-3, 9, [70.0] * 4),
    ],
)
def test_b13_a_fallback_counts_where_no_limit_of_its_authority_covers_the_slot_whole(
    first: float, last: float, kept: list[float]
) -> None:
    contract = limit("a", 40.0, kind=LimitKind.FALLBACK)
    assert caps(contract, limit("a", 70.0, first, last))["a"] == kept
    assert caps(contract, limit("a", 70.0, first, last, authority="other"))["a"] == [40.0] * 4


def test_zero_is_a_limit() -> None:
    assert caps(limit("a", 0.0, 0, 1))["a"] == [0.0, 100.0, 100.0, 100.0]


@pytest.mark.parametrize(
    ("first", "last", "slots"), [(0.5, 0.6, [0]), (0.99, 1.01, [0, 1]), (1, 2, [1]), (-5, -1, []), (4, 9, [])]
)
def test_slot_that_a_limit_touches_is_limited_whole(first: float, last: float, slots: list[int]) -> None:
    profile = limit_profile_kw([limit("a", 5.0, first, last)], GRID)
    assert np.flatnonzero(np.isfinite(profile)).tolist() == slots


def test_open_limit_goes_on_for_ever() -> None:
    assert touched_slots(Interval(start=START + timedelta(minutes=31), end=None), GRID) == slice(2, 4)
