"""What is known of chargers beside their power: phases, voltage, state of charge, and which data contradict each other.

Contradictions are states, not errors: a charger goes on counting at what is known for sure, and the operator sees what is wrong.
"""

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation import TreeLevels
from gateway.domain.fleet import ChargerData, DataFlag, FlagArray, FloatArray, TelemetryBatch
from gateway.domain.rare_column import RareColumn
from gateway.domain.sessions import DriverGoal, Session
from gateway.domain.topology import ChargerTable, PhaseShares, SiteTree, Wiring

IndexArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MOST_CHARGE_ERROR = 0.05
"""Share of the battery by which the state of charge and the metered energy may differ."""
_NOMINAL_V = 230.0
_VOLTAGE_BAND = 0.15
"""Further from the nominal voltage nothing is believed (EN 50160 allows a tenth and, for a while, 15 %)."""
_USED_A, _USED_SHARE = 4.0, 0.25
"""Phases are told apart from this current on; one counts as used with this share of the largest."""
_POWER_KW, _POWER_SHARE = 0.3, 0.1
"""Power may differ from currents times voltages by the larger of both."""
_MOST_OF_RATING = 2.0
"""Meters are not that wrong: power over so many times the rating is not believed."""
_WINDOW_S, _WINDOW_GAP_S = 300.0, 60.0
"""Power is held against the register over this time, if no two readings are further apart."""
_ENERGY_KWH, _ENERGY_SHARE = 0.2, 0.1
"""Registers may differ from the power over a window by the larger of both; many count whole tenths."""
_FELL_S = 900.0
"""A register that went backwards is told for so long."""
_FELL_KWH = 0.01
_JUST_BEFORE_S = 0.001
"""More than what sums and differences of instants are rounded by."""
_GOALS = {DriverGoal.CHEAPEST: 0, DriverGoal.GUARANTEED: 1, DriverGoal.GREENEST: 2}


