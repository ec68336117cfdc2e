"""Walking forward: frozen knowledge, two auctions for one night, exact money, and a walk that can go on later."""

import pickle
from dataclasses import replace
from datetime import date, time, timedelta

import numpy as np
import pytest

from bidding.backtest.gate import Gate, GateSettings
from bidding.backtest.knowledge import beliefs_at, history_at, past_prices
from bidding.backtest.market_outcome import DayBid
from bidding.backtest.recording import AuctionCalendar, RecordedDay, Recording, gate_of
from bidding.backtest.results import DayResult, ImbalanceBasis, Part, SessionKnowledge, settled
from bidding.backtest.strategies import (
    AuctionView,
    BlockGroups,
    PerfectForesight,
    PriceCurves,
    Strategy,
    Uncontrolled,
    VolumeOnly,
    any_price,
)
from bidding.backtest.summary import summarise
from bidding.backtest.walk import WalkedDay, walk_forward
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.units import QUARTER_HOUR
from tests.bidding.recordings import HOUR, ZONE, book, prices, recording

FIRST = date(2025, 10, 6)
KNOWN = GateSettings(book=book(), market="quarters", knowledge=SessionKnowledge.REALISED)
FORECAST = replace(KNOWN, knowledge=SessionKnowledge.FORECAST)


def walk(
    recorded: Recording, strategies: tuple[Strategy, ...], settings: GateSettings, days: int = 3, first: date = FIRST
) -> list[WalkedDay]:
    return list(walk_forward(recorded, first, first + timedelta(days=days - 1), strategies, settings))


def results_of(walked: list[WalkedDay], strategy: str) -> list[DayResult]:
    return [one for day in walked for one in day.results if one.strategy == strategy]


def test_a_day_is_yielded_once_for_every_strategy() -> None:
    walked = walk(recording(), (Uncontrolled(), VolumeOnly()), KNOWN)
    assert [[one.day for one in day.results] for day in walked] == [[FIRST + timedelta(days=n)] * 2 for n in range(3)]
    for day in walked:
        assert all(len(one.part.award_kwh) == len(one.part.delivered_kwh) == 96 for one in day.results)


def test_known_sessions_are_delivered_as_bought_up_to_the_lot() -> None:
    strategies = (VolumeOnly(), BlockGroups(blocks=8, groups=2), PerfectForesight())
    walked = walk(recording(), strategies, KNOWN)
    for strategy in strategies:
        days = results_of(walked, strategy.name)
        bought = sum(one.part.award_kwh.sum() for one in days)
        drawn = sum(np.minimum(one.part.award_kwh, one.part.delivered_kwh).sum() for one in days)
        assert drawn >= 0.98 * bought
        assert sum(one.part.missed_count for one in days) == 0
        assert sum(one.part.promised_count for one in days) > 0


def test_foresight_costs_least_and_control_less_than_none() -> None:
    strategies = (Uncontrolled(), VolumeOnly(), BlockGroups(blocks=8, groups=1), PerfectForesight())
    found = [one for day in walk(recording(count=6), strategies, KNOWN, days=6) for one in day.results]
    rows = summarise(
        found,
        np.random.default_rng(0),
        references=("uncontrolled", "volume-only"),
        foresight="perfect-foresight",
    )
    by_name = {row.strategy: row for row in rows}
    assert by_name["perfect-foresight"].captured_share == pytest.approx(1.0)
    assert by_name["volume-only"].captured_share == pytest.approx(0.0)
    saved = {row.strategy: row.savings[0].eur_per_day for row in rows}
    assert saved["uncontrolled"] == 0.0 < saved["volume-only"] < saved["perfect-foresight"]
    assert by_name["volume-only"].savings[0].is_sure
    best = by_name["perfect-foresight"].savings[1]
    assert best.low_eur_per_day <= best.eur_per_day <= best.high_eur_per_day
    assert best.eur_per_car_year == pytest.approx(2.5 * best.eur_per_mwh)


