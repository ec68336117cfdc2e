"""What binds at single chargers beside their rating: limits that they announce, or that a person set there."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from gateway.domain.fleet import FleetView
from gateway.services.plan_dispatch.folds import Folds, Orders
from gateway.services.plan_dispatch.wants import Wants, floor_to_quantum


def within_charger_limits(
    wants: Wants, view: FleetView, orders: Orders, folds: Folds, now: datetime
) -> tuple[Wants, Sequence[datetime]]:
    """Return what cars may want within the limits of their own charger, and when these change up to the first time beyond the lead.

    Args:
        wants: What the cars want, shape (C,) each.
        view: The fleet.
        orders: Everything that anybody ordered, at nodes and at chargers.
        folds: What they come to, with those that begin within the lead.
        now: The instant.
    """
    changes: list[datetime] = []
    wanted = wants.wanted_kw
    for fold in folds.at_chargers(view, orders, now):
        i, allowed = fold.place, min(one.kw for one in fold.found)
        changes += fold.changes
        if allowed < wanted[i]:
            wanted = wanted.copy() if wanted is wants.wanted_kw else wanted
            wanted[i] = allowed if allowed >= wants.min_kw[i] else 0.0
    bounded = wants if wanted is wants.wanted_kw else replace(wants, wanted_kw=floor_to_quantum(wanted))
    return bounded, changes
