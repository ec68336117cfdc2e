"""How much each site may draw per slot: its ratings and every limit known now, folded up the tree.

A node draws at most its own rating and limit, and at most what everything below it may draw together. A limit on the portfolio
is shared by the sites in proportion to their ratings. A slot that a limit touches is limited whole: a plan is a promise.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.domain.topology import Charger, Node, NodeKind

FloatArray = npt.NDArray[np.float64]


def obliges(limit: Limit) -> bool:
    """Tell whether a limit obliges us in its interval as far as we know now: a fallback does where no limit of its authority holds."""
    return (
        limit.kind in {LimitKind.LIMIT, LimitKind.FALLBACK}
        and limit.direction is Direction.IMPORT
        and limit.binding is not Binding.VOLUNTARY
        and limit.withdrawn_at is None
    )


def obliged_profile_kw(limits: Iterable[Limit], grid: TimeGrid) -> FloatArray:
    """Return the least that limits and fallbacks leave per slot, shape (count,); infinity where none applies.

    A fallback is left out of the slots that one limit of its authority covers whole (see `domain.limits`).
    """
    profile = np.full(grid.count, np.inf)
    by_authority: dict[str, list[Limit]] = {}
    for limit in limits:
        by_authority.setdefault(limit.authority, []).append(limit)
    for found in by_authority.values():
        blocks = [limit for limit in found if limit.kind is LimitKind.LIMIT]
        own = limit_profile_kw(blocks, grid)
        if len(blocks) < len(found):
            fallback = limit_profile_kw([limit for limit in found if limit.kind is LimitKind.FALLBACK], grid)
            fallback[_covered(blocks, grid)] = np.inf
            own = np.minimum(own, fallback)
        profile = np.minimum(profile, own)
    return profile


def _covered(limits: Iterable[Limit], grid: TimeGrid) -> npt.NDArray[np.bool_]:
    """Return which slots one of the limits covers whole."""
    covered = np.zeros(grid.count, dtype=bool)
    for limit in limits:
        first = -((grid.start - limit.interval.start) // grid.step)
        last = grid.count if limit.interval.end is None else (limit.interval.end - grid.start) // grid.step
        covered[max(0, first) : max(0, last)] = True
    return covered


def limit_profile_kw(limits: Iterable[Limit], grid: TimeGrid) -> FloatArray:
    """Return the least of some limits per slot, shape (count,); infinity where none applies."""
    profile = np.full(grid.count, np.inf)
    for limit in limits:
        slots = touched_slots(limit.interval, grid)
        profile[slots] = np.minimum(profile[slots], limit.bound_kw)
    return profile


def touched_slots(interval: Interval, grid: TimeGrid) -> slice:
    """Return the slots of a grid that an interval shares any instant with."""
    first = (interval.start - grid.start) // grid.step
    last = grid.count if interval.end is None else -((grid.start - interval.end) // grid.step)
    return slice(min(max(0, first), grid.count), min(max(0, last), grid.count))


def site_caps_kw(
    nodes: Sequence[Node],
    chargers: Iterable[Charger],
    limits: Iterable[Limit],
    grid: TimeGrid,
    other_load_kw: Mapping[str, FloatArray],
) -> dict[str, FloatArray]:
    """Return the most that each site's meter may show per slot, by its node id.

    Args:
        nodes: The nodes of one portfolio.
        chargers: Their chargers.
        limits: Limits known now; only those that oblige us count.
        grid: Slots to plan.
        other_load_kw: What else hangs on a site, by its node id; it counts against the site but not against its circuits.
    """
    capacity = _Capacity(nodes, chargers, limits, grid)
    sites = [node for node in nodes if node.kind is NodeKind.SITE]
    none = np.zeros(grid.count)
    caps = {site.id: capacity.of_site(site, other_load_kw.get(site.id, none)) for site in sites}
    total_kw = sum(site.max_import_kw for site in sites)
    for portfolio in (node for node in nodes if node.kind is NodeKind.PORTFOLIO):
        own = capacity.own(portfolio)
        for site in sites:
            caps[site.id] = np.minimum(
                caps[site.id], np.where(own < total_kw, own * (site.max_import_kw / total_kw), np.inf)
            )
    return caps


class _Capacity:
    """The tree with its limits, prepared for one walk."""

    def __init__(
        self, nodes: Sequence[Node], chargers: Iterable[Charger], limits: Iterable[Limit], grid: TimeGrid
    ) -> None:
        self._grid = grid
        self._limits: dict[str, list[Limit]] = {}
        for limit in limits:
            if obliges(limit):
                self._limits.setdefault(limit.node, []).append(limit)
        self._leaves_kw: dict[str, float] = {}
        for charger in chargers:
            self._leaves_kw[charger.parent] = self._leaves_kw.get(charger.parent, 0.0) + charger.max_import_kw
        self._children: dict[str, list[Node]] = {}
        for node in nodes:
            if node.parent is not None:
                self._children.setdefault(node.parent, []).append(node)

    def own(self, node: Node) -> FloatArray:
        """Return a node's own rating and limits, shape (count,)."""
        return np.minimum(obliged_profile_kw(self._limits.get(node.id, ()), self._grid), node.max_import_kw)

    def of_site(self, site: Node, other_load_kw: FloatArray) -> FloatArray:
        """Return what a site's meter may show: the site's own bound, and the chargers' plus the other load."""
        return np.minimum(self.own(site), self._below(site) + np.maximum(other_load_kw, 0.0))

    def _below(self, node: Node) -> FloatArray:
        """Return what the chargers below a node may draw, not counting the node's own bound."""
        total = np.full(self._grid.count, self._leaves_kw.get(node.id, 0.0))
        for child in self._children.get(node.id, ()):
            total += np.minimum(self.own(child), self._below(child))
        return total
