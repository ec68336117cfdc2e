import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.entsoe_day import AssembledDay, assemble_day, auction_series, require_limits
from gateway.market_data.entsoe_document import PriceDocument, PricePeriod, PriceTimeSeries
from gateway.market_data.market_rules import load_market_rules

RULES = load_market_rules(Path(__file__).resolve().parents[2] / "config" / "market_rules.toml")
DAY = DeliveryDay(day=date(2025, 10, 15), zone="Europe/Brussels")
SPRING = DeliveryDay(day=date(2026, 3, 29), zone="Europe/Brussels")
AUTUMN = DeliveryDay(day=date(2025, 10, 26), zone="Europe/Brussels")
QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
SDAC, EXAA = PriceProduct.DAY_AHEAD_SDAC, PriceProduct.DAY_AHEAD_EXAA


def prices(values: list[object]) -> tuple[Decimal | None, ...]:
    return tuple(None if value is None else Decimal(str(value)) for value in values)


def quarters(start: datetime, values: list[object], step: timedelta = QUARTER, tail: int = 0) -> PricePeriod:
    return PricePeriod(start=start, step=step, prices_per_mwh=prices(values), repeated_tail_count=tail)


def one(
    *periods: PricePeriod, sequence: str = "none", currency: str = "EUR", contract: str | None = "A01"
) -> PriceTimeSeries:
    return PriceTimeSeries(contract=contract, sequence=sequence, category=None, currency=currency, periods=periods)


def document(*series: PriceTimeSeries) -> PriceDocument:
    return PriceDocument(created_at=datetime(2025, 10, 14, 11, tzinfo=UTC), revision=1, status=None, series=series)


def assembled(*series: PriceTimeSeries, day: DeliveryDay = DAY) -> AssembledDay:
    found = assemble_day(series, day)
    assert found is not None
    return found


@pytest.mark.parametrize(("day", "count"), [(SPRING, 92), (DAY, 96), (AUTUMN, 100)])
def test_a_day_has_the_quarter_hours_of_its_market(day: DeliveryDay, count: int) -> None:
    found = assembled(one(quarters(day.grid().start, list(range(count)))), day=day)
    assert found.prices_per_mwh == prices(list(range(count)))
    assert found.grid.count == count
    assert found.expanded_count == 0
    assert len(set(found.grid.starts())) == count


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (DAY, 24), (AUTUMN, 25)])
def test_hours_are_expanded_and_counted(day: DeliveryDay, hours: int) -> None:
    found = assembled(one(quarters(day.grid().start, list(range(hours)), HOUR)), day=day)
    assert found.prices_per_mwh[4:9] == prices([1, 1, 1, 1, 2])
    assert found.expanded_count == 4 * hours == found.grid.count
    assert found.native_steps == (HOUR,) * 4 * hours
    assert found.notes() == ()


def test_finer_wins_and_coarser_fills_what_no_finer_period_covers() -> None:
    start = DAY.grid().start
    found = assembled(
        one(quarters(start, list(range(100, 124)), HOUR)),
        one(quarters(start, list(range(92)))),
    )
    assert found.prices_per_mwh == prices([*range(92), 123, 123, 123, 123])
    assert found.expanded_count == 4


def test_a_gap_in_a_finer_period_is_not_filled_from_a_coarser_one() -> None:
    start = DAY.grid().start
    fine = quarters(start, [1, None, 3, 4])
    found = assembled(one(quarters(start, [50, 60], HOUR)), one(fine))
    assert found.prices_per_mwh[:8] == prices([1, None, 3, 4, 60, 60, 60, 60])


def test_what_nobody_says_is_a_gap() -> None:
    found = assembled(one(quarters(DAY.grid().start, list(range(48)))))
    assert found.prices_per_mwh[48:] == (None,) * 48


def test_only_the_day_is_taken_from_longer_periods() -> None:
    start = DAY.grid().start - timedelta(hours=2)
    found = assembled(one(quarters(start, list(range(300)))))
    assert found.prices_per_mwh == prices(list(range(8, 104)))


def test_a_day_nobody_speaks_of_is_not_there() -> None:
    other = one(quarters(DAY.next().grid().start, [1, 2, 3]))
    assert assemble_day([other], DAY) is None
    assert assemble_day([], DAY) is None
    assert assemble_day([one(quarters(DAY.grid().start, [None, None]))], DAY) is None


def test_a_series_sent_twice_counts_once() -> None:
    series = one(quarters(DAY.grid().start, list(range(96))))
    assert assembled(series, series) == assembled(series)


def test_two_prices_for_one_slot_are_refused() -> None:
    start = DAY.grid().start
    with pytest.raises(InvalidInput, match="has two prices, 1 and 2"):
        assemble_day([one(quarters(start, [1])), one(quarters(start, [2]))], DAY)


def test_a_gap_in_one_copy_is_filled_from_the_other() -> None:
    start = DAY.grid().start
    assert assembled(one(quarters(start, [1, None])), one(quarters(start, [None, 2]))).prices_per_mwh[:2] == prices(
        [1, 2]
    )


def test_currencies_do_not_mix() -> None:
    start = DAY.grid().start
    with pytest.raises(InvalidInput, match="EUR and PLN do not mix"):
        assemble_day([one(quarters(start, [1])), one(quarters(start + HOUR, [2]), currency="PLN")], DAY)


