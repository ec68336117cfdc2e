"""How long a grid limit takes from its receipt to the last acknowledgement of the chargers, beside a bare fan-out of the same bytes.

A gateway of its own process and database receives a limit at planned instants; what is late counts from when it was due. From receipt
to the last acknowledgement lie the durable limit, the fold over the tree, the clip, the durable commands with their audit, and the
streams of 10 or 50 platforms in another process. The floor is a server that sends the same messages from one commit of SQLite with
full sync, measured in turn with the gateway in the same run: quiet, and beside 100,000 readings per second. At last 2,000 streams
come back at once, twice.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, cast

from scripts.measuring import Report, Value, at_least, at_most

EVENTS = 6
FIRST_EVENTS = 1
"""Left out of the numbers: the first one finds cold caches and writes the rosters."""
PAUSE_S = 1.5
READINGS_PER_SECOND = 100_000.0
QUIET_RATIO, LOADED_RATIO = 4.0, 8.0
STORM_STREAMS = 2_000
"""Of 200 connections with ten streams each."""
STARTS_WITHIN_S = 180.0
BYTES_PER_CHARGER, BYTES_PER_STREAM = 500.0, 100.0 * 1024
Row = dict[str, Value]


class Program:
    """One program of the bench in a process of its own, which reads and writes lines of JSON."""

    def __init__(self, name: str, *arguments: str) -> None:
        """Start it."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"scripts.dispatch_bench.{name}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def hear(self) -> dict[str, Any]:
        """Return the next line it says.

        Raises:
            RuntimeError: It ended instead.
        """
        if self._process.stdout is None or not (line := self._process.stdout.readline()):
            raise RuntimeError("a program of the bench ended early")
        return cast("dict[str, Any]", json.loads(line))

    def ask(self, **order: object) -> dict[str, Any]:
        """Order something and return what it says."""
        if self._process.stdin is None:
            raise RuntimeError("the program cannot be ordered anything")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self.hear()

    def end(self) -> None:
        """Close its input, which ends it, and wait."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended by itself
                self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a run be smaller than the whole bench."""
    parser.add_argument("--sizes", default="10000x10,100000x50", help="chargers x streams, comma separated")
    parser.add_argument("--streams", type=int, default=STORM_STREAMS, help="streams that come back at once; 0 for none")


def run(options: argparse.Namespace) -> Report:
    """Measure every size quiet and beside readings, then the storm."""
    sizes = [tuple(int(part) for part in size.split("x")) for size in options.sizes.split(",")]
    rows = [row for chargers, streams in sizes for row in measure_size(chargers, streams)]
    storms = storm(options.streams) if options.streams else []
    return {"results": [*rows, *storms], "goals": goals_of(rows, storms)}


def goals_of(rows: list[Row], storms: list[Row]) -> list[Any]:
    """Return what must hold of the numbers."""
    goals = []
    for row in (row for row in rows if row["server"] == "gateway"):
        what = f"{row['chargers']:,} chargers, {row['streams']} streams, {row['beside']}"
        ratio = QUIET_RATIO if row["beside"] == "quiet" else LOADED_RATIO
        goals.append(at_most(f"p99 over that of the bare fan-out, {what}", ratio, number(row["times_floor"])))
        goals.append(at_most(f"event loop lag p99, ms, {what}", 10.0, number(row["lag_p99_ms"])))
    for row in (row for row in rows if row["server"] == "gateway" and row["beside"] == "quiet"):
        if number(row["chargers"]) >= 100_000:
            goals.append(at_most("100,000 chargers acknowledged, quiet, ms", 100.0, number(row["all_ms"])))
            goals.append(at_most("memory per charger, bytes", BYTES_PER_CHARGER, number(row["bytes_per_charger"])))
    for row in storms:
        goals.append(at_most(f"{row['streams']} streams are back, s", 5.0, number(row["seconds"])))
        goals.append(at_least("of them connected", number(row["streams"]), number(row["connected"])))
        goals.append(at_most("memory per stream, bytes", BYTES_PER_STREAM, number(row["bytes_per_stream"])))
    return goals


