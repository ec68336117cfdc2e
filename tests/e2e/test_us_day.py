"""The Californian day as its users start it: recorded sessions, tariff and marginal carbon of one place and time, nothing bid."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("demo") / "run"
    options = ["--market", "us", "--autopilot", "--until", "settled", "--json", "--speed", "1800"]
    ended = subprocess.run(
        [str(ROOT / "scripts" / "run"), "--folder", str(folder), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=dict(os.environ, VOLTBRIDGE_PYTHON=sys.executable),
        cwd=ROOT,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout), ended.stderr


Settled = tuple[dict[str, Any], str]


def test_the_day_is_planned_on_the_tariff_and_nothing_is_bid(settled: Settled) -> None:
    summary, said = settled
    assert summary["bid"] is None
    [plan] = summary["plan"]
    assert "planned for the tariff" in plan
    assert "Schedules for 2019-05-23 are ready at caltech, jpl; nothing is bid on a tariff" in said
    assert "not answer" not in said


def test_every_period_is_metered_and_drivers_get_their_energy(settled: Settled) -> None:
    summary, _ = settled
    energy = summary["energy"]
    assert energy["metered_periods"] == energy["periods"] == 192
    charged, wanted = Decimal(energy["charged_kwh"]), Decimal(energy["uncontrolled_kwh_modelled"])
    assert charged > 1000
    assert abs(charged - wanted) < Decimal("0.03") * wanted
    drivers = summary["drivers"]
    in_time = drivers["missed_departures"] - drivers["of_these_left_early"]
    assert in_time < 0.05 * drivers["ended_sessions"], drivers


def test_the_cost_is_that_of_the_tariff(settled: Settled) -> None:
    """Sessions of a workplace day leave a winter tariff about one per cent to save: more cost than that would be our doing."""
    summary, _ = settled
    cost, energy = summary["cost"], summary["energy"]
    assert (cost["currency"], summary["tariff"]["source"]) == ("USD", "tariff: SCE TOU-EV-4")
    paid, charged = Decimal(cost["energy_cost"]), Decimal(energy["charged_kwh"])
    assert Decimal("0.06087") < paid / charged < Decimal("0.0869")
    assert paid < Decimal("1.01") * Decimal(cost["uncontrolled_cost_of_charged_energy_modelled"])


def test_carbon_is_what_was_recorded(settled: Settled) -> None:
    summary, _ = settled
    assert summary["carbon"] == {
        "source": "sgip-file",
        "kind": "CARBON_KIND_MARGINAL",
        "quality": "QUALITY_FINAL",
    }
    assert 0 < summary["co2"]["marginal_kg_modelled"] < 1.05 * summary["co2"]["uncontrolled_marginal_kg_modelled"]


def test_who_does_not_follow_is_named_and_the_audit_is_intact(settled: Settled) -> None:
    summary, _ = settled
    disobedient = {*summary["fleet"]["not_following"], *summary["fleet"]["rejecting"]}
    trouble = summary["chargers_not_following"]
    assert trouble["count"] > 0
    assert all(row["charger"] in disobedient and row["likely_cause"] for row in trouble["first"])
    assert summary["audit"]["is_intact"]
