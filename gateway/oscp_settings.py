"""Settings about OSCP 2.0 partners: capacity providers, capacity optimisers and flexibility providers.

Every duration is in seconds of market time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from gateway.domain.errors import InvalidInput
from gateway.section import Seconds, Section


class OscpDoorSettings(Section):
    """What all OSCP partners share; the door itself is `/oscp` of the page server."""

    public_url: str
    """Beginning of our addresses as partners are told them, without a slash at the end; it leads to `/oscp` of the page server."""
    seal_key_file: Path
    """Key that encrypts the tokens that we show partners, at least 32 characters; losing it means registering anew."""


class OscpSettings(Section):
    """One partner over OSCP 2.0."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Ours for it; its limits are those of the authority `oscp:{name}`."""
    tenant: str
    role: Literal["capacity-provider", "capacity-optimizer", "flexibility-provider"] = "capacity-provider"
    """What it is to us; towards a flexibility provider we are the optimiser."""
    most_times_rating: float = Field(default=10.0, ge=1)
    """A limit over so many times the rating of its node is refused as a slip of units; `inf` takes any."""
    token_file: Path
    """The one-time token that was agreed outside of the protocol; another one is needed to register again after leaving."""
    url: str = ""
    """Where it takes registrations: then we begin; left out, it begins."""
    hosts: tuple[str, ...] = ()
    """Hosts of it that may lie in private networks; public ones need not be named."""
    ca: Path | None = None
    """Who may vouch for its server; left out, the machine's own list."""
    allow_plain_on_loopback: bool = False
    heartbeat: Seconds = 60.0
    """How often we want its heartbeats; how often it wants ours, it says."""
    sends_handshake: bool | None = None
    """We shake hands first; left out, with an optimiser only."""
    acknowledgment: bool = False
    """It calls handshake_acknowledge `handshake_acknowledgment`; otherwise that is found out."""
    naive_time_zone: str = ""
    """Zone of its times where they have none, in both directions; left out, such times are refused."""
    asks_for_more: bool = True
    """Ask a provider for more capacity where cars would draw more than it allows, once per block."""
    measurement_patience: Seconds = 7_200.0
    """How long a quarter of an hour without measurements is waited for before the energy register goes on without it."""
    asset_every: Seconds = 300.0
    """How often an optimiser is told what chargers draw."""

    @property
    def authority(self) -> str:
        """Name under which its limits are kept."""
        return f"oscp:{self.name}"

    @property
    def naive_zone(self) -> ZoneInfo | None:
        """Zone of its times where they have none."""
        return ZoneInfo(self.naive_time_zone) if self.naive_time_zone else None


def check_oscp(tenants: Sequence[str], partners: Sequence[OscpSettings], door: OscpDoorSettings | None) -> None:
    """Refuse partners that exist twice, belong to nobody or have no door, and zones that nobody knows.

    Raises:
        InvalidInput: The first of them; names the key as the settings file does.
    """
    names = [partner.name for partner in partners]
    if partners and door is None:
        raise InvalidInput("oscp_door", "is required with [[oscp]]")
    if door is not None and door.public_url.endswith("/"):
        raise InvalidInput("oscp_door.public_url", "must not end with a slash")
    for place, partner in enumerate(partners):
        where = f"oscp[{place}]"
        if partner.name in names[:place]:
            raise InvalidInput(f"{where}.name", f"{partner.name} has an entry already")
        if partner.tenant not in tenants:
            raise InvalidInput(f"{where}.tenant", f"{partner.tenant} is not among the tenants of this gateway")
        try:
            _ = partner.naive_zone
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise InvalidInput(f"{where}.naive_time_zone", "must be an IANA time zone") from error
