"""Pre-trade checks: each can fail, each says what it saw."""

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.bid_checks import BidTerms, check_bid, collar, require_passed
from gateway.domain.bids import BidPeriod, CheckOutcome, CurvePoint
from gateway.domain.errors import GateClosed, InvalidInput, NoRoute, PreTradeLimitExceeded
from gateway.domain.topology import Route

START = datetime(2025, 10, 14, 22, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
GATE = datetime(2025, 10, 14, 10, tzinfo=UTC)
NOW = GATE - timedelta(hours=1)
COUNT = 8


def curve(*points: tuple[str, str]) -> tuple[CurvePoint, ...]:
    return tuple(CurvePoint(price_per_mwh=Decimal(price), volume_mw=Decimal(volume)) for price, volume in points)


def periods(volume: str = "1.0", *, count: int = COUNT) -> tuple[BidPeriod, ...]:
    return tuple(
        BidPeriod(start=START + QUARTER * i, end=START + QUARTER * (i + 1), curve=curve(("4000", volume)))
        for i in range(count)
    )


def changed(index: int, *points: tuple[str, str], base: str = "1.0") -> tuple[BidPeriod, ...]:
    out = list(periods(base))
    out[index] = dataclasses.replace(out[index], curve=curve(*points))
    return tuple(out)


TERMS = BidTerms(
    contracts=tuple((START + QUARTER * i, START + QUARTER * (i + 1)) for i in range(COUNT)),
    lot_mw=Decimal("0.1"),
    min_price_per_mwh=Decimal(-500),
    max_price_per_mwh=Decimal(4000),
    max_order_mw=Decimal(500),
    max_day_mwh=Decimal(1000),
    planned_mw=(Decimal("1.02"),) * COUNT,
    plan_outcome="proved",
    price_quality="forecast",
    gate_closure=GATE,
    route=Route.VIA_BRP,
    brp="brp-demo",
    points_without_brp=(),
)


def test_other_load_that_is_not_known_needs_a_persons_eye() -> None:
    terms = dataclasses.replace(TERMS, points_without_other_load=("541448820000000015",))
    assert outcome("other-load", periods()) is CheckOutcome.PASSED
    assert outcome("other-load", periods(), terms) is CheckOutcome.WARNING
    require_passed(check_bid(periods(), terms, NOW))


def outcome(name: str, of: tuple[BidPeriod, ...], terms: BidTerms = TERMS, now: datetime = NOW) -> CheckOutcome:
    [check] = [check for check in check_bid(of, terms, now) if check.name == name]
    assert check.message
    return check.outcome


def test_bid_as_planned_passes_everything() -> None:
    checks = check_bid(periods(), TERMS, NOW)
    assert {check.outcome for check in checks} == {CheckOutcome.PASSED}
    require_passed(checks)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("delivery-periods", periods(count=COUNT - 1)),
        ("delivery-periods", periods()[::-1]),
        ("lot", changed(2, ("4000", "1.05"))),
        ("lot", changed(2, ("50", "1.25"), ("4000", "1.0"))),
        ("price-limits", changed(2, ("4000.01", "1.0"))),
        ("price-limits", changed(2, ("-500.01", "1.1"), ("4000", "1.0"))),
        ("direction", changed(2, ("4000", "-0.1"))),
        ("max-order", changed(2, ("4000", "500.1"))),
        ("day-energy", periods("600")),
        ("day-energy", periods("3.2")),
        ("hundredfold", changed(2, ("4000", "100"))),
        ("hundredfold", changed(2, ("4000", "10.3"))),
    ],
)
def test_check_fails(name: str, of: tuple[BidPeriod, ...]) -> None:
    assert outcome(name, of) is CheckOutcome.FAILED
    with pytest.raises(PreTradeLimitExceeded):
        require_passed(check_bid(of, TERMS, NOW))


@pytest.mark.parametrize(
    ("volume", "expected"), [("3.0", "passed"), ("3.1", "warning"), ("10.2", "warning"), ("10.3", "failed")]
)
def test_hundredfold_warns_first(volume: str, expected: str) -> None:
    assert outcome("hundredfold", changed(0, ("4000", volume))).value == expected


