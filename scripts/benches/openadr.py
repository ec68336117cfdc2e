"""OpenADR: reading 100 events against openleadr, 200 VTNs in one process, from a published event to the CSMS's stream, and storms.

Reading is guard with schema, codec and translation against schema and parse of openleadr, on the same bytes (written by openleadr), in
CPU time of one thread, alternating; openleadr's result is not yet mapped to anything. The way of an event is wall time over real
programs: a sandbox VTN, the gateway with its rows on disk, a charging platform. Each round waits a random share of a poll period.
A storm is one message of 1,000 events, or of 3,000, from the scripted VTN: until it is answered, and how late the gateway's event
loop was at worst meanwhile, as the gateway itself says.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
from openleadr import objects
from openleadr.messaging import create_message, parse_message, validate_xml_schema

from gateway.domain.signals import GridEvent
from gateway.openadr.v20b.codec import decode
from gateway.openadr.v20b.guard import GuardPolicy, check
from gateway.openadr.v20b.translate import Programme, Receipt, translate
from gateway.openadr.v20b.wire_events import DistributeEvent
from scripts.measuring import Goal, Report, Value, at_least, at_most
from scripts.openadr_many import measure_many
from scripts.openadr_messages import CONTEXT, NOW, VEN_ID, VTN_ID
from scripts.openadr_stage import measure
from scripts.openadr_storm import Answered, measure_storms

EVENT_COUNT = 100
MOST_EVENTS, TOO_MANY_EVENTS = 1_000, 3_000
"""In one message: what must be answered event by event, and what is refused as a whole."""
ANSWERED_S, STALL_S = 2.0, 0.1
POLICY = GuardPolicy()
PROGRAMME = Programme(
    authority="vtn:bench",
    tenant="bench",
    ven_id=VEN_ID,
    market_contexts=frozenset({CONTEXT}),
    own_nodes=("portfolio",),
    nodes={},
    device_classes=frozenset({"EVSE"}),
)
RECEIPT = Receipt(raw_signal="signal-1", received_at=NOW)
Rows = list[dict[str, Value]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be left out or shortened."""
    parser.add_argument("--only", choices=("parse", "vtns", "latency", "storm"), help="one part instead of all")
    parser.add_argument("--rounds", type=int, default=60, help="events for each transport (default 60)")
    parser.add_argument("--vtns", type=int, default=200, help="VTNs in one process (default 200)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long their polls are counted (default 20)")
    parser.add_argument("--storms", type=int, default=8, help="messages of 1,000 events, and of 3,000 (default 8)")
    parser.add_argument("--repeats", type=int, default=15, help="readings of the message by each side (default 15)")


def run(options: argparse.Namespace) -> Report:
    """Measure what is asked for."""
    rows: Rows = []
    goals: list[Goal] = []
    if options.only in {None, "parse"}:
        for interval_count in (1, 4):
            row, ratio = measure_parse(interval_count, options.repeats)
            rows.append(row)
            goals.append(at_least(f"openleadr's CPU time over ours, {interval_count} intervals an event", 15.0, ratio))
    if options.only in {None, "vtns"}:
        rows += measure_vtns(options.vtns, options.seconds)
    if options.only in {None, "latency"}:
        found = measure_latency(options.rounds)
        rows += found
        goals += [at_most(f"{row['what']}, p99 s", 2.0, float(str(row["p99_s"]))) for row in found]
    if options.only in {None, "storm"}:
        found = measure_storm(options.storms)
        rows += found
        goals += storm_goals(found)
    return {"results": rows, "goals": goals}


# ---------------------------------------------------------------- reading


def events_message(interval_count: int) -> bytes:
    """Return 100 events with a power limit each, written by openleadr."""
    events = [_event(number, interval_count) for number in range(EVENT_COUNT)]
    response = {"response_code": 200, "response_description": "OK", "request_id": ""}
    message: str = create_message(
        "oadrDistributeEvent", vtn_id=VTN_ID, request_id="RQ-1", response=response, events=events
    )
    return message.encode()


def _event(number: int, interval_count: int) -> objects.Event:
    start, span = NOW + timedelta(hours=1, minutes=number), timedelta(hours=1)
    power = objects.PowerAttributes(hertz=50, voltage=230, ac=True)
    unit = objects.Measurement(name="powerReal", description="RealPower", unit="W", scale="k", power_attributes=power)
    part = span / interval_count
    intervals = [
        objects.Interval(dtstart=start + part * index, duration=part, uid=index, signal_payload=40.0 + index)
        for index in range(interval_count)
    ]
    signal = objects.EventSignal(
        intervals=intervals, signal_name="LOAD_DISPATCH", signal_type="setpoint", signal_id="s-1", measurement=unit
    )
    descriptor = objects.EventDescriptor(
        event_id=f"event-{number}",
        modification_number=0,
        market_context=CONTEXT,
        event_status="far",
        priority=1,
        created_date_time=NOW,
        modification_date_time=NOW,
    )
    return objects.Event(
        event_descriptor=descriptor,
        active_period=objects.ActivePeriod(dtstart=start, duration=span),
        event_signals=[signal],
        targets=[objects.Target(ven_id=VEN_ID)],
    )


