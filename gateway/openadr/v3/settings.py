"""What one VEN of a 3.x VTN is told at its start. Durations are market time; only the socket timeout is real."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import Instruction
from gateway.json_guard import JsonPolicy
from gateway.openadr.https import TlsFiles, check_address
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.wire import Payload, Target

VEN_SCOPES = {
    Dialect.V301: "read_all write_reports write_subscriptions write_vens",
    Dialect.V310: "read_targets read_ven_objects write_reports write_subscriptions write_vens",
}
"""OAuth2 scopes that a VEN asks for, by dialect (securitySchemes of the official descriptions)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """Who we are for the authorization server (OAuth2 client credentials)."""

    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None
    """None asks for what a VEN needs; an empty text asks for no scope."""
    token_url: str | None = None
    """None asks the VTN (`/auth/server`), and takes its own `/auth/token` where it does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnResource:
    """A resource that we make known to the VTN."""

    name: str
    node: str
    """Node of the site tree that it is."""
    attributes: tuple[Payload, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class VenSettings:
    """One VTN, who we are for it, and how we talk to it."""

    authority: str
    """Our name for the partner, for example `vtn:grid-demo`; prefix of the ids of its rows."""
    tenant: str
    dialect: Dialect
    vtn_url: str
    """Address that the paths of the specification follow, for example `https://vtn.example/openadr3/3.1.0`."""
    ven_name: str
    own_nodes: tuple[str, ...]
    """Nodes that an event for the whole VEN is about."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """Node by target, for targets that name no resource of ours."""
    resources: tuple[OwnResource, ...] = ()
    programs: tuple[str, ...] = ()
    """Names or ids of the programs we take part in; empty for every one that the VTN shows us."""
    targets: tuple[Target, ...] = ()
    """Targets to ask with beside those that the VTN granted our ven and resources."""
    registers: bool = True
    """Make our ven and resources known; a public tariff server knows no vens."""
    credentials: Credentials | None = None
    """None asks anonymously."""
    control_setpoint: Instruction = Instruction.INFORMATION
    """What CONTROL_SETPOINT in a unit of power means; the specification leaves it to the program."""
    unasked_errors: bool = False
    """Report OPERATING_STATE of an event under way when it becomes ERROR, and when it no longer is, although nobody asked."""
    private_payloads: Mapping[str, Instruction] = field(default_factory=dict)
    """Meaning of payload types that only the program knows; power in the unit of their descriptor."""
    poll_interval: timedelta = timedelta(minutes=1)
    survey_interval: timedelta = timedelta(minutes=15)
    """How often programs, our ven and our resources are read again; their targets may change."""
    lost_after: timedelta = timedelta(hours=4)
    """So long without an understandable word from the VTN counts as lost contact."""
    first_backoff: timedelta = timedelta(seconds=10)
    longest_backoff: timedelta = timedelta(minutes=5)
    longest_wait: timedelta = timedelta(hours=1)
    """Most that a VTN may make us wait with `Retry-After`."""
    horizon: timedelta = timedelta(days=3)
    """How far ahead an event that repeats without end is unrolled; it is unrolled further as time goes on."""
    most_intervals: int = 5_000
    """Intervals of one event that are held at once; a longer event is unrolled in parts."""
    most_pages: int = 200
    """Pages of a list that are read; a longer list counts as incomplete, and nothing missing from it as deleted."""
    json: JsonPolicy = field(default_factory=JsonPolicy)
    tls: TlsFiles = field(default_factory=TlsFiles)
    allow_plain_http: bool = False
    """Only for the demo, and only to this machine itself."""
    request_timeout_s: float = 20.0
    """Real seconds for a whole exchange."""

    def __post_init__(self) -> None:
        """Reject an address that is not https, empty names, and durations that are not positive."""
        check_address(self.vtn_url, allow_plain_http=self.allow_plain_http)
        credentials = self.credentials
        if credentials is not None and credentials.token_url is not None:
            check_address(
                credentials.token_url, allow_plain_http=self.allow_plain_http, field="openadr.credentials.token_url"
            )
        for name in ("authority", "tenant", "ven_name", "own_nodes"):
            if not getattr(self, name):
                raise InvalidInput(f"openadr.{name}", "must not be empty")
        durations = ("poll_interval", "survey_interval", "lost_after", "first_backoff", "longest_wait", "horizon")
        for name in durations:
            if getattr(self, name) <= timedelta(0):
                raise InvalidInput(f"openadr.{name}", "must be positive")
        if self.longest_backoff < self.first_backoff:
            raise InvalidInput("openadr.longest_backoff", "must not be shorter than first_backoff")
        if min(self.most_intervals, self.most_pages, self.request_timeout_s) <= 0:
            raise InvalidInput("openadr.most_intervals", "most_pages and request_timeout_s must be positive")
        if len({resource.name for resource in self.resources}) != len(self.resources):
            raise InvalidInput("openadr.resources", "must have a name each")

    @property
    def protocol(self) -> str:
        """Name of the dialect as rows hold it, for example `openadr-3.1.0`."""
        return f"openadr-{self.dialect.value}"
