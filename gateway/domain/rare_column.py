"""A column that most fleets never fill: it takes memory from the first value on."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


class RareColumn:
    """A number per charger, shape (C,); the same one everywhere until another is put."""

    def __init__(self, count: int, blank: float) -> None:
        """Begin without any value.

        Args:
            count: Chargers.
            blank: What stands for none: NaN or an infinity.
        """
        self._blank = blank
        self.values: FloatArray = np.broadcast_to(np.float64(blank), count)
        """To be read; `put` writes."""

    @property
    def is_blank(self) -> bool:
        """Whether no value was ever put."""
        return not self.values.flags.writeable

    def put(self, at: IndexArray, values: FloatArray | float) -> None:
        """Put values at some chargers."""
        if self.is_blank:
            if np.array_equal(values, np.broadcast_to(self._blank, np.shape(values)), equal_nan=True):
                return
            self.values = self.values.copy()
        self.values[at] = values

    def clear(self, at: IndexArray | slice) -> None:
        """Take the values of some chargers away."""
        if not self.is_blank:
            self.values[at] = self._blank

    def shift(self, seconds: float) -> None:
        """Move instants with a clock that was set by so many seconds."""
        if not self.is_blank:
            self.values += seconds

    def carry_over(self, older: "RareColumn", new: IndexArray, old: IndexArray) -> None:
        """Take over what an older column has of chargers that are here, too."""
        if not older.is_blank:
            self.put(new, older.values[old])
