"""Carbon: a recorded week of workplaces charged when electricity was expected to be cleaner, beside the same week charged as it came.

The brief's case 26: the emission saved is reported, and drivers who leave before they said get nearly what they would have got anyway.
"""

import numpy as np

from scripts.carbon_week import Charged, Stays, charge, read_intensities, read_stays
from scripts.measuring import Report, Value, at_least


def run() -> Report:
    """Charge the week both ways."""
    stays, intensities = read_stays(), read_intensities()
    plain = charge(stays, intensities, waits=False)
    waiting = charge(stays, intensities, waits=True)
    early, everybody = stays.is_early, np.ones(len(stays.arrival_s), dtype=bool)
    saved = 1.0 - _intensity(waiting) / _intensity(plain)
    goals = [
        at_least(
            "energy of drivers who left early, share of what they got as it came", 0.99, _share(waiting, plain, early)
        ),
        at_least("emission saved per kWh, share", 0.0, saved),
    ]
    rows = [_row("as it came", plain, stays), _row("when cleaner", waiting, stays)]
    rows.append(
        {
            "what": "saved",
            "saved_share": saved,
            "energy_share": _share(waiting, plain, everybody),
            "early_energy_share": _share(waiting, plain, early),
        }
    )
    return {"results": rows, "goals": goals}


def _row(what: str, charged: Charged, stays: Stays) -> dict[str, Value]:
    return {
        "what": what,
        "sessions": len(stays.arrival_s),
        "left_early": int(stays.is_early.sum()),
        "kwh": float(charged.energy_kwh.sum()),
        "kg": float(charged.emission_kg.sum()),
        "g_per_kwh": _intensity(charged),
    }


def _intensity(charged: Charged) -> float:
    return 1_000.0 * float(charged.emission_kg.sum()) / float(charged.energy_kwh.sum())


def _share(charged: Charged, plain: Charged, who: np.ndarray) -> float:
    return float(charged.energy_kwh[who].sum()) / float(plain.energy_kwh[who].sum())
