"""What a car puts on each phase, by the wiring of its charger."""

import numpy as np
import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.topology import Charger, ChargerTable, Node, NodeKind, SiteTree, Wiring


def charger(name: str, phase_map: str = "", *, phases: int = 3, is_dc: bool = False) -> Charger:
    return Charger(
        id=name,
        tenant="t",
        csms="csms",
        parent="vpp",
        max_import_kw=22.0,
        min_import_kw=1.38,
        phases=phases,
        fallback_kw=0.0,
        phase_map=phase_map,
        is_dc=is_dc,
    )


def node(*, phase_rating_a: float | None = None, max_unbalance_a: float | None = None) -> Node:
    return Node(
        id="vpp",
        tenant="t",
        parent=None,
        kind=NodeKind.PORTFOLIO,
        name="vpp",
        max_import_kw=100.0,
        fail_safe_import_kw=0.0,
        phase_rating_a=phase_rating_a,
        max_unbalance_a=max_unbalance_a,
    )


@pytest.mark.parametrize(
    ("wired", "used", "expected"),
    [
        (charger("c", "123"), 3, (1 / 3, 1 / 3, 1 / 3)),
        (charger("c", "231"), 1, (0.0, 1.0, 0.0)),
        (charger("c", "312"), 2, (0.5, 0.0, 0.5)),
        (charger("c"), 1, (1.0, 1.0, 1.0)),
        (charger("c"), 3, (1 / 3, 1 / 3, 1 / 3)),
        (charger("c", "3", phases=1), 3, (0.0, 0.0, 1.0)),
        (charger("c", phases=1), 1, (1.0, 1.0, 1.0)),
        (charger("c", "123", is_dc=True), 1, (1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_a_car_loads_the_phases_that_its_charger_hangs_on_and_every_phase_where_nobody_knows(
    wired: Charger, used: int, expected: tuple[float, float, float]
) -> None:
    wiring = Wiring.of([node()], ChargerTable.of([wired], {wired.parent: 0}))
    assert wiring.shares(np.array([used])).tolist() == [pytest.approx(expected)]


def test_a_tree_knows_fuses_and_unbalance_per_node_and_the_sets_of_currents_per_charger() -> None:
    tree = SiteTree.build([node(phase_rating_a=63.0)], [charger("b"), charger("a")])
    assert tree.wiring is not None
    assert tree.wiring.phase_rating_a.tolist() == [63.0]
    assert tree.wiring.max_unbalance_a.tolist() == [np.inf]
    assert tree.wiring.pilot_sets == ((),)
    assert tree.wiring.pilot_set.tolist() == [0, 0]


@pytest.mark.parametrize("field", ["phase_rating_a", "max_unbalance_a"])
def test_a_fuse_that_no_panel_has_is_refused(field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        node(**{field: -1.0})
