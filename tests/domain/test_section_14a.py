"""What paragraph 14a guarantees, to whom, and what two relays say."""

import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.section_14a import DeviceControl, Relays, RelayState, guaranteed_kw, require_eligible
from gateway.domain.topology import ConnectionPoint


@pytest.mark.parametrize(
    ("count", "kw"),
    [(1, 4.2), (2, 7.56), (3, 10.5), (4, 13.02), (5, 15.12), (6, 16.8), (7, 18.06), (8, 18.9), (9, 19.32), (10, 21.21)],
)
def test_o26_the_sum_behind_an_energy_management_system(count: int, kw: float) -> None:
    assert guaranteed_kw(count, DeviceControl.EMS) == pytest.approx(kw)


def test_o25_each_device_that_is_controlled_directly() -> None:
    assert guaranteed_kw(1, DeviceControl.DIRECT) == 4.2
    assert guaranteed_kw(3, DeviceControl.DIRECT) == pytest.approx(12.6)
    with pytest.raises(InvalidInput):
        guaranteed_kw(0, DeviceControl.DIRECT)


def point(**changes: str) -> ConnectionPoint:
    return ConnectionPoint(
        id="malo-1",
        tenant="t",
        site="s",
        bidding_zone="DE-LU",
        time_zone="Europe/Berlin",
        dso="d",
        brp=None,
        site_class=changes.get("site_class", "workplace"),
        voltage_level=changes.get("voltage_level", "low"),
    )


@pytest.mark.parametrize(
    "changes", [{"site_class": "public"}, {"voltage_level": "medium"}, {"voltage_level": "high"}], ids=str
)
def test_only_private_points_at_low_voltage(changes: dict[str, str]) -> None:
    require_eligible("steering_box[0].connection_point", point())
    with pytest.raises(InvalidInput) as caught:
        require_eligible("steering_box[0].connection_point", point(**changes))
    assert caught.value.field == "steering_box[0].connection_point"


def test_there_is_no_other_voltage_level() -> None:
    with pytest.raises(InvalidInput) as caught:
        point(voltage_level="230")
    assert caught.value.field == "connection_point.voltage_level"


@pytest.mark.parametrize(
    ("dim", "off", "state"),
    [
        (False, False, RelayState.ON),
        (True, False, RelayState.DIM),
        (False, True, RelayState.OFF),
        (True, True, RelayState.OFF),
    ],
)
def test_two_contacts(dim: bool, off: bool, state: RelayState) -> None:
    assert Relays(dim=dim, off=off).state is state
