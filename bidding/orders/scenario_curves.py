"""Volumes and curves from price scenarios: for each delivery period a falling step curve that the fleet can answer to.

    min  sum_s pi_s [ lam_s.P_s + sum_t up_t (P_st - q_st)^+ + down_t (q_st - P_st)^+ ]
    q_st = Q[bin of lam_st, t],     Q falls from bin to bin,     P_s mixes schedules the fleet can follow

A period's clearing price alone decides what is bought there, while the fleet's energy ties the periods together; so a curve
is worth as much as it costs to settle the rest (`up`, `down`: imbalance prices beside the day-ahead price; settling every
kWh at its own two prices is the two-price system). One bin is a price-independent volume. Bins end at quantiles of the
scenarios (Fleten and Pettersen, IEEE Transactions on Power Systems 20(2), 2005, use fixed price points in the same way).

The schedules mixed are the fleet's exact responses to every scenario, to the mean, and to the multipliers of a few rounds; the
last multipliers give a Lagrangian bound below any curve with these bins, so the gap is known.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.optimize import linprog

from bidding.arrays import FloatArray, IntArray, finite_vector, require_each
from bidding.orders.bid_check import check_curves, require_sound
from bidding.orders.curves import MarketRules, Tranche, demand_curve, round_to_lots
from bidding.orders.order import DayAheadOrder, TooSmallToBid
from bidding.orders.profiles import Response, finite_table, probabilities
from gateway.domain.bids import BidPeriod
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid
from gateway.domain.units import KW_PER_MW

DEFAULT_ROUNDS = 30
"""Rounds of new schedules; each solves the model once and asks the fleet once per scenario."""
RELATIVE_TOLERANCE = 1e-9
"""A schedule that pays off by less, beside the highest price, is not new."""
KWH_EUR_PER_MWH = 1000.0
"""EUR per MWh are this many times EUR per kWh."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImbalanceSpread:
    """What settling a kWh as imbalance costs on top of the day-ahead price, per delivery period, at least 0."""

    shortage_eur_per_kwh: FloatArray
    """For drawing more than bought."""
    surplus_eur_per_kwh: FloatArray
    """For drawing less."""

    def __post_init__(self) -> None:
        """Reject negative spreads: a position would then be speculation without bound."""
        for field in ("shortage_eur_per_kwh", "surplus_eur_per_kwh"):
            spread = finite_vector(field, getattr(self, field))
            require_each(field, spread >= 0.0, "must be at least 0")
            object.__setattr__(self, field, spread)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScenarioCurves:
    """Falling step curves, one per delivery period of the horizon."""

    volume_kwh: FloatArray
    """Per bin, cheapest first, and period, shape (B, P); never rises from bin to bin."""
    edge_eur_per_kwh: FloatArray
    """Highest price of each bin but the dearest, shape (B - 1, P)."""
    expected_cost_eur: float
    """Energy and imbalance on average over the scenarios."""
    lower_bound_eur: float
    """No curves with these bins cost less on average."""

    def bought_kwh(self, price_eur_per_kwh: FloatArray) -> FloatArray:
        """Return what is bought in each period at clearing prices, shape (P,)."""
        bins = (price_eur_per_kwh[None, :] > self.edge_eur_per_kwh).sum(axis=0)
        bought: FloatArray = self.volume_kwh[bins, np.arange(self.volume_kwh.shape[1])]
        return bought


def price_edges(scenarios: FloatArray, bin_count: int) -> FloatArray:
    """Return the highest price of each bin but the dearest, halfway between the scenarios that a quantile separates.

    Args:
        scenarios: Prices, shape (S, P).
        bin_count: Most bins; equal prices are never separated, so some may be empty.

    Returns:
        Rising along the first axis, shape (min(bin_count, S) - 1, P).
    """
    ordered = np.sort(scenarios, axis=0)
    count = min(bin_count, len(ordered))
    last = (np.arange(1, count) * len(ordered)) // count - 1
    edges: FloatArray = 0.5 * (ordered[last] + ordered[last + 1])
    return edges


