"""What bidirectional sessions are to do: thresholds, energies per session and slot, and what the fleet exchanges."""

from dataclasses import dataclass

import numpy as np

from bidding.arrays import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ThresholdPolicy:
    """The best rule at a price, whatever the state of charge: two levels per session and slot.

    Below the first the car charges up to it as far as its rate allows, above the second it discharges down to it, between
    the two it rests. Outside a window the levels are minus and plus infinity.
    """

    charge_up_to_kwh: FloatArray
    """State of charge, shape (N, T)."""
    discharge_down_to_kwh: FloatArray
    """State of charge, at least `charge_up_to_kwh`, shape (N, T)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class V2gPlan:
    """Energies of every session in every slot, grid side; at most one of the two is above 0 in a slot."""

    charge_kwh: FloatArray
    """Drawn, at least 0, shape (N, T)."""
    discharge_kwh: FloatArray
    """Fed in, at least 0, shape (N, T)."""
    cost_eur: float
    """Energy at its price plus degradation; negative when the fleet earns."""
    lower_bound_eur: float
    """No plan costs less; equal to the cost up to rounding where the optimum is proved."""

    @property
    def draw_kwh(self) -> FloatArray:
        """Net draw of each session in each slot, positive from the grid, shape (N, T)."""
        return self.charge_kwh - self.discharge_kwh

    @property
    def aggregate_kwh(self) -> FloatArray:
        """Net draw of the fleet per slot, positive from the grid, shape (T,)."""
        total: FloatArray = np.sum(self.draw_kwh, axis=0)
        return total

    @property
    def gap_eur(self) -> float:
        """Certified distance to the optimum."""
        return max(0.0, self.cost_eur - self.lower_bound_eur)
