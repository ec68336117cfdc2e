"""Rosters of the charging platforms of a tenant: which position of which platform every charger of the tree has."""

import numpy as np
import numpy.typing as npt

from gateway.domain.dispatch import CommandRoster
from gateway.domain.fleet import FleetView
from gateway.domain.topology import SiteTree

IndexArray = npt.NDArray[np.int64]


class Rosters:
    """The rosters for the tree as it is now, and which of them are on disk."""

    def __init__(self, tenant: str) -> None:
        """Begin without a tree; `follow` brings one."""
        self._tenant = tenant
        self._tree: SiteTree | None = None
        self._of: dict[int, CommandRoster] = {}
        self._saved: set[str] = set()
        self._members: list[IndexArray] = []
        self.places: IndexArray = np.zeros(0, dtype=np.int64)
        """Position of each charger in the roster of its platform, shape (C,)."""

    def follow(self, view: FleetView) -> None:
        """Take the tree of a view; nothing happens while it is the same."""
        if self._tree is view.tree:
            return
        self._tree = view.tree
        self._of = {}
        self._members = [np.flatnonzero(view.csms_index == k) for k in range(len(view.csms_ids))]
        self.places = np.zeros(len(view.tree.charger_ids), dtype=np.int64)
        for members in self._members:
            self.places[members] = np.arange(len(members))

    def of(self, view: FleetView, platform: int) -> CommandRoster:
        """Return the roster of a platform of the view that was followed last.

        Args:
            view: The fleet.
            platform: Position of the platform in `csms_ids`.
        """
        roster = self._of.get(platform)
        if roster is None:
            members = self._members[platform]
            charger_ids = tuple(view.tree.charger_ids[i] for i in members.tolist())
            fallback_kw = tuple(view.fallback_kw[members].tolist())
            roster = CommandRoster.of(self._tenant, view.csms_ids[platform], charger_ids, fallback_kw)
            self._of[platform] = roster
        return roster

    def unsaved(self, rosters: list[CommandRoster]) -> list[CommandRoster]:
        """Return those that are not known to be on disk, each once."""
        return list({roster.id: roster for roster in rosters if roster.id not in self._saved}.values())

    def saved(self, rosters: list[CommandRoster]) -> None:
        """Remember that these are on disk."""
        self._saved.update(roster.id for roster in rosters)
