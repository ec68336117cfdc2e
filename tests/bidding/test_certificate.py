"""The certificate: what it says is true, anybody can recompute it, and nothing of it can be changed unseen."""

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal

import cvxpy as cp
import numpy as np
import pytest

from bidding.backtest.certificate import certificate_document, certify, parse_certificate, verify_certificate
from bidding.backtest.certificate_case import BidScenario, CertificateCase, case_document, parse_case
from bidding.backtest.market_outcome import DayBid
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays
from bidding.optimum.convex import Fleet, mix_columns
from bidding.optimum.terms import track_absolute
from bidding.orders.blocks import BlockBid, ExclusiveGroup, ProfileBlock
from gateway.domain.bids import BidPeriod, CurvePoint
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid

PERIODS: TimeGrid = DeliveryDay(day=date(2025, 10, 6), zone="Europe/Brussels").grid()
TOP = Decimal(4000)


def cars(*energies: float) -> SessionArrays:
    """Cars that are there for the first four slots at up to 100 kWh per slot."""
    count = len(energies)
    energy = np.array(energies)
    return SessionArrays(
        arrival_slot=np.zeros(count, dtype=np.int64),
        departure_slot=np.full(count, 4),
        rate_kwh_per_slot=np.full(count, 100.0),
        energy_min_kwh=energy,
        energy_max_kwh=energy,
    )


def volumes(mw: dict[int, str]) -> tuple[BidPeriod, ...]:
    return tuple(
        BidPeriod(
            start=PERIODS.slot_start(index),
            end=PERIODS.slot_start(index) + PERIODS.step,
            curve=(CurvePoint(price_per_mwh=TOP, volume_mw=Decimal(mw.get(index, "0"))),),
        )
        for index in range(96)
    )


def case(bid: DayBid, *fleets: SessionArrays) -> CertificateCase:
    rng = np.random.default_rng(5)
    return CertificateCase(
        bid=bid,
        periods=PERIODS,
        slots_per_period=1,
        slot_count=144,
        scenarios=tuple(
            BidScenario(name=f"s{number}", price_eur_per_mwh=rng.normal(80.0, 10.0, 96), sessions=fleet)
            for number, fleet in enumerate(fleets)
        ),
        seed=5,
    )


# 0.4 MW over a quarter-hour are 100 kWh.
TWO_QUARTERS = DayBid(curves=volumes({0: "0.4", 1: "0.4"}))


def test_the_share_of_scenarios_in_which_a_bid_can_be_delivered() -> None:
    found = certify(case(TWO_QUARTERS, cars(200.0), cars(120.0, 80.0), cars(150.0), cars(260.0)))
    assert [one.is_deliverable for one in found.findings] == [True, True, False, False]
    assert found.deliverable_share == 0.5
    assert [round(one.missing_kwh) for one in found.findings] == [0, 0, 50, 0]
    assert [round(one.excess_kwh) for one in found.findings] == [0, 0, 0, 60]
    assert found.energy_share == pytest.approx(1.0 - 50.0 / 800.0)
    assert found.worst_scenario == "s3"
    assert found.worst_deviation_kwh == pytest.approx(60.0)
    assert found.worst_period in {2, 3}  # the first two quarters are already at the award; more goes to the cheaper one


def test_it_survives_json_and_is_verified_from_the_file_alone() -> None:
    bid = replace(TWO_QUARTERS, blocks=_blocks())
    original = case(bid, cars(200.0, 100.0), cars(310.0))
    stated = certify(original)
    text = json.dumps({"certificate": certificate_document(stated), "case": case_document(original)})
    read = json.loads(text)
    again = parse_case(read["case"])
    assert parse_certificate(read["certificate"]) == stated
    assert verify_certificate(parse_certificate(read["certificate"]), again) == ()
    assert case_document(again) == case_document(original)


def _blocks() -> BlockBid:
    block = tuple(Decimal("0.4") if index == 2 else Decimal(0) for index in range(96))
    return BlockBid(
        market="sdac",
        specification="made up for tests",
        periods=PERIODS,
        groups=(
            ExclusiveGroup(name="all", blocks=(ProfileBlock(name="all-01", limit_price_per_mwh=TOP, volume_mw=block),)),
        ),
        rounding_mwh=0.0,
        left_over_mw=np.zeros(96),
    )


def test_whatever_is_changed_is_seen() -> None:
    original = case(TWO_QUARTERS, cars(200.0), cars(150.0))
    stated = certify(original)
    better = replace(stated, deliverable_share=1.0)
    assert any("deliverable_share" in line for line in verify_certificate(better, original))
    other = replace(original, bid=DayBid(curves=volumes({0: "0.4"})))
    assert any("bid_sha256" in line for line in verify_certificate(stated, other))
    fewer = replace(original, scenarios=original.scenarios[:1])
    assert any("findings" in line for line in verify_certificate(stated, fewer))
    nudged = replace(original.scenarios[0], sessions=cars(200.0001))
    touched = replace(original, scenarios=(nudged, *original.scenarios[1:]))
    assert any("s0.sha256" in line for line in verify_certificate(stated, touched))
    assert verify_certificate(replace(stated, method="guess"), original) == (
        "method: 'guess' is not 'exact maximum flow over sessions, version 1'",
    )


def test_the_same_inputs_give_the_same_certificate() -> None:
    assert certify(case(TWO_QUARTERS, cars(200.0))) == certify(case(TWO_QUARTERS, cars(200.0)))


def test_columns_and_flow_agree_on_what_can_be_delivered() -> None:
    rng = np.random.default_rng(3)
    arrival = rng.integers(0, 80, 60)
    departure = np.minimum(arrival + rng.integers(2, 40, 60), 96)
    rate = rng.choice([1.0, 2.0], 60)
    energy = np.round(rng.uniform(0.0, 0.9, 60) * rate * (departure - arrival), 3)
    fleet = SessionArrays(
        arrival_slot=arrival,
        departure_slot=departure,
        rate_kwh_per_slot=rate,
        energy_min_kwh=energy,
        energy_max_kwh=energy,
    )
    bid = DayBid(curves=volumes({index: str(rng.integers(0, 5) / 10) for index in range(96)}))
    found = certify(replace(case(bid, fleet), slot_count=96)).findings[0]
    award = np.array([float(one.max_volume_mw) * 250.0 for one in bid.curves])
    draw = cp.Variable(96)
    table = FlexibilityTable.build(fleet, 96)
    mixture = mix_columns([Fleet(schedule=draw, table=table)], track_absolute(draw, award, 1.0))
    assert found.missing_kwh + found.excess_kwh == pytest.approx(mixture.lower_bound_eur, rel=1e-4)


def test_documents_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidInput, match="scenarios: must not be empty"):
        certify(case(TWO_QUARTERS))
    with pytest.raises(InvalidInput, match="certificate"):
        parse_certificate({"method": "x"})
    document = case_document(case(TWO_QUARTERS, cars(1.0)))
    with pytest.raises(InvalidInput, match="seed"):
        parse_case({name: value for name, value in document.items() if name != "seed"})
    with pytest.raises(InvalidInput, match="case"):
        parse_case({**document, "periods": ["yesterday", 900, 96]})
    scenarios = document["scenarios"]
    assert isinstance(scenarios, list)
    with pytest.raises(InvalidInput, match="price_eur_per_mwh"):
        parse_case({**document, "scenarios": [{**scenarios[0], "price_eur_per_mwh": [1.0] * 97}]})
