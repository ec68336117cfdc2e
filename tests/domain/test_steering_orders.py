"""Proof of execution: the audit alone is enough to make the orders again, and the export says what was set where and when."""

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import AuditEntry
from gateway.domain.limits import Direction
from gateway.domain.steering import SteeringState
from gateway.domain.steering_orders import (
    CSV_COLUMNS,
    ORDER_ENDED,
    ORDER_OPENED,
    ChargerStep,
    ExecutionProof,
    OrderKind,
    PowerSample,
    SteeringOrder,
    detail_of,
    orders_of_audit,
    proof_csv,
    reached,
)

T = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


def order(name: str = "o-1", **changes: object) -> SteeringOrder:
    plain = SteeringOrder(
        id=f"box-7/{name}",
        tenant="t",
        box="box-7",
        node="site-1",
        direction=Direction.IMPORT,
        kind=OrderKind.LIMIT,
        request_id=name,
        content="abc",
        received_at=T,
        ordered_kw=2.0,
        duration=timedelta(minutes=15),
        applied_kw=4.2,
        state=SteeringState.LIMITED,
        rule="LPC-910",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def entry(one: SteeringOrder, action: str, detail: dict[str, str]) -> AuditEntry:
    return AuditEntry(
        id=f"audit-{one.id}-{action}",
        tenant="t",
        at=T,
        actor="box-7",
        action=action,
        object_kind="steering-order",
        object_id=one.id,
        detail=detail,
        request_id=one.request_id,
    )


def test_orders_can_be_made_again_from_the_audit() -> None:
    first = order().ended(T + timedelta(minutes=3), "replaced by the next order")
    second = order("o-2", received_at=T + timedelta(minutes=3), ordered_kw=None, applied_kw=None, duration=None)
    end = {"ended_at": (T + timedelta(minutes=3)).isoformat(), "reason": "replaced by the next order"}
    entries = [
        entry(first, ORDER_OPENED, detail_of(first)),
        entry(first, "limit.set", {}),
        entry(second, ORDER_OPENED, detail_of(second)),
        entry(first, ORDER_ENDED, end),
    ]
    assert orders_of_audit(entries) == [first, second]


def test_an_audit_entry_that_lacks_a_word_is_named() -> None:
    words = detail_of(order())
    del words["rule"]
    with pytest.raises(InvalidInput) as caught:
        orders_of_audit([entry(order(), ORDER_OPENED, words)])
    assert caught.value.field == "audit.detail.rule"


def test_the_export_has_a_line_per_set_point_and_no_formulas() -> None:
    proof = ExecutionProof(
        id="box-7/o-1",
        tenant="t",
        box="box-7",
        received_at=T,
        power_before_kw=21.5,
        steps=(
            ChargerStep(charger="=cmd|1", set_kw=4.2, set_at=T, state="followed", state_at=T),
            ChargerStep(charger="c-2", set_kw=0.0, set_at=T),
        ),
        samples=(PowerSample(at=T, power_kw=21.0), PowerSample(at=T + timedelta(seconds=30), power_kw=4.0)),
        reached_at=T + timedelta(seconds=30),
        looked_until=T,
    )
    rows = list(csv.DictReader(io.StringIO(proof_csv([(order(), proof), (order("o-2", applied_kw=None), None)]))))
    assert list(rows[0]) == list(CSV_COLUMNS)
    assert [(row["order_id"], row["charger"], row["set_kw"]) for row in rows] == [
        ("box-7/o-1", "'=cmd|1", "4.2"),
        ("box-7/o-1", "c-2", "0.0"),
        ("box-7/o-2", "", ""),
    ]
    assert (rows[0]["ordered_kw"], rows[0]["applied_kw"], rows[0]["duration_s"]) == ("2.0", "4.2", "900.0")
    assert (rows[0]["power_before_kw"], rows[0]["power_last_kw"]) == ("21.5", "4.0")
    assert rows[0]["reached_at"] == "2026-11-21T10:00:30+00:00"
    assert rows[2]["applied_kw"] == ""


def test_reached_is_the_first_measurement_within_the_limit() -> None:
    samples = [PowerSample(at=T + timedelta(seconds=s), power_kw=kw) for s, kw in ((0, 9.0), (30, 4.4), (60, 4.0))]
    assert reached(samples, order(applied_kw=4.2)) == T + timedelta(seconds=30)
    assert reached(samples, order(applied_kw=1.0)) is None
    assert reached(samples, order(applied_kw=None)) is None
    fed_in = order(applied_kw=4.2, direction=Direction.EXPORT)
    assert reached(samples, fed_in) is None, "what chargers draw says nothing about what is fed in"


def test_a_power_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        order(ordered_kw=-1.0)
    assert caught.value.field == "order.ordered_kw"
