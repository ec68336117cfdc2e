"""What is installed for a command, as pure rules: order, leases, units, fewer periods, nothing that is not ours to set."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.charging_profiles import RateUnit, Supply
from gateway.ocpp.layers import Command, Means, Slot, plan
from gateway.ocpp.profile_wire import NAMES_2, NAMES_16, profile_2, profile_16
from gateway.ocpp.words import Abilities, Profile, Purpose

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
SUPPLY = Supply(phases=3, voltage_v=230.0)


def means(**changes: object) -> Means:
    fields: dict[str, object] = {
        "connector": 1,
        "supply": SUPPLY,
        "abilities": Abilities(max_stack=5, max_periods=24),
        "unit": RateUnit.AMPERE,
    }
    return Means(**(fields | changes))  # type: ignore[arg-type]


def command(limit_kw: float, fallback_kw: float = 4.14, lease_s: float = 900.0) -> Command:
    return Command(sequence=1, limit_kw=limit_kw, fallback_kw=fallback_kw, lease_until=NOW + timedelta(seconds=lease_s))


def profiles(found: Means, wanted: Command, transaction: str | None = "7") -> list[Profile]:
    return [w.profile for w in plan(found, wanted, transaction, NOW) if w.profile is not None]


def test_o32_a_profile_for_external_constraints_cannot_even_be_said() -> None:
    names = {*NAMES_16.values(), *NAMES_2.values()}
    assert "ChargingStationExternalConstraints" not in names
    assert set(NAMES_16) == set(NAMES_2) == set(Purpose)
    with pytest.raises(ValueError, match="ChargingStationExternalConstraints"):
        Purpose("ChargingStationExternalConstraints")


@pytest.mark.parametrize(("kw", "unit", "sent"), [(1.00005, RateUnit.WATT, 1000.0), (4.2, RateUnit.AMPERE, 6.0)])
def test_o24_o29_limits_are_floored_to_tenths(kw: float, unit: RateUnit, sent: float) -> None:
    supply = SUPPLY if unit is RateUnit.AMPERE else Supply(is_dc=True)
    live = profiles(means(unit=unit, supply=supply), command(kw, fallback_kw=0.0))[-1]
    assert live.periods[0].limit == sent


def test_o24_a_single_phase_charger_gets_18_2_amperes_for_4_2_kw() -> None:
    live = profiles(means(supply=Supply(phases=1), phases=1), command(4.2, fallback_kw=0.0))[-1]
    assert live.periods[0].limit == 18.2
    period = profile_16(live)["chargingSchedule"]["chargingSchedulePeriod"][0]
    assert period == {"startPeriod": 0, "limit": 18.2, "numberPhases": 1}


def test_o28_a_charger_with_one_period_is_allowed_no_more_than_either_of_two() -> None:
    few = means(expiry="period", abilities=Abilities(max_stack=5, max_periods=1))
    assert [p.limit for p in profiles(few, command(11.0))[-1].periods] == [6.0]
    assert [p.limit for p in profiles(few, command(0.0))[-1].periods] == [0.0]


@given(
    limit_kw=st.floats(min_value=0.0, max_value=50.0),
    fallback_kw=st.floats(min_value=0.0, max_value=50.0),
    lease_s=st.floats(min_value=-100.0, max_value=3600.0),
    max_stack=st.one_of(st.none(), st.integers(min_value=0, max_value=9)),
    max_periods=st.integers(min_value=1, max_value=3),
    expiry=st.sampled_from(["duration", "period"]),
    carrier=st.sampled_from(["transaction", "station"]),
    transaction=st.sampled_from([None, "7"]),
    refused=st.sets(st.sampled_from([Slot.DEFAULT_FALLBACK, Slot.TRANSACTION_FALLBACK])),
    unit=st.sampled_from(list(RateUnit)),
)
def test_whatever_a_charger_can_no_profile_allows_more_than_was_ordered(
    limit_kw: float,
    fallback_kw: float,
    lease_s: float,
    max_stack: int | None,
    max_periods: int,
    expiry: str,
    carrier: str,
    transaction: str | None,
    refused: set[Slot],
    unit: RateUnit,
) -> None:
    found = means(
        abilities=Abilities(max_stack=max_stack, max_periods=max_periods),
        expiry=expiry,
        carrier=carrier,
        refused=frozenset(refused),
        unit=unit,
    )
    wanted = command(limit_kw, fallback_kw, lease_s)
    steps = plan(found, wanted, transaction, NOW)
    limit, fallback = SUPPLY.limit(limit_kw, unit), SUPPLY.limit(fallback_kw, unit)
    live = [step.slot.is_live for step in steps]
    assert live == sorted(live), "fallbacks go first"
    for step in steps:
        profile = step.profile
        if profile is None:
            assert step.slot is Slot.DEFAULT_LIVE
            assert limit >= fallback or lease_s < 1.0
            continue
        assert len(profile.periods) <= max(max_periods, 1)
        assert profile.stack <= (1 if max_stack is None else max_stack)
        first = profile.periods[0].limit
        assert first <= (
            max(limit, fallback) if step.slot.is_live and lease_s < 1.0 else limit if step.slot.is_live else fallback
        )
        if profile.duration_s is not None:
            end = profile.start + timedelta(seconds=profile.duration_s)
            assert end <= wanted.lease_until
            assert profile.valid_to is not None
            assert profile.valid_to <= wanted.lease_until
        elif step.slot.is_live and len(profile.periods) > 1:
            assert profile.periods[-1].limit <= fallback
            assert profile.start + timedelta(seconds=profile.periods[-1].start_s) <= wanted.lease_until
        else:
            assert first <= fallback, "what never ends is at most the fallback"


def test_the_words_of_both_families() -> None:
    found = means(abilities=Abilities(max_stack=5, has_max_offline=True))
    live = profiles(found, command(11.0))[-1]
    assert profile_16(live) == {
        "chargingProfileId": 16,
        "stackLevel": 1,
        "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Absolute",
        "transactionId": 7,
        "validTo": "2026-11-21T10:15:00.000Z",
        "chargingSchedule": {
            "startSchedule": "2026-11-21T09:55:00.000Z",
            "duration": 1200,
            "chargingRateUnit": "A",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 15.9}],
        },
    }
    wire = profile_2(live)
    assert (wire["id"], wire["transactionId"], wire["maxOfflineDuration"]) == (16, "7", 900)
    assert wire["chargingSchedule"][0]["id"] == 16