def test_no_promise_is_missed_when_sessions_are_only_forecast() -> None:
    days = results_of(walk(recording(silent=0.4), (VolumeOnly(),), FORECAST), "volume-only")
    assert sum(one.part.promised_count for one in days) > 0
    assert sum(one.part.missed_count for one in days) == 0
    assert all(one.part.unserved_kwh >= 0.0 for one in days)


@pytest.mark.parametrize("settings", [FORECAST, KNOWN])
def test_what_happens_after_the_gate_changes_no_bid(settings: GateSettings) -> None:
    """The award of the last day depends on its own prices only through clearing: any-price volumes do not move at all."""
    recorded = recording(count=3)
    gate = gate_of(DeliveryDay(day=FIRST + timedelta(days=2), zone=ZONE)).timestamp()
    later = recorded.sessions.arrival_s >= gate
    energy = np.where(later, recorded.sessions.energy_kwh * 0.5, recorded.sessions.energy_kwh)
    dearer = tuple(
        replace(one, day_ahead_eur_per_mwh=one.day_ahead_eur_per_mwh[::-1])
        if one.day.day > FIRST + timedelta(days=1)
        else one
        for one in recorded.days
    )
    other = replace(recorded, days=dearer)
    if settings.knowledge is SessionKnowledge.FORECAST:
        other = replace(other, sessions=replace(recorded.sessions, energy_kwh=energy))
    one, two = (results_of(walk(which, (VolumeOnly(),), settings), "volume-only") for which in (recorded, other))
    assert one[-1].part.award_kwh.tolist() == two[-1].part.award_kwh.tolist()
    assert one[-1].day_ahead_eur != two[-1].day_ahead_eur


def test_a_gate_knows_no_session_that_had_not_ended_and_no_price_of_the_day() -> None:
    recorded = recording(silent=0.5)
    day = DeliveryDay(day=FIRST, zone=ZONE)
    gate = gate_of(day)
    assert gate == day.next(-1).interval.start + timedelta(hours=12)
    assert max(one.day.day for one in past_prices(recorded, FIRST)) == FIRST - timedelta(days=1)
    history = history_at(recorded, gate)
    assert history.departure_s.max() <= gate.timestamp()
    # Truth about cars that had not left does not enter the beliefs about them.
    open_rows = recorded.sessions.departure_s > gate.timestamp()
    changed = replace(
        recorded.sessions,
        departure_s=np.where(open_rows, recorded.sessions.departure_s + 7200, recorded.sessions.departure_s),
        energy_kwh=np.where(open_rows, 1.0, recorded.sessions.energy_kwh),
    )
    one, two = beliefs_at(recorded, gate), beliefs_at(replace(recorded, sessions=changed), gate)
    assert one.departure_s.tolist() == two.departure_s.tolist()
    assert one.energy_kwh.tolist() == two.energy_kwh.tolist()


@pytest.mark.parametrize(("day", "count"), [(date(2025, 10, 26), 100), (date(2026, 3, 29), 92)])
def test_days_when_the_clock_changes_have_their_own_number_of_periods(day: date, count: int) -> None:
    recorded = recording(first=day - timedelta(days=1), count=3, per_day=12)
    walked = walk(
        recorded, (VolumeOnly(), BlockGroups(blocks=4, groups=1)), FORECAST, days=3, first=day - timedelta(days=1)
    )
    assert [len(one.part.award_kwh) for one in results_of(walked, "volume-only")] == [96, count, 96]


def test_hours_are_bought_and_judged_by_the_hour() -> None:
    settings = replace(KNOWN, market="hours")
    walked = walk(recording(step=HOUR), (VolumeOnly(), PriceCurves()), settings)
    for one in walked[0].results:
        assert len(one.part.award_kwh) == 24
        assert one.delivered_share > 0.98


