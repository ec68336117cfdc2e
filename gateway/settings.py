"""Deployment settings: addresses, peers, file paths of secrets, durations. A TOML file, overridden by the environment.

What belongs to a tenant (tree, parties, users, policies) is not here but in rows, seeded by `voltbridge import FILE`.
Every duration is in seconds of market time unless its name says `real`.
"""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from gateway.csms_settings import CsmsListenerSettings, CsmsSettings, check_csms
from gateway.domain.errors import InvalidInput
from gateway.grid_settings import ProgramSettings, VtnSettings, WebhookSettings, check_leases, check_partners
from gateway.oscp_settings import OscpDoorSettings, OscpSettings, check_oscp
from gateway.section import Seconds, Section
from gateway.steering_settings import SteeringBoxSettings, check_steering_boxes

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class StoreSettings(Section):
    """Where rows are."""

    url: str = "sqlite:///var/gateway.sqlite"
    """SQLAlchemy URL: a SQLite file or a PostgreSQL database."""
    messages_kept_days: int = Field(default=730, ge=30)
    """How long raw messages of grid partners, dispatches and what became of them stay; evidence and money stay for ever."""
    reports_kept_days: int = Field(default=90, ge=7)
    """How long reports stay after a grid partner took them."""


class RpcSettings(Section):
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


class WebSettings(Section):
    """The pages."""

    tenant: str = "default"
    """Tenant that people log in to at this address."""
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    """0 picks a free one."""
    tls_key: Path | None = None
    tls_certificate: Path | None = None
    allow_plain_on_loopback: bool = False


class DispatchTimes(Section):
    """How limits are kept and changed."""

    tick: Seconds = 5.0
    lease: Seconds = 120.0
    stability: Seconds = 60.0
    """An increase waits until the reason for it has lasted so long."""
    not_following_after: Seconds = 60.0
    telemetry_stale_after: Seconds = 120.0
    restore_spread: Seconds = 600.0
    """After a limit was relaxed, every charger waits a random part of this more, so that the grid sees no cliff."""
    headroom: float = Field(default=0.05, ge=0.0, le=0.2)
    """Share of every limit and rating left free until it is known how exactly chargers follow."""
    least_headroom: float = Field(default=0.05, ge=0.0, le=0.2)
    """Share left free however exactly they follow; below `headroom` it is earned by measurements."""


class RandomDelaySettings(Section):
    """Changes that schedules and demand response ask for begin at random times: regulation 11 of the British regulations of 2021."""

    nodes: tuple[str, ...] = Field(min_length=1)
    """Nodes below which it is obligatory."""
    longest: float = Field(default=600.0, gt=0, le=1_800)
    """Longest delay; 600 is what the regulation says, 1,800 what a charge point must be able to do."""
    applied_by: tuple[str, ...] = ()
    """Platforms and chargers that delay by themselves: nothing is added for them."""
    response_authorities: tuple[str, ...] = ()
    """Grid partners whose demand response is a response service, which is exempt."""


class FeedSettings(Section):
    """A public place that publishes prices without a key; those of the same product as ENTSO-E's are its fallback."""

    name: Literal[
        "energy-charts",
        "smard",
        "elering",
        "awattar",
        "nord-pool-portal",
        "octopus",
        "elexon",
        "elexon-market-index",
        "caiso-oasis",
    ]
    url: str | None = None
    """Another address than the public one, for example the sandbox's."""
    product_code: str | None = None
    """Octopus: code of the tariff, for example `AGILE-24-10-01`."""
    region: str | None = None
    """Octopus: letter of the distribution region, A to P."""
    with_vat: bool = False
    """Octopus: whether prices are taken with value added tax."""
    node: str | None = None
    """CAISO: pricing node or trading hub, for example `TH_SP15_GEN-APND`."""


class CarbonFeedSettings(Section):
    """A place that publishes carbon intensity and is not Electricity Maps."""

    name: Literal["uk-carbon-intensity", "watttime", "energy-charts", "entsoe-generation"]
    """The last one computes the intensity from what ENTSO-E says was produced; it knows no forecast."""
    url: str | None = None
    """Another address than the public one, for example a test server."""
    postcode: str | None = None
    """Great Britain: outward postcode of the region; None for the national value."""
    region: str | None = None
    """WattTime: name of the grid region."""
    country: str | None = None
    """energy-charts: code of the country, for example `de`."""
    username: str | None = None
    password_file: Path | None = None
    factors: str = "ipcc-ar5-lifecycle"
    """ENTSO-E: set of emission factors in `config/carbon_factors.toml`."""


class MarketSettings(Section):
    """Where prices and carbon come from, and what is bid where."""

    zone: str
    time_zone: str
    entsoe_url: str | None = None
    """Address of ENTSO-E's API; None for a zone that is not on the platform."""
    entsoe_token_file: Path | None = None
    auctions: tuple[
        Literal["day-ahead-exaa", "day-ahead-local", "intraday-ida1", "intraday-ida2", "intraday-ida3"], ...
    ] = ()
    """Auctions beside the coupled one whose prices are gathered from ENTSO-E; `config/market_rules.toml` must tell of them."""
    system: tuple[Literal["load", "load-forecast", "wind-solar-forecast"], ...] = ()
    """What else is gathered from ENTSO-E for the zone: demand, and forecasts of demand, wind and sun."""
    feeds: tuple[FeedSettings, ...] = ()
    """Asked in this order when ENTSO-E has no whole day, and to confirm the one it has."""
    carbon_url: str | None = None
    carbon_token_file: Path | None = None
    carbon_kind: Literal["average", "marginal"] = "average"
    carbon_feed: CarbonFeedSettings | None = None
    """Instead of `carbon_url`: one zone has one source of carbon, because two would answer different questions."""
    history_days: int = Field(default=14, ge=1, le=60)
    """Past days of prices fetched at the start, for forecasts."""


