"""Two sources of one day's prices: what counts as the same, and what may not be compared."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.price_check import compare_prices
from gateway.domain.series import PriceProduct, PriceSeries, Quality
from gateway.domain.timegrid import DeliveryDay

DAY = DeliveryDay(day=date(2025, 10, 15), zone="Europe/Brussels")


def series(source: str = "entsoe", **changes: object) -> PriceSeries:
    values: dict[str, object] = {
        "id": "s",
        "zone": "BE",
        "product": PriceProduct.DAY_AHEAD_SDAC,
        "currency": "EUR",
        "grid": DAY.grid(),
        "prices_per_mwh": tuple(Decimal(i) for i in range(96)),
        "source": source,
        "published_at": None,
        "fetched_at": datetime(2025, 10, 14, 13, tzinfo=UTC),
        "quality": Quality.FINAL,
        "licence": "test",
    }
    return PriceSeries(**(values | changes))  # type: ignore[arg-type]  # values of the fields above


def moved(by: str, *slots: int) -> tuple[Decimal, ...]:
    return tuple(Decimal(i) + (Decimal(by) if i in slots else 0) for i in range(96))


def test_a_cent_is_rounding_and_more_is_another_price() -> None:
    """Case 20: 0.02 on one slot is an alarm, 0.01 is not."""
    same = compare_prices(series(), series("smard", prices_per_mwh=moved("0.01", *range(96))))
    assert same is not None
    assert same.agrees
    assert same.told() == "confirmed by smard in 96 periods"
    other = compare_prices(series(), series("smard", prices_per_mwh=moved("-0.02", 7)))
    assert other is not None
    assert not other.agrees
    assert [one.start for one in other.differences] == [DAY.grid().slot_start(7)]
    assert "1 of 96 periods" in other.told()
    assert "6.98 instead of 7" in other.told()


def test_the_worst_period_is_named() -> None:
    found = compare_prices(series(), series("smard", prices_per_mwh=(*moved("1", 3)[:50], *moved("-40", 60)[50:])))
    assert found is not None
    assert len(found.differences) == 2
    assert f"{DAY.grid().slot_start(60):%H:%M}Z" in found.told()


def test_gaps_are_not_compared() -> None:
    holes = tuple(None if i < 90 else Decimal(i) for i in range(96))
    found = compare_prices(series(prices_per_mwh=holes), series("smard"))
    assert found is not None
    assert (found.compared_count, found.agrees) == (6, True)
    nothing = tuple(Decimal(i) if i < 90 else None for i in range(96))
    assert compare_prices(series(prices_per_mwh=holes), series("smard", prices_per_mwh=nothing)) is None


@pytest.mark.parametrize("quality", [Quality.ESTIMATED, Quality.SUBSTITUTED])
def test_means_and_stand_ins_have_no_opinion(quality: Quality) -> None:
    assert compare_prices(series(), series("awattar", quality=quality)) is None
    assert compare_prices(series(quality=quality), series("smard")) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("zone", "NL", id="zone"),
        pytest.param("product", PriceProduct.DAY_AHEAD_EXAA, id="product"),
        pytest.param("currency", "PLN", id="currency"),
        pytest.param("grid", replace(DAY.grid(), start=DAY.grid().start + timedelta(days=1)), id="grid"),
    ],
)
def test_what_is_not_the_same_thing_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refusal:
        compare_prices(series(), series("smard", **{field: value}))
    assert refusal.value.field == f"series.{field}"
