"""The README tells the truth: every command in it is run by CI or by a test, and every path it names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

RUN_BY = {
    "scripts/run": "tests/e2e/test_market_day.py",
    "scripts/run --autopilot --until settled --json": "tests/e2e/test_market_day.py",
    "scripts/run --market us --autopilot --until settled --json": "tests/e2e/test_us_day.py",
    "scripts/run --no-sandbox --config config/gateway.toml": "tests/e2e/test_bare_gateway.py",
    "scripts/test": ".ci/run",
    "scripts/bench thread": "tests/e2e/test_measuring_commands.py",
    "scripts/bench openadr --only parse": "tests/e2e/test_measuring_commands.py",
    "scripts/soak limits --minutes 0.1": "tests/e2e/test_measuring_commands.py",
    "scripts/soak openadr --cases 2000": "tests/e2e/test_measuring_commands.py",
    "python -m scripts.examples.bid_from_csv SESSIONS.csv PRICES.csv sdac CHART.svg": "tests/bidding/test_bid_from_csv.py",
    "voltbridge import config/data/demo_be_tree.toml --config config/gateway.toml --dry-run": "tests/app/test_offline.py",
    "python -m scripts.openadr_peer": "tests/e2e/test_openadr_peer.py",
    "python -m scripts.oscp_peer": "tests/e2e/test_oscp_peer.py",
    "voltbridge openadr selftest": "tests/e2e/test_openadr_selftest.py",
    "voltbridge import config/inventory.toml --config config/vtn_20b.toml --dry-run": "tests/app/test_offline.py",
    "voltbridge csms serve --config config/reference_csms.toml": "tests/ocpp/test_commands.py",
    "voltbridge csms passport site-1-001 --config config/reference_csms.toml": "tests/ocpp/test_commands.py",
    "voltbridge audit verify --config config/gateway.toml": "tests/app/test_offline.py",
    "voltbridge market doctor --config config/gateway.toml": "tests/app/test_offline_market.py",
    "voltbridge openadr check --profile gac-2.2 config/profiles/examples/gac-2.2.json": "tests/app/test_profile_check.py",
}
"""Where each command of the README is run."""


def commands() -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(("scripts/", "voltbridge ", "python "))]


def test_every_command_is_run_somewhere() -> None:
    assert set(commands()) == set(RUN_BY)


@pytest.mark.parametrize("place", sorted(set(RUN_BY.values())))
def test_that_place_exists(place: str) -> None:
    assert (ROOT / place).exists()


def test_every_path_it_names_exists() -> None:
    named = re.findall(r"`((?:config|scripts|proto|gateway|tests|bidding|\.ci)[\w/.*-]*)", README)
    assert named
    for path in named:
        assert list(ROOT.glob(path)), path
