"""Reserve is offered only with a record, a measured activation and headroom; otherwise every reason is given."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidding.orders.market_products import Gate, ReserveKind, ReserveRules, ValidDays
from bidding.orders.reserve_check import check_offer
from bidding.orders.reserve_offers import offer_reserve
from bidding.orders.reserves import (
    Headroom,
    MeasuredActivation,
    Prequalification,
    ReserveEvidence,
    ReserveOffer,
    ReserveRefused,
    simple_headroom,
)
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid

DAY, SPRING, AUTUMN = date(2026, 5, 4), date(2026, 3, 29), date(2026, 10, 25)
ALWAYS = ValidDays(first=date(2026, 1, 1))
PRICE = Decimal("12.50")
FCR = ReserveRules(
    product="fcr",
    kind=ReserveKind.SYMMETRIC,
    currency="EUR",
    days=ALWAYS,
    gate=Gate(days_before=1, local_time=time(8), time_zone="Europe/Brussels"),
    block_hours=4,
    min_bid_mw=Decimal(1),
    step_mw=Decimal(1),
    max_activation_s=30.0,
    sustain_minutes=30,
    needs_local_frequency=True,
)
UP = dataclasses.replace(FCR, product="up", kind=ReserveKind.UP, max_activation_s=300.0, needs_local_frequency=False)
DOWN = dataclasses.replace(UP, product="down", kind=ReserveKind.DOWN)
RECORD = Prequalification(reference="record 7", product="fcr", days=ALWAYS, max_mw=Decimal(5))
TEST = MeasuredActivation(reference="test 3", measured_on=date(2026, 2, 1), seconds=12.0)
EVIDENCE = ReserveEvidence(
    prequalifications=(
        RECORD,
        dataclasses.replace(RECORD, product="up"),
        dataclasses.replace(RECORD, product="down"),
    ),
    activation=TEST,
    has_local_frequency=True,
)


def headroom(day: date, up_mw: Any, down_mw: Any) -> Headroom:
    grid = DeliveryDay(day=day, zone="Europe/Brussels").grid()
    return Headroom(
        grid=grid,
        up_kw=np.broadcast_to(np.asarray(up_mw, dtype=float) * 1000, grid.count),
        down_kw=np.broadcast_to(np.asarray(down_mw, dtype=float) * 1000, grid.count),
        basis="test",
    )


def volumes(found: ReserveOffer | ReserveRefused) -> list[int]:
    assert isinstance(found, ReserveOffer)
    return [int(block.volume_mw) for block in found.blocks]


def store(base: float, least: float, most: float, later: float, sooner: float, tau: float) -> Headroom:
    grid = TimeGrid(start=datetime(2026, 5, 4, tzinfo=UTC), count=2)
    return simple_headroom(
        grid,
        base_kw=np.full(2, base),
        min_kw=np.full(2, least),
        max_kw=np.full(2, most),
        deferrable_kwh=np.full(2, later),
        advanceable_kwh=np.full(2, sooner),
        sustain_hours=tau,
    )


def test_symmetric_reserve_from_4_of_10_kw_is_4() -> None:
    """Case 25."""
    found = store(4.0, 0.0, 10.0, 100.0, 100.0, 0.5)
    assert found.of_kind(ReserveKind.SYMMETRIC).tolist() == [4.0, 4.0]
    assert found.of_kind(ReserveKind.DOWN).tolist() == [6.0, 6.0]


def test_one_mwh_at_half_for_half_an_hour_is_one_mw() -> None:
    """Case 26."""
    found = store(0.0, -5000.0, 5000.0, 500.0, 500.0, 0.5)
    for kind in ReserveKind:
        assert found.of_kind(kind).tolist() == [1000.0, 1000.0]
    uneven = store(0.0, -5000.0, 5000.0, 300.0, 700.0, 0.5)
    assert uneven.of_kind(ReserveKind.UP).tolist() == [600.0, 600.0]
    assert uneven.of_kind(ReserveKind.DOWN).tolist() == [1400.0, 1400.0]


@pytest.mark.parametrize(("day", "first_hours"), [(DAY, 4), (SPRING, 3), (AUTUMN, 5)])
def test_every_quarter_hour_of_a_block_counts(day: date, first_hours: int) -> None:
    """1.7 MW are a bid of 1 MW; one weak quarter-hour makes its block weak, in blocks of 12, 16 or 20."""
    whole = offer_reserve(FCR, day, headroom(day, 1.7, 2.9), EVIDENCE, PRICE)
    assert volumes(whole) == [1] * 6
    for slot, block in ((0, 0), (first_hours * 4 - 1, 0), (first_hours * 4, 1), (first_hours * 4 + 79, 5)):
        up = np.full(day_count(day), 2.2)
        up[slot] = 0.99
        found = offer_reserve(FCR, day, headroom(day, up, 9), EVIDENCE, PRICE)
        assert isinstance(found, ReserveOffer)
        assert volumes(found) == [2] * 5
        blocks = FCR.blocks(day)
        assert {one.interval for one in found.blocks} == set(blocks) - {blocks[block]}


def day_count(day: date) -> int:
    return DeliveryDay(day=day, zone="Europe/Brussels").grid().count


def test_each_direction_has_its_headroom_and_none_is_sold_twice() -> None:
    free = headroom(DAY, 3.5, 2.0)
    fcr = offer_reserve(FCR, DAY, free, EVIDENCE, PRICE)
    assert volumes(fcr) == [2] * 6
    assert isinstance(fcr, ReserveOffer)
    left = free.without(fcr)
    assert volumes(offer_reserve(UP, DAY, left, EVIDENCE, PRICE)) == [1] * 6
    refused = offer_reserve(DOWN, DAY, left, EVIDENCE, PRICE)
    assert isinstance(refused, ReserveRefused)
    assert refused.reasons == ("the largest headroom over a whole block is 0.000 MW, the smallest bid is 1 MW",)
    up = offer_reserve(UP, DAY, free, EVIDENCE, PRICE)
    assert isinstance(up, ReserveOffer)
    assert free.without(up).down_kw.tolist() == free.down_kw.tolist()


def test_an_offer_names_what_it_rests_on() -> None:
    found = offer_reserve(FCR, DAY, headroom(DAY, 9, 9), EVIDENCE, PRICE)
    assert isinstance(found, ReserveOffer)
    assert volumes(found) == [5] * 6  # no more than the record allows
    assert (found.prequalification, found.activation, found.basis) == ("record 7", "test 3", "test")
    assert {block.price_eur_per_mw_h for block in found.blocks} == {PRICE}
    some = offer_reserve(FCR, DAY, headroom(DAY, 9, 9), EVIDENCE, {0: PRICE, 3: PRICE})
    assert isinstance(some, ReserveOffer)
    assert [block.interval for block in some.blocks] == [FCR.blocks(DAY)[0], FCR.blocks(DAY)[3]]


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (ReserveEvidence(), ["no prequalification for fcr", "has not been measured", "measured on site"]),
        (dataclasses.replace(EVIDENCE, has_local_frequency=False), ["measured on site"]),
        (dataclasses.replace(EVIDENCE, activation=None), ["has not been measured"]),
        (
            dataclasses.replace(EVIDENCE, activation=dataclasses.replace(TEST, seconds=31.0)),
            ["took 31 s, the product allows 30 s"],
        ),
        (
            dataclasses.replace(
                EVIDENCE,
                prequalifications=(
                    dataclasses.replace(RECORD, days=ValidDays(first=date(2025, 1, 1), until=DAY)),
                    dataclasses.replace(RECORD, product="up"),
                ),
            ),
            ["no prequalification for fcr holds on 2026-05-04"],
        ),
        (
            dataclasses.replace(EVIDENCE, prequalifications=(dataclasses.replace(RECORD, max_mw=Decimal("0.5")),)),
            ["the prequalification allows 0.5 MW, the smallest bid is 1 MW"],
        ),
    ],
)
def test_without_evidence_nothing_is_offered_and_all_reasons_are_given(
    evidence: ReserveEvidence, expected: list[str]
) -> None:
    refused = offer_reserve(FCR, DAY, headroom(DAY, 9, 9), evidence, PRICE)
    assert isinstance(refused, ReserveRefused)
    assert len(refused.reasons) == len(expected)
    for reason, part in zip(refused.reasons, expected, strict=True):
        assert part in reason


def test_too_little_or_no_price_is_said() -> None:
    small = offer_reserve(FCR, DAY, headroom(DAY, 0.7, 9), EVIDENCE, PRICE)
    assert isinstance(small, ReserveRefused)
    assert small.reasons == ("the largest headroom over a whole block is 0.700 MW, the smallest bid is 1 MW",)
    priceless = offer_reserve(FCR, DAY, headroom(DAY, 9, 9), EVIDENCE, {})
    assert isinstance(priceless, ReserveRefused)
    assert priceless.reasons == ("no block with enough headroom has a price",)
    no_frequency = dataclasses.replace(EVIDENCE, has_local_frequency=False)
    assert isinstance(offer_reserve(UP, DAY, headroom(DAY, 9, 9), no_frequency, PRICE), ReserveOffer)


@given(st.lists(st.floats(0, 8), min_size=96, max_size=96), st.sampled_from(["0.1", "0.5", "1"]))
def test_offers_never_exceed_headroom_and_miss_less_than_a_step(up: list[float], step: str) -> None:
    rules = dataclasses.replace(UP, step_mw=Decimal(step), min_bid_mw=Decimal(step))
    evidence = dataclasses.replace(
        EVIDENCE, prequalifications=(dataclasses.replace(RECORD, product="up", max_mw=Decimal(100)),)
    )
    found = offer_reserve(rules, DAY, headroom(DAY, up, 0.0), evidence, PRICE)
    weakest = np.array(up).reshape(6, 16).min(axis=1)
    offered = np.zeros(6)
    if isinstance(found, ReserveOffer):
        for block in found.blocks:
            offered[rules.blocks(DAY).index(block.interval)] = float(block.volume_mw)
    assert np.all(offered <= weakest + 1e-6)
    assert np.all(offered > weakest - float(step) - 1e-6)


def test_the_check_finds_every_fault() -> None:
    room = headroom(DAY, 2.5, 9)
    good = offer_reserve(FCR, DAY, room, EVIDENCE, PRICE)
    assert isinstance(good, ReserveOffer)
    first = good.blocks[0]

    def faults(record: Prequalification = RECORD, **changes: Any) -> list[str]:
        offer = dataclasses.replace(good, **changes)
        return sorted({broken.rule for broken in check_offer(offer, FCR, record, room)})

    def with_first(**changes: Any) -> list[str]:
        return faults(blocks=(dataclasses.replace(first, **changes), *good.blocks[1:]))

    assert faults() == []
    assert with_first(volume_mw=Decimal(3)) == ["capability"]
    assert with_first(volume_mw=Decimal("1.5")) == ["volume"]
    assert with_first(volume_mw=Decimal(0)) == ["volume"]
    assert with_first(volume_mw=Decimal(6)) == ["capability", "prequalification"]
    assert with_first(price_eur_per_mw_h=Decimal("NaN")) == ["price"]
    assert with_first(interval=FCR.blocks(date(2026, 5, 5))[0]) == ["block"]
    assert with_first(interval=good.blocks[1].interval) == ["block"]
    assert faults(product="up") == ["prequalification", "product"]
    assert faults(kind=ReserveKind.UP) == ["product"]
    assert faults(dataclasses.replace(RECORD, days=ValidDays(first=date(2027, 1, 1)))) == ["prequalification"]


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: store(11.0, 0.0, 10.0, 1.0, 1.0, 0.5), "base_kw[0]"),
        (lambda: store(4.0, 0.0, 10.0, -1.0, 1.0, 0.5), "deferrable_kwh[0]"),
        (lambda: store(4.0, 0.0, 10.0, 1.0, -1.0, 0.5), "advanceable_kwh[0]"),
        (lambda: store(4.0, 0.0, 10.0, 1.0, 1.0, 0.0), "sustain_hours"),
        (lambda: store(4.0, 0.0, np.nan, 1.0, 1.0, 1.0), "max_kw[0]"),
        (lambda: headroom(DAY, -1.0, 1.0), "headroom.up_kw[0]"),
        (lambda: headroom(DAY, 1.0, np.nan), "headroom.down_kw[0]"),
        (lambda: offer_reserve(FCR, SPRING, headroom(DAY, 9, 9), EVIDENCE, PRICE), "headroom.grid"),
        (lambda: dataclasses.replace(RECORD, reference=" "), "prequalification.reference"),
        (lambda: dataclasses.replace(RECORD, max_mw=Decimal(0)), "prequalification.max_mw"),
        (lambda: dataclasses.replace(TEST, seconds=0.0), "activation.seconds"),
    ],
)
def test_malformed_evidence_and_headroom_are_named(build: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        build()
    assert refused.value.field == field
