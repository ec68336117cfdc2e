"""What paragraph 14a of the German energy act (EnWG) guarantees to controllable devices, and the relays by which it is ordered.

The grid operator may reduce what controllable devices draw from the grid, never below 4.2 kW each. Behind an energy management system the
sum counts: `4.2 + (n - 1) * simultaneity * 4.2` (Bundesnetzagentur, ruling BK6-22-300, annex 1, 4.5.2). It holds at low voltage and not for
charge points that are open to the public. It is a floor under this authority's orders only: a fuse or anybody else's limit may be lower.
"""

from dataclasses import dataclass
from enum import StrEnum

from gateway.domain.errors import InvalidInput
from gateway.domain.topology import ConnectionPoint

MIN_DEVICE_KW = 4.2
"""What every controllable device may draw, whatever is ordered."""
LOW_VOLTAGE = "low"
SIMULTANEITY = {1: 1.0, 2: 0.80, 3: 0.75, 4: 0.70, 5: 0.65, 6: 0.60, 7: 0.55, 8: 0.50}
"""Factor by number of devices behind an energy management system."""
MANY_SIMULTANEITY = 0.45
"""The factor from nine devices on."""


class DeviceControl(StrEnum):
    """How the grid operator's order reaches the devices."""

    DIRECT = "direct"
    """Each device for itself."""
    EMS = "ems"
    """The sum of all, by an energy management system."""


def guaranteed_kw(device_count: int, control: DeviceControl) -> float:
    """Return what no order may go below, in kW for all devices together.

    Args:
        device_count: Controllable devices behind the connection point, at least 1.
        control: Direct control guarantees 4.2 kW to each; an energy management system has the formula.

    Raises:
        InvalidInput: There is no device.
    """
    if device_count < 1:
        raise InvalidInput("devices", "must be at least 1")
    if control is DeviceControl.DIRECT:
        return device_count * MIN_DEVICE_KW
    factor = SIMULTANEITY.get(device_count, MANY_SIMULTANEITY)
    return MIN_DEVICE_KW + (device_count - 1) * factor * MIN_DEVICE_KW


def require_eligible(field: str, point: ConnectionPoint) -> None:
    """Check that paragraph 14a applies to a connection point.

    Raises:
        InvalidInput: It is not at low voltage or its charge points are open to the public; `field` is named.
    """
    if point.voltage_level != LOW_VOLTAGE:
        raise InvalidInput(field, f"{point.id} is at {point.voltage_level} voltage; paragraph 14a is for low voltage")
    if point.site_class == "public":
        raise InvalidInput(field, f"{point.id} has public charge points; paragraph 14a is not for them")


class RelayState(StrEnum):
    """What two relay contacts of a steering box say (FNN, two bits)."""

    ON = "on"
    """Nothing is limited."""
    DIM = "dim"
    """Down to the guaranteed power."""
    OFF = "off"
    """Nothing may be drawn, where nothing is guaranteed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Relays:
    """Two contacts, true when closed."""

    dim: bool
    off: bool

    @property
    def state(self) -> RelayState:
        """What they say; both closed is a fault and counts as the stricter one."""
        if self.off:
            return RelayState.OFF
        return RelayState.DIM if self.dim else RelayState.ON
