"""A recorded month of a workplace behind 150 kW with random reductions: what cars got, who missed what and why, peak and changes.

Every car that leaves with half a kilowatt-hour less than it would have taken uncontrolled is named with the reason: `infeasible` when not
even somebody who knows everything in advance could have given it (a linear program in which all others keep what they got is the
certificate), `left early` when its driver left before the announced departure, `ours` otherwise.
"""

import argparse
import asyncio

import numpy as np

from scripts.measuring import Report, Value, at_least, at_most
from scripts.replay_month import MISSED_KWH, Month, Replay, Stay, could_have_got, draw_events, read_stays, uncontrolled

DAYS = 31.0
SEED = 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a run be shorter than the month."""
    parser.add_argument("--days", type=float, default=DAYS, help="how much of the month (default all of it)")
    parser.add_argument("--seed", type=int, default=SEED, help="what the reductions are drawn from")


def run(options: argparse.Namespace) -> Report:
    """Replay the month and say what happened."""
    stays = read_stays(options.days)
    events = draw_events(np.random.default_rng(options.seed), options.days)
    month = asyncio.run(Replay(stays, events, options.seed).run(options.days))
    free_kwh, free_peak_kw = uncontrolled(stays)
    missed = [row for stay, free in zip(stays, free_kwh.tolist(), strict=True) if (row := judge(month, stay, free))]
    delivered = sum(month.delivered_kwh.values())
    why = [str(row["why"]) for row in missed]
    summary: dict[str, Value] = {
        "sessions": len(stays),
        "events": len(events),
        "delivered_kwh": delivered,
        "uncontrolled_kwh": float(free_kwh.sum()),
        "delivered_share": delivered / float(free_kwh.sum()),
        "peak_kw": month.peak_kw,
        "uncontrolled_peak_kw": free_peak_kw,
        "missed": len(missed),
        "missed_infeasible": why.count("infeasible"),
        "missed_left_early": why.count("left early"),
        "missed_ours": why.count("ours"),
        "changes_per_charger_and_hour": month.change_count / max(month.charging_hours, 1.0),
    }
    goals = [
        at_most("drawn above the limit in force, kW", 1e-6, month.worst_excess_kw),
        at_most(
            "changes of set points per charging charger and hour",
            6.0,
            float(summary["changes_per_charger_and_hour"] or 0),
        ),
        at_least("share of the uncontrolled energy delivered at departure", 0.9, delivered / float(free_kwh.sum())),
    ]
    return {"results": [summary, *missed], "goals": goals}


def judge(month: Month, stay: Stay, free_kwh: float) -> dict[str, Value] | None:
    """Return the row of a car that left with less than it would have taken uncontrolled; None for one that did not."""
    got = month.delivered_kwh[stay.name]
    if got >= free_kwh - MISSED_KWH:
        return None
    possible = could_have_got(month, stay)
    left_early = stay.announced_s is None or stay.departure_s < stay.announced_s
    why = "infeasible" if possible < free_kwh - MISSED_KWH else "left early" if left_early else "ours"
    return {
        "session": stay.name,
        "why": why,
        "got_kwh": got,
        "uncontrolled_kwh": free_kwh,
        "possible_kwh": possible,
        "stay_h": (stay.departure_s - stay.arrival_s) / 3600.0,
    }
