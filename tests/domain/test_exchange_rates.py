"""Currencies meet only by a stated rate with its day and source (case 11)."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput, RateMissing
from gateway.domain.exchange_rates import (
    Conversion,
    ExchangeRate,
    conversion_of,
    converted_prices,
    rate_window,
)
from gateway.domain.timegrid import DeliveryDay
from tests.fakes.market import price_series

DAY = date(2025, 10, 15)
NOW = datetime(2025, 10, 15, 15, tzinfo=UTC)


def rate(quote: str = "GBP", value: str = "0.8", day: date = DAY, source: str = "ecb") -> ExchangeRate:
    return ExchangeRate(base="EUR", quote=quote, rate=Decimal(value), day=day, source=source, fetched_at=NOW)


def convert(*rates: ExchangeRate, source: str = "EUR", target: str = "GBP", day: date = DAY) -> Conversion:
    return conversion_of(rates, field="series.currency", source=source, target=target, day=day)


def test_m11_a_conversion_names_its_rate_day_and_source() -> None:
    found = convert(rate())
    assert (found.factor, found.day, found.source) == (Decimal("0.8"), DAY, "ecb")
    assert found.told() == "converted from EUR to GBP by EUR/GBP 0.8 of 2025-10-15 by ecb"
    assert found.price(Decimal(-500)) == Decimal("-400.000000")


def test_m11_a_rate_serves_against_its_direction_and_across_a_shared_currency() -> None:
    assert convert(rate(), source="GBP", target="EUR").factor == Decimal("1.25")
    across = convert(rate(), rate("SEK", "11"), source="GBP", target="SEK")
    assert across.factor == Decimal("13.75")
    assert [one.quote for one in across.rates] == ["GBP", "SEK"]
    stated = ExchangeRate(base="GBP", quote="SEK", rate=Decimal(14), day=DAY, source="ecb", fetched_at=NOW)
    assert convert(rate(), rate("SEK", "11"), stated, source="GBP", target="SEK").factor == 14, "what is stated wins"


@pytest.mark.parametrize(
    "rates",
    [
        (),
        (rate("SEK", "11"),),
        (rate(day=DAY - timedelta(days=7)),),
        (rate(day=DAY + timedelta(days=1)),),
        (rate(), rate(value="0.9", source="contract")),
    ],
    ids=["none", "another-pair", "too-old", "of-the-future", "two-sources-differ"],
)
def test_m11_without_one_rate_nothing_is_converted_and_the_field_is_named(rates: tuple[ExchangeRate, ...]) -> None:
    with pytest.raises(RateMissing) as raised:
        convert(*rates)
    assert raised.value.field == "series.currency"
    assert str(raised.value).startswith("series.currency: ")


def test_m11_legs_of_two_sources_or_days_are_not_put_together() -> None:
    for other in (rate("SEK", "11", source="contract"), rate("SEK", "11", day=DAY - timedelta(days=1))):
        with pytest.raises(RateMissing):
            convert(rate(), other, source="GBP", target="SEK")


def test_m11_the_newest_rate_of_the_week_is_used() -> None:
    friday, thursday = rate(day=date(2025, 10, 17)), rate(value="0.7", day=date(2025, 10, 16))
    assert convert(thursday, friday, day=date(2025, 10, 19)).day == date(2025, 10, 17)
    since, until = rate_window(date(2025, 10, 19))
    assert since <= thursday.begins_at < until
    assert rate_window(DAY)[1] == datetime(2025, 10, 16, tzinfo=UTC)


def test_m11_converted_prices_say_so_and_gaps_stay_gaps() -> None:
    day = DeliveryDay(day=DAY, zone="Europe/Brussels")
    series = replace(
        price_series(day, [Decimal(10), None, *[Decimal("-1.23")] * 94], fetched_at=NOW), note="as published"
    )
    shown = converted_prices(series, convert(rate()))
    assert shown.currency == "GBP"
    assert shown.prices_per_mwh[:3] == (Decimal("8.000000"), None, Decimal("-0.984000"))
    assert shown.note == "as published; converted from EUR to GBP by EUR/GBP 0.8 of 2025-10-15 by ecb"
    assert (shown.source, shown.quality) == (series.source, series.quality)
    with pytest.raises(InvalidInput, match=r"series\.currency"):
        converted_prices(shown, convert(rate()))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"base": "euro"}, "exchange_rate.base"),
        ({"quote": "EUR"}, "exchange_rate.quote"),
        ({"rate": Decimal(0)}, "exchange_rate.rate"),
        ({"rate": Decimal("NaN")}, "exchange_rate.rate"),
        ({"source": ""}, "exchange_rate.source"),
    ],
)
def test_a_rate_that_cannot_be_is_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        replace(rate(), **changes)  # type: ignore[arg-type]  # fields of the rate
    assert raised.value.field == field


def test_the_same_currency_is_no_conversion() -> None:
    with pytest.raises(InvalidInput, match="already"):
        convert(rate(), target="EUR")


@given(
    value=st.decimals("0.0001", "20000", places=4, allow_nan=False),
    price=st.decimals("-9999", "9999", places=2, allow_nan=False),
)
def test_there_and_back_is_the_same_price_to_a_millionth_of_the_rate(value: Decimal, price: Decimal) -> None:
    there = convert(rate(value=str(value)))
    back = convert(rate(value=str(value)), source="GBP", target="EUR")
    assert abs(back.factor * (price * there.factor) - price) < Decimal("1e-18")
