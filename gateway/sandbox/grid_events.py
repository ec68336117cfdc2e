"""Demand-response events of the sandbox utility: what may be asked for, and how openleadr wants it said."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, require_utc

_POWER = {
    "name": "powerReal",
    "description": "RealPower",
    "unit": "W",
    "scale": "k",
    "power_attributes": {"hertz": 50, "voltage": 230, "ac": True},
}
_PRICE = {"name": "currencyPerKWh", "description": "currencyPerKWh", "unit": "EUR", "scale": "none"}
SIGNALS: Mapping[str, Mapping[str, object] | None] = {
    "LOAD_DISPATCH/setpoint": _POWER,
    "LOAD_DISPATCH/delta": _POWER,
    "LOAD_CONTROL/x-loadControlSetpoint": _POWER,
    "LOAD_CONTROL/x-loadControlCapacity": None,
    "SIMPLE/level": None,
    "ELECTRICITY_PRICE/price": _PRICE,
}
"""Signal name and type to the unit of its payload: kW, EUR/kWh, or none."""
TARGET_KINDS = frozenset({"resource_id", "group_id", "party_id", "ven_id"})
_LONGEST_TEXT = 200
_MINUTES_PER_YEAR = 525_600.0
_NUMBERS = ("duration_minutes", "start_after_minutes", "notification_minutes")


@dataclass(frozen=True, kw_only=True, slots=True)
class DrEvent:
    """One event as the utility plans it; `modification` counts what was changed since."""

    event_id: str
    start: datetime
    duration_minutes: float
    """0 is open-ended."""
    payload: tuple[float, ...]
    """One value per interval of equal length: kW, fraction, level or EUR/kWh by the signal."""
    signal: str = "LOAD_DISPATCH/setpoint"
    target: str = ""
    """Id of what is meant; empty is everything of the VEN."""
    target_kind: str = "resource_id"
    priority: int = 1
    """1 highest, 0 lowest."""
    market_context: str = "http://grid-demo.example/dr"
    start_after_minutes: float = 0.0
    notification_minutes: float = 60.0
    response_required: bool = True
    test_event: bool = False
    publish_at: datetime | None = None
    """Not told to anybody before; None for at once."""
    modification: int = 0
    cancelled: bool = False

    def __post_init__(self) -> None:
        """Reject what no VTN would send."""
        self._check_texts()
        for name in _NUMBERS:
            if not 0.0 <= getattr(self, name) <= _MINUTES_PER_YEAR:
                raise InvalidInput(f"event.{name}", "must be 0 to one year")
        if self.priority < 0:
            raise InvalidInput("event.priority", "must be at least 0")
        require_utc("event.start", self.start)
        if self.publish_at is not None:
            require_utc("event.publish_at", self.publish_at)
        self._check_payload()

    def _check_texts(self) -> None:
        for name in ("event_id", "target", "market_context"):
            if len(getattr(self, name)) > _LONGEST_TEXT or (name == "event_id" and not self.event_id):
                raise InvalidInput(f"event.{name}", f"must have at most {_LONGEST_TEXT} characters, an id at least one")
        if self.signal not in SIGNALS:
            raise InvalidInput("event.signal", f"must be one of {', '.join(SIGNALS)}")
        if self.target_kind not in TARGET_KINDS:
            raise InvalidInput("event.target_kind", f"must be one of {', '.join(sorted(TARGET_KINDS))}")

    def _check_payload(self) -> None:
        if not self.payload or not all(math.isfinite(value) for value in self.payload):
            raise InvalidInput("event.payload", "must be finite numbers, at least one")
        if self.signal == "SIMPLE/level" and not {*self.payload} <= {0.0, 1.0, 2.0, 3.0}:
            raise InvalidInput("event.payload", "a SIMPLE level must be 0, 1, 2 or 3")
        if self.duration % timedelta(seconds=len(self.payload)) or (not self.duration and len(self.payload) > 1):
            raise InvalidInput("event.payload", "its values must divide the duration into whole seconds")

    @property
    def duration(self) -> timedelta:
        """Length of the active period in whole seconds; zero is open-ended."""
        return timedelta(seconds=round(self.duration_minutes * 60))

    @property
    def end(self) -> datetime | None:
        """Last instant at which it may be in force anywhere, randomised starts included; None when open-ended."""
        if not self.duration:
            return None
        return self.start + self.duration + timedelta(minutes=self.start_after_minutes)

    def status(self, now: datetime) -> str:
        """Return the OpenADR status at an instant of the market."""
        if self.cancelled:
            return "cancelled"
        if self.duration and now >= self.start + self.duration:
            return "completed"
        if now >= self.start:
            return "active"
        return "near" if now >= self.start - timedelta(minutes=self.notification_minutes) else "far"

    def as_openleadr(self, ven_id: str, now: datetime) -> dict[str, Any]:
        """Return the event as openleadr's templates take it."""
        name, kind = self.signal.split("/")
        step = self.duration / len(self.payload)
        period: dict[str, Any] = {
            "dtstart": self.start,
            "duration": self.duration,
            "notification_period": timedelta(minutes=self.notification_minutes),
        }
        if self.start_after_minutes > 0.0:
            period["tolerance"] = {"startafter": timedelta(minutes=self.start_after_minutes)}
        signal: dict[str, Any] = {
            "intervals": [{"duration": step, "signal_payload": value} for value in self.payload],
            "signal_name": name,
            "signal_type": kind,
            "signal_id": f"{self.event_id}-1",
            "current_value": 0.0,
        }
        if SIGNALS[self.signal] is not None:
            signal["measurement"] = dict(SIGNALS[self.signal] or {})
        return {
            "event_descriptor": {
                "event_id": self.event_id,
                "modification_number": self.modification,
                "modification_date_time": now,
                "priority": self.priority,
                "market_context": self.market_context,
                "created_date_time": now,
                "event_status": self.status(now),
                "test_event": self.test_event,
            },
            "active_period": period,
            "event_signals": [signal],
            "targets": [{self.target_kind: self.target} if self.target else {"ven_id": ven_id}],
            "response_required": "always" if self.response_required else "never",
        }


