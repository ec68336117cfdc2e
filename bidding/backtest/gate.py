"""One gate: what is known there, for all strategies alike, and what each of them is shown."""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

import numpy as np

from bidding.arrays import FloatArray
from bidding.backtest.certificate_case import BidScenario, CertificateCase
from bidding.backtest.charging import ChargingCars, charge_tracking, charge_uncontrolled, remaining_sessions
from bidding.backtest.knowledge import (
    BelievedFleet,
    RealisedFleet,
    beliefs_at,
    believed_fleet,
    fleet_at_gate,
    history_at,
    past_prices,
    realised_fleet,
)
from bidding.backtest.living import Span, charge_knowing
from bidding.backtest.market_outcome import DayBid
from bidding.backtest.price_paths import DayTypeMean, PriceModel, PricePaths, over_horizon
from bidding.backtest.recording import GATE, AuctionCalendar, RecordedDay, Recording, gate_of
from bidding.backtest.results import SessionKnowledge
from bidding.backtest.strategies import AuctionView, Strategy
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays
from bidding.forecasts.sessions import ForecastFrame, SessionHistory, draw_sessions
from bidding.optimum.greedy import respond_to_price
from bidding.orders.market_products import MarketBook
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.domain.units import KW_PER_MW, QUARTER_HOUR

DEFAULT_SPREAD_EUR_PER_MWH = 20.0
HISTORY = timedelta(weeks=9)
"""Sessions older than this are not looked at; the forecast goes back eight weeks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateSettings:
    """How to walk."""

    book: MarketBook
    """Rules of the market, with the member's specification where groups shall be built."""
    market: str
    knowledge: SessionKnowledge = SessionKnowledge.FORECAST
    price_model: PriceModel = field(default_factory=DayTypeMean)
    spread_eur_per_mwh: float = DEFAULT_SPREAD_EUR_PER_MWH
    """Price of deviations where no imbalance price is recorded (`results.settled`)."""
    certificate_scenarios: int = 0
    """Scenarios of every bid's deliverability certificate; 0 for none."""
    seed: int = 0
    """What those are drawn with, together with the day."""


