"""Ways to bid behind one small protocol: from what a gate shows to what is sent."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from bidding.arrays import FloatArray
from bidding.backtest.market_outcome import DayBid
from bidding.backtest.recording import SLOT_HOURS
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays, uncontrolled_schedule
from bidding.forecasts.scenarios import ScenarioSet, reduce_scenarios
from bidding.optimum.greedy import PriceResponse, respond_to_price
from bidding.optimum.optimise import OptimiserOptions
from bidding.optimum.site_plan import SiteFlexibility, plan_site
from bidding.orders.bid_check import check_curves, require_sound
from bidding.orders.block_bids import GroupSource, build_groups, period_capability_kwh
from bidding.orders.blocks import BlocksRefused
from bidding.orders.curves import round_to_lots
from bidding.orders.market_products import AuctionRules
from bidding.orders.order import DayAheadOrder, make_order, offer_of
from bidding.orders.profiles import candidate_profiles
from bidding.orders.scenario_curves import ImbalanceSpread, curve_order, fit_curves
from bidding.orders.window_types import at_most_groups, split_by_window
from gateway.domain.bids import BidPeriod, CurvePoint
from gateway.domain.timegrid import TimeGrid
from gateway.domain.units import KW_PER_MW

MAX_SCENARIOS = 40
"""The latest so many price scenarios are used: beyond it the blocks chosen hardly change."""
CURVE_SCENARIOS = 8
"""Curves are fitted to so many scenarios that stand for all: the model grows with periods times scenarios."""
CURVE_ROUNDS = 6
"""Rounds of new schedules when curves are fitted."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuctionView:
    """What a bidder sees for one delivery day: the fleet as the day begins, with the evening's award already fixed."""

    rules: AuctionRules
    grid: TimeGrid
    """Quarter-hours from the begin of the delivery day to noon after it."""
    periods: TimeGrid
    """Delivery periods of the day."""
    sessions: SessionArrays
    """What cars will still need at midnight, in slots of the grid."""
    price_eur_per_mwh: FloatArray
    """Point forecast per slot of the grid."""
    scenarios_eur_per_mwh: FloatArray
    """Equally likely prices per slot of the grid, shape (S, T); S at least 1."""
    price_error_eur_per_mwh: float
    """Mean absolute error of the point forecast on past days."""

    @property
    def delivery(self) -> slice:
        """Slots of the delivery day."""
        return slice(0, self.slots_per_period * self.periods.count)

    @property
    def slots_per_period(self) -> int:
        """Quarter-hours in a delivery period."""
        return self.periods.step // self.grid.step

    def volume_mw(self, draw_kwh: FloatArray) -> FloatArray:
        """Return the mean power per delivery period of a draw per slot of the delivery day."""
        per_period = draw_kwh.reshape(-1, self.slots_per_period).sum(axis=1)
        mean: FloatArray = per_period / (KW_PER_MW * self.periods.step_hours)
        return mean


