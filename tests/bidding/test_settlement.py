"""Money to the last digit."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidding.delivery.settlement import DeliveryFacts, settle_day
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid

START = datetime(2026, 5, 6, tzinfo=UTC)


def grid(count: int, minutes: int = 15) -> TimeGrid:
    return TimeGrid(start=START, step=timedelta(minutes=minutes), count=count)


def fact(
    position: str, price: str, metered: str | None, imbalance: str | None, free: str | None = None
) -> DeliveryFacts:
    def decimal(text: str | None) -> Decimal | None:
        return None if text is None else Decimal(text)

    return DeliveryFacts(
        position_mw=Decimal(position),
        day_ahead_price_per_mwh=Decimal(price),
        metered_kwh=decimal(metered),
        imbalance_price_per_mwh=decimal(imbalance),
        uncontrolled_kwh=decimal(free),
    )


def test_a_day_by_hand() -> None:
    day = settle_day(
        grid(3),
        [
            fact("0.4", "80.10", "120", "200", "300"),  # 20 kWh too much at 200: pays 4.00
            fact("0.4", "50", "90.5", "-30", "0"),  # 9.5 kWh too little at -30: pays 0.285
            fact("0", "60", "0", "500", "10"),
        ],
    )
    assert [line.imbalance_cash for line in day.lines] == [Decimal("4.00"), Decimal("0.285"), Decimal(0)]
    assert day.lines[0].day_ahead_cash == Decimal("8.01")
    assert day.day_ahead_cash == Decimal("13.01")
    assert day.imbalance_mwh == Decimal("0.0105")
    assert day.cash == Decimal("17.295")
    assert day.uncontrolled_cash == Decimal("24.03") + Decimal("0.6")
    assert day.saving == Decimal("24.63") - Decimal("17.295")
    assert day.is_complete


def test_selling_back_at_a_good_price_is_received() -> None:
    day = settle_day(grid(1), [fact("1", "50", "200", "90")])
    assert day.imbalance_cash == Decimal("-4.5")
    assert day.saving is None


@pytest.mark.parametrize(("metered", "price"), [(None, "50"), ("10", None), (None, None)])
def test_what_is_not_known_is_not_settled(metered: str | None, price: str | None) -> None:
    day = settle_day(grid(2), [fact("1", "50", "240", "40", "1"), fact("1", "50", metered, price, "1")])
    assert day.unsettled == (1,)
    assert not day.is_complete
    assert day.lines[1].cash is None
    assert day.imbalance_cash == Decimal("-0.4")
    assert day.imbalance_mwh == Decimal("-0.01")
    assert day.day_ahead_cash == Decimal(25)
    assert day.saving is None


NUMBERS = st.decimals(-9999, 9999, places=4)
FACTS = st.builds(
    DeliveryFacts,
    position_mw=st.decimals(-100, 100, places=1),
    day_ahead_price_per_mwh=st.decimals(-500, 4000, places=2),
    metered_kwh=NUMBERS,
    imbalance_price_per_mwh=st.decimals(-15000, 15000, places=5),
    uncontrolled_kwh=NUMBERS,
)


def known(value: Decimal | None) -> Decimal:
    assert value is not None
    return value


@given(st.lists(FACTS, min_size=1, max_size=100), st.sampled_from([15, 30, 60]))
def test_totals_are_the_sums_of_their_lines_in_fractions(facts: list[DeliveryFacts], minutes: int) -> None:
    day = settle_day(grid(len(facts), minutes), facts)
    hours = Fraction(minutes, 60)
    expected = Fraction(0)
    for one in facts:
        bought_mwh = Fraction(one.position_mw) * hours
        imbalance_mwh = Fraction(known(one.metered_kwh)) / 1000 - bought_mwh
        expected += bought_mwh * Fraction(one.day_ahead_price_per_mwh)
        expected += imbalance_mwh * Fraction(known(one.imbalance_price_per_mwh))
    assert Fraction(day.cash) == expected
    assert day.cash == sum(known(line.cash) for line in day.lines)
    assert day.saving is not None
    assert day.saving == known(day.uncontrolled_cash) - day.cash


def test_what_cannot_be_settled_is_refused() -> None:
    with pytest.raises(InvalidInput, match="facts"):
        settle_day(grid(2), [fact("1", "1", "1", "1")])
    with pytest.raises(InvalidInput, match=r"grid\.step"):
        settle_day(grid(1, 5), [fact("1", "1", "1", "1")])
    with pytest.raises(InvalidInput) as refused:
        settle_day(grid(1), [fact("1", "NaN", "1", "1")])
    assert refused.value.field == "facts[0].day_ahead_price_per_mwh"
    with pytest.raises(InvalidInput, match="digits"):
        settle_day(grid(1), [fact("1", "1." + "3" * 40, "1", "7." + "1" * 60)])
