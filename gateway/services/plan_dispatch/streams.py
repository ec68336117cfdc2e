"""How the streams of the charging platforms are: connected or not, and until when their chargers hold what they were told."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from gateway.domain.commands import CommandBook
from gateway.domain.fleet import FleetView
from gateway.services.plan_dispatch.link import DispatchLink
from gateway.services.plan_dispatch.reach import LastStream


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamState:
    """The stream of one platform."""

    csms: str
    charger_count: int
    """Its chargers in the tree."""
    is_connected: bool
    unreachable_count: int
    """Chargers that the platform cannot command now; all of them while it is not connected."""
    lease: timedelta | None
    """How long a command of this stream holds; None while it is not connected."""
    lease_until: datetime | None
    """When the first lease among its chargers ends unless it is renewed; None when none runs."""
    heard_at: datetime | None = None
    """When the platform last said anything over a stream; None if not since our start."""
    away_since: datetime | None = None
    """Since when it is not connected; None while it is, and when it was not since our start."""


def read_streams(
    view: FleetView,
    book: CommandBook,
    links: Mapping[str, DispatchLink],
    gone: Mapping[str, LastStream],
    now: datetime,
) -> tuple[StreamState, ...]:
    """Return the streams of every platform that has chargers in the tree, by name.

    Args:
        view: The fleet.
        book: Commands in force.
        links: Open streams by platform.
        gone: Last streams of platforms that were here and are away.
        now: The instant.
    """
    found = []
    running = book.lease_until > now.timestamp()
    for place, csms in enumerate(view.csms_ids):
        mine = view.csms_index == place
        link, last = links.get(csms), gone.get(csms)
        reachable = 0 if link is None else int(((link.places >= 0) & link.is_reachable).sum())
        leases = book.lease_until[mine & running & np.isfinite(book.lease_until)]
        found.append(
            StreamState(
                csms=csms,
                charger_count=int(mine.sum()),
                is_connected=link is not None,
                unreachable_count=int(mine.sum()) - reachable,
                lease=None if link is None else link.lease,
                lease_until=datetime.fromtimestamp(float(leases.min()), tz=UTC) if leases.size else None,
                heard_at=_heard_at(link, last),
                away_since=None if link is not None or last is None else last.ended_at,
            )
        )
    return tuple(found)


def _heard_at(link: DispatchLink | None, last: LastStream | None) -> datetime | None:
    if link is not None:
        return link.heard_at
    return None if last is None else last.heard_at
