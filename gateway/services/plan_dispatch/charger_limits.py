"""What binds at single chargers beside their rating: limits that they announce, or that a person set there."""

from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.fleet import FleetView
from gateway.domain.id_list import IdList
from gateway.domain.limits import next_change
from gateway.services.plan_dispatch.caps import Orders, resolved
from gateway.services.plan_dispatch.wants import Wants, floor_to_quantum


def within_charger_limits(
    wants: Wants,
    view: FleetView,
    orders: Orders,
    span: tuple[datetime, timedelta],
) -> tuple[Wants, datetime | None]:
    """Return what cars may want within the limits of their own charger, and when one of these next changes.

    Args:
        wants: What the cars want, shape (C,) each.
        view: The fleet.
        orders: Everything that anybody ordered, at nodes and at chargers.
        span: Now, and how long ahead limits that begin count already.
    """
    now, lead = span
    wanted, changes, chargers = wants.wanted_kw, [], IdList.of(view.tree.charger_ids)
    for charger_id in {*orders.limits, *orders.lost, *orders.steady} - view.nodes.keys():
        i, node = chargers.find(charger_id), orders.find_charger(charger_id)
        if i is None or node is None:
            continue
        change = next_change(orders.limits.get(charger_id, ()), now)
        instants = [now] if change is None or change > now + lead else [now, change]
        allowed = min(resolved(node, orders, at).kw for at in instants)
        if change is not None:
            changes.append(change)
        if allowed < wanted[i]:
            wanted = wanted.copy() if wanted is wants.wanted_kw else wanted
            wanted[i] = allowed if allowed >= wants.min_kw[i] else 0.0
    bounded = wants if wanted is wants.wanted_kw else replace(wants, wanted_kw=floor_to_quantum(wanted))
    return bounded, min(changes, default=None)
