"""Events of a 3.x VTN, from listing to desk: values, times, changes, faults and restarts, in virtual time."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.signals import Instruction
from gateway.openadr.v3.names import Dialect
from tests.openadr.v3.bench import START, Bench, virtually
from tests.openadr.v3.memory_vtn import Json, intervals, limit_event

NOW = "0001-01-01T00:00:00Z"
MINUTE = timedelta(minutes=1)
BOTH = pytest.mark.parametrize("dialect", list(Dialect), ids=lambda dialect: dialect.value)


def descriptor(payload_type: str, units: str | None = None, currency: str | None = None) -> list[Json]:
    said = {"units": units, "currency": currency}
    return [{"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": payload_type, **said}]


def prices(values: list[Any], **times: Any) -> Json:
    return {
        "payloadDescriptors": descriptor("PRICE", "KWH", "EUR"),
        "intervals": intervals("PRICE", *values),
        **times,
    }


def sees(event: Json, *, seconds: float = 15, **changes: Any) -> Bench:
    """Return the bench after a VEN saw one event."""

    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**event)
        await bench.run(seconds=seconds)

    return virtually(scenario, **changes)


@BOTH
def test_b8_a_limit_in_kilowatts_arrives_with_its_times_and_provenance(dialect: Dialect) -> None:
    bench = sees(limit_event(START, 10.0, 8.0, eventName="evening peak"), dialect=dialect)
    event = bench.events()["e1"]
    assert [(one.start, one.end, one.instruction, one.value) for one in event.intervals] == [
        (START, START + 30 * MINUTE, Instruction.IMPORT_LIMIT_KW, 10.0),
        (START + 30 * MINUTE, START + 60 * MINUTE, Instruction.IMPORT_LIMIT_KW, 8.0),
    ]
    assert (event.active.start, event.active.end) == (START, START + 60 * MINUTE)
    assert (event.nodes, event.market_context, event.comment) == (("vpp-be",), "p1", "evening peak")
    assert event.protocol == f"openadr-{dialect.value}"
    [received] = bench.desk.received
    assert received.complete
    assert event.raw_signal == received.raw.id
    assert b"IMPORT_CAPACITY_LIMIT" in received.raw.body
