"""Which profiles a charger must hold for a command, in the order in which they go in: the fallback before the limit.

```
carrier `transaction`                                carrier `station` (one connector)
  default.fallback   stack 0, no end                   station.fallback   stack 0, no end
  default.live       stack 1, leased (*)               station.live       stack 1, leased
  transaction.fallback  stack 0, no end   } while a car
  transaction.live      stack 1, leased   } charges
```
(*) only where the limit is below the fallback and no car charges: otherwise the fallback bounds what begins, and nothing needs
to be written into the charger for a place without a car.

A lease ends in the charger: by the end of the schedule and of the profile's validity, or, where it takes no second layer, by a
second period that is the fallback. Times are written by the charger's clock; schedules begin in the past, so that one that has
fallen behind a little since has no instant without a limit. Where it is not sure what its clock shows, a limit above the fallback
ends as early and one below it as late as may be: neither then ever allows more than it should. When a lease has ended and no newer
command came, the live profile becomes the fallback for good.
"""

import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.domain.charging_profiles import BACKDATED, Period, RateUnit, Supply, compress_periods
from gateway.ocpp.charger_clock import Behind
from gateway.ocpp.words import WHOLE_STATION, Abilities, Profile, Purpose

FALLBACK_STACK = 0
LIVE_STACK = 1
SPARE_STACK = 2
_LAYERS_NEED = 3
"""Profiles that a transaction needs: the default fallback, its own fallback and the limit."""
_ID_STEP = 10
_LEAD_S = int(BACKDATED.total_seconds())


class Slot(StrEnum):
    """A place for one profile in a charger."""

    STATION_FALLBACK = "station.fallback"
    STATION_LIVE = "station.live"
    DEFAULT_FALLBACK = "default.fallback"
    DEFAULT_LIVE = "default.live"
    TRANSACTION_FALLBACK = "transaction.fallback"
    TRANSACTION_LIVE = "transaction.live"

    @property
    def purpose(self) -> Purpose:
        """What a profile in it bounds."""
        return Purpose(self.value.partition(".")[0])

    @property
    def is_live(self) -> bool:
        """Whether it holds the leased limit."""
        return self.value.endswith(".live")

    @property
    def fallback(self) -> "Slot":
        """The slot of the fallback of its purpose."""
        return Slot(f"{self.purpose.value}.fallback")


