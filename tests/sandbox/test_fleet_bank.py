"""The physics of chargers: bounds, leases, fallbacks, ramps, tapers, and energy that is never lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sandbox.fleet_bank import RAMP_KW_PER_S, ChargerBank, Obedience
from gateway.sandbox.fleet_sessions import SessionTable, hours_to_charge
from gateway.sandbox.fleet_statistics import Floats
from tests.sandbox.fleet_worlds import START_S, cars, small_inventory

NOBODY = np.zeros(0)


def _bank(count: int = 1, *, plugged: SessionTable | None = None) -> ChargerBank:
    bank = ChargerBank(small_inventory(("h", "home", count)).chargers, np.random.default_rng(1))
    rows = cars(count) if plugged is None else plugged
    bank.plug_in(rows, np.zeros(len(rows)))
    return bank


def _command(
    bank: ChargerBank,
    limit_kw: float,
    *,
    sequence: int = 1,
    at_s: float = START_S,
    lease_until_s: float = START_S + 900.0,
    fallback_kw: float = 1.38,
    index: int = 0,
) -> bool:
    accepted = bank.receive(
        np.array([index]),
        np.array([limit_kw]),
        np.array([fallback_kw]),
        sequence=sequence,
        lease_until_s=lease_until_s,
        at_s=np.array([at_s]),
    )
    return bool(accepted[0])


def _run(bank: ChargerBank, minutes: int, *, start_s: int = START_S) -> Floats:
    """Return the power of charger 0 at the end of each minute."""
    powers = []
    for minute in range(minutes):
        bank.step(start_s + 60 * minute)
        powers.append(float(bank.power_kw[0]))
    return np.array(powers)


def test_without_any_command_a_charger_does_what_its_fallback_says() -> None:
    assert _run(_bank(), 2).tolist() == pytest.approx([1.38, 1.38], abs=1e-9)


def test_a_limit_binds_while_its_lease_runs_and_the_fallback_after_it() -> None:
    bank = _bank()
    _command(bank, 7.0, lease_until_s=START_S + 180.0, fallback_kw=1.38)
    assert _run(bank, 5).tolist() == pytest.approx([7.0, 7.0, 7.0, 1.38, 1.38])


def test_the_fallback_of_the_newest_command_replaces_the_one_of_the_inventory() -> None:
    bank = _bank()
    _command(bank, 7.0, lease_until_s=START_S + 60.0, fallback_kw=0.0)
    assert _run(bank, 3).tolist() == pytest.approx([7.0, 0.0, 0.0])


def test_a_lease_that_runs_out_inside_a_minute_ends_there() -> None:
    bank = _bank()
    _command(bank, 11.0, lease_until_s=START_S + 90.0, fallback_kw=0.0)
    bank.step(START_S)
    energy_kwh = float(bank.step(START_S + 60)[0])
    ramp_s = 11.0 / RAMP_KW_PER_S
    assert energy_kwh == pytest.approx(11.0 * (30.0 + ramp_s / 2.0) / 3600.0)
    assert bank.power_kw[0] == 0.0


def test_a_renewed_lease_leaves_no_gap() -> None:
    bank = _bank()
    _command(bank, 7.0, lease_until_s=START_S + 120.0)
    _run(bank, 1)
    _command(bank, 7.0, sequence=2, at_s=START_S + 75.0, lease_until_s=START_S + 240.0)
    assert _run(bank, 3, start_s=START_S + 60).tolist() == pytest.approx([7.0, 7.0, 7.0])


def test_a_command_takes_effect_when_it_reaches_the_charger_and_not_before() -> None:
    bank = _bank()
    _command(bank, 5.0, at_s=START_S)
    _run(bank, 1)
    _command(bank, 9.0, sequence=2, at_s=START_S + 60.0 + 30.0)
    energy_kwh = float(bank.step(START_S + 60)[0])
    ramp_s = 4.0 / RAMP_KW_PER_S
    assert energy_kwh == pytest.approx((5.0 * 30.0 + 9.0 * 30.0 - 4.0 * ramp_s / 2.0) / 3600.0)
    assert bank.power_kw[0] == pytest.approx(9.0)


def test_a_reduction_just_before_the_end_of_a_minute_is_still_ramping_then() -> None:
    bank = _bank()
    _command(bank, 11.0)
    _run(bank, 1)
    _command(bank, 0.0, sequence=2, at_s=START_S + 60.0 + 58.0)
    assert _run(bank, 2, start_s=START_S + 60).tolist() == pytest.approx([11.0 - 2.0 * RAMP_KW_PER_S, 0.0])


def test_an_older_or_repeated_command_is_accepted_and_changes_nothing() -> None:
    bank = _bank()
    assert _command(bank, 6.0, sequence=5)
    assert _command(bank, 9.0, sequence=5)
    assert _command(bank, 9.0, sequence=4)
    assert _run(bank, 1)[0] == pytest.approx(6.0)
    assert bank.sequence[0] == 5


def test_commands_that_overtake_each_other_come_into_force_at_the_first_moment_with_the_newest_value() -> None:
    bank = _bank()
    _command(bank, 6.0, sequence=1, at_s=START_S + 10.0)
    _command(bank, 8.0, sequence=2, at_s=START_S + 70.0)
    assert _run(bank, 1)[0] == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("limit_kw", "phases", "drawn_kw"),
    [
        (0.0, 3, 0.0),
        (1.37, 3, 0.0),
        (float(np.float32(1.38)), 3, 1.38),
        (3.0, 3, 3.0),
        (4.0, 3, 11.0 / 3.0),
        (float(np.float32(4.14)), 3, 4.14),
        (7.0, 3, 7.0),
        (50.0, 3, 11.0),
        (1.0, 1, 0.0),
        (1.38, 1, 1.38),
        (5.0, 1, 5.0),
        (50.0, 1, 7.4),
    ],
)
def test_zero_or_at_least_six_amperes_on_one_phase_or_on_all(limit_kw: float, phases: int, drawn_kw: float) -> None:
    bank = _bank(plugged=cars(1, max_kw=11.0 if phases == 3 else 7.4, phases=phases))
    _command(bank, limit_kw)
    assert _run(bank, 1)[0] == pytest.approx(drawn_kw, abs=1e-6)


def test_a_car_tapers_above_eighty_percent_and_stops_when_it_has_its_energy() -> None:
    bank = _bank(plugged=cars(1, energy_kwh=12.0, battery_kwh=60.0, start_soc=0.8))
    _command(bank, 11.0, lease_until_s=START_S + 1e6)
    powers = _run(bank, 240)
    assert powers[0] == pytest.approx(11.0, abs=0.1)
    assert (np.diff(powers[powers > 0.0]) < 1e-9).all()
    assert powers[powers > 0.0][-1] == pytest.approx(11.0 * 0.2, rel=0.05)
    assert bank.delivered_kwh[0] == pytest.approx(12.0)
    assert powers[-1] == 0.0
    needed = hours_to_charge(np.array([12.0]), np.array([60.0]), np.array([0.8]), np.array([11.0]))
    assert (powers > 0.0).sum() == pytest.approx(float(needed[0]) * 60.0, abs=2.0)


def test_rejecting_and_disobedient_chargers_draw_what_the_car_wants() -> None:
    bank = _bank(3)
    bank.obedience[1] = Obedience.NOT_FOLLOWING
    bank.obedience[2] = Obedience.REJECTING
    accepted = [_command(bank, 2.0, index=index) for index in range(3)]
    bank.step(START_S)
    assert accepted == [True, True, False]
    assert bank.sequence.tolist() == [1, 1, 0]
    assert bank.power_kw.tolist() == pytest.approx([2.0, 11.0, 11.0])


def test_a_car_that_leaves_takes_its_energy_along_and_frees_the_charger() -> None:
    bank = _bank(2, plugged=cars(2, departure_s=START_S + 120))
    _command(bank, 11.0)
    _run(bank, 1)
    assert bank.unplug(START_S + 60) is None
    _run(bank, 1, start_s=START_S + 60)
    ended = bank.unplug(START_S + 120)
    assert ended is not None
    assert ended.sessions.id.tolist() == ["ses-0", "ses-1"]
    assert ended.delivered_kwh[0] == pytest.approx(11.0 / 30.0, rel=0.05)
    assert not bank.occupied.any()
    register_kwh = bank.register_kwh.copy()
    _run(bank, 2, start_s=START_S + 120)
    assert bank.power_kw.tolist() == [0.0, 0.0]
    assert bank.register_kwh.tolist() == register_kwh.tolist()


def test_the_next_car_is_under_the_command_that_the_charger_has() -> None:
    bank = _bank(plugged=cars(1, departure_s=START_S + 60))
    _command(bank, 4.5)
    _run(bank, 1)
    bank.unplug(START_S + 60)
    bank.plug_in(cars(1, arrival_s=START_S + 60), np.zeros(1))
    assert bank.delivered_kwh[0] == 0.0
    assert _run(bank, 1, start_s=START_S + 60)[0] == pytest.approx(4.5)


COMMANDS = st.lists(
    st.tuples(
        st.integers(0, 29),  # minute in which it is received
        st.integers(0, 7),  # charger
        st.sampled_from([0.0, 1.0, 1.38, 2.0, 4.0, 4.14, 6.9, 11.0, 22.0]),
        st.integers(0, 20),  # latency in seconds
        st.integers(0, 900),  # lease in seconds
        st.sampled_from([0.0, 1.38, 4.14]),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(commands=COMMANDS, seed=st.integers(0, 100))
def test_power_keeps_the_bound_in_force_and_the_register_is_the_sum_of_all_energy(
    commands: list[tuple[int, int, float, int, int, float]], seed: int
) -> None:
    bank, generator = _bank(8), np.random.default_rng(seed)
    bank.cars.start_soc[:] = generator.uniform(0.1, 0.95, 8)
    first_kwh = bank.register_kwh.copy()
    total_kwh = np.zeros(8)
    changes_s: list[tuple[int, float]] = []
    for minute in range(30):
        start_s = START_S + 60 * minute
        for sequence, (received, charger, limit_kw, latency, lease, fallback_kw) in enumerate(commands, start=1):
            if received == minute:
                at_s, until_s = float(start_s + latency), float(start_s + lease)
                _command(
                    bank,
                    limit_kw,
                    sequence=sequence,
                    at_s=at_s,
                    lease_until_s=until_s,
                    fallback_kw=fallback_kw,
                    index=charger,
                )
                changes_s += [(charger, at_s), (charger, until_s)]
        before_kw = bank.power_kw.copy()
        energy_kwh = bank.step(start_s)
        total_kwh += energy_kwh
        assert (energy_kwh >= 0.0).all()
        assert (energy_kwh <= np.maximum(before_kw, np.maximum(bank.power_kw, 11.0)) / 60.0 + 1e-9).all()
        settled = np.ones(8, dtype=bool)
        settled[[charger for charger, at_s in changes_s if start_s <= at_s <= start_s + 60]] = False
        bound_kw = bank.bound_kw(start_s + 60)
        assert (bank.power_kw[settled] <= bound_kw[settled] + 0.006).all()
        assert (bank.power_kw <= bank.cars.max_kw + 1e-9).all()
        assert not ((bank.power_kw > 0.0) & (bound_kw < 1.37) & settled).any()
    np.testing.assert_allclose(bank.register_kwh - first_kwh, total_kwh, atol=1e-9)
    np.testing.assert_allclose(bank.delivered_kwh, total_kwh, atol=1e-9)
    assert (bank.delivered_kwh <= bank.cars.energy_kwh + 1e-9).all()
