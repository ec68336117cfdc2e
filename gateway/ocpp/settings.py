"""Settings of the reference CSMS: a TOML file, checked as a whole before anything starts."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.domain.errors import InvalidInput

Seconds = Annotated[float, Field(gt=0)]
_SHA256_HEX = r"^[0-9a-f]{64}$"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConnectorSettings(_Table):
    """A connector (1.6) or EVSE (2.x) and the charger of the site tree that it is."""

    id: Annotated[int, Field(ge=1, le=99)] = 1
    charger: Annotated[str, Field(min_length=1)]


class StationSettings(_Table):
    """One charging station that may connect."""

    identity: Annotated[str, Field(min_length=1, max_length=48)]
    """Last part of the address that it connects to, and its user name."""
    password_sha256: Annotated[str, Field(pattern=_SHA256_HEX)] | None = None
    """SHA-256 of its password, hex (security profiles 1 and 2); None: it has none."""
    certificate_name: str | None = None
    """Common name or DNS name in its client certificate (security profile 3); None: it shows none."""
    connectors: Annotated[tuple[ConnectorSettings, ...], Field(min_length=1)]
    carrier: Literal["transaction", "station"] = "transaction"
    """Which profiles carry limits: those of transactions, or where it takes them those of the station as a whole."""
    expiry: Literal["duration", "period"] = "duration"
    """How a lease ends in the charger: the schedule ends, or its second period is the fallback."""
    unit: Literal["auto", "A", "W"] = "auto"
    """Unit of limits; auto takes amperes for AC and watts for DC where the charger has them."""
    is_dc: bool = False
    whole_amperes: bool = False
    """Whether limits are rounded down to whole amperes."""
    nominal_voltage_v: Annotated[float, Field(gt=0)] = 230.0
    """Line to neutral, until it was measured."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({connector.id for connector in self.connectors}) != len(self.connectors):
            raise ValueError("connectors have the same id")
        if self.carrier == "station" and len(self.connectors) > 1:
            raise ValueError("the station's profile cannot carry limits of several connectors")
        return self

    @property
    def security_profile(self) -> int:
        """Least OCPP security profile that this station must keep; whether TLS is needed is the listener's word."""
        return 3 if self.certificate_name is not None else int(self.password_sha256 is not None)


class ListenSettings(_Table):
    """Where chargers connect."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9000
    certificate: Path | None = None
    """Server certificate with its chain, PEM; None listens in plain text."""
    private_key: Path | None = None
    client_ca: Path | None = None
    """Who signs the certificates of stations (security profile 3)."""

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine can connect."""
        return self.host in _LOOPBACK


class GatewaySettings(_Table):
    """How the gateway is reached."""

    address: str = "127.0.0.1:50051"
    token_file: Path | None = None
    """Bearer token of the CSMS's account; None when the client certificate proves it."""
    ca: Path | None = None
    """Who signed the gateway's certificate; None speaks plain text, on loopback only."""
    certificate: Path | None = None
    private_key: Path | None = None


class TimeSettings(_Table):
    """Durations in seconds of the clock, which runs faster than real time in the demo, unless the name says `real`."""

    answer_real: Seconds = 15.0
    """How long a charger may take to answer."""
    heartbeat: Annotated[int, Field(gt=0)] = 300
    meter_interval: Annotated[int, Field(gt=0)] = 20
    telemetry: Seconds = 10.0
    """How often measurements go to the gateway."""
    idle_zero: Seconds = 60.0
    """How often a connected charger without a car is reported at 0 kW."""
    boot_wait: Seconds = 3.0
    """How long a charger that connects may take to say that it has booted before profiles are pushed."""
    renew_share: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """A profile is written again once less than this share of its lease is left: writing wears flash memory."""
    first_retry: Seconds = 30.0
    """Before a refused profile is tried again; doubles with every refusal."""
    longest_retry: Seconds = 600.0
    settle_real: Seconds = 25.0
    """How long an acknowledgement to the gateway may wait for slow chargers."""
    reconnect_real: Seconds = 1.0
    """Before the gateway is called again."""


class CsmsSettings(_Table):
    """The whole file."""

    name: Annotated[str, Field(min_length=1)] = "voltbridge-csms"
    state_folder: Path
    clock_file: Path | None = None
    """Market time of the demo; None is real time."""
    listen: ListenSettings = ListenSettings()
    gateway: GatewaySettings = GatewaySettings()
    times: TimeSettings = TimeSettings()
    stations: Annotated[tuple[StationSettings, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        chargers = [connector.charger for station in self.stations for connector in station.connectors]
        for what, names in (("identity", [s.identity for s in self.stations]), ("charger", chargers)):
            if len(set(names)) != len(names):
                raise ValueError(f"a {what} appears twice")
        listen = self.listen
        if (listen.certificate is None) != (listen.private_key is None):
            raise ValueError("listen.certificate and listen.private_key belong together")
        is_bare = any(station.security_profile == 0 for station in self.stations)
        if not listen.is_loopback and (is_bare or listen.certificate is None):
            raise ValueError(
                "outside loopback every station needs a password or a certificate, and listen one of its own"
            )
        if listen.client_ca is None and any(station.certificate_name is not None for station in self.stations):
            raise ValueError("listen.client_ca is needed for stations with certificates")
        return self

    def station_of(self, charger: str) -> StationSettings:
        """Return the station that a charger belongs to.

        Raises:
            InvalidInput: No station has it.
        """
        for station in self.stations:
            if any(connector.charger == charger for connector in station.connectors):
                return station
        raise InvalidInput("charger", f"no station of the settings has {charger}")


def load_csms_settings(path: Path) -> CsmsSettings:
    """Read the settings file.

    Raises:
        InvalidInput: The file is missing or not TOML, or a field is unknown or wrong; the field's path is named.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput("config", f"{path.name} cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("config", f"{path.name} is not TOML: {error}") from error
    try:
        return CsmsSettings(**content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "config"
        raise InvalidInput(where, str(first["msg"])) from error
