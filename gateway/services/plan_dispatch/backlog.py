"""Commands that went out from memory while the store was away, until they are on disk."""

from collections.abc import Iterable
from itertools import islice

from gateway.domain.dispatch import CommandRoster, DispatchBatch
from gateway.domain.errors import StorageUnavailable
from gateway.domain.rosters import Rosters
from gateway.ports import Batch, Put, Store

_MOST_WAITING = 1_000
_AT_ONCE = 100
"""So many are written in one transaction, so that no other writer waits long for it."""


class Backlog:
    """What of one tenant's commands must still be written; nobody waits for it."""

    def __init__(self, *, tenant: str, store: Store, rosters: Rosters) -> None:
        """Begin with nothing.

        Args:
            tenant: Whose commands.
            store: Rows.
            rosters: Which rosters are known to be on disk.
        """
        self._tenant = tenant
        self._store = store
        self._rosters = rosters
        self._waiting: dict[str, tuple[DispatchBatch, CommandRoster]] = {}

    def keep(self, commands: Iterable[tuple[DispatchBatch, CommandRoster]]) -> None:
        """Keep commands that went out until they are written; beyond a bound the oldest are let go."""
        self._waiting |= {row.id: (row, roster) for row, roster in commands}
        for row_id in list(islice(self._waiting, max(len(self._waiting) - _MOST_WAITING, 0))):
            del self._waiting[row_id]

    async def save(self) -> bool:
        """Write what waits, the oldest first.

        Returns:
            True when nothing waits any more; False when the store was unavailable: call again.
        """
        while self._waiting:
            part = list(islice(self._waiting.values(), _AT_ONCE))
            rosters = self._rosters.unsaved([roster for _, roster in part])
            puts = (*(Put(record=roster) for roster in rosters), *(Put(record=row) for row, _ in part))
            try:
                await self._store.apply(Batch(tenant=self._tenant, puts=puts))
            except StorageUnavailable:
                return False
            self._rosters.saved(rosters)
            for row, _ in part:
                self._waiting.pop(row.id, None)
        return True
