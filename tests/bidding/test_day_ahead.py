"""The day-ahead plan of a portfolio: limits, order, costs, clock changes and what happens when it does not fit."""

import pickle
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from bidding.fleet.sessions import SessionArrays
from bidding.optimum.outcome import Infeasible, Proved
from bidding.optimum.site_plan import DemandTariff, SiteFlexibility, carbon_shift
from bidding.orders.curves import MarketRules
from bidding.orders.order import DayAheadOrder, TooSmallToBid
from bidding.plans.day_ahead import DayAheadPlan, DayAheadRequest, ScheduleBasis, plan_day_ahead
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid

Sessions = Callable[..., SessionArrays]
PLAIN_DAY = date(2026, 5, 6)
HOURS = 0.25
# 12:00 the day before to 12:00 the day after; the delivery day is in the middle.
SPRING, AUTUMN = date(2026, 3, 29), date(2025, 10, 26)


def horizon(day: date = PLAIN_DAY) -> tuple[TimeGrid, DeliveryDay]:
    delivery = DeliveryDay(day=day, zone="Europe/Brussels")
    start, end = delivery.next(-1).at(time(12)), delivery.next().at(time(12))
    return TimeGrid(start=start, count=(end - start) // timedelta(minutes=15)), delivery


def request(day: date = PLAIN_DAY, *, sites: tuple[SiteFlexibility, ...], **changes: Any) -> DayAheadRequest:
    grid, delivery = horizon(day)
    price = changes.pop("price", None)
    if price is None:
        hour = (12 + np.arange(grid.count) / 4) % 24
        price = 90 - 40 * np.cos((hour - 3) / 24 * 2 * np.pi) + 0.01 * np.arange(grid.count)
    return DayAheadRequest(
        grid=grid,
        delivery_day=delivery,
        price_eur_per_mwh=price,
        sites=sites,
        **{"limit_margin_eur_per_mwh": 10.0, **changes},
    )


def site(name: str, sessions: SessionArrays, slots: int, cap_kw: float = 1e4, **more: Any) -> SiteFlexibility:
    return SiteFlexibility(connection_point=name, sessions=sessions, cap_kw=np.full(slots, cap_kw), **more)


def busy_sessions(city_sessions: Sessions, count: int, slots: int, seed: int = 0) -> SessionArrays:
    """Two nights in a row: the second night's cars leave after the horizon."""
    night = city_sessions(count, 96, seed)
    return SessionArrays(
        arrival_slot=np.concatenate([night.arrival_slot, night.arrival_slot + 96]),
        departure_slot=np.concatenate([night.departure_slot, night.departure_slot + 104]),
        rate_kwh_per_slot=np.tile(night.rate_kwh_per_slot, 2),
        energy_min_kwh=np.tile(night.energy_min_kwh, 2),
        energy_max_kwh=np.tile(night.energy_max_kwh, 2),
    )


def order_of(plan: DayAheadPlan) -> DayAheadOrder:
    assert isinstance(plan.order, DayAheadOrder)
    return plan.order


@pytest.mark.parametrize(("day", "periods", "slots"), [(SPRING, 92, 188), (PLAIN_DAY, 96, 192), (AUTUMN, 100, 196)])
def test_a_delivery_day_of_any_length(city_sessions: Sessions, day: date, periods: int, slots: int) -> None:
    grid, delivery = horizon(day)
    assert grid.count == slots
    sites = (
        site("ean-1", busy_sessions(city_sessions, 220, slots), slots, 400.0),
        site("ean-2", busy_sessions(city_sessions, 500, slots, seed=5), slots, 900.0),
    )
    plan = plan_day_ahead(request(day, sites=sites))
    order = order_of(plan)
    assert len(order.periods) == periods
    assert order.periods[0].start == delivery.at(time(0))
    assert order.periods[-1].end == delivery.next().at(time(0))
    assert all(low.end == high.start for low, high in zip(order.periods, order.periods[1:], strict=False))
    assert plan.is_complete
    for one, cap in zip(plan.sites, (400.0, 900.0), strict=True):
        assert isinstance(one.outcome, Proved)
        assert np.all(one.site_kw <= cap * (1 + 1e-6))
        need = one.fitted.sessions.energy_min_kwh
        np.testing.assert_allclose(one.session_schedule.total_kwh(), need, atol=1e-6)
        assert one.flexible_kw.sum() * HOURS == pytest.approx(need.sum(), rel=1e-9)
    planned = plan.volume_mw[plan.delivery_slots]
    ordered = np.array([float(period.max_volume_mw) for period in order.periods])
    # Half a lot, and what is cut at hours in which the few cars there cannot fill the next lot.
    assert np.all(np.abs(np.cumsum(planned - ordered)) <= 0.2)
    assert abs(order.rounding_error_mwh) <= 0.05 * HOURS + 1e-9
    assert float(order.energy_mwh) == pytest.approx(ordered.sum() * HOURS)
    assert plan.horizon_cost.planned_kwh == pytest.approx(plan.horizon_cost.uncontrolled_kwh)
    assert plan.horizon_cost.saving_eur > 0


def test_the_same_request_gives_the_same_plan_through_a_pipe(city_sessions: Sessions) -> None:
    wanted = request(sites=(site("ean-1", busy_sessions(city_sessions, 300, 192), 192, 500.0),))
    there = pickle.dumps(wanted)
    plans = [plan_day_ahead(pickle.loads(there)) for _ in range(2)]  # noqa: S301  # bytes of our own
    assert pickle.dumps(plans[0]) == pickle.dumps(plans[1])


def test_limit_prices_let_the_plan_clear_at_the_forecast_but_not_far_above(sessions_of: Sessions) -> None:
    price = np.full(192, 100.0)
    price[60:64], price[64:68], price[68:72] = 20.0, 70.0, 300.0
    # 400 kW for an hour, at any hour of a window that sees 20, 70 and 300; and a car without a choice at 300.
    sessions = sessions_of((60, 72, 100.0, 400.0), (68, 72, 50.0, 200.0))
    plan = plan_day_ahead(request(sites=(site("ean-1", sessions, 192),), price=price))
    assert plan.is_complete
    periods = order_of(plan).periods
    first = plan.delivery_slots.start
    cheap, must = periods[60 - first], periods[68 - first]
    assert [(float(p.price_per_mwh), float(p.volume_mw)) for p in cheap.curve] == [(310.0, 0.4), (4000.0, 0.0)]
    assert [(float(p.price_per_mwh), float(p.volume_mw)) for p in must.curve] == [(4000.0, 0.2)]
    assert periods[50 - first].max_volume_mw == 0


def test_other_load_must_run_and_takes_its_part_of_the_limit(sessions_of: Sessions) -> None:
    load = np.full(192, 300.0)
    load[60] = 900.0
    price = np.full(192, 100.0)
    price[60:62] = 10.0
    sessions = sessions_of((60, 64, 200.0, 350.0))
    limited = site("ean-1", sessions, 192, 800.0, inflexible_kw=load)
    plan = plan_day_ahead(request(sites=(limited,), price=price))
    (one,) = plan.sites
    assert one.overloaded_slots == (60,)
    assert one.flexible_kw[60] == pytest.approx(0.0, abs=1e-6)
    assert one.flexible_kw[61] == pytest.approx(500.0)
    assert one.site_kw[61] == pytest.approx(800.0)
    curve = order_of(plan).periods[61 - plan.delivery_slots.start].curve
    assert float(curve[-1].volume_mw) >= 0.3
    assert float(curve[0].volume_mw) == pytest.approx(0.8)


@pytest.mark.parametrize("network_eur_per_mwh", [0.0, 7.0])
def test_energy_nobody_needs_is_bought_only_when_it_pays(sessions_of: Sessions, network_eur_per_mwh: float) -> None:
    price = np.full(192, 50.0)
    price[60:64] = -30.0, -45.0, -35.0, -32.0
    sessions = sessions_of((60, 80, 100.0, 100.0, 400.0))
    paid = site("ean-1", sessions, 192, price_shift_eur_per_mwh=np.full(192, network_eur_per_mwh))
    plan = plan_day_ahead(request(sites=(paid,), price=price))
    periods = [order_of(plan).periods[slot - plan.delivery_slots.start] for slot in range(60, 64)]
    assert [float(p.max_volume_mw) for p in periods] == [0.4] * 4
    # The needed energy is in the cheapest slot; the rest is wanted only where price and network together cost nothing.
    just_above = Decimal("0.01") - Decimal(int(network_eur_per_mwh))
    assert [float(p.volume_at(just_above)) for p in periods] == [0.0, 0.4, 0.0, 0.0]
    assert [float(p.volume_at(just_above - Decimal("0.01"))) for p in periods] == [0.4] * 4


def test_a_price_shift_moves_charging_and_leaves_the_order_in_energy_prices(sessions_of: Sessions) -> None:
    price, shift = np.full(192, 50.0), np.full(192, 5.0)
    price[60:64], shift[60:64] = 40.0, 30.0
    sessions = sessions_of((56, 64, 100.0, 400.0))
    free = plan_day_ahead(request(sites=(site("a", sessions, 192),), price=price))
    shifted = plan_day_ahead(request(sites=(site("a", sessions, 192, price_shift_eur_per_mwh=shift),), price=price))
    assert free.volume_mw[60:64].sum() == pytest.approx(1.6)
    assert shifted.volume_mw[56:60].sum() == pytest.approx(1.6)
    curve = order_of(shifted).periods[56 - shifted.delivery_slots.start].curve
    # The dearest alternative costs 70 all in; with the margin of 10 and 5 for the network, energy may cost 75 here.
    assert float(curve[0].price_per_mwh) == pytest.approx(75.0)


def test_carbon_moves_charging_at_the_price_it_is_given(sessions_of: Sessions) -> None:
    price, carbon = np.full(192, 50.0), np.full(192, 400.0)
    price[60:64], carbon[70:74] = 40.0, 100.0  # 10 EUR per MWh cheaper, or 300 g per kWh cleaner
    sessions = sessions_of((56, 80, 100.0, 400.0))
    for eur_per_tonne, first in ((30.0, 60), (40.0, 70)):
        shift = carbon_shift(carbon, eur_per_tonne)
        assert shift[70] == pytest.approx(0.1 * eur_per_tonne)
        green = site("a", sessions, 192, price_shift_eur_per_mwh=shift)
        assert plan_day_ahead(request(sites=(green,), price=price)).volume_mw[first : first + 4].sum() == pytest.approx(
            1.6
        )


@pytest.mark.parametrize(
    ("eur_per_kw", "peak_so_far_kw", "powers"),
    # Moving 1 kWh to the dearer slot costs 0.04 and takes 4 kW off the peak: worth it from 0.01 per kW.
    [(0.005, 0.0, (400, 0)), (0.02, 0.0, (200, 200)), (0.02, 300.0, (300, 100))],
)
def test_a_demand_tariff_shaves_the_peak(
    sessions_of: Sessions, eur_per_kw: float, peak_so_far_kw: float, powers: tuple[float, ...]
) -> None:
    price = np.full(192, 50.0)
    price[60] = 10.0
    tariff = DemandTariff(eur_per_kw=eur_per_kw, peak_so_far_kw=peak_so_far_kw)
    sessions = sessions_of(*[(60, 62, 5.0, 5.0)] * 20)
    plan = plan_day_ahead(request(sites=(site("a", sessions, 192, demand_tariff=tariff),), price=price))
    assert plan.sites[0].flexible_kw[60:62] == pytest.approx(powers, abs=1e-4)


def test_hourly_markets_get_the_mean_of_their_hour(sessions_of: Sessions) -> None:
    price = np.full(192, 50.0)
    price[60] = 10.0
    sessions = sessions_of((56, 72, 200.0, 200.0))
    rules = MarketRules(slots_per_period=4)
    plan = plan_day_ahead(request(sites=(site("a", sessions, 192),), price=price, market=rules))
    periods = order_of(plan).periods
    assert len(periods) == 24
    hour = periods[(60 - plan.delivery_slots.start) // 4]
    assert hour.end - hour.start == timedelta(hours=1)
    assert hour.max_volume_mw == Decimal("0.2")


def test_too_little_to_bid_follows_the_tariff(sessions_of: Sessions) -> None:
    sessions = sessions_of(*[(56, 80, 2.75, 11.0)] * 5)
    market, tariff = np.full(192, 50.0), np.full(192, 200.0)
    market[60:64], tariff[70:74] = 10.0, 100.0
    plan = plan_day_ahead(request(sites=(site("a", sessions, 192),), price=market, tariff_eur_per_mwh=tariff))
    assert isinstance(plan.order, TooSmallToBid)
    assert plan.order.peak_mw == pytest.approx(0.055)
    assert "0.055 MW" in plan.order.reason
    assert plan.basis is ScheduleBasis.TARIFF
    assert plan.sites[0].flexible_kw[70:74].sum() * HOURS == pytest.approx(55.0)
    assert plan.horizon_cost.planned_eur == Decimal("5.50")
    assert plan.horizon_cost.uncontrolled_eur == Decimal("11.00")
    same = plan_day_ahead(request(sites=(site("a", sessions, 192),), price=market))
    assert same.basis is ScheduleBasis.TARIFF
    assert same.sites[0].flexible_kw[60:64].sum() * HOURS == pytest.approx(55.0)


def test_without_a_market_only_the_tariff_counts(sessions_of: Sessions) -> None:
    tariff = np.full(192, 200.0)
    tariff[70:74] = 100.0
    big = site("a", sessions_of((56, 80, 100.0, 400.0)), 192)
    plan = plan_day_ahead(request(sites=(big,), market=None, tariff_eur_per_mwh=tariff))
    assert plan.order is None
    assert plan.basis is ScheduleBasis.TARIFF
    assert plan.sites[0].flexible_kw[70:74].sum() * HOURS == pytest.approx(400.0)


def test_a_portfolio_adds_up_to_a_lot(sessions_of: Sessions) -> None:
    sessions = sessions_of(*[(56, 80, 2.75, 11.0)] * 5)
    price = np.full(192, 50.0)
    price[60:64] = 10.0
    both = tuple(site(name, sessions, 192) for name in "ab")
    order = order_of(plan_day_ahead(request(sites=both, price=price)))
    assert max(period.max_volume_mw for period in order.periods) == Decimal("0.1")


def test_a_site_that_cannot_serve_all_says_why_and_serves_the_most(sessions_of: Sessions) -> None:
    tight = site("tight", sessions_of((60, 64, 50.0, 200.0), (60, 64, 50.0, 100.0)), 192, 280.0)
    plan = plan_day_ahead(request(sites=(tight, site("fine", sessions_of((50, 90, 50.0, 200.0)), 192))))
    first, second = plan.sites
    assert isinstance(first.outcome, Infeasible)
    assert first.is_best_effort
    (conflict,) = first.outcome.conflicts
    assert set(conflict.slots) == {60, 61, 62, 63}
    assert conflict.missing_kwh == pytest.approx(300 - 280)
    assert first.flexible_kw[60:64] == pytest.approx([280.0] * 4)
    assert first.unserved_kwh.sum() == pytest.approx(20.0)
    assert isinstance(second.outcome, Proved)
    assert not plan.is_complete
    curve = order_of(plan).periods[60 - plan.delivery_slots.start].curve
    assert float(curve[-1].volume_mw) == pytest.approx(0.3)  # nothing else is left: at any price


def test_energy_after_the_horizon_is_not_free(sessions_of: Sessions) -> None:
    price = np.full(192, 500.0)
    plan = plan_day_ahead(request(sites=(site("a", sessions_of((180, 400, 10.0, 100.0)), 192),), price=price))
    assert plan.sites[0].flexible_kw.sum() * HOURS == pytest.approx(100.0)
    cut = plan_day_ahead(request(sites=(site("a", sessions_of((188, 400, 10.0, 100.0)), 192),), price=price))
    assert cut.sites[0].flexible_kw.sum() * HOURS == pytest.approx(40.0)
    assert cut.sites[0].fitted.deferred_kwh.tolist() == [60.0]
    assert cut.is_complete  # it stays longer than the plan


def test_a_car_that_asks_for_more_than_its_stay_allows_is_reported(sessions_of: Sessions) -> None:
    plan = plan_day_ahead(request(sites=(site("a", sessions_of((60, 64, 10.0, 100.0)), 192),)))
    assert plan.sites[0].flexible_kw.sum() * HOURS == pytest.approx(40.0)
    assert plan.sites[0].unserved_kwh.tolist() == [60.0]
    assert not plan.is_complete


def test_nobody_is_a_plan_too() -> None:
    plan = plan_day_ahead(request(sites=()))
    assert isinstance(plan.order, TooSmallToBid)
    assert plan.horizon_cost.planned_eur == 0
    assert not plan.volume_mw.any()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"price": np.ones(96)}, "price_eur_per_mwh"),
        ({"price": np.append(np.ones(191), np.nan)}, "price_eur_per_mwh[191]"),
        ({"tariff_eur_per_mwh": np.ones(3)}, "tariff_eur_per_mwh"),
        ({"limit_margin_eur_per_mwh": -1.0}, "limit_margin_eur_per_mwh"),
        ({"market": MarketRules(slots_per_period=7)}, "market.slots_per_period"),
        ({"delivery_day": DeliveryDay(day=date(2026, 5, 7), zone="Europe/Brussels")}, "grid"),
    ],
)
def test_a_bad_request_is_refused_by_name(change: dict[str, Any], field: str) -> None:
    grid, delivery = horizon()
    parts = {
        "grid": grid,
        "delivery_day": delivery,
        "price_eur_per_mwh": change.pop("price", np.ones(192)),
        "sites": (),
    }
    with pytest.raises(InvalidInput) as refused:
        DayAheadRequest(**{**parts, **change})
    assert refused.value.field == field


def test_bad_sites_are_refused_by_name(sessions_of: Sessions) -> None:
    sessions = sessions_of((0, 2, 1, 1))
    with pytest.raises(InvalidInput, match="twice"):
        request(sites=(site("a", sessions, 192), site("a", sessions, 192)))
    with pytest.raises(InvalidInput, match=r"sites\[0\]\.cap_kw"):
        request(sites=(site("a", sessions, 96),))
    with pytest.raises(InvalidInput, match=r"cap_kw\[0\]"):
        site("a", sessions, 4, -1.0)
    with pytest.raises(InvalidInput, match="inflexible_kw"):
        site("a", sessions, 4, inflexible_kw=np.ones(3))
    with pytest.raises(InvalidInput, match=r"demand_tariff\.eur_per_kw"):
        DemandTariff(eur_per_kw=np.nan, peak_so_far_kw=0.0)