class Strategy(Protocol):
    """A way to bid."""

    @property
    def name(self) -> str:
        """Unique among the strategies of a backtest."""
        ...

    @property
    def is_controlled(self) -> bool:
        """Whether cars follow the award; otherwise they charge as they come."""
        ...

    @property
    def has_foresight(self) -> bool:
        """Whether prices and sessions are known beforehand: a bound, never a result."""
        ...

    def bid(self, view: AuctionView) -> DayBid:
        """Return what is sent for the delivery day."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Uncontrolled:
    """Cars charge as they come; the supplier buys what is expected of them."""

    name: str = "uncontrolled"
    is_controlled: ClassVar[bool] = False
    has_foresight: ClassVar[bool] = False

    def bid(self, view: AuctionView) -> DayBid:
        """Buy the expected uncontrolled draw at any price."""
        expected = uncontrolled_schedule(view.sessions, view.sessions.energy_min_kwh, view.grid.count)
        return DayBid(curves=any_price(view, view.volume_mw(expected[view.delivery]), None))


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeOnly:
    """The cheapest schedule at the point forecast, bought at any price."""

    name: str = "volume-only"
    is_controlled: ClassVar[bool] = True
    has_foresight: ClassVar[bool] = False

    def bid(self, view: AuctionView) -> DayBid:
        """Buy the plan."""
        return DayBid(curves=_planned_volumes(view))


@dataclass(frozen=True, kw_only=True, slots=True)
class PerfectForesight:
    """The cheapest schedule at the prices and for the sessions that will come."""

    name: str = "perfect-foresight"
    is_controlled: ClassVar[bool] = True
    has_foresight: ClassVar[bool] = True

    def bid(self, view: AuctionView) -> DayBid:
        """Buy the best."""
        return DayBid(curves=_planned_volumes(view))


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceCurves:
    """The plan at the point forecast as monotone curves: volume is not bought where another slot has become cheaper."""

    name: str = "curves"
    is_controlled: ClassVar[bool] = True
    has_foresight: ClassVar[bool] = False

    def bid(self, view: AuctionView) -> DayBid:
        """Offer what must run at any price and the rest up to the price of its alternatives plus the forecast's error."""
        site = SiteFlexibility(
            connection_point="portfolio",
            sessions=view.sessions,
            cap_kw=np.full(view.grid.count, max(float(view.sessions.rate_kwh_per_slot.sum()), 1.0) / SLOT_HOURS),
        )
        plan = plan_site(site, view.price_eur_per_mwh, view.grid, OptimiserOptions())
        offer = offer_of(site, plan, view.price_eur_per_mwh, view.price_error_eur_per_mwh, view.grid.step_hours)
        rules = view.rules.curve_rules(int(view.grid.step.total_seconds()) // 60)
        order = make_order([offer], view.grid, view.delivery, rules)
        if not isinstance(order, DayAheadOrder):
            return DayBid(curves=_planned_volumes(view), notes=(order.reason,))
        return DayBid(curves=_sound(view, order.periods))


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedCurves:
    """Monotone curves fitted to the price scenarios, with deviations at a spread (`orders.scenario_curves`)."""

    bins: int = 3
    """Steps of each curve."""
    spread_eur_per_mwh: float = 20.0
    """What a deviation is taken to cost on top of the day-ahead price, either way."""
    name: str = "fitted curves"
    is_controlled: ClassVar[bool] = True
    has_foresight: ClassVar[bool] = False

    def bid(self, view: AuctionView) -> DayBid:
        """Fit a falling curve per delivery period to a few scenarios that stand for all."""
        table = FlexibilityTable.build(view.sessions, view.grid.count)
        paths = view.scenarios_eur_per_mwh[:, :: view.slots_per_period] / KW_PER_MW
        even = ScenarioSet(paths=paths, weights=np.full(len(paths), 1.0 / len(paths)))
        few = reduce_scenarios(even, min(CURVE_SCENARIOS, len(paths)))
        spread = np.full(paths.shape[1], self.spread_eur_per_mwh / KW_PER_MW)
        curves = fit_curves(
            PriceResponse(table).schedule,
            few.paths,
            ImbalanceSpread(shortage_eur_per_kwh=spread, surplus_eur_per_kwh=spread),
            bin_count=self.bins,
            slots_per_period=view.slots_per_period,
            probability=few.weights,
            rounds=CURVE_ROUNDS,
        )
        capability = _capability_mw(view, table)
        order = curve_order(curves, slice(0, view.periods.count), view.periods, view.rules.curve, capability)
        if not isinstance(order, DayAheadOrder):
            return DayBid(curves=_planned_volumes(view), notes=(order.reason,))
        return DayBid(curves=order.periods)


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockGroups:
    """Exclusive groups of profile blocks over the price scenarios, a group per type of window."""

    blocks: int
    """Most blocks per group."""
    groups: int
    """Most groups; 1 for the whole fleet together."""
    name: str = field(default="")
    is_controlled: ClassVar[bool] = True
    has_foresight: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Name the strategy by its numbers."""
        if not self.name:
            plural = "" if self.groups == 1 else "s"
            object.__setattr__(self, "name", f"{self.blocks} blocks in {self.groups} group{plural}")

    def bid(self, view: AuctionView) -> DayBid:
        """Offer the blocks; what no block can carry is bought on the curve."""
        whole = FlexibilityTable.build(view.sessions, view.grid.count)
        sources = [_source(view, name, view.sessions.select(rows)) for name, rows in self._fleets(view)]
        built = build_groups(
            sources,
            _per_period(view, view.scenarios_eur_per_mwh),
            view.rules,
            view.periods,
            blocks_per_group=self.blocks,
        )
        if isinstance(built, BlocksRefused):
            return DayBid(curves=_planned_volumes(view), notes=(built.reason,))
        offered = [np.array(group.blocks[0].volume_mw, dtype=np.float64) for group in built.groups]
        room = np.maximum(_capability_mw(view, whole) - np.sum(offered, axis=0), 0.0)
        curves = any_price(view, built.left_over_mw + _rounded_away(view, built.rounding_mwh, sources), room)
        return DayBid(curves=curves, blocks=built, notes=built.notes)

    def _fleets(self, view: AuctionView) -> Sequence[tuple[str, np.ndarray[tuple[int], np.dtype[np.int64]]]]:
        if self.groups == 1:
            return (("all", np.arange(len(view.sessions))),)
        types = split_by_window(view.sessions, view.grid, view.delivery)
        return at_most_groups(types, view.sessions.energy_min_kwh, self.groups) if types else ()


def any_price(view: AuctionView, volume_mw: FloatArray, capability_mw: FloatArray | None) -> tuple[BidPeriod, ...]:
    """Return volumes as orders at any price, in whole lots with the energy of the day kept."""
    rules = view.rules.curve
    lots = round_to_lots(np.maximum(volume_mw, 0.0), rules.lot_mw, capability_mw)
    return _sound(
        view,
        tuple(
            BidPeriod(
                start=view.periods.slot_start(index),
                end=view.periods.slot_start(index) + view.periods.step,
                curve=(CurvePoint(price_per_mwh=rules.max_price_per_mwh, volume_mw=max(count, 0) * rules.lot_mw),),
            )
            for index, count in enumerate(lots)
        ),
    )


def _sound(view: AuctionView, curves: tuple[BidPeriod, ...]) -> tuple[BidPeriod, ...]:
    require_sound(check_curves(curves, view.rules.curve, view.periods))
    return curves


def _planned_volumes(view: AuctionView) -> tuple[BidPeriod, ...]:
    table = FlexibilityTable.build(view.sessions, view.grid.count)
    plan = respond_to_price(table, view.price_eur_per_mwh / KW_PER_MW)
    return any_price(view, view.volume_mw(plan[view.delivery]), _capability_mw(view, table))


def _capability_mw(view: AuctionView, table: FlexibilityTable) -> FloatArray:
    most = period_capability_kwh(table, view.delivery, view.slots_per_period)
    return most / (KW_PER_MW * view.periods.step_hours)


def _source(view: AuctionView, name: str, sessions: SessionArrays) -> GroupSource:
    """Return the fleet of one group with its candidate profiles: the point forecast's first, then every scenario's."""
    table = FlexibilityTable.build(sessions, view.grid.count)
    scenarios = view.scenarios_eur_per_mwh[-MAX_SCENARIOS:] / KW_PER_MW
    profiles = candidate_profiles(PriceResponse(table).schedule, scenarios, view.delivery)
    day = np.zeros(view.grid.count, dtype=np.bool_)
    day[view.delivery] = True
    return GroupSource(
        name=name,
        profiles_mw=np.array([view.volume_mw(profile) for profile in profiles]),
        capability_mw=_capability_mw(view, table),
        capability_mwh=table.most_kwh(day) / KW_PER_MW,
    )


def _rounded_away(view: AuctionView, rounding_mwh: float, sources: Sequence[GroupSource]) -> FloatArray:
    """Return energy that the groups lost to rounding as a volume in the shape of their first profiles."""
    shape = np.sum([source.profiles_mw[0] for source in sources], axis=0)
    energy = float(shape.sum()) * view.periods.step_hours
    if rounding_mwh <= 0.0 or energy <= 0.0:
        return np.zeros(view.periods.count)
    missing: FloatArray = shape * (rounding_mwh / energy)
    return missing


def _per_period(view: AuctionView, price: FloatArray) -> FloatArray:
    """Return prices per delivery period from prices per slot, shape (S, P)."""
    day = price[-MAX_SCENARIOS:, view.delivery]
    means: FloatArray = day.reshape(len(day), view.periods.count, -1).mean(axis=2)
    return means
