"""Brings a charger's profiles to where they shall be, with as few writes as possible, and finds the way that it accepts.

A refusal is not the end: another level, another unit, other purposes are tried in an order that never leaves the charger without
a bound (case o33). What it accepted is read back from its composite schedule while a car charges: "accepted" is not "applied".
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.charging_profiles import RateUnit
from gateway.ocpp.layers import LIVE_STACK, SPARE_STACK, Command, Means, Slot, Wanted, plan, profile_id
from gateway.ocpp.surroundings import Clock
from gateway.ocpp.words import Answer, Dialect, Profile, Purpose, Verdict

_LOG = logging.getLogger(__name__)
_MOST_WAYS = 6
"""So many refusals are followed by another way before it is given up."""
_READ_BACK_SECONDS = 60
_ROUNDING = timedelta(seconds=2)
"""Schedules are in whole seconds: ends that are so close are the same."""
_SAME_UNIT_SLACK = 0.11
_OTHER_UNIT_SHARE = 1.03
_ACCEPTED = Answer(verdict=Verdict.ACCEPTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """A profile that the charger accepted."""

    profile: Profile
    behind: timedelta
    """By how much the charger's clock is taken to be behind ours where it ends."""

    @property
    def until(self) -> datetime | None:
        """When its lease ends, by our clock; None never."""
        end = _lease_end(self.profile)
        return None if end is None else end + self.behind


@dataclass(frozen=True, kw_only=True, slots=True)
class _Refusal:
    slot: Slot
    answer: Answer


