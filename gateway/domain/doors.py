"""What must survive a restart about charging platforms that have no stream to us: commands under way and registrations."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc


class CommandOutcome(StrEnum):
    """What is known of a command to one charger."""

    PENDING = "pending"
    """It may have left; no answer yet."""
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    """It left and no answer tells whether it took effect; the charger counts at the higher of old and new."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CsmsCommand:
    """The newest command to one charger over a door; one row each, overwritten."""

    id: str
    """`{csms}/{charger}`."""
    tenant: str
    csms: str
    charger: str
    sequence: int
    limit_kw: float
    fallback_kw: float
    sent_at: datetime
    lease_until: datetime
    outcome: CommandOutcome
    detail: str = ""
    """Why it was refused or is unknown."""
    handle: str = ""
    """What the door must know to replace it, for example the stack level in use."""

    def __post_init__(self) -> None:
        """Reject powers that are negative or not finite."""
        require_utc("csms_command.sent_at", self.sent_at)
        require_utc("csms_command.lease_until", self.lease_until)
        for field in ("limit_kw", "fallback_kw"):
            value = getattr(self, field)
            if not np.isfinite(value) or value < 0.0:
                raise InvalidInput(f"csms_command.{field}", "must be a finite number of at least 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class OcpiRegistration:
    """How we and an OCPI platform know each other; one row per platform."""

    id: str
    """The platform, as chargers name it."""
    tenant: str
    version: str
    """Agreed version, for example `2.2.1`."""
    inbound_sha256: str
    """Hash of the token that the platform shows us."""
    outbound_sealed: str
    """The token that we show the platform, encrypted."""
    country_code: str
    party_id: str
    """Of the platform; commands are addressed to it."""
    endpoints: tuple[tuple[str, str, str], ...]
    """Module, role and address of each endpoint of the platform."""
    registered_at: datetime

    def endpoint(self, module: str, role: str) -> str | None:
        """Return the address of a module in a role, for example `chargingprofiles`, `RECEIVER`; None when there is none."""
        return next((url for name, of, url in self.endpoints if (name, of) == (module, role)), None)
