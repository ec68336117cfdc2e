"""What binds at single chargers beside their rating: limits that they announce, or that a person set there."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.fleet import FleetView
from gateway.domain.id_list import IdList
from gateway.domain.limits import Limit, next_change, resolve
from gateway.domain.topology import Node, NodeKind
from gateway.services.plan_dispatch.wants import Wants, floor_to_quantum


def within_charger_limits(
    wants: Wants,
    view: FleetView,
    limits: Mapping[str, Sequence[Limit]],
    span: tuple[datetime, timedelta],
) -> tuple[Wants, datetime | None]:
    """Return what cars may want within the limits of their own charger, and when one of these next changes.

    Args:
        wants: What the cars want, shape (C,) each.
        view: The fleet.
        limits: All limits of the tenant by node or charger.
        span: Now, and how long ahead limits that begin count already.
    """
    now, lead = span
    wanted, changes, chargers = wants.wanted_kw, [], IdList.of(view.tree.charger_ids)
    for charger_id, own in limits.items():
        i = None if charger_id in view.nodes else chargers.find(charger_id)
        if i is None:
            continue
        node = _node(charger_id, own[0].tenant if own else "", float(view.max_kw[i]))
        change = next_change(own, now)
        instants = [now] if change is None or change > now + lead else [now, change]
        allowed = min(resolve(node, own, at).kw for at in instants)
        if change is not None:
            changes.append(change)
        if allowed < wanted[i]:
            wanted = wanted.copy() if wanted is wants.wanted_kw else wanted
            wanted[i] = allowed if allowed >= wants.min_kw[i] else 0.0
    bounded = wants if wanted is wants.wanted_kw else replace(wants, wanted_kw=floor_to_quantum(wanted))
    return bounded, min(changes, default=None)


def _node(charger_id: str, tenant: str, max_kw: float) -> Node:
    return Node(
        id=charger_id,
        tenant=tenant,
        parent=charger_id,
        kind=NodeKind.CHARGER,
        name=charger_id,
        max_import_kw=max_kw,
        fail_safe_import_kw=0.0,
    )
