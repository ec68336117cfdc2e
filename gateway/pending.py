"""Batches that are made up and not on disk yet: they wait while the store is away and are written in their order."""

from collections import deque

from gateway.domain.errors import StorageUnavailable
from gateway.observe import logger
from gateway.ports import Batch, Store

_log = logger("pending")


class PendingBatches:
    """A queue in front of the store, for whoever cannot wait for it."""

    def __init__(self, store: Store) -> None:
        """Begin with nothing.

        Args:
            store: Where batches go.
        """
        self._store = store
        self._batches: deque[Batch] = deque()
        self._was_full = False

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._batches)

    def add(self, batch: Batch) -> None:
        """Let a batch be written after those that wait."""
        self._batches.append(batch)

    def has_room(self, most: int) -> bool:
        """Tell whether fewer than so many wait; where a longer outage begins to fold changes together, and where it ends, is logged.

        Args:
            most: So many wait one by one; what changes beyond that its keeper keeps by its newest state.
        """
        is_full = len(self._batches) >= most
        if is_full and not self._was_full:
            _log.warning("the store is away: of what changes from now on only the newest state is kept", waiting=most)
        elif self._was_full and not is_full:
            _log.info("changes are written one by one again")
        self._was_full = is_full
        return not is_full

    async def write(self) -> bool:
        """Write what waits, the oldest first.

        Returns:
            True when everything is on disk; False when the store was unavailable: what is left waits, call again.
        """
        while self._batches:
            try:
                await self._store.apply(self._batches[0])
            except StorageUnavailable:
                return False
            self._batches.popleft()
        return True
