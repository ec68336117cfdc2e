"""Lets EMHASS (MIT) schedule a capped fleet: one deferrable load a session, through `Optimization.perform_optimization`."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import emhass.optimization as planning  # type: ignore[import-not-found]  # only in the peer's own environment
import numpy as np
import pandas as pd

WH_PER_KWH, SLOTS_PER_HOUR = 1_000.0, 4.0
WARM_UP_SESSIONS = 5
PACKAGES = ("emhass", "cvxpy", "highspy")
PATIENCE_S = 3_600
"""Time for its solver: with the stock 45 s it would fall back to a coarser problem on a slow machine."""


def schedule(case: dict[str, np.ndarray], count: int) -> tuple[float, float]:
    """Return CPU seconds and cost in EUR of the first `count` sessions."""
    price = case["price_eur_per_kwh"]
    slots = len(price)
    settings = configure(case, count)
    planner = planning.Optimization(
        settings, settings, settings, "price", "revenue", "profit", {}, logging.getLogger("peer"), num_timesteps=slots
    )
    index = pd.date_range("2026-05-06T12:00:00+00:00", periods=slots, freq="15min")
    nothing = np.zeros(slots)
    started = time.process_time()
    plan = planner.perform_optimization(pd.DataFrame({"price": price}, index=index), nothing, nothing, price, nothing)
    cpu_s = time.process_time() - started
    if planner.optim_status != "Optimal":
        raise SystemExit(f"EMHASS ended with {planner.optim_status}")
    draw_w = plan[[f"P_deferrable{load}" for load in range(count)]].to_numpy().sum(axis=1)
    return cpu_s, float(price @ draw_w) / (WH_PER_KWH * SLOTS_PER_HOUR)


def configure(case: dict[str, np.ndarray], count: int) -> dict[str, Any]:
    """Return EMHASS's own defaults with the fleet's loads: power anywhere up to the rate, no export, the cap as grid limit."""
    rate_w = case["rate_kwh_per_slot"][:count] * WH_PER_KWH * SLOTS_PER_HOUR
    energy_wh = case["energy_min_kwh"][:count] * WH_PER_KWH
    defaults = importlib.resources.files("emhass").joinpath("data/config_defaults.json").read_text()
    for_each_load = {
        "nominal_power_of_deferrable_loads": rate_w.tolist(),
        "operating_hours_of_each_deferrable_load": (energy_wh / rate_w).tolist(),
        "start_timesteps_of_each_deferrable_load": case["arrival_slot"][:count].tolist(),
        "end_timesteps_of_each_deferrable_load": case["departure_slot"][:count].tolist(),
        "is_electric_load": [True] * count,
        "treat_deferrable_load_as_semi_cont": [False] * count,
        "set_deferrable_load_single_constant": [False] * count,
        "minimum_power_of_deferrable_loads": [0.0] * count,
        "set_deferrable_startup_penalty": [0.0] * count,
        "deferrable_load_max_cost": [0.0] * count,
        "set_deferrable_max_startups": [0] * count,
        "def_minimum_on_time": [0] * count,
        "def_minimum_off_time": [0] * count,
    }
    return {
        **json.loads(defaults),
        **for_each_load,
        "number_of_deferrable_loads": count,
        "cost_forecast_per_deferrable_load": None,
        "maximum_power_from_grid": (case["cap_kwh"] * WH_PER_KWH * SLOTS_PER_HOUR).tolist(),
        "maximum_power_to_grid": 0.0,
        "optimization_time_step": pd.Timedelta(minutes=15),
        "delta_forecast_daily": pd.Timedelta(days=1),
        "time_zone": "UTC",
        "num_threads": 1,
        "lp_solver_timeout": PATIENCE_S,
    }


def main(instance: Path, answer: Path) -> None:
    """Solve the case in one file and write the answer to the other."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core, so that no thread of a solver helps
    warnings.simplefilter("ignore", pd.errors.PerformanceWarning)  # its table of a thousand loads has many columns
    with np.load(instance) as content:
        case = {name: content[name] for name in content.files}
    count = len(case["energy_min_kwh"])
    schedule(case, min(count, WARM_UP_SESSIONS))
    cpu_s, objective_eur = schedule(case, count)
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    answer.write_text(json.dumps({"cpu_s": cpu_s, "objective_eur": objective_eur, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
