"""Steering boxes, made from settings."""

from collections.abc import Sequence

import numpy as np

from gateway.domain.limits import Direction
from gateway.domain.section_14a import DeviceControl, guaranteed_kw
from gateway.domain.steering import DEFAULT_FAILSAFE_KW, LimitationRules
from gateway.services.steer_power import SteeringBox, SteeringSettings
from gateway.services.track_fleet import FleetTracker
from gateway.settings import Settings, seconds
from gateway.steering_settings import SteeringBoxSettings


def steering_settings(settings: Settings) -> SteeringSettings:
    """Return what a deployment's steering boxes may do."""
    boxes = tuple(_box(f"steering_box[{place}]", entry) for place, entry in enumerate(settings.steering_box))
    return SteeringSettings(boxes=boxes, tenants=settings.tenants)


def _box(where: str, entry: SteeringBoxSettings) -> SteeringBox:
    floor_kw = guaranteed_kw(entry.devices, DeviceControl(entry.control)) if entry.section_14a else 0.0
    rules = {}
    if "consumption" in entry.limits:
        own_kw = max(DEFAULT_FAILSAFE_KW, floor_kw) if entry.failsafe_kw is None else entry.failsafe_kw
        rules[Direction.IMPORT] = _rules(entry, own_kw, floor_kw)
    if "production" in entry.limits:
        rules[Direction.EXPORT] = _rules(entry, entry.failsafe_production_kw, 0.0)
    return SteeringBox(
        name=entry.name,
        tenant=entry.tenant,
        node=entry.node,
        account=entry.actor,
        rules=rules,
        dim_kw=max(entry.dim_kw, floor_kw),
        is_section_14a=entry.section_14a,
        connection_point=entry.connection_point,
        where=where,
    )


def _rules(entry: SteeringBoxSettings, failsafe_kw: float, floor_kw: float) -> LimitationRules:
    return LimitationRules(
        failsafe_kw=failsafe_kw,
        failsafe_duration=seconds(entry.failsafe_duration),
        guaranteed_kw=floor_kw,
        leaves_init=entry.leaves_init,
        leaves_without_limit=entry.leaves_without_limit,
        leaves_after_minimum=entry.leaves_after_minimum,
    )


class ChargersBelow:
    """Which chargers hang below a node; worked out anew only when the tree has changed."""

    def __init__(self, fleet: FleetTracker) -> None:
        """Remember who has the tree."""
        self._fleet = fleet
        self._known: dict[tuple[str, str], tuple[Sequence[str], frozenset[str]]] = {}

    def __call__(self, tenant: str, node_id: str) -> frozenset[str]:
        """Return the ids of the chargers below a tenant's node; none where it does not exist."""
        tree = self._fleet.view(tenant).tree
        known = self._known.get((tenant, node_id))
        if known is None or known[0] is not tree.charger_ids:
            is_below = tree.below(node_id) if node_id in tree.node_ids else np.zeros(len(tree.charger_ids), dtype=bool)
            found = frozenset(tree.charger_ids[i] for i in np.flatnonzero(is_below).tolist())
            known = self._known[tenant, node_id] = (tree.charger_ids, found)
        return known[1]
