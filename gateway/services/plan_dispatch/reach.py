"""Which chargers can be commanded now, since when the others cannot, and how long each goes on without us."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.fleet import FleetView
from gateway.services.plan_dispatch.link import DispatchLink

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class LastStream:
    """The last stream of a platform that is not connected now."""

    ended_at: datetime
    heard_at: datetime
    """When the platform last said anything over it."""
    lease: timedelta


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reach:
    """How far commands reach; arrays of shape (C,) in the order of the tree."""

    is_commandable: BoolArray
    """Its platform is connected and says that it can command it."""
    away_since: FloatArray
    """Seconds since 1970-01-01 UTC from which it cannot be commanded; that of our start where nobody came since; NaN where it can."""
    lease_s: FloatArray
    """Longest time that it goes on without us before it does what it does alone."""
    is_unenforced: BoolArray
    """Nobody makes it fall back when its lease ends: it counts at its maximum then."""
    started_at: datetime
    """Of our start."""


def read_reach(
    view: FleetView,
    links: Mapping[str, DispatchLink],
    gone: Mapping[str, LastStream],
    *,
    lease: timedelta,
    started_at: datetime,
) -> Reach:
    """Return how far commands reach.

    Args:
        view: The fleet.
        links: Open streams by platform.
        gone: Last streams of platforms that were here and are away.
        lease: What everybody's commands hold for unless a stream says otherwise.
        started_at: When we started.
    """
    count = len(view.max_kw)
    away_since = np.full(count, started_at.timestamp())
    lease_s = np.full(count, lease.total_seconds())
    is_commandable = np.zeros(count, dtype=bool)
    for place, csms in enumerate(view.csms_ids):
        link, last = links.get(csms), gone.get(csms)
        if link is None and last is None:
            continue
        mine = view.csms_index == place
        if link is not None:
            # Chargers of the platform that its stream does not name: out of reach since the stream began.
            away_since[mine] = link.opened_at.timestamp()
            lease_s[mine] = link.lease.total_seconds()
            here = link.places >= 0
            is_commandable[link.places[here]] = link.is_reachable[here]
            away_since[link.places[here]] = link.away_since[here]
        elif last is not None:
            away_since[mine] = last.ended_at.timestamp()
            lease_s[mine] = last.lease.total_seconds()
    return Reach(
        is_commandable=is_commandable,
        away_since=np.where(is_commandable, np.nan, away_since),
        lease_s=lease_s,
        is_unenforced=(view.lapsed_kw >= view.max_kw) & (view.fallback_kw < view.max_kw),
        started_at=started_at,
    )
