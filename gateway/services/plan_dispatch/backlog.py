"""Commands that went out from memory while the store was away, until they are on disk."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from gateway.domain.dispatch import CommandRoster, DispatchBatch
from gateway.domain.errors import StorageUnavailable
from gateway.domain.evidence import AuditEntry
from gateway.domain.rosters import Rosters
from gateway.observe import COMMANDS_UNWRITTEN, logger
from gateway.ports import Batch, Put, Store

_log = logger("dispatch")
_MOST_WAITING = 1_000
_AT_ONCE = 100
"""So many are written in one transaction, so that no other writer waits long for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unwritten:
    """A command and what is written with it."""

    row: DispatchBatch
    roster: CommandRoster
    audit: tuple[AuditEntry, ...]
    """What it decided; empty where it only renews."""


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
        self._waiting: dict[str, Unwritten] = {}

    def keep(self, commands: Iterable[Unwritten]) -> None:
        """Keep commands that went out until they are written; beyond a bound the oldest are let go, and that is said."""
        self._waiting |= {one.row.id: one for one in commands}
        dropped = list(islice(self._waiting, max(len(self._waiting) - _MOST_WAITING, 0)))
        for row_id in dropped:
            del self._waiting[row_id]
        if dropped:
            COMMANDS_UNWRITTEN.inc(len(dropped))
            _log.error("commands that went out will never be written", tenant=self._tenant, count=len(dropped))

    async def save(self) -> bool:
        """Write what waits, the oldest first.

        Returns:
            True when nothing waits any more; False when the store was unavailable: call again.
        """
        while self._waiting:
            part = list(islice(self._waiting.values(), _AT_ONCE))
            rosters = self._rosters.unsaved([one.roster for one in part])
            puts = (*(Put(record=roster) for roster in rosters), *(Put(record=one.row) for one in part))
            audit = tuple(entry for one in part for entry in one.audit)
            try:
                await self._store.apply(Batch(tenant=self._tenant, puts=puts, audit=audit))
            except StorageUnavailable:
                return False
            self._rosters.saved(rosters)
            for one in part:
                self._waiting.pop(one.row.id, None)
        return True
