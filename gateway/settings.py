"""Deployment settings: addresses, peers, file paths of secrets, durations. A TOML file, overridden by the environment.

What belongs to a tenant (tree, parties, users, policies) is not here but in rows, seeded by `voltbridge import FILE`.
Every duration is in seconds of market time unless its name says `real`.
"""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from gateway.domain.errors import InvalidInput

Seconds = Annotated[float, Field(gt=0)]
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Section):
    """Where rows are."""

    url: str = "sqlite:///var/gateway.sqlite"
    """SQLAlchemy URL: a SQLite file or a PostgreSQL database."""
    messages_kept_days: int = Field(default=730, ge=30)
    """How long raw messages of grid partners, dispatches and what became of them stay; evidence and money stay for ever."""
    reports_kept_days: int = Field(default=90, ge=7)
    """How long reports stay after a grid partner took them."""


class RpcSettings(_Section):
    """The gRPC door."""

    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=0, le=65535)
    """0 picks a free one."""
    tls_key: Path | None = None
    tls_certificate: Path | None = None
    tls_client_ca: Path | None = None
    """With it every client must show a certificate that it signed."""
    allow_plain_on_loopback: bool = False
    """Plain text, for a demo on this machine only."""
    with_reflection: bool = False
    heartbeat_real_seconds: Seconds = 5.0


class WebSettings(_Section):
    """The pages."""

    tenant: str = "default"
    """Tenant that people log in to at this address."""
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    """0 picks a free one."""
    tls_key: Path | None = None
    tls_certificate: Path | None = None
    allow_plain_on_loopback: bool = False


class DispatchTimes(_Section):
    """How limits are kept and changed."""

    tick: Seconds = 5.0
    lease: Seconds = 120.0
    stability: Seconds = 60.0
    """An increase waits until the reason for it has lasted so long."""
    not_following_after: Seconds = 60.0
    telemetry_stale_after: Seconds = 120.0
    restore_spread: Seconds = 60.0
    """Restores after an event are spread over so long."""


class Vtn3Settings(_Section):
    """What only a VTN of OpenADR 3.0.1 or 3.1.0 needs to be told about."""

    programs: tuple[str, ...] = ()
    """Names or ids of the programs we take part in; empty for every one that the VTN shows us."""
    resources: dict[str, str] = {}
    """Resources that we make known, by name, to nodes of ours."""
    ask_targets: dict[str, tuple[str, ...]] = {}
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
    private_payloads: dict[str, str] = {}
    """Instruction by payload type that only its programs know."""
    profile: str = ""
    """Profile that its objects must keep, for example `gac-2.2`; empty for none."""
    profiles: dict[str, str] = {}
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


class WebhookSettings(_Section):
    """The listener that VTNs of OpenADR 3 notify us at, one for all of them."""

    host: str = "127.0.0.1"
    """Loopback behind a proxy that ends TLS, or any address with a certificate."""
    port: int = Field(ge=0, le=65535)
    public_url: str
    """Beginning of the addresses that VTNs are told."""
    certificate: Path | None = None
    key: Path | None = None
    allow_plain_on_loopback: bool = False


class VtnPushSettings(_Section):
    """The door that a 2.0b VTN may push to over HTTP; XMPP, the specification's other transport, is not offered."""

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    public_url: str
    """Root address that the VTN is told, port included; it appends `/OpenADR2/Simple/2.0b/{service}`."""
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    """Who may vouch for the VTN's client certificate; required unless the VTN must sign its messages."""
    client_fingerprints: tuple[str, ...] = ()
    """The VTN's client certificate must be one of these too; empty for any."""
    with_polls: bool = True
    """Poll as well, so that a push that was lost is made good and a VTN that is gone is noticed."""


