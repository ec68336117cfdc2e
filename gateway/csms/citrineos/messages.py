"""OCPP smart charging requests as CitrineOS's REST API takes them, for OCPP 1.6 and 2.0.1, and what its answers say; pure.

No profile ever says `validFrom`: CitrineOS refuses one in the future. Every profile ends, by `validTo` and by the duration of its
schedule. Only TxDefaultProfile and TxProfile are made: ChargingStationExternalConstraints are not ours to set (K01.FR.22).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from gateway.domain.charging_profiles import BACKDATED, RateUnit, Supply
from gateway.domain.errors import InvalidInput

Document = dict[str, Any]
_IDS_PER_EVSE = 1_000
_LONGEST_REASON = 200
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class Purpose(StrEnum):
    """Purposes that we use."""

    DEFAULT = "TxDefaultProfile"
    """For every transaction, also those to come."""
    TRANSACTION = "TxProfile"
    """For one running transaction, for which it replaces the default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Station:
    """Where a charger is in the platform."""

    identifier: str
    """Identity of the charging station."""
    evse: int
    """EVSE (2.0.1) or connector (1.6)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One profile of one charger: a single limit for some time."""

    purpose: Purpose
    level: int
    limit_kw: float
    start: datetime
    end: datetime
    transaction: str | None = None


def set_request(version: str, station: Station, profile: Profile, supply: Supply) -> Document:
    """Return SetChargingProfile."""
    return _set_16(station, profile, supply) if version == "1.6" else _set_201(station, profile, supply)


def _set_201(station: Station, profile: Profile, supply: Supply) -> Document:
    content: Document = {
        "id": profile_id(station, profile.purpose, profile.level),
        "stackLevel": profile.level,
        "chargingProfilePurpose": profile.purpose.value,
        "chargingProfileKind": "Absolute",
        "validTo": _text(profile.end),
        "chargingSchedule": [{"id": 1, **_schedule(profile, supply)}],
    }
    if profile.transaction is not None:
        content["transactionId"] = profile.transaction
    return {"evseId": station.evse, "chargingProfile": content}


def _set_16(station: Station, profile: Profile, supply: Supply) -> Document:
    content: Document = {
        "chargingProfileId": profile_id(station, profile.purpose, profile.level),
        "stackLevel": profile.level,
        "chargingProfilePurpose": profile.purpose.value,
        "chargingProfileKind": "Absolute",
        "validTo": _text(profile.end),
        "chargingSchedule": _schedule(profile, supply),
    }
    if profile.transaction is not None:
        content["transactionId"] = _number(profile.transaction)
    return {"connectorId": station.evse, "csChargingProfiles": content}


def _schedule(profile: Profile, supply: Supply) -> Document:
    unit, start = supply.best_unit, profile.start - BACKDATED
    period: Document = {"startPeriod": 0, "limit": supply.limit(profile.limit_kw, unit)}
    if not supply.is_dc:
        period["numberPhases"] = supply.phases
    return {
        "startSchedule": _text(start),
        "duration": int((profile.end - start).total_seconds()),
        "chargingRateUnit": unit.value,
        "chargingSchedulePeriod": [period],
    }


def clear_request(version: str, station: Station, purpose: Purpose, level: int) -> Document:
    """Return ClearChargingProfile of one profile."""
    name = "id" if version == "1.6" else "chargingProfileId"
    return {name: profile_id(station, purpose, level)}


def composite_request(version: str, station: Station, unit: RateUnit, duration_s: int) -> Document:
    """Return GetCompositeSchedule."""
    place = "connectorId" if version == "1.6" else "evseId"
    return {place: station.evse, "duration": duration_s, "chargingRateUnit": unit.value}


def profile_id(station: Station, purpose: Purpose, level: int) -> int:
    """Return the id of a profile, unique within its station."""
    return station.evse * _IDS_PER_EVSE + level * len(Purpose) + list(Purpose).index(purpose)


def acceptance(data: object) -> str:
    """Return why CitrineOS did not pass a request on; empty when it did.

    It answers 200 also when it failed: `success` decides (case o35). A list has one entry per station.
    """
    entries = data if isinstance(data, list) else [data]
    if not entries:
        return "CitrineOS answered with an empty list"
    for entry in entries:
        if not isinstance(entry, Mapping) or entry.get("success") is not True:
            payload = entry.get("payload") if isinstance(entry, Mapping) else None
            return f"CitrineOS did not pass it on: {_said(payload)}"
    return ""


def status_of(data: object) -> str:
    """Return the station's status in an answer that came later, for example `Accepted`.

    Raises:
        InvalidInput: There is none.
    """
    inner = data.get("payload", data) if isinstance(data, Mapping) else data
    status = inner.get("status") if isinstance(inner, Mapping) else None
    if not isinstance(status, str):
        raise InvalidInput("status", "is required")
    return _said(status)


def composite_limit_kw(data: object, supply: Supply) -> float | None:
    """Return the largest limit of a composite schedule in kW; None when the answer shows none."""
    inner = data.get("payload", data) if isinstance(data, Mapping) else {}
    schedule = inner.get("schedule", inner.get("chargingSchedule")) if isinstance(inner, Mapping) else None
    if not isinstance(schedule, Mapping):
        return None
    periods = schedule.get("chargingSchedulePeriod")
    try:
        unit = RateUnit(str(schedule.get("chargingRateUnit")))
        limits = [float(period["limit"]) for period in periods or ()]
    except (ValueError, TypeError, KeyError):
        return None
    return max((supply.power_kw(limit, unit) for limit in limits), default=None)


def _said(payload: object) -> str:
    """Return what a peer said as one short printable line."""
    return _UNPRINTABLE.sub(" ", str(payload if payload is not None else "no reason given"))[:_LONGEST_REASON]


def _number(transaction: str) -> int:
    if not transaction.isascii() or not transaction.isdigit():
        raise InvalidInput("session.id", "must be the transaction's number in OCPP 1.6")
    return int(transaction)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
