"""A bounded past of what each node drew, for reports to grid partners and the operator's chart."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

_LONGEST = 4096
_MOST_BYTES = 64_000_000
_FIRST = 16
"""Samples for which there is room at first."""


class PowerRing:
    """The last samples of every node's power; memory is bounded whatever the number of nodes."""

    def __init__(self, node_count: int, sample_every_s: float) -> None:
        """Begin empty.

        Args:
            node_count: Number of nodes.
            sample_every_s: Samples closer together than this are left out.
        """
        self._longest = max(2, min(_LONGEST, _MOST_BYTES // (4 * max(1, node_count))))
        self._times = np.zeros(0)
        self._power = np.zeros((0, node_count), dtype=np.float32)
        self._sample_every_s = sample_every_s
        self._next = 0
        self._newest = -np.inf

    def is_due(self, at: float) -> bool:
        """Tell whether a sample of this instant would be kept."""
        return at >= self._newest + self._sample_every_s

    def add(self, at: float, power_kw: FloatArray) -> None:
        """Keep a sample; when there are as many as may be, the oldest makes room."""
        if self._next == len(self._times):
            self._grow()
        self._times[self._next] = at
        self._power[self._next] = power_kw
        self._next = (self._next + 1) % self._longest
        self._newest = at

    def carry_over(self, older: "PowerRing", new: IndexArray, old: IndexArray) -> None:
        """Go on from the samples of another ring, where nodes are in both.

        Args:
            older: As it was.
            new: Nodes here.
            old: The same nodes there.
        """
        order = older._oldest_first(-np.inf)[-self._longest :]
        self._times = older._times[order]
        self._power = np.full((len(order), self._power.shape[1]), np.nan, dtype=np.float32)
        self._power[:, new] = older._power[np.ix_(order, old)]
        self._next = len(order) % self._longest
        self._newest = older._newest

    def shift(self, seconds: float) -> None:
        """Take the next sample as if the newest one had been taken by the new clock; what is kept keeps its instant."""
        self._newest += seconds

    def _grow(self) -> None:
        """Make room for twice as many samples: what nobody has measured yet takes no memory."""
        more = min(max(_FIRST, 2 * len(self._times)), self._longest) - len(self._times)
        self._times = np.concatenate((self._times, np.full(more, np.nan)))
        nobody_knows = np.full((more, self._power.shape[1]), np.nan, dtype=np.float32)
        self._power = np.concatenate((self._power, nobody_knows))

    def since(self, node_index: int, since: float) -> tuple[FloatArray, FloatArray]:
        """Return instants and power in kW of the samples from an instant on, oldest first; NaN power is unknown."""
        order = self._oldest_first(since)
        return self._times[order], self._power[order, node_index].astype(np.float64)

    def _oldest_first(self, since: float) -> IndexArray:
        order = np.roll(np.arange(len(self._times)), -self._next)
        return order[self._times[order] >= since]
