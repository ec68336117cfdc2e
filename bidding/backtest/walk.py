"""Walks forward through auctions: at every gate each strategy bids with what is known, then the cars come as they came.

```
   gate of D: bid for D       midnight of D           gate of D+1: bid for D+1
      |-- evening of D-1, awarded --|-- morning of D, awarded --|-- evening of D ...
```

Cars that stay overnight are in two auctions: at the gate the evening's award is fixed, the evening is rehearsed with it, and
what the cars will still need at midnight is what the day's bid is made for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from bidding.arrays import FloatArray
from bidding.backtest.certificate import Certificate, certify
from bidding.backtest.gate import Gate, GateSettings
from bidding.backtest.living import Span, live
from bidding.backtest.market_outcome import clear_bid
from bidding.backtest.recording import Recording
from bidding.backtest.results import DayResult, Part, settled
from bidding.backtest.strategies import Strategy
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StrategyState:
    """Where a strategy stands at a gate."""

    drawn_kwh: FloatArray
    """What every recorded session has drawn so far, shape (sessions,)."""
    evening_award_kwh: FloatArray | None
    """Bought from the gate to midnight per delivery period; None before the first auction."""
    morning: Part | None
    """The day before delivery until the gate; None before the first auction."""
    certificate: Certificate | None = None
    """Of the bid for that day; None when none was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WalkState:
    """Where a walk stands: enough to go on later."""

    next_day: date
    """The delivery day whose auction comes next."""
    strategies: dict[str, StrategyState]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WalkedDay:
    """A finished delivery day."""

    results: tuple[DayResult, ...]
    """One per strategy."""
    state: WalkState
    """After it; the walk goes on from here when given to `walk_forward`."""


def walk_forward(
    recording: Recording,
    first: date,
    last: date,
    strategies: Sequence[Strategy],
    settings: GateSettings,
    state: WalkState | None = None,
) -> Iterator[WalkedDay]:
    """Yield the delivery days from `first` to `last`, each as soon as it is over.

    Args:
        recording: Prices and sessions; the day before `first` must have prices, and sessions must go back some days more.
        first: First delivery day that is bid for.
        last: Last one.
        strategies: Each with a name of its own.
        settings: How to walk.
        state: From an earlier walk over the same recording, to go on where it ended.

    Raises:
        InvalidInput: A delivery day has no prices, names come twice, or nothing was known at a gate.
    """
    names = [strategy.name for strategy in strategies]
    if len(set(names)) != len(names):
        raise InvalidInput("strategies", "have a name twice")
    if state is None:
        none = StrategyState(drawn_kwh=np.zeros(len(recording.sessions)), evening_award_kwh=None, morning=None)
        state = WalkState(next_day=first, strategies=dict.fromkeys(names, none))
    day = DeliveryDay(day=state.next_day, zone=recording.zone)
    while day.day <= last + timedelta(days=1):
        gate = Gate(recording, day, settings)
        is_held = day.day <= last
        walked = {
            strategy.name: _step(gate, strategy, state.strategies[strategy.name], is_held=is_held)
            for strategy in strategies
        }
        day = day.next()
        state = WalkState(next_day=day.day, strategies={name: after for name, (after, _) in walked.items()})
        results = tuple(result for _, result in walked.values() if result is not None)
        if results:
            yield WalkedDay(results=results, state=state)


def _step(
    gate: Gate, strategy: Strategy, state: StrategyState, *, is_held: bool
) -> tuple[StrategyState, DayResult | None]:
    """Bid, then live through evening and morning; return the state at the next gate and the day that has ended."""
    knows = gate.knows_sessions(strategy)
    fleet = gate.fleet(strategy)
    cars = fleet.cars.with_drawn(state.drawn_kwh[gate.rows])
    evening = state.evening_award_kwh
    if evening is None:
        evening = gate.free_evening(strategy, cars)
    award, certificate = np.zeros(0), None
    if is_held:
        bid = strategy.bid(gate.view(strategy, cars, evening))
        case = gate.certificate_case(strategy, bid, cars, evening)
        certificate = None if case is None else certify(case)
        award = clear_bid(bid, gate.prices.day_ahead_eur_per_mwh, gate.periods.step_hours)
    calendar, per_period = gate.calendar, gate.recording.slots_per_period
    span = Span(
        first=calendar.gate,
        midnight=calendar.midnight,
        end=calendar.next_gate if is_held else calendar.midnight,
        after=calendar.after,
        award_kwh=np.concatenate([evening, award]),
        slots_per_period=per_period,
    )
    lived = live(fleet, cars, span, is_controlled=strategy.is_controlled, knows=knows, price=gate.known_price(span))
    result = _finished(gate, strategy, state, lived.evening)
    drawn = state.drawn_kwh.copy()
    drawn[gate.rows] = lived.cars.drawn_kwh
    morning_periods = (calendar.next_gate - calendar.midnight) // per_period
    after = StrategyState(
        drawn_kwh=drawn, evening_award_kwh=award[morning_periods:], morning=lived.morning, certificate=certificate
    )
    return after, result


def _finished(gate: Gate, strategy: Strategy, state: StrategyState, evening: Part) -> DayResult | None:
    """Return the delivery day before the gate's, now that its evening is over; None when it was not walked."""
    prices = gate.recording.prices_of(gate.calendar.day.next(-1).day)
    if state.morning is None or prices is None:
        return None
    result = settled(
        prices,
        prices.day.grid(gate.recording.period),
        strategy=strategy.name,
        knowledge=gate.settings.knowledge,
        part=state.morning + evening,
        spread_eur_per_mwh=gate.settings.spread_eur_per_mwh,
    )
    return replace(result, certificate=state.certificate)
