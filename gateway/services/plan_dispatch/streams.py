"""How the streams of the charging platforms are: connected or not, and until when their chargers hold what they were told."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from gateway.domain.commands import CommandBook
from gateway.domain.fleet import FleetView
from gateway.services.plan_dispatch.link import DispatchLink


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


def read_streams(
    view: FleetView, book: CommandBook, links: Mapping[str, DispatchLink], now: datetime
) -> tuple[StreamState, ...]:
    """Return the streams of every platform that has chargers in the tree, by name."""
    found = []
    running = book.lease_until > now.timestamp()
    for place, csms in enumerate(view.csms_ids):
        mine = view.csms_index == place
        link = links.get(csms)
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
            )
        )
    return tuple(found)