def test_a_walk_goes_on_where_it_ended() -> None:
    recorded, strategies = recording(), (VolumeOnly(), BlockGroups(blocks=4, groups=2))
    whole = walk(recorded, strategies, FORECAST)
    first = next(walk_forward(recorded, FIRST, FIRST + timedelta(days=2), strategies, FORECAST))
    state = pickle.loads(pickle.dumps(first.state))  # noqa: S301  # our own
    rest = list(walk_forward(recorded, FIRST, FIRST + timedelta(days=2), strategies, FORECAST, state))
    assert [one.cost_eur for day in (first, *rest) for one in day.results] == [
        one.cost_eur for day in whole for one in day.results
    ]


def test_without_a_specification_blocks_become_volumes() -> None:
    settings = replace(KNOWN, book=book(with_blocks=False))
    walked = walk(recording(), (VolumeOnly(), BlockGroups(blocks=8, groups=4)), settings)
    for day in walked:
        volume, blocks = day.results
        assert volume.part.award_kwh.tolist() == blocks.part.award_kwh.tolist()


def test_every_bid_carries_a_certificate_when_asked() -> None:
    walked = walk(recording(), (VolumeOnly(),), replace(FORECAST, certificate_scenarios=4), days=2)
    for one in results_of(walked, "volume-only"):
        assert one.certificate is not None
        assert one.certificate.scenario_count == 4
        assert 0.0 < one.certificate.energy_share <= 1.0


class Constant:
    """Buys the same in every period, whatever comes."""

    name = "constant"
    is_controlled = True
    has_foresight = False

    def bid(self, view: AuctionView) -> DayBid:
        return DayBid(curves=any_price(view, np.full(view.periods.count, 0.3), None))


def test_what_is_awarded_is_the_award_from_midnight_to_midnight() -> None:
    for one in results_of(walk(recording(), (Constant(),), FORECAST), "constant"):
        assert one.part.award_kwh.tolist() == [75.0] * 96


@pytest.mark.parametrize("settings", [FORECAST, KNOWN])
def test_what_the_evening_will_have_charged_is_not_bought_again(settings: GateSettings) -> None:
    day = DeliveryDay(day=FIRST, zone=ZONE)
    gate = Gate(recording(), day, settings)
    cars = gate.fleet(VolumeOnly()).cars
    nothing, something = np.zeros(48), np.zeros(48)
    something[36:40] = 75.0  # from 21:00 to 22:00 of the day before
    without, with_award = (gate.view(VolumeOnly(), cars, award).sessions for award in (nothing, something))
    assert without.energy_min_kwh.sum() - with_award.energy_min_kwh.sum() == pytest.approx(300.0, abs=0.1)


def test_every_type_of_window_is_a_group_of_its_own() -> None:
    day = DeliveryDay(day=FIRST, zone=ZONE)
    gate = Gate(recording(), day, KNOWN)
    strategy = BlockGroups(blocks=3, groups=4)
    bid = strategy.bid(gate.view(strategy, gate.fleet(strategy).cars, np.zeros(48)))
    assert bid.blocks is not None
    names = {group.name for group in bid.blocks.groups}
    assert {"overnight-leaving", "morning"} <= names
    assert all(1 <= len(group.blocks) <= 3 for group in bid.blocks.groups)
    assert strategy.name == "3 blocks in 4 groups"


