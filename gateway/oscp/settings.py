"""What the room is told about one OSCP partner."""

from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo

from gateway.domain.errors import InvalidInput
from gateway.oscp.names import OWN_ROLE, VERSION, PeerRole
from gateway.outbound import AddressRules, ClientTls

BEATS_PROMISED = 3
"""Our heartbeats promise the next one within so many intervals; partners in the field take 1 to 3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerSettings:
    """One partner. Durations are market time unless they say `real`."""

    authority: str
    """`oscp:{name}`."""
    tenant: str
    role: PeerRole
    public_url: str
    """Beginning of our own addresses as partners are told them, without a slash at the end, for example `https://vpp.example/oscp`."""
    first_token: str = field(repr=False)
    """The one-time token that was agreed outside of the protocol: the partner shows it to us, or we show it when we begin."""
    url: str = ""
    """Where the partner takes registrations: then we begin; empty waits for it."""
    rules: AddressRules = field(default_factory=AddressRules)
    """Which addresses it may name as its own."""
    tls: ClientTls = field(default_factory=ClientTls)
    beat_wish: timedelta = timedelta(seconds=60)
    """How often we want its heartbeats."""
    sends_handshake: bool = False
    """We shake hands first: with an optimiser always, with a provider that waits for it (pyoscp) by this switch."""
    ack_path: str = ""
    """Spelling of handshake_acknowledge that it is known to want; empty finds out."""
    naive_zone: ZoneInfo | None = None
    """Its times have no zone and are of this one, in both directions (pyoscp); None refuses them, as the standard does."""
    asks_for_more: bool = True
    """Tell it when cars would draw more than its limit (AdjustGroupCapacityForecast)."""
    measurement_patience: timedelta = timedelta(hours=2)
    """How long a quarter of an hour without measurements is waited for before the register goes on without it."""
    asset_every: timedelta = timedelta(minutes=5)
    """How often an optimiser gets measurements of chargers."""
    segment_patience: timedelta = timedelta(seconds=60)
    """How long the parts of a message may take."""
    optimisers: tuple[str, ...] = ()
    """Authorities of the optimisers that get a provider's forecasts as well."""
    timeout_real_s: float = 10.0
    """Real seconds for a whole exchange."""

    def __post_init__(self) -> None:
        """Reject a name that is no OSCP authority and addresses that cannot be right."""
        if not self.authority.startswith("oscp:") or self.authority == "oscp:":
            raise InvalidInput("oscp.authority", "must be `oscp:{name}`")
        if self.public_url.endswith("/"):
            raise InvalidInput("oscp.public_url", "must not end with a slash")
        if not self.first_token:
            raise InvalidInput("oscp.first_token", "must not be empty")
        if self.beat_wish < timedelta(seconds=1):
            raise InvalidInput("oscp.beat_wish", "must be at least 1 s")

    @property
    def own_url(self) -> str:
        """Our base address for this partner."""
        return f"{self.public_url}/{OWN_ROLE[self.role]}/{VERSION}"

    @property
    def grace(self) -> timedelta:
        """How long its heartbeats may stay away before it counts as offline, where it has promised nothing newer."""
        return self.beat_wish * BEATS_PROMISED
