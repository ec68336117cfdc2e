"""Settings about charging platforms that do not open our gRPC stream: OCPI, CitrineOS and signed webhooks.

Every duration is in seconds of market time unless its name says `real`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from gateway.domain.errors import InvalidInput
from gateway.section import Seconds, Section

DoorKind = Literal["ocpi-2.2.1", "ocpi-2.3.0", "citrineos", "webhook"]
BEST_CLASS = {"ocpi-2.2.1": "B", "ocpi-2.3.0": "B", "citrineos": "A", "webhook": "B"}
"""Best enforcement class by kind of door: OCPI reaches running sessions only, a webhook's platform enforces for its chargers."""
USUAL_CLASS = {**BEST_CLASS, "ocpi-2.2.1": "C", "ocpi-2.3.0": "C"}
"""What counts unless the settings say otherwise: OCPI has no fallback layer."""
_OWN_SECTION = {"ocpi-2.2.1": "ocpi", "ocpi-2.3.0": "ocpi", "citrineos": "citrineos", "webhook": "webhook"}


class OcpiSection(Section):
    """What only an OCPI platform needs to be told about."""

    country_code: str = Field(default="BE", pattern="^[A-Z]{2}$")
    party_id: str = Field(default="VBR", pattern="^[A-Z0-9]{3}$")
    """Who we are, as registered."""
    party_name: str = Field(default="Voltbridge", max_length=100)
    seal_key_file: Path | None = None
    """Key of at least 32 characters with which the platform's token lies in the store."""
    watt_chargers: tuple[str, ...] = ()
    """DC chargers, which take watts; all others take amperes per phase."""
    voltage_v: float | None = Field(default=None, gt=0)
    """Measured line-to-neutral voltage; left out, the nominal one of the charger's node."""
    read_back: bool = False
    """Ask what the charger follows after each accepted profile."""
    tail: Seconds = 43_200.0
    """How long the fallback goes on after the lease, in the same profile."""
    most_periods: int = Field(default=24, ge=2, le=1_000)
    """Largest number of periods that its chargers take."""
    history: Seconds = 86_400.0
    """How far back sessions are read at the start."""


class CitrineSection(Section):
    """What only CitrineOS needs to be told about."""

    ocpp: Literal["1.6", "2.0.1"] = "2.0.1"
    tenant_id: str = Field(default="1", pattern="^[A-Za-z0-9_-]{1,64}$")
    """CitrineOS's tenant."""
    evse_id: int = Field(default=1, ge=1)
    """EVSE (2.0.1) or connector (1.6) of each charger, unless its name says `identifier/number`."""
    stack_levels: tuple[int, int, int] = (1, 2, 3)
    """Levels of the fallback and of the live profiles, which alternate: the charger must know the highest."""
    watt_chargers: tuple[str, ...] = ()
    voltage_v: float | None = Field(default=None, gt=0)
    callback_patience: Seconds = 30.0
    """How long the charger's answer is waited for."""
    read_back: bool = True
    """Ask for the composite schedule after each accepted profile."""
    tail: Seconds = 86_400.0
    """How long the fallback profile holds when nobody renews it."""


class WebhookSection(Section):
    """What only a webhook needs to be told about."""

    key_id: str = Field(default="k1", pattern="^[A-Za-z0-9_-]{1,32}$")
    """Name of the key in use."""
    older_key_file: Path | None = None
    """The key before it: signatures with it are still taken, so that keys can be changed."""
    older_key_id: str = Field(default="k0", pattern="^[A-Za-z0-9_-]{1,32}$")
    replay_window: Seconds = 300.0
    """How far a time stamp may be from our clock."""
    retry: Seconds = 2.0
    """First pause before the same message is sent again; doubled each time."""


