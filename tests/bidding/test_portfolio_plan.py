"""From what is known to a plan: prices by the calendar, cars that are there, cars to come, and an honest outcome."""

import dataclasses
import pickle
from datetime import date, time, timedelta
from decimal import Decimal

import numpy as np
import pytest

from bidding.forecasts.prices import PastPrices
from bidding.forecasts.sessions import SessionHistory
from bidding.orders.curves import MarketRules
from bidding.plans.portfolio_plan import (
    PointInputs,
    PortfolioInputs,
    PresentSessions,
    horizon_prices,
    plan_portfolio,
    present_sessions,
    sessions_of,
)
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid

ZONE = "Europe/Brussels"
DAY = DeliveryDay(day=date(2025, 10, 15), zone=ZONE)
NOW = DAY.next(-1).at(time(11))


def history(*, days: int = 8, cars: int = 12, day: DeliveryDay = DAY, kwh: float = 20.0) -> SessionHistory:
    """Return cars that came every evening at six and stayed until six in the morning, on two sites."""
    until = day.next(-1).at(time(11))
    arrivals = [
        (day.next(-back).at(time(18)) + timedelta(minutes=i)).timestamp()
        for back in range(2, days + 2)
        for i in range(cars)
    ]
    arrival = np.array(arrivals, dtype=np.int64)
    count = len(arrival)
    assert all(at + 12 * 3600 <= until.timestamp() for at in arrivals)
    return SessionHistory(
        covered_since=day.next(-days - 1).interval.start,
        arrival_s=arrival,
        departure_s=arrival + 12 * 3600,
        power_kw=np.full(count, 11.0),
        energy_kwh=np.full(count, kwh),
        site_index=np.arange(count) % 2,
    )


def present(*rows: tuple[float, float, float, float]) -> PresentSessions:
    """Return cars that came so many hours ago: (hours ago, hours until departure, needed, delivered); NaN unknown."""
    now = NOW.timestamp()
    return PresentSessions(
        arrival_s=np.array([now - row[0] * 3600 for row in rows], dtype=np.int64),
        expected_departure_s=np.array([now + row[1] * 3600 for row in rows]),
        power_kw=np.full(len(rows), 11.0),
        energy_needed_kwh=np.array([row[2] for row in rows]),
        delivered_kwh=np.array([row[3] for row in rows]),
        site_index=np.zeros(len(rows), dtype=np.int64),
    )


def prices(*, day: DeliveryDay = DAY, days: int = 8, published: bool = False) -> tuple[PastPrices, ...]:
    known = range(0 if published else 1, days + 1)
    return tuple(
        PastPrices(
            day=day.next(-back),
            price_eur_per_mwh=np.where(np.arange(day.next(-back).grid().count) < 24, 20.0, 100.0) + back,
        )
        for back in known
    )


def inputs(day: DeliveryDay = DAY, cap_kw: float = 200.0, **changes: object) -> PortfolioInputs:
    start, end = day.next(-1).at(time(11)), day.next().at(time(12))
    grid = TimeGrid(start=start, count=(end - start) // timedelta(minutes=15))
    given = PortfolioInputs(
        grid=grid,
        delivery_day=day,
        known_until=start,
        points=tuple(
            PointInputs(connection_point=f"cp-{i}", site_class="home", cap_kw=np.full(grid.count, cap_kw))
            for i in range(2)
        ),
        history=history(day=day),
        present=present(),
        prices=prices(day=day),
        market=MarketRules(lot_mw=Decimal("0.01"), min_volume_mw=Decimal("0.01")),
    )
    return dataclasses.replace(given, **changes)  # type: ignore[arg-type]


def test_cars_of_silent_drivers_are_not_counted_on_for_the_cheap_night() -> None:
    """A fifth of the cars leave after four hours; who does not say that he stays is planned as if he were one of them."""
    past = history(cars=15)
    stays_s = np.where(np.arange(len(past)) % 5 == 0, 4, 12) * 3600
    past = dataclasses.replace(past, departure_s=past.arrival_s + stays_s)

    def evening_share(*, is_told: bool) -> float:
        told = np.full(len(past), is_told)
        result = plan_portfolio(inputs(history=dataclasses.replace(past, told_departure=told)))
        drawn = np.sum([point.power_kw for point in result.points], axis=0)
        return float(drawn[4 * 18 :].sum() / drawn.sum())

    assert evening_share(is_told=True) == pytest.approx(1 / 5, abs=0.01)
    assert evening_share(is_told=False) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("day", "count"), [(date(2025, 3, 30), 92), (date(2025, 10, 15), 96), (date(2025, 10, 26), 100)]
)
def test_plan_of_every_length_of_day_meets_every_need(day: date, count: int) -> None:
    result = plan_portfolio(inputs(DeliveryDay(day=day, zone=ZONE)))
    assert result.outcome == "proved"
    assert result.gap is not None
    assert result.gap < 1e-5
    assert len(result.periods) == len(result.price_eur_per_mwh) == count
    # Twelve cars come every evening, each takes 20 kWh by the next morning.
    total = sum(point.energy_kwh for point in result.points)
    assert total == pytest.approx(240.0, rel=0.02)
    assert [point.session_count for point in result.points] == [6, 6]
    assert result.horizon_saving_eur > 0


