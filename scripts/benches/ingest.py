"""How many readings a second go through the real gRPC telemetry door into state and durable aggregated storage, and at what CPU.

Ten streams of 1,000 chargers, each sent by a client process of its own, in columnar batches of 1, 100 and 1,000 readings. Market time
runs with the readings, ten seconds for each round of all chargers, so that a delivery period of 10,000 chargers closes and is written
with a full sync as often per reading as in reality. Beside it in the same run the floor, written here: the same messages, columns to
numpy, group commit of the columns, acknowledgement. What counts is the CPU time of the serving process per reading, all threads; the
rates are those of two cores shared with the clients. Rows stored are metered periods for the gateway, batches for the floor. Nothing in this path goes through an object-relational mapper.
"""

import json
import subprocess
import sys
import tempfile
import time
from typing import Any

from scripts.ingest_programs import STREAMS
from scripts.measuring import Goal, Report, Value, at_most

BATCHES = (1, 100, 1_000)
CLIENTS = 2
"""Client processes of each run; each sends half of the streams."""
SECONDS = 4.0
WARM_UP_S, AFTER_S = 1.0, 1.0
"""Seconds that clients report before and after what is measured."""
MOST_RATIO = 3.0


def run() -> Report:
    """Measure gateway and floor in turn for each size of batch."""
    rows = [_measure(role, batch) for batch in BATCHES for role in ("floor", "gateway")]
    return {"results": rows, "goals": [_goal(rows, batch) for batch in BATCHES]}


def _goal(rows: list[dict[str, Value]], batch: int) -> Goal:
    spent = {row["program"]: float(str(row["cpu_us_per_reading"])) for row in rows if row["batch"] == batch}
    title = f"gateway CPU per reading over the floor, batches of {batch:,}"
    return at_most(title, MOST_RATIO, spent["gateway"] / spent["floor"])


def _measure(role: str, batch: int) -> dict[str, Value]:
    with tempfile.TemporaryDirectory() as folder, _program(role, folder) as server:
        port = str(_line(server)["port"])
        clients = _clients(port, batch)
        time.sleep(WARM_UP_S)
        started, before = time.perf_counter(), _usage(server)
        time.sleep(SECONDS)
        after, wall_s = _usage(server), time.perf_counter() - started
        late = [_line(client) for client in clients]
        for client in clients:
            client.communicate(timeout=30.0)
        stored = json.loads(server.communicate(timeout=30.0)[0])["rows"]
    cpu_s, readings = after[0] - before[0], after[1] - before[1]
    return {
        "program": role,
        "batch": batch,
        "readings_per_s": readings / wall_s,
        "cpu_us_per_reading": 1e6 * cpu_s / readings,
        "cores": cpu_s / wall_s,
        "rows_stored": stored,
        "ack_p50_ms": max(float(answer["p50_ms"]) for answer in late),
        "ack_p99_ms": max(float(answer["p99_ms"]) for answer in late),
    }


def _clients(port: str, batch: int) -> "list[subprocess.Popen[str]]":
    """Start every client process and return them once all report."""
    clients = []
    for first in range(CLIENTS):
        streams = ",".join(str(stream) for stream in range(first, STREAMS, CLIENTS))
        clients.append(_program("client", port, streams, str(batch), str(WARM_UP_S + SECONDS + AFTER_S)))
    for client in clients:
        _line(client)
    return clients


def _usage(server: "subprocess.Popen[str]") -> tuple[float, int]:
    """Return the CPU seconds and the readings of a server so far."""
    if server.stdin is None:
        raise RuntimeError("a program has no input")
    server.stdin.write("\n")
    server.stdin.flush()
    answer = _line(server)
    return float(answer["cpu_s"]), int(answer["readings"])


def _program(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "scripts.ingest_programs", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line(program: "subprocess.Popen[str]") -> dict[str, Any]:
    if program.stdout is None:
        raise RuntimeError("a program has no output")
    text = program.stdout.readline()
    if not text:
        raise RuntimeError(f"a program of the bench ended with {program.wait()}")
    answer: dict[str, Any] = json.loads(text)
    return answer
