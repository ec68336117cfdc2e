"""What one VEN is told at its start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from gateway.domain.errors import InvalidInput
from gateway.openadr.https import TlsFiles, check_address
from gateway.openadr.v20b.guard import GuardPolicy, SignaturePolicy
from gateway.openadr.v20b.push_settings import PushSettings

LEAST_HISTORY_POINTS = 100
"""Stored history points that conformance rule 510 wants."""
_POWER_SUFFIX = "-power"


@dataclass(frozen=True, kw_only=True, slots=True)
class SigningFiles:
    """Certificate and unencrypted key that sign our messages, both PEM."""

    cert_file: Path
    key_file: Path


class LaterWord(StrEnum):
    """The message that carries a changed answer to an event."""

    CREATED_EVENT = "created-event"
    """Another `oadrCreatedEvent`, as every VTN understands it."""
    OPT = "opt"
    """An `oadrCreateOpt` with the event's id, for VTNs with the EiOpt service."""


class ShortfallWord(StrEnum):
    """How a VTN learns that chargers cannot keep what one of its events asks for, before its meters show it."""

    STATUS = "status"
    """By the status reports that it asks for: their present capacity is what is drawn."""
    OPT_OUT = "opt-out"
    """Beside them by an `oadrCreateOpt` (optOut, notParticipating) with the event's id, which is withdrawn when all is kept again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportPoint:
    """One node that we offer to report: its power, its energy and how its chargers are."""

    r_id: str
    """Id of its power; energy and status have ids of their own, made from it."""
    node: str
    """Node of the site tree whose chargers are measured."""
    resource_id: str
    """What the VTN knows the node as."""

    @property
    def energy_r_id(self) -> str:
        """Id of its energy: `depot-energy` beside `depot-power` or `depot`."""
        return f"{self.r_id.removesuffix(_POWER_SUFFIX)}-energy"

    @property
    def status_r_id(self) -> str:
        """Id of its status: `depot-status` beside `depot-power` or `depot`."""
        return f"{self.r_id.removesuffix(_POWER_SUFFIX)}-status"


@dataclass(frozen=True, kw_only=True, slots=True)
class VenSettings:
    """One VTN, who we are for it, and how we talk to it. Durations are market time; only the socket timeout is real."""

    authority: str
    """Our name for the partner, for example `vtn:grid-demo`; prefix of the ids of its rows."""
    tenant: str
    vtn_url: str
    """Address up to but without the service name, for example `https://vtn.example/OpenADR2/Simple/2.0b`."""
    ven_name: str
    ven_id: str | None = None
    """Our id, where the VTN has given it out beforehand; None lets it choose one at registration."""
    vtn_id: str | None = None
    """The VTN's id; None takes the one it says at registration."""
    market_contexts: tuple[str, ...]
    """Programmes we take part in; an event of another one is refused."""
    own_nodes: tuple[str, ...]
    """Nodes that an event for the whole VEN is about."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """Node by target id (resource, group, party, service delivery point)."""
    device_classes: frozenset[str] = frozenset({"EVSE", "Electric_Vehicle"})
    """End device classes of the specification that we are; an event or signal for others only is not for us."""
    report_points: tuple[ReportPoint, ...] = ()
    """What TELEMETRY_USAGE, TELEMETRY_STATUS and HISTORY_USAGE offer; empty offers no report."""
    poll_interval: timedelta = timedelta(seconds=10)
    """When the VTN asks for none."""
    lost_after: timedelta = timedelta(hours=4)
    """So long without an understandable word from the VTN counts as lost contact."""
    first_backoff: timedelta = timedelta(seconds=10)
    longest_backoff: timedelta = timedelta(minutes=5)
    register_again_after: timedelta = timedelta(minutes=15)
    """How long we stay away after the VTN has cancelled our registration."""
    longest_drain: int = 20
    """Messages taken from the VTN's queue in one poll cycle."""
    min_sampling: timedelta = timedelta(minutes=1)
    """Finest granularity of a report; a request for a finer one is refused."""
    max_sampling: timedelta = timedelta(hours=1)
    status_every: timedelta = timedelta(seconds=10)
    """Finest granularity of a status report, and how often we look whether a status has changed."""
    history_points: int = 192
    """Points of each data point that a report of the whole history holds; conformance rule 510 wants at least 100."""
    report_patience: timedelta = timedelta(hours=1)
    """How long we wait for readings that are not there yet before their intervals are passed over."""
    signature: SignaturePolicy | None = None
    """None: required when fingerprints are pinned, off otherwise."""
    fingerprints: frozenset[str] = frozenset()
    """Certificates that may sign the VTN's messages: SHA-256, last 10 bytes or all 32, as `AA:BB:...`."""
    push: PushSettings | None = None
    """Where the VTN may push to; None only polls."""
    tell_within: timedelta = timedelta(seconds=15)
    """How long a word that somebody decides (an opt, a leave) waits at most before the VTN is told."""
    later_word: LaterWord = LaterWord.CREATED_EVENT
    """How the VTN is told that a person has changed our answer to an event."""
    on_shortfall: ShortfallWord = ShortfallWord.STATUS
    """How the VTN is told that what an event asks for cannot be kept; our limits stay in force whatever it is told."""
    cancel_at_stop: bool = False
    """Cancel our registration when the gateway stops; otherwise it lives on and is taken up at the next start."""
    clock_skew: timedelta = timedelta(seconds=30)
    signing: SigningFiles | None = None
    """None sends our messages unsigned."""
    tls: TlsFiles = field(default_factory=TlsFiles)
    allow_plain_http: bool = False
    """Only for the demo, and only to this machine itself."""
    request_timeout_s: float = 20.0
    """Real seconds for a whole exchange."""

    def __post_init__(self) -> None:
        """Reject an address that is not https, empty names, and durations that are not positive."""
        check_address(self.vtn_url, allow_plain_http=self.allow_plain_http)
        for name in ("authority", "tenant", "ven_name", "market_contexts", "own_nodes"):
            if not getattr(self, name):
                raise InvalidInput(f"openadr.{name}", "must not be empty")
        for name in (
            "poll_interval",
            "lost_after",
            "first_backoff",
            "register_again_after",
            "tell_within",
            "min_sampling",
            "max_sampling",
            "status_every",
        ):
            if getattr(self, name) <= timedelta(0):
                raise InvalidInput(f"openadr.{name}", "must be positive")
        if self.longest_backoff < self.first_backoff:
            raise InvalidInput("openadr.longest_backoff", "must not be shorter than first_backoff")
        if self.longest_drain < 1 or self.request_timeout_s <= 0.0:
            raise InvalidInput("openadr.longest_drain", "and request_timeout_s must be positive")
        names = [name for point in self.report_points for name in (point.r_id, point.energy_r_id, point.status_r_id)]
        if len(set(names)) != len(names):
            raise InvalidInput("openadr.report_points", "must have an r_id each")
        if self.history_points < LEAST_HISTORY_POINTS:
            raise InvalidInput("openadr.history_points", f"must be at least {LEAST_HISTORY_POINTS}")
        self._check_push(self.guard_policy())

    def _check_push(self, policy: GuardPolicy) -> None:
        """Refuse a door at which anybody could speak for the VTN."""
        push = self.push
        if push is None or push.checks_caller or push.allow_plain_http:
            return
        if policy.signature is not SignaturePolicy.REQUIRED:
            raise InvalidInput("openadr.push.client_ca_file", "is needed unless signatures are required")

    def guard_policy(self) -> GuardPolicy:
        """Return what the guard lets in from this VTN."""
        policy = self.signature
        if policy is None:
            policy = SignaturePolicy.REQUIRED if self.fingerprints else SignaturePolicy.OFF
        return GuardPolicy(signature=policy, fingerprints=self.fingerprints, clock_skew=self.clock_skew)
