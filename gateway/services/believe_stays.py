"""What earlier sessions teach about a car whose driver told us nothing: when it is believed to leave."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from bidding.forecasts.sessions import EARLY_DEPARTURE_QUANTILE, LearnedStays, SessionHistory
from gateway.domain.errors import Unavailable
from gateway.domain.sessions import Session, SessionState
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.topology import Charger, ConnectionPoint, Node
from gateway.observe import logger
from gateway.ports import Clock, Store

UNTAUGHT_STAY: Mapping[str, timedelta] = {
    "home": timedelta(hours=9),
    "workplace": timedelta(hours=6),
    "public": timedelta(hours=2),
}
"""Belief before there is a past, per kind of place; short, so that cars are charged rather early than late."""
_SHORTEST_STAY = timedelta(hours=2)
_READ_SPAN = timedelta(hours=6)
_CHUNK = 2_000
_MOST_ROWS = 1_000_000
_LOG = logger("believe_stays")


class StayBeliefs:
    """Learns from ended sessions of a tenant, anew every few hours of market time."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        tenants: Sequence[str],
        time_zone: str,
        history: timedelta = timedelta(days=21),
        relearn: timedelta = timedelta(hours=3),
    ) -> None:
        """Take the ports.

        Args:
            store: Sessions.
            clock: Market time.
            tenants: From whose sessions is learned; they share what is learned only if they share a gateway's settings.
            time_zone: IANA zone of the people who charge.
            history: How far back sessions count.
            relearn: Pause between two rounds.
        """
        self._store = store
        self._clock = clock
        self._tenants = tuple(tenants)
        self._time_zone = time_zone
        self._history = history
        self._relearn = relearn
        self._stays: LearnedStays | None = None

    def believe_departure(self, site_class: str, arrival: datetime, now: datetime) -> datetime:
        """Return when a car that arrived at a kind of place is believed to leave, as seen at `now`; never before `now`."""
        if self._stays is None:
            return max(arrival + UNTAUGHT_STAY.get(site_class, _SHORTEST_STAY), now)
        return self._stays.believe_departure(site_class, arrival, EARLY_DEPARTURE_QUANTILE, still_there_at=now)

    async def run(self) -> None:
        """Learn for ever; without a past the next round comes soon."""
        while True:
            try:
                await self.learn()
            except Unavailable as error:
                _LOG.warning("stays not learned", reason=str(error))
            await self._clock.sleep(self._relearn if self._stays is not None else timedelta(minutes=1))

    async def learn(self) -> None:
        """Read the past once and take over what it teaches; an empty past changes nothing."""
        now = self._clock.now()
        columns: list[tuple[int, int, float, float, int]] = []
        classes: list[str] = []
        for tenant in self._tenants:
            class_of = await self._class_of_charger(tenant)
            start = DeliveryDay.containing(now - self._history, self._time_zone).interval.start
            while start < now:
                rows = await self._store.find(Session, tenant, since=start, until=start + _READ_SPAN, limit=_MOST_ROWS)
                for begin in range(0, len(rows), _CHUNK):
                    chunk = [row.record for row in rows[begin : begin + _CHUNK]]
                    columns += [_columns(s, class_of, classes) for s in chunk if _teaches(s, class_of, now)]
                    await asyncio.sleep(0)
                start += _READ_SPAN
        if columns:
            history = _history(columns, now - self._history)
            self._stays = await asyncio.to_thread(
                LearnedStays.learn, history, classes, zone=self._time_zone, known_until=now
            )

    async def _class_of_charger(self, tenant: str) -> dict[str, str]:
        nodes = {row.record.id: row.record for row in await self._store.find(Node, tenant, limit=_MOST_ROWS)}
        points = await self._store.find(ConnectionPoint, tenant, limit=_MOST_ROWS)
        class_of_site = {row.record.site: row.record.site_class for row in points}
        chargers = await self._store.find(Charger, tenant, limit=_MOST_ROWS)
        return {row.record.id: _site_class(row.record.parent, nodes, class_of_site) for row in chargers}


def _site_class(node_id: str, nodes: Mapping[str, Node], class_of_site: Mapping[str, str]) -> str:
    while node_id not in class_of_site:
        parent = nodes[node_id].parent if node_id in nodes else None
        if parent is None:
            return "public"
        node_id = parent
    return class_of_site[node_id]


def _teaches(session: Session, class_of: Mapping[str, str], now: datetime) -> bool:
    return (
        session.state is SessionState.ENDED
        and session.departure is not None
        and session.arrival < session.departure <= now
        and session.charger in class_of
    )


def _columns(session: Session, class_of: Mapping[str, str], classes: list[str]) -> tuple[int, int, float, float, int]:
    site_class = class_of[session.charger]
    if site_class not in classes:
        classes.append(site_class)
    departure = session.departure if session.departure is not None else session.arrival
    arrival_s, departure_s = int(session.arrival.timestamp()), int(departure.timestamp())
    return arrival_s, departure_s, session.max_power_kw, session.delivered_kwh, classes.index(site_class)


def _history(columns: Sequence[tuple[int, int, float, float, int]], since: datetime) -> SessionHistory:
    arrival, departure, power, energy, site = zip(*columns, strict=True)
    return SessionHistory(
        covered_since=since,
        arrival_s=np.array(arrival, dtype=np.int64),
        departure_s=np.array(departure, dtype=np.int64),
        power_kw=np.array(power),
        energy_kwh=np.array(energy),
        site_index=np.array(site, dtype=np.int64),
    )
