"""The site tree by levels, and the bounds that hold at its nodes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.domain.topology import PHASE_COUNT, SiteTree

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

TOLERANCE_KW = 1e-9
"""Two powers that differ by less are equal; a sum may exceed a cap by no more."""


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
    walk: IntArray
    """The chargers in an order in which those below any node lie side by side, shape (C,)."""

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
        parent, leaf = tree.parent.astype(np.int64), tree.charger_node.astype(np.int64)
        place = _places(nodes_at, parent, np.bincount(leaf, minlength=count))
        return cls(tuple(rows), tuple(nodes_at), parent, leaf, np.argsort(place[leaf], kind="stable"))

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


def _places(nodes_at: list[IntArray], parent: IntArray, own: IntArray) -> IntArray:
    """Return where the chargers of each node begin when the tree is walked: its own first, then those of its children."""
    size = own.astype(np.int64)
    for nodes in nodes_at[:-1]:
        np.add.at(size, parent[nodes], size[nodes])
    place = np.zeros(len(parent), dtype=np.int64)
    for nodes in reversed([nodes for nodes in nodes_at if len(nodes)]):
        order = nodes[np.argsort(parent[nodes], kind="stable")]
        before = np.cumsum(size[order]) - size[order]
        up = parent[order]
        starts = np.flatnonzero(np.r_[True, up[1:] != up[:-1]])
        within = before - np.repeat(before[starts], np.diff(np.r_[starts, len(order)]))
        has_parent = up >= 0
        place[order] = np.where(has_parent, place[up] + own[up] + within, before)
    return place


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PhaseBounds:
    """What holds on each grid phase beside the totals; `N` nodes, `C` chargers, three phases.

    Without per-phase bounds nothing of it is needed. What is drawn and cannot be moved is on a charger's phases by its share.
    """

    share: FloatArray
    """What each charger puts on each phase per kW that it draws, shape (C, 3); see `topology.Wiring.shares`."""
    caps_kw: FloatArray
    """Most that may flow on each phase of each node, shape (N, 3), infinite where nothing bounds it."""
    max_unbalance_kw: FloatArray | None = None
    """Most by which two phases of each node may differ, shape (N,), infinite without such a rule; None for nowhere."""

    @property
    def is_open(self) -> bool:
        """Whether nothing is bounded per phase."""
        return not np.isfinite(self.caps_kw).any()


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """One kind of bound at every node: the total, or one phase."""

    share: FloatArray | None
    """What counts of each charger's power, shape (C,); None: all of it."""
    room_kw: FloatArray
    """Most that may flow through each node, shape (N,)."""

    def counted(self, power_kw: FloatArray) -> FloatArray:
        """Return what counts of a power per charger, shape (C,)."""
        return power_kw if self.share is None else power_kw * self.share

    def less(self, levels: TreeLevels, power_kw: FloatArray) -> "Bound":
        """Return what remains when the chargers draw this power already, at least 0."""
        return Bound(self.share, np.maximum(self.room_kw - levels.totals(self.counted(power_kw)), 0.0))


def bounds_of(caps_kw: FloatArray, phases: PhaseBounds | None) -> list[Bound]:
    """Return the bound of the totals and those of the phases that are bounded anywhere."""
    bounds = [Bound(None, caps_kw)]
    if phases is not None:
        for phase in range(PHASE_COUNT):
            caps = phases.caps_kw[:, phase]
            if np.isfinite(caps).any():
                bounds.append(Bound(np.ascontiguousarray(phases.share[:, phase]), np.ascontiguousarray(caps)))
    return bounds
