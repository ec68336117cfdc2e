"""Settings about grid partners: VTNs of every dialect, how they reach us, and what their programs mean.

Every duration is in seconds of market time unless its name says `real`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from gateway.domain.errors import InvalidInput
from gateway.section import Seconds, Section

ONLY_20B = (
    "ven_id",
    "vtn_id",
    "market_contexts",
    "profile",
    "applies_broken",
    "report_nodes",
    "report_every",
    "history_points",
    "device_classes",
    "push",
    "later_word",
    "on_shortfall",
    "cancel_at_stop",
    "signature",
    "fingerprints",
    "signing_certificate",
    "signing_key",
    "clock_skew",
)
"""Keys of `[[vtn]]` that mean nothing to a VTN of OpenADR 3, whose own keys are in `[vtn.v3]`."""
_FINGERPRINT = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){9}((:[0-9A-F]{2}){22})?")


def _fingerprint(text: str) -> str:
    upper = text.strip().upper()
    if _FINGERPRINT.fullmatch(upper) is None:
        raise PydanticCustomError(
            "fingerprint", "must be hex pairs with colons: the last 10 bytes of a certificate's SHA-256, or all 32"
        )
    return upper


Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
"""A certificate's SHA-256 as `AA:BB:...`: the last 10 bytes (conformance rule 512) or all 32; lower case is taken too."""


class Vtn3Settings(Section):
    """What only a VTN of OpenADR 3.0.1 or 3.1.0 needs to be told about."""

    programs: tuple[str, ...] = ()
    """Names or ids of the programs we take part in; empty for every one that the VTN shows us."""
    resources: dict[str, str] = Field(default_factory=dict)
    """Resources that we make known, by name, to nodes of ours."""
    ask_targets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Targets to ask with beside those that the VTN granted us, by target type; the type is ignored in 3.1.0."""
    client_id: str | None = None
    """For OAuth2 client credentials; without it we ask anonymously."""
    client_secret_file: Path | None = None
    token_url: str | None = None
    """Left out, the VTN says (`/auth/server`)."""
    scope: str | None = None
    """Left out, what a VEN needs."""
    registers: bool = True
    """Make our ven and resources known; a public tariff server knows no vens."""
    survey: Seconds = 900.0
    """How often programs, our ven and our resources are read again."""
    horizon: Seconds = 259_200.0
    """How far ahead an event that repeats without end is unrolled."""
    control_setpoint: Literal["information", "target-kw", "target-delta-kw"] = "information"
    """What CONTROL_SETPOINT in a unit of power means in its programs."""
    unasked_errors: bool = False
    """Report that chargers cannot keep an event (OPERATING_STATE, ERROR) also where the event asks for no such report."""
    private_payloads: dict[str, str] = Field(default_factory=dict)
    """Instruction by payload type that only its programs know."""
    profile: str = ""
    """Profile that its objects must keep, for example `gac-2.2`; empty for none."""
    profiles: dict[str, str] = Field(default_factory=dict)
    """Profile by name or id of a program; others have `profile`."""
    applies_broken: bool = False
    """Use objects that break their profile all the same, and say so."""
    mqtt: bool = False
    """Listen to the VTN's MQTT broker, where it has one: changes are looked at when they happen, not only at the next poll."""
    webhook: bool = False
    """Be notified over `[webhook]`; polls go on as the truth."""
    mqtt_ca: Path | None = None
    """Authorities to trust for the broker; left out, those for the VTN."""
    report_part: Seconds = 900.0
    """Length of report intervals that are left to us."""
    report_patience: Seconds = 300.0
    """How long after an interval its last meter readings are waited for."""


class WebhookSettings(Section):
    """The listener that VTNs of OpenADR 3 notify us at, one for all of them."""

    host: str = "127.0.0.1"
    """Loopback behind a proxy that ends TLS, or any address with a certificate."""
    port: int = Field(ge=0, le=65535)
    public_url: str
    """Beginning of the addresses that VTNs are told."""
    certificate: Path | None = None
    key: Path | None = None
    allow_plain_on_loopback: bool = False


class VtnPushSettings(Section):
    """The door that a 2.0b VTN may push to over HTTP; XMPP, the specification's other transport, is not offered."""

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    public_url: str
    """Root address that the VTN is told, port included; it appends `/OpenADR2/Simple/2.0b/{service}`."""
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    """Who may vouch for the VTN's client certificate; required unless the VTN must sign its messages."""
    client_fingerprints: tuple[Fingerprint, ...] = ()
    """The VTN's client certificate must be one of these too; empty for any."""
    with_polls: bool = True
    """Poll as well, so that a push that was lost is made good and a VTN that is gone is noticed."""