_NUMBERS = {slot: number for number, slot in enumerate(Slot, start=1)}
_SPARE_NUMBERS = {
    slot: number for number, slot in enumerate((slot for slot in Slot if slot.is_live), start=len(_NUMBERS) + 1)
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What the gateway wants of one charger."""

    sequence: int
    limit_kw: float
    fallback_kw: float
    lease_until: datetime

    def without_lease(self, now: datetime) -> "Command":
        """Return what may stay in a charger for ever: the limit where it runs and is below the fallback, otherwise the fallback."""
        kept_kw = self.fallback_kw if self.lease_until <= now else min(self.limit_kw, self.fallback_kw)
        return replace(self, limit_kw=kept_kw, fallback_kw=kept_kw)


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """How one connector is commanded, as far as it is known now; refusals change it."""

    connector: int
    supply: Supply
    """How the car that charges is fed."""
    wired: Supply | None = None
    """How whichever car comes next may be fed; None is as `supply`."""
    abilities: Abilities
    unit: RateUnit
    carrier: str = "transaction"
    """`transaction` or `station`."""
    expiry: str = "duration"
    """`duration` or `period`."""
    refused: frozenset["Slot"] = frozenset()
    """Fallbacks that the charger refused: the limit then carries its fallback as a second period."""
    phases: int | None = None
    """Phases that may be used; None leaves it to the charger."""
    behind: Behind = field(default_factory=Behind)
    """How far its clock is behind ours."""

    @property
    def has_layers(self) -> bool:
        """Whether two profiles of one purpose can lie on each other."""
        return self.abilities.max_stack is None or self.abilities.max_stack >= LIVE_STACK

    @property
    def has_spare(self) -> bool:
        """Whether a live profile can be replaced by one on another level."""
        return self.abilities.max_stack is not None and self.abilities.max_stack >= SPARE_STACK

    @property
    def wants_transaction_fallback(self) -> bool:
        """Whether a transaction gets a fallback of its own."""
        most = self.abilities.max_profiles
        is_refused = Slot.TRANSACTION_FALLBACK in self.refused
        return not is_refused and self.has_layers and (most is None or most >= _LAYERS_NEED)

    def is_lone(self, slot: Slot) -> bool:
        """Tell whether a live slot has no fallback of its purpose under it."""
        if slot is Slot.TRANSACTION_LIVE:
            return not self.wants_transaction_fallback
        return not self.has_layers or slot.fallback in self.refused

    def ends_by_period(self, slot: Slot) -> bool:
        """Tell whether a lease in this slot ends by a second period."""
        return self.expiry == "period" or self.is_lone(slot)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One slot as it shall be; without a profile it shall be empty."""

    slot: Slot
    profile: Profile | None
    behind: timedelta = timedelta(0)
    """By how much the charger's clock is taken to be behind ours where the profile ends."""


def plan(means: Means, command: Command, transaction: str | None, now: datetime) -> tuple[Wanted, ...]:
    """Return the slots of a connector in the order in which they are filled.

    Args:
        means: How it is commanded.
        command: What is wanted; once its lease is over, its fallback is.
        transaction: Running transaction; None when no car charges.
        now: Aware UTC.
    """
    if means.carrier == "station":
        slots = [Slot.STATION_FALLBACK, Slot.STATION_LIVE]
    elif transaction is None:
        slots = [Slot.DEFAULT_FALLBACK, Slot.DEFAULT_LIVE]
    elif means.wants_transaction_fallback:
        slots = [Slot.DEFAULT_FALLBACK, Slot.TRANSACTION_FALLBACK, Slot.TRANSACTION_LIVE]
    else:
        slots = [Slot.DEFAULT_FALLBACK, Slot.TRANSACTION_LIVE]
    if means.is_lone(slots[1]) and slots[0].purpose is slots[1].purpose:
        slots = slots[1:]  # one level only: the live profile carries its fallback itself
    slots = [slot for slot in slots if slot not in means.refused]
    draft = _Draft(means, command, transaction, now)
    behind = draft.behind_at_end
    return tuple(Wanted(slot=slot, profile=draft.profile(slot), behind=behind) for slot in slots)


def profile_id(connector: int, slot: Slot, *, is_spare: bool = False) -> int:
    """Return the id of the profile in a slot; the same for ever, so that a new one replaces the old in one step."""
    return connector * _ID_STEP + (_SPARE_NUMBERS if is_spare else _NUMBERS)[slot]


@dataclass(frozen=True, slots=True)
class _Draft:
    means: Means
    command: Command
    transaction: str | None
    now: datetime

    @property
    def behind_at_end(self) -> timedelta:
        """By how much the clock is taken to be behind where a lease ends: never in favour of what allows more."""
        behind = self.means.behind
        return behind.most if self.command.limit_kw > self.command.fallback_kw else behind.least

    def profile(self, slot: Slot) -> Profile | None:
        # A fallback without a transaction outlives the car: a single-phase one's current would be three times too much after it.
        supply = self.means.supply if slot.purpose is Purpose.TRANSACTION else self.means.wired or self.means.supply
        limit = self.means.supply.limit(self.command.limit_kw, self.means.unit)
        fallback = supply.limit(self.command.fallback_kw, self.means.unit)
        left_s = math.floor((self.command.lease_until - self.now).total_seconds())
        is_needless = slot is Slot.DEFAULT_LIVE and not self.means.is_lone(slot) and limit >= fallback
        if is_needless:
            return None
        if not slot.is_live or left_s <= 0 or limit == fallback:
            return self._of(slot, (Period(start_s=0, limit=fallback),), None)
        if self.means.ends_by_period(slot):
            end_s = self._lead_s + left_s
            periods = (Period(start_s=0, limit=limit), Period(start_s=end_s, limit=fallback))
            return self._of(slot, compress_periods(periods, end_s + left_s, self.means.abilities.max_periods), None)
        return self._of(slot, (Period(start_s=0, limit=limit),), left_s)

    @property
    def _lead_s(self) -> int:
        """Seconds from the start of a schedule to now, by the clock by which it ends."""
        return _LEAD_S + int((self.means.behind.worst - self.behind_at_end).total_seconds())

    def _of(self, slot: Slot, periods: tuple[Period, ...], left_s: int | None) -> Profile:
        means = self.means
        is_leased = left_s is not None
        is_bound_to_car = slot.purpose is Purpose.TRANSACTION
        # Alone it takes the place of the fallback, which it then replaces in one step.
        place = slot.fallback if slot.is_live and means.is_lone(slot) else slot
        return Profile(
            id=profile_id(means.connector, place),
            purpose=slot.purpose,
            stack=LIVE_STACK if place.is_live else FALLBACK_STACK,
            connector=WHOLE_STATION if slot.purpose is Purpose.STATION else means.connector,
            transaction=self.transaction if slot.purpose is Purpose.TRANSACTION else None,
            unit=means.unit,
            periods=periods,
            phases=means.phases if means.wired is None or slot.is_live or is_bound_to_car else None,
            start=self.now.replace(microsecond=0) - BACKDATED - means.behind.worst,
            duration_s=None if left_s is None else self._lead_s + left_s,
            valid_to=None if left_s is None else self.now + timedelta(seconds=left_s) - self.behind_at_end,
            max_offline_s=left_s if is_leased and means.abilities.has_max_offline else None,
        )
