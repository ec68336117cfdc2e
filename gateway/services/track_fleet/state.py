"""The live arrays of one tenant's fleet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from numpy.dtypes import StringDType

from gateway.domain.allocation import TreeLevels
from gateway.domain.fleet import FleetView, RegisterReading, TelemetryBatch
from gateway.domain.id_list import IdList, NameArray
from gateway.domain.platforms import Platforms
from gateway.domain.sessions import Session, SessionState
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.topology import ChargerTable, ConnectionPoint, EnforcementClass, Node, NodeKind, SiteTree
from gateway.domain.units import QUARTER_HOUR
from gateway.services.track_fleet.condition import Condition, next_end
from gateway.services.track_fleet.other_load import OtherLoad
from gateway.services.track_fleet.registers import RegisterBank
from gateway.services.track_fleet.rings import PowerRing

FloatArray = npt.NDArray[np.float64]
_NumberT = TypeVar("_NumberT", bound=np.generic)

STEP_S = QUARTER_HOUR.total_seconds()
_LEAST_COVERAGE = 0.9
_OF_SESSIONS = ("session_ids", "session_max_kw", "energy_needed_kwh", "expected_departure", "arrival")
"""A delivery period of which less was read says nothing about what flowed beside the chargers."""
_NO_POINTS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetRows:
    """The rows that a tenant's fleet is built from."""

    nodes: Sequence[Node]
    """In the order of the tree."""
    chargers: ChargerTable
    points: Sequence[ConnectionPoint]
    readings: Sequence[RegisterReading]


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What others saw last, and for how long it stays like that unless something comes in."""

    view: FleetView
    stale_after_s: float
    since: float
    until: float


class FleetState:
    """Everything that changes while cars charge, in the order of `tree.charger_ids`."""

    def __init__(self, rows: FleetRows, *, now: float, longest_gap_s: float, sample_every_s: float) -> None:
        """Build the arrays from rows, without cars; registers go on from where they were stored."""
        self.tree = SiteTree.of(rows.nodes, rows.chargers)
        self.levels = TreeLevels.of(self.tree)
        self.node_of = {node.id: node for node in rows.nodes}
        self.chargers = IdList.of(self.tree.charger_ids)
        self.points = sorted(rows.points, key=lambda point: point.id)
        self.point_place = {point.id: i for i, point in enumerate(self.points)}
        self._build_ratings(rows.chargers)
        self._build_places(rows.nodes)
        count = len(self.chargers)
        self.power_kw = np.full(count, np.nan)
        self.power_at = np.full(count, np.nan)
        self.condition = Condition(self.tree, self.levels)
        self._build_sessions()
        self.ring = PowerRing(len(self.tree.node_ids), sample_every_s)
        closed_until = max((r.at.timestamp() for r in rows.readings), default=now // STEP_S * STEP_S)
        self.charger_bank = RegisterBank(count, closed_until=closed_until, step_s=STEP_S, longest_gap_s=longest_gap_s)
        self.meter_bank = RegisterBank(
            len(self.points), closed_until=closed_until, step_s=STEP_S, longest_gap_s=longest_gap_s
        )
        self._restore_registers(rows.readings)
        self._seen: _Seen | None = None
        self._given_out: set[str] = set()
        """Arrays that a view shows: before they change they are copied, for readers that await."""
        self.other = OtherLoad(self.point_index, self._point_rating_kw(), self.max_kw)
        self._points_below: dict[str, npt.NDArray[np.int64]] | None = None

    def _build_ratings(self, chargers: ChargerTable) -> None:
        self.max_kw = chargers.column(lambda c: c.max_import_kw, np.float64)
        self.min_kw = chargers.column(lambda c: c.min_import_kw, np.float64)
        self.fallback_kw = chargers.column(lambda c: c.fallback_kw, np.float64)
        is_unenforced = chargers.column(lambda c: c.enforcement is EnforcementClass.C, np.bool_)
        self.lapsed_kw = (
            np.where(is_unenforced, self.max_kw, self.fallback_kw) if is_unenforced.any() else self.fallback_kw
        )
        self.phases = chargers.column(lambda c: c.phases, np.int8)
        self.csms_ids = tuple(sorted({charger.csms for charger in chargers.kinds}))
        place = {csms: i for i, csms in enumerate(self.csms_ids)}
        self.csms_index = chargers.column(lambda c: place[c.csms], np.int32)
        self.platforms = Platforms(charger_ids=self.chargers, csms_ids=self.csms_ids, csms_index=self.csms_index)

    def _build_places(self, nodes: Sequence[Node]) -> None:
        sites = {node.id for node in nodes if node.kind is NodeKind.SITE}
        site_of = np.full(len(self.tree.node_ids) + 1, -1, dtype=np.int32)
        for i, (node_id, up) in enumerate(zip(self.tree.node_ids, self.tree.parent.tolist(), strict=True)):
            site_of[i] = i if node_id in sites else site_of[up]
        self.site_index = site_of[self.tree.charger_node]
        place = {node_id: i for i, node_id in enumerate(self.tree.node_ids)}
        point_at = np.full(len(site_of), -1, dtype=np.int32)
        self.class_of_site: dict[int, str] = {}
        for i, point in reversed(list(enumerate(self.points))):
            if point.site in place:
                point_at[place[point.site]] = i
                self.class_of_site.setdefault(place[point.site], point.site_class)
        self.point_index = point_at[self.site_index]

    def _point_rating_kw(self) -> FloatArray:
        """Return the rating of the site behind each connection point, shape (P,); infinite where there is no such site."""
        nodes = [self.node_of.get(point.site) for point in self.points]
        return np.array([np.inf if node is None else node.max_import_kw for node in nodes], dtype=np.float64)

    def _build_sessions(self) -> None:
        count = len(self.tree.charger_ids)
        self.session_ids: NameArray = np.full(count, None, dtype=StringDType(na_object=None))
        self.session_max_kw = np.zeros(count)
        self.energy_needed_kwh = np.full(count, np.nan)
        self.expected_departure = np.full(count, np.nan)
        self.arrival = np.full(count, np.nan)
        self._delivered_kwh = np.zeros(count)
        self._register_then = np.full(count, np.nan)
        self._register_now = np.full(count, np.nan)

    def _restore_registers(self, readings: Sequence[RegisterReading]) -> None:
        for reading in readings:
            at = reading.at.timestamp()
            point = self.point_place.get(reading.id)
            if point is not None and reading.meter_kwh is not None:
                self.meter_bank.restore(np.array([point]), np.array([reading.meter_kwh]), at)
            places = self.chargers.places(reading.charger_ids)
            kwh = np.array([np.nan if one is None else one for one in reading.charger_kwh])
            is_known = (places >= 0) & ~np.isnan(kwh)
            self.charger_bank.restore(places[is_known], kwh[is_known], at)

    def csms_of(self, place: int) -> str:
        """Return the platform of a charger."""
        return self.csms_ids[int(self.csms_index[place])]

    def points_of(self, csms: str | None) -> frozenset[int]:
        """Return the connection points, as positions in `points`, of sites with a charger of a platform; None for all."""
        if csms is None:
            return frozenset(range(len(self.points)))
        is_own = self.csms_index == self.csms_ids.index(csms) if csms in self.csms_ids else np.zeros(0, dtype=np.bool_)
        sites = {self.tree.node_ids[site] for site in np.unique(self.site_index[is_own]).tolist() if site >= 0}
        return frozenset(i for i, point in enumerate(self.points) if point.site in sites)

    def known_power_kw(self, now: float, stale_after_s: float) -> FloatArray:
        """Return the last measured power of each charger, shape (C,); NaN when never measured or too old."""
        return np.where(now - self.power_at <= stale_after_s, self.power_kw, np.nan)

    def charger_as_node(self, tenant: str, place: int) -> Node:
        """Return a charger as the node that limits of its own bind at; its fail-safe is its fallback."""
        charger_id = self.tree.charger_ids[place]
        return Node(
            id=charger_id,
            tenant=tenant,
            parent=self.tree.node_ids[self.tree.charger_node[place]],
            kind=NodeKind.CHARGER,
            name=charger_id,
            max_import_kw=float(self.max_kw[place]),
            fail_safe_import_kw=float(self.fallback_kw[place]),
        )

    def put_sessions(self, sessions: Sequence[Session]) -> None:
        """Make reports of sessions the state of their chargers, one after the other where a charger has several.

        An end clears its own car; an older car never replaces a newer one.
        """
        places = self.chargers.places([session.charger for session in sessions]).tolist()
        waiting = [(place, session) for place, session in zip(places, sessions, strict=True) if place >= 0]
        while waiting:
            first = dict(reversed(waiting))
            if len(first) < len(waiting):
                waiting = [(place, session) for place, session in waiting if first[place] is not session]
            else:
                waiting = []
            self._put_one_each(np.array(list(first), dtype=np.int64), list(first.values()))

    def _put_one_each(self, at: npt.NDArray[np.int64], sessions: list[Session]) -> None:
        """Take one report for each of some chargers."""
        self._seen = None
        self._leave_to_readers(*_OF_SESSIONS)
        held = self.session_ids[at].tolist()
        is_same = np.array([one == session.id for one, session in zip(held, sessions, strict=True)], dtype=bool)
        has_ended = np.array([session.state is SessionState.ENDED for session in sessions], dtype=bool)
        arrival = np.array([session.arrival.timestamp() for session in sessions])
        is_free = np.array([one is None for one in held], dtype=bool)
        self._clear_sessions(at[has_ended & is_same])
        counts = ~has_ended & (is_same | is_free | ~(self.arrival[at] > arrival))
        if counts.any():
            chosen = [session for session, one in zip(sessions, counts.tolist(), strict=True) if one]
            self._begin_sessions(at[counts], chosen, arrival[counts], is_same[counts])

    def _begin_sessions(
        self, at: npt.NDArray[np.int64], sessions: list[Session], arrival: FloatArray, is_same: npt.NDArray[np.bool_]
    ) -> None:
        self.session_ids[at] = [session.id for session in sessions]
        self.session_max_kw[at] = np.minimum([session.max_power_kw for session in sessions], self.max_kw[at])
        self.energy_needed_kwh[at] = [_or_nan(session.energy_needed_kwh) for session in sessions]
        self.expected_departure[at] = [_seconds(session.expected_departure) for session in sessions]
        self.arrival[at] = arrival
        self._delivered_kwh[at] = [session.delivered_kwh for session in sessions]
        self._register_then[at] = self._register_now[at]
        self.condition.put_sessions(at, sessions, is_same)

    def _clear_sessions(self, at: npt.NDArray[np.int64]) -> None:
        self.session_ids[at] = None
        self.session_max_kw[at] = 0.0
        for values in (self.energy_needed_kwh, self.expected_departure, self.arrival):
            values[at] = np.nan
        self._delivered_kwh[at] = 0.0
        self.condition.clear_sessions(at)

    def measure(self, places: npt.NDArray[np.int64], batch: TelemetryBatch, at: float) -> None:
        """Take measurements of chargers; older ones than the last of a charger are ignored.

        Args:
            places: Charger of each position of the batch.
            batch: The measurements.
            at: Their instant, seconds.
        """
        self._seen = None
        self._leave_to_readers("power_at")
        last_at = self.power_at[places]
        is_older = last_at >= at
        is_newer = ~is_older
        index, power_kw, energy_kwh = places, batch.power_kw, batch.energy_register_kwh
        if is_older.any():
            index, last_at = index[is_newer], last_at[is_newer]
            power_kw, energy_kwh = power_kw[is_newer], energy_kwh[is_newer]
        before = self._register_now[index]
        self.condition.take_energy(index, power_kw, energy_kwh, (before, last_at), at)
        is_believed = self.condition.take_power(index, power_kw, self.max_kw[index])
        self.power_kw[index] = np.where(is_believed, power_kw, np.nan)
        self.power_at[index] = at
        self.charger_bank.take(index, energy_kwh, at)
        self._register_now[index] = energy_kwh
        is_first = ~(self._register_then[index] <= energy_kwh)  # unknown, or the register was replaced
        if is_first.any():
            self._register_then[index[is_first]] = energy_kwh[is_first]
        if batch.phase_current_a.size or batch.phase_voltage_v.size or batch.state_of_charge.size:
            self.condition.take_phases(index, batch, is_newer, at)

    def remember_other_load(self, periods: Sequence[MeteredPeriod]) -> None:
        """Let what flowed beside the chargers in periods before our start count until it is measured again."""
        place = {point.id: i for i, point in enumerate(self.points)}
        read = [one for one in periods if one.connection_point in place and one.coverage >= _LEAST_COVERAGE]
        hours = np.array([(one.end - one.start) / timedelta(hours=1) for one in read])
        other_kwh = np.array([one.energy_kwh - one.chargers_kwh for one in read])
        points = np.array([place[one.connection_point] for one in read], dtype=np.int64)
        self.other.remember(points, other_kwh / hours)

    def points_below(self, node_id: str) -> npt.NDArray[np.int64]:
        """Return the connection points at and below a node, as positions in `points`; looked up once for a tree."""
        if self._points_below is None:
            found: dict[str, list[int]] = {}
            for i, point in enumerate(self.points):
                name = point.site
                while name in self.node_of:
                    found.setdefault(name, []).append(i)
                    name = self.node_of[name].parent or ""
            self._points_below = {name: np.array(places, dtype=np.int64) for name, places in found.items()}
        return self._points_below.get(node_id, _NO_POINTS)

    def node_power_kw(self, now: float, stale_after_s: float) -> FloatArray:
        """Return what the chargers below each node draw by measurements that are not too old, shape (N,); NaN where none is."""
        is_known = now - self.power_at <= stale_after_s
        total = self.levels.totals(np.where(is_known, self.power_kw, 0.0))
        if is_known.all():
            return total
        return np.where(self.levels.totals(is_known.astype(np.float64)) > 0, total, np.nan)

    def shift(self, seconds: float) -> None:
        """Move the instants of everything measured with a clock that was set by so many seconds."""
        self._seen = None
        self._leave_to_readers("power_at")
        self.power_at += seconds
        for keeper in (self.condition, self.ring, self.other, self.charger_bank, self.meter_bank):
            keeper.shift(seconds)

    def carry_over(self, older: "FleetState") -> None:
        """Take over the last measurements of chargers that were there before the tree changed."""
        self._seen = None
        new, old = self.chargers.shared_with(older.chargers)
        for name in ("power_kw", "power_at", "_register_now", "_register_then"):
            getattr(self, name)[new] = getattr(older, name)[old]
        self.condition.carry_over(older.condition, new, old)
        points = _shared([point.id for point in self.points], list(older.point_place))
        self.other.carry_over(older.other, points)
        self.charger_bank.carry_over(older.charger_bank, new, old)
        self.meter_bank.carry_over(older.meter_bank, *points)
        self.ring.carry_over(older.ring, *_shared(self.tree.node_ids, older.tree.node_ids))

    def view(self, now: float, stale_after_s: float) -> FleetView:
        """Return the fleet as others may see it; power older than the bound is unknown.

        While nothing comes in and nothing grows too old it is the same view: one look at a large fleet asks several times.
        """
        seen = self._seen
        if seen is None or seen.stale_after_s != stale_after_s or not seen.since <= now < seen.until:
            until = min(next_end(self.power_at, stale_after_s, now), self.condition.changes_at(now, stale_after_s))
            seen = self._seen = _Seen(self._look(now, stale_after_s), stale_after_s, now, until)
        return seen.view

    def _leave_to_readers(self, *names: str) -> None:
        """Go on with copies of the arrays of these names that somebody may be reading."""
        for name in self._given_out.intersection(names):
            setattr(self, name, getattr(self, name).copy())
            self._given_out.discard(name)

    def _look(self, now: float, stale_after_s: float) -> FleetView:
        self._given_out.update(_OF_SESSIONS, ("power_at",))
        has_session = self.session_max_kw > 0.0
        since_report = np.nan_to_num(self._register_now - self._register_then)
        delivered_kwh = np.where(has_session, self._delivered_kwh + since_report, 0.0)
        data = self.condition.view(self.power_at, delivered_kwh, now, stale_after_s)
        # Six amperes are more power at a higher voltage; a lower one never makes the minimum of the charger smaller.
        share = np.maximum(self.condition.voltage_share(now, stale_after_s), 1.0)
        min_kw = self.min_kw * np.minimum(data.used_phases, self.phases) / np.maximum(self.phases, 1) * share
        return FleetView(
            tree=self.tree,
            nodes=self.node_of,
            levels=self.levels,
            power_kw=_frozen(self.known_power_kw(now, stale_after_s)),
            power_at=_frozen(self.power_at),
            max_kw=_frozen(self.max_kw),
            min_kw=_frozen(np.minimum(min_kw, self.max_kw)),
            fallback_kw=_frozen(self.fallback_kw),
            lapsed_kw=_frozen(self.lapsed_kw),
            csms_ids=self.csms_ids,
            csms_index=self.csms_index,
            platforms=self.platforms,
            site_index=self.site_index,
            class_of_site=self.class_of_site,
            session_ids=self.session_ids,
            has_session=_frozen(has_session),
            session_max_kw=_frozen(self.session_max_kw),
            energy_needed_kwh=_frozen(self.energy_needed_kwh),
            delivered_kwh=_frozen(delivered_kwh),
            expected_departure=_frozen(self.expected_departure),
            arrival=_frozen(self.arrival),
            data=data,
        )


def instant(seconds: float) -> datetime:
    """Return seconds since 1970-01-01 UTC as an aware instant."""
    return datetime.fromtimestamp(seconds, UTC)


def _shared(here: Sequence[str], there: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the places here and there of the names that are in both."""
    return IdList.of(here).shared_with(IdList.of(there))


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _seconds(at: datetime | None) -> float:
    return np.nan if at is None else at.timestamp()


def _frozen(values: npt.NDArray[_NumberT]) -> npt.NDArray[_NumberT]:
    """Return the same memory, read-only."""
    seen = values.view()
    seen.flags.writeable = False
    return seen
