"""Money, units, series and identity: exact, with unit and currency, refused when impossible."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput, PermissionRefused
from gateway.domain.identity import GRANTS, Account, Permission, Principal, Role, system_principal
from gateway.domain.money import Cash, cash_for_energy
from gateway.domain.series import CarbonKind, CarbonSeries, PriceProduct, PriceSeries, Quality
from gateway.domain.timegrid import TimeGrid
from gateway.domain.units import ac_power_kw, energy_kwh, mean_power_kw

T0 = datetime(2025, 10, 15, tzinfo=UTC)
amounts = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**6), max_value=10**6)


@given(values=st.lists(amounts, min_size=1, max_size=20))
def test_sums_of_cash_are_exact_whatever_the_order(values: list[Decimal]) -> None:
    def total(items: list[Decimal]) -> Decimal:
        cash = Cash(amount=Decimal(0), currency="EUR")
        for item in items:
            cash += Cash(amount=item, currency="EUR")
        return cash.amount

    assert total(values) == total(values[::-1]) == sum(values, Decimal(0))


def test_currencies_do_not_mix() -> None:
    with pytest.raises(InvalidInput, match=r"cash\.currency"):
        Cash(amount=Decimal(1), currency="EUR") + Cash(amount=Decimal(1), currency="USD")


@pytest.mark.parametrize(("text", "rounded"), [("0.005", "0.00"), ("0.015", "0.02"), ("-0.025", "-0.02")])
def test_cash_is_rounded_half_to_even(text: str, rounded: str) -> None:
    assert Cash(amount=Decimal(text), currency="EUR").rounded().amount == Decimal(rounded)


def test_what_we_buy_at_a_negative_price_is_received() -> None:
    assert cash_for_energy(Decimal(2), Decimal("-10.5"), "EUR") == Cash(amount=Decimal("-21.0"), currency="EUR")
    assert -cash_for_energy(Decimal(1), Decimal(3), "EUR") == Cash(amount=Decimal(-3), currency="EUR")


@pytest.mark.parametrize(
    ("amount", "currency"), [(Decimal("NaN"), "EUR"), (Decimal("Infinity"), "EUR"), (Decimal(1), "EURO")]
)
def test_impossible_cash_is_refused(amount: Decimal, currency: str) -> None:
    with pytest.raises(InvalidInput, match="cash"):
        Cash(amount=amount, currency=currency)


@given(power=st.floats(-1e6, 1e6), minutes=st.integers(1, 10_000))
def test_energy_and_mean_power_are_inverse(power: float, minutes: int) -> None:
    span = timedelta(minutes=minutes)
    assert mean_power_kw(energy_kwh(power, span), span) == pytest.approx(power)


def test_units_of_a_charger() -> None:
    assert ac_power_kw(6.0, 3) == pytest.approx(4.14)
    assert ac_power_kw(6.0, 1) == pytest.approx(1.38)
    with pytest.raises(InvalidInput, match="duration"):
        mean_power_kw(1.0, timedelta(0))


def prices(*values: str | None) -> PriceSeries:
    return PriceSeries(
        id="p",
        zone="BE",
        product=PriceProduct.DAY_AHEAD_SDAC,
        currency="EUR",
        grid=TimeGrid(start=T0, count=len(values)),
        prices_per_mwh=tuple(None if v is None else Decimal(v) for v in values),
        source="entsoe",
        published_at=None,
        fetched_at=T0,
        quality=Quality.FINAL,
        licence="x",
    )


def test_a_gap_is_seen_and_never_becomes_a_number() -> None:
    series = prices("1.5", None, "-3")
    assert not series.is_complete
    assert series.gaps == (T0 + timedelta(minutes=15),)
    with pytest.raises(InvalidInput, match=r"prices_per_mwh\[1\]"):
        series.as_array()
    assert prices("1.5", "-3").as_array().tolist() == [1.5, -3.0]


def test_impossible_series_are_refused() -> None:
    good = prices("1", "2")
    with pytest.raises(InvalidInput, match="has 1 values"):
        replace(good, prices_per_mwh=(Decimal(1),))
    with pytest.raises(InvalidInput, match=r"prices_per_mwh\[0\]"):
        replace(good, prices_per_mwh=(Decimal("NaN"), Decimal(1)))
    with pytest.raises(InvalidInput, match="currency"):
        replace(good, currency="E")


def test_carbon_is_never_negative() -> None:
    grid = TimeGrid(start=T0, count=2)

    def carbon(*values: float | None) -> CarbonSeries:
        return CarbonSeries(
            id="c",
            zone="BE",
            kind=CarbonKind.MARGINAL,
            grid=grid,
            intensity_g_per_kwh=values,
            source="s",
            fetched_at=T0,
            quality=Quality.SUBSTITUTED,
            licence="x",
        )

    assert carbon(0.0, 12.0).as_array().tolist() == [0.0, 12.0]
    assert not carbon(None, 1.0).is_complete
    for bad in (-1.0, float("nan")):
        with pytest.raises(InvalidInput, match=r"intensity_g_per_kwh\[0\]"):
            carbon(bad, 1.0)


def test_what_no_role_grants_is_refused() -> None:
    nobody = Principal(tenant="t", actor="a", roles=frozenset())
    for permission in Permission:
        with pytest.raises(PermissionRefused):
            nobody.require(permission)


def test_nobody_may_both_propose_and_approve_by_one_role() -> None:
    for role, granted in GRANTS.items():
        assert not {Permission.BID_PROPOSE, Permission.BID_APPROVE} <= granted, role


def test_the_gateway_itself_cannot_approve() -> None:
    with pytest.raises(PermissionRefused, match=r"bid\.approve"):
        system_principal("t", "plan").require(Permission.BID_APPROVE)


def test_an_account_is_its_principal() -> None:
    account = Account(id="1", tenant="t", actor="csms", roles=(Role.CSMS,), csms="csms-1")
    assert account.principal() == Principal(tenant="t", actor="csms", roles=frozenset({Role.CSMS}), csms="csms-1")
    for field in ("tenant", "actor"):
        with pytest.raises(InvalidInput, match=field):
            replace(account.principal(), **{field: ""})  # type: ignore[arg-type]
