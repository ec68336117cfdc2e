"""The sandbox capacity provider's own reading and writing of OSCP 2.0; strict about what the gateway sends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.domain.errors import InvalidInput
from gateway.sandbox.vtn_control import Script

Json = Any
"""What JSON says."""
TYPES = frozenset({"CONSUMPTION", "GENERATION", "FALLBACK_CONSUMPTION", "FALLBACK_GENERATION", "OPTIMUM"})
PHASES = frozenset({"UNKNOWN", "ONE", "TWO", "THREE", "ALL"})
UNITS = frozenset({"A", "W", "KW", "WH", "KWH"})
_ENERGY_UNITS = frozenset({"WH", "KWH"})
_FLOWS = frozenset({"NET", "IMPORT", "EXPORT"})
_SCHEME = "Token "


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """A forecast and how it is sent."""

    bodies: tuple[Mapping[str, Any], ...]
    """One per segment, in order."""
    order: tuple[int, ...]
    """Segments to send, counted from 1, in this order; one that is missing is never sent."""


def token_of(header: str) -> str:
    """Return the token in an Authorization header; empty when it is of another scheme."""
    return header[len(_SCHEME) :] if header.startswith(_SCHEME) else ""


def authorization(token: str) -> str:
    """Return the Authorization header for a token."""
    return f"{_SCHEME}{token}"


def register_body(token: str, base_url: str) -> dict[str, Any]:
    """Return a Register with one version."""
    return {"token": token, "version_url": [{"version": "2.0", "base_url": base_url}]}


def behaviour_body(heartbeat_s: float | None, configuration: Sequence[str]) -> dict[str, Any]:
    """Return a Handshake or its acknowledgement."""
    behaviour: dict[str, Any] = {"measurement_configuration": list(configuration)}
    if heartbeat_s is not None:
        behaviour["heartbeat_interval"] = heartbeat_s
    return {"required_behaviour": behaviour}


def heartbeat_body(until: datetime) -> dict[str, Any]:
    """Return a Heartbeat."""
    return {"offline_mode_at": instant_text(until)}


def instant_text(at: datetime) -> str:
    """Return an instant as the standard writes it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parts_of(script: Script) -> Parts:
    """Return the forecast that a script describes: `group_id`, `type`, `blocks`, and how it is cut.

    `segments` cuts the blocks into so many messages; `order` names the segments to send. Blocks are sent as they are: a script may
    ask for wrong ones.

    Raises:
        InvalidInput: A field that decides how it is sent is wrong.
    """
    blocks, count = script.get("blocks", []), script.get("segments", 1)
    if not isinstance(blocks, list):
        raise InvalidInput("blocks", "must be a list")
    if not isinstance(count, int) or not 1 <= count <= max(len(blocks), 1):
        raise InvalidInput("segments", "must be between 1 and the number of blocks")
    size = -(-len(blocks) // count)
    head = {"group_id": script.get("group_id", "g1"), "type": script.get("type", "CONSUMPTION")}
    bodies = tuple({**head, "forecasted_blocks": blocks[place * size : (place + 1) * size]} for place in range(count))
    order = tuple(script.get("order", range(1, count + 1)))
    if any(not isinstance(index, int) or not 1 <= index <= count for index in order):
        raise InvalidInput("order", "must name segments")
    return Parts(bodies=bodies, order=order)


def check_register(body: Json) -> tuple[str, str]:
    """Return token and base address of a Register.

    Raises:
        InvalidInput: It is none, or offers no version 2.0.
    """
    token, versions = _text(body, "token"), _field(body, "version_url")
    for version in versions if isinstance(versions, list) else []:
        if _text(version, "version") == "2.0":
            return token, _text(version, "base_url")
    raise InvalidInput("version_url", "must offer 2.0")


def check_behaviour(body: Json) -> float | None:
    """Return how often heartbeats are wanted; refuses a message without `required_behaviour`, as implementations in the field do."""
    wish = _field(body, "required_behaviour")
    if not isinstance(_field(wish, "measurement_configuration"), list):
        raise InvalidInput("measurement_configuration", "must be a list")
    interval = wish.get("heartbeat_interval")
    return None if interval is None else float(interval)


def check_heartbeat(body: Json) -> datetime:
    """Return until when the sender may be taken to be there."""
    return _instant(body, "offline_mode_at")


def check_forecast(body: Json) -> None:
    """Refuse what is no forecast: AdjustGroupCapacityForecast has the same form."""
    _text(body, "group_id")
    _one_of(body, "type", TYPES)
    blocks = _field(body, "forecasted_blocks")
    if not isinstance(blocks, list) or not blocks:
        raise InvalidInput("forecasted_blocks", "must not be empty")
    for block in blocks:
        _number(block, "capacity")
        _one_of(block, "phase", PHASES)
        _one_of(block, "unit", UNITS)
        if _instant(block, "end_time") <= _instant(block, "start_time"):
            raise InvalidInput("end_time", "must be after start_time")


def check_compliance_error(body: Json) -> None:
    """Refuse what is no GroupCapacityComplianceError."""
    _text(body, "message")


def check_measurements(body: Json) -> None:
    """Refuse what is no UpdateGroupMeasurements."""
    _text(body, "group_id")
    measurements = _field(body, "measurements")
    if not isinstance(measurements, list):
        raise InvalidInput("measurements", "must be a list")
    for each in measurements:
        _number(each, "value")
        _one_of(each, "phase", PHASES)
        _one_of(each, "unit", _ENERGY_UNITS)
        _one_of(each, "direction", _FLOWS)
        _instant(each, "measure_time")


def _field(body: Json, name: str) -> Json:
    if not isinstance(body, dict) or name not in body:
        raise InvalidInput(name, "is missing")
    return body[name]


def _text(body: Json, name: str) -> str:
    value = _field(body, name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(name, "must be a text")
    return value


def _number(body: Json, name: str) -> float:
    value = _field(body, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(name, "must be a number")
    return float(value)


def _one_of(body: Json, name: str, known: frozenset[str]) -> None:
    if _text(body, name) not in known:
        raise InvalidInput(name, "is not a word of the standard")


def _instant(body: Json, name: str) -> datetime:
    try:
        at = datetime.fromisoformat(_text(body, name))
    except ValueError as error:
        raise InvalidInput(name, "must be a date-time") from error
    if at.tzinfo is None:
        raise InvalidInput(name, "must have a time zone")
    return at
