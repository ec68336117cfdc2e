"""Two sources contradict each other about a delivery day's prices, and a person's word on exactly that contradiction.

A contradiction is known by what is contradicted: the prices in use, who says otherwise, and every period in which they differ. When
one of these changes it is another contradiction, and the word on the old one does not hold for it.
"""

from dataclasses import dataclass
from datetime import datetime

from gateway.domain.errors import InvalidInput

_DIFFERS = " differs from "
_LONGEST_REASON = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class ContradictionWord:
    """What a person said about a contradiction."""

    actor: str
    spoken_at: datetime
    believed: str
    """Name of the source that the person believes."""
    reason: str

    def __post_init__(self) -> None:
        """Reject a word without a reason, or with a very long one."""
        if not self.reason.strip():
            raise InvalidInput("reason", "is required")
        if len(self.reason) > _LONGEST_REASON:
            raise InvalidInput("reason", f"must have at most {_LONGEST_REASON} characters")


@dataclass(frozen=True, kw_only=True, slots=True)
class Contradiction:
    """Another source says other prices than the ones that are used."""

    id: str
    """Hash of the prices in use, the other source and all their differences."""
    source: str
    """Whose prices are used."""
    other: str
    """Who says otherwise."""
    told: str
    """The comparison in one sentence."""
    found_at: datetime
    word: ContradictionWord | None = None
    """None while nobody has acknowledged it."""

    @property
    def is_open(self) -> bool:
        """Whether it still waits for a person's word."""
        return self.word is None

    def word_told(self) -> str:
        """Return what became of it in one sentence part."""
        if self.word is None:
            return "nobody has acknowledged it"
        return f"acknowledged by {self.word.actor}, who believes {self.word.believed}: {self.word.reason}"


def says_otherwise(cross_check: str) -> bool:
    """Tell whether what a second source says of prices (`MarketDayStatus.cross_check`) contradicts them."""
    return _DIFFERS in cross_check


def of_sentence(key: str, cross_check: str, found_at: datetime) -> Contradiction | None:
    """Return the contradiction that a sentence tells of, for rows that keep nothing else; None when it tells of none.

    Args:
        key: Hash of the prices in use and the sentence.
        cross_check: What a second source says.
        found_at: When the row was written.
    """
    other, differs, rest = cross_check.partition(_DIFFERS)
    if not differs:
        return None
    return Contradiction(id=key, source=rest.partition(" in ")[0], other=other, told=cross_check, found_at=found_at)
