"""What a door is asked to do at one charger, and what became of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.domain.doors import CommandOutcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """The newest limit for one charger."""

    position: int
    """Charger index of the link."""
    charger: str
    sequence: int
    limit_kw: float
    fallback_kw: float
    lease_until: datetime
    cause: str


class Word(StrEnum):
    """What a platform said about an order."""

    ACCEPTED = "accepted"
    """The platform, and the charger as far as the platform says, holds it."""
    REJECTED = "rejected"
    """It certainly did not take effect."""
    UNKNOWN = "unknown"
    """It left and nobody said whether it took effect: the charger counts at the higher of old and new."""
    LATER = "later"
    """The platform asks to wait; it did not take effect."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What became of an order."""

    word: Word
    reason: str = ""
    handle: str = ""
    """Kept for the next order to the charger (`CsmsCommand.handle`)."""
    is_applied: bool = False
    """Whether the charger was asked and shows the limit."""
    shown_kw: float | None = None
    """What the charger was asked and shows instead, in kW; None where it shows nothing."""

    @property
    def outcome(self) -> CommandOutcome:
        """As it is kept."""
        return CommandOutcome.REJECTED if self.word is Word.LATER else CommandOutcome(self.word.value)


def accepted(*, handle: str = "", is_applied: bool = False) -> Verdict:
    """Return the verdict that an order is held."""
    return Verdict(word=Word.ACCEPTED, handle=handle, is_applied=is_applied)


def rejected(reason: str, *, handle: str = "", shown_kw: float | None = None) -> Verdict:
    """Return the verdict that an order did not take effect, and what the charger shows instead."""
    return Verdict(word=Word.REJECTED, reason=reason, handle=handle, shown_kw=shown_kw)


def unknown(reason: str, *, handle: str = "") -> Verdict:
    """Return the verdict that nobody knows."""
    return Verdict(word=Word.UNKNOWN, reason=reason, handle=handle)