def fit_curves(  # noqa: PLR0913  # what may come, what the fleet does, what imbalance costs, by name
    response: Response,
    scenarios_eur_per_kwh: npt.ArrayLike,
    spread: ImbalanceSpread,
    *,
    bin_count: int,
    slots_per_period: int = 1,
    probability: npt.ArrayLike | None = None,
    rounds: int = DEFAULT_ROUNDS,
) -> ScenarioCurves:
    """Return the curves of least expected cost among those with these bins.

    Args:
        response: What the fleet does under a price per slot.
        scenarios_eur_per_kwh: Day-ahead prices per delivery period of the horizon, shape (S, P).
        spread: What imbalance costs, per period.
        bin_count: Most points of a curve; 1 gives price-independent volumes.
        slots_per_period: Slots of the response in one delivery period.
        probability: Of each scenario; None for equally likely. All must be above 0.
        rounds: How often the fleet is asked again.

    Raises:
        InvalidInput: Scenarios, spreads or counts are malformed.
    """
    scenarios = finite_table("scenarios_eur_per_kwh", scenarios_eur_per_kwh)
    weights = probabilities("probability", probability, len(scenarios))
    require_each("probability", weights > 0.0, "must be above 0")
    for field in ("shortage_eur_per_kwh", "surplus_eur_per_kwh"):
        finite_vector(f"spread.{field}", getattr(spread, field), scenarios.shape[1])
    if bin_count < 1:
        raise InvalidInput("bin_count", "must be at least 1")

    def drawn(price: FloatArray) -> FloatArray:
        schedule: FloatArray = response(np.repeat(price, slots_per_period)).reshape(-1, slots_per_period).sum(axis=1)
        return schedule

    edges = price_edges(scenarios, bin_count)
    bins = (scenarios[None, :, :] > edges[:, None, :]).sum(axis=0)
    model = _CurveModel(scenarios=scenarios, weights=weights, spread=spread, bins=bins, bin_count=len(edges) + 1)
    shared = [drawn(weights @ scenarios), *(drawn(price) for price in scenarios)]
    pools = [list(shared) for _ in scenarios]
    solution, bound = _descend(model, pools, drawn, rounds)
    return ScenarioCurves(
        volume_kwh=_without_empty_bins(solution.volume_kwh, bins),
        edge_eur_per_kwh=edges,
        expected_cost_eur=solution.objective_eur,
        lower_bound_eur=bound,
    )


def _descend(
    model: "_CurveModel", pools: list[list[FloatArray]], drawn: Response, rounds: int
) -> "tuple[_Solution, float]":
    """Add responses to the multipliers, damped towards the best ones (Wentges 1997), while they pay off.

    Returns:
        The last solution and the best bound: `sum_s min over P_s of (pi_s lam_s - y_s).P_s`, because all else is free at
        legal multipliers y, and these form a convex set.
    """
    bound, centre = -np.inf, None
    while True:
        solution = model.solve(pools)
        tries = [solution.balance] if centre is None else [0.5 * (solution.balance + centre), solution.balance]
        found = False
        for balance in tries:
            prices = model.weights[:, None] * model.scenarios - balance
            schedules = [drawn(price / weight) for price, weight in zip(prices, model.weights, strict=True)]
            reached = float(sum(price @ schedule for price, schedule in zip(prices, schedules, strict=True)))
            if reached > bound:
                bound, centre = reached, balance
            now = model.weights[:, None] * model.scenarios - solution.balance
            for number, schedule in enumerate(schedules):
                if float(now[number] @ schedule) < solution.mix[number] - model.tolerance_eur:
                    pools[number].append(schedule)
                    found = True
            if found:
                break
        rounds -= 1
        if not found or rounds < 0:
            return solution, bound


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Solution:
    objective_eur: float
    volume_kwh: FloatArray
    balance: FloatArray
    """Multipliers of `P_s - q_s - shortage + surplus = 0`, shape (S, P)."""
    mix: FloatArray
    """Multipliers of `sum of weights = 1`, shape (S,)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _CurveModel:
    """The linear model over given schedules; variables: volumes, mixing weights, shortage, surplus."""

    scenarios: FloatArray
    weights: FloatArray
    spread: ImbalanceSpread
    bins: IntArray
    bin_count: int

    @property
    def tolerance_eur(self) -> float:
        return RELATIVE_TOLERANCE * max(1.0, float(np.abs(self.scenarios).max()))

    def solve(self, pools: list[list[FloatArray]]) -> _Solution:
        """Return the cheapest volumes and mixtures of the present schedules, with the multipliers."""
        count, periods = self.scenarios.shape
        size, volumes = count * periods, self.bin_count * periods
        columns = [np.array(pool) for pool in pools]
        equal, falls = self._rows(columns)
        solve: Any = linprog  # its published types know no sparse rows
        result = solve(
            self._costs(columns),
            A_ub=falls,
            b_ub=None if falls is None else np.zeros(falls.shape[0]),
            A_eq=equal,
            b_eq=np.concatenate([np.zeros(size), np.ones(count)]),
            bounds=[*([(None, None)] * volumes), *([(0.0, None)] * (equal.shape[1] - volumes))],
            method="highs",
        )
        if result.x is None:
            raise InvalidInput("scenarios_eur_per_kwh", f"no curves could be fitted: {result.message}")
        duals = np.asarray(result.eqlin.marginals)
        return _Solution(
            objective_eur=float(result.fun),
            volume_kwh=result.x[:volumes].reshape(self.bin_count, periods),
            balance=duals[:size].reshape(count, periods),
            mix=duals[size:],
        )

    def _costs(self, columns: list[FloatArray]) -> FloatArray:
        energy = [
            weight * (pool @ price) for weight, pool, price in zip(self.weights, columns, self.scenarios, strict=True)
        ]
        shortage = np.outer(self.weights, self.spread.shortage_eur_per_kwh).ravel()
        surplus = np.outer(self.weights, self.spread.surplus_eur_per_kwh).ravel()
        return np.concatenate([np.zeros(self.bin_count * self.scenarios.shape[1]), *energy, shortage, surplus])

    def _rows(self, columns: list[FloatArray]) -> tuple[sp.csr_array, sp.csr_array | None]:
        """Return the rows of balance and mixture, and those of falling volumes where there are steps."""
        count, periods = self.scenarios.shape
        size, volumes = count * periods, self.bin_count * periods
        chosen = self.bins.ravel() * periods + np.tile(np.arange(periods), count)
        bought = sp.csr_array((np.ones(size), (np.arange(size), chosen)), shape=(size, volumes))
        drawn: sp.csr_array = sp.csr_array(sp.block_diag([pool.T for pool in columns]))
        one = sp.eye_array(size)
        mixed: sp.csr_array = sp.csr_array(sp.block_diag([np.ones((1, len(pool))) for pool in columns]))
        balance = sp.hstack([-bought, drawn, -one, one])
        whole = sp.hstack([sp.csr_array((count, volumes)), mixed, sp.csr_array((count, 2 * size))])
        equal = sp.csr_array(sp.vstack([balance, whole]))
        steps = volumes - periods
        if not steps:
            return equal, None
        rise = sp.eye_array(steps, volumes, k=periods) - sp.eye_array(steps, volumes)
        return equal, sp.csr_array(sp.hstack([rise, sp.csr_array((steps, equal.shape[1] - volumes))]))


def _without_empty_bins(volume_kwh: FloatArray, bins: IntArray) -> FloatArray:
    """Give bins in which no scenario falls the volume of the next cheaper one, and undo the solver's rounding."""
    filled = volume_kwh.copy()
    for number in range(1, len(filled)):
        is_empty = ~(bins == number).any(axis=0)
        filled[number] = np.where(is_empty, filled[number - 1], np.minimum(filled[number], filled[number - 1]))
    return filled