class VtnSettings(Section):
    """One OpenADR VTN that we are a VEN of."""

    authority: str
    tenant: str
    dialect: Literal["2.0b", "3.0.1", "3.1.0"] = "2.0b"
    url: str
    ven_name: str
    ven_id: str | None = None
    """Our id, where a 2.0b VTN has given it out beforehand; None lets it choose one at registration."""
    vtn_id: str | None = None
    market_contexts: tuple[str, ...] = ()
    """Programmes of a 2.0b VTN that we take part in; at least one."""
    profile: str = ""
    """Profile that the events of a 2.0b VTN must keep; empty for none. For 3.x it is `v3.profile`."""
    applies_broken: bool = False
    """Use events of a 2.0b VTN that break its profile all the same, and say so."""
    v3: Vtn3Settings = Vtn3Settings()
    portfolio_node: str
    """Node that untargeted events address and whose usage and status are reported."""
    report_nodes: dict[str, str] = Field(default_factory=dict)
    """More nodes whose usage, history and status are offered, by the name the VTN shall know each by."""
    report_every: float = Field(default=60.0, ge=1.0, le=900.0)
    """Finest granularity that is offered for usage and history."""
    history_points: int = Field(default=192, ge=100, le=2_000)
    """Points of each data point that a report of the whole history holds."""
    targets: dict[str, str] = Field(default_factory=dict)
    """Names the VTN uses for resources and groups, to nodes of ours."""
    device_classes: tuple[str, ...] = ("EVSE", "Electric_Vehicle")
    """End device classes of OpenADR 2.0b that we are; events and signals for others only are refused."""
    poll: Seconds = 10.0
    push: VtnPushSettings | None = None
    """Where a 2.0b VTN may push to; without it we only poll."""
    later_word: Literal["created-event", "opt"] = "created-event"
    """How a 2.0b VTN is told that a person has changed our answer: by another oadrCreatedEvent, or by EiOpt."""
    on_shortfall: Literal["status", "opt-out"] = "status"
    """How a 2.0b VTN is told that chargers cannot keep what an event asks for: by the status reports that it asks for, or beside them
    by EiOpt (optOut, notParticipating) for the event. The first leaves the event agreed; for 3.x see `unasked_errors`."""
    cancel_at_stop: bool = False
    """Cancel our registration when the gateway stops; otherwise it is taken up at the next start."""
    lost_after: Seconds = 14_400.0
    is_unconditional: bool = False
    """Losing contact with it puts its nodes to fallback or fail-safe."""
    signature: Literal["required", "optional", "off"] = "required"
    """XML signatures of a 2.0b VTN: required, checked where there is one, or not looked at."""
    fingerprints: tuple[Fingerprint, ...] = ()
    """Certificates that may sign the messages of a 2.0b VTN."""
    clock_skew: Seconds = 30.0
    """How far the time stamp in a signature of a 2.0b VTN may be from our clock, both ways."""
    signing_certificate: Path | None = None
    """Certificate that our messages to a 2.0b VTN are signed with; without it they go unsigned."""
    signing_key: Path | None = None
    """Its key, not encrypted."""
    tls_fingerprints: tuple[Fingerprint, ...] = ()
    """The certificate that the VTN's server shows must be one of these too, in every dialect; empty for any that `ca` vouches for."""
    client_certificate: Path | None = None
    """Ours for the connection."""
    client_key: Path | None = None
    """Its key; left out, it is in the same file."""
    ca: Path | None = None
    """Who may vouch for the VTN's server; left out, the machine's own list."""
    allow_plain_on_loopback: bool = False


