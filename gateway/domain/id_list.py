"""Ids in a fixed order, each found by its place and by its name, without a Python object for each.

A hundred thousand names in a tuple with a dictionary of their places take 140 bytes each; packed side by side, with their places in
the order of their hashes, they take 24, and one list serves everybody who knows the chargers of a tree by number.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from numpy.dtypes import StringDType
from typing_extensions import override

IndexArray = npt.NDArray[np.int64]
NameArray = npt.NDArray[Any]
"""Names as numpy's `StringDType` packs them."""


_HASH_BITS = 0xFFFF_FFFF
"""So much of a hash tells most names apart."""


class IdList(Sequence[str]):
    """Different ids in the order given; it never changes."""

    def __init__(self, ids: Sequence[str] | NameArray) -> None:
        """Pack the ids.

        Args:
            ids: Each once.
        """
        self._names: NameArray = np.array(ids, dtype=StringDType())
        hashes = _hashes(ids)
        self._order = np.argsort(hashes, kind="stable").astype(np.int32)
        """Places in the order of the hashes."""
        self._hashes = hashes[self._order]

    @classmethod
    def of(cls, ids: Sequence[str]) -> "IdList":
        """Return these ids as a list of this kind: the same one where they are."""
        return ids if isinstance(ids, cls) else cls(ids)

    def __reduce__(self) -> tuple[type["IdList"], tuple[tuple[str, ...]]]:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Return what another process makes the same list of: hashes of names differ from process to process."""
        return IdList, (self[:],)

    @override
    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    @override
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        return tuple(self._names[place].tolist()) if isinstance(place, slice) else str(self._names[place])

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._names.tolist())

    @override
    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    @override
    def index(self, value: str, start: int = 0, stop: int | None = None) -> int:
        """Return the place of an id.

        Raises:
            ValueError: It is not there.
        """
        place = self.find(value)
        if place is None or not start <= place < (len(self) if stop is None else stop):
            raise ValueError(f"{value} is not in the list")
        return place

    def find(self, name: str) -> int | None:
        """Return the place of an id; None when it is not there."""
        wanted, hashes = hash(name) & _HASH_BITS, self._hashes.data
        at = bisect_left(hashes, wanted)
        # Two names may have the same hash.
        while at < len(hashes) and hashes[at] == wanted:
            place = int(self._order[at])
            if self._names[place] == name:
                return place
            at += 1
        return None

    def places(self, names: Sequence[str]) -> IndexArray:
        """Return the places of some ids, -1 for those that are not there."""
        if not len(self):
            return np.full(len(names), -1, dtype=np.int64)
        wanted = _hashes(names)
        at = np.minimum(np.searchsorted(self._hashes, wanted), len(self) - 1)
        places = self._order[at].astype(np.int64)
        is_other = self._names[places] != np.array(names, dtype=StringDType())
        for i in np.flatnonzero(is_other & (self._hashes[at] == wanted)).tolist():
            place = self.find(names[i])
            is_other[i] = place is None
            places[i] = -1 if place is None else place
        places[is_other] = -1
        return places

    def shared_with(self, other: "IdList") -> tuple[IndexArray, IndexArray]:
        """Return the places here and there of the ids that are in both."""
        there = other.places(self[:])
        here = np.flatnonzero(there >= 0)
        return here, there[here]


def _hashes(names: Sequence[str] | NameArray) -> npt.NDArray[np.uint32]:
    return (np.fromiter(map(hash, names), dtype=np.int64, count=len(names)) & _HASH_BITS).astype(np.uint32)
