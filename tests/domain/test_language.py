"""Topology, sessions, signals, dispatches, settlement and errors refuse what cannot be."""

import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gateway.domain import errors
from gateway.domain.dispatch import DispatchBatch
from gateway.domain.errors import InvalidInput, VoltbridgeError
from gateway.domain.fleet import RegisterReading, TelemetryBatch
from gateway.domain.sessions import Session, SessionState
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.signals import EventInterval, EventStatus, Instruction
from gateway.domain.topology import Charger, Node, NodeKind, SiteTree
from tests.services.scene import event

T0 = datetime(2025, 10, 15, tzinfo=UTC)


def node(node_id: str, parent: str | None, kind: NodeKind = NodeKind.CIRCUIT) -> Node:
    return Node(
        id=node_id, tenant="t", parent=parent, kind=kind, name=node_id, max_import_kw=10.0, fail_safe_import_kw=5.0
    )


def charger(charger_id: str, parent: str) -> Charger:
    return Charger(
        id=charger_id,
        tenant="t",
        csms="c",
        parent=parent,
        max_import_kw=11.0,
        min_import_kw=4.14,
        phases=3,
        fallback_kw=0.0,
    )


ROOT = node("root", None, NodeKind.PORTFOLIO)


def test_the_tree_adds_up_and_knows_what_hangs_below() -> None:
    tree = SiteTree.build(
        [node("b", "a"), node("a", "root"), ROOT], [charger("x", "b"), charger("y", "a"), charger("z", "root")]
    )
    assert tree.node_ids == ("root", "a", "b")
    assert dict(zip(tree.charger_ids, tree.below("a").tolist(), strict=True)) == {"x": True, "y": True, "z": False}
    values = np.array([{"x": 1.0, "y": 2.0, "z": 4.0}[c] for c in tree.charger_ids])
    assert tree.sum_up(values).tolist() == [7.0, 3.0, 1.0]
    with pytest.raises(InvalidInput, match="not in the tree"):
        tree.node_index("nowhere")


@pytest.mark.parametrize(
    ("nodes", "chargers", "problem"),
    [
        ([ROOT, ROOT], [], "appears twice"),
        ([node("a", "gone")], [], "is not a node"),
        ([node("a", "b"), node("b", "a")], [], "cycle"),
        ([ROOT], [charger("x", "gone")], "is not a node"),
        ([ROOT], [charger("x", "root"), charger("x", "root")], "appears twice"),
    ],
)
def test_trees_that_are_none_are_refused(nodes: list[Node], chargers: list[Charger], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        SiteTree.build(nodes, chargers)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"max_import_kw": float("nan")}, "max_import_kw"),
        ({"max_export_kw": -1.0}, "max_export_kw"),
        ({"fail_safe_import_kw": 11.0}, "fail_safe_import_kw"),
        ({"parent": "x"}, "parent"),
        ({"phases": 2}, "phases"),
    ],
)
def test_impossible_nodes_are_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput, match=rf"node\.{field}"):
        replace(ROOT, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"min_import_kw": 12.0}, "min_import_kw"),
        ({"fallback_kw": 12.0}, "fallback_kw"),
        ({"max_import_kw": float("inf")}, "max_import_kw"),
        ({"phases": 0}, "phases"),
    ],
)
def test_impossible_chargers_are_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput, match=rf"charger\.{field}"):
        replace(charger("x", "root"), **changes)  # type: ignore[arg-type]


SESSION = Session(
    id="s", tenant="t", charger="x", arrival=T0, state=SessionState.PLUGGED_IN, max_power_kw=11.0, phases=3,
    energy_needed_kwh=None, expected_departure=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"max_power_kw": 0.0}, "max_power_kw"),
        ({"energy_needed_kwh": -1.0}, "energy_needed_kwh"),
        ({"delivered_kwh": float("nan")}, "delivered_kwh"),
        ({"phases": 2}, "phases"),
        ({"departure": T0 - timedelta(seconds=1)}, "departure"),
        ({"arrival": datetime(2025, 1, 1)}, "arrival"),  # noqa: DTZ001
    ],
)
def test_impossible_sessions_are_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput, match=rf"session\.{field}"):
        replace(SESSION, **changes)  # type: ignore[arg-type]


def test_zero_energy_is_not_unknown_energy() -> None:
    assert replace(SESSION, energy_needed_kwh=0.0).energy_needed_kwh == 0.0
    assert SESSION.energy_needed_kwh is None


