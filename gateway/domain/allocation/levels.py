"""The site tree by levels, and the bounds that hold at its nodes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.domain.topology import SiteTree

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
    first: IntArray
    """Where the chargers below each node begin in `walk`, shape (N,)."""
    count: IntArray
    """Chargers below each node, shape (N,)."""
    above: IntArray
    """The node of each level that each node is or hangs below, deepest level first, `N` for none: shape (levels, N)."""

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
        first, below = _places(nodes_at, parent, np.bincount(leaf, minlength=count))
        walk = np.argsort(first[leaf], kind="stable")
        return cls(tuple(rows), tuple(nodes_at), parent, leaf, walk, first, below, _above(nodes_at, parent))

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


def _above(nodes_at: list[IntArray], parent: IntArray) -> IntArray:
    """Return the node of each level that each node is or hangs below, shape (levels, N)."""
    count = len(parent)
    above = np.full((len(nodes_at), count + 1), count, dtype=np.int64)
    for level in range(len(nodes_at) - 1, -1, -1):
        nodes = nodes_at[level]
        above[level + 1 :, nodes] = above[level + 1 :, parent[nodes]]
        above[level, nodes] = nodes
    return above[:, :count]


def _places(nodes_at: list[IntArray], parent: IntArray, own: IntArray) -> tuple[IntArray, IntArray]:
    """Return where the chargers below each node begin when the tree is walked, and how many they are, shape (N,) each.

    A node's own chargers come first, then those of its children.
    """
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
        place[order] = np.where(up >= 0, place[up] + own[up] + within, before)
    return place, size


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
    beside_kw: FloatArray | None = None
    """What chargers draw beside the set points, shape (C,): it weighs on the unbalance only. None for nothing."""
