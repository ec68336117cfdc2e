"""The site tree of the operator's page: power, limit and what binds at every node, columnar, from memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from gateway.domain.fleet import FleetView
from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import RATING, LimitKind, Resolution
from gateway.domain.topology import Node, NodeKind
from gateway.web.operator_folds import Ordered
from gateway.web.rooms import Login, Rooms, WebRooms

router = APIRouter(prefix="/operator/tree")


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeLine:
    """One node with what binds there."""

    node: Node
    power_kw: float | None
    """What chargers below it draw; None unknown."""
    resolution: Resolution

    @property
    def headroom_kw(self) -> float:
        """Limit minus power; a node without a measurement comes first, for unknown is not fine."""
        return float("-inf") if self.power_kw is None else self.resolution.kw - self.power_kw

    @property
    def band(self) -> str:
        """Return the kind of reason: `rating`, `order`, `manual`, `fallback` or `fail-safe`."""
        binding = self.resolution.binding
        if binding is None:
            return "rating" if self.resolution.authority == RATING else "fail-safe"
        if binding.kind is LimitKind.FALLBACK:
            return "fallback"
        return "manual" if binding.is_manual else "order"


async def node_lines(
    rooms: WebRooms, principal: Principal, view: FleetView, kinds: Sequence[NodeKind] = tuple(NodeKind)
) -> list[NodeLine]:
    """Return the nodes of some kinds in the order of a view's arrays; only what changed is folded anew.

    Raises:
        PermissionRefused: The caller may not read limits and power.
    """
    principal.require(Permission.SIGNAL_READ)
    principal.require(Permission.FLEET_READ)
    tenant, signals = principal.tenant, rooms.signals
    ordered = Ordered(
        limits=dict(signals.limits_by_node(tenant)),
        lost=signals.lost_nodes(tenant),
        steady=signals.steady_nodes(tenant),
        now=rooms.clock.now(),
    )
    rooms.folds.forget(tenant, view.nodes)
    powers = zip(view.tree.node_ids, view.node_power_kw().tolist(), strict=True)
    chosen = [(view.nodes[name], power) for name, power in powers if view.nodes[name].kind in kinds]
    resolutions = await rooms.folds.resolutions(tenant, [node for node, _ in chosen], ordered)
    return [
        NodeLine(node=node, power_kw=None if np.isnan(power) else power, resolution=resolution)
        for (node, power), resolution in zip(chosen, resolutions, strict=True)
    ]


def _walk(view: FleetView) -> list[int]:
    """Return the nodes depth first, children by name."""
    children: dict[int, list[int]] = {}
    for i, up in enumerate(view.tree.parent.tolist()):
        children.setdefault(up, []).append(i)
    names = [view.nodes[node_id].name for node_id in view.tree.node_ids]
    for below in children.values():
        below.sort(key=lambda i: names[i], reverse=True)
    ordered, waiting = [], list(children.get(-1, ()))
    while waiting:
        ordered.append(waiting.pop())
        waiting += children.get(ordered[-1], ())
    return ordered


@router.get("")
async def shape(rooms: Rooms, session: Login) -> Response:
    """Return the nodes depth first, columnar: what does not change while people watch."""
    session.principal.require(Permission.FLEET_READ)
    view = rooms.fleet.view(session.principal.tenant)
    order = _walk(view)
    place = {i: position for position, i in enumerate(order)}
    nodes = [view.nodes[view.tree.node_ids[i]] for i in order]
    parents = [place.get(int(view.tree.parent[i]), -1) for i in order]
    columns = {
        "ids": [node.id for node in nodes],
        "names": [node.name for node in nodes],
        "kinds": [node.kind.value for node in nodes],
        "parents": parents,
        "levels": [int(view.tree.level[i]) for i in order],
    }
    return JSONResponse(columns)


@router.get("/values")
async def values(rooms: Rooms, session: Login) -> Response:
    """Return power, limit and reason of every node in the order of the shape."""
    view = rooms.fleet.view(session.principal.tenant)
    lines = await node_lines(rooms, session.principal, view)
    chosen = [lines[i] for i in _walk(view)]
    columns = {
        "power_kw": [None if line.power_kw is None else round(line.power_kw, 1) for line in chosen],
        "limit_kw": [round(line.resolution.kw, 1) for line in chosen],
        "bands": [line.band for line in chosen],
        "whose": [line.resolution.authority for line in chosen],
    }
    return JSONResponse(columns)
