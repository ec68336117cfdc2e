"""What chargers measure, in the words of every version."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.domain.errors import InvalidInput
from gateway.ocpp.readings import fold, read_instant, read_samples, readings_of, write_instant
from gateway.ocpp.words import Measured, Reading

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("samples", "power_kw", "energy_kwh"),
    [
        ([{"value": "1500"}], None, 1.5),
        ([{"value": "1.5", "unit": "kWh"}, {"value": "7000", "measurand": "Power.Active.Import"}], 7.0, 1.5),
        (
            [{"value": 7, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "W", "multiplier": 3}}],
            7.0,
            None,
        ),
        ([{"value": "0", "measurand": "Power.Active.Import"}], 0.0, None),
        (
            [
                {"value": "2300", "measurand": "Power.Active.Import", "phase": "L1"},
                {"value": "2.3", "measurand": "Power.Active.Import", "phase": "L2", "unit": "kW"},
            ],
            4.6,
            None,
        ),
        ([{"value": "nan", "measurand": "Power.Active.Import"}, {"value": "-"}], None, None),
        ([{"value": "1", "format": "SignedData"}], None, None),
        ([{"value": 1, "unitOfMeasure": {"multiplier": 9999}}], None, None),
        ([{"value": "55", "measurand": "SoC", "unit": "Percent"}], None, None),
    ],
)
def test_values_are_read_in_their_units(
    samples: list[dict[str, Any]], power_kw: float | None, energy_kwh: float | None
) -> None:
    reading = read_samples(AT, samples)
    assert reading.power_kw == pytest.approx(power_kw)
    assert reading.energy_kwh == pytest.approx(energy_kwh)


def test_voltage_is_line_to_neutral_and_a_dead_phase_does_not_count() -> None:
    def volts(value: str, phase: str) -> dict[str, str]:
        return {"value": value, "measurand": "Voltage", "phase": phase}

    assert read_samples(AT, [volts("231", "L1-N"), volts("0", "L2-N")]).voltage_v == pytest.approx(231.0)
    assert read_samples(AT, [volts("400", "L1-L2")]).voltage_v == pytest.approx(230.94, abs=0.01)


def test_power_follows_from_currents_or_from_the_register_where_it_is_not_measured() -> None:
    known = Measured()
    fold(known, Reading(at=AT, energy_kwh=1.0, voltage_v=230.0))
    assert known.reading is not None
    assert known.reading.power_kw is None, "unknown is not zero"
    fold(known, Reading(at=AT + timedelta(minutes=6), energy_kwh=2.0))
    assert known.reading.power_kw == pytest.approx(10.0)
    fold(known, Reading(at=AT + timedelta(minutes=7), phase_current_a=(10.0, 10.0, 10.0)))
    assert known.reading.power_kw == pytest.approx(6.9)
    assert known.reading.energy_kwh == 2.0
    late = Reading(at=AT, power_kw=99.0)
    fold(known, late)
    assert known.reading.power_kw == pytest.approx(6.9), "what is older changes nothing"


def test_instants_have_a_zone_or_mean_utc() -> None:
    assert read_instant("t", "2026-11-21T11:00:00+01:00") == AT
    assert read_instant("t", "2026-11-21T10:00:00Z") == AT
    assert read_instant("t", "2026-11-21T10:00:00") == AT
    assert write_instant(AT) == "2026-11-21T10:00:00.000Z"
    with pytest.raises(InvalidInput, match="RFC 3339"):
        read_instant("t", "yesterday")


def test_readings_of_a_message_are_in_order() -> None:
    values = [
        {"timestamp": "2026-11-21T10:01:00Z", "sampledValue": [{"value": "2000"}]},
        {"timestamp": "2026-11-21T10:00:00Z", "sampledValue": [{"value": "1000"}]},
    ]
    assert [reading.energy_kwh for reading in readings_of(values)] == [1.0, 2.0]
