"""Server streams of rows as they change: snapshot or resume first, then every newer row, in the order written, none twice."""

from datetime import datetime, timedelta
from typing import Generic, TypeAlias, TypeVar

from gateway.ports import Clock, Store, Stored
from gateway.rpc import convert

RecordT = TypeVar("RecordT")
Place: TypeAlias = tuple[datetime, str, int]
"""When a row was written, its id and its version."""
LOOK_AGAIN = timedelta(minutes=1)
"""A wake-up that got lost costs no more than this."""
_MOST_ROWS = 5_000


class RowWatch(Generic[RecordT]):
    """Rows of one kind and tenant in the order (written, id, version), from a resume token on."""

    def __init__(self, store: Store, clock: Clock, kind: type[RecordT], tenant: str, resume_token: str) -> None:
        """Start after the token, or at the beginning without one.

        Raises:
            InvalidInput: The token is not one of ours.
            ResumeTokenExpired: The token is too old.
        """
        self._store = store
        self._kind = kind
        self._tenant = tenant
        self._last: Place | None = None
        self._at_last_instant: set[Place] = set()
        if resume_token:
            self._last = convert.read_watch_token(resume_token, clock.now())

    @property
    def token(self) -> str:
        """Resume token after the last row given out; empty before the first."""
        return "" if self._last is None else convert.watch_token(*self._last)

    async def newer(self) -> list[Stored[RecordT]]:
        """Return the rows written since the last one that was given out (or the token), oldest first."""
        rows = await self._store.find(self._kind, self._tenant, limit=_MOST_ROWS, newest_first=True)
        return [row for row in sorted(rows, key=_place) if self._is_new(_place(row))]

    def passed(self, row: Stored[RecordT]) -> None:
        """Remember that a row was given out."""
        place = _place(row)
        if self._last is not None and place[0] > self._last[0]:
            self._at_last_instant.clear()
        self._at_last_instant.add(place)
        self._last = place

    def _is_new(self, place: Place) -> bool:
        if self._last is None or place[0] > self._last[0]:
            return True
        if place[0] < self._last[0]:
            return False
        # Rows of one instant may be written one after the other and in any order of their ids.
        return place not in self._at_last_instant if self._at_last_instant else place > self._last


def _place(row: Stored[RecordT]) -> Place:
    record_id = str(getattr(row.record, "id"))  # noqa: B009  # every record has an id; RecordT cannot say so
    return row.written_at, record_id, row.version
