"""How a book of commands is rebuilt from rows: each command is sent again, then what was written of it happens again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.commands import CommandBook, Sent
from gateway.domain.dispatch import CommandRoster, DispatchBatch, DispatchOutcome

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where the chargers of rows are in the tree as it is now."""

    of: dict[str, int]
    """Position in the tree by charger."""
    rosters: dict[str, CommandRoster]
    """Rosters of packed columns by id."""

    def known(self, row: DispatchBatch | DispatchOutcome) -> tuple[IndexArray, IndexArray]:
        """Return the positions in the tree and in the row's columns of the chargers that are still there."""
        known = [(self.of[c], j) for j, c in enumerate(row.chargers(self.rosters)) if c in self.of]
        return np.array([i for i, _ in known], dtype=np.int64), np.array([j for _, j in known], dtype=np.int64)


def replay(
    book: CommandBook, batches: Sequence[DispatchBatch], outcomes: Sequence[DispatchOutcome], places: Places
) -> None:
    """Let commands and what became of them happen again: each command, then what was written of it, whatever the clock did."""
    order: list[tuple[int, int, datetime, DispatchBatch | DispatchOutcome]] = []
    order += [(batch.sequence, 0, batch.issued_at, batch) for batch in batches]
    order += [(outcome.sequence, 1, outcome.at, outcome) for outcome in outcomes]
    for _, _, _, row in sorted(order, key=lambda item: item[:3]):
        index, columns = places.known(row)
        if isinstance(row, DispatchBatch):
            book.send(_sent_again(row, index, columns, places.rosters))
        else:
            book.restore(index, row.all_states[columns], row.at.timestamp())
            book.show(index, row.all_shown_kw[columns])


def within_a_lease(batch: DispatchBatch, now: datetime) -> DispatchBatch:
    """Return a command whose lease ends at most one lease from now: a clock that was set back prolongs nothing."""
    ahead = batch.issued_at - now
    if ahead <= timedelta(0):
        return batch
    return replace(batch, issued_at=now, lease_until=batch.lease_until - ahead)


def _sent_again(
    batch: DispatchBatch, index: IndexArray, columns: IndexArray, rosters: dict[str, CommandRoster]
) -> Sent:
    return Sent(
        batch=batch.id,
        sequence=batch.sequence,
        at=batch.issued_at.timestamp(),
        lease_until=batch.lease_until.timestamp(),
        index=index,
        limit_kw=batch.limits_kw[columns],
        fallback_kw=batch.fallbacks_kw(rosters)[columns],
    )