def test_small_period_may_grow_to_the_mean_of_the_day_but_not_a_hundredfold() -> None:
    terms = dataclasses.replace(TERMS, planned_mw=(Decimal("0.01"), *TERMS.planned_mw[1:]))
    assert outcome("hundredfold", periods(), terms) is CheckOutcome.PASSED
    assert outcome("hundredfold", changed(0, ("4000", "100")), terms) is CheckOutcome.FAILED


def test_auction_that_names_no_price_limits_needs_an_eye() -> None:
    terms = dataclasses.replace(TERMS, max_price_per_mwh=None)
    assert outcome("price-limits", periods(), terms) is CheckOutcome.WARNING


@pytest.mark.parametrize("bad", ["infeasible", "timed-out", "too-small", "failed", ""])
def test_only_a_usable_plan_may_be_bid(bad: str) -> None:
    assert outcome("plan", periods(), dataclasses.replace(TERMS, plan_outcome=bad)) is CheckOutcome.FAILED


def test_substituted_prices_need_an_eye() -> None:
    assert outcome("plan", periods(), dataclasses.replace(TERMS, price_quality="substituted")) is CheckOutcome.WARNING


@pytest.mark.parametrize(
    "lost", [{"route": Route.TARIFF_ONLY}, {"brp": None}, {"points_without_brp": ("541448820000000000",)}]
)
def test_bid_without_a_route_or_brp_fails(lost: dict[str, object]) -> None:
    checks = check_bid(periods(), dataclasses.replace(TERMS, **lost), NOW)  # type: ignore[arg-type]
    with pytest.raises(NoRoute):
        require_passed(checks)


@pytest.mark.parametrize(
    ("left", "expected"),
    [(timedelta(hours=1), "passed"), (timedelta(minutes=30), "passed"), (timedelta(minutes=29), "warning")],
)
def test_gate_is_open_until_its_instant(left: timedelta, expected: str) -> None:
    assert outcome("gate", periods(), now=GATE - left).value == expected


@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=1)])
def test_gate_is_closed_from_its_instant_on(late: timedelta) -> None:
    with pytest.raises(GateClosed):
        require_passed(check_bid(periods(), TERMS, GATE + late))


@pytest.mark.parametrize("text", ["", "ten", "NaN", "Infinity", "0", "-1"])
def test_collar_that_is_no_positive_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        collar("portfolio.max_order_mw", text)
    assert caught.value.field == "portfolio.max_order_mw"


@given(st.integers(min_value=0, max_value=COUNT - 1), st.decimals(min_value="0.1", max_value="4.9", places=1))
def test_slip_by_two_digits_is_always_stopped(index: int, meant: Decimal) -> None:
    terms = dataclasses.replace(TERMS, planned_mw=(meant,) * COUNT, max_order_mw=Decimal(10_000))
    slip = changed(index, ("4000", str(meant * 100)), base=str(meant))
    assert outcome("hundredfold", slip, terms) is CheckOutcome.FAILED


def test_checks_name_periods_and_the_gate_on_the_clock_of_the_table() -> None:
    terms = dataclasses.replace(TERMS, time_zone="Europe/Brussels")
    zone = ZoneInfo("Europe/Brussels")
    said = {check.name: check.message for check in check_bid(changed(2, ("4000", "-0.1")), terms, NOW)}
    start = periods()[2].start.astimezone(zone)
    assert f"the period of {start:%Y-%m-%d %H:%M} +0{start.utcoffset()}"[:-3] in said["direction"]
    assert "Z" not in said["direction"] + said["gate"]
    assert f"{TERMS.gate_closure.astimezone(zone):%H:%M}" in said["gate"]
    assert f"at {NOW.astimezone(zone):%Y-%m-%d %H:%M}" in said["gate"]
    many = {check.name: check.message for check in check_bid(changed(0, ("4000", "100")), terms, NOW)}
    assert f"{periods()[0].start.astimezone(zone):%Y-%m-%d %H:%M}" in many["hundredfold"]


def test_the_energy_of_the_day_says_what_it_is_the_sum_of() -> None:
    [check] = [one for one in check_bid(periods(), TERMS, NOW) if one.name == "day-energy"]
    assert "the largest volume of every period" in check.message
    assert "the plan draws" in check.message
