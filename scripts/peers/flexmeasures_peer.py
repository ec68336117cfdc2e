"""Lets FlexMeasures (Apache-2.0) schedule a capped fleet: one device a session, through its `device_scheduler`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

import flask  # type: ignore[import-not-found]  # only in the peer's own environment, as the next two
import flexmeasures.data.models.planning.linear_optimization as planning  # type: ignore[import-not-found]
import numpy as np
import pandas as pd

WARM_UP_SESSIONS = 5
PACKAGES = ("flexmeasures", "highspy", "pandas")


def schedule(case: dict[str, np.ndarray], count: int) -> tuple[float, float]:
    """Return CPU seconds and cost in EUR of the first `count` sessions.

    A flow of 1 is a kWh in a slot here: its stock limits are in flow times steps, so that stocks are in kWh.
    """
    index = pd.date_range("2026-05-06T12:00:00+00:00", periods=len(case["price_eur_per_kwh"]), freq="15min")
    devices = [device(case, session, index) for session in range(count)]
    site = pd.DataFrame({"derivative max": case["cap_kwh"], "derivative min": 0.0}, index=index)
    price, nothing = pd.Series(case["price_eur_per_kwh"], index=index), pd.Series(0.0, index=index)
    app = flask.Flask("peer")
    # The backend is FlexMeasures' default; the level is what keeps its solver quiet.
    app.config.update(FLEXMEASURES_LP_SOLVER="highspy", LOGGING_LEVEL="INFO")
    with app.app_context():
        started = time.process_time()
        flows, _, results, _ = planning.device_scheduler(devices, site, [nothing], [price], [price])
        cpu_s = time.process_time() - started
    if results.solver.termination_condition != "optimal":
        raise SystemExit(f"FlexMeasures ended with {results.solver.termination_condition}")
    return cpu_s, float(sum(case["price_eur_per_kwh"] @ flow.to_numpy() for flow in flows))


def device(case: dict[str, np.ndarray], session: int, index: pd.DatetimeIndex) -> pd.DataFrame:
    """Return the constraints of one session: its rate inside the window, its energy at departure."""
    arrival, departure = int(case["arrival_slot"][session]), int(case["departure_slot"][session])
    rate, need = np.zeros(len(index)), np.full(len(index), np.nan)
    rate[arrival:departure] = case["rate_kwh_per_slot"][session]
    need[departure - 1] = case["energy_min_kwh"][session]
    limits = {
        "equals": need,
        "max": case["energy_max_kwh"][session],
        "min": 0.0,
        "derivative equals": np.nan,
        "derivative max": rate,
        "derivative min": 0.0,
    }
    return pd.DataFrame(limits, index=index)


def main(instance: Path, answer: Path) -> None:
    """Solve the case in one file and write the answer to the other."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core, so that no thread of a solver helps
    with np.load(instance) as content:
        case = {name: content[name] for name in content.files}
    count = len(case["energy_min_kwh"])
    schedule(case, min(count, WARM_UP_SESSIONS))
    cpu_s, objective_eur = schedule(case, count)
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    answer.write_text(json.dumps({"cpu_s": cpu_s, "objective_eur": objective_eur, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