class Condition:
    """Arrays in the order of the tree's chargers."""

    def __init__(self, tree: SiteTree, levels: TreeLevels) -> None:
        """Begin with nothing measured."""
        count = len(tree.charger_ids)
        self._tree, self._levels = tree, levels
        self._wiring = Wiring.of((), ChargerTable.of((), {})) if tree.wiring is None else tree.wiring
        self._nominal_v = self._wiring.voltage_v[tree.charger_node] if count else np.zeros(0)
        self._flags = np.zeros(count, dtype=np.uint8)
        self._fell_at = RareColumn(count, -np.inf)
        self._voltage_v = RareColumn(count, np.nan)
        self._voltage_at = RareColumn(count, np.nan)
        self._measured_phases = np.zeros(count, dtype=np.int8)
        self._reported_phases = self._wiring.phases.astype(np.int8)
        self._charge = RareColumn(count, np.nan)
        self._charge_then = RareColumn(count, np.nan)
        self._metered_then = RareColumn(count, np.nan)
        self._battery_kwh = RareColumn(count, np.nan)
        self._goal = np.zeros(count, dtype=np.int8)
        self._is_boosted = np.zeros(count, dtype=bool)
        self._window_from = np.full(count, np.nan)
        self._window_register = np.full(count, np.nan)
        self._window_kwh = np.zeros(count)
        self._judge_at = -np.inf
        self._shares: PhaseShares | None = None
        """What each charger puts on each phase, anew when a car uses other phases."""

    # ---------------------------------------------------------------- sessions

    def put_sessions(self, at: IndexArray, sessions: list[Session], is_same: BoolArray) -> None:
        """Take what reports of sessions say of the cars at some chargers; another car begins anew."""
        self._forget(at[~is_same])
        self._shares = None
        self._reported_phases[at] = [session.phases for session in sessions]
        self._battery_kwh.put(at, np.array([np.nan if s.battery_kwh is None else s.battery_kwh for s in sessions]))
        self._is_boosted[at] = [session.boost for session in sessions]
        self._goal[at] = [_GOALS[session.goal] for session in sessions]

    def clear_sessions(self, at: IndexArray) -> None:
        """Forget the cars at some chargers."""
        self._forget(at)
        self._shares = None
        self._reported_phases[at] = self._wiring.phases[at]
        self._battery_kwh.clear(at)
        self._is_boosted[at] = False
        self._goal[at] = 0

    def _forget(self, at: IndexArray) -> None:
        self._measured_phases[at] = 0
        for values in (self._charge, self._charge_then, self._metered_then):
            values.clear(at)
        self._flags[at] &= ~np.uint8(DataFlag.CHARGE_CONTRADICTS_METER)

    # ---------------------------------------------------------------- measurements

    def take_power(self, at: IndexArray, power_kw: FloatArray, rating_kw: FloatArray) -> BoolArray:
        """Tell which measurements of power can be: what is far above the rating is marked, and nothing is known instead.

        Args:
            at: Chargers that were measured.
            power_kw: Their power.
            rating_kw: Their ratings.
        """
        is_wrong = np.abs(power_kw) > _MOST_OF_RATING * rating_kw
        if is_wrong.any() or (self._flags[at] & np.uint8(DataFlag.POWER_IMPLAUSIBLE)).any():
            self._mark(at, DataFlag.POWER_IMPLAUSIBLE, is_wrong)
        return ~is_wrong

    def take_energy(
        self,
        at: IndexArray,
        power_kw: FloatArray,
        register_kwh: FloatArray,
        before: tuple[FloatArray, FloatArray],
        now: float,
    ) -> None:
        """Hold power against register.

        Args:
            at: Chargers that were measured.
            power_kw: Their power.
            register_kwh: Their register.
            before: Register of their last reading and its instant, NaN for none.
            now: Instant of the readings, seconds.
        """
        last_kwh, last_at = before
        gap_s = now - last_at
        # Chargers that were never read are NaN, and no comparison with that is true.
        if now < self._judge_at and gap_s.max(initial=0.0) <= _WINDOW_GAP_S and (register_kwh >= last_kwh).all():
            self._window_kwh[at] += power_kw * gap_s * (1.0 / 3600.0)
            return
        self._take_energy_out_of_step(at, power_kw, register_kwh, last_kwh, gap_s, now)
        self._judge_at = float(np.nanmin(self._window_from, initial=np.inf)) + _WINDOW_S

    def _take_energy_out_of_step(  # columns of one batch
        self,
        at: IndexArray,
        power_kw: FloatArray,
        register_kwh: FloatArray,
        last_kwh: FloatArray,
        gap_s: FloatArray,
        now: float,
    ) -> None:
        """Do as `take_energy` where something begins, ends or is wrong."""
        fell = register_kwh < last_kwh - _FELL_KWH
        if fell.any():
            self._fell_at.put(at[fell], now)
        breaks = fell | ~(gap_s <= _WINDOW_GAP_S)
        self._window_kwh[at] += np.where(breaks, 0.0, power_kw * gap_s / 3600.0)
        since_s = now - self._window_from[at]
        ends = ~breaks & (since_s >= _WINDOW_S)
        if ends.any():
            self._judge_window(at[ends], register_kwh[ends])
        anew = breaks | ends | np.isnan(since_s)
        if anew.any():
            fresh = at[anew]
            self._window_from[fresh], self._window_register[fresh], self._window_kwh[fresh] = (
                now,
                register_kwh[anew],
                0.0,
            )

    def _judge_window(self, at: IndexArray, register_kwh: FloatArray) -> None:
        counted, drawn = register_kwh - self._window_register[at], self._window_kwh[at]
        most = np.maximum(_ENERGY_KWH, _ENERGY_SHARE * np.maximum(counted, drawn))
        self._mark(at, DataFlag.POWER_CONTRADICTS_REGISTER, np.abs(counted - drawn) > most)

    def take_phases(self, at: IndexArray, batch: TelemetryBatch, is_taken: BoolArray, now: float) -> None:
        """Take currents, voltages and states of charge of one batch, where it has them."""
        power = batch.power_kw[is_taken]
        volts = self._take_voltage(at, batch.phase_voltage_v[is_taken], now) if batch.phase_voltage_v.size else None
        if batch.phase_current_a.size:
            self._take_current(at, batch.phase_current_a[is_taken], volts, power)
        if batch.state_of_charge.size:
            charge = batch.state_of_charge[is_taken]
            known = ~np.isnan(charge)
            self._charge.put(at[known], charge[known])

    def _take_voltage(self, at: IndexArray, voltage_v: FloatArray, now: float) -> FloatArray:
        nominal = self._nominal_v[at]
        known = ~np.isnan(voltage_v) & (voltage_v > 0.0)
        is_wrong = known & (np.abs(voltage_v - nominal[:, None]) > _VOLTAGE_BAND * nominal[:, None])
        believed = np.where(known & ~is_wrong, voltage_v, np.inf)
        lowest = believed.min(axis=1)
        self._mark(at, DataFlag.VOLTAGE_IMPLAUSIBLE, np.logical_or.reduce(is_wrong, axis=1))
        has = np.isfinite(lowest)
        if has.any():
            self._voltage_v.put(at[has], lowest[has])
            self._voltage_at.put(at[has], now)
        return np.where(np.isfinite(believed), believed, nominal[:, None])

    def _take_current(
        self, at: IndexArray, current_a: FloatArray, volts: FloatArray | None, power_kw: FloatArray
    ) -> None:
        amps = np.nan_to_num(current_a)
        largest = amps.max(axis=1)
        used = (amps >= _USED_SHARE * largest[:, None]).sum(axis=1)
        tells = largest >= _USED_A
        if (self._measured_phases[at[tells]] != used[tells]).any():
            self._measured_phases[at[tells]] = used[tells]
            self._shares = None
        complete = ~np.isnan(current_a).all(axis=1)
        seen = self._nominal_v[at][:, None] if volts is None else volts
        by_current = (amps * seen).sum(axis=1) / 1000.0
        most = np.maximum(_POWER_KW, _POWER_SHARE * np.maximum(by_current, power_kw))
        self._mark(at, DataFlag.POWER_CONTRADICTS_CURRENT, complete & (np.abs(by_current - power_kw) > most))

    def _mark(self, at: IndexArray, flag: DataFlag, is_set: BoolArray) -> None:
        bit = np.uint8(flag)
        self._flags[at] = np.where(is_set, self._flags[at] | bit, self._flags[at] & ~bit)

    # ---------------------------------------------------------------- what others see

    def shift(self, seconds: float) -> None:
        """Move every instant with a clock that was set by so many seconds."""
        self._fell_at.shift(seconds)
        self._voltage_at.shift(seconds)
        self._window_from += seconds
        self._judge_at += seconds

    def carry_over(self, older: "Condition", new: IndexArray, old: IndexArray) -> None:
        """Take over what was measured of chargers that were there before the tree changed."""
        for name in ("_flags", "_measured_phases"):
            getattr(self, name)[new] = getattr(older, name)[old]
        for name in ("_fell_at", "_voltage_v", "_voltage_at", "_charge", "_charge_then", "_metered_then"):
            getattr(self, name).carry_over(getattr(older, name), new, old)
        self._shares = None

    def used_phases(self) -> npt.NDArray[np.int8]:
        """Return the phases that the car at each charger uses: as measured, else as reported; shape (C,)."""
        return np.where(self._measured_phases > 0, self._measured_phases, self._reported_phases).astype(np.int8)

    def voltage_share(self, now: float, stale_after_s: float) -> FloatArray:
        """Return the measured over the nominal voltage of each charger, shape (C,); 1 where none was measured lately."""
        if self._voltage_v.is_blank:
            return np.broadcast_to(1.0, len(self._nominal_v))
        is_fresh = now - self._voltage_at.values <= stale_after_s
        return np.where(
            is_fresh, self._voltage_v.values / np.where(self._nominal_v > 0.0, self._nominal_v, _NOMINAL_V), 1.0
        )

    def changes_at(self, now: float, stale_after_s: float) -> float:
        """Return when what others see next changes by itself, seconds of the clock; infinite when it does not."""
        fell = np.inf if self._fell_at.is_blank else next_end(self._fell_at.values, _FELL_S, now)
        return fell if self._voltage_at.is_blank else min(fell, next_end(self._voltage_at.values, stale_after_s, now))

    def view(self, measured_at: FloatArray, delivered_kwh: FloatArray, now: float, stale_after_s: float) -> ChargerData:
        """Return everything as others may see it.

        Args:
            measured_at: Instant of the last measurement of each charger, NaN never, shape (C,).
            delivered_kwh: What each car drew so far by its charger's meter, shape (C,).
            now: Seconds of the clock.
            stale_after_s: Older measurements are stale.
        """
        used, share = self.used_phases(), self.voltage_share(now, stale_after_s)
        charge, contradicts = self._judged_charge(delivered_kwh)
        return ChargerData(
            flags=self._all_flags(measured_at, contradicts, now, stale_after_s),
            shares=self._shares_of(used),
            used_phases=used,
            voltage_v=self._nominal_v if self._voltage_v.is_blank else share * self._nominal_v,
            voltage_factor=self._voltage_factor(share, now, stale_after_s),
            state_of_charge=charge,
            battery_kwh=self._battery_kwh.values,
            is_boosted=self._is_boosted.copy(),
            is_guaranteed=self._goal == _GOALS[DriverGoal.GUARANTEED],
            is_greenest=self._goal == _GOALS[DriverGoal.GREENEST],
        )

    def _shares_of(self, used: npt.NDArray[np.int8]) -> PhaseShares:
        if self._shares is None:
            self._shares = PhaseShares(self._wiring, used)
        return self._shares

    def _voltage_factor(self, share: FloatArray, now: float, stale_after_s: float) -> FloatArray:
        """Return the lowest share of the nominal voltage measured below each node, shape (N,); 1 where none was."""
        if self._voltage_at.is_blank:
            return np.ones(len(self._tree.node_ids))
        is_fresh = now - self._voltage_at.values <= stale_after_s
        lowest = np.full(len(self._tree.node_ids), np.inf)
        np.minimum.at(lowest, self._levels.leaf, np.where(is_fresh, share, np.inf))
        for nodes in self._levels.nodes_at[:-1]:
            np.minimum.at(lowest, self._levels.parent[nodes], lowest[nodes])
        return np.where(np.isfinite(lowest), lowest, 1.0)

    def _judged_charge(self, delivered_kwh: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Return the states of charge that may be used, and which contradict the meter."""
        charge = self._charge.values
        if self._charge.is_blank:
            return charge, np.zeros(len(charge), dtype=bool)
        begins = np.flatnonzero(~np.isnan(charge) & np.isnan(self._charge_then.values))
        self._charge_then.put(begins, charge[begins])
        self._metered_then.put(begins, delivered_kwh[begins])
        by_charge = charge - self._charge_then.values
        by_meter = (delivered_kwh - self._metered_then.values) / self._battery_kwh.values
        contradicts = np.abs(by_charge - by_meter) > MOST_CHARGE_ERROR
        return np.where(contradicts, np.nan, charge), contradicts

    def _all_flags(
        self, measured_at: FloatArray, contradicts: BoolArray, now: float, stale_after_s: float
    ) -> FlagArray:
        flags = self._flags.copy()
        is_unknown = np.isnan(measured_at)
        for flag, is_set in (
            (DataFlag.UNKNOWN, is_unknown),
            (DataFlag.STALE, ~is_unknown & (now - measured_at > stale_after_s)),
            (DataFlag.REGISTER_FELL, now - self._fell_at.values <= _FELL_S),
            (DataFlag.CHARGE_CONTRADICTS_METER, contradicts),
        ):
            flags |= np.where(is_set, np.uint8(flag), np.uint8(0))
        return flags


def next_end(since: FloatArray, lasts_s: float, now: float) -> float:
    """Return an instant just before the first of those that last has lasted for too long; infinite when none lasts.

    Args:
        since: Instants at which they began, NaN or minus infinity for never.
        lasts_s: How long each lasts.
        now: Seconds of the clock.
    """
    lasting = np.where(now - since <= lasts_s, since, np.inf)
    return float(lasting.min(initial=np.inf)) + lasts_s - _JUST_BEFORE_S
