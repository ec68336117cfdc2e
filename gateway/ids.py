"""The only source of fresh ids and random draws."""

import random
import uuid


class RandomIds:
    """Ids from the machine's randomness, draws from its entropy."""

    def __init__(self) -> None:
        """Take entropy from the machine."""
        self._random = random.SystemRandom()

    def new(self, prefix: str) -> str:
        """Return a fresh id such as `bid-7f3a...`."""
        return f"{prefix}-{uuid.uuid4().hex}"

    def uniform(self, low: float, high: float) -> float:
        """Return a uniform draw in `[low, high)`."""
        return self._random.uniform(low, high)


class SeededIds:
    """The same ids and draws for the same seed and salt; for the demo and for replays.

    The salt must differ between runs that share a store (the time of the start does), or ids would repeat.
    """

    def __init__(self, seed: int, salt: str = "") -> None:
        """Seed the generator."""
        self._random = random.Random(f"{seed}:{salt}")  # noqa: S311  # reproducible on purpose, not for secrets

    def new(self, prefix: str) -> str:
        """Return the next id such as `bid-7f3a...`."""
        return f"{prefix}-{self._random.getrandbits(96):024x}"

    def uniform(self, low: float, high: float) -> float:
        """Return the next uniform draw in `[low, high)`."""
        return self._random.uniform(low, high)
