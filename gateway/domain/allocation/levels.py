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
_MOST_HEIGHT = 32
"""Chargers of one node beyond this stand in another column."""
_COLUMN_COST = 2
"""What a column costs beside its places, in places."""
_MANY_CHARGERS = 10_000
"""From so many on freed memory is kept."""
_LARGE_BLOCK_BYTES = 31 * 1024 * 1024
_FEW_CHARGERS = 512
"""So few chargers stand in one column a node: padding costs less than a second column."""
_FEW_NODES = 64
"""Up to so many nodes one product with a dense matrix is quicker than a sum per level."""


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
    up: IntArray
    """Node above each node; `N` for a root."""
    climb: tuple[tuple[IntArray, IntArray], ...]
    """Of each level but the highest: its nodes and the node above each."""
    leaf: IntArray
    """Node that each charger hangs on."""
    above: IntArray
    """The node of each level that each node is or hangs below, deepest level first, `N` for none: shape (levels, N)."""
    grid: "Grid"
    """The chargers side by side in columns."""
    reach: FloatArray | None
    """1 where a node is or hangs below another one, shape (N, N), for sums over small trees; None for a large one."""

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
        above = _above(nodes_at, parent)
        grid = Grid.of(nodes_at, parent, leaf)
        up = np.where(parent < 0, count, parent)
        climb = tuple((nodes, parent.take(nodes)) for nodes in nodes_at[:-1])
        return cls(tuple(rows), tuple(nodes_at), parent, up, climb, leaf, above, grid, _reach(above))

    def totals(self, per_charger: FloatArray) -> FloatArray:
        """Add a value per charger up the tree: shape (C,) in, (N,) out."""
        total = np.bincount(self.leaf, weights=per_charger, minlength=len(self.parent)).astype(np.float64)
        for nodes in self.nodes_at[:-1]:
            total += np.bincount(self.parent[nodes], weights=total[nodes], minlength=len(total))
        return total

    def lift(self, direct: FloatArray) -> FloatArray:
        """Add values of nodes up the tree, shape (B, N)."""
        if self.reach is not None:
            return np.asarray(direct @ self.reach)
        total = direct.copy()
        for nodes, above in self.climb:
            for row in total:
                np.add.at(row, above, row.take(nodes))
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


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The chargers of a tree in columns: one place below the other, those of a node in columns side by side, padded with nobody.

    `H` places a column, `R` columns. Sums over a column and values handed to all of it need no search.
    """

    slots: IntArray
    """The charger at each place, `C` for nobody, shape (H, R); columns in an order in which those below any node are neighbours."""
    node: IntArray
    """The node that the chargers of each column hang on, shape (R,)."""
    first: IntArray
    """First column at or below each node, shape (N,)."""
    count: IntArray
    """Columns at or below each node, shape (N,)."""
    place: IntArray
    """Where each charger is in `slots` row by row, shape (C,)."""
    is_split: bool
    """Whether some node has more than one column."""

    @classmethod
    def of(cls, nodes_at: list[IntArray], parent: IntArray, leaf: IntArray) -> "Grid":
        """Lay out the chargers of a tree."""
        own = np.bincount(leaf, minlength=len(parent))
        first, below = _places(nodes_at, parent, own)
        walk = np.argsort(first[leaf], kind="stable")
        begins = first[leaf[walk]]
        rank = np.arange(len(walk)) - begins
        height = _height(own)
        opens = rank % height == 0
        opened = np.concatenate([[0], np.cumsum(opens)])
        column, count = opened[1:] - 1, int(opened[-1])
        if len(leaf) >= _MANY_CHARGERS:
            _hold_freed_memory()
        slots = np.full((height, count), len(leaf), dtype=np.int64)
        slots[rank % height, column] = walk
        place = np.empty(len(leaf), dtype=np.int64)
        place[walk] = rank % height * count + column
        node = leaf[walk[opens]]
        start = opened[first]
        return cls(slots, node, start, opened[first + below] - start, place, bool((own > height).any()))


def _hold_freed_memory() -> None:
    """Let the C library keep memory that is freed for the next request, where it is the one of GNU.

    It gives blocks above a threshold back to the system at once, and each page of the next one has to be cleared anew: for the
    intermediate results of large trees about half of the time. The threshold follows the largest block freed so far, up to 32 MiB
    (mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD). The block is never touched and costs nothing.
    """
    np.empty(_LARGE_BLOCK_BYTES, dtype=np.uint8)


def _height(own: IntArray) -> int:
    """Return how many places a column should have, at least 1, so that few are empty and columns are few.

    Args:
        own: Chargers that hang on each node, shape (N,).
    """
    if len(own) <= _FEW_NODES and int(own.sum()) <= _FEW_CHARGERS:
        return max(1, int(own.max(initial=0)))
    lengths = np.bincount(own)
    sizes = np.arange(len(lengths))
    volume = [(h + _COLUMN_COST) * int((lengths * -(-sizes // h)).sum()) for h in range(1, _MOST_HEIGHT + 1)]
    return 1 + int(np.argmin(volume))


def _reach(above: IntArray) -> FloatArray | None:
    count = above.shape[1]
    if count > _FEW_NODES:
        return None
    reach = np.zeros((count, count + 1))
    for row in above:
        reach[np.arange(count), row] = 1.0
    return np.ascontiguousarray(reach[:, :count])


def _above(nodes_at: list[IntArray], parent: IntArray) -> IntArray:
    """Return the node of each level that each node is or hangs below, shape (levels, N)."""
    count = len(parent)
    above = np.full((len(nodes_at), count + 1), count, dtype=np.int64)
    for level in range(len(nodes_at) - 1, -1, -1):
        nodes = nodes_at[level]
        above[level + 1 :, nodes] = above[level + 1 :, parent[nodes]]
        above[level, nodes] = nodes
    return above[:, :count]


def summed(at: IntArray, values: FloatArray, count: int) -> FloatArray:
    """Add values at places, shape (n,) each, and return the sum of each of so many places."""
    return np.bincount(at, weights=values, minlength=count).astype(np.float64, copy=False)


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
