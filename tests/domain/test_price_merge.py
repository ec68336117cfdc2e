"""Two series of one day, slot by slot: what is worth more stays, what is missing may come from elsewhere and says so."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.price_merge import RANK, gains, is_comparable, loses, merged, sources_of
from gateway.domain.series import PriceSeries, Quality, SlotRun
from gateway.domain.timegrid import DeliveryDay
from tests.fakes.market import price_series

DAY = DeliveryDay(day=date(2025, 10, 15), zone="Europe/Brussels")
NOW = datetime(2025, 10, 14, 13, tzinfo=UTC)
QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)


def series(source: str, quality: Quality, *, known: range = range(96), plus: int = 0) -> PriceSeries:
    prices = [Decimal(i + plus) if i in known else None for i in range(96)]
    return replace(price_series(DAY, prices, fetched_at=NOW), source=source, quality=quality)


def test_m4_a_partial_final_day_keeps_its_slots_and_takes_the_rest_as_what_it_is() -> None:
    first = series("entsoe", Quality.FINAL, known=range(40))
    second = replace(
        series("smard", Quality.ESTIMATED, plus=1000),
        runs=(SlotRun(count=96, native_step=HOUR, source="smard", quality=Quality.ESTIMATED),),
    )
    for found in (merged(first, second), merged(second, first)):
        assert found.prices_per_mwh == (*first.prices_per_mwh[:40], *second.prices_per_mwh[40:])
        assert found.is_complete
        assert (found.quality, sources_of(found)) == (Quality.ESTIMATED, ("entsoe", "smard"))
        assert found.source == "entsoe + smard"
        assert [(run.count, run.native_step, run.source, run.quality) for run in found.runs] == [
            (40, QUARTER, "entsoe", Quality.FINAL),
            (56, HOUR, "smard", Quality.ESTIMATED),
        ]
        assert found.note == "put together slot by slot: 40 final from entsoe, 56 estimated from smard"
        assert found.id.startswith("BE:day-ahead-sdac:2025-10-15:")


def test_where_one_is_better_everywhere_it_is_returned_as_it_is() -> None:
    final, estimated = series("a", Quality.FINAL), series("b", Quality.ESTIMATED, plus=1)
    assert merged(estimated, final) is final
    assert merged(final, estimated) is final
    assert merged(final, series("b", Quality.FINAL, plus=1)) is final, "the preferred one where both are worth the same"


def test_gaps_of_both_stay_gaps() -> None:
    found = merged(series("a", Quality.FINAL, known=range(10)), series("b", Quality.FINAL, known=range(20, 30)))
    assert len(found.gaps) == 96 - 20
    assert found.quality is Quality.FINAL


def test_other_things_are_not_put_together() -> None:
    one = series("a", Quality.FINAL)
    assert is_comparable(one, replace(one, source="b"))
    assert not is_comparable(one, replace(one, currency="PLN"))


@st.composite
def any_series(draw: st.DrawFn) -> PriceSeries:
    known = draw(st.sets(st.integers(0, 95), max_size=96))
    prices = [Decimal(draw(st.integers(-9, 9))) if i in known else None for i in range(96)]
    made = replace(
        price_series(DAY, prices, fetched_at=NOW),
        source=draw(st.sampled_from("abc")),
        quality=draw(st.sampled_from(Quality)),
    )
    return replace(made, id="")


@given(first=any_series(), second=any_series())
def test_no_slot_is_lost_or_becomes_worse_and_the_day_is_as_good_as_its_worst(
    first: PriceSeries, second: PriceSeries
) -> None:
    found = merged(first, second)
    assert not loses(first, found)
    assert not loses(second, found)
    assert merged(found, second).prices_per_mwh == found.prices_per_mwh
    assert set(zip(found.prices_per_mwh, range(96), strict=True)) <= {
        *zip(first.prices_per_mwh, range(96), strict=True),
        *zip(second.prices_per_mwh, range(96), strict=True),
    }
    assert gains(first, found) == gains(first, second)
    priced = [
        run.quality for price, run in zip(found.prices_per_mwh, found.origin_of_slot, strict=True) if price is not None
    ]
    if priced:
        assert RANK[found.quality] <= min(RANK[quality] for quality in priced)
