"""The random delay of British smart charge points: changes that a schedule, a price or demand response asks for begin at random times.

Regulation 11 of the Electric Vehicles (Smart Charge Points) Regulations 2021: whatever would make many chargers change at one instant is
delayed at each of them by a time drawn anew for each change, up to 600 s unless otherwise set, and a charge point can do up to 1,800 s.
It is for increases and decreases alike. No delay is added

- where the owner overrides it: boost, a car that has just been plugged in, a person's limit;
- where an equivalent delay was applied already, by the charger or its platform;
- for demand response that is a response service.

What a fuse or a limit in force demands is no such change: it is kept apart from this, at once. Demand response that was opted in to is
therefore followed before it begins: each charger comes down at its own time within the longest delay before, or after it was told.

```
 the schedule changes          each charger follows it at a time of its own
        |--- offset ---|
   t                   t + offset(charger, t)           until then it stays where it is
```

An offset is a function of a seed, the charger and the instant of the change: whoever keeps the seed draws the same one again after
a restart, and a fleet of any order and size has the same offsets. All instants are seconds since 1970-01-01 UTC; arrays have shape (C,).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
CodeArray = npt.NDArray[np.uint64]

USUAL_LONGEST = timedelta(seconds=600)
"""Longest delay unless otherwise set."""
MOST_LONGEST = timedelta(seconds=1_800)
"""Longest delay that may be set."""
_CODE_BYTES = 8
_MILLIS = 1_000.0
# Constants of the finaliser of splitmix64, which spreads neighbouring inputs over all 64 bits.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_FRACTION_SHIFT = np.uint64(11)
_FRACTION = 2.0**-53


@dataclass(frozen=True, kw_only=True, slots=True)
class DelayRules:
    """Where and how long changes are delayed."""

    nodes: tuple[str, ...] = ()
    """Nodes below which changes are delayed; empty delays nothing."""
    longest: timedelta = USUAL_LONGEST
    """Longest delay."""
    applied_by: frozenset[str] = frozenset()
    """Platforms and chargers that delay by themselves, by id: for them nothing is added."""
    response_authorities: frozenset[str] = frozenset()
    """Authorities whose demand response is a response service."""

    def __post_init__(self) -> None:
        """Reject delays that are negative or longer than may be set."""
        if not timedelta(0) <= self.longest <= MOST_LONGEST:
            raise InvalidInput("random_delay.longest", f"must be 0 to {MOST_LONGEST.total_seconds():g} seconds")

    @property
    def is_on(self) -> bool:
        """Whether anything is delayed at all."""
        return bool(self.nodes) and self.longest > timedelta(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class DelaySeed:
    """What a tenant's offsets are drawn from, as kept on disk."""

    id: str
    tenant: str
    seed: int
    """0 to 2^63 - 1."""
    drawn_at: datetime

    def __post_init__(self) -> None:
        """Reject a seed that is out of range and a naive time."""
        if not 0 <= self.seed < 2**63:
            raise InvalidInput("random_delay.seed", "must be 0 to 2^63 - 1")
        require_utc("random_delay.drawn_at", self.drawn_at)


def charger_codes(charger_ids: Sequence[str]) -> CodeArray:
    """Return a number per charger that depends on its id alone, shape (C,)."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=_CODE_BYTES).digest() for name in charger_ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def offsets_s(codes: CodeArray, seed: int, at: float, longest_s: float) -> FloatArray:
    """Return how long each charger waits with a change, uniform in `[0, longest_s)`, shape (C,).

    Args:
        codes: From `charger_codes`.
        seed: Of the tenant.
        at: Instant of the change, to the millisecond.
        longest_s: Longest delay.
    """
    change = np.array([abs(round(at * _MILLIS))], dtype=np.uint64)
    mixed = _mixed(codes ^ _mixed(_mixed(change) ^ np.uint64(seed)))
    return np.asarray((mixed >> _FRACTION_SHIFT).astype(np.float64) * _FRACTION * longest_s)


class DelayBook:
    """Until when each charger stays where it is; in memory only, made again from the changes of the last `longest`."""

    def __init__(self, charger_ids: Sequence[str], seed: int, rules: DelayRules) -> None:
        """Begin with nothing that waits.

        Args:
            charger_ids: In the order of all arrays.
            seed: Of the tenant.
            rules: How long.
        """
        self._codes = charger_codes(charger_ids)
        self._seed = seed
        self._longest_s = rules.longest.total_seconds()
        self._until = np.full(len(charger_ids), -np.inf)

    def change(self, at: float, is_meant: BoolArray) -> None:
        """Take note of a change; saying it again changes nothing.

        Args:
            at: Its instant.
            is_meant: Whom it is about, without those who are exempt, shape (C,).
        """
        until = at + offsets_s(self._codes, self._seed, at, self._longest_s)
        self._until = np.where(is_meant, np.maximum(self._until, until), self._until)

    def is_held(self, now: float) -> BoolArray:
        """Return who still waits with a change and stays where it is, shape (C,)."""
        return np.asarray(now < self._until)

    def next_release(self, now: float) -> float | None:
        """Return when the next charger need not wait any more; None when nobody waits."""
        waiting = self._until[self._until > now]
        return float(waiting.min()) if waiting.size else None


def ramp_share(elapsed_s: FloatArray, longest_s: float) -> FloatArray:
    """Return which share of a large fleet follows a change so long after it: what may be promised, 0 to 1, any shape.

    Args:
        elapsed_s: Time since the change; before it nobody follows.
        longest_s: Longest delay; 0 has no ramp.
    """
    if longest_s <= 0.0:
        return (elapsed_s >= 0.0).astype(np.float64)
    return np.clip(elapsed_s / longest_s, 0.0, 1.0)


def mean_share(duration_s: float, longest_s: float) -> float:
    """Return the mean share of a fleet that follows a change over its first `duration_s` seconds, 0 to 1."""
    if longest_s <= 0.0:
        return 1.0
    if duration_s <= 0.0:
        return 0.0
    if duration_s <= longest_s:
        return duration_s / (2.0 * longest_s)
    return 1.0 - longest_s / (2.0 * duration_s)


def _mixed(values: CodeArray) -> CodeArray:
    mixed = values + _SPREAD
    mixed = (mixed ^ (mixed >> _SHIFTS[0])) * _MIX_1
    mixed = (mixed ^ (mixed >> _SHIFTS[1])) * _MIX_2
    return np.asarray(mixed ^ (mixed >> _SHIFTS[2]), dtype=np.uint64)
