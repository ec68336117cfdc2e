"""What an event should change: the expected power of its nodes over its time against what it leaves them."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.capacity import limit_profile_kw
from gateway.domain.limits import Direction, Limit, LimitKind
from gateway.domain.signals import GridEvent
from gateway.domain.timegrid import TimeGrid
from gateway.domain.topology import Node
from gateway.domain.units import QUARTER_HOUR

FloatArray = npt.NDArray[np.float64]

LONGEST_LOOK = timedelta(days=1)
"""An event is looked at for so long at most; an open-ended one has no other end."""


def expected_change_kw(
    event: GridEvent,
    limits: Sequence[Limit],
    find_node: Callable[[str, str], Node | None],
    expected_kw: Callable[[str, str, TimeGrid], FloatArray | None],
    now: datetime,
) -> float | None:
    """Return the mean change of power over what is left of an event, in kW, at most 0; None when nobody knows.

    Nodes below another node of the event count with it.

    Args:
        event: The event.
        limits: The limits it brings if it is followed.
        find_node: Node of a tenant by id.
        expected_kw: What a tenant's node would draw without the event, per slot.
        now: The instant of the question.
    """
    asked = [x for x in limits if x.kind is LimitKind.LIMIT and x.direction is Direction.IMPORT]
    grid = _grid(event, now)
    if not asked or grid is None:
        return None
    total = 0.0
    for node in _topmost({x.node for x in asked}, event.tenant, find_node):
        expected = expected_kw(event.tenant, node, grid)
        if expected is None:
            return None
        allowed = limit_profile_kw([x for x in asked if x.node == node], grid)
        total += float(np.minimum(allowed - expected, 0.0).mean())
    return total


def _grid(event: GridEvent, now: datetime) -> TimeGrid | None:
    start = max(event.active.start, now)
    end = start + LONGEST_LOOK if event.active.end is None else min(event.active.end, start + LONGEST_LOOK)
    if end <= start:
        return None
    return TimeGrid(start=start, step=QUARTER_HOUR, count=max(1, -((start - end) // QUARTER_HOUR)))


def _topmost(nodes: set[str], tenant: str, find_node: Callable[[str, str], Node | None]) -> list[str]:
    return sorted(node for node in nodes if not any(up in nodes for up in _above(node, tenant, find_node)))


def _above(node_id: str, tenant: str, find_node: Callable[[str, str], Node | None]) -> list[str]:
    above: list[str] = []
    node = find_node(tenant, node_id)
    while node is not None and node.parent is not None and node.parent not in above:
        above.append(node.parent)
        node = find_node(tenant, node.parent)
    return above
