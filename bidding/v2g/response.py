"""The exact answer of a bidirectional fleet to a price: thresholds, energies, what the fleet exchanges, what it costs."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from bidding.arrays import FloatArray, finite_vector
from bidding.v2g import kernel
from bidding.v2g.batches import (
    Batch,
    Thresholds,
    burning_eur,
    buyback_price,
    find_thresholds,
    follow,
    lay_out,
    missed_by_resting,
)
from bidding.v2g.plan import ThresholdPolicy, V2gPlan
from bidding.v2g.sessions import BidirectionalSessions, require_fitted
from gateway.domain.errors import InvalidInput


class Engine(Enum):
    """What runs the response; both give the same schedules."""

    NUMPY = "numpy"
    NUMBA = "numba"
    """The extra `fast`: compiles for some seconds once a process, then four times faster, six where only totals are kept."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FleetAnswer:
    """What the fleet as a whole does at a price."""

    draw_kwh: FloatArray
    """Net draw per slot, positive from the grid, shape (T,)."""
    degradation_eur: float
    cost_eur: float
    """Draw at the price asked, plus degradation."""
    lower_bound_eur: float
    """No plan costs less at this price; below the cost only when a price is strongly negative."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class V2gResponse:
    """The rule of every session and the plan that following it from arrival gives."""

    policy: ThresholdPolicy
    plan: V2gPlan


class FleetResponse:
    """Sessions prepared to answer any number of prices.

    Prices may be negative. Where one is so negative that losses would be paid for, `discharge_efficiency * (price -
    degradation) > (price + degradation) / charge_efficiency`, a linear program would charge and discharge at once to burn
    energy. Here feeding in earns so much less in such a slot that doing both would gain nothing: a battery is emptied only
    to fill it in a slot with a still lower price, never to lose energy on the way. The plan is the optimum at the cut
    price; its cost is stated at the real one, and `lower_bound_eur` (the optimum over the convex hull of each slot) says
    what burning could save at most. Without such a slot the plan is the optimum and the two are equal.

    Args:
        sessions: Sessions fitted to the horizon.
        slot_count: Length of the horizon.
        engine: What runs it.

    Raises:
        InvalidInput: A session does not fit the horizon, or numba is asked for and not installed.
    """

    def __init__(self, sessions: BidirectionalSessions, slot_count: int, *, engine: Engine = Engine.NUMPY) -> None:
        require_fitted(sessions, slot_count)
        if engine is Engine.NUMBA and not kernel.is_numba_installed():
            raise InvalidInput("engine", "needs numba: install voltbridge[fast]")
        self.sessions = sessions
        self.slot_count = slot_count
        self.engine = engine
        self._loops = _Loops(sessions, kernel.compiled()) if engine is Engine.NUMBA else None
        self._batches = lay_out(sessions) if engine is Engine.NUMPY else ()

    def total(self, price_eur_per_kwh: npt.ArrayLike) -> FleetAnswer:
        """Return what the fleet does, without keeping what each session does.

        Raises:
            InvalidInput: The price is not one finite number per slot.
        """
        price = self._checked(price_eur_per_kwh)
        if self._loops is not None:
            return self._loops.run(price, _room(1, self.slot_count))
        draw, wear_eur, missed_eur = np.zeros(self.slot_count), 0.0, 0.0
        for batch in self._batches:
            charge, discharge, missed = _exchange(batch, price, find_thresholds(batch, price[batch.slots]))
            draw[batch.slots] += np.sum(charge - discharge, axis=1)
            wear_eur += float(np.sum(charge + discharge, axis=0) @ batch.kinds[batch.kind, 2])
            missed_eur += missed
        return _answer(price, draw, wear_eur, missed_eur)

    def respond(self, price_eur_per_kwh: npt.ArrayLike) -> V2gResponse:
        """Return thresholds and energies of every session.

        Raises:
            InvalidInput: The price is not one finite number per slot.
        """
        price = self._checked(price_eur_per_kwh)
        room = _room(len(self.sessions), self.slot_count)
        up, down, charge, discharge = room
        if self._loops is not None:
            answer = self._loops.run(price, room)
            charge /= self.sessions.charge_efficiency[:, None]
            discharge *= self.sessions.discharge_efficiency[:, None]
            return _response(room, answer.cost_eur, answer.lower_bound_eur)
        missed_eur = 0.0
        for batch in self._batches:
            levels = find_thresholds(batch, price[batch.slots])
            some_charge, some_discharge, missed = _exchange(batch, price, levels)
            up[batch.rows, batch.slots] = levels.charge_up_to.T
            down[batch.rows, batch.slots] = levels.discharge_down_to.T
            charge[batch.rows, batch.slots] = some_charge.T
            discharge[batch.rows, batch.slots] = some_discharge.T
            missed_eur += missed
        draw = np.sum(charge - discharge, axis=0)
        wear_eur = float(np.sum(charge + discharge, axis=1) @ self.sessions.degradation_eur_per_kwh)
        answer = _answer(price, draw, wear_eur, missed_eur)
        return _response(room, answer.cost_eur, answer.lower_bound_eur)

    def _checked(self, price_eur_per_kwh: npt.ArrayLike) -> FloatArray:
        return finite_vector("price_eur_per_kwh", price_eur_per_kwh, self.slot_count)


def respond_to_price(
    sessions: BidirectionalSessions, price_eur_per_kwh: npt.ArrayLike, *, engine: Engine = Engine.NUMPY
) -> V2gResponse:
    """Return the cheapest plan of each session at a price, with its rule.

    Args:
        sessions: Sessions fitted to the horizon, which is as long as the price.
        price_eur_per_kwh: EUR per kWh per slot; may be negative (see `FleetResponse`).
        engine: What runs it.

    Raises:
        InvalidInput: As `FleetResponse`.
    """
    return FleetResponse(sessions, len(np.atleast_1d(price_eur_per_kwh)), engine=engine).respond(price_eur_per_kwh)


class _Loops:
    """The response by `kernel`, with its inputs laid out once."""

    def __init__(self, sessions: BidirectionalSessions, loops: tuple[Any, Any, Any]) -> None:
        self._run, *self._steps = loops
        columns = [sessions.charge_efficiency, sessions.discharge_efficiency, sessions.degradation_eur_per_kwh]
        self._kinds, kind = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
        cars = [
            sessions.stored_per_slot_kwh,
            sessions.taken_per_slot_kwh,
            sessions.soc_arrival_kwh,
            sessions.floor_kwh,
            sessions.needed_kwh(),
            sessions.soc_max_kwh,
            *columns,
        ]
        windows = np.stack([sessions.arrival_slot, sessions.departure_slot], axis=1)
        self._sessions = (windows, np.stack(cars, axis=1), kind.reshape(-1))

    def run(self, price: FloatArray, room: tuple[FloatArray, ...]) -> FleetAnswer:
        """Fill the room and return the totals."""
        draw = np.zeros(len(price))
        prices = (price, buyback_price(price, self._kinds), burning_eur(price, self._kinds))
        wear_eur, missed_eur = self._run(*self._steps, self._sessions, prices, room, draw)
        return _answer(price, draw, wear_eur, missed_eur)


def _room(count: int, slot_count: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return space for both thresholds and both energies."""
    shape = (count, slot_count)
    return np.full(shape, -np.inf), np.full(shape, np.inf), np.zeros(shape), np.zeros(shape)


def _exchange(batch: Batch, price: FloatArray, levels: Thresholds) -> tuple[FloatArray, FloatArray, float]:
    """Return what is drawn and fed in, grid side, shape (slots, sessions), and what the bound lies below the cost."""
    stored, taken = follow(batch, levels)
    missed = missed_by_resting(batch, price[batch.slots], stored, taken)
    shares = batch.kinds[batch.kind]
    return stored / shares[:, 0], taken * shares[:, 1], missed


def _answer(price: FloatArray, draw: FloatArray, wear_eur: float, missed_eur: float) -> FleetAnswer:
    cost = float(price @ draw) + wear_eur
    return FleetAnswer(draw_kwh=draw, degradation_eur=wear_eur, cost_eur=cost, lower_bound_eur=cost - missed_eur)


def _response(room: tuple[FloatArray, ...], cost_eur: float, lower_bound_eur: float) -> V2gResponse:
    up, down, charge, discharge = room
    return V2gResponse(
        policy=ThresholdPolicy(charge_up_to_kwh=up, discharge_down_to_kwh=down),
        plan=V2gPlan(charge_kwh=charge, discharge_kwh=discharge, cost_eur=cost_eur, lower_bound_eur=lower_bound_eur),
    )
