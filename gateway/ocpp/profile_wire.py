"""Charging profiles as the versions of OCPP write them, and composite schedules as they answer.

1.6 and 2.x name the same things differently; 2.1 alone has `maxOfflineDuration`. ChargingStationExternalConstraints has no
name here: a CSMS must not set it (OCPP 2.0.1 K01, case o32), and `Purpose` cannot say it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.domain.charging_profiles import Period, RateUnit
from gateway.ocpp.readings import write_instant
from gateway.ocpp.words import Composite, Profile, Purpose

NAMES_16 = {
    Purpose.STATION: "ChargePointMaxProfile",
    Purpose.DEFAULT: "TxDefaultProfile",
    Purpose.TRANSACTION: "TxProfile",
}
NAMES_2 = {
    Purpose.STATION: "ChargingStationMaxProfile",
    Purpose.DEFAULT: "TxDefaultProfile",
    Purpose.TRANSACTION: "TxProfile",
}
ALL_PHASES = 3


def profile_16(profile: Profile) -> dict[str, Any]:
    """Return the `csChargingProfiles` of OCPP 1.6."""
    wire: dict[str, Any] = {
        "chargingProfileId": profile.id,
        "stackLevel": profile.stack,
        "chargingProfilePurpose": NAMES_16[profile.purpose],
        "chargingProfileKind": "Absolute",
        "chargingSchedule": _schedule(profile),
    }
    if profile.transaction is not None:
        wire["transactionId"] = int(profile.transaction)
    return wire | _validity(profile)


def profile_2(profile: Profile) -> dict[str, Any]:
    """Return the `chargingProfile` of OCPP 2.0.1 and 2.1."""
    wire: dict[str, Any] = {
        "id": profile.id,
        "stackLevel": profile.stack,
        "chargingProfilePurpose": NAMES_2[profile.purpose],
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [_schedule(profile) | {"id": profile.id}],
    }
    if profile.transaction is not None:
        wire["transactionId"] = profile.transaction
    if profile.max_offline_s is not None:
        wire["maxOfflineDuration"] = profile.max_offline_s
    return wire | _validity(profile)


def read_composite(schedule: Mapping[str, Any]) -> Composite:
    """Return a composite schedule; both families name its parts alike."""
    return Composite(unit=RateUnit(schedule["chargingRateUnit"]), periods=read_periods(schedule))


def read_periods(schedule: Mapping[str, Any]) -> tuple[Period, ...]:
    """Return the periods of a schedule that have a limit, in order."""
    periods: Sequence[Mapping[str, Any]] = schedule["chargingSchedulePeriod"]
    return tuple(
        Period(start_s=int(period["startPeriod"]), limit=float(period["limit"]))
        for period in sorted(periods, key=lambda period: int(period["startPeriod"]))
        if period.get("limit") is not None
    )


def _schedule(profile: Profile) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "startSchedule": write_instant(profile.start),
        "chargingRateUnit": profile.unit.value,
        "chargingSchedulePeriod": [_period(period, profile.phases) for period in profile.periods],
    }
    if profile.duration_s is not None:
        wire["duration"] = profile.duration_s
    return wire


def _period(period: Period, phases: int | None) -> dict[str, Any]:
    wire: dict[str, Any] = {"startPeriod": period.start_s, "limit": period.limit}
    if phases is not None and phases != ALL_PHASES:
        wire["numberPhases"] = phases  # three is what is meant without it, in every version
    return wire


def _validity(profile: Profile) -> dict[str, Any]:
    return {} if profile.valid_to is None else {"validTo": write_instant(profile.valid_to)}