def curve_order(
    curves: ScenarioCurves,
    delivery: slice,
    periods: TimeGrid,
    rules: MarketRules,
    capability_mw: FloatArray,
) -> DayAheadOrder | TooSmallToBid:
    """Return the checked order of fitted curves for one delivery day.

    The dearest bin's volume stands at the market's maximum price; each cheaper bin adds its own up to its edge.

    Args:
        curves: Fitted over the horizon.
        delivery: Periods of the delivery day in the horizon.
        periods: Delivery periods of the day.
        rules: What the auction accepts.
        capability_mw: Most the fleet can draw per period of the day.

    Raises:
        InvalidInput: The slice is not the day, or more bins than points are accepted.
        BidRejected: The independent check refused the order.
    """
    if delivery.stop - delivery.start != periods.count:
        raise InvalidInput("delivery", f"must have the {periods.count} periods of the day")
    if len(curves.volume_kwh) > rules.max_points:
        raise InvalidInput("curves", f"have {len(curves.volume_kwh)} bins, the market takes {rules.max_points} points")
    mw = np.maximum(curves.volume_kwh[:, delivery], 0.0) / (KW_PER_MW * periods.step_hours)
    peak = float(mw.max())
    if peak < float(rules.min_volume_mw):
        return TooSmallToBid(peak_mw=peak, min_volume_mw=rules.min_volume_mw)
    lots = tuple(max(count, 0) for count in round_to_lots(mw[0], rules.lot_mw, capability_mw))
    edges = curves.edge_eur_per_kwh[:, delivery] * KWH_EUR_PER_MWH
    found = []
    for index, total in enumerate(lots):
        tranches = _tranches(mw[:, index], edges[:, index], rules)
        start = periods.slot_start(index)
        found.append(BidPeriod(start=start, end=start + periods.step, curve=demand_curve(tranches, total, rules)))
    require_sound(check_curves(found, rules, periods, capability_mw))
    ordered = float(rules.lot_mw) * sum(lots)
    return DayAheadOrder(periods=tuple(found), rounding_error_mwh=(float(mw[0].sum()) - ordered) * periods.step_hours)


def _tranches(volume_mw: FloatArray, edge_per_mwh: FloatArray, rules: MarketRules) -> list[Tranche]:
    """Return what each bin of one period adds to the dearer ones, up to its highest price."""
    limits = [*(rules.legal_price(edge) for edge in edge_per_mwh), rules.max_price_per_mwh]
    added = -np.diff(volume_mw, append=0.0)
    return [Tranche(limit_price_per_mwh=limit, volume_mw=float(mw)) for limit, mw in zip(limits, added, strict=True)]