class ProgramSettings(Section):
    """What was agreed about the events of one grid partner, or of one program of it; the more specific entry stands alone."""

    authority: str
    program: str = ""
    """Market context (OpenADR 2.0b) or program id (3.x); empty for every program without an entry of its own."""
    opt: Literal["auto", "ask", "capacity"] = "auto"
    """`auto` follows what agreement and guarantees allow; `ask` lets a person decide otherwise; `capacity` also opts out of what
    the fleet cannot deliver."""
    ask_default: Literal["optIn", "optOut"] | None = None
    """Of `ask`: the answer given at once where nothing stands against the event; left out: optIn."""
    ask_within: Seconds = 900.0
    """Of `ask`: how long a person has, at most until the event begins."""
    min_notice: float = Field(default=0.0, ge=0)
    """Shorter notice is answered optOut, in seconds."""
    most_events_per_day: int | None = Field(default=None, ge=0)
    protects_guarantees: bool = True
    """Answer optOut when drivers' guarantees need more than the event leaves."""
    is_mandatory: bool = False
    """Its events must be followed."""
    longest_lease: Seconds | None = None
    """Its rule for chargers that lose us, in seconds: no lease may hold longer before they fall back. Left out: no rule."""
    most_times_rating: float = Field(default=100.0, ge=1)
    """A limit over so many times the rating of its node is refused as a slip of units; `inf` takes any."""
    requires_enrolment: bool = False
    """Only nodes with an enrolment in force may be called."""
    simple_fraction: tuple[float, float, float, float] = (1.0, 0.7, 0.4, 0.0)
    """Most that may be drawn at SIMPLE levels 0 to 3, as a fraction of the rating."""
    level_fraction: tuple[float, ...] = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
    """The same at level offsets -1 to -10, as a fraction of normal operation."""
    normal: Literal["rating", "baseline"] = "rating"
    """What level and percent offsets count from."""
    price_zone: str = ""
    """Zone under which its prices and carbon are kept; empty for the authority's name."""
    price_product: Literal["program-tariff", "tariff-energy"] = "program-tariff"
    """`tariff-energy` lets a tariff-only portfolio of the zone plan on them."""
    carbon_kind: Literal["average", "marginal"] = "marginal"

    @property
    def key(self) -> str:
        """Name of the agreement: `{authority}` or `{authority}:{program}`."""
        return f"{self.authority}:{self.program}" if self.program else self.authority


def check_leases(programs: Sequence[ProgramSettings], leases: Mapping[str, float]) -> None:
    """Refuse leases that are longer than an agreement allows: chargers would be without us for too long before they fall back.

    Args:
        programs: The agreements.
        leases: Seconds of every lease, by the settings key that says it.

    Raises:
        InvalidInput: The first of them; names both keys.
    """
    for place, program in enumerate(programs):
        for key, seconds in leases.items():
            if program.longest_lease is not None and seconds > program.longest_lease:
                raise InvalidInput(
                    f"program[{place}].longest_lease", f"allows {program.longest_lease:g} s, {key} is {seconds:g} s"
                )


def check_partners(tenants: Sequence[str], vtns: Sequence[VtnSettings], programs: Sequence[ProgramSettings]) -> None:
    """Refuse partners that exist twice or belong to nobody, keys of the other dialect, and agreements with nobody.

    Raises:
        InvalidInput: The first of them; names the key as the settings file does.
    """
    authorities = [vtn.authority for vtn in vtns]
    for place, vtn in enumerate(vtns):
        where = f"vtn[{place}]"
        if vtn.authority in authorities[:place]:
            raise InvalidInput(f"{where}.authority", f"{vtn.authority} has an entry already")
        if vtn.tenant not in tenants:
            raise InvalidInput(f"{where}.tenant", f"{vtn.tenant} is not among the tenants of this gateway")
        _refuse_other_dialect(where, vtn)
        _refuse_halves(where, vtn)
    for place, program in enumerate(programs):
        if program.authority not in authorities:
            raise InvalidInput(f"program[{place}].authority", f"{program.authority} is no [[vtn]] of this gateway")


def _refuse_other_dialect(where: str, vtn: VtnSettings) -> None:
    """A key that would be ignored may be one that somebody relies on, such as a profile."""
    if vtn.dialect == "2.0b":
        if "v3" in vtn.model_fields_set:
            key = next((f".{name}" for name in Vtn3Settings.model_fields if name in vtn.v3.model_fields_set), "")
            raise InvalidInput(f"{where}.v3{key}", "is for OpenADR 3; this VTN speaks 2.0b")
        return
    for key in ONLY_20B:
        if key in vtn.model_fields_set:
            instead = f"; say v3.{key}" if key in Vtn3Settings.model_fields else ""
            raise InvalidInput(f"{where}.{key}", f"is for OpenADR 2.0b; this VTN speaks {vtn.dialect}{instead}")


def _refuse_halves(where: str, vtn: VtnSettings) -> None:
    if vtn.signature == "off" and vtn.fingerprints:
        raise InvalidInput(
            f"{where}.fingerprints", "say who may sign, but signature is off; tls_fingerprints pin the connection"
        )
    if vtn.signing_certificate is None and vtn.signing_key is not None:
        raise InvalidInput(f"{where}.signing_certificate", "is required with signing_key")
    if vtn.signing_key is None and vtn.signing_certificate is not None:
        raise InvalidInput(f"{where}.signing_key", "is required with signing_certificate")
    if vtn.client_certificate is None and vtn.client_key is not None:
        raise InvalidInput(f"{where}.client_certificate", "is required with client_key")
