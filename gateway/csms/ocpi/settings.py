"""What an OCPI door is told about its platform and about itself."""

from dataclasses import dataclass, field
from datetime import timedelta

from gateway.csms.ocpi.profiles import ProfileRules
from gateway.domain.errors import InvalidInput

VERSIONS = ("2.2.1", "2.3.0")


@dataclass(frozen=True, kw_only=True, slots=True)
class OcpiSettings:
    """One platform reached over OCPI; durations in market time unless said otherwise."""

    version: str
    root_url: str
    """Beginning of our addresses for this platform, as it reaches them."""
    token_a: str = field(repr=False)
    """Exchanged beforehand, for the registration."""
    versions_url: str | None = None
    """The platform's versions; None waits for the platform to register with us."""
    country_code: str = "BE"
    party_id: str = "VBR"
    """Who we are."""
    name: str = "Voltbridge"
    charger_of: dict[str, str] = field(default_factory=dict)
    """Our charger by the platform's EVSE uid, where they differ."""
    watt_chargers: frozenset[str] = frozenset()
    """DC chargers, which take watts."""
    voltage_v: float | None = None
    """Measured line-to-neutral voltage; None takes the nominal one of the charger's node."""
    longest_result: timedelta = timedelta(minutes=5)
    """A platform that promises its result later than this is not waited for longer."""
    read_back: bool = False
    """Ask what a charger follows after each accepted profile: one more exchange, but proof."""
    retry_every: timedelta = timedelta(seconds=60)
    """Pause between attempts to register."""
    history: timedelta = timedelta(hours=24)
    """How far back sessions are read at the start."""
    profile: ProfileRules = field(default_factory=ProfileRules)

    def __post_init__(self) -> None:
        """Reject a version that is not spoken and codes that are none."""
        if self.version not in VERSIONS:
            raise InvalidInput("csms.version", f"must be one of {', '.join(VERSIONS)}")
        if len(self.country_code) != 2 or len(self.party_id) != 3:
            raise InvalidInput("csms.party_id", "must be three characters, csms.country_code two")
        if len(self.token_a) > 64:
            raise InvalidInput("csms.token_file", "must hold at most 64 characters (OCPI credentials)")