class TariffSettings(Section):
    """A supply contract instead of a market, for `tariff-only` portfolios: energy prices and carbon of one place, from files."""

    zone: str
    """Name of the place in rows; the portfolio's bidding zone."""
    time_zone: str
    currency: str = Field(pattern="^[A-Z]{3}$")
    file: Path
    """Tariff: layers as `config/tariffs/*.toml`, or a time-of-use schedule in JSON (`gateway.market_data.tariff`)."""
    licence: str
    """Of the tariff's data."""
    carbon_file: Path | None = None
    """Marginal carbon intensity; the format is that of `gateway.market_data.sgip_file`."""
    history_days: int = Field(default=14, ge=1, le=60)
    """Past days of prices kept at the start, for forecasts."""


class ExchangeSettings(Section):
    """The auction API."""

    kind: Literal["nord-pool"] = "nord-pool"
    url: str
    token_url: str
    product: str = "CWE_QH_DA_1"
    """The exchange's day-ahead product of the market's zone."""
    username: str
    password_file: Path
    poll: Seconds = 60.0


class BrpSettings(Section):
    """The balance responsible party's door."""

    id: str
    url: str
    token_file: Path


class PlanSettings(Section):
    """When and how tomorrow is planned."""

    tenant: str
    portfolio: str
    plan_at: str = "11:00"
    """Local time of the market on the day before delivery."""
    deadline_real_seconds: Seconds = 120.0
    history_quiet: Seconds = 180.0
    """A past that a charging platform is still filling in is waited for until nothing was written for so long."""
    sweep: Seconds = 60.0
    site_tariff: Path | None = None
    """What comes on top of a market's prices at every connection point: network fees, taxes, levies, demand charges
    (`config/tariffs/*.toml`)."""
    carbon_eur_per_tonne: float = Field(default=0.0, ge=0, le=10_000)
    """What a tonne of CO2 is worth beyond what prices contain, in the portfolio's currency; 0 plans by price alone."""
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
    random_delay: RandomDelaySettings | None = None
    """Left out, nothing is delayed."""
    vtn: tuple[VtnSettings, ...] = ()
    webhook: WebhookSettings | None = None
    """Where VTNs of OpenADR 3 notify us; without it they are only polled."""
    program: tuple[ProgramSettings, ...] = ()
    """Agreements about the events of grid partners; partners without one have the default ones."""
    steering_box: tuple[SteeringBoxSettings, ...] = ()
    """Steering boxes of grid operators that limit nodes of ours."""
    csms: tuple[CsmsSettings, ...] = ()
    """Charging platforms that do not open our gRPC stream."""
    csms_listener: CsmsListenerSettings | None = None
    """Where those platforms call us back."""
    oscp_door: OscpDoorSettings | None = None
    """What all OSCP partners share."""
    oscp: tuple[OscpSettings, ...] = ()
    """Grid partners that speak OSCP 2.0."""
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
        raise InvalidInput(_path(first["loc"]), str(first["msg"])) from error
    _refuse_plain_doors(settings)
    _refuse_double_agreements(settings)
    check_partners(settings.tenants, settings.vtn, settings.program)
    check_oscp(settings.tenants, settings.oscp, settings.oscp_door)
    check_steering_boxes(settings.tenants, settings.steering_box)
    check_csms(settings.tenants, settings.csms, settings.csms_listener)
    own = {f"csms[{place}].lease": entry.lease for place, entry in enumerate(settings.csms) if entry.lease is not None}
    check_leases(settings.program, {"dispatch.lease": settings.dispatch.lease, **own})
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
        raise InvalidInput(field, f"{path} cannot be read ({error.strerror})") from error
    _refuse_other_readers(field, path, mode)
    if not secret:
        raise InvalidInput(field, f"{path} is empty")
    return secret


def private_key(field: str, path: Path | None) -> Path | None:
    """Return the path of a private key that only its owner may read.

    A file that cannot be found is not judged: whoever reads the key says so.

    Raises:
        InvalidInput: The file is readable by others.
    """
    if path is not None and path.exists():
        _refuse_other_readers(field, path, path.stat().st_mode)
    return path


def _refuse_other_readers(field: str, path: Path, mode: int) -> None:
    if mode & 0o077:
        raise InvalidInput(field, f"{path} must be readable by its owner only (mode 0600)")


def seconds(value: float) -> timedelta:
    """Return a duration of settings as a timedelta."""
    return timedelta(seconds=value)


def _path(loc: tuple[int | str, ...]) -> str:
    """Return where a field is as the file says it, for example `vtn[0].url`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


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
