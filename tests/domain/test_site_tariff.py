"""What a site pays is the sum of its layers, each inside its validity, by the wall clock, to the last digit."""

from dataclasses import replace
from datetime import date, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.site_tariff import LayerKind, LayerUnit, SiteTariff, TariffLayer, TariffWindow
from gateway.domain.timegrid import DeliveryDay

BERLIN = "Europe/Berlin"
DAY = DeliveryDay(day=date(2025, 10, 15), zone=BERLIN)


def layer(
    name: str,
    amount: str = "0.01",
    *,
    unit: LayerUnit = LayerUnit.PER_KWH,
    kind: LayerKind = LayerKind.NETWORK,
    valid: tuple[date, date | None] = (date(2025, 1, 1), None),
    windows: tuple[TariffWindow, ...] = (),
    elsewhere: str | None = None,
) -> TariffLayer:
    return TariffLayer(
        name=name,
        kind=kind,
        unit=unit,
        valid_from=valid[0],
        valid_until=valid[1],
        windows=windows or (TariffWindow(amount=Decimal(amount)),),
        elsewhere=None if elsewhere is None else Decimal(elsewhere),
    )


def tariff(*layers: TariffLayer, zone: str = BERLIN) -> SiteTariff:
    return SiteTariff(name="t", currency="EUR", time_zone=zone, source="s", licence="l", layers=layers)


def window(amount: str, start: int, end: int | None, **more: object) -> TariffWindow:
    clock_end = None if end is None else time(end)
    return TariffWindow(amount=Decimal(amount), start=time(start), end=clock_end, **more)  # type: ignore[arg-type]


def test_layers_per_kwh_add_up_and_a_share_comes_on_the_sum() -> None:
    peak = layer("peak", windows=(window("0.06", 17, 20),), elsewhere="0.02")
    vat = layer("vat", "0.19", unit=LayerUnit.SHARE, kind=LayerKind.TAX)
    prices = tariff(peak, layer("tax", "0.0205"), vat).prices_per_mwh(DAY)
    assert len(prices) == 96
    assert prices[0] == (Decimal("0.02") + Decimal("0.0205")) * 1000 * Decimal("1.19")
    assert prices[17 * 4] == (Decimal("0.06") + Decimal("0.0205")) * 1000 * Decimal("1.19")
    assert prices[20 * 4] == prices[0]


def test_a_layer_costs_nothing_outside_its_validity() -> None:
    old = layer("levy", "0.5", valid=(date(2024, 1, 1), date(2025, 1, 1)))
    new = layer("levy", "0.7", valid=(date(2025, 1, 1), date(2026, 1, 1)))
    both = tariff(layer("energy", "0.1", valid=(date(2020, 1, 1), None)), old, new)
    for day, expected in [("2024-12-31", 600), ("2025-01-01", 800), ("2026-01-01", 100)]:
        found = both.prices_per_mwh(DeliveryDay(day=date.fromisoformat(day), zone=BERLIN))
        assert set(found) == {Decimal(expected)}


@pytest.mark.parametrize(("day", "count"), [("2025-03-30", 92), ("2025-10-26", 100)])
def test_windows_follow_the_wall_clock_on_clock_change_days(day: str, count: int) -> None:
    night = tariff(layer("n", windows=(window("0.02", 0, 6), window("0.05", 6, None))))
    prices = night.prices_per_mwh(DeliveryDay(day=date.fromisoformat(day), zone=BERLIN))
    assert len(prices) == count
    assert prices.count(Decimal("50.00")) == 72
    assert prices.count(Decimal("20.00")) == count - 72


def test_a_window_and_a_season_may_wrap() -> None:
    wraps = TariffWindow(
        amount=Decimal(1), first_day=(11, 1), last_day=(2, 28), weekdays=frozenset({4}), start=time(22), end=time(6)
    )
    friday = date(2025, 1, 3)
    assert [wraps.holds(friday, time(hour)) for hour in (5, 6, 21, 22)] == [True, False, False, True]
    assert not wraps.holds(date(2025, 1, 2), time(23))
    assert not wraps.holds(date(2025, 6, 6), time(23))
    assert wraps.holds(date(2024, 11, 1), time(23))


def test_what_a_layer_is_silent_about_is_an_error_not_free() -> None:
    with pytest.raises(InvalidInput, match="no amount at 2025-10-15 06:00"):
        tariff(layer("n", windows=(window("0.02", 0, 6),))).prices_per_mwh(DAY)
    with pytest.raises(InvalidInput, match="two amounts at 2025-10-15 05:00"):
        tariff(layer("n", windows=(window("0.02", 0, 6), window("0.03", 5, None)))).prices_per_mwh(DAY)
    with pytest.raises(InvalidInput, match="says nothing about energy on 2024-05-05"):
        tariff(layer("n")).prices_per_mwh(DeliveryDay(day=date(2024, 5, 5), zone=BERLIN))
    with pytest.raises(InvalidInput, match="time_zone"):
        tariff(layer("n")).prices_per_mwh(DeliveryDay(day=date(2025, 5, 5), zone="Europe/London"))


def test_demand_and_fixed_amounts_are_not_energy() -> None:
    whole = tariff(
        layer("energy"),
        layer("demand", "9.80", unit=LayerUnit.PER_KW_MONTH),
        layer("metering", "62.00", unit=LayerUnit.PER_MONTH),
        layer("standing", "3.00", unit=LayerUnit.PER_DAY),
        layer("vat", "0.2", unit=LayerUnit.SHARE),
    )
    assert set(whole.prices_per_mwh(DAY)) == {Decimal("12.0")}
    assert whole.demand_per_kw(DAY.day) == Decimal("11.76")
    assert whole.fixed_per_day(DAY.day, 31) == Decimal("6.00")
    assert tariff(layer("energy")).demand_per_kw(DAY.day) == 0


@given(kwh=st.lists(st.decimals(0, 500, places=3), min_size=96, max_size=96))
def test_the_shares_of_all_layers_are_the_whole_bill(kwh: list[Decimal]) -> None:
    peak = layer("peak", windows=(window("0.061", 17, 20),), elsewhere="0.0095")
    vat = layer("vat", "0.19", unit=LayerUnit.SHARE)
    whole = tariff(peak, layer("tax", "0.0205"), vat)
    bill = sum((price * one / 1000 for price, one in zip(whole.prices_per_mwh(DAY), kwh, strict=True)), Decimal(0))
    assert sum(whole.shares(DAY, kwh).values(), Decimal(0)) == bill


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"valid_until": date(2024, 1, 1)}, "after valid_from"),
        ({"windows": (TariffWindow(amount=Decimal("NaN")),)}, "finite"),
        ({"unit": LayerUnit.PER_MONTH, "windows": (TariffWindow(amount=Decimal(1), start=time(3)),)}, "no meaning"),
    ],
)
def test_a_layer_that_makes_no_sense_is_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        replace(layer("x"), **changes)  # type: ignore[arg-type]  # fields of the layer


def test_one_layer_is_not_valid_twice_and_there_is_at_least_one() -> None:
    with pytest.raises(InvalidInput, match="twice on one day"):
        tariff(layer("x"), layer("x", valid=(date(2025, 6, 1), None)))
    with pytest.raises(InvalidInput, match="must not be empty"):
        tariff()
