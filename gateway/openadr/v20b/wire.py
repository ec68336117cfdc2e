"""The messages of OpenADR 2.0b as frozen values: exactly what is on the wire, not yet what it means to us.

Ids are opaque strings and kept character for character. Durations, instants and numbers are already exact (`literals.py`); an
event in which one of them is not becomes a `BrokenEvent` of its own and harms no other. `None` is an absent element.
"""

from dataclasses import dataclass
from datetime import timedelta

from gateway.openadr.v20b.wire_events import CreatedEvent, DistributeEvent, RequestEvent
from gateway.openadr.v20b.wire_opts import CanceledOpt, CancelOpt, CreatedOpt, CreateOpt
from gateway.openadr.v20b.wire_parts import Response
from gateway.openadr.v20b.wire_reports import (
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    UpdatedReport,
    UpdateReport,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryRegistration:
    """Asks what the VTN offers."""

    request_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatePartyRegistration:
    """Registers, or registers again with the ids from before."""

    request_id: str
    registration_id: str | None
    ven_id: str | None
    ven_name: str
    xml_signature: bool
    push_address: str | None = None
    """Where the VTN may push to; None when we only poll."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedPartyRegistration:
    """The VTN's offer or its word that we are registered."""

    response: Response
    registration_id: str | None
    ven_id: str | None
    vtn_id: str
    profiles: tuple[tuple[str, tuple[str, ...]], ...]
    """Each profile's name and its transports."""
    poll_interval: timedelta | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelPartyRegistration:
    """Ends a registration, said by either side."""

    request_id: str
    registration_id: str
    ven_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CanceledPartyRegistration:
    """Answer to a `CancelPartyRegistration`."""

    response: Response
    registration_id: str | None
    ven_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestReregistration:
    """The VTN wants us to register again."""

    ven_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Poll:
    """Asks whether there is anything for us."""

    ven_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OadrResponse:
    """A bare acknowledgement; in answer to a poll: nothing for you."""

    response: Response
    ven_id: str | None


Incoming = (
    CanceledOpt
    | CreatedOpt
    | CancelPartyRegistration
    | CanceledPartyRegistration
    | CancelReport
    | CreatedPartyRegistration
    | CreateReport
    | DistributeEvent
    | OadrResponse
    | RegisteredReport
    | RegisterReport
    | RequestReregistration
    | UpdatedReport
)
"""What a VTN may send us."""

Outgoing = (
    CancelOpt
    | CreateOpt
    | CanceledPartyRegistration
    | CanceledReport
    | CancelPartyRegistration
    | CreatedEvent
    | CreatedReport
    | CreatePartyRegistration
    | OadrResponse
    | Poll
    | QueryRegistration
    | RegisteredReport
    | RegisterReport
    | RequestEvent
    | UpdateReport
)
"""What we send."""