class VtnSettings(_Section):
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
    report_nodes: dict[str, str] = {}
    """More nodes whose usage, history and status are offered, by the name the VTN shall know each by."""
    report_every: float = Field(default=60.0, ge=1.0, le=900.0)
    """Finest granularity that is offered for usage and history."""
    history_points: int = Field(default=192, ge=100, le=2_000)
    """Points of each data point that a report of the whole history holds."""
    targets: dict[str, str] = {}
    """Names the VTN uses for resources and groups, to nodes of ours."""
    device_classes: tuple[str, ...] = ("EVSE", "Electric_Vehicle")
    """End device classes of OpenADR 2.0b that we are; events and signals for others only are refused."""
    poll: Seconds = 10.0
    push: VtnPushSettings | None = None
    """Where a 2.0b VTN may push to; without it we only poll."""
    later_word: Literal["created-event", "opt"] = "created-event"
    """How a 2.0b VTN is told that a person has changed our answer: by another oadrCreatedEvent, or by EiOpt."""
    cancel_at_stop: bool = False
    """Cancel our registration when the gateway stops; otherwise it is taken up at the next start."""
    lost_after: Seconds = 14_400.0
    is_unconditional: bool = False
    """Losing contact with it puts its nodes to fallback or fail-safe."""
    signature: Literal["required", "optional", "off"] = "required"
    fingerprints: tuple[str, ...] = ()
    client_certificate: Path | None = None
    client_key: Path | None = None
    ca: Path | None = None
    allow_plain_on_loopback: bool = False


class ProgramSettings(_Section):
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


class FeedSettings(_Section):
    """A public place that publishes the same prices without a key."""

    name: Literal["energy-charts", "smard", "elering", "awattar", "nord-pool-portal"]
    url: str | None = None
    """Another address than the public one, for example the sandbox's."""


class CarbonFeedSettings(_Section):
    """A place that publishes carbon intensity and is not Electricity Maps."""

    name: Literal["uk-carbon-intensity", "watttime", "entsoe-generation"]
    """The last one computes the intensity from what ENTSO-E says was produced; it knows no forecast."""
    url: str | None = None
    """Another address than the public one, for example a test server."""
    postcode: str | None = None
    """Great Britain: outward postcode of the region; None for the national value."""
    region: str | None = None
    """WattTime: name of the grid region."""
    username: str | None = None
    password_file: Path | None = None
    factors: str = "ipcc-ar5-lifecycle"
    """ENTSO-E: set of emission factors in `config/carbon_factors.toml`."""


class MarketSettings(_Section):
    """Where prices and carbon come from, and what is bid where."""

    zone: str
    time_zone: str
    entsoe_url: str
    entsoe_token_file: Path
    feeds: tuple[FeedSettings, ...] = ()
    """Asked in this order when ENTSO-E has no whole day, and to confirm the one it has."""
    carbon_url: str | None = None
    carbon_token_file: Path | None = None
    carbon_kind: Literal["average", "marginal"] = "average"
    carbon_feed: CarbonFeedSettings | None = None
    """Instead of `carbon_url`: one zone has one source of carbon, because two would answer different questions."""
    history_days: int = Field(default=14, ge=1, le=60)
    """Past days of prices fetched at the start, for forecasts."""


class TariffSettings(_Section):
    """A supply contract instead of a market, for `tariff-only` portfolios: energy prices and carbon of one place, from files."""

    zone: str
    """Name of the place in rows; the portfolio's bidding zone."""
    time_zone: str
    currency: str = Field(pattern="^[A-Z]{3}$")
    file: Path
    """Time-of-use tariff; the format is that of `gateway.market_data.tariff`."""
    licence: str
    """Of the tariff's data."""
    carbon_file: Path | None = None
    """Marginal carbon intensity; the format is that of `gateway.market_data.sgip_file`."""
    history_days: int = Field(default=14, ge=1, le=60)
    """Past days of prices kept at the start, for forecasts."""


class ExchangeSettings(_Section):
    """The auction API."""

    kind: Literal["nord-pool"] = "nord-pool"
    url: str
    token_url: str
    product: str = "CWE_QH_DA_1"
    """The exchange's day-ahead product of the market's zone."""
    username: str
    password_file: Path
    poll: Seconds = 60.0


class BrpSettings(_Section):
    """The balance responsible party's door."""

    id: str
    url: str
    token_file: Path


class PlanSettings(_Section):
    """When and how tomorrow is planned."""

    tenant: str
    portfolio: str
    plan_at: str = "11:00"
    """Local time of the market on the day before delivery."""
    deadline_real_seconds: Seconds = 120.0
    history_quiet: Seconds = 180.0
    """A past that a charging platform is still filling in is waited for until nothing was written for so long."""
    sweep: Seconds = 60.0
    relative_gap: float = Field(default=1e-3, gt=0, le=0.05)
    """Certified gap at which planning stops, as a share of the cost."""