# ---------------------------------------------------------------- events


def measure_size(chargers: int, streams: int) -> list[Row]:
    """Return the gateway's and the floor's rows of one size, quiet and beside readings."""
    per_platform = chargers // streams
    rows: list[Row] = []
    with ExitStack() as stack:
        gateway = stack.enter_context(running("gateway", str(streams), str(per_platform)))
        ready = gateway.hear()
        floor = stack.enter_context(running("floor"))
        ports = {"gateway": ready["port"], "floor": floor.hear()["port"]}
        for port in ports.values():
            clients = stack.enter_context(running("clients", "dispatch", str(port), str(streams), str(per_platform)))
            clients.hear()
        wait_until_settled(gateway)
        servers = {"floor": floor, "gateway": gateway}
        for beside, rate in (("quiet", 0.0), ("100,000 readings/s", READINGS_PER_SECOND)):
            for name, facts in in_turn(servers, ports, streams, per_platform, rate).items():
                rows.append({"server": name, "chargers": chargers, "streams": streams, "beside": beside, **facts})
            floor_row, gateway_row = rows[-2:]
            gateway_row["times_floor"] = number(gateway_row["p99_ms"]) / number(floor_row["p99_ms"])
            gateway_row["times_floor_cpu"] = number(gateway_row["cpu_ms"]) / number(floor_row["cpu_ms"])
            gateway_row["bytes_per_charger"] = ready["loaded_bytes"] / chargers
    return rows


def in_turn(
    servers: dict[str, Program], ports: dict[str, int], streams: int, per_platform: int, rate: float
) -> dict[str, Row]:
    """Let floor and gateway take events in turn, so that both meet the same machine; return the medians of each."""
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    for _ in range(EVENTS):
        for name, server in servers.items():
            with ExitStack() as stack:
                if rate > 0.0:
                    arguments = (str(ports[name]), str(streams), str(per_platform), "--per-second", str(rate))
                    stack.enter_context(running("clients", "measure", *arguments)).hear()
                    time.sleep(PAUSE_S)
                told[name].append(server.ask(in_s=PAUSE_S))
    return {name: medians(facts[FIRST_EVENTS:]) for name, facts in told.items()}


def medians(facts: list[dict[str, Any]]) -> Row:
    """Return the median of every number over the events, and the worst of all."""
    names = [name for name in facts[0] if name.endswith("_ms")]
    row: Row = {name: statistics.median(each[name] for each in facts) for name in names}
    return {**row, "worst_ms": max(each["all_ms"] for each in facts)}


def wait_until_settled(gateway: Program) -> None:
    """Return once every car may charge at full power and every command was acknowledged.

    Raises:
        RuntimeError: It takes too long.
    """
    end = time.monotonic() + STARTS_WITHIN_S
    while not gateway.ask(memory=True)["settled"]:
        if time.monotonic() > end:
            raise RuntimeError("the gateway does not get every charger to full power")
        time.sleep(1.0)


# ---------------------------------------------------------------- the storm


def storm(streams: int) -> list[Row]:
    """Return a row for the first opening of many streams and one for their coming back at once."""
    rows: list[Row] = []
    with running("gateway", str(streams), "1") as gateway:
        port = gateway.hear()["port"]
        before = gateway.ask(memory=True)["resident_bytes"]
        with running("clients", "storm", str(port), str(streams), "1") as clients:
            for name in ("first", "back"):
                told = clients.hear() if name == "first" else clients.ask(again=True)
                used = gateway.ask(memory=True)["resident_bytes"] - before
                rows.append(
                    {
                        "server": "gateway",
                        "streams": streams,
                        "beside": name,
                        **told,
                        "bytes_per_stream": used / streams,
                    }
                )
    return rows


@contextmanager
def running(name: str, *arguments: str) -> Iterator[Program]:
    """Start a program of the bench and end it."""
    program = Program(name, *arguments)
    try:
        yield program
    finally:
        program.end()


def number(value: Value) -> float:
    """Return a measurement as a number.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, int | float):
        raise TypeError("a measurement must be a number")
    return float(value)
