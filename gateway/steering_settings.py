"""Settings about steering boxes of grid operators: who speaks for which box, what it steers, and what was agreed.

Every duration is in seconds of market time.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from gateway.domain.errors import InvalidInput
from gateway.section import Section

FAILSAFE_SECONDS = (7_200.0, 86_400.0)


class SteeringBoxSettings(Section):
    """One steering box, or the sidecar that speaks EEBUS, reads relays or telecontrol for it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name in the addresses of its doors; its limits are those of the authority `lpc:{name}`."""
    tenant: str
    node: str
    """Node that it steers."""
    account: str = ""
    """Login name of the program that speaks for it, with the role `steering-box`; left out, the name of the box."""
    limits: tuple[Literal["consumption", "production"], ...] = Field(default=("consumption",), min_length=1)
    """What it limits: `consumption` (EEBUS LPC), `production` (LPP) or both."""
    section_14a: bool = False
    """Paragraph 14a of the German energy act: a guaranteed minimum, and limits for what is drawn from the grid only."""
    connection_point: str = ""
    """Of paragraph 14a: the connection point, at low voltage and not public."""
    devices: int = Field(default=1, ge=1, le=10_000)
    """Of paragraph 14a: controllable devices behind the connection point."""
    control: Literal["direct", "ems"] = "ems"
    """Of paragraph 14a: each device for itself, or their sum by an energy management system."""
    failsafe_kw: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Limit of consumption while the box is silent, until it writes another; left out, 4.2 kW or what is guaranteed."""
    failsafe_production_kw: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """The same for production."""
    failsafe_duration: float = Field(default=FAILSAFE_SECONDS[0], ge=FAILSAFE_SECONDS[0], le=FAILSAFE_SECONDS[1])
    """How long the failsafe lasts at least, until the box writes another."""
    leaves_init: bool = True
    """LPC-906: a box that was never heard, or is heard and says no limit, lets go 120 seconds after our start."""
    leaves_without_limit: bool = True
    """LPC-921: a box that is heard again and says no limit for 120 seconds lets go."""
    leaves_after_minimum: bool = False
    """LPC-922: a box that stays silent lets go after the minimum duration."""
    dim_kw: float = Field(default=4.2, ge=0, allow_inf_nan=False)
    """Limit that the relay state `dim` means, never under what is guaranteed."""

    @property
    def actor(self) -> str:
        """Login name of the program that speaks for it."""
        return self.account or self.name


def check_steering_boxes(tenants: Sequence[str], boxes: Sequence[SteeringBoxSettings]) -> None:
    """Refuse boxes that exist twice or belong to nobody, and halves of an agreement.

    Raises:
        InvalidInput: The first of them; names the key as the settings file does.
    """
    names = [box.name for box in boxes]
    for place, box in enumerate(boxes):
        where = f"steering_box[{place}]"
        if box.name in names[:place]:
            raise InvalidInput(f"{where}.name", f"{box.name} has an entry already")
        if box.tenant not in tenants:
            raise InvalidInput(f"{where}.tenant", f"{box.tenant} is not among the tenants of this gateway")
        if box.section_14a and not box.connection_point:
            raise InvalidInput(f"{where}.connection_point", "is required with section_14a")
        if box.section_14a and "consumption" not in box.limits:
            raise InvalidInput(f"{where}.limits", "must name consumption with section_14a")
        for key in ("connection_point", "devices", "control"):
            if key in box.model_fields_set and not box.section_14a:
                raise InvalidInput(f"{where}.{key}", "is for section_14a only")
