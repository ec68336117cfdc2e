"""Who may speak about our limits, what is known of the contact with them, and what their silence means.

An authority either sends events (OpenADR) or states limits directly (a capacity provider, a steering box, a charger). What is
agreed with it decides what silence means:

| word of the authority | it cannot be reached | it speaks, but has no limit for now |
| --- | --- | --- |
| unconditional forecasts (a capacity provider) | fallback at once, else fail-safe; never above its last limit | the same |
| unconditional wishes (a steering box) | its limit to its end, then fallback, else fail-safe | nothing of it binds |
| conditional wishes (a charger's own limit) | its last word runs to its end | nothing of it binds |
"""

from dataclasses import dataclass
from datetime import datetime

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc


@dataclass(frozen=True, kw_only=True, slots=True)
class StatedRules:
    """What the silence of authorities that state limits directly means."""

    is_unconditional: bool = True
    """Losing contact with it puts its nodes to its fallback, else to their fail-safe."""
    is_forecast: bool = False
    """It says a limit for every instant: where none covers one, its fallback applies, else the node's fail-safe."""
    most_times_rating: float | None = 10.0
    """Collar: a limit over so many times the rating of its node is a slip of units and refused; None takes any."""

    def __post_init__(self) -> None:
        """Reject a collar under the rating itself."""
        require_collar("stated.most_times_rating", self.most_times_rating)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthorityStanding:
    """What must be remembered of an authority when its limits are long over and when we start again.

    Kept of all that state limits, and of those that send events whose silence puts their nodes to the fail-safe.
    """

    id: str
    """The authority, `{protocol}:{name}`."""
    tenant: str
    nodes: tuple[str, ...]
    """Every node where it ever limited what is drawn, in order."""
    export_nodes: tuple[str, ...] = ()
    """Every node where it ever limited what is fed in, in order."""
    is_lost: bool
    """True while it cannot be reached."""
    changed_at: datetime
    is_released: bool = False
    """True once a person has ended its say here: its silence means nothing until it speaks again."""
    sends_events: bool = False
    """True for one that sends events: what its silence means is set by its program."""

    def __post_init__(self) -> None:
        """Reject an authority without a name and a naive time."""
        if not protocol_of(self.id) or protocol_of(self.id) == self.id:
            raise InvalidInput("authority.id", "must be `{protocol}:{name}`")
        require_utc("authority.changed_at", self.changed_at)


def require_collar(field: str, most_times_rating: float | None) -> None:
    """Check a collar.

    Raises:
        InvalidInput: It is under the rating itself; `field` is named.
    """
    if most_times_rating is not None and not most_times_rating >= 1.0:
        raise InvalidInput(field, "must be at least 1")


def require_plausible(field: str, power_kw: float, rating_kw: float, most_times_rating: float | None) -> None:
    """Check a power that somebody states for a node against the collar.

    Raises:
        InvalidInput: It is over the collar, as by a slip of W for kW; `field` is named.
    """
    if most_times_rating is not None and rating_kw > 0.0 and power_kw > most_times_rating * rating_kw:
        raise InvalidInput(field, f"{power_kw:g} kW is over {most_times_rating:g} times the rating of {rating_kw:g} kW")


def protocol_of(authority: str) -> str:
    """Return the protocol by which an authority speaks: what is before the colon of `{protocol}:{name}`."""
    return authority.partition(":")[0]
