"""How the chargers below a node are: reachable, overridden, and between which powers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from gateway.domain.fleet import FleetView
from gateway.domain.limits import MANUAL, Limit, Resolution, resolve
from gateway.domain.signals import ResourceStatus

BoolArray = npt.NDArray[np.bool_]

_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusFacts:
    """What a status is read from."""

    view: FleetView
    limits: Mapping[str, Sequence[Limit]]
    """Limits by node."""
    lost: Mapping[str, frozenset[str]]
    """Unconditional authorities out of contact, by node."""
    steady: Mapping[str, frozenset[str]]
    """Authorities that say a limit for every instant, by node."""
    is_connected: BoolArray
    """Chargers whose platform is connected, shape (C,)."""
    short_nodes: frozenset[str] = frozenset()
    """Nodes where a limit cannot be kept now."""


def read_status(facts: StatusFacts, node_id: str, at: datetime) -> ResourceStatus:
    """Return how the chargers below a known node are.

    What binds is the tightest of the node and of every node above it: a person's order up there overrides here too. Chargers are
    reachable when their platform is connected or says what they draw; where nobody ever said so, nobody knows.
    """
    view = facts.view
    below = view.tree.below(node_id)
    tightest = min(_resolutions(facts, node_id, at), key=lambda resolution: resolution.kw)
    power_kw = float(view.node_power_kw()[view.tree.node_index(node_id)])
    floor_kw = float(view.min_kw[below & view.has_session].sum())
    return ResourceStatus(
        at=at,
        is_online=_is_online(facts, below),
        is_overridden=tightest.authority.startswith(MANUAL),
        power_kw=None if np.isnan(power_kw) else power_kw,
        limit_kw=tightest.kw,
        rating_kw=min(view.nodes[name].max_import_kw for name in _with_those_above(view, node_id)),
        floor_kw=min(floor_kw, tightest.kw),
        is_short=any(node_id in _with_those_above(view, name) for name in facts.short_nodes if name in view.nodes),
    )


def _is_online(facts: StatusFacts, below: BoolArray) -> bool | None:
    view = facts.view
    if not below.any():
        return None
    if (facts.is_connected[below] | ~np.isnan(view.power_kw[below])).any():
        return True
    return None if np.isnan(view.power_at[below]).all() else False


def _resolutions(facts: StatusFacts, node_id: str, at: datetime) -> list[Resolution]:
    return [
        resolve(
            facts.view.nodes[name],
            facts.limits.get(name, ()),
            at,
            lost=facts.lost.get(name, _NOBODY),
            steady=facts.steady.get(name, _NOBODY),
        )
        for name in _with_those_above(facts.view, node_id)
    ]


def _with_those_above(view: FleetView, node_id: str) -> list[str]:
    chain = []
    name: str | None = node_id
    while name is not None:
        chain.append(name)
        name = view.nodes[name].parent
    return chain
