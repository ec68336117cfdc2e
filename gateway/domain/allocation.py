"""Splitting what a node may draw over the chargers below it: vectorised over chargers, one pass per level of the tree.

```
          site cap             1. who charges: bottom-up, per node the highest priorities whose minimum power fits
        +----+----+               (a charger draws nothing or at least its minimum: 6 A for AC, IEC 61851-1)
   circuit cap  circuit cap    2. how much: bottom-up water levels, theta of a charger = min over its ancestors,
    +--+--+      +--+--+          power = minimum + clip(weight * theta): weighted max-min fair
    chargers     chargers      3. must-run chargers first, the others share what they leave
```

With one minimum for all chargers step 1 is the greedy algorithm on a laminar matroid and therefore finds the active set of
highest total priority exactly (Edmonds 1971). With different minima it is greedy by priority and leaves no charger out that
still fits. Step 2 is progressive filling (Bertsekas and Gallager, Data Networks, 6.5.2) without its rounds.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.domain.topology import SiteTree

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_TOLERANCE_KW = 1e-9
"""Two powers that differ by less are equal; a sum may exceed a cap by no more."""
_REPAIR_ROUNDS = 8
"""With different minima: how often chargers that were left out are offered what remains."""


@dataclass(frozen=True, slots=True, eq=False)
class TreeLevels:
    """A site tree by levels, deepest first, for sums and splits.

    Shapes: `N` nodes, `C` chargers. Row `k` of `node` says which node of that level each charger hangs below; `N` stands for
    "none at this level". Sums run over the nodes of a level, not over the chargers again.
    """

    node: tuple[IntArray, ...]
    nodes_at: tuple[IntArray, ...]
    """The nodes of each level."""
    parent: IntArray
    """Node above each node; -1 for a root."""
    leaf: IntArray
    """Node that each charger hangs on."""

    @classmethod
    def of(cls, tree: SiteTree) -> "TreeLevels":
        """Compute the levels once for a tree."""
        count = len(tree.node_ids)
        at = tree.charger_node.astype(np.int64)
        rows: list[IntArray] = []
        nodes_at: list[IntArray] = []
        for depth in range(int(tree.level.max(initial=0)), -1, -1):
            is_here = (at < count) & (tree.level[np.minimum(at, count - 1)] == depth)
            rows.append(np.where(is_here, at, count))
            nodes_at.append(np.flatnonzero(tree.level == depth))
            up = tree.parent[np.minimum(at, count - 1)].astype(np.int64)
            at = np.where(is_here, np.where(up < 0, count, up), at)
        parent = tree.parent.astype(np.int64)
        return cls(tuple(rows), tuple(nodes_at), parent, tree.charger_node.astype(np.int64))

    def totals(self, per_charger: FloatArray) -> FloatArray:
        """Add a value per charger up the tree: shape (C,) in, (N,) out."""
        total = np.bincount(self.leaf, weights=per_charger, minlength=len(self.parent)).astype(np.float64)
        for nodes in self.nodes_at[:-1]:
            total += np.bincount(self.parent[nodes], weights=total[nodes], minlength=len(total))
        return total

    def is_below(self, marked: BoolArray) -> BoolArray:
        """Return which chargers hang below any marked node: shape (N,) in, (C,) out."""
        return self.carry_down(np.where(marked, 0.0, 1.0)) <= 0.0

    def carry_down(self, factor: FloatArray) -> FloatArray:
        """Multiply a factor per node down the tree: shape (N,) in, per charger the product over its ancestors (C,) out."""
        product = factor.copy()
        for nodes in self.nodes_at[-2::-1]:
            product[nodes] *= product[self.parent[nodes]]
        return np.asarray(product[self.leaf])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Demand:
    """What the chargers want, all of shape (C,)."""

    wanted_kw: FloatArray
    """Most that each can use now; 0 wants nothing."""
    min_kw: FloatArray
    """Least at which it charges at all."""
    priority: FloatArray
    """Who charges when not all can: higher first."""
    weight: FloatArray
    """Share of what is above the minimum, above 0."""
    must_run: BoolArray
    """Chargers served before all others."""
    reserved_kw: FloatArray
    """Drawn whatever we say (silent, over-drawing or lost chargers): taken off the caps above them."""
    comes_last: BoolArray | None = None
    """Chargers that get what all others leave: their cars take nothing of what they may. None for nobody."""


def allocate(levels: TreeLevels, caps_kw: FloatArray, demand: Demand) -> FloatArray:
    """Return set points in kW, shape (C,): 0 or at least the minimum, at most what is wanted, no node above its cap.

    Args:
        levels: The tree.
        caps_kw: Most that may flow through each node, reserved power included, shape (N,).
        demand: What the chargers want; those with reserved power get nothing beside it.
    """
    return allocate_within(levels, caps_kw, caps_kw, demand)


def allocate_within(levels: TreeLevels, caps_kw: FloatArray, target_kw: FloatArray, demand: Demand) -> FloatArray:
    """Return set points as `allocate` does, where only must-run chargers may use more than a node's target.

    Served one after the other: who must run, everybody else, who comes last.

    Args:
        levels: The tree.
        caps_kw: Most that may flow through each node, shape (N,): kept by everybody.
        target_kw: What shall flow through each node at most, shape (N,), infinite where there is no target: must-run
            chargers are placed by the caps alone, the others share what they leave of the target.
        demand: What the chargers want.
    """
    room = np.maximum(caps_kw - levels.totals(demand.reserved_kw), 0.0)
    free = (demand.reserved_kw <= 0.0) & (demand.wanted_kw >= demand.min_kw) & (demand.wanted_kw > 0.0)
    last = np.zeros(len(free), dtype=bool) if demand.comes_last is None else free & demand.comes_last
    first = free & demand.must_run & ~last
    setpoints = np.zeros(len(free))
    if first.any():
        setpoints = _split(levels, room, demand, first)
    aim = np.minimum(room, np.maximum(target_kw - levels.totals(demand.reserved_kw), 0.0))
    for tier in (free & ~first & ~last, last):
        if tier.any():
            left = np.maximum(aim - levels.totals(setpoints), 0.0)
            setpoints = setpoints + _split(levels, left, demand, tier)
    return setpoints


def clip(
    levels: TreeLevels, caps_kw: FloatArray, setpoints_kw: FloatArray, *, min_kw: FloatArray, priority: FloatArray
) -> FloatArray:
    """Lower set points in force until no node exceeds its cap; the quick answer to a new limit.

    Where the minima of the charging chargers still fit, everything above the minimum shrinks in proportion; where they do not,
    the lowest priorities pause first. Nothing is ever raised.

    Args:
        levels: The tree.
        caps_kw: Most that may flow through each node, shape (N,); reserved power already taken off.
        setpoints_kw: Set points in force, shape (C,).
        min_kw: Least at which each charges, shape (C,).
        priority: Who goes on when not all can: higher first, shape (C,).

    Returns:
        New set points, shape (C,); the same array when nothing has to change.
    """
    if (levels.totals(setpoints_kw) <= caps_kw + _TOLERANCE_KW).all():
        return setpoints_kw
    floor = np.minimum(min_kw, setpoints_kw)
    active = _active_set(levels, caps_kw, setpoints_kw > 0.0, floor, priority)
    lowered = np.where(active, setpoints_kw, 0.0)
    return _shrink(levels, np.maximum(caps_kw, 0.0), lowered, np.where(active, floor, 0.0))


def _split(levels: TreeLevels, caps_kw: FloatArray, demand: Demand, who: BoolArray) -> FloatArray:
    active = _active_set(levels, caps_kw, who, demand.min_kw, demand.priority)
    if _has_different_minima(demand.min_kw, who):
        active = _offer_the_rest(levels, caps_kw, who, active, demand)
    floor = np.where(active, demand.min_kw, 0.0)
    chosen = np.flatnonzero(active)
    above = _fill(levels, caps_kw - levels.totals(floor), chosen, demand)
    setpoints = floor
    setpoints[chosen] += above
    return _shrink(levels, caps_kw, setpoints, np.where(active, demand.min_kw, 0.0))


def _has_different_minima(min_kw: FloatArray, who: BoolArray) -> bool:
    minima = min_kw[who]
    return bool(minima.size) and float(minima.max() - minima.min()) > _TOLERANCE_KW


def _active_set(
    levels: TreeLevels, caps_kw: FloatArray, candidates: BoolArray, size_kw: FloatArray, priority: FloatArray
) -> BoolArray:
    """Return the candidates that stay, shape (C,): per node, bottom-up, the highest priorities whose sizes fit its cap."""
    active = candidates.copy()
    caps = np.append(caps_kw, np.inf) + _TOLERANCE_KW
    need = levels.totals(np.where(active, size_kw, 0.0))
    for nodes, node in zip(levels.nodes_at, levels.node, strict=True):
        is_tight = np.zeros(len(caps), dtype=bool)
        is_tight[nodes] = need[nodes] > caps[nodes]
        if not is_tight.any():
            continue
        index = np.flatnonzero(active & is_tight[node])
        order = index[_by_node_and_priority(node[index], priority[index])]
        keeps = _greedy_runs(node[order], size_kw[order], caps)
        active[order[~keeps]] = False
        need = levels.totals(np.where(active, size_kw, 0.0))
    return active


def _greedy_runs(node: IntArray, size_kw: FloatArray, caps: FloatArray) -> BoolArray:
    """Accept items in order within each run of equal nodes while they fit; who does not fit is skipped.

    One round per distinct size at most: once an item does not fit, no later one of its size or larger does.
    """
    starts = np.flatnonzero(np.r_[True, node[1:] != node[:-1]])
    run = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(node)]))
    keeps = np.ones(len(node), dtype=bool)
    position = np.arange(len(node))
    while True:
        used = np.cumsum(np.where(keeps, size_kw, 0.0))
        before = np.r_[0.0, used][starts]
        misfit = keeps & (used - before[run] > caps[node])
        if not misfit.any():
            return keeps
        first = np.full(len(starts), len(node), dtype=np.int64)
        np.minimum.at(first, run[misfit], position[misfit])
        limit = np.where(first < len(node), size_kw[np.minimum(first, len(node) - 1)], np.inf)
        keeps &= ~((position >= first[run]) & (size_kw >= limit[run]))


def _offer_the_rest(
    levels: TreeLevels, caps_kw: FloatArray, who: BoolArray, active: BoolArray, demand: Demand
) -> BoolArray:
    """Add chargers that were left out but fit into what remains, highest priority first."""
    for _ in range(_REPAIR_ROUNDS):
        left = caps_kw - levels.totals(np.where(active, demand.min_kw, 0.0))
        padded = np.append(left, np.inf) + _TOLERANCE_KW
        fits = who & ~active
        for node in levels.node:
            fits &= demand.min_kw <= padded[node]
        if not fits.any():
            break
        active = active | _active_set(levels, left, fits, demand.min_kw, demand.priority)
    return active


def _fill(levels: TreeLevels, room_kw: FloatArray, chosen: IntArray, demand: Demand) -> FloatArray:
    """Return what each chosen charger gets above its minimum: weighted max-min fair inside the room of every node."""
    weight = demand.weight[chosen]
    most = demand.wanted_kw[chosen] - demand.min_kw[chosen]
    level = np.full(len(chosen), np.inf)
    room = np.append(np.maximum(room_kw, 0.0), np.inf)
    for nodes in levels.node:
        node = nodes[chosen]
        total = np.bincount(node, weights=np.minimum(weight * level, most), minlength=len(room))
        at = np.flatnonzero((total > room)[node])
        if not at.size:
            continue
        breaks = np.minimum(most[at] / weight[at], level[at])
        theta = _water_levels(node[at], weight[at], breaks, room)
        level[at] = np.minimum(level[at], theta)
    return np.asarray(np.minimum(weight * level, most))


def _water_levels(node: IntArray, weight: FloatArray, breaks: FloatArray, room: FloatArray) -> FloatArray:
    """Return for each item the water level of its node: the theta at which `sum(weight * min(theta, break)) = room`.

    Every node given must be tight: the sum at infinite theta exceeds its room.
    """
    order = _by_node(node, breaks)
    runs, w, b = node[order], weight[order], breaks[order]
    starts = np.flatnonzero(np.r_[True, runs[1:] != runs[:-1]])
    counts = np.diff(np.r_[starts, len(runs)])
    weight_sum, load_sum = np.cumsum(w), np.cumsum(w * b)
    weight_before = np.repeat(np.r_[0.0, weight_sum][starts], counts)
    load_before = np.repeat(np.r_[0.0, load_sum][starts], counts)
    weight_total = np.repeat(np.add.reduceat(w, starts), counts)
    saturated_weight, saturated_load = weight_sum - weight_before, load_sum - load_before
    load_at_break = saturated_load + (weight_total - saturated_weight) * b
    is_reached = load_at_break <= room[runs]
    reached = np.add.reduceat(is_reached.astype(np.int64), starts)
    last = np.minimum(starts + reached, starts + counts - 1)  # first item whose break is not reached
    at_break = np.maximum(
        b[last] - np.maximum(load_at_break[last] - room[runs[last]], 0.0) / _slope(last, starts, w, weight_sum), 0.0
    )
    theta = np.empty(len(runs))
    theta[order] = np.repeat(at_break, counts)
    return theta


def _by_node_and_priority(node: IntArray, priority: FloatArray) -> IntArray:
    """Return the order by node, then highest priority first; one sort, and a quick one where chargers lie by node already."""
    low, high = float(priority.min()), float(priority.max())
    behind = (high - priority) / max((high - low) * 1.001, _TOLERANCE_KW)  # in [0, 1): never reaches the next node
    return np.argsort(node + behind, kind="stable")


def _by_node(node: IntArray, key: FloatArray) -> IntArray:
    """Return the order by node, then key; numpy sorts 16-bit integers in linear time."""
    by_key = np.argsort(key, kind="stable")
    short = node.astype(np.uint16) if node.max(initial=0) < np.iinfo(np.uint16).max else node
    return np.asarray(by_key[np.argsort(short[by_key], kind="stable")])


def _slope(last: IntArray, starts: IntArray, weight: FloatArray, weight_sum: FloatArray) -> FloatArray:
    """Return the weight that still rises just below the break of item `last` of each run."""
    ends = np.r_[starts[1:], len(weight)] - 1
    rising = weight_sum[ends] - weight_sum[last] + weight[last]
    return np.asarray(np.maximum(rising, np.finfo(np.float64).tiny))


def _shrink(levels: TreeLevels, caps_kw: FloatArray, setpoints_kw: FloatArray, floor_kw: FloatArray) -> FloatArray:
    """Scale what is above the floor, bottom-up, until every node is within its cap."""
    above_kw = setpoints_kw - floor_kw
    room = np.maximum(caps_kw - levels.totals(floor_kw), 0.0)
    load = np.bincount(levels.leaf, weights=above_kw, minlength=len(room))
    share = np.ones(len(room))
    for nodes in levels.nodes_at:
        is_over = load[nodes] > room[nodes]
        share[nodes[is_over]] = room[nodes[is_over]] / load[nodes[is_over]]
        up = levels.parent[nodes]
        has_parent = up >= 0
        passed_on = np.minimum(load[nodes], room[nodes])[has_parent]
        load += np.bincount(up[has_parent], weights=passed_on, minlength=len(load))
    if (share >= 1.0).all():
        return setpoints_kw
    return np.asarray(floor_kw + above_kw * levels.carry_down(share))
