"""The messages of EiEvent as frozen values: events as sent and our word on them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from gateway.openadr.v20b.wire_parts import Response, Target, Unit

DEVICE_KIND = "endDeviceAsset"
"""Kind of target that names a class of devices, not a thing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WireInterval:
    """One interval of a signal."""

    start: datetime | None
    """Usually absent: intervals follow one another from the event's start."""
    duration: timedelta | None
    uid: str | None
    value: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class WireSignal:
    """`eiEventSignal`: one row of values over the event's intervals."""

    signal_id: str
    name: str
    type: str
    unit: Unit | None
    intervals: tuple[WireInterval, ...]
    device_classes: tuple[str, ...] = ()
    """End device classes the signal is meant for; empty for all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WireBaseline:
    """`eiEventBaseline`: the power or energy that the VTN will measure the event against."""

    start: datetime
    duration: timedelta
    unit: Unit | None
    intervals: tuple[WireInterval, ...]
    resources: tuple[str, ...]
    """Resource ids it is for; empty for all of the event."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WireEvent:
    """`oadrEvent`: one demand-response event as sent."""

    event_id: str
    modification: int
    priority: int
    """1 highest, 0 lowest or none."""
    market_context: str
    status: str
    """`eventStatus` by the VTN's clock; only `cancelled` matters to us."""
    test_event: bool
    start: datetime
    duration: timedelta
    """Length of the active period; zero is open-ended."""
    start_after: timedelta
    """Longest randomised delay of the start; zero for none."""
    notification: timedelta
    ramp_up: timedelta
    recovery: timedelta
    signals: tuple[WireSignal, ...]
    targets: tuple[Target, ...]
    response_required: bool
    baseline: WireBaseline | None = None
    """None also for one of which a value has no exact meaning."""
    comment: str = ""
    """`vtnComment`."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the VTN withdraws the event."""
        return self.status == "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenEvent:
    """An event of which a value has no exact meaning; it is answered and nothing else."""

    event_id: str
    modification: int
    response_required: bool
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributeEvent:
    """All events the VTN has for us."""

    response: Response | None
    request_id: str
    vtn_id: str
    events: tuple[WireEvent | BrokenEvent, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EventResponse:
    """Our word on one event."""

    code: int
    description: str
    request_id: str
    event_id: str
    modification: int
    opt: str
    """`optIn` or `optOut`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedEvent:
    """Our answer to a `DistributeEvent`."""

    response: Response
    responses: tuple[EventResponse, ...]
    ven_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestEvent:
    """Asks for all events, as after a restart."""

    request_id: str
    ven_id: str
