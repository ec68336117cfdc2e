"""The independent check of a plan of wishes: plain sums, sharing no code with what found it, on top of `optimum.recheck`."""

import numpy as np

from bidding.arrays import FloatArray, sum_by
from bidding.goals.wishes import DriverWishes
from bidding.optimum.coupling import Coupling
from bidding.optimum.disaggregation import SessionSchedule
from bidding.optimum.recheck import ABSOLUTE_TOLERANCE_KWH, RELATIVE_TOLERANCE, Claim, Terms, Violation, recheck

PRICE_TOLERANCE_EUR_PER_KWH = 2e-6
"""A slot this little above a cap counts as at the cap: less than any price tick."""


def verify_plan(
    wishes: DriverWishes,
    price_eur_per_kwh: FloatArray,
    coupling: Coupling,
    served_kwh: FloatArray,
    urgent_kwh: FloatArray,
    plan: SessionSchedule,
) -> tuple[Violation, ...]:
    """Return every rule the plan breaks; empty when it may be used.

    Besides windows, rates, energies, caps and sums: what is urgent is drawn when it was placed (`urgent`), and no step is
    charged above its price cap (`price-cap`): what a session draws in dearer slots fits into its need and earlier steps.
    """
    schedule = plan.per_slot_kwh(coupling.slot_count)
    charge = coupling.demand_charge
    most = np.maximum(wishes.cars.energy_max_kwh, served_kwh)
    found = recheck(
        wishes.cars.with_energy(served_kwh, most),
        Claim(
            row=plan.row,
            slot=plan.slot,
            energy_kwh=plan.energy_kwh,
            schedule_kwh=schedule,
            objective_eur=coupling.cost_eur(price_eur_per_kwh, schedule),
        ),
        Terms(
            price_eur_per_kwh=price_eur_per_kwh,
            cap_kwh=coupling.cap_kwh,
            load_kwh=np.zeros(len(schedule)) if charge is None else charge.load_kwh,
            eur_per_peak_kwh=0.0 if charge is None else charge.eur_per_peak_kwh,
            peak_so_far_kwh=0.0 if charge is None else charge.peak_so_far_kwh,
        ),
    )
    late = urgent_kwh - plan.energy_kwh
    worst = int(np.argmax(late)) if late.size else 0
    if late.size and late[worst] > ABSOLUTE_TOLERANCE_KWH:
        found += (Violation(rule="urgent", index=int(plan.row[worst]), excess=float(late[worst])),)
    return found + _steps_too_dear(wishes, price_eur_per_kwh, served_kwh, plan)


def _steps_too_dear(
    wishes: DriverWishes, price_eur_per_kwh: FloatArray, served_kwh: FloatArray, plan: SessionSchedule
) -> tuple[Violation, ...]:
    steps, full, charge = wishes.steps, wishes.full_kwh, wishes.state_of_charge
    if steps is None or full is None or charge is None:
        return ()
    found: tuple[Violation, ...] = ()
    level = served_kwh.copy()
    for place in range(int(steps.position.max(initial=-1)) + 1):
        here = steps.position == place
        who, cap = steps.session_row[here], np.full(len(wishes.cars), np.inf)
        cap[who] = steps.price_cap_eur_per_kwh[here]
        dear = price_eur_per_kwh[plan.slot] > cap[plan.row] + PRICE_TOLERANCE_EUR_PER_KWH
        drawn = sum_by(plan.row, np.where(dear, plan.energy_kwh, 0.0), len(wishes.cars))
        excess = drawn - level * (1.0 + RELATIVE_TOLERANCE)
        worst = int(np.argmax(excess))
        if excess[worst] > ABSOLUTE_TOLERANCE_KWH:
            found += (Violation(rule="price-cap", index=worst, excess=float(excess[worst])),)
        level[who] = np.maximum(level[who], np.maximum(steps.share[here] - charge[who], 0.0) * full[who])
    return found
