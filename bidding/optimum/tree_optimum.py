"""The cheapest schedule behind a tree of limits, with its proof, the set points of every car, and the reason when none exists."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bidding.arrays import BoolArray, FloatArray, IntArray, finite_vector, offsets_of, ragged_ranges
from bidding.fleet.sessions import SLOT_TOLERANCE, SessionArrays
from bidding.optimum.decomposition import SMALL_SHARE, SearchLimits
from bidding.optimum.departures import departure_slack, wanting_at_most
from bidding.optimum.disaggregation import Disaggregation, SessionSchedule
from bidding.optimum.explain import forced_kwh
from bidding.optimum.greedy import PriceResponse
from bidding.optimum.outcome import (
    Conflict,
    DepartureSlack,
    Feasible,
    Infeasible,
    NodeLimit,
    Outcome,
    Proved,
    SolutionRejected,
    TimedOut,
)
from bidding.optimum.recheck import Following, Violation, recheck_following, recheck_tree
from bidding.optimum.site_tree import NO_PARENT, Member, SiteTree, TreeMixture, members_of, mix_tree
from bidding.optimum.tree_model import TreeModel
from bidding.optimum.window_groups import sessions_in

TREE_LIMITS = SearchLimits()
"""Default of trees: proved at a relative gap of 1e-6."""
NOTHING_EUR = 1e-9
"""A gap below this is rounding, also where everything is free."""
SESSIONS_PER_MEMBER = 200
"""Below as many sessions per set of limits the model with a variable per session and slot is faster than columns."""
LEVEL_ROUNDING = 1e-9
"""Duals this close are one level."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TreeOptimum:
    """The result for a tree of nodes."""

    outcome: Outcome
    node_kwh: npt.NDArray[np.float64] | None
    """Draw of all sessions at and below each node, shape (nodes, T); None when the outcome is Infeasible or TimedOut."""
    session_schedule: SessionSchedule | None
    """Draw of every session in its window; None likewise."""
    room_price_eur_per_kwh: npt.NDArray[np.float64] | None
    """What one kWh more of room would save, per node and slot; None likewise."""
    iteration_count: int
    departure_slack: tuple[DepartureSlack, ...] = ()
    """Who leaves without some of the energy needed, the most missing first; only `serve_most_in_tree` lets anybody."""


def serve_most_in_tree(
    sessions: SessionArrays,
    node: IntArray,
    price_eur_per_kwh: FloatArray,
    tree: SiteTree,
    limits: SearchLimits = TREE_LIMITS,
) -> TreeOptimum:
    """Return the cheapest among the schedules that deliver the most of the needed energy inside the limits of a tree.

    Limits hold, needs give way, and who leaves without energy is named in `departure_slack`. Energy is worth more than the
    highest price and all demand charges together. That is enough: a path of shifts through the tree that delivers one kWh
    more ends in one slot of the root, and passes every other slot of it without changing its sum. The outcome's objective
    counts that worth.
    """
    price = finite_vector("price_eur_per_kwh", price_eur_per_kwh, tree.slot_count)
    worth = 1.0 + 2.0 * float(np.max(np.abs(price))) + float(tree.peaks.eur_per_peak_kwh.sum())
    wanted = wanting_at_most(sessions)
    best = optimise_tree(wanted, node, price - worth, tree, limits)
    if best.session_schedule is None:
        # The budget ended without a schedule: drawing nothing is inside every limit.
        none = np.zeros(len(sessions))
        best = optimise_tree(wanted.with_energy(none, none), node, price, tree, limits)
    plan = best.session_schedule
    return best if plan is None else replace(best, departure_slack=departure_slack(sessions, plan))


def optimise_tree(
    sessions: SessionArrays,
    node: IntArray,
    price_eur_per_kwh: FloatArray,
    tree: SiteTree,
    limits: SearchLimits = TREE_LIMITS,
    *,
    sessions_per_member: int = SESSIONS_PER_MEMBER,
) -> TreeOptimum:
    """Return the cheapest way to give every session its energy inside every limit of a tree.

    Args:
        sessions: Sessions fitted to the horizon (`fit_to_horizon`).
        node: At which node each session charges, shape (N,).
        price_eur_per_kwh: Energy price per slot, shape (T,).
        tree: The nodes and their limits.
        limits: When to stop; the model by session knows no budget, its gap is what the interior point reaches.
        sessions_per_member: With fewer sessions per set of limits the model by session is used, else columns; the optimum is
            the same.

    Raises:
        InvalidInput: A session was not fitted, a node does not exist, or the price has not one finite number per slot.
        SolutionRejected: The independent check refused the solution; nothing of it may be used.
    """
    members = members_of(sessions, node, tree) if len(sessions) else ()
    if not members:
        return _nobody(tree)
    price = finite_vector("price_eur_per_kwh", price_eur_per_kwh, tree.slot_count)
    case = _Case(sessions=sessions, node=node, price=price, tree=tree, members=members, limits=limits)
    if len(sessions) < sessions_per_member * len(members):
        by_session = _optimum_by_session(case)
        if by_session is not None:
            return by_session
    return _optimum_by_columns(case)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Case:
    """One problem and what both ways of solving it need."""

    sessions: SessionArrays
    node: IntArray
    price: FloatArray
    tree: SiteTree
    members: tuple[Member, ...]
    limits: SearchLimits


