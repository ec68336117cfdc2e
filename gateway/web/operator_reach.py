"""How far commands reach below a node: the longest time that a charger goes on without us, and who is out of reach since when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from gateway.domain.fleet import FleetView
from gateway.services.plan_dispatch import Reach
from gateway.web.local_time import DAY_AND_SECOND, local_text

_MOST_NAMED = 5
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class AwayLine:
    """The chargers of one platform below a node that nobody can command."""

    csms: str
    count: int
    since: str
    """Since when the first of them, in the time of the page."""
    names: str
    """The longest away first, the first of them by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeReach:
    """How far commands reach below one node."""

    charger_count: int
    commandable_count: int
    longest_lease_s: float | None
    """So long after losing us the last charger that falls back does so; None without one."""
    lease_of: str
    """Platform whose chargers hold on for longest; empty without one."""
    unenforced_count: int
    """Chargers that nobody makes fall back: they count at their maximum as soon as we are gone."""
    away: tuple[AwayLine, ...]
    """By platform."""


def node_reach(view: FleetView, reach: Reach, node_id: str, zone: ZoneInfo) -> NodeReach:
    """Return how far commands reach below a node.

    Args:
        view: The fleet.
        reach: Who can be commanded, of the same fleet.
        node_id: A node of its tree.
        zone: Of the page.
    """
    below = view.tree.below(node_id)
    enforced = np.flatnonzero(below & ~reach.is_unenforced)
    # Of equal leases that of a platform that is there: it is one that runs.
    order = np.lexsort((~reach.is_commandable[enforced], -reach.lease_s[enforced]))
    longest = int(enforced[order[0]]) if enforced.size else None
    away = np.flatnonzero(below & ~reach.is_commandable)
    platforms = np.unique(view.csms_index[away]).tolist()
    return NodeReach(
        charger_count=int(below.sum()),
        commandable_count=int((below & reach.is_commandable).sum()),
        longest_lease_s=None if longest is None else float(reach.lease_s[longest]),
        lease_of="" if longest is None else view.csms_ids[view.csms_index[longest]],
        unenforced_count=int((below & reach.is_unenforced).sum()),
        away=tuple(_away_line(view, reach, away[view.csms_index[away] == place], zone) for place in platforms),
    )


def _away_line(view: FleetView, reach: Reach, members: IndexArray, zone: ZoneInfo) -> AwayLine:
    ordered = members[np.argsort(reach.away_since[members], kind="stable")]
    first = datetime.fromtimestamp(float(reach.away_since[ordered[0]]), tz=UTC)
    at = local_text(first, zone, DAY_AND_SECOND)
    return AwayLine(
        csms=view.csms_ids[view.csms_index[ordered[0]]],
        count=len(ordered),
        since=f"our start, {at}" if first <= reach.started_at else at,
        names=_names([view.tree.charger_ids[i] for i in ordered[:_MOST_NAMED].tolist()], len(ordered)),
    )


def _names(named: Sequence[str], count: int) -> str:
    return ", ".join(named) + (f" and {count - len(named)} more" if count > len(named) else "")
