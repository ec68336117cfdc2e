"""What is tried with a charger, in order; about twenty minutes of the clock.

```
answers        which profiles, levels and units it takes, whether it says what binds          1 min
follows        10 A, then 8 A in watts: does the current come down, and how soon               3 min
lease          a limit of one minute over a fallback of 6 A: does it end there                 4 min
offline        the same without contact                                                        4 min
least current  8, 7, 6 A: the lowest at which the car still charges                            3 min
pause          0 A, then 8 A again: does the car wake                                          4 min
```
What may put a car to sleep for good comes last.
A charger that does not answer a trial is not judged by it: the finding stays empty and says why.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.charging_profiles import BACKDATED, Period, RateUnit
from gateway.ocpp.passport.findings import Findings
from gateway.ocpp.passport.subject import Subject
from gateway.ocpp.surroundings import Clock
from gateway.ocpp.words import WHOLE_STATION, Abilities, Answer, Profile, Purpose

_STATION_ID, _DEFAULT_ID, _FALLBACK_ID, _LIVE_ID = 9001, 9002, 9003, 9004
"""Ids of the test's own profiles."""
_SLACK_A = 0.5
_DRAWS_A = 1.0
_OPEN_A = 16.0
_FALLBACK_A = 6.0
_FIRST_A = 10.0
_SECOND_A = 8.0
_LADDER_A = (8.0, 7.0, 6.0)
_FOLLOW_S = 90.0
_SETTLE_S = 60.0
_PAUSE_S = 60.0
_WAKE_S = 120.0
_LEASE_S = 60
_LEASE_PATIENCE_S = 60.0
_RETURN_S = 120.0
_METER_INTERVAL_S = 5
_OFTEN_S = 15.0
_LEAD_S = int(BACKDATED.total_seconds())
_LONE_STACK, _UPPER_STACK = 0, 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What trials work with."""

    subject: Subject
    clock: Clock
    findings: Findings


async def run_trials(bench: Bench, say: Callable[[str], None]) -> None:
    """Try everything that can be tried; at the end the charger is without the test's profiles."""
    subject, findings = bench.subject, bench.findings
    abilities = await subject.speaker().abilities()
    await subject.speaker().configure(_METER_INTERVAL_S)
    _note_abilities(findings, abilities)
    trials = Trials(bench, abilities)
    if subject.running is None:
        findings.add("car", value=False, note="no transaction began: nothing that needs a car could be measured")
        return
    findings.add("car", value=True)
    steps = (
        ("answers", trials.answers),
        ("follows", trials.follows),
        ("lease", trials.lease),
        ("offline", trials.offline),
        ("least current", trials.least_current),
        ("pause", trials.pause),
    )
    for name, step in steps:
        say(name)
        await step()
    _note_clock(subject, findings)
    findings.add("voltage", subject.measured_voltage_v, "V", "line to neutral, the newest")
    await trials.tidy()


def _note_clock(subject: Subject, findings: Findings) -> None:
    behind = subject.charger_clock.behind
    how = "its clock against ours, with the way of a message"
    kept = "no lease is left to it" if behind.is_absurd else "times of profiles are absolute and written by its clock"
    findings.add("clock_behind", subject.behind.total_seconds(), "s", f"{how}; {kept}")
    findings.add("clock_usable", value=not behind.is_absurd, note=f"{behind.told()}; within a day")


def _note_abilities(findings: Findings, abilities: Abilities) -> None:
    said = "as the charger says" if abilities.max_stack is not None else "the charger does not say"
    findings.add("max_stack_level", None if abilities.max_stack is None else float(abilities.max_stack), note=said)
    findings.add("max_periods", float(abilities.max_periods), note=said)
    findings.add("says_amperes", value=RateUnit.AMPERE in abilities.units)
    findings.add("says_watts", value=RateUnit.WATT in abilities.units)


