"""What binds at single chargers beside their rating: limits that they announce, or that a person set there."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.fleet import FleetView
from gateway.domain.id_list import IdList
from gateway.services.plan_dispatch.caps import Orders, resolved_ahead
from gateway.services.plan_dispatch.wants import Wants, floor_to_quantum


def within_charger_limits(
    wants: Wants, view: FleetView, orders: Orders, now: datetime, lead: timedelta
) -> tuple[Wants, Sequence[datetime]]:
    """Return what cars may want within the limits of their own charger, and when these change up to the first time beyond the lead.

    Args:
        wants: What the cars want, shape (C,) each.
        view: The fleet.
        orders: Everything that anybody ordered, at nodes and at chargers.
        now: The instant.
        lead: How long ahead limits that begin count already.
    """
    changes: list[datetime] = []
    wanted, chargers = wants.wanted_kw, IdList.of(view.tree.charger_ids)
    for charger_id in {*orders.limits, *orders.lost, *orders.steady} - view.nodes.keys():
        i, node = chargers.find(charger_id), orders.find_charger(charger_id)
        if i is None or node is None:
            continue
        found = resolved_ahead(node, orders, now, lead)
        allowed = min(one.kw for one in found)
        changes += [one.until for one in found if one.until is not None]
        if allowed < wanted[i]:
            wanted = wanted.copy() if wanted is wants.wanted_kw else wanted
            wanted[i] = allowed if allowed >= wants.min_kw[i] else 0.0
    bounded = wants if wanted is wants.wanted_kw else replace(wants, wanted_kw=floor_to_quantum(wanted))
    return bounded, changes
