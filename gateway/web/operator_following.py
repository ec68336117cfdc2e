"""The first lines of the operator's page: per portfolio what binds, what is drawn, and how many chargers are known to follow."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.domain.limits import Resolution
from gateway.domain.topology import Node

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Following:
    """How many chargers are known to keep what they were told; every charger is counted once."""

    following: int
    """Measured to keep it."""
    troubled: int
    """They refused, did not answer, draw too much or are silent."""
    uncommandable: int
    """Not known to be in trouble, and nobody can command them now."""
    unknown: int
    """The others: nothing was commanded yet, or nothing was measured since."""

    @property
    def count(self) -> int:
        """All chargers."""
        return self.following + self.troubled + self.uncommandable + self.unknown

    def text(self) -> str:
        """Return the clause for people; all follow only when every one of them was measured to."""
        if self.count == 0:
            return "no chargers"
        if self.following == self.count:
            return "its charger follows" if self.count == 1 else f"all {self.count} chargers follow"
        parts = [f"{self.following} of {_chargers(self.count)} {_verb(self.following, 'follows', 'follow')}"]
        if self.troubled > 0:
            parts.append(f"{self.troubled} {_verb(self.troubled, 'does', 'do')} not follow")
        if self.uncommandable > 0:
            parts.append(f"{self.uncommandable} cannot be commanded")
        if self.unknown > 0:
            parts.append(f"{self.unknown} {_verb(self.unknown, 'is', 'are')} not known")
        return ", ".join(parts)


def following_of(
    below: BoolArray, *, is_following: BoolArray, is_troubled: BoolArray, is_commandable: BoolArray
) -> Following:
    """Count the chargers below a node.

    Args:
        below: Which chargers hang below it, shape (C,), as the others.
        is_following: Which were measured to keep what they were told.
        is_troubled: Which are in trouble.
        is_commandable: Which can be commanded now.
    """
    troubled = below & is_troubled
    uncommandable = below & ~is_troubled & ~is_commandable
    following = below & ~troubled & ~uncommandable & is_following
    return Following(
        following=int(following.sum()),
        troubled=int(troubled.sum()),
        uncommandable=int(uncommandable.sum()),
        unknown=int((below & ~troubled & ~uncommandable & ~following).sum()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PortfolioLine:
    """One portfolio in one honest line."""

    node: Node
    resolution: Resolution
    power_kw: float | None
    """None unknown."""
    following: Following

    def text(self) -> str:
        """Return what binds, by whose order, until when, what is drawn and who does not follow."""
        power = "power unknown" if self.power_kw is None else f"now {self.power_kw:.1f} kW"
        return f"{self.resolution.why()}; {power}; {self.following.text()}"

    @property
    def badness(self) -> tuple[bool, int, int, int, float]:
        """Order of attention: over its limit or unknown first, then by the chargers in trouble, out of reach and unknown, then by what is left."""
        left = float("-inf") if self.power_kw is None else self.resolution.kw - self.power_kw
        one = self.following
        return left >= 0.0, -one.troubled, -one.uncommandable, -one.unknown, left


def worst_first(lines: Iterable[PortfolioLine]) -> list[PortfolioLine]:
    """Return portfolios in the order in which somebody should look at them."""
    return sorted(lines, key=lambda line: (line.badness, line.node.id))


def _chargers(count: int) -> str:
    return "1 charger" if count == 1 else f"{count} chargers"


def _verb(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
