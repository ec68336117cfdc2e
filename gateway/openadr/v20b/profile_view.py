"""An event of OpenADR 2.0b as a profile sees it: in the shape and the payload types of OpenADR 3, so that one pack fits both.

| signal, type                          | payload type                         | units          |
|---------------------------------------|--------------------------------------|----------------|
| ELECTRICITY_PRICE, price              | PRICE                                | KWH, currency  |
| LOAD_DISPATCH, setpoint               | IMPORT_CAPACITY_LIMIT                | KW, MW or W    |
| SIMPLE, level                         | SIMPLE                               |                |
| everything else                       | name and type, as `BID_LOAD.setpoint`|                |
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import GridEvent
from gateway.openadr.profiles.gate import Admission, ProfileGate
from gateway.openadr.v20b.literals import format_duration
from gateway.openadr.v20b.names import Code
from gateway.openadr.v20b.refusal import EventRefused
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.openadr.v20b.translate import Receipt
from gateway.openadr.v20b.wire_events import BrokenEvent, WireEvent, WireInterval, WireSignal

_PAYLOADS = {
    ("ELECTRICITY_PRICE", "price"): "PRICE",
    ("LOAD_DISPATCH", "setpoint"): "IMPORT_CAPACITY_LIMIT",
    ("SIMPLE", "level"): "SIMPLE",
}
_PREFIX = {"none": "", "k": "K", "M": "M"}


class ProfileDoor:
    """Holds the events of one VTN against its profile.

    Args:
        around: Settings and ports.
        gate: The profile; None lets everything in.
    """

    def __init__(self, around: Surroundings, gate: ProfileGate | None) -> None:
        self._around = around
        self._gate = gate
        self._told: frozenset[str] = frozenset()
        self._found: set[str] = set()

    async def check(self, event: WireEvent | BrokenEvent, receipt: Receipt) -> None:
        """Raise when an event breaks its profile; a cancellation always passes.

        Raises:
            EventRefused: It does (459, compliance error), and the settings do not use such events.
            StorageUnavailable: What it breaks could not be kept.
        """
        admission = admission_of(self._gate, event, receipt)
        if admission is None:
            return
        self._found |= {one.id for one in admission.broken}
        fresh = [one for one in admission.broken if one.id not in self._told]
        if fresh:
            await self._around.keep(*fresh)
        require_admitted(admission)

    def as_agreed(self, event: GridEvent) -> GridEvent:
        """Return an event with what the profile says about all events: that they bind, or that they never do."""
        return as_agreed(event, self._gate)

    def end_of_message(self) -> None:
        """Remember what was told: the same again in the next message is not told again."""
        self._told, self._found = frozenset(self._found), set()


def admission_of(gate: ProfileGate | None, event: WireEvent | BrokenEvent, receipt: Receipt) -> Admission | None:
    """Return what a profile says about an event; None when nothing is asked of it, as of a cancellation."""
    if gate is None or isinstance(event, BrokenEvent) or event.is_cancelled:
        return None
    return gate.admit("event", as_object(event), now=receipt.received_at, raw_signal=receipt.raw_signal)


def require_admitted(admission: Admission) -> None:
    """Raise unless an event may be used.

    Raises:
        EventRefused: It breaks its profile (459, compliance error).
    """
    if admission.content is None:
        rules = ", ".join(sorted({one.rule for one in admission.broken}))
        profile = admission.broken[0].profile
        raise EventRefused(Code.COMPLIANCE_ERROR, f"breaks {profile}: {rules}")


def as_agreed(event: GridEvent, gate: ProfileGate | None) -> GridEvent:
    """Return an event with what a profile says about all events: that they bind, or that they never do."""
    binds = None if gate is None else gate.profile.is_binding
    return event if binds is None else replace(event, is_binding=binds)


def as_object(event: WireEvent) -> dict[str, Any]:
    """Return an event in the shape of OpenADR 3."""
    content: dict[str, Any] = {
        "id": event.event_id,
        "programID": event.market_context,
        "targets": [target.value for target in event.targets],
        "payloadDescriptors": [_descriptor(signal) for signal in event.signals],
        "intervals": list(_intervals(event)),
    }
    return content | ({"priority": event.priority} if event.priority > 0 else {})


def _intervals(event: WireEvent) -> Iterator[dict[str, Any]]:
    longest = max(event.signals, key=lambda signal: len(signal.intervals), default=None)
    start: datetime | None = event.start
    for index, interval in enumerate(() if longest is None else longest.intervals):
        duration = _duration(interval, event, longest)
        said: dict[str, Any] = {"start": "" if start is None else f"{start:%Y-%m-%dT%H:%M:%SZ}"}
        said["duration"] = "P9999Y" if duration == timedelta(0) else _text(duration)
        payloads = [
            {"type": _payload(signal), "values": [signal.intervals[index].value]}
            for signal in event.signals
            if index < len(signal.intervals)
        ]
        yield {"id": index, "intervalPeriod": said, "payloads": payloads}
        start = _later(start, duration)


def _duration(interval: WireInterval, event: WireEvent, signal: WireSignal | None) -> timedelta:
    if interval.duration is None and signal is not None and len(signal.intervals) == 1:
        return event.duration
    return timedelta(0) if interval.duration is None else interval.duration


def _later(start: datetime | None, duration: timedelta) -> datetime | None:
    try:
        return None if start is None else start + duration
    except OverflowError:
        return None


def _text(duration: timedelta) -> str:
    try:
        return format_duration(duration)
    except InvalidInput:
        return ""


def _payload(signal: WireSignal) -> str:
    return _PAYLOADS.get((signal.name, signal.type), f"{signal.name}.{signal.type}")


def _descriptor(signal: WireSignal) -> dict[str, str]:
    said, unit = {"payloadType": _payload(signal)}, signal.unit
    if unit is None:
        return said
    if unit.name == "currencyPerKWh":
        return said | {"units": "KWH", "currency": unit.units}
    is_power = unit.units == "W" and unit.scale in _PREFIX
    return said | {"units": f"{_PREFIX[unit.scale]}W" if is_power else unit.units.upper()}