def test_same_inputs_give_the_same_plan_after_a_way_through_a_pipe() -> None:
    given = inputs()
    again = pickle.loads(pickle.dumps(given))  # noqa: S301  # our own
    first, second = plan_portfolio(given), plan_portfolio(again)
    assert first.periods == second.periods
    assert all((a.power_kw == b.power_kw).all() for a, b in zip(first.points, second.points, strict=True))


def test_known_prices_are_used_and_the_rest_is_forecast_from_earlier_days() -> None:
    price, forecasts = horizon_prices(inputs())
    assert set(forecasts) == {date(2025, 10, 15), date(2025, 10, 16)}
    assert price[0] == 101.0
    published, forecasts = horizon_prices(inputs(prices=prices(published=True)))
    assert set(forecasts) == {date(2025, 10, 16)}
    assert published[52] == 20.0
    result = plan_portfolio(inputs(prices=prices(published=True)))
    assert (result.is_price_forecast, result.price_note) == (False, "")


def test_plan_without_earlier_prices_or_sessions_is_refused_with_a_name() -> None:
    with pytest.raises(InvalidInput, match="past"):
        plan_portfolio(inputs(prices=()))
    with pytest.raises(InvalidInput, match="history"):
        plan_portfolio(inputs(history=dataclasses.replace(history(), covered_since=NOW)))


def test_car_that_is_there_needs_what_is_left_until_it_leaves() -> None:
    cars = present_sessions(inputs(present=present((2.0, 3.0, 30.0, 12.0))))
    assert (cars.arrival_slot.tolist(), cars.departure_slot.tolist()) == ([0], [12])
    assert cars.energy_min_kwh.tolist() == [18.0]
    assert cars.rate_kwh_per_slot.tolist() == [2.75]


def test_car_that_asks_for_more_than_fits_gets_what_fits_and_a_full_one_nothing() -> None:
    cars = present_sessions(inputs(present=present((1.0, 1.0, 99.0, 0.0), (1.0, 1.0, 5.0, 9.0))))
    assert cars.energy_min_kwh.tolist() == [11.0]


def test_car_that_overstays_is_believed_to_leave_within_the_slot() -> None:
    cars = present_sessions(inputs(present=present((5.0, -1.0, 30.0, 0.0))))
    assert (cars.arrival_slot.tolist(), cars.departure_slot.tolist()) == ([0], [1])


def test_silent_car_is_planned_like_others_of_its_kind() -> None:
    nan = float("nan")
    cars = present_sessions(inputs(present=present((3.0, nan, nan, 4.0))))
    # All like cars stayed twelve hours and took 20 kWh.
    assert cars.departure_slot.tolist() == [36]
    assert cars.energy_min_kwh.tolist() == [pytest.approx(16.0)]


def test_present_and_coming_cars_are_planned_together() -> None:
    both = sessions_of(inputs(present=present((1.0, 5.0, 10.0, 0.0))))
    alone = sessions_of(inputs())
    assert len(both) == len(alone) + 1
    assert alone.arrival_slot.min() >= 0


def test_need_that_does_not_fit_is_named_and_small_ones_do_not_stop_the_bid() -> None:
    tight = np.full(inputs().grid.count, 200.0)
    tight[:8] = 1.0
    points = (dataclasses.replace(inputs().points[0], cap_kw=tight), inputs().points[1])
    result = plan_portfolio(inputs(points=points, present=present((1.0, 2.0, 12.0, 0.0))))
    assert result.outcome == "feasible"
    assert "do not fit: at cp-0 between 2025-10-14 09:00Z and 2025-10-14 11:00Z 12.0 kWh must flow" in result.message
    assert result.periods


def test_site_that_cannot_serve_its_cars_is_infeasible_and_no_bid() -> None:
    result = plan_portfolio(inputs(cap_kw=3.0))
    assert result.outcome == "infeasible"
    assert "must flow, the limit allows" in result.message
    assert result.periods == ()
    assert max(float(point.power_kw.max()) for point in result.points) <= 3.0 + 1e-6


def test_too_small_is_said_and_still_planned() -> None:
    result = plan_portfolio(inputs(market=MarketRules(lot_mw=Decimal(5), min_volume_mw=Decimal(5))))
    assert (result.outcome, result.periods) == ("too-small", ())
    assert result.points[0].energy_kwh > 0


def test_other_load_takes_room_and_is_bought() -> None:
    loaded = tuple(
        dataclasses.replace(point, other_load_kw=np.full(inputs().grid.count, 30.0), cap_kw=point.cap_kw * 0 + 50.0)
        for point in inputs().points
    )
    result = plan_portfolio(inputs(points=loaded))
    assert max(float(point.power_kw.max()) for point in result.points) <= 20.0 + 1e-6
    assert min(period.max_volume_mw for period in result.periods) >= Decimal("0.06")


def test_known_until_is_obeyed() -> None:
    late = history()
    future = dataclasses.replace(late, departure_s=late.departure_s + int(timedelta(days=5).total_seconds()))
    with pytest.raises(InvalidInput, match="known_until"):
        plan_portfolio(inputs(history=future))
