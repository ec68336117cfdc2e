"""The live arrays of one tenant's fleet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation import TreeLevels
from gateway.domain.fleet import FleetView, RegisterReading
from gateway.domain.sessions import Session, SessionState
from gateway.domain.topology import Charger, ConnectionPoint, EnforcementClass, Node, NodeKind, SiteTree
from gateway.domain.units import QUARTER_HOUR
from gateway.services.track_fleet.registers import RegisterBank
from gateway.services.track_fleet.rings import PowerRing

FloatArray = npt.NDArray[np.float64]

STEP_S = QUARTER_HOUR.total_seconds()


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetRows:
    """The rows that a tenant's fleet is built from."""

    nodes: Sequence[Node]
    chargers: Sequence[Charger]
    points: Sequence[ConnectionPoint]
    sessions: Sequence[Session]
    """Those that are plugged in."""
    readings: Sequence[RegisterReading]


class FleetState:
    """Everything that changes while cars charge, in the order of `tree.charger_ids`."""

    def __init__(self, rows: FleetRows, *, now: float, longest_gap_s: float, sample_every_s: float) -> None:
        """Build the arrays from rows; registers go on from where they were stored."""
        self.tree = SiteTree.build(rows.nodes, rows.chargers)
        self.levels = TreeLevels.of(self.tree)
        self.node_of = {node.id: node for node in rows.nodes}
        by_id = {charger.id: charger for charger in rows.chargers}
        self.chargers = [by_id[charger_id] for charger_id in self.tree.charger_ids]
        self.charger_place = {charger_id: i for i, charger_id in enumerate(self.tree.charger_ids)}
        self.points = sorted(rows.points, key=lambda point: point.id)
        self.point_place = {point.id: i for i, point in enumerate(self.points)}
        self.csms_ids = tuple(sorted({charger.csms for charger in self.chargers}))
        self._build_ratings()
        self._build_places(rows.nodes)
        count = len(self.chargers)
        self.power_kw = np.full(count, np.nan)
        self.power_at = np.full(count, np.nan)
        self._build_sessions(rows.sessions)
        self.ring = PowerRing(len(self.tree.node_ids), sample_every_s)
        closed_until = max((r.at.timestamp() for r in rows.readings), default=now // STEP_S * STEP_S)
        self.charger_bank = RegisterBank(count, closed_until=closed_until, step_s=STEP_S, longest_gap_s=longest_gap_s)
        self.meter_bank = RegisterBank(
            len(self.points), closed_until=closed_until, step_s=STEP_S, longest_gap_s=longest_gap_s
        )
        self._restore_registers(rows.readings)

    def _build_ratings(self) -> None:
        self.max_kw = np.array([c.max_import_kw for c in self.chargers])
        self.min_kw = np.array([c.min_import_kw for c in self.chargers])
        self.fallback_kw = np.array([c.fallback_kw for c in self.chargers])
        is_unenforced = np.array([c.enforcement is EnforcementClass.C for c in self.chargers], dtype=bool)
        self.lapsed_kw = np.where(is_unenforced, self.max_kw, self.fallback_kw)
        self.phases = np.array([c.phases for c in self.chargers], dtype=np.int32)
        place = {csms: i for i, csms in enumerate(self.csms_ids)}
        self.csms_index = np.array([place[c.csms] for c in self.chargers], dtype=np.int32)

    def _build_places(self, nodes: Sequence[Node]) -> None:
        sites = {node.id for node in nodes if node.kind is NodeKind.SITE}
        site_of = np.full(len(self.tree.node_ids) + 1, -1, dtype=np.int32)
        for i, (node_id, up) in enumerate(zip(self.tree.node_ids, self.tree.parent.tolist(), strict=True)):
            site_of[i] = i if node_id in sites else site_of[up]
        self.site_index = site_of[self.tree.charger_node]
        point_of = {point.site: i for i, point in reversed(list(enumerate(self.points)))}
        names = [self.tree.node_ids[i] if i >= 0 else "" for i in self.site_index.tolist()]
        self.point_index = np.array([point_of.get(name, -1) for name in names], dtype=np.int64)
        classes = {point.site: point.site_class for point in self.points}
        self.site_class = [classes.get(name, "public") for name in names]

    def _build_sessions(self, sessions: Sequence[Session]) -> None:
        count = len(self.chargers)
        self.session_ids: list[str | None] = [None] * count
        self.session_max_kw = np.zeros(count)
        self.session_min_kw = self.min_kw.copy()
        self.energy_needed_kwh = np.full(count, np.nan)
        self.expected_departure = np.full(count, np.nan)
        self.arrival = np.full(count, np.nan)
        self._delivered_kwh = np.zeros(count)
        self._register_then = np.full(count, np.nan)
        self._register_now = np.full(count, np.nan)
        for session in sorted(sessions, key=lambda s: (s.arrival, s.id)):
            self.put_session(session)

    def _restore_registers(self, readings: Sequence[RegisterReading]) -> None:
        for reading in readings:
            at = reading.at.timestamp()
            point = self.point_place.get(reading.id)
            if point is not None and reading.meter_kwh is not None:
                self.meter_bank.restore(np.array([point]), np.array([reading.meter_kwh]), at)
            known = [
                (self.charger_place[c], kwh)
                for c, kwh in zip(reading.charger_ids, reading.charger_kwh, strict=True)
                if kwh is not None and c in self.charger_place
            ]
            if known:
                index, kwh = np.array([i for i, _ in known]), np.array([k for _, k in known])
                self.charger_bank.restore(index, kwh, at)

    def put_session(self, session: Session) -> None:
        """Make a report of a session the state of its charger; an end clears it, an older car never replaces a newer one."""
        i = self.charger_place.get(session.charger)
        if i is None:
            return
        is_same = self.session_ids[i] == session.id
        if session.state is SessionState.ENDED:
            if is_same:
                self._clear_session(i)
            return
        if not is_same and self.session_ids[i] is not None and self.arrival[i] > session.arrival.timestamp():
            return
        self.session_ids[i] = session.id
        self.session_min_kw[i] = self.min_kw[i] * min(session.phases, int(self.phases[i])) / int(self.phases[i])
        self.session_max_kw[i] = min(session.max_power_kw, self.max_kw[i])
        self.energy_needed_kwh[i] = np.nan if session.energy_needed_kwh is None else session.energy_needed_kwh
        left_at = session.expected_departure
        self.expected_departure[i] = np.nan if left_at is None else left_at.timestamp()
        self.arrival[i] = session.arrival.timestamp()
        self._delivered_kwh[i] = session.delivered_kwh
        self._register_then[i] = self._register_now[i]

    def _clear_session(self, i: int) -> None:
        self.session_ids[i] = None
        self.session_max_kw[i] = 0.0
        self.session_min_kw[i] = self.min_kw[i]
        for values in (self.energy_needed_kwh, self.expected_departure, self.arrival):
            values[i] = np.nan
        self._delivered_kwh[i] = 0.0

    def measure(self, index: npt.NDArray[np.int64], power_kw: FloatArray, energy_kwh: FloatArray, at: float) -> None:
        """Take measurements of chargers; older ones than the last of a charger are ignored."""
        is_newer = ~(self.power_at[index] >= at)
        index, power_kw, energy_kwh = index[is_newer], power_kw[is_newer], energy_kwh[is_newer]
        self.power_kw[index] = power_kw
        self.power_at[index] = at
        self.charger_bank.take(index, energy_kwh, at)
        self._register_now[index] = energy_kwh
        then = self._register_then[index]
        self._register_then[index] = np.where(np.isnan(then) | (then > energy_kwh), energy_kwh, then)

    def carry_over(self, older: "FleetState") -> None:
        """Take over the last measurements of chargers that were there before the tree changed."""
        new = [i for i, charger_id in enumerate(self.tree.charger_ids) if charger_id in older.charger_place]
        old = [older.charger_place[self.tree.charger_ids[i]] for i in new]
        for name in ("power_kw", "power_at", "_register_now", "_register_then"):
            getattr(self, name)[new] = getattr(older, name)[old]

    def view(self, now: float, stale_after_s: float) -> FleetView:
        """Return the fleet as others may see it; power older than the bound is unknown."""
        is_stale = ~(now - self.power_at <= stale_after_s)
        has_session = self.session_max_kw > 0.0
        since_report = np.nan_to_num(self._register_now - self._register_then)
        return FleetView(
            tree=self.tree,
            nodes=self.node_of,
            levels=self.levels,
            power_kw=np.where(is_stale, np.nan, self.power_kw),
            power_at=_frozen(self.power_at),
            max_kw=_frozen(self.max_kw),
            min_kw=_frozen(self.session_min_kw),
            fallback_kw=_frozen(self.fallback_kw),
            lapsed_kw=_frozen(self.lapsed_kw),
            phases=self.phases,
            csms_ids=self.csms_ids,
            csms_index=self.csms_index,
            site_index=self.site_index,
            site_class=self.site_class,
            session_ids=self.session_ids,
            has_session=has_session,
            session_max_kw=_frozen(self.session_max_kw),
            energy_needed_kwh=_frozen(self.energy_needed_kwh),
            delivered_kwh=np.where(has_session, self._delivered_kwh + since_report, 0.0),
            expected_departure=_frozen(self.expected_departure),
            arrival=_frozen(self.arrival),
        )


def instant(seconds: float) -> datetime:
    """Return seconds since 1970-01-01 UTC as an aware instant."""
    return datetime.fromtimestamp(seconds, UTC)


def _frozen(values: FloatArray) -> FloatArray:
    """Return the same memory, read-only."""
    seen = values.view()
    seen.flags.writeable = False
    return seen