class Trials:
    """The trials with a car that charges."""

    def __init__(self, bench: Bench, abilities: Abilities) -> None:
        """Begin in amperes."""
        self._bench = bench
        self._subject = bench.subject
        self._findings = bench.findings
        self._abilities = abilities
        self._unit = RateUnit.AMPERE

    async def answers(self) -> None:
        """See which profiles it takes, and whether it says what binds."""
        for name, purpose, number in (
            ("takes_station_profile", Purpose.STATION, _STATION_ID),
            ("takes_default_profile", Purpose.DEFAULT, _DEFAULT_ID),
            ("takes_transaction_profile", Purpose.TRANSACTION, _LIVE_ID),
        ):
            answer = await self._put(_OPEN_A, purpose=purpose, number=number)
            self._findings.add(name, value=answer.is_accepted, note=answer.reason)
            await self._subject.speaker().clear_profile(number)
        first = await self._put(_OPEN_A, number=_FALLBACK_ID)
        second = await self._put(_FIRST_A, stack=_UPPER_STACK)
        again = await self._put(_OPEN_A, stack=_UPPER_STACK)
        self._findings.add("takes_two_layers", value=first.is_accepted and second.is_accepted, note=second.reason)
        self._findings.add("lets_overwrite", value=second.is_accepted and again.is_accepted, note=again.reason)
        composite = await self._subject.speaker().composite(self._subject.connector, _LEASE_S, self._unit)
        self._findings.add("says_what_binds", value=composite is not None)
        await self.tidy()

    async def follows(self) -> None:
        """Lower the limit in each unit and see the current come down."""
        is_charging = await self._subject.seen(lambda current: current > _FIRST_A + _SLACK_A, _WAKE_S)
        note = "" if is_charging is not None else "the car drew too little to see a limit"
        names = {RateUnit.AMPERE: "follows_amperes", RateUnit.WATT: "follows_watts"}
        for unit, limit_a in ((RateUnit.AMPERE, _FIRST_A), (RateUnit.WATT, _SECOND_A)):
            self._unit = unit
            answer = await self._put(limit_a)
            if not answer.is_accepted or note:
                self._findings.add(names[unit], value=False if not note else None, note=note or answer.reason)
                continue
            took_s = await self._subject.seen(
                lambda current, most=limit_a: _DRAWS_A <= current <= most + _SLACK_A,  # type: ignore[misc]
                _FOLLOW_S,
            )
            self._findings.add(names[unit], value=took_s is not None, note=f"limit {limit_a:g} A")
            if took_s is not None and self._findings.number("response") is None:
                self._findings.add("response", took_s, "s", "from the limit to the first measurement within it")
        self._unit = RateUnit.AMPERE if self._findings.is_proven("follows_amperes") else RateUnit.WATT
        self._note_spacing()

    def _note_spacing(self) -> None:
        times = sorted({reading.at for reading in self._subject.readings})
        gaps = sorted((b - a).total_seconds() for a, b in itertools.pairwise(times))
        middle = gaps[len(gaps) // 2] if gaps else None
        self._findings.add("measurement_spacing", middle, "s", f"asked for {_METER_INTERVAL_S} s")
        self._findings.add("measures_often", value=middle is not None and middle <= _OFTEN_S)

    async def least_current(self) -> None:
        """Go down step by step to the lowest current at which the car still charges."""
        if not self._can_follow("least_current", "A"):
            return
        lowest: float | None = None
        for limit_a in _LADDER_A:
            await self._put(limit_a)
            await self._rest(_SETTLE_S)
            current = self._newest_current()
            if current is None or current < _DRAWS_A:
                break
            lowest = min(limit_a, max(current, 0.0)) if current <= limit_a + _SLACK_A else lowest
        self._findings.add("least_current", lowest, "A", "the lowest of 8, 7 and 6 A at which the car still charged")

    async def pause(self) -> None:
        """Pause the car for a minute and see whether it wakes."""
        if not self._can_follow("wakes_after_pause"):
            return
        await self._put(_SECOND_A)
        await self._rest(_SETTLE_S)
        await self._put(0.0)
        paused_s = await self._subject.seen(lambda current: current < _DRAWS_A, _FOLLOW_S)
        self._findings.add("pauses", value=paused_s is not None)
        if paused_s is None:
            self._findings.add("wakes_after_pause", None, note="it did not pause")
            return
        await self._rest(_PAUSE_S)
        await self._put(_SECOND_A)
        woke_s = await self._subject.seen(lambda current: current > _DRAWS_A, _WAKE_S)
        self._findings.add("wakes_after_pause", value=woke_s is not None, note=f"watched for {_WAKE_S:.0f} s")
        self._findings.add("wake_up", woke_s, "s", "" if woke_s is not None else "it did not wake")

    async def lease(self) -> None:
        """See whether a limit of one minute ends in the fallback, by its duration or by a second period."""
        if not self._can_follow("lease_ends_by_duration") or not await self._is_awake("lease_ends_by_duration"):
            return
        fallback = await self._put(_FALLBACK_A, number=_FALLBACK_ID)
        self._findings.add("takes_fallback", value=fallback.is_accepted, note=fallback.reason)
        await self._lease_by("lease_ends_by_duration", by_period=False)
        if not self._findings.is_proven("lease_ends_by_duration"):
            await self._lease_by("lease_ends_by_period", by_period=True)

    async def _lease_by(self, name: str, *, by_period: bool) -> None:
        answer = await self._put_lease(by_period=by_period)
        if not answer.is_accepted:
            self._findings.add(name, value=False, note=answer.reason)
            return
        await self._rest(_LEASE_S)
        count = len(self._subject.readings)
        await self._rest(_LEASE_PATIENCE_S)
        current = self._newest_current() if len(self._subject.readings) > count else None
        if current is None or current < _DRAWS_A:
            why = "nothing was measured after the lease" if current is None else "the car drew nothing after the lease"
            self._findings.add(name, None, note=why)
            return
        is_kept = current <= _FALLBACK_A + _SLACK_A
        note = f"{current:.1f} A after a lease of {_LEASE_S} s at {_SECOND_A:g} A over a fallback of {_FALLBACK_A:g} A"
        self._findings.add(name, value=is_kept, note=note)
        if current > _SECOND_A + _SLACK_A:
            self._findings.add("opens_after_lease", value=True, note=note)

    async def offline(self) -> None:
        """Do the same without contact: the first thing that is measured afterwards tells."""
        by_period = self._findings.is_proven("lease_ends_by_period")
        if not by_period and not self._findings.is_proven("lease_ends_by_duration"):
            self._findings.add("lease_ends_offline", None, note="no lease ends with contact")
            return
        await self._put(_FALLBACK_A, number=_FALLBACK_ID)
        await self._put_lease(by_period=by_period)
        await self._rest(_SETTLE_S / 2)
        cut_at, count = self._bench.clock.now(), len(self._subject.readings)
        ends_at = cut_at + timedelta(seconds=_LEASE_S - _SETTLE_S / 2)
        await self._subject.cut(_LEASE_S + _LEASE_PATIENCE_S)
        if not await self._subject.until(lambda: self._subject.dialect is not None, _RETURN_S):
            self._findings.add("lease_ends_offline", None, note="it did not come back within two minutes")
            return
        settled = ends_at + timedelta(seconds=_LEASE_PATIENCE_S)
        has_later = await self._subject.until(lambda: bool(self._after(count, settled)), _SETTLE_S)
        if not has_later:
            self._findings.add("lease_ends_offline", None, note="nothing was measured after it came back")
            return
        current = max(self._after(count, settled))
        if current < _DRAWS_A:
            self._findings.add("lease_ends_offline", None, note="the car drew nothing when it came back")
            return
        note = f"{current:.1f} A when it came back, before anything was sent"
        self._findings.add("lease_ends_offline", value=current <= _FALLBACK_A + _SLACK_A, note=note)

    def _after(self, count: int, instant: datetime) -> list[float]:
        behind = self._subject.behind  # what was measured offline has the charger's own time only
        later = (r for r in self._subject.readings[count:] if r.at + behind >= instant)
        return [current for current in map(self._subject.current_a, later) if current is not None]

    async def tidy(self) -> None:
        """Take the test's own profiles away."""
        if self._subject.dialect is not None:
            for number in (_LIVE_ID, _FALLBACK_ID, _DEFAULT_ID, _STATION_ID):
                await self._subject.dialect.clear_profile(number)

    # ------------------------------------------------------------------ inside

    def _can_follow(self, name: str, unit: str = "") -> bool:
        if self._findings.is_proven("follows_amperes") or self._findings.is_proven("follows_watts"):
            return True
        self._findings.add(name, None, unit, "it was not seen to follow a limit")
        return False

    async def _is_awake(self, name: str) -> bool:
        await self._put(_SECOND_A)
        if await self._subject.seen(lambda current: current > _FALLBACK_A + _SLACK_A, _WAKE_S) is not None:
            return True
        self._findings.add(name, None, note="the car does not draw more than the fallback: plug it in again and repeat")
        return False

    async def _rest(self, seconds: float) -> None:
        await self._bench.clock.sleep(timedelta(seconds=seconds))
        await self._subject.until(lambda: True, 0.0)

    def _newest_current(self) -> float | None:
        known = [
            current for current in map(self._subject.current_a, self._subject.readings[-1:]) if current is not None
        ]
        return known[0] if known else None

    async def _put_lease(self, *, by_period: bool) -> Answer:
        profile = self._profile(_SECOND_A, Purpose.TRANSACTION, _LIVE_ID, _UPPER_STACK)
        if by_period:
            ending = Period(start_s=self._lead_s + _LEASE_S, limit=self._limit(_FALLBACK_A))
            profile = replace(profile, periods=(*profile.periods, ending))
        else:
            duration_s = self._lead_s + _LEASE_S
            valid_to = profile.start + timedelta(seconds=duration_s)
            profile = replace(profile, duration_s=duration_s, valid_to=valid_to)
        if self._abilities.has_max_offline:
            profile = replace(profile, max_offline_s=_LEASE_S)
        return await self._subject.speaker().set_profile(profile)

    async def _put(
        self,
        limit_a: float,
        *,
        purpose: Purpose = Purpose.TRANSACTION,
        number: int = _LIVE_ID,
        stack: int | None = None,
    ) -> Answer:
        level = stack if stack is not None else _LONE_STACK if number != _LIVE_ID else _UPPER_STACK
        return await self._subject.speaker().set_profile(self._profile(limit_a, purpose, number, level))

    def _profile(self, limit_a: float, purpose: Purpose, number: int, stack: int) -> Profile:
        return Profile(
            id=number,
            purpose=purpose,
            stack=stack,
            connector=WHOLE_STATION if purpose is Purpose.STATION else self._subject.connector,
            transaction=self._subject.running if purpose is Purpose.TRANSACTION else None,
            unit=self._unit,
            periods=(Period(start_s=0, limit=self._limit(limit_a)),),
            start=self._bench.clock.now().replace(microsecond=0) - BACKDATED - self._subject.charger_clock.behind.worst,
        )

    @property
    def _lead_s(self) -> int:
        """Seconds from the start of a schedule to now, by the charger's clock."""
        behind = self._subject.charger_clock.behind
        return _LEAD_S + int((behind.worst - behind.most).total_seconds())

    def _limit(self, limit_a: float) -> float:
        """Return a current in the unit under test."""
        if self._unit is RateUnit.AMPERE:
            return limit_a
        return float(round(limit_a * self._subject.phases * self._subject.voltage_v))
