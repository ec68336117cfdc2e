"""What limits come to at every node and charger, folded anew only where something changed.

Thousands of limits apply at once for hours, and the loop looks every few seconds: what was folded holds until the limits, the silence
of an authority or the tree are others, or a change comes within the lead.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.domain.bids import Schedule
from gateway.domain.fleet import FleetView
from gateway.domain.id_list import IdList
from gateway.domain.limits import Limit, NodeLimits, Resolution, resolve
from gateway.domain.topology import Node, SiteTree

_NOBODY: frozenset[str] = frozenset()
_NO_LIMITS: tuple[Limit, ...] = ()


def nothing(node_id: str) -> float:
    """Say that nothing else flows at a node."""
    del node_id
    return 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """Everything that anybody ordered, as known now."""

    limits: Mapping[str, Sequence[Limit]]
    """By node or charger; what is known of one is replaced and never changed."""
    lost: Mapping[str, frozenset[str]]
    schedules: Sequence[Schedule]
    find_charger: Callable[[str], Node | None]
    """Charger by id, as the node that a limit of its own binds at; None when there is none."""
    steady: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Authorities that say a limit for every instant, by node."""
    other_kw: Callable[[str], float] = nothing
    """What else flows at the connection points of a node, negative when it feeds in."""

    @property
    def names(self) -> set[str]:
        """Nodes and chargers of which anybody says anything."""
        return {*self.limits, *self.lost, *self.steady}


@dataclass(kw_only=True, slots=True, eq=False)
class Fold:
    """What binds at one node or charger now and after every change within the lead."""

    name: str
    place: int
    """Of the node among the nodes of the tree, or of the charger among its chargers."""
    limits: Sequence[Limit]
    lost: frozenset[str]
    steady: frozenset[str]
    since: datetime
    until: datetime | None
    """From when another change is within the lead or the first one has come; None when nothing is known to change."""
    found: tuple[Resolution, ...]
    changes: tuple[datetime, ...]
    """When anything changes, up to the first time beyond the lead."""
    is_at_grid: bool
    """Whether what flows beside the chargers counts."""
    _usable: tuple[float, float] = (-1.0, 0.0)
    """What chargers may fill, and the headroom that it was worked out for."""

    def holds(self, orders: Orders, now: datetime) -> bool:
        """Tell whether it is still what the orders come to."""
        return (
            orders.limits.get(self.name, _NO_LIMITS) is self.limits
            and self.since <= now
            and (self.until is None or now < self.until)
            and orders.lost.get(self.name, _NOBODY) == self.lost
            and orders.steady.get(self.name, _NOBODY) == self.steady
        )

    def usable_kw(self, headroom: float, orders: Orders, agreed_kw: Mapping[str, float]) -> float:
        """Return what chargers may fill of everything that applies now and within the lead, see `Resolution.usable_kw`.

        Args:
            headroom: Share that is left free.
            orders: Who knows what else flows at the node.
            agreed_kw: What authorities guarantee by our settings, the same at every call.
        """
        if self._usable[0] != headroom or self.is_at_grid:
            other_kw = orders.other_kw(self.name) if self.is_at_grid else 0.0
            self._usable = (headroom, min(r.usable_kw(headroom, other_kw, agreed_kw) for r in self.found))
        return self._usable[1]


class Folds:
    """The folds of one tenant's nodes and chargers."""

    def __init__(self, lead: timedelta) -> None:
        """Begin with nothing folded.

        Args:
            lead: How long ahead limits that begin count already.
        """
        self._lead = lead
        self._tree: SiteTree | None = None
        self._at_nodes: dict[str, Fold] = {}
        self._at_chargers: dict[str, Fold] = {}
        self.place: dict[str, int] = {}
        """Of every node of the tree by its id."""

    def follow(self, tree: SiteTree) -> None:
        """Fold everything anew where the tree is another one."""
        if self._tree is not tree:
            self._tree, self._at_nodes, self._at_chargers = tree, {}, {}
            self.place = {node_id: i for i, node_id in enumerate(tree.node_ids)}

    def at_nodes(self, view: FleetView, orders: Orders, now: datetime) -> Iterable[Fold]:
        """Return what binds at every node at which anybody says anything.

        Args:
            view: The fleet.
            orders: What anybody says.
            now: The instant.
        """
        self.follow(view.tree)
        names = orders.names & self.place.keys()
        self._at_nodes = self._known(
            self._at_nodes, names, orders, now, lambda name: (self.place[name], view.nodes[name])
        )
        return self._at_nodes.values()

    def at_chargers(self, view: FleetView, orders: Orders, now: datetime) -> Iterable[Fold]:
        """Return the same of every charger; its limits bind below its own rating."""
        self.follow(view.tree)
        chargers = IdList.of(view.tree.charger_ids)
        names = orders.names - self.place.keys()
        self._at_chargers = self._known(
            self._at_chargers, names, orders, now, lambda name: (chargers.find(name), orders.find_charger(name))
        )
        return self._at_chargers.values()

    def _known(
        self,
        older: Mapping[str, Fold],
        names: Iterable[str],
        orders: Orders,
        now: datetime,
        find: Callable[[str], tuple[int | None, Node | None]],
    ) -> dict[str, Fold]:
        known = {}
        for name in names:
            fold = older.get(name)
            if fold is not None and fold.holds(orders, now):
                known[name] = fold
                continue
            place, node = find(name)
            if place is not None and node is not None:
                known[name] = self._folded(place, node, orders, now)
        return known

    def _folded(self, place: int, node: Node, orders: Orders, now: datetime) -> Fold:
        limits = orders.limits.get(node.id, _NO_LIMITS)
        lost, steady = orders.lost.get(node.id, _NOBODY), orders.steady.get(node.id, _NOBODY)
        in_time = NodeLimits.of(limits)
        found = [resolve(node, in_time, now, lost=lost, steady=steady)]
        while (change := found[-1].until) is not None and change <= now + self._lead:
            found.append(resolve(node, in_time, change, lost=lost, steady=steady))
        changes = [one.until for one in found if one.until is not None]
        # The first of several is within the lead already, the last one is not.
        ends = changes[:1] if len(found) > 1 else []
        if change is not None:
            ends.append(change - self._lead)
        return Fold(
            name=node.id,
            place=place,
            limits=limits,
            lost=lost,
            steady=steady,
            since=now,
            until=min(ends, default=None),
            found=tuple(found),
            changes=tuple(changes),
            is_at_grid=any(limit.is_at_grid for one in found for limit in one.applying),
        )
