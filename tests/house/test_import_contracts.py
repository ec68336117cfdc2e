"""The import rules of pyproject.toml, tried on small trees: a clean one keeps all, one bad line breaks its own rule."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="import-linter comes with scripts/check")

ROOT = Path(__file__).resolve().parents[2]
CLEAN = {
    "gateway/__init__.py": "",
    "gateway/app/__init__.py": "import gateway.storage.store\nimport gateway.openadr.guard\n",
    "gateway/cli/__init__.py": "import gateway.app\nimport gateway.demo\n",
    "gateway/client.py": "import grpc\nimport gateway.v1.types_pb2\n",
    "gateway/clock.py": "import time\n",
    "gateway/demo/__init__.py": "import gateway.client\n",
    "gateway/domain/__init__.py": "",
    "gateway/domain/limits.py": "import datetime\nimport numpy as np\nimport gateway.domain.units\n",
    "gateway/domain/units.py": "",
    "gateway/market_data/__init__.py": "",
    "gateway/ocpp/__init__.py": "import gateway.client\nimport gateway.clock\nimport gateway.v1.types_pb2\n",
    "gateway/openadr/__init__.py": "",
    "gateway/openadr/guard.py": "import openleadr\nimport gateway.services.admit\n",
    "gateway/ports.py": "import gateway.domain.limits\n",
    "gateway/rpc/__init__.py": "import gateway.v1.types_pb2\nimport gateway.services.admit\n",
    "gateway/sandbox/__init__.py": "import openleadr\nimport gateway.v1.types_pb2\nimport gateway.domain.units\n",
    "gateway/selftest/__init__.py": "import gateway.client\nimport gateway.demo\nimport gateway.v1.types_pb2\n",
    "gateway/services/__init__.py": "",
    "gateway/services/admit.py": "import gateway.ports\nimport bidding.greedy\n",
    "gateway/services/plan_bids.py": "",
    "gateway/storage/__init__.py": "",
    "gateway/storage/store.py": "import sqlmodel\nimport sqlalchemy.orm\n",
    "gateway/ticker.py": "import apscheduler.schedulers\n",
    "gateway/v1/__init__.py": "",
    "gateway/v1/types_pb2.py": "import google.protobuf\n",
    "bidding/__init__.py": "",
    "bidding/fleet/__init__.py": "",
    "bidding/greedy.py": "import numpy\nimport cvxpy\nimport gateway.domain.limits\n",
    "bidding/optimum/__init__.py": "import bidding.fleet\n",
}
BREACHES = [
    ("Imports go one way", "gateway/services/admit.py", "import gateway.rpc"),
    ("Imports go one way", "gateway/domain/units.py", "import gateway.ports"),
    ("Imports go one way", "gateway/openadr/guard.py", "import gateway.rpc"),
    ("Imports go one way", "gateway/storage/store.py", "import gateway.app"),
    ("Imports go one way", "gateway/services/admit.py", "import gateway.clock"),
    ("Services never import each other", "gateway/services/admit.py", "import gateway.services.plan_bids"),
    ("domain is the standard library", "gateway/domain/limits.py", "import scipy.sparse"),
    ("bidding is mathematics", "bidding/greedy.py", "import gateway.ports"),
    ("bidding is mathematics", "bidding/greedy.py", "import grpc"),
    ("Inside bidding the data flows", "bidding/fleet/__init__.py", "import bidding.optimum"),
    ("ports speaks the domain's language", "gateway/ports.py", "import bidding.greedy"),
    ("The thin client runs", "gateway/client.py", "import numpy"),
    ("The thin client runs", "gateway/client.py", "import gateway.domain.units"),
    ("The sandbox stands outside", "gateway/sandbox/__init__.py", "import gateway.openadr.guard"),
    ("Nobody imports the sandbox", "gateway/demo/__init__.py", "import gateway.sandbox"),
    ("The demo drives the gateway from outside", "gateway/demo/__init__.py", "import gateway.storage.store"),
    ("The reference CSMS is an ordinary client", "gateway/ocpp/__init__.py", "import gateway.ports"),
    ("The conformance runner judges the gateway from outside", "gateway/selftest/__init__.py", "import gateway.ports"),
    ("Generated code is known", "gateway/services/plan_bids.py", "import gateway.v1.types_pb2"),
    ("Only storage knows SQL", "gateway/rpc/__init__.py", "import sqlalchemy.orm"),
    ("Only storage knows SQL", "gateway/openadr/guard.py", "import sqlite3"),
    ("Only ticker knows APScheduler", "gateway/app/__init__.py", "import apscheduler"),
    ("Only openadr and the sandbox know openleadr", "gateway/services/admit.py", "from openleadr import objects"),
    ("Only openadr and the sandbox know MQTT", "gateway/services/admit.py", "import aiomqtt"),
    ("Only bidding knows the solvers", "gateway/services/plan_bids.py", "import cvxpy"),
]


def run_linter(folder: Path, files: dict[str, str]) -> tuple[int, str]:
    """Write a tree with the project's own rules, lint it, and return exit code and output."""
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)
    (folder / "scripts").mkdir(exist_ok=True)
    shutil.copy(ROOT / "scripts" / "import_contracts.py", folder / "scripts")
    shutil.copy(ROOT / "pyproject.toml", folder)
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_clean_tree_keeps_every_rule(tmp_path: Path) -> None:
    code, output = run_linter(tmp_path, CLEAN)
    assert code == 0, output
    assert "0 broken" in output


def test_rules_hold_while_rooms_do_not_exist_yet(tmp_path: Path) -> None:
    files = dict.fromkeys(("gateway/__init__.py", "gateway/domain/__init__.py", "bidding/__init__.py"), "")
    code, output = run_linter(tmp_path, files)
    assert code == 0, output


@pytest.mark.parametrize(("rule", "path", "line"), BREACHES)
def test_one_bad_import_breaks_its_rule(tmp_path: Path, rule: str, path: str, line: str) -> None:
    code, output = run_linter(tmp_path, CLEAN | {path: CLEAN[path] + line + "\n"})
    assert code == 1
    assert re.search(rf"{re.escape(rule)}(?:(?!KEPT|BROKEN).)* BROKEN", output) is not None, output


def test_every_rule_is_tried() -> None:
    contracts = (ROOT / "pyproject.toml").read_text().split("[[tool.importlinter.contracts]]")[1:]
    names = [re.findall(r'^name = "(.*)"$', contract, re.MULTILINE)[0] for contract in contracts]
    assert [name for name in names if not any(name.startswith(rule) for rule, _, _ in BREACHES)] == []
