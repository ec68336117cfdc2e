"""Limits that the chargers below a node cannot keep: raised before the grid partner finds out, settled when they are kept again.

A limit is not kept when what nobody can lower is more than it already (chargers out of contact, refusing, drawing too much), or when
two measurements in a row show more than the limit and 5 %. A car that draws less than a schedule is no shortfall: drawing less is
its right, and a schedule is not a limit of a grid partner.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gateway.domain.compliance import ComplianceShortfall
from gateway.domain.errors import StorageUnavailable
from gateway.domain.evidence import AuditEntry
from gateway.domain.fleet import FleetView
from gateway.domain.limits import Limit
from gateway.observe import logger
from gateway.ports import Batch, Put
from gateway.services.plan_dispatch.picture import ControlPorts, Picture

FloatArray = npt.NDArray[np.float64]

_log = logger("dispatch")
_MEASURED_SHARE = 0.05
"""More than this above the limit is measured as too much (acceptance case 41)."""
_TRIFLE_KW = 0.3
_SAMPLES = 2
_SETTLE_S = 30.0
"""Measurements so soon after a limit began say nothing yet."""
_GROWN_SHARE = 0.1
"""An open shortfall is told again when it has changed by so much."""
_NAMED = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Finding:
    """One limit that is not kept now."""

    limit: Limit
    expected_kw: float
    """At the grid for a limit there: with what flows beside the chargers."""
    charger_ids: tuple[str, ...]
    reason: str


class ComplianceWatch:
    """Looks at every limit of a partner in every picture, and keeps the record of what is not kept."""

    def __init__(
        self, *, tenant: str, ports: ControlPorts, store_patience_s: float, guaranteed_min_kw: Mapping[str, float]
    ) -> None:
        """Begin with nothing open; `load` goes on from rows.

        Args:
            tenant: Whose limits.
            ports: The world.
            store_patience_s: Real seconds after which a write is tried again later.
            guaranteed_min_kw: What authorities guarantee by our settings, by their name.
        """
        self._guaranteed_min_kw = guaranteed_min_kw
        self._tenant = tenant
        self._ports = ports
        self._store_patience_s = store_patience_s
        self._open: dict[str, ComplianceShortfall] = {}
        self._unsaved: dict[str, ComplianceShortfall] = {}
        self._over: dict[str, tuple[int, float]] = {}
        """By limit: how many measurements in a row were too high, and when the last of them was taken."""

    async def load(self) -> None:
        """Go on from what was open when the process ended."""
        rows = await self._ports.store.find(ComplianceShortfall, self._tenant, {"is_open": 1})
        self._open = {row.record.limit_ids[0]: row.record for row in rows}

    @property
    def nodes(self) -> frozenset[str]:
        """Nodes where a limit cannot be kept now."""
        return frozenset(one.node for one in self._open.values())

    async def watch(self, picture: Picture) -> None:
        """Raise what is new, tell again what has grown, settle what is over; what cannot be written now is written later."""
        found = {one.limit.id: one for one in self._findings(picture)}
        for limit_id, finding in found.items():
            self._raise(limit_id, finding, picture)
        for limit_id in [name for name in self._open if name not in found]:
            over = replace(self._open.pop(limit_id), settled_at=picture.at, is_open=False)
            self._unsaved[over.id] = over
        if self._unsaved:
            await self._save(picture)

    def _raise(self, limit_id: str, finding: _Finding, picture: Picture) -> None:
        known = self._open.get(limit_id)
        if known is not None and abs(known.expected_kw - finding.expected_kw) <= _GROWN_SHARE * known.expected_kw:
            return
        shortfall = ComplianceShortfall(
            id=self._ports.ids.new("shortfall") if known is None else known.id,
            tenant=self._tenant,
            authority=finding.limit.authority,
            node=finding.limit.node,
            limit_ids=(limit_id,),
            blocks=(finding.limit.interval,),
            limit_kw=finding.limit.bound_kw,
            expected_kw=finding.expected_kw,
            charger_ids=finding.charger_ids,
            reason=finding.reason,
            raised_at=picture.at if known is None else known.raised_at,
        )
        self._open[limit_id] = self._unsaved[shortfall.id] = shortfall

    def _findings(self, picture: Picture) -> list[_Finding]:
        # Whoever is shadowed by a smaller limit wants to know, too, when its own is not kept.
        bound = [(i, limit) for i, r in picture.caps.resolutions.items() for limit in r.applying]
        known = {limit.id for _, limit in bound}
        self._over = {name: count for name, count in self._over.items() if name in known}
        if not bound:
            return []
        totals = picture.view.levels.totals
        fixed_kw = np.where(picture.is_loose & picture.is_present, picture.counted_kw, 0.0)
        fixed, power = totals(fixed_kw), picture.view.node_power_kw()
        unknown = totals(np.where(np.isnan(picture.view.power_kw), fixed_kw, 0.0))
        measured = np.nan_to_num(power) + unknown
        newest = _newest_below(picture.view)
        found = []
        for i, limit in bound:
            beside_kw = self._ports.sources.other_kw(self._tenant, limit.node) if limit.is_at_grid else 0.0
            allowed_kw = self._allowed_kw(limit, beside_kw)
            is_over = self._is_measured_over(picture, limit, (float(measured[i]), allowed_kw), float(newest[i]))
            if fixed[i] > allowed_kw + _TRIFLE_KW or is_over:
                drawn = max(float(fixed[i]), float(measured[i]) if is_over else 0.0)
                found.append(_finding(picture, i, limit, max(drawn + beside_kw, 0.0), fixed_kw))
        return found

    def _allowed_kw(self, limit: Limit, beside_kw: float) -> float:
        """Return what chargers may draw under a limit: own generation at the grid carries more, other load leaves less."""
        if not limit.is_at_grid:
            return limit.bound_kw
        return limit.usable_kw(0.0, beside_kw, self._guaranteed_min_kw.get(limit.authority, 0.0))

    def _is_measured_over(
        self, picture: Picture, limit: Limit, measured_and_allowed_kw: tuple[float, float], newest_at: float
    ) -> bool:
        """Tell whether two measurements in a row, taken after the limit had settled, were above it by more than 5 %."""
        count, seen_at = self._over.get(limit.id, (0, -np.inf))
        # A clock that was set back makes nothing wait that has begun.
        began = max(one for one in (limit.interval.start, limit.known_at) if one <= picture.at).timestamp()
        if newest_at == seen_at or picture.now < began + _SETTLE_S:
            return count >= _SAMPLES
        measured_kw, allowed_kw = measured_and_allowed_kw
        is_over = measured_kw > allowed_kw * (1.0 + _MEASURED_SHARE) + _TRIFLE_KW
        count = count + 1 if is_over else 0
        self._over[limit.id] = (count, newest_at)
        return count >= _SAMPLES

    async def _save(self, picture: Picture) -> None:
        rows = list(self._unsaved.values())
        audit = tuple(self._entry(row, picture) for row in rows)
        try:
            async with asyncio.timeout(self._store_patience_s):
                puts = tuple(Put(record=row) for row in rows)
                await self._ports.store.apply(Batch(tenant=self._tenant, puts=puts, audit=audit))
        except (TimeoutError, StorageUnavailable) as error:
            _log.warning("a shortfall is written later", tenant=self._tenant, reason=str(error))
            return
        self._unsaved.clear()

    def _entry(self, row: ComplianceShortfall, picture: Picture) -> AuditEntry:
        return AuditEntry(
            id=self._ports.ids.new("audit"),
            tenant=self._tenant,
            at=picture.at,
            actor="system:plan-dispatch",
            action="limit.shortfall" if row.is_open else "limit.kept-again",
            object_kind="limit",
            object_id=row.limit_ids[0],
            causes=tuple(f"limit:{limit_id}" for limit_id in row.limit_ids),
            detail={"node": row.node, "limit_kw": f"{row.limit_kw:.2f}", "expected_kw": f"{row.expected_kw:.2f}"},
        )


def _newest_below(view: FleetView) -> FloatArray:
    """Return when the newest measurement below each node was taken, seconds, shape (N,); minus infinity where there is none."""
    newest = np.full(len(view.tree.node_ids), -np.inf)
    np.maximum.at(newest, view.levels.leaf, np.nan_to_num(view.power_at, nan=-np.inf))
    for nodes in view.levels.nodes_at[:-1]:
        np.maximum.at(newest, view.levels.parent[nodes], newest[nodes])
    return newest


def _finding(picture: Picture, node: int, limit: Limit, expected_kw: float, fixed_kw: FloatArray) -> _Finding:
    """Return what to tell the partner: how many chargers of what kind keep the limit from being kept, the largest by name."""
    marked = np.zeros(len(picture.caps.cap_kw), dtype=bool)
    marked[node] = True
    below = picture.view.levels.is_below(marked) & (fixed_kw > 0.0)
    largest = np.flatnonzero(below)[np.argsort(-fixed_kw[below], kind="stable")]
    away = int((below & ~picture.is_connected).sum())
    reason = (
        f"{expected_kw:.1f} kW are expected against {limit.bound_kw:.1f} kW: {int(below.sum())} chargers do not follow, "
        f"{away} of them out of contact"
    )
    return _Finding(
        limit=limit,
        expected_kw=expected_kw,
        charger_ids=tuple(picture.view.tree.charger_ids[i] for i in largest[:_NAMED].tolist()),
        reason=reason,
    )