class Installer:
    """The profiles of one connector over one connection; what it held before is not trusted and written anew (case o44)."""

    def __init__(
        self, dialect: Dialect, clock: Clock, means: Means, renew_share: float, *, may_change_unit: bool
    ) -> None:
        """Begin with nothing known to be installed.

        Args:
            dialect: To the charger.
            clock: Time.
            means: How it is commanded at first.
            renew_share: A lease is written again once less than this share of it is left.
            may_change_unit: Whether the other unit may be tried after a refusal.
        """
        self.means = means
        self.writes = 0
        self._dialect = dialect
        self._clock = clock
        self._renew_share = renew_share
        self._may_change_unit = may_change_unit
        self._first_unit = means.unit
        self._way = 0
        self._transaction: str | None = None
        self._young: str | None = None
        self._held: dict[Slot, _Held] = {}
        self._planned: frozenset[Slot] = frozenset()
        """Slots that the newest command needs: what lies in others runs out and is not written again."""

    def renewal_at(self, lease_until: datetime) -> datetime | None:
        """Return when a lease in the charger that ends before the command's must be written again; None when none must."""
        needed = [held.until for slot, held in self._held.items() if slot in self._planned]
        ends = [until for until in needed if until is not None and until < lease_until]
        if not ends:
            return None
        # Less than the share of the lease is left from the instant t where end - t = share * (lease_until - t).
        late = (lease_until - min(ends)) * (self._renew_share / (1.0 - self._renew_share))
        return min(ends) - late

    async def settle(self, command: Command, transaction: str | None) -> Answer:
        """Install what a command needs and return whether the charger has it.

        Args:
            command: What is wanted.
            transaction: Running transaction; None when no car charges.
        """
        answer, self._transaction = _ACCEPTED, transaction
        for _ in range(_MOST_WAYS):
            refusal = await self._go(command, transaction)
            if refusal is None:
                if self.means.carrier == "transaction":
                    # Only now: until the new profiles are in, the old ones bound the charger. Left there they would go on to.
                    await self._clear((Slot.STATION_LIVE, Slot.STATION_FALLBACK))
                return _ACCEPTED
            answer = refusal.answer
            if answer.verdict in {Verdict.NO_ANSWER, Verdict.TOO_OFTEN} or not await self._find_way(refusal):
                break
            _LOG.info("%s; another way is tried", answer.reason)
        return answer

    async def _go(self, command: Command, transaction: str | None) -> _Refusal | None:
        self._forget_other_transactions(transaction)
        changed = False
        slots = plan(self.means, command, transaction, self._clock.now())
        self._planned = frozenset(wanted.slot for wanted in slots)
        for wanted in slots:
            self._follow_clock(wanted)
            if self._is_there(wanted):
                continue
            is_new_value = wanted.slot.is_live and not self._is_renewal(wanted)
            answer = await self._bring(wanted)
            if not answer.is_accepted:
                return _Refusal(slot=wanted.slot, answer=answer)
            changed = changed or is_new_value
        return await self._read_back(transaction) if changed and transaction is not None else None

    def _forget_other_transactions(self, transaction: str | None) -> None:
        """Profiles of a transaction end with it (OCPP 1.6 3.13.1, 2.0.1 K01.FR.40)."""
        for slot, held in list(self._held.items()):
            if held.profile.purpose is Purpose.TRANSACTION and held.profile.transaction != transaction:
                del self._held[slot]

    def _follow_clock(self, wanted: Wanted) -> None:
        """What was written ends otherwise than it was meant to when the charger's clock is not where it was taken to be."""
        held = self._held.get(wanted.slot)
        if held is not None:
            self._held[wanted.slot] = replace(held, behind=wanted.behind)

    def _is_there(self, wanted: Wanted) -> bool:
        """Tell whether nothing need be written for a slot: the same value, begun by its clock, with enough of its lease left."""
        held, profile = self._held.get(wanted.slot), wanted.profile
        if held is None or profile is None:
            return held is None and profile is None
        now = self._clock.now()
        if not self._is_renewal(wanted) or held.profile.start > now - self.means.behind.worst:
            return False
        end = _lease_end(profile)
        if held.until is None or end is None:
            return held.until is end
        until = end + wanted.behind
        return held.until <= until + _ROUNDING and held.until - now > self._renew_share * (until - now)

    def _is_renewal(self, wanted: Wanted) -> bool:
        held, profile = self._held.get(wanted.slot), wanted.profile
        return held is not None and profile is not None and _essence(held.profile) == _essence(profile)

    async def _bring(self, wanted: Wanted) -> Answer:
        held, profile = self._held.get(wanted.slot), wanted.profile
        if profile is None:
            answer = await self._dialect.clear_profile(held.profile.id) if held is not None else _ACCEPTED
            self._held.pop(wanted.slot, None)
            return answer if answer.verdict is Verdict.NO_ANSWER else _ACCEPTED  # unknown there is as good as cleared
        if held is not None and not self.means.is_lone(wanted.slot):
            profile = replace(profile, id=held.profile.id, stack=held.profile.stack)  # it may lie on the spare level
        answer = await self._write(wanted, profile)
        if answer.verdict is not Verdict.REJECTED:
            return answer
        if wanted.slot.is_live and self.means.has_spare:
            # It may hold one that it does not let us overwrite, from now or from an earlier connection.
            return await self._write_beside(wanted, profile)
        if held is None and (await self._dialect.clear_profile(profile.id)).is_accepted:
            return await self._write(wanted, profile)
        return answer

    async def _write(self, wanted: Wanted, profile: Profile) -> Answer:
        self.writes += 1
        answer = await self._dialect.set_profile(profile)
        if answer.is_accepted:
            replaced = [s for s, held in self._held.items() if held.profile.id == profile.id]
            for other in replaced:
                del self._held[other]
            self._held[wanted.slot] = _Held(profile=profile, behind=wanted.behind)
        return answer

    async def _write_beside(self, wanted: Wanted, profile: Profile) -> Answer:
        """Replace a profile that may not be overwritten: the new one on the other level first, then the old one goes (o36)."""
        is_spare = profile.stack != SPARE_STACK
        beside = replace(
            profile,
            id=profile_id(self.means.connector, wanted.slot, is_spare=is_spare),
            stack=SPARE_STACK if is_spare else LIVE_STACK,
        )
        answer = await self._write(wanted, beside)
        if answer.is_accepted:
            cleared = await self._dialect.clear_profile(profile.id)
            if cleared.verdict is Verdict.NO_ANSWER:
                return cleared
        return answer

    async def _find_way(self, refusal: _Refusal) -> bool:
        """Change the means after a refusal; False when there is no other way, then the first is taken up again."""
        slot = refusal.slot
        if slot.purpose is Purpose.STATION:
            self.means = replace(self.means, carrier="transaction")
            return True
        if slot.purpose is Purpose.TRANSACTION and self._young != self._transaction:
            self._young = self._transaction  # it may not have taken note yet of the number that it was just given
            return True
        # With its fallback below it in either unit, then alone with the fallback as its second period.
        ways = [(unit, is_lone) for is_lone in (False, True) for unit in self._units()]
        self._way = (self._way + 1) % len(ways)
        unit, is_lone = ways[self._way]
        refused = self.means.refused | {slot.fallback} if is_lone else self.means.refused - {slot.fallback}
        self.means = replace(self.means, unit=unit, refused=refused)
        return self._way > 0

    def _units(self) -> tuple[RateUnit, ...]:
        first = self._first_unit
        other = RateUnit.WATT if first is RateUnit.AMPERE else RateUnit.AMPERE
        return (first, other) if self._may_change_unit and other in self.means.abilities.units else (first,)

    async def _clear(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            held = self._held.pop(slot, None)
            if held is not None:
                await self._dialect.clear_profile(held.profile.id)

    async def _read_back(self, transaction: str | None) -> _Refusal | None:
        """Compare what the charger says binds now with what it was given; None when it agrees or does not say."""
        slot = Slot.STATION_LIVE if self.means.carrier == "station" else Slot.TRANSACTION_LIVE
        held = self._held.get(slot)
        if held is None:
            return None
        means, given = self.means, held.profile.periods[0].limit
        composite = await self._dialect.composite(means.connector, _READ_BACK_SECONDS, means.unit)
        binding = None if composite is None else composite.limit_at(0)
        if composite is None or binding is None:
            return None
        if composite.unit is means.unit:
            is_kept = binding <= given + _SAME_UNIT_SLACK
        else:
            allowed_kw = means.supply.power_kw(given, means.unit) * _OTHER_UNIT_SHARE
            is_kept = means.supply.power_kw(binding, composite.unit) <= allowed_kw
        if is_kept:
            return None
        del self._held[slot]
        reason = f"accepted, but its composite schedule allows {binding:g} {composite.unit.value}"
        shown_kw = means.supply.power_kw(binding, composite.unit)
        return _Refusal(slot=slot, answer=Answer(verdict=Verdict.REJECTED, reason=reason, shown_kw=shown_kw))


def _essence(profile: Profile) -> tuple[object, ...]:
    """Return what makes two profiles mean the same, beside when they end; the level may be the spare one."""
    limits = tuple(period.limit for period in profile.periods)
    return (profile.purpose, profile.connector, profile.transaction, profile.unit, limits, profile.phases)


def _lease_end(profile: Profile) -> datetime | None:
    """Return when a lease ends by the charger's clock; None never."""
    if profile.duration_s is not None:
        return profile.start + timedelta(seconds=profile.duration_s)
    if len(profile.periods) > 1:
        return profile.start + timedelta(seconds=profile.periods[1].start_s)
    return None
