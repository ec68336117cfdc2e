"""From limits in kW to OCPI charging profiles and back; pure.

A profile holds the limit until the lease ends and the fallback after it, for a bounded time. OCPI knows neither phases nor anything
but running sessions: amperes are per phase of the charger, and a charger without a session cannot be told anything.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.csms.ocpi.models import ActiveChargingProfile, ChargingProfile, ChargingProfilePeriod
from gateway.domain.charging_profiles import Period, Supply, compress_periods


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileRules:
    """How profiles are made."""

    tail: timedelta = timedelta(hours=12)
    """How long the fallback goes on after the lease; never without end."""
    most_periods: int = 24
    """Largest number of periods that the platform takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A limit from an instant on."""

    start: datetime
    limit_kw: float


def profile_of(
    limit_kw: float, fallback_kw: float, lease_until: datetime, now: datetime, supply: Supply, rules: ProfileRules
) -> ChargingProfile:
    """Return the profile of an order: the limit for the lease, then the fallback, compressed and bounded (cases o28, o30, o38).

    Args:
        limit_kw: Upper bound until the lease ends.
        fallback_kw: Upper bound after it, should nobody renew.
        lease_until: End of the lease; after `now`.
        now: Start of the profile.
        supply: How the charger is fed, which decides unit and rounding.
        rules: How profiles are made.
    """
    steps = (Step(start=now, limit_kw=limit_kw), Step(start=lease_until, limit_kw=fallback_kw))
    return profile_of_steps(steps, lease_until + rules.tail, supply, rules)


def profile_of_steps(steps: tuple[Step, ...], end: datetime, supply: Supply, rules: ProfileRules) -> ChargingProfile:
    """Return the profile of limits over time, in order, whole seconds apart, with few enough periods."""
    start, unit = steps[0].start, supply.best_unit
    periods = [
        Period(start_s=int((step.start - start).total_seconds()), limit=supply.limit(step.limit_kw, unit))
        for step in steps
    ]
    duration_s = int((end - start).total_seconds())
    few = compress_periods(periods, duration_s, rules.most_periods)
    return ChargingProfile(
        start_date_time=start,
        duration=duration_s,
        charging_rate_unit=unit,
        charging_profile_period=tuple(ChargingProfilePeriod(start_period=p.start_s, limit=p.limit) for p in few),
    )


def limit_at(active: ActiveChargingProfile, at: datetime, supply: Supply) -> float | None:
    """Return what a charger follows at an instant, in kW; None when the profile says nothing about it, that is no limit."""
    profile = active.charging_profile
    start = profile.start_date_time or active.start_date_time
    passed_s = (at - start).total_seconds()
    if profile.duration is not None and passed_s >= profile.duration:
        return None
    begun = [period for period in profile.charging_profile_period if period.start_period <= passed_s]
    if not begun:
        return None
    newest = max(begun, key=lambda period: period.start_period)
    return supply.power_kw(newest.limit, profile.charging_rate_unit)