class Gate:
    """What is known when the auction for a delivery day closes.

    Args:
        recording: The truth; only what had happened by the gate goes into forecasts.
        day: The delivery day.
        settings: How to walk.

    Raises:
        InvalidInput: Nothing was known at the gate, or the market has no rules for the day.
    """

    def __init__(self, recording: Recording, day: DeliveryDay, settings: GateSettings) -> None:
        gate = gate_of(day)
        self.settings = settings
        self.calendar = AuctionCalendar.of(day)
        self.rows = np.flatnonzero(
            (recording.sessions.departure_s > (gate - HISTORY).timestamp())
            & (recording.sessions.arrival_s < day.next().at(GATE).timestamp())
        )
        self.recording = recording.of_sessions(self.rows, covered_since=gate - HISTORY)
        self.periods: TimeGrid = day.grid(recording.period)
        self._grid = TimeGrid(
            start=day.interval.start, step=QUARTER_HOUR, count=self.calendar.after - self.calendar.midnight
        )
        self._hindsight = realised_fleet(self.recording, None)
        self._believing = self._hindsight
        self._coming: BelievedFleet | None = None
        self._history: SessionHistory | None = None
        if settings.knowledge is SessionKnowledge.FORECAST:
            beliefs = beliefs_at(self.recording, gate)
            self._history = history_at(self.recording, gate, beliefs)
            self._believing = realised_fleet(self.recording, beliefs)
            self._coming = believed_fleet(self.recording, self.calendar, beliefs)

    @cached_property
    def _forecasts(self) -> tuple[PricePaths, PricePaths]:
        """Of the delivery day and of the day after it, both from the days before delivery."""
        day, period, model = self.calendar.day, self.recording.period, self.settings.price_model
        past = past_prices(self.recording, day.day)
        return model.forecast(past, day, period), model.forecast(past, day.next(), period)

    @property
    def prices(self) -> RecordedDay:
        """The prices that the auction will clear at.

        Raises:
            InvalidInput: The day is not recorded.
        """
        found = self.recording.prices_of(self.calendar.day.day)
        if found is None:
            raise InvalidInput("days", f"has no prices of {self.calendar.day.day}")
        return found

    def knows_sessions(self, strategy: Strategy) -> bool:
        """Tell whether bid and dispatch of a strategy know the sessions as they will come."""
        return strategy.has_foresight or self.settings.knowledge is SessionKnowledge.REALISED

    def fleet(self, strategy: Strategy) -> RealisedFleet:
        """Return the cars that will come, with what the strategy's dispatcher believes of them."""
        return self._hindsight if self.knows_sessions(strategy) else self._believing

    def known_price(self, span: Span) -> FloatArray:
        """Return the prices of a span's award per slot: all of them are published when the award is known."""
        days = [self.recording.prices_of(day.day) for day in (self.calendar.day.next(-1), self.calendar.day)]
        values = [np.zeros(0) if one is None else one.day_ahead_eur_per_mwh for one in days]
        evening = (span.midnight - span.first) // span.slots_per_period
        before = values[0][len(values[0]) - evening :] if len(values[0]) else np.zeros(evening)
        price = np.concatenate([before, values[1]])[: len(span.award_kwh)]
        return np.repeat(price, span.slots_per_period)

    def free_evening(self, strategy: Strategy, cars: ChargingCars) -> FloatArray:
        """Return an award for the evening before the first auction: the cheapest plan at the published prices.

        Raises:
            InvalidInput: The prices of the day before are not recorded.
        """
        before = self.recording.prices_of(self.calendar.day.next(-1).day)
        if before is None:
            raise InvalidInput("days", f"has no prices of {self.calendar.day.next(-1).day}")
        calendar, per_period = self.calendar, self.recording.slots_per_period
        evening = (calendar.midnight - calendar.gate) // per_period
        after, _, _ = self._believed_prices(strategy)
        price = np.concatenate([np.repeat(before.day_ahead_eur_per_mwh[-evening:], per_period), after])
        sessions, _ = remaining_sessions(self._fleet_at_gate(strategy, cars), calendar.gate, calendar.after)
        plan = respond_to_price(FlexibilityTable.build(sessions, calendar.after - calendar.gate), price / KW_PER_MW)
        award: FloatArray = plan[: calendar.midnight - calendar.gate].reshape(evening, per_period).sum(axis=1)
        return award

    def view(self, strategy: Strategy, cars: ChargingCars, evening_award_kwh: FloatArray) -> AuctionView:
        """Return what a strategy sees at the gate."""
        point, scenarios, error = self._believed_prices(strategy)
        return AuctionView(
            rules=self.settings.book.auction(self.settings.market, self.calendar.day.day),
            grid=self._grid,
            periods=self.periods,
            sessions=self._at_midnight(strategy, cars, evening_award_kwh),
            price_eur_per_mwh=point,
            scenarios_eur_per_mwh=scenarios,
            price_error_eur_per_mwh=error,
        )

    def scenarios(
        self, strategy: Strategy, cars: ChargingCars, evening_award_kwh: FloatArray, count: int, seed: int
    ) -> tuple[BidScenario, ...]:
        """Return ways the delivery day may come, drawn with a seed: a price path and whole past days of sessions each.

        Each evening is rehearsed with its own sessions. When the sessions are known, only prices differ.
        """
        generator = np.random.default_rng([seed, self.calendar.day.day.toordinal()])
        frame = ForecastFrame(
            grid=self.calendar.horizon_grid, zone=self.recording.zone, known_until=gate_of(self.calendar.day)
        )
        _, paths, _ = self._believed_prices(strategy)
        per_period = self.recording.slots_per_period
        found = []
        for number in range(count):
            drawn = None
            if self._history is not None and not self.knows_sessions(strategy):
                drawn = draw_sessions(self._history, frame, generator).sessions
            path = paths[int(generator.integers(len(paths)))]
            found.append(
                BidScenario(
                    name=f"{self.calendar.day.day.isoformat()}-{number + 1:02d}",
                    price_eur_per_mwh=path[: self.periods.count * per_period : per_period],
                    sessions=self._at_midnight(strategy, cars, evening_award_kwh, drawn),
                )
            )
        return tuple(found)

    def certificate_case(
        self, strategy: Strategy, bid: DayBid, cars: ChargingCars, evening_award_kwh: FloatArray
    ) -> CertificateCase | None:
        """Return the case of a bid's certificate; None when no scenarios are asked for."""
        count, seed = self.settings.certificate_scenarios, self.settings.seed
        if count < 1:
            return None
        return CertificateCase(
            bid=bid,
            periods=self.periods,
            slots_per_period=self.recording.slots_per_period,
            slot_count=self._grid.count,
            scenarios=self.scenarios(strategy, cars, evening_award_kwh, count, seed),
            seed=seed,
        )

    def _believed_prices(self, strategy: Strategy) -> tuple[FloatArray, FloatArray, float]:
        """Return point, scenarios and error over the horizon from midnight on."""
        first, second = self._forecasts[0], self._forecasts[1].point
        if strategy.has_foresight:
            truth = self.prices.day_ahead_eur_per_mwh
            first = PricePaths(point=truth, paths=truth[None, :], error=0.0)
            following = self.recording.prices_of(self.calendar.day.next().day)
            second = second if following is None else following.day_ahead_eur_per_mwh
        per_period, count = self.recording.slots_per_period, self._grid.count
        point = over_horizon(first.point, second, per_period, count)
        return point, over_horizon(first.paths, second, per_period, count), first.error

    def _fleet_at_gate(
        self, strategy: Strategy, cars: ChargingCars, drawn: SessionArrays | None = None
    ) -> ChargingCars:
        calendar = self.calendar
        if self.knows_sessions(strategy) or self._coming is None:
            return cars.select(cars.touching(calendar.gate, calendar.after))
        here = np.flatnonzero((cars.first < calendar.gate) & (cars.end > calendar.gate))
        coming = self._coming.sessions if strategy.is_controlled else self._coming.untouched
        coming = coming if drawn is None else drawn
        return fleet_at_gate(cars.select(here), coming, calendar.gate)

    def _at_midnight(
        self,
        strategy: Strategy,
        cars: ChargingCars,
        evening_award_kwh: FloatArray,
        drawn: SessionArrays | None = None,
    ) -> SessionArrays:
        """Rehearse the evening with its award and return what will still be needed at midnight."""
        calendar = self.calendar
        fleet = self._fleet_at_gate(strategy, cars, drawn)
        span = Span(
            first=calendar.gate,
            midnight=calendar.midnight,
            end=calendar.midnight,
            after=calendar.after,
            award_kwh=evening_award_kwh,
            slots_per_period=self.recording.slots_per_period,
        )
        if not strategy.is_controlled:
            rehearsed = charge_uncontrolled(fleet, span.first, span.end)
        elif self.knows_sessions(strategy):
            rehearsed = charge_knowing(fleet, span, self.known_price(span))
        else:
            rehearsed = charge_tracking(fleet, span.first, evening_award_kwh, span.slots_per_period)
        sessions, _ = remaining_sessions(rehearsed.cars, calendar.midnight, calendar.after)
        return sessions
