"""The steering boxes of a deployment and what was agreed for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from gateway.domain.limits import Direction
from gateway.domain.section_14a import RelayState
from gateway.domain.steering import LimitationRules

PROTOCOL = "lpc"


@dataclass(frozen=True, kw_only=True, slots=True)
class SteeringBox:
    """One box of a grid operator, and the node that it steers."""

    name: str
    tenant: str
    node: str
    account: str
    """Actor of the program that speaks for the box; nobody else may."""
    rules: Mapping[Direction, LimitationRules]
    """By direction that it limits; at least one."""
    dim_kw: float
    """What the relay state `dim` means; never under what is guaranteed."""
    is_section_14a: bool = False
    """Paragraph 14a EnWG: the limit holds for what is drawn from the grid, and a minimum is guaranteed."""
    connection_point: str = ""
    """Where paragraph 14a applies."""
    where: str = "steering_box"
    """Path of its settings, for errors."""

    @property
    def authority(self) -> str:
        """Under which name its limits are known."""
        return f"{PROTOCOL}:{self.name}"

    def relay_kw(self, state: RelayState) -> float | None:
        """Return the limit in kW that a relay state means; None for none."""
        match state:
            case RelayState.ON:
                return None
            case RelayState.DIM:
                return self.dim_kw
            case _:
                return 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SteeringSettings:
    """All boxes."""

    boxes: tuple[SteeringBox, ...] = ()
    tenants: tuple[str, ...] = ()
    """Whose boxes of earlier days are let go of when they are no longer configured."""
    proof_every: timedelta = timedelta(seconds=60)
    """How often commands and measurements are looked at for open orders."""
    proof_lingers: timedelta = timedelta(minutes=5)
    """So long after the end of an order its commands are still looked for."""
    retry_after: timedelta = timedelta(seconds=1)
    """Pause after the store failed."""
    sweep: timedelta = timedelta(seconds=60)
    """Longest pause between two looks at what is due."""
    named: Mapping[tuple[str, str], SteeringBox] = field(init=False)
    """Boxes by tenant and name."""

    def __post_init__(self) -> None:
        """Make boxes findable."""
        object.__setattr__(self, "named", {(box.tenant, box.name): box for box in self.boxes})