def test_every_car_leaves_once() -> None:
    recorded = recording()
    noon = int(DeliveryDay(day=FIRST, zone=ZONE).at(time(12)).timestamp())
    left = recorded.sessions.departure_s.copy()
    here = np.flatnonzero((recorded.sessions.arrival_s < noon) & (left > noon))
    left[here] = noon
    recorded = replace(recorded, sessions=replace(recorded.sessions, departure_s=left))
    walked = walk(recorded, (VolumeOnly(),), KNOWN)
    first, last = (DeliveryDay(day=FIRST + timedelta(days=number), zone=ZONE) for number in (0, 3))
    end = -(-left // 900) * 900
    inside = (end > first.interval.start.timestamp()) & (end <= last.interval.start.timestamp())
    assert here.size
    assert sum(one.part.departed_count for one in results_of(walked, "volume-only")) == inside.sum()


def test_a_name_twice_and_a_day_without_prices_are_refused() -> None:
    with pytest.raises(InvalidInput, match="name twice"):
        walk(recording(), (VolumeOnly(), VolumeOnly()), KNOWN)
    with pytest.raises(InvalidInput, match="no prices"):
        walk(recording(count=1), (VolumeOnly(),), KNOWN, days=4)


def test_recordings_name_what_is_wrong() -> None:
    recorded = recording()
    with pytest.raises(InvalidInput, match=r"days\[1\]"):
        replace(recorded, days=(recorded.days[0], recorded.days[2]))
    short = RecordedDay(day=recorded.days[0].day, day_ahead_eur_per_mwh=np.zeros(97))
    with pytest.raises(InvalidInput, match=r"days\[0\]: has 97 prices"):
        replace(recorded, days=(short,))
    with pytest.raises(InvalidInput, match=r"sessions.energy_kwh\[3\]"):
        replace(recorded.sessions, energy_kwh=np.where(np.arange(len(recorded.sessions)) == 3, np.nan, 1.0))


def settle(award: list[float], drawn: list[float], recorded: RecordedDay, spread: float = 20.0) -> DayResult:
    return settled(
        recorded,
        recorded.day.grid(HOUR),
        strategy="x",
        knowledge=SessionKnowledge.REALISED,
        part=Part(award_kwh=np.array(award), delivered_kwh=np.array(drawn), unserved_kwh=1000.0),
        spread_eur_per_mwh=spread,
    )


def test_money_by_hand() -> None:
    day = prices(FIRST, 1, step=HOUR)[0].day
    flat = RecordedDay(day=day, day_ahead_eur_per_mwh=np.full(24, 50.0))
    one = settle([1000.0] * 24, [2000.0, 0.0] + [1000.0] * 22, flat)
    assert one.day_ahead_eur == 24 * 50
    assert one.imbalance_eur == 70 - 30  # a MWh more at 50 + 20, a MWh less sold back at 50 - 20
    assert one.imbalance_basis is ImbalanceBasis.SPREAD
    assert one.unserved_eur == 50
    assert one.delivered_share == pytest.approx(23 / 24)
    assert one.period_share == pytest.approx(22 / 24)
    held = replace(flat, imbalance_eur_per_mwh=np.full(24, -10.0))
    one = settle([1000.0] * 24, [2000.0, 0.0] + [1000.0] * 22, held)
    assert one.imbalance_eur == 0
    assert one.imbalance_basis is ImbalanceBasis.RECORDED


def test_energy_moved_over_midnight_is_worth_the_mean_price() -> None:
    day = prices(FIRST, 2, step=HOUR)
    flat = [RecordedDay(day=one.day, day_ahead_eur_per_mwh=np.full(24, 50.0)) for one in day]
    early = [settle([2000.0] + [0.0] * 23, [2000.0] + [0.0] * 23, flat[0]), settle([0.0] * 24, [0.0] * 24, flat[1])]
    late = [settle([1000.0] + [0.0] * 23, [1000.0] + [0.0] * 23, one) for one in flat]
    named = [replace(one, strategy="early") for one in early] + [replace(one, strategy="late") for one in late]
    rows = summarise(named, np.random.default_rng(0), references=("early",), block_days=1)
    assert rows[1].savings[0].eur_per_day == pytest.approx(0.0)
    assert rows[1].savings[0].high_eur_per_day == pytest.approx(0.0)
    with pytest.raises(InvalidInput, match="different days"):
        summarise(named[:3], np.random.default_rng(0))


def test_the_calendar_of_an_auction() -> None:
    calendar = AuctionCalendar.of(DeliveryDay(day=date(2025, 10, 26), zone=ZONE))
    assert calendar.end - calendar.midnight == 100
    assert calendar.midnight - calendar.gate == 48
    assert calendar.next_gate - calendar.midnight == 52
    assert calendar.horizon_grid.count == 48 + 100 + 48
    assert QUARTER_HOUR * 4 == HOUR
