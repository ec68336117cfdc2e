"""The site tree, connection points, market parties and routes.

```
tenant > portfolio (VPP) > site > circuit (feeder, transformer, panel) > charger (EVSE)
```

A node's rating is physical: it binds always. A connection point belongs to a site and is where bids, nominations and imbalance
are measured; what flows there is the chargers plus the site's other load.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from numpy.dtypes import StringDType

from gateway.domain.errors import InvalidInput
from gateway.domain.id_list import IdList, NameArray

_NumberT = TypeVar("_NumberT", bound=np.generic)

_PHASE_NAMES = "123"
PHASE_COUNT = 3
_HIGHEST_V = 253.0
"""Line to neutral, the highest of EN 50160: a step may be worth as much."""


class NodeKind(StrEnum):
    """Level of a node in the site tree."""

    PORTFOLIO = "portfolio"
    SITE = "site"
    CIRCUIT = "circuit"
    CHARGER = "charger"


class EnforcementClass(StrEnum):
    """Who enforces lease and fallback of a target when we are gone, proven by test."""

    A = "A"
    """The charger does."""
    B = "B"
    """The CSMS does."""
    C = "C"
    """Nobody does: counted at the worst it could draw."""


class Route(StrEnum):
    """How an order reaches the market."""

    OWN_MEMBER = "own-member"
    VIA_BRP = "via-BRP"
    TARIFF_ONLY = "tariff-only"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One node of the site tree."""

    id: str
    tenant: str
    parent: str | None
    """Id of the node above; None for a portfolio."""
    kind: NodeKind
    name: str
    max_import_kw: float
    """Physical rating, total over phases; never exceeded whatever anybody asks."""
    max_export_kw: float = 0.0
    fail_safe_import_kw: float
    """What applies when every authority of the node is lost: never more than the rating; zero is a choice, not an absence."""
    phases: int = 3
    voltage_v: float = 230.0
    """Nominal line-to-neutral voltage."""
    phase_rating_a: float | None = None
    """Fuse or breaker of each phase; None: only the total over phases is bounded."""
    max_unbalance_a: float | None = None
    """Most by which the currents of two phases may differ here; None: no such rule."""

    def __post_init__(self) -> None:
        """Reject ratings that are negative or not finite and a fail-safe above the rating."""
        for field in ("max_import_kw", "max_export_kw", "fail_safe_import_kw"):
            value = getattr(self, field)
            if not np.isfinite(value) or value < 0.0:
                raise InvalidInput(f"node.{field}", "must be a finite number of at least 0")
        if self.fail_safe_import_kw > self.max_import_kw:
            raise InvalidInput("node.fail_safe_import_kw", "must not exceed max_import_kw")
        if (self.parent is None) != (self.kind is NodeKind.PORTFOLIO):
            raise InvalidInput("node.parent", "only a portfolio has no parent")
        if self.phases not in {1, 3}:
            raise InvalidInput("node.phases", "must be 1 or 3")
        if not np.isfinite(self.voltage_v) or self.voltage_v <= 0.0:
            raise InvalidInput("node.voltage_v", "must be a finite number above 0")
        for field in ("phase_rating_a", "max_unbalance_a"):
            current_a = getattr(self, field)
            if current_a is not None and (not np.isfinite(current_a) or current_a < 0.0):
                raise InvalidInput(f"node.{field}", "must be a finite number of at least 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Charger:
    """A charge point connector (EVSE), a leaf of the site tree."""

    id: str
    tenant: str
    csms: str
    """The charging platform that commands it."""
    parent: str
    """Node it hangs on (a site or circuit)."""
    max_import_kw: float
    min_import_kw: float
    """Lowest power at which it charges at all (6 A per phase for AC); below it the only valid set point is 0."""
    phases: int
    fallback_kw: float
    """What it does on its own when its lease runs out."""
    enforcement: EnforcementClass = EnforcementClass.B
    phase_map: str = ""
    """Grid phase of each of its conductors in order: `123`, `231`, ... (OCPP phase rotation RST, STR, ...), one digit for one
    phase. Empty is unknown: a car that uses fewer than three phases then counts in full on every phase."""
    is_dc: bool = False
    """True for a direct-current charger: it loads its phases alike whatever the car."""
    pilots_a: tuple[float, ...] = ()
    """Currents per phase that it can be set to above 0, ascending; empty: any from its minimum on."""
    wakes_after_pause: bool = True
    """False where cars were seen not to resume after 0 A: it is paused only when nothing else is left."""

    def __post_init__(self) -> None:
        """Reject powers that are negative, not finite or in the wrong order, and a wiring that no charger has."""
        for field in ("max_import_kw", "min_import_kw", "fallback_kw"):
            value = getattr(self, field)
            if not np.isfinite(value) or value < 0.0:
                raise InvalidInput(f"charger.{field}", "must be a finite number of at least 0")
        if self.min_import_kw > self.max_import_kw:
            raise InvalidInput("charger.min_import_kw", "must not exceed max_import_kw")
        if self.fallback_kw > self.max_import_kw:
            raise InvalidInput("charger.fallback_kw", "must not exceed max_import_kw")
        if self.phases not in {1, 3}:
            raise InvalidInput("charger.phases", "must be 1 or 3")
        if self.phase_map and (len(self.phase_map) != self.phases or not set(self.phase_map) <= set(_PHASE_NAMES)):
            raise InvalidInput("charger.phase_map", "must have one digit 1, 2 or 3 for each phase of the charger")
        if len(set(self.phase_map)) != len(self.phase_map):
            raise InvalidInput("charger.phase_map", "must not repeat a phase")
        self._check_pilots()

    def _check_pilots(self) -> None:
        if any(not np.isfinite(pilot) or pilot <= 0.0 for pilot in self.pilots_a):
            raise InvalidInput("charger.pilots_a", "must be finite numbers above 0")
        if any(low >= high for low, high in pairwise(self.pilots_a)):
            raise InvalidInput("charger.pilots_a", "must ascend")
        if self.pilots_a and _HIGHEST_V * self.phases * self.pilots_a[0] / 1000.0 < self.min_import_kw:
            raise InvalidInput("charger.pilots_a", "must begin at min_import_kw: at a lower step no car charges")


VOLTAGE_LEVELS = ("low", "medium", "high")
"""Levels of the grid that a connection point may be at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionPoint:
    """A grid connection with a settlement meter (EAN, MaLo, MPAN)."""

    id: str
    """Its EAN (GSRN, 18 digits) or other official code."""
    tenant: str
    site: str
    """Site node behind it."""
    bidding_zone: str
    time_zone: str
    """IANA zone of the market, which decides what a delivery day is."""
    dso: str
    brp: str | None
    """Balance responsible party; None means no order may leave for it."""
    loss_factor: float = 1.0
    site_class: str = "public"
    """Kind of place for forecasts: `home`, `public` or `workplace`."""
    voltage_level: str = "low"
    """Level of the grid that it is connected to: `low`, `medium` or `high`."""

    def __post_init__(self) -> None:
        """Reject a voltage level that does not exist."""
        if self.voltage_level not in VOLTAGE_LEVELS:
            raise InvalidInput("connection_point.voltage_level", f"must be one of {', '.join(VOLTAGE_LEVELS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Portfolio:
    """What is bid together: a virtual power plant in one bidding zone with one route to the market."""

    id: str
    """Id of its node in the tree."""
    tenant: str
    bidding_zone: str
    time_zone: str
    currency: str
    route: Route
    brp: str | None
    exchange_portfolio: str
    """Name of the portfolio at the exchange."""
    max_order_mw: str
    """Pre-trade limit: the largest volume of one delivery period, decimal text in MW."""
    max_day_mwh: str
    """Pre-trade limit: the largest energy of one delivery day, decimal text in MWh."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityGroup:
    """The name under which a grid partner knows a node."""

    id: str
    """`{authority}:{name}`."""
    tenant: str
    authority: str
    name: str
    node: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChargerTable:
    """Chargers in columns, in the order of a tree: by node, then by id. Most differ in nothing but their id and node."""

    names: NameArray
    """Ids, shape (C,)."""
    node: npt.NDArray[np.int32]
    """Place of the node that each hangs on, shape (C,)."""
    kinds: tuple[Charger, ...]
    """One of each kind; its id and node are those of any."""
    kind: npt.NDArray[np.int32]
    """Position in `kinds`, shape (C,)."""

    @classmethod
    def of(cls, chargers: Iterable[Charger], place: Mapping[str, int]) -> "ChargerTable":
        """Order chargers into columns.

        Args:
            chargers: In any order.
            place: Place of every node of the tree.

        Raises:
            InvalidInput: A charger hangs on no node.
        """
        leaves = list(chargers)
        for charger in leaves:
            if charger.parent not in place:
                raise InvalidInput("charger.parent", f"{charger.parent} is not a node")
        leaves.sort(key=lambda charger: (place[charger.parent], charger.id))
        kinds = {_kind_of(charger): charger for charger in leaves}
        code = {kind: i for i, kind in enumerate(kinds)}
        return cls(
            names=np.array([charger.id for charger in leaves], dtype=StringDType()),
            node=np.array([place[charger.parent] for charger in leaves], dtype=np.int32),
            kinds=tuple(kinds.values()),
            kind=np.array([code[_kind_of(charger)] for charger in leaves], dtype=np.int32),
        )

    @classmethod
    def joined(cls, parts: Sequence["ChargerTable"]) -> "ChargerTable":
        """Return the chargers of some parts of a tree, which follow each other in its order; at least one."""
        kinds = {_kind_of(charger): charger for part in parts for charger in part.kinds}
        code = {kind: i for i, kind in enumerate(kinds)}
        codes = [np.array([code[_kind_of(charger)] for charger in part.kinds], dtype=np.int32) for part in parts]
        return cls(
            names=np.concatenate([part.names for part in parts]),
            node=np.concatenate([part.node for part in parts]),
            kinds=tuple(kinds.values()),
            kind=np.concatenate([new[part.kind] for new, part in zip(codes, parts, strict=True)]),
        )

    def column(self, read: Callable[[Charger], float], dtype: type[_NumberT]) -> npt.NDArray[_NumberT]:
        """Return what is read of each charger, which must not depend on its id or node, shape (C,); to be read only.

        Where all are alike it takes no memory.
        """
        values = np.array([read(charger) for charger in self.kinds], dtype=dtype)
        is_alike = values.size > 0 and bool((values == values[0]).all())
        return np.broadcast_to(values[0], self.kind.shape) if is_alike else values[self.kind]


_kind_of = attrgetter(*(field.name for field in fields(Charger) if field.name not in {"id", "parent"}))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Wiring:
    """How nodes and chargers are wired per phase; `N` nodes, `C` chargers, grid phases 0 to 2."""

    phase_rating_a: npt.NDArray[np.float64]
    """Fuse per phase of each node, shape (N,); infinite where only the total is bounded."""
    max_unbalance_a: npt.NDArray[np.float64]
    """Most by which two phases of each node may differ, shape (N,); infinite without such a rule."""
    voltage_v: npt.NDArray[np.float64]
    """Nominal line-to-neutral voltage of each node, shape (N,)."""
    phase_of: npt.NDArray[np.int8]
    """Grid phase of the conductors L1 to L3 of each charger, shape (C, 3); -1 where unknown or absent."""
    phases: npt.NDArray[np.int8]
    """Number of phases of each charger, shape (C,)."""
    is_dc: npt.NDArray[np.bool_]
    """Direct-current chargers, shape (C,)."""
    wakes_after_pause: npt.NDArray[np.bool_]
    """Chargers whose cars resume after 0 A, shape (C,)."""
    pilot_sets: tuple[tuple[float, ...], ...]
    """The different sets of currents that chargers can be set to; the first is empty: any current."""
    pilot_set: npt.NDArray[np.int32]
    """Position in `pilot_sets` of each charger, shape (C,)."""

    @classmethod
    def of(cls, nodes: Sequence[Node], chargers: "ChargerTable") -> "Wiring":
        """Read the wiring of nodes, in the order given, and of chargers."""
        phase_of = np.full((len(chargers.kinds), PHASE_COUNT), -1, dtype=np.int8)
        for i, charger in enumerate(chargers.kinds):
            for conductor, name in enumerate(charger.phase_map):
                phase_of[i, conductor] = int(name) - 1
        sets: list[tuple[float, ...]] = [(), *sorted({c.pilots_a for c in chargers.kinds} - {()})]
        place = {pilots: i for i, pilots in enumerate(sets)}
        return cls(
            phase_rating_a=np.array([np.inf if n.phase_rating_a is None else n.phase_rating_a for n in nodes]),
            max_unbalance_a=np.array([np.inf if n.max_unbalance_a is None else n.max_unbalance_a for n in nodes]),
            voltage_v=np.array([n.voltage_v for n in nodes]),
            phase_of=phase_of[chargers.kind],
            phases=chargers.column(lambda c: c.phases, np.int8),
            is_dc=chargers.column(lambda c: c.is_dc, np.bool_),
            wakes_after_pause=chargers.column(lambda c: c.wakes_after_pause, np.bool_),
            pilot_sets=tuple(sets),
            pilot_set=chargers.column(lambda c: place[c.pilots_a], np.int32),
        )

    def shares(self, used_phases: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Return what each charger puts on each grid phase per kW that it draws, shape (C, 3).

        A car on three phases puts a third on each; one on fewer phases its part on the first conductors' phases, or its part on
        every phase where nobody knows which they are, so that the worst case is counted (the row then sums to more than 1).

        Args:
            used_phases: Phases that the car at each charger uses, 1 to 3, shape (C,).
        """
        used = np.where(self.is_dc, PHASE_COUNT, np.minimum(used_phases, self.phases))
        part = 1.0 / np.maximum(used, 1)
        is_open = (used < PHASE_COUNT) & (self.phase_of[:, 0] < 0)
        share = np.zeros((len(used), PHASE_COUNT))
        everywhere = (used >= PHASE_COUNT) | is_open
        share[everywhere] = part[everywhere, None]
        for conductor in range(PHASE_COUNT - 1):
            at = np.flatnonzero(~everywhere & (used > conductor))
            share[at, self.phase_of[at, conductor]] = part[at]
        return share


class PhaseShares:
    """What each charger puts on each grid phase per kW that it draws, worked out when it is first asked for: few trees bound phases."""

    def __init__(self, wiring: Wiring, used_phases: npt.NDArray[np.int8]) -> None:
        """Remember the wiring and the phases that the car at each charger uses, shape (C,)."""
        self._wiring = wiring
        self._used_phases = used_phases

    @cached_property
    def values(self) -> npt.NDArray[np.float64]:
        """The shares as `Wiring.shares` has them, shape (C, 3)."""
        return self._wiring.shares(self._used_phases)


@dataclass(frozen=True, slots=True)
class SiteTree:
    """The nodes in arrays, parents before children, for vectorised work over chargers.

    Shapes: `N` nodes, `C` chargers. `parent[n]` is the index of the node above (-1 for a portfolio); `charger_node[c]` the
    index of the node a charger hangs on. `level[n]` is the depth (portfolio 0).
    """

    node_ids: tuple[str, ...]
    parent: npt.NDArray[np.int32]
    level: npt.NDArray[np.int32]
    rating_kw: npt.NDArray[np.float64]
    charger_ids: Sequence[str]
    """An `IdList` where the tree was built from rows: one list for everybody who knows its chargers."""
    charger_node: npt.NDArray[np.int32]
    wiring: Wiring | None = None
    """How it is wired per phase; None where nobody said: only totals are bounded then."""

    @classmethod
    def build(cls, nodes: Iterable[Node], chargers: Iterable[Charger]) -> "SiteTree":
        """Order nodes and chargers into arrays.

        Raises:
            InvalidInput: A parent is unknown, an id appears twice, or the tree has a cycle.
        """
        ordered = in_tree_order(nodes)
        return cls.of(ordered, ChargerTable.of(chargers, {node.id: i for i, node in enumerate(ordered)}))

    @classmethod
    def of(cls, nodes: Sequence[Node], chargers: ChargerTable) -> "SiteTree":
        """Return the tree of nodes in its order and of the chargers on them.

        Raises:
            InvalidInput: A charger appears twice.
        """
        if len(np.unique(chargers.names)) != len(chargers.names):
            raise InvalidInput("charger.id", "appears twice")
        by_id, index = {node.id: node for node in nodes}, {node.id: i for i, node in enumerate(nodes)}
        return cls(
            node_ids=tuple(index),
            parent=np.array([-1 if n.parent is None else index[n.parent] for n in nodes], dtype=np.int32),
            level=np.array([_depth(n, by_id) for n in nodes], dtype=np.int32),
            rating_kw=np.array([n.max_import_kw for n in nodes]),
            charger_ids=IdList(chargers.names),
            charger_node=chargers.node,
            wiring=Wiring.of(nodes, chargers),
        )

    def node_index(self, node_id: str) -> int:
        """Return the index of a node.

        Raises:
            InvalidInput: The node is not in the tree.
        """
        try:
            return self.node_ids.index(node_id)
        except ValueError as error:
            raise InvalidInput("node", f"{node_id} is not in the tree") from error

    def sum_up(self, per_charger: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Add a value per charger up the tree: shape (C,) in, (N,) out."""
        total = np.bincount(self.charger_node, weights=per_charger, minlength=len(self.node_ids)).astype(np.float64)
        for depth in range(int(self.level.max(initial=0)), 0, -1):
            at = np.flatnonzero(self.level == depth)
            np.add.at(total, self.parent[at], total[at])
        return total

    def below(self, node_id: str) -> npt.NDArray[np.bool_]:
        """Return which chargers hang anywhere below a node, shape (C,)."""
        inside = np.zeros(len(self.node_ids), dtype=bool)
        inside[self.node_index(node_id)] = True
        for i, up in enumerate(self.parent):
            if up >= 0 and inside[up]:
                inside[i] = True
        return inside[self.charger_node]


def fuses_kw(tree: SiteTree) -> npt.NDArray[np.float64]:
    """Return the most that the fuse of each node lets through on each phase, in kW, shape (N, 3); infinite without one."""
    if tree.wiring is None:
        return np.full((len(tree.node_ids), PHASE_COUNT), np.inf)
    return np.repeat((tree.wiring.phase_rating_a * tree.wiring.voltage_v / 1000.0)[:, None], PHASE_COUNT, axis=1)


def in_tree_order(nodes: Iterable[Node]) -> list[Node]:
    """Return nodes in the order of a tree: those above first, those of one depth by id.

    Raises:
        InvalidInput: A parent is unknown, an id appears twice, or the tree has a cycle.
    """
    by_id: dict[str, Node] = {}
    for node in nodes:
        if node.id in by_id:
            raise InvalidInput("node.id", f"{node.id} appears twice")
        by_id[node.id] = node
    return sorted(by_id.values(), key=lambda node: (_depth(node, by_id), node.id))


def _depth(node: Node, by_id: dict[str, Node]) -> int:
    depth = 0
    while node.parent is not None:
        if node.parent not in by_id:
            raise InvalidInput("node.parent", f"{node.parent} is not a node")
        node = by_id[node.parent]
        depth += 1
        if depth > len(by_id):
            raise InvalidInput("node.parent", f"{node.id} is part of a cycle")
    return depth