class Settings(BaseSettings):
    """All of the deployment."""

    model_config = SettingsConfigDict(
        env_prefix="VOLTBRIDGE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    tenants: tuple[str, ...] = ("default",)
    """Tenants that this gateway serves."""
    store: StoreSettings = StoreSettings()
    rpc: RpcSettings = RpcSettings()
    web: WebSettings = WebSettings()
    dispatch: DispatchTimes = DispatchTimes()
    vtn: tuple[VtnSettings, ...] = ()
    webhook: WebhookSettings | None = None
    """Where VTNs of OpenADR 3 notify us; without it they are only polled."""
    program: tuple[ProgramSettings, ...] = ()
    """Agreements about the events of grid partners; partners without one have the default ones."""
    market: MarketSettings | None = None
    exchange: ExchangeSettings | None = None
    brp: BrpSettings | None = None
    plan: PlanSettings | None = None
    tariff: TariffSettings | None = None
    """Either a market or a tariff: what a delivery day is must be one thing."""
    clock_file: Path | None = None
    """Market time of a demo; None is real time."""
    ready_file: Path | None = None
    """Written with addresses once everything listens."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_json: bool = True
    ids_seed: int | None = None
    """Reproducible ids for a demo; None takes them from the machine's randomness."""

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file."""
        return env_settings, init_settings

    @property
    def price_zone(self) -> MarketSettings | TariffSettings | None:
        """Where prices are of: the market or the tariff; None for a gateway that only keeps limits."""
        return self.tariff if self.market is None else self.market

    @property
    def time_zones(self) -> dict[str, str]:
        """IANA time zone by zone of prices, those of grid partners' programs included."""
        place = self.price_zone
        zones = {} if place is None else {place.zone: place.time_zone}
        programs = {entry.price_zone or entry.authority: self.time_zone for entry in self.program}
        authorities = dict.fromkeys((vtn.authority for vtn in self.vtn), self.time_zone)
        return authorities | programs | zones

    @property
    def time_zone(self) -> str:
        """IANA time zone that decides what a delivery day is; UTC without prices."""
        place = self.price_zone
        return "UTC" if place is None else place.time_zone


def load_settings(path: Path | None) -> Settings:
    """Read settings from a TOML file and the environment.

    Args:
        path: The file; None takes defaults and the environment.

    Raises:
        InvalidInput: The file is missing or not TOML, or a field is unknown or wrong; the field's path is named.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidInput("config", f"{path.name} cannot be read") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput("config", f"{path.name} is not TOML: {error}") from error
    try:
        settings = Settings(**content)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(".".join(str(part) for part in first["loc"]), str(first["msg"])) from error
    _refuse_plain_doors(settings)
    _refuse_double_agreements(settings)
    if settings.market is not None and settings.tariff is not None:
        raise InvalidInput("tariff", "cannot be given beside market")
    return settings


def read_secret(field: str, path: Path) -> str:
    """Return the secret in a file that only its owner may read.

    Raises:
        InvalidInput: The file is missing, empty, or readable by others; its content is never in the message.
    """
    try:
        mode = path.stat().st_mode
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidInput(field, f"{path.name} cannot be read") from error
    if mode & 0o077:
        raise InvalidInput(field, f"{path.name} must be readable by its owner only (mode 0600)")
    if not secret:
        raise InvalidInput(field, f"{path.name} is empty")
    return secret


def seconds(value: float) -> timedelta:
    """Return a duration of settings as a timedelta."""
    return timedelta(seconds=value)


def _refuse_double_agreements(settings: Settings) -> None:
    keys = [entry.key for entry in settings.program]
    for place, entry in enumerate(settings.program):
        if entry.key in keys[:place]:
            raise InvalidInput(f"program[{place}].program", f"{entry.key} has an entry already")
        is_tariff = settings.tariff is not None and entry.price_product == "tariff-energy"
        if is_tariff and settings.tariff is not None and entry.price_zone == settings.tariff.zone:
            raise InvalidInput(
                f"program[{place}].price_zone", f"{entry.price_zone} has its prices from the tariff's file"
            )


def _refuse_plain_doors(settings: Settings) -> None:
    for name, door in (("rpc", settings.rpc), ("web", settings.web)):
        has_tls = door.tls_key is not None and door.tls_certificate is not None
        if has_tls:
            continue
        if not door.allow_plain_on_loopback or door.host not in LOOPBACK:
            raise InvalidInput(
                f"{name}.tls_certificate", "is required (plain text only on loopback with allow_plain_on_loopback)"
            )
