"""Ids for tests: short, readable, in order; draws from a seeded generator."""

from collections import Counter

import numpy as np


class CountingIds:
    """`new("bid")` gives `bid-1`, `bid-2` and so on; `uniform` is seeded."""

    def __init__(self, seed: int = 0) -> None:
        self._counts: Counter[str] = Counter()
        self._generator = np.random.default_rng(seed)

    def new(self, prefix: str) -> str:
        self._counts[prefix] += 1
        return f"{prefix}-{self._counts[prefix]}"

    def uniform(self, low: float, high: float) -> float:
        return float(self._generator.uniform(low, high))
