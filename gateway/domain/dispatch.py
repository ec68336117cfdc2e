"""Dispatches: commands to charging platforms, columnar, each with an id, a sequence, a lease and a fallback.

```
SENT --> ACCEPTED --> APPLIED --> FOLLOWED
 +-> REJECTED             +-> NOT_FOLLOWING   draws more than its limit (drawing less is the car's right)
 +-> TIMED_OUT
```

One `DispatchBatch` is one message to one CSMS for many chargers; the command for one charger is `{batch}/{charger}`. Limits are
absolute and versioned by `sequence`, never deltas: the latest wins and redelivery is harmless.

Rows for thousands of chargers are packed: a `CommandRoster` names the chargers of a CSMS once, and columns are bytes of positions in
it (unsigned 32-bit) and of values (64-bit floats, 8-bit states), little-endian. A row about everybody of its roster has values only,
in the order of the roster. Rows that name their chargers are read as well.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import InvalidInput

FloatArray = npt.NDArray[np.float64]
StateArray = npt.NDArray[np.int8]
IndexArray = npt.NDArray[np.int64]

_PLACE, _POWER, _STATE = np.dtype("<u4"), np.dtype("<f8"), np.dtype("<i1")
_ID_DIGITS = 20


class DispatchState(IntEnum):
    """Where a command to one charger is; integers because they live in arrays."""

    NONE = 0
    SENT = 1
    ACCEPTED = 2
    APPLIED = 3
    FOLLOWED = 4
    REJECTED = 5
    TIMED_OUT = 6
    NOT_FOLLOWING = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandRoster:
    """The chargers of one CSMS in the order to which packed commands refer; written once, its id is its content."""

    id: str
    tenant: str
    csms: str
    charger_ids: tuple[str, ...]
    fallback_kw: tuple[float, ...]
    """What applies per charger when a lease runs out."""

    def __post_init__(self) -> None:
        """Reject columns of different lengths and powers that are negative or not finite."""
        if len(self.charger_ids) != len(self.fallback_kw):
            raise InvalidInput("roster.fallback_kw", "needs one value per charger")
        _check_powers("roster.fallback_kw", np.asarray(self.fallback_kw, dtype=np.float64))

    @classmethod
    def of(
        cls, tenant: str, csms: str, charger_ids: tuple[str, ...], fallback_kw: tuple[float, ...]
    ) -> "CommandRoster":
        """Return the roster of these chargers, with the id that belongs to them."""
        content = "\n".join((csms, *charger_ids)).encode() + np.array(fallback_kw, dtype=_POWER).tobytes()
        digest = hashlib.sha256(content).hexdigest()[:_ID_DIGITS]
        return cls(
            id=f"roster-{digest}", tenant=tenant, csms=csms, charger_ids=charger_ids, fallback_kw=tuple(fallback_kw)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DispatchBatch:
    """One command to one CSMS, for one or many of its chargers, as stored before it is sent.

    Either `roster` says whose chargers the packed columns are about, or the chargers are named in `charger_ids`.
    """

    id: str
    tenant: str
    csms: str
    sequence: int
    """Grows by one per CSMS for ever; a CSMS ignores what is not newer than what it has."""
    issued_at: datetime
    lease_until: datetime
    """After it the fallback applies without us."""
    charger_ids: tuple[str, ...] = ()
    limit_kw: tuple[float, ...] = ()
    """Upper bound per charger; zero pauses."""
    fallback_kw: tuple[float, ...] = ()
    """What applies per charger when the lease runs out."""
    cause: str
    """`kind:id` of the limit, schedule or renewal behind it."""
    roster: str = ""
    """Id of the roster of a packed row; empty otherwise."""
    packed_places: bytes = b""
    """Positions in the roster; empty when the row is about all of them."""
    packed_limit_kw: bytes = b""
    """Upper bound per position."""

    def __post_init__(self) -> None:
        """Reject columns of different lengths, negative or non-finite powers and a lease that is over at once."""
        if not len(self.charger_ids) == len(self.limit_kw) == len(self.fallback_kw):
            raise InvalidInput("dispatch.limit_kw", "needs one value per charger")
        is_of_all = bool(self.roster) and not self.packed_places
        if not is_of_all and len(self.packed_places) // _PLACE.itemsize * _POWER.itemsize != len(self.packed_limit_kw):
            raise InvalidInput("dispatch.packed_limit_kw", "needs one value per position")
        for field in ("limit_kw", "fallback_kw"):
            _check_powers(f"dispatch.{field}", np.asarray(getattr(self, field), dtype=np.float64))
        _check_powers("dispatch.packed_limit_kw", np.frombuffer(self.packed_limit_kw, dtype=_POWER))
        if self.lease_until <= self.issued_at:
            raise InvalidInput("dispatch.lease_until", "must be after dispatch.issued_at")

    @property
    def limits_kw(self) -> FloatArray:
        """Upper bound per charger in kW, whichever form the row has."""
        packed = np.frombuffer(self.packed_limit_kw, dtype=_POWER)
        return np.concatenate([np.asarray(self.limit_kw, dtype=np.float64), packed])

    @property
    def places(self) -> IndexArray:
        """Position in the roster of each packed value."""
        return _unpacked_places(self.packed_places, len(self.packed_limit_kw) // _POWER.itemsize)

    def chargers(self, rosters: Mapping[str, CommandRoster]) -> tuple[str, ...]:
        """Return the chargers in the order of `limits_kw`; an unknown roster has none.

        Args:
            rosters: Rosters by id.
        """
        return (*self.charger_ids, *_named(rosters, self.roster, self.places))

    def fallbacks_kw(self, rosters: Mapping[str, CommandRoster]) -> FloatArray:
        """Return what applies per charger when the lease runs out, in the order of `chargers`."""
        known = rosters.get(self.roster)
        named = np.asarray(self.fallback_kw, dtype=np.float64)
        if known is None:
            return named
        return np.concatenate([named, np.asarray(known.fallback_kw)[self.places]])


@dataclass(frozen=True, kw_only=True, slots=True)
class DispatchOutcome:
    """What a CSMS or the meter said about a batch: the chargers that changed state and the state they have now.

    Chargers where all is well are packed; those in trouble are named, with a reason.
    """

    id: str
    tenant: str
    batch: str
    csms: str
    sequence: int
    at: datetime
    charger_ids: tuple[str, ...] = ()
    states: tuple[int, ...] = ()
    """`DispatchState` values, one per charger."""
    detail: tuple[str, ...] = ()
    """Reason per charger where the CSMS gave one, else empty."""
    roster: str = ""
    """Id of the roster of the packed columns; empty without any."""
    packed_places: bytes = b""
    """Positions in the roster; empty when the row is about all of them."""
    packed_states: bytes = b""
    """`DispatchState` value per position."""
    shown_kw: tuple[float | None, ...] = ()
    """What each of `charger_ids` itself said that it allows although it was sent less, in kW; None where it said nothing."""

    @property
    def places(self) -> IndexArray:
        """Position in the roster of each packed value."""
        return _unpacked_places(self.packed_places, len(self.packed_states) // _STATE.itemsize)

    def chargers(self, rosters: Mapping[str, CommandRoster]) -> tuple[str, ...]:
        """Return the chargers in the order of `all_states`; of an unknown roster none are known.

        Args:
            rosters: Rosters by id.
        """
        return (*self.charger_ids, *_named(rosters, self.roster, self.places))

    @property
    def all_states(self) -> StateArray:
        """`DispatchState` value per charger, whichever form the row has."""
        packed = np.frombuffer(self.packed_states, dtype=_STATE)
        return np.concatenate([np.asarray(self.states, dtype=np.int8), packed])

    @property
    def all_shown_kw(self) -> FloatArray:
        """What each charger of `all_states` showed, in kW; NaN where it showed nothing."""
        count = len(self.all_states)
        shown = np.full(count, np.nan)
        shown[: len(self.shown_kw)] = [np.nan if kw is None else kw for kw in self.shown_kw]
        return shown


def pack_places(places: IndexArray) -> bytes:
    """Return positions in a roster as stored."""
    return places.astype(_PLACE).tobytes()


def unpack_places(packed: bytes) -> IndexArray:
    """Return the positions of `pack_places`."""
    return np.frombuffer(packed, dtype=_PLACE).astype(np.int64)


def pack_powers(power_kw: FloatArray) -> bytes:
    """Return powers in kW as stored."""
    return power_kw.astype(_POWER).tobytes()


def pack_states(states: StateArray) -> bytes:
    """Return states as stored."""
    return states.astype(_STATE).tobytes()


def _unpacked_places(packed: bytes, count: int) -> IndexArray:
    """Return the positions of so many values, which are those of the whole roster where none are written."""
    return unpack_places(packed) if packed else np.arange(count)


def _named(rosters: Mapping[str, CommandRoster], roster: str, places: IndexArray) -> tuple[str, ...]:
    known = rosters.get(roster)
    return () if known is None else tuple(known.charger_ids[place] for place in places.tolist())


def _check_powers(field: str, power_kw: FloatArray) -> None:
    if power_kw.size and (not np.isfinite(power_kw).all() or power_kw.min() < 0.0):
        raise InvalidInput(field, "must be finite numbers of at least 0")