def _optimum_by_session(case: _Case) -> TreeOptimum | None:
    """Return the optimum of the session model; None when it has none, or none that passes: the columns then say why."""
    model = TreeModel(case.sessions, case.node, case.tree)
    solution = model.cheapest(case.price)
    if solution is None:
        cut_prices = model.cut_prices()
        return None if cut_prices is None else _without_schedule(case, cut_prices, iteration_count=1)
    if _violations(case, solution.plan):
        return None
    legal = solution.prices.legal(case.tree.peaks)
    bound = legal.constant_eur(case.tree.cap_kwh, case.tree.peaks)
    for member in case.members:
        at = case.price + member.above.astype(np.float64) @ legal.total
        bound += float(at @ PriceResponse(member.table).schedule(at))
    return _certified(case, solution.plan, bound, legal.total, iteration_count=1)


def _optimum_by_columns(case: _Case) -> TreeOptimum:
    mixture = mix_tree(case.members, case.price, case.tree, limits=case.limits)
    if not mixture.units:
        return _without_schedule(case, mixture.cut_prices, iteration_count=mixture.iteration_count)
    plan = _set_points(case.sessions, mixture)
    violations = _violations(case, plan)
    if violations:
        raise SolutionRejected(violations)
    return _certified(
        case, plan, mixture.lower_bound_eur, mixture.prices_eur_per_kwh, iteration_count=mixture.iteration_count
    )


def _violations(case: _Case, plan: SessionSchedule) -> tuple[Violation, ...]:
    """Return what the independent check has against the set points."""
    schedule = plan.per_slot_kwh(case.tree.slot_count)
    following = Following(row=plan.row, slot=plan.slot, energy_kwh=plan.energy_kwh, schedule_kwh=schedule)
    in_tree = recheck_tree(following, case.node, case.tree.parent, case.tree.cap_kwh)
    return recheck_following(case.sessions, following) + in_tree


def _certified(
    case: _Case, plan: SessionSchedule, bound: float, room_price: npt.NDArray[np.float64], *, iteration_count: int
) -> TreeOptimum:
    schedule, node_kwh = plan.per_slot_kwh(case.tree.slot_count), _node_draw(plan, case.node, case.tree)
    objective = float(case.price @ schedule) + case.tree.charges_eur(node_kwh)
    turnover = float(np.abs(case.price) @ schedule)
    allowed = case.limits.relative_gap * max(abs(objective), SMALL_SHARE * turnover) + NOTHING_EUR
    kind = Proved if objective - bound <= allowed else Feasible
    return TreeOptimum(
        outcome=kind(objective_eur=objective, lower_bound_eur=bound),
        node_kwh=node_kwh,
        session_schedule=plan,
        room_price_eur_per_kwh=room_price,
        iteration_count=iteration_count,
    )


def _nobody(tree: SiteTree) -> TreeOptimum:
    none = np.zeros(0, dtype=np.int64)
    charges = tree.charges_eur(np.zeros(tree.cap_kwh.shape))
    return TreeOptimum(
        outcome=Proved(objective_eur=charges, lower_bound_eur=charges),
        node_kwh=np.zeros(tree.cap_kwh.shape),
        session_schedule=SessionSchedule(offset=offsets_of(none), slot=none, energy_kwh=np.zeros(0)),
        room_price_eur_per_kwh=np.zeros(tree.cap_kwh.shape),
        iteration_count=0,
    )


def _set_points(sessions: SessionArrays, mixture: TreeMixture) -> SessionSchedule:
    length = sessions.window_length
    offset = offsets_of(length)
    energy = np.zeros(int(offset[-1]))
    for unit in mixture.units:
        member = mixture.members[unit.member]
        here = sessions.select(member.rows)
        rows = member.rows[sessions_in(here, member.table, unit.windows)]
        part = Disaggregation(sessions.select(rows), unit.columns, unit.weights).schedule()
        energy[ragged_ranges(offset[rows], length[rows])] = part.energy_kwh
    return SessionSchedule(offset=offset, slot=ragged_ranges(sessions.arrival_slot, length), energy_kwh=energy)


def _node_draw(plan: SessionSchedule, node: IntArray, tree: SiteTree) -> npt.NDArray[np.float64]:
    shape = tree.cap_kwh.shape
    cell = node[plan.row] * shape[1] + plan.slot
    own = np.bincount(cell, weights=plan.energy_kwh, minlength=tree.cap_kwh.size).reshape(shape)
    drawn: npt.NDArray[np.float64] = tree.is_below.astype(np.float64) @ own
    return drawn