class CsmsSettings(Section):
    """One charging platform behind one door."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """The platform as the inventory's chargers name it (`csms`)."""
    tenant: str
    kind: DoorKind
    url: str | None = None
    """OCPI: its versions, left out when it registers with us. CitrineOS: root of its API. Webhook: where limits are posted."""
    secret_file: Path | None = None
    """OCPI: token A. CitrineOS: bearer token, where it asks for one. Webhook: signing key of at least 32 characters."""
    enforcement: Literal["A", "B", "C"] | None = None
    """Best class that its targets count as; left out: C for OCPI, B for a webhook, A for CitrineOS."""
    lease: Seconds | None = None
    """How long its commands hold, renewed after a third; left out, as `dispatch.lease`. OCPI and chargers want minutes."""
    chargers: dict[str, str] = Field(default_factory=dict)
    """Our chargers by the platform's names, where they differ."""
    hosts: tuple[str, ...] = ()
    """More hosts that addresses told by the platform may lead to, also in private networks."""
    ca: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    allow_plain_on_loopback: bool = False
    timeout_real_seconds: Seconds = 10.0
    ocpi: OcpiSection = OcpiSection()
    citrineos: CitrineSection = CitrineSection()
    webhook: WebhookSection = WebhookSection()

    @property
    def best_class(self) -> str:
        """Best enforcement class that its targets count as."""
        return self.enforcement or USUAL_CLASS[self.kind]

    @property
    def known_hosts(self) -> frozenset[str]:
        """Hosts that the settings name for it."""
        own = "" if self.url is None else urlsplit(self.url).hostname or ""
        return frozenset({host.lower() for host in (own, *self.hosts) if host})


class CsmsListenerSettings(Section):
    """The port at which platforms call us back, one for all of them."""

    host: str = "127.0.0.1"
    """Loopback behind a proxy that ends TLS, or any address with a certificate."""
    port: int = Field(ge=0, le=65535)
    public_url: str
    """Beginning of the addresses that platforms are told."""
    certificate: Path | None = None
    key: Path | None = None
    allow_plain_on_loopback: bool = False


def check_csms(
    tenants: Sequence[str], platforms: Sequence[CsmsSettings], listener: CsmsListenerSettings | None
) -> None:
    """Refuse platforms that exist twice or belong to nobody, keys of another kind of door, and promises that no door keeps.

    Raises:
        InvalidInput: The first of them; names the key as the settings file does.
    """
    names = [(entry.tenant, entry.name) for entry in platforms]
    paths = [entry.name for entry in platforms]
    for place, entry in enumerate(platforms):
        where = f"csms[{place}]"
        if (entry.tenant, entry.name) in names[:place] or entry.name in paths[:place]:
            raise InvalidInput(f"{where}.name", f"{entry.name} has an entry already")
        if entry.tenant not in tenants:
            raise InvalidInput(f"{where}.tenant", f"{entry.tenant} is not among the tenants of this gateway")
        _check_door(where, entry)
        if listener is None:
            raise InvalidInput("csms_listener", f"is required where a platform calls us back ({entry.name})")


def _check_door(where: str, entry: CsmsSettings) -> None:
    own = _OWN_SECTION[entry.kind]
    for section in ("ocpi", "citrineos", "webhook"):
        if section != own and section in entry.model_fields_set:
            raise InvalidInput(f"{where}.{section}", f"is not for a platform of kind {entry.kind}")
    if entry.best_class < BEST_CLASS[entry.kind]:
        raise InvalidInput(f"{where}.enforcement", f"cannot be better than {BEST_CLASS[entry.kind]} over {entry.kind}")
    if entry.url is None and own != "ocpi":
        raise InvalidInput(f"{where}.url", "is required")
    if entry.secret_file is None and own != "citrineos":
        raise InvalidInput(f"{where}.secret_file", "is required")
    if own == "ocpi" and entry.ocpi.seal_key_file is None:
        raise InvalidInput(f"{where}.ocpi.seal_key_file", "is required")
    if len(set(entry.citrineos.stack_levels)) != len(entry.citrineos.stack_levels) or (
        entry.citrineos.stack_levels[0] != min(entry.citrineos.stack_levels)
    ):
        raise InvalidInput(f"{where}.citrineos.stack_levels", "must be three different levels, the lowest first")