def test_a_period_off_the_quarter_hours_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not start on a quarter-hour"):
        assemble_day([one(quarters(DAY.grid().start + timedelta(minutes=5), [1]))], DAY)


def test_a_long_repeated_end_is_suspicious_and_a_short_one_is_not() -> None:
    start = DAY.grid().start
    assert not assembled(one(quarters(start, [5] * 96, tail=12))).is_suspicious
    cut = assembled(one(quarters(start, [5] * 96, tail=76)))
    assert cut.is_suspicious
    assert "19:00:00" in cut.notes()[0]


def test_limits_are_of_the_market_and_the_day() -> None:
    limits = RULES.limits_on(SDAC, "EUR", DAY.day)
    require_limits(assembled(one(quarters(DAY.grid().start, [-500, 4000]))), limits)
    for price, slot in (("-500.01", 1), ("4000.01", 1)):
        with pytest.raises(InvalidInput) as caught:
            require_limits(assembled(one(quarters(DAY.grid().start, [1, price]))), limits)
        assert caught.value.field == f"price.amount[{slot}]"


def test_no_limit_of_one_market_is_put_on_another() -> None:
    require_limits(assembled(one(quarters(DAY.grid().start, [9052]), currency="USD")), None)


def test_both_auctions_of_a_zone_stay_apart() -> None:
    start = DAY.grid().start
    both = document(one(quarters(start, [200] * 96), sequence="2"), one(quarters(start, [100] * 96), sequence="1"))
    rule = RULES.zone("DE_LU")
    assert set(assembled(*auction_series(both, rule, SDAC)).prices_per_mwh) == {Decimal(100)}
    assert set(assembled(*auction_series(both, rule, EXAA)).prices_per_mwh) == {Decimal(200)}


def test_the_other_auction_never_stands_in() -> None:
    start = DAY.grid().start
    only_exaa = document(one(quarters(start, [200] * 96), sequence="2"))
    assert auction_series(only_exaa, RULES.zone("DE_LU"), SDAC) == ()
    partial = document(one(quarters(start, [200] * 192), sequence="2"), one(quarters(start, [100] * 96), sequence="1"))
    chosen = auction_series(partial, RULES.zone("DE_LU"), SDAC)
    assert assemble_day(chosen, DAY.next()) is None
    assert None not in assembled(*chosen).prices_per_mwh


def test_a_second_auction_that_no_rule_tells_of_is_left_out() -> None:
    start = DAY.grid().start
    both = document(one(quarters(start, [100] * 96)), one(quarters(start, [200] * 96), sequence="2"))
    assert len(auction_series(both, RULES.zone("BE"), SDAC)) == 1


def test_two_listed_positions_at_once_are_refused() -> None:
    start = DAY.grid().start
    both = document(one(quarters(start, [100] * 96)), one(quarters(start, [200] * 96), sequence="1"))
    with pytest.raises(InvalidInput, match="its rule tells of one"):
        auction_series(both, RULES.zone("BE"), SDAC)


def test_intraday_contracts_are_left_out() -> None:
    start = DAY.grid().start
    both = document(one(quarters(start, [100] * 96)), one(quarters(start, [300] * 96), contract="A07"))
    assert set(assembled(*auction_series(both, RULES.zone("BE"), SDAC)).prices_per_mwh) == {Decimal(100)}


def test_a_product_without_rule_is_refused() -> None:
    with pytest.raises(InvalidInput, match="zone BE has no rule for day-ahead-exaa"):
        auction_series(document(), RULES.zone("BE"), EXAA)


def test_a_currency_of_another_zone_is_refused_and_one_of_its_own_is_kept() -> None:
    zloty = document(one(quarters(DAY.grid().start, [400] * 96), currency="PLN"))
    assert assembled(*auction_series(zloty, RULES.zone("PL"), SDAC)).currency == "PLN"
    with pytest.raises(InvalidInput, match="PLN is not a currency of zone BE"):
        auction_series(zloty, RULES.zone("BE"), SDAC)


@given(
    day=st.sampled_from([SPRING, DAY, AUTUMN]),
    cuts=st.lists(st.integers(0, 25), min_size=2, max_size=6),
    data=st.data(),
)
def test_every_slot_gets_the_finest_word_about_it_and_nothing_else(
    day: DeliveryDay, cuts: list[int], data: st.DataObject
) -> None:
    grid = day.grid()
    borders = sorted(set(cuts))
    periods: list[PricePeriod] = []
    expected: dict[datetime, tuple[timedelta, Decimal | None]] = {}
    for low, high in itertools.pairwise(borders):
        for step in data.draw(st.sets(st.sampled_from([QUARTER, timedelta(minutes=30), HOUR]), min_size=1)):
            count = (high - low) * HOUR // step
            values = data.draw(st.lists(st.none() | st.integers(-500, 4000), min_size=count, max_size=count))
            periods.append(quarters(grid.start + low * HOUR, list(values), step))
            for index, value in enumerate(values):
                for part in range(step // QUARTER):
                    at = grid.start + low * HOUR + step * index + QUARTER * part
                    price = None if value is None else Decimal(value)
                    if at not in expected or step < expected[at][0]:
                        expected[at] = (step, price)
    want = tuple(expected.get(start, (QUARTER, None))[1] for start in grid.starts())
    found = assemble_day([one(*periods)], day)
    assert (found is None) == all(price is None for price in want)
    if found is not None:
        assert found.prices_per_mwh == want