def test_the_status_of_an_event_follows_our_clock() -> None:
    one = event(start=T0, minutes=60)
    minutes = {
        -6: EventStatus.FAR,
        -5: EventStatus.NEAR,
        0: EventStatus.ACTIVE,
        59: EventStatus.ACTIVE,
        60: EventStatus.COMPLETED,
    }
    assert {m: one.status(T0 + timedelta(minutes=m)) for m in minutes} == minutes
    cancelled = replace(one, cancelled=True, cancelled_at=T0 + timedelta(minutes=10))
    assert cancelled.status(T0 + timedelta(minutes=9)) is EventStatus.ACTIVE
    assert cancelled.status(T0 + timedelta(minutes=10)) is EventStatus.CANCELLED


@pytest.mark.parametrize(
    ("instruction", "value"),
    [
        (Instruction.SIMPLE_LEVEL, 4.0),
        (Instruction.SIMPLE_LEVEL, 0.5),
        (Instruction.IMPORT_LIMIT_FRACTION, 1.1),
        (Instruction.IMPORT_LIMIT_KW, -1.0),
        (Instruction.REDUCTION_KW, -0.1),
        (Instruction.PRICE, float("inf")),
    ],
)
def test_values_outside_an_instruction_are_refused(instruction: Instruction, value: float) -> None:
    with pytest.raises(InvalidInput, match=r"event\.interval\.value"):
        EventInterval(start=T0, end=None, instruction=instruction, value=value, signal_id="s")


@pytest.mark.parametrize("changes", [{"event_id": ""}, {"modification": -1}, {"priority": -1}])
def test_impossible_events_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=rf"event\.{next(iter(changes))}"):
        replace(event(), **changes)  # type: ignore[arg-type]


BATCH = DispatchBatch(
    id="d", tenant="t", csms="c", sequence=1, issued_at=T0, lease_until=T0 + timedelta(minutes=2),
    charger_ids=("a", "b"), limit_kw=(1.0, 0.0), fallback_kw=(1.0, 1.0), cause="limit:1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"limit_kw": (1.0,)}, "limit_kw"),
        ({"limit_kw": (1.0, -1.0)}, "limit_kw"),
        ({"fallback_kw": (1.0, float("nan"))}, "fallback_kw"),
        ({"lease_until": T0}, "lease_until"),
    ],
)
def test_impossible_commands_are_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput, match=rf"dispatch\.{field}"):
        replace(BATCH, **changes)  # type: ignore[arg-type]


def telemetry(**changes: object) -> TelemetryBatch:
    values: dict[str, object] = {
        "charger_ids": ("a", "b"),
        "connection_point_ids": ("p",),
        "measure_time": T0,
        "charger_index": np.array([0, 1], dtype=np.int32),
        "power_kw": np.zeros(2),
        "energy_register_kwh": np.zeros(2),
        "meter_register_kwh": np.zeros(0),
    }
    return TelemetryBatch(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"charger_index": np.array([0, 2], dtype=np.int32)}, "charger_index"),
        ({"power_kw": np.zeros(1)}, "power_kw"),
        ({"power_kw": np.array([0.0, np.nan])}, "power_kw"),
        ({"energy_register_kwh": np.array([0.0, np.inf])}, "energy_register_kwh"),
        ({"meter_register_kwh": np.zeros(2)}, "meter_register_kwh"),
    ],
)
def test_impossible_measurements_are_refused(changes: dict[str, object], field: str) -> None:
    assert telemetry().power_kw.size == 2
    with pytest.raises(InvalidInput, match=field):
        telemetry(**changes)


def test_a_register_reading_needs_a_value_for_each_charger() -> None:
    with pytest.raises(InvalidInput, match="charger_kwh"):
        RegisterReading(id="p", tenant="t", at=T0, meter_kwh=None, charger_ids=("a",), charger_kwh=())


def test_coverage_is_a_share() -> None:
    with pytest.raises(InvalidInput, match="coverage"):
        MeteredPeriod(
            id="m", tenant="t", connection_point="p", start=T0, end=T0 + timedelta(minutes=15), energy_kwh=1.0,
            chargers_kwh=1.0, coverage=1.01,
        )  # fmt: skip


def _all_errors() -> list[type[VoltbridgeError]]:
    return [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, VoltbridgeError)]


def test_every_error_has_a_reason_of_its_own() -> None:
    found = _all_errors()
    assert len({error.reason for error in found}) == len(found)
    assert all(error.retryable for error in found if issubclass(error, errors.Unavailable))


def test_an_error_survives_the_pipe_of_a_worker() -> None:
    copy = pickle.loads(pickle.dumps(InvalidInput("a.b", "is wrong")))  # noqa: S301
    assert (copy.field, copy.problem, str(copy)) == ("a.b", "is wrong", "a.b: is wrong")
