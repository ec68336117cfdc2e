"""The whole product as its users start it: one command, every program a process of its own, real recorded prices."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e


@dataclass
class Run:
    """A run of `scripts/run` and what it has said so far."""

    process: subprocess.Popen[str]
    folder: Path
    lines: list[str] = field(default_factory=list)

    def await_line(self, pattern: str, seconds: float) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in list(self.lines):
                found = re.search(pattern, line)
                if found:
                    return found
            assert self.process.poll() is None, "\n".join(self.lines[-20:])
            time.sleep(0.1)
        pytest.fail(f"{pattern!r} was not said in {seconds:.0f} s:\n" + "\n".join(self.lines[-20:]))


def start(folder: Path, *arguments: str) -> Run:
    environment = dict(os.environ, VOLTBRIDGE_PYTHON=sys.executable)
    process = subprocess.Popen(
        [str(ROOT / "scripts" / "run"), "--folder", str(folder), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    run = Run(process=process, folder=folder)
    assert process.stderr is not None
    threading.Thread(target=_collect, args=(process.stderr, run.lines), daemon=True).start()
    return run


def _collect(stream: IO[str], lines: list[str]) -> None:
    with stream:
        for line in stream:
            said = line.rstrip("\n")
            lines += [said]


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, dict[str, Any]]]:
    """One run to settlement; the gateway is killed in the middle of delivery and goes on."""
    run = start(tmp_path_factory.mktemp("demo") / "run", "--autopilot", "--until", "settled", "--json")
    try:
        gateway = int(run.await_line(r"gateway process (\d+)", 180).group(1))
        run.await_line(r"The delivery day begins", 400)
        os.kill(gateway, signal.SIGKILL)
        run.await_line(r"The gateway ended with -9; starting it again", 30)
        assert run.process.stdout is not None
        with run.process.stdout as stdout:
            output = stdout.read()
        assert run.process.wait(timeout=600) == 0, "\n".join(run.lines[-20:])
        yield run, json.loads(output)
    finally:
        run.process.terminate()
        run.process.wait(timeout=30)


Settled = tuple[Run, dict[str, Any]]


def test_the_bid_of_the_next_day_is_ready_by_itself(settled: Settled) -> None:
    run, _ = settled
    run.await_line(r"Bid \S+ for 2025-10-15 is ready: 96 delivery periods", 1)


def test_the_order_is_proposed_by_one_and_approved_by_another(settled: Settled) -> None:
    run, summary = settled
    bid = summary["bid"]
    assert (bid["state"], bid["period_count"]) == ("BID_STATE_AWARDED", 96)
    assert (bid["proposed_by"], bid["approved_by"]) == ("trader", "approver")
    assert any("The trader cannot approve" in line for line in run.lines)


def test_the_award_becomes_a_nomination_per_connection_point(settled: Settled) -> None:
    _, summary = settled
    assert summary["award"]["bid"] == summary["bid"]["id"]
    assert Decimal(summary["award"]["energy_mwh"]) > 10
    assert summary["nominations"] == {"NOMINATION_STATE_ACKNOWLEDGED": 12}


def test_the_day_is_settled_and_the_sums_are_right(settled: Settled) -> None:
    _, summary = settled
    money = summary["settlement"]
    assert money["connection_points"] == 12
    assert Decimal(money["position_mwh"]) == Decimal(summary["award"]["energy_mwh"])
    assert Decimal(money["day_ahead_cash"]) == Decimal(summary["award"]["day_ahead_cash"])
    total = Decimal(money["day_ahead_cash"]) + Decimal(money["imbalance_cash"])
    assert abs(total - Decimal(money["total_cash"])) <= Decimal("0.01")
    assert sum(money["deviation_causes"].values()) == 12 * 96


def test_the_event_is_followed_once(settled: Settled) -> None:
    _, summary = settled
    (event,) = summary["events"]
    assert event["opt"] == "OPT_IN", event
    assert event["status"] == "EVENT_STATUS_COMPLETED"
    assert event["compliance_ratio"] >= 0.8, event
    assert event["mean_kw"] <= event["requested_kw"] * 1.05, event


def test_who_does_not_follow_is_named(settled: Settled) -> None:
    _, summary = settled
    trouble = summary["chargers_not_following"]
    assert trouble["count"] > 0
    disobedient = {*summary["fleet"]["not_following"], *summary["fleet"]["rejecting"]}
    assert all(row["charger"] in disobedient for row in trouble["first"])
    assert all(row["likely_cause"] for row in trouble["first"])


def test_a_euro_is_traced_to_what_earned_it(settled: Settled) -> None:
    _, summary = settled
    kinds = {step["kind"] for step in summary["trace"]}
    assert {"settlement", "award", "order", "bid", "plan", "series", "metered"} <= kinds


def test_nothing_is_lost_by_the_kill(settled: Settled) -> None:
    run, summary = settled
    assert summary["audit"]["is_intact"]
    assert summary["fleet"]["is_connected"]
    verified = subprocess.run(
        [sys.executable, "-m", "gateway", "audit", "verify", "--config", str(run.folder / "gateway.toml")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.startswith("intact: ")
    entries = audit_entries(run)
    assert sum(1 for entry in entries if entry["action"] == "order.send") <= 1
    assert [entry["object_id"] for entry in entries if entry["action"] == "bid.approve"] == [summary["bid"]["id"]]


def audit_entries(run: Run) -> list[dict[str, Any]]:
    out = run.folder / "audit.jsonl"
    subprocess.run(
        [sys.executable, "-m", "gateway", "audit", "export", str(out), "--config", str(run.folder / "gateway.toml")],
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    return [json.loads(line)["entry"] for line in out.read_text().splitlines()]


def test_the_interactive_demo_prints_what_people_need_and_stops_on_request(tmp_path: Path) -> None:
    environment = dict(os.environ, VOLTBRIDGE_PYTHON=sys.executable)
    process = subprocess.Popen(
        [str(ROOT / "scripts" / "run"), "--folder", str(tmp_path / "run")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    run = Run(process=process, folder=tmp_path)
    assert process.stdout is not None
    reader = threading.Thread(target=_collect, args=(process.stdout, run.lines), daemon=True)
    reader.start()
    try:
        page = run.await_line(r"Page\s+(http://127\.0\.0\.1:\d+)", 120).group(1)
        for actor in ("trader", "approver", "operator"):
            run.await_line(rf"Login\s+{actor} / \S+", 10)
        run.await_line(r"Client\s+.*csms_client", 10)
        with urllib.request.urlopen(f"{page}/login", timeout=20) as answer:  # noqa: S310  # loopback
            assert "Log in" in answer.read().decode()
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
        reader.join(timeout=30)
    assert code in {0, 130}, "\n".join(run.lines[-10:])