# ---------------------------------------------------------------- where nothing fits


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cut:
    """A cut of the tree: slots per member, and the limits it goes through."""

    member_slots: BoolArray
    """Slots in which a member's draw has to pass the cut, shape (members, T)."""
    limit_slots: BoolArray
    """Slots in which a node's limit is part of the cut, shape (nodes, T)."""
    must_flow_kwh: float
    allowed_kwh: float


def worst_cut(members: Sequence[Member], tree: SiteTree, cut_prices: npt.NDArray[np.float64]) -> Cut:
    """Return the cut at which the most energy is missing.

    The duals, summed from the root down, cross every level between 0 and 1 at one node per path and slot: each level is a
    cut, the least energy left out is the mean of what is missing over all levels, and so the best level misses that much.
    """
    below_root = np.array(cut_prices)
    for node, parent in enumerate(tree.parent):
        if parent != NO_PARENT:
            below_root[node] += below_root[parent]
    over = np.array([below_root[p] if p != NO_PARENT else np.zeros(tree.slot_count) for p in tree.parent])
    levels = np.unique(np.round(below_root[below_root > SLOT_TOLERANCE] / LEVEL_ROUNDING) * LEVEL_ROUNDING)
    cuts = [_cut_at(members, tree, below_root, over, level - LEVEL_ROUNDING) for level in levels]
    return max(cuts, key=lambda cut: cut.must_flow_kwh - cut.allowed_kwh)


def _cut_at(
    members: Sequence[Member],
    tree: SiteTree,
    below_root: npt.NDArray[np.float64],
    over: npt.NDArray[np.float64],
    level: float,
) -> Cut:
    crossing = (over < level) & (below_root >= level) & np.any([member.above for member in members], axis=0)[:, None]
    slots = np.array([np.any(crossing & member.above[:, None], axis=0) for member in members])
    must = sum(member.table.least_kwh(mine) for member, mine in zip(members, slots, strict=True))
    return Cut(
        member_slots=slots,
        limit_slots=crossing,
        must_flow_kwh=float(must),
        allowed_kwh=float(tree.cap_kwh[crossing].sum()),
    )


def _without_schedule(case: _Case, cut_prices: npt.NDArray[np.float64] | None, *, iteration_count: int) -> TreeOptimum:
    outcome: Outcome = TimedOut(iteration_count=iteration_count)
    if cut_prices is not None:
        cut = worst_cut(case.members, case.tree, cut_prices)
        outcome = Infeasible(conflicts=tuple(_conflicts(case.sessions, case.members, case.tree, cut)))
    return TreeOptimum(
        outcome=outcome,
        node_kwh=None,
        session_schedule=None,
        room_price_eur_per_kwh=None,
        iteration_count=iteration_count,
    )


def _conflicts(sessions: SessionArrays, members: Sequence[Member], tree: SiteTree, cut: Cut) -> list[Conflict]:
    """Return the conflicts of a cut, one for each set of limits that no session ties to another, the worst first."""
    limits = [set(np.flatnonzero(np.any(cut.limit_slots, axis=1) & member.above).tolist()) for member in members]
    groups: list[tuple[set[int], list[int]]] = []
    for number, touched in enumerate(limits):
        apart = [group for group in groups if not group[0] & touched]
        tied = [group for group in groups if group[0] & touched]
        nodes = touched.union(*(group[0] for group in tied))
        groups = [*apart, (nodes, [number, *(one for group in tied for one in group[1])])] if touched else groups
    found = [_conflict(sessions, members, tree, cut, group) for group in groups]
    worst = sorted(found, key=lambda conflict: -conflict.missing_kwh)
    return [conflict for conflict in worst if conflict.missing_kwh > SLOT_TOLERANCE]


def _conflict(
    sessions: SessionArrays, members: Sequence[Member], tree: SiteTree, cut: Cut, group: tuple[set[int], list[int]]
) -> Conflict:
    nodes, numbers = group
    limits = []
    for node in sorted(nodes):
        slots = np.flatnonzero(cut.limit_slots[node])
        allowed = float(tree.cap_kwh[node, slots].sum())
        limits.append(NodeLimit(node=tree.names[node], slots=tuple(slots.tolist()), allowed_kwh=allowed))
    must, rows = 0.0, []
    for number in numbers:
        slots_of_member = cut.member_slots[number]
        must += members[number].table.least_kwh(slots_of_member)
        here = members[number].rows
        rows.append(here[forced_kwh(sessions.select(here), slots_of_member) > SLOT_TOLERANCE])
    slots = np.flatnonzero(np.any(cut.member_slots[numbers], axis=0))
    return Conflict(
        slots=tuple(slots.tolist()),
        must_flow_kwh=must,
        allowed_kwh=sum(limit.allowed_kwh for limit in limits),
        sessions=tuple(sessions.name_of(int(row)) for row in np.sort(np.concatenate(rows))),
        limits=tuple(limits),
    )
