"""The messages of EiOpt as frozen values: when we are available, and our later word on an event."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.openadr.v20b.wire_parts import Response


@dataclass(frozen=True, kw_only=True, slots=True)
class OptWindow:
    """One `available` of a `vavailability`."""

    start: datetime
    duration: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class CreateOpt:
    """A schedule of availability, or a word on one event."""

    request_id: str
    opt_id: str
    opt: str
    """`optIn` or `optOut`."""
    reason: str
    """One of the specification's reasons, or an extension that begins with `x-`."""
    market_context: str
    """Empty for every one."""
    ven_id: str
    windows: tuple[OptWindow, ...]
    """Empty for a word on one event."""
    created: datetime
    event_id: str
    """Empty for a schedule."""
    modification: int
    resources: tuple[str, ...]
    """Empty for the whole VEN."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedOpt:
    """The VTN has a `CreateOpt`."""

    response: Response
    opt_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelOpt:
    """Withdraws a `CreateOpt`."""

    request_id: str
    opt_id: str
    ven_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CanceledOpt:
    """The VTN has a `CancelOpt`."""

    response: Response
    opt_id: str | None
