"""When needs have to give way to limits: who leaves without what, by name.

Every optimum has a variant that serves the most: needs become upper bounds, energy is worth more than any price, and whoever
is short afterwards is named. One way to say it, whatever the model.
"""

import numpy as np

from bidding.fleet.sessions import SessionArrays
from bidding.optimum.disaggregation import SessionSchedule
from bidding.optimum.outcome import DepartureSlack
from bidding.optimum.recheck import ABSOLUTE_TOLERANCE_KWH, RELATIVE_TOLERANCE


def wanting_at_most(sessions: SessionArrays) -> SessionArrays:
    """Return the same sessions with the energy they need as the most they take and nothing as the least."""
    return sessions.with_energy(np.zeros(len(sessions)), sessions.energy_min_kwh)


def departure_slack(sessions: SessionArrays, plan: SessionSchedule) -> tuple[DepartureSlack, ...]:
    """Return who leaves without some of the energy needed, the most missing first, earlier rows first among equals.

    Args:
        sessions: With their needs (`energy_min_kwh`) as they are.
        plan: What each of them gets.
    """
    missing = sessions.energy_min_kwh - plan.total_kwh()
    rounding = ABSOLUTE_TOLERANCE_KWH + RELATIVE_TOLERANCE * sessions.energy_min_kwh
    short = np.flatnonzero(missing > rounding)
    worst_first = short[np.argsort(-missing[short], kind="stable")]
    return tuple(
        DepartureSlack(session=sessions.name_of(int(row)), row=int(row), missing_kwh=float(missing[row]))
        for row in worst_first
    )
