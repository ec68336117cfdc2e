"""Which platform commands which charger."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.domain.id_list import IdList

BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Platforms:
    """The platform of every charger of a tree."""

    charger_ids: IdList
    csms_ids: tuple[str, ...]
    csms_index: npt.NDArray[np.int32]
    """Position in `csms_ids` of the platform of each charger, shape (C,)."""

    def own_places(self, csms: str | None, names: Sequence[str]) -> IndexArray:
        """Return where chargers are in the tree, -1 for those that are not there or belong to another platform.

        Args:
            csms: The platform; None for any.
            names: The chargers.
        """
        places = self.charger_ids.places(names)
        if csms is None:
            return places
        if csms not in self.csms_ids:
            return np.full(len(names), -1, dtype=np.int64)
        return np.where(self.csms_index[places] == self.csms_ids.index(csms), places, -1)

    def moved_since(self, older: "Platforms") -> IndexArray:
        """Return the chargers that belonged to another platform before."""
        here, there = self.charger_ids.shared_with(older.charger_ids)
        before = np.array(older.csms_ids, dtype=object)[older.csms_index[there]]
        now = np.array(self.csms_ids, dtype=object)[self.csms_index[here]]
        return np.asarray(here[before != now])