_TEXTS = frozenset({"event_id", "signal", "target", "target_kind", "market_context"})
_FLAGS = frozenset({"response_required", "test_event"})
_INSTANTS = frozenset({"start", "publish_at"})


def parse_event(document: object) -> DrEvent:
    """Return the event that a JSON object describes, with the field names of `DrEvent`; `payload` may be one number.

    Raises:
        InvalidInput: A field is missing, unknown or wrong; it is named.
    """
    if not isinstance(document, dict):
        raise InvalidInput("event", "must be a JSON object")
    fields: dict[str, Any] = {name: _parse_field(name, value) for name, value in document.items()}
    for name in ("event_id", "start", "duration_minutes", "payload"):
        if name not in fields:
            raise InvalidInput(f"event.{name}", "is missing")
    return DrEvent(**fields)


def _parse_field(name: str, value: object) -> object:
    if name in _INSTANTS and isinstance(value, str):
        return _parse_instant(name, value)
    if name == "payload":
        values = value if isinstance(value, list) else [value]
        return tuple(_parse_float(name, each) for each in values)
    if name in _NUMBERS:
        return _parse_float(name, value)
    is_flag, is_text = name in _FLAGS and isinstance(value, bool), name in _TEXTS and isinstance(value, str)
    is_count = name == "priority" and isinstance(value, int) and not isinstance(value, bool)
    if not (is_flag or is_text or is_count):
        raise InvalidInput(f"event.{name}", "is not a field of an event, or has a value of another kind")
    return value


def _parse_instant(name: str, text: str) -> datetime:
    try:
        return require_utc(f"event.{name}", datetime.fromisoformat(text))
    except ValueError as error:
        raise InvalidInput(f"event.{name}", "must be an ISO 8601 instant") from error


def _parse_float(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"event.{name}", "must be a number")
    return float(value)


def default_event(day: date, zone: str, *, target: str, value: float, signal: str, market_context: str) -> DrEvent:
    """Return the demo's event: the evening peak of the delivery day, 17:30 to 18:45 local, told at 14:00."""
    local = DeliveryDay(day=day, zone=zone)
    start = local.at(time(17, 30))
    return DrEvent(
        event_id=f"peak-{day.isoformat()}",
        start=start,
        duration_minutes=(local.at(time(18, 45)) - start).total_seconds() / 60,
        payload=(value,),
        signal=signal,
        target=target,
        market_context=market_context,
        publish_at=local.at(time(14)),
    )
