"""What must survive a restart of our links with OSCP 2.0 partners: the link, seen requests, open segments, messages to send."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc


class LinkState(StrEnum):
    """Where a link stands."""

    UNREGISTERED = "unregistered"
    REGISTERED = "registered"
    """Tokens are exchanged; nothing is agreed about heartbeats yet."""
    HANDSHAKEN = "handshaken"
    """Behaviour is agreed, and no heartbeat was heard since."""
    ONLINE = "online"
    OFFLINE = "offline"
    """The last heartbeat promised another one by an instant that has passed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OscpLink:
    """Our link with one partner. Tokens that it shows us are kept as SHA-256, the one that we show it encrypted."""

    id: str
    """The authority, `oscp:{name}`."""
    tenant: str
    state: LinkState
    changed_at: datetime
    """When the state last changed."""
    base_url: str = ""
    """Where the partner is reached; empty while it has not said."""
    token_sha256: str = ""
    """Hex SHA-256 of the token it shows us; empty before the exchange."""
    offered_sha256: str = ""
    """Of a token that we offered and that it has not confirmed yet: both are taken meanwhile."""
    spent_sha256: str = ""
    """Of the one-time token that began the exchange and is dead now."""
    sealed_token: str = ""
    """The token that we show it, encrypted; empty before the exchange."""
    register_id: str = ""
    """Request id of our last Register: an answer to it is not answered again."""
    beat_every_s: float | None = None
    """How often it wants our heartbeats, in seconds; None when it wants none."""
    measurements: tuple[str, ...] = ()
    """What it wants to be measured: `CONTINUOUS`, `INTERMITTENT`."""
    offline_at: datetime | None = None
    """After this instant it counts as offline; None while it has sent no heartbeat."""
    ack_path: str = ""
    """Spelling of the acknowledgement that it knows; empty for that of the standard."""

    def __post_init__(self) -> None:
        """Reject a link that is no OSCP authority and an interval under a second."""
        if not self.id.startswith("oscp:") or self.id == "oscp:":
            raise InvalidInput("oscp.link.id", "must be `oscp:{name}`")
        if self.beat_every_s is not None and not self.beat_every_s >= 1.0:
            raise InvalidInput("oscp.link.beat_every_s", "must be at least 1")
        require_utc("oscp.link.changed_at", self.changed_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class OscpRequest:
    """A request of a partner that took effect; the same again within 24 h has the same answer and no effect."""

    id: str
    """`{authority}:{X-Request-ID}`."""
    tenant: str
    authority: str
    at: datetime
    sha256: str
    """Over method, message, segment and body: the same id with another content is refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OscpSegment:
    """One part of a message that came in several; kept until all are here or time is up."""

    id: str
    """`{authority}:{chain}:{index}`."""
    tenant: str
    authority: str
    chain: str
    """X-Request-ID of the first segment."""
    index: int
    """From 1."""
    count: int
    at: datetime
    """When the first segment of the chain arrived."""
    body: bytes
    """As received; empty once the chain is closed."""
    is_open: bool = True
    """False once the message was applied or dropped."""

    def __post_init__(self) -> None:
        """Reject an index outside the count."""
        if not 1 <= self.index <= self.count:
            raise InvalidInput("oscp.segment.index", "must be between 1 and the count")


@dataclass(frozen=True, kw_only=True, slots=True)
class OscpMessage:
    """A message of ours to a partner, from what caused it until it was taken or given up."""

    id: str
    """`{authority}:{what it is about}`: the same thing is said once."""
    tenant: str
    authority: str
    method: str
    path: str
    """Message name, for example `group_capacity_compliance_error`."""
    body: str
    """JSON without tokens."""
    request_id: str
    """X-Request-ID, the same at every try."""
    created_at: datetime
    due_at: datetime
    """Not before this instant."""
    expires_at: datetime
    """Given up when it was not taken by then."""
    correlation_id: str = ""
    sealed_token: str = ""
    """Of a Register: the token that we offer, encrypted; the same at every try."""
    sealed_key: str = ""
    """Token to show with it instead of the link's, encrypted: of the Register that begins an exchange."""
    url: str = ""
    """Base address to send it to instead of the link's: of the Register that begins an exchange."""
    attempts: int = 0
    is_open: bool = True
    outcome: str = ""
    """What came of it, for people; empty while it is open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OscpRegister:
    """The energy register of a capacity group as its provider is told it, in kWh drawn."""

    id: str
    """`{authority}:{group}`."""
    tenant: str
    authority: str
    since: datetime
    """When it began at 0."""
    until: datetime
    """Up to when it is counted."""
    energy_kwh: float
    """Drawn since it began, without spans that nobody measured."""
    told_at: datetime | None = None
    """`until` of the last value that was handed to the outbox."""