def read_ours(body: bytes) -> list[GridEvent]:
    """Return the events of a message as the gateway understands them."""
    message = decode(check(body, POLICY, NOW).signed_object)
    if not isinstance(message, DistributeEvent):
        raise TypeError("the message holds no events")
    return [translate(event, PROGRAMME, RECEIPT, None, lambda low, _high: low) for event in message.events]


def read_theirs(body: bytes) -> object:
    """Return what openleadr makes of a message."""
    validate_xml_schema(body)
    return parse_message(body)


def measure_parse(interval_count: int, repeats: int) -> tuple[dict[str, Value], float]:
    """Return CPU times of both sides, in turn, on the same bytes, and the ratio of the shortest."""
    body = events_message(interval_count)
    if len(read_ours(body)) != EVENT_COUNT:
        raise ValueError("not all events were read")
    read_theirs(body)
    ours, theirs = [], []
    for _ in range(repeats):
        ours += [_cpu_ms(lambda: read_ours(body)) for _ in range(3)]
        theirs.append(_cpu_ms(lambda: read_theirs(body)))
    ratio = min(theirs) / min(ours)
    row: dict[str, Value] = {
        "what": f"read {EVENT_COUNT} events of {interval_count} intervals",
        "message_bytes": len(body),
        "ours_min_ms": min(ours),
        "ours_median_ms": statistics.median(ours),
        "openleadr_min_ms": min(theirs),
        "openleadr_median_ms": statistics.median(theirs),
        "ratio_of_minima": ratio,
        "ratio_of_medians": statistics.median(theirs) / statistics.median(ours),
    }
    return row, ratio


def _cpu_ms(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return 1e3 * (time.thread_time() - started)


# ---------------------------------------------------------------- many VTNs, and the way of an event


def measure_vtns(vtn_count: int, seconds: float) -> Rows:
    """Return what one VTN and many cost, and the difference for each."""
    costs = []
    for count in (1, vtn_count):
        with tempfile.TemporaryDirectory() as folder:
            costs.append(asyncio.run(measure_many(Path(folder), count, seconds)))
    one, many = costs
    added_kb = (many.rss_kb - one.rss_kb) / max(many.vtn_count - one.vtn_count, 1)
    return [
        {"what": "VTNs polled every second", **asdict(one)},
        {"what": "VTNs polled every second", **asdict(many), "added_kb_per_vtn": added_kb},
    ]


def measure_latency(rounds: int) -> Rows:
    """Return quantiles of the time from a published event to the platform's stream, for each transport."""
    draw = random.Random(7)  # noqa: S311  # replayable
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), rounds, draw.random))
    return [
        {
            "what": f"published to stream, {name}",
            "round_count": len(seconds),
            "p50_s": float(np.quantile(seconds, 0.5)),
            "p99_s": float(np.quantile(seconds, 0.99)),
            "worst_s": max(seconds),
        }
        for name, seconds in found.items()
    ]


def measure_storm(rounds: int) -> Rows:
    """Return how long messages of very many events take to be answered, and how late the event loop was."""
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure_storms(Path(folder), (MOST_EVENTS, TOO_MANY_EVENTS), rounds))
    return [_storm_row(count, answers) for count, answers in found.items()]


def _storm_row(count: int, answers: list[Answered]) -> dict[str, Value]:
    wrong = sum(not _is_right(count, one) for one in answers)
    if wrong:
        raise ValueError(f"{wrong} messages of {count} events were not answered as they must be")
    return {
        "what": f"one message of {count} events",
        "round_count": len(answers),
        "answered_median_s": statistics.median(one.seconds for one in answers),
        "answered_worst_s": max(one.seconds for one in answers),
        "loop_late_median_s": statistics.median(one.lag_s for one in answers),
        "loop_late_worst_s": max(one.lag_s for one in answers),
    }


def _is_right(count: int, one: Answered) -> bool:
    """Tell whether every event was answered, or a message of too many refused as a whole."""
    if count > MOST_EVENTS:
        return one.code != "200" and not one.opts
    return one.code == "200" and list(one.opts.values()) == [("200", "optIn")] * count


def storm_goals(rows: Rows) -> list[Goal]:
    """Return what must hold of storms."""
    goals = []
    for row in rows:
        goals.append(at_most(f"{row['what']}, answered, worst s", ANSWERED_S, float(str(row["answered_worst_s"]))))
        goals.append(at_most(f"{row['what']}, loop late, worst s", STALL_S, float(str(row["loop_late_worst_s"]))))
    return goals
