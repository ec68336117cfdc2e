"""Whatever events a VTN has: the VEN goes on, the good event beside them stays in force, and a restart says the same."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.payloads import MEANINGS
from tests.openadr.v3.bench import Bench, virtually
from tests.openadr.v3.memory_vtn import Json, limit_event
from tests.openadr.virtual_life import START

ODD = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
DURATIONS = st.sampled_from(
    ["PT15M", "PT1H", "P1D", "P1M", "P9999Y", "P999Y", "PT0S", "PT0.001S", "-PT1H", "P999999999D", "soon", ""]
)
INSTANTS = st.sampled_from(
    [
        "0001-01-01",
        "0001-01-01T00:00:00Z",
        "2025-10-15T07:00:00Z",
        "2025-10-15T08:30:00+02:00",
        "1999-12-31",
        "9999-12-31T23:59:59Z",
        "x",
    ]
)
NUMBERS = st.sampled_from([0, 1, -1, 0.17, 3, 1e300, 10_000, -0.0])


def objects(**fields: Any) -> st.SearchStrategy[Json]:
    """Return objects with some of these fields, each right or odd."""
    return st.fixed_dictionaries({}, optional={name: one | ODD for name, one in fields.items()})


PERIODS = objects(start=INSTANTS, duration=DURATIONS, randomizeStart=DURATIONS)
PAYLOADS = objects(
    type=st.sampled_from([*sorted(MEANINGS), "CONTROL_SETPOINT", "PRIVATE"]),
    values=st.lists(NUMBERS | ODD | objects(x=NUMBERS, y=NUMBERS), max_size=4),
)
INTERVALS = objects(id=st.integers(0, 5), intervalPeriod=PERIODS, payloads=st.lists(PAYLOADS | ODD, max_size=3))
DESCRIPTORS = objects(
    payloadType=st.sampled_from(sorted(MEANINGS)),
    units=st.sampled_from(["KW", "KWH", "MW", "W", "PERCENT", "GHG", "kw"]),
    currency=st.sampled_from(["EUR", "eur"]),
    objectType=st.sampled_from(["EVENT_PAYLOAD_DESCRIPTOR", "REPORT_PAYLOAD_DESCRIPTOR"]),
)
EVENTS = objects(
    eventName=st.text(max_size=5),
    duration=DURATIONS,
    priority=st.integers(-1, 3),
    targets=st.lists(
        st.just("t") | objects(type=st.just("VEN_NAME"), values=st.lists(st.just("Depot A&B") | ODD, max_size=2)),
        max_size=2,
    ),
    payloadDescriptors=st.lists(DESCRIPTORS | ODD, max_size=3),
    reportDescriptors=st.lists(objects(payloadType=st.just("USAGE"), repeat=st.integers(-1, 3)) | ODD, max_size=2),
    intervalPeriod=PERIODS,
    intervals=st.lists(INTERVALS | ODD, max_size=5),
)


@settings(max_examples=60)
@given(st.lists(EVENTS | ODD, max_size=4), st.sampled_from(list(Dialect)))
def test_b7_any_events_leave_the_ven_alive_and_the_good_one_in_force(events: list[Any], dialect: Dialect) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event("good", **limit_event(START, 5.0, duration="PT4H"))
        stamp = {"programID": "p1", "createdDateTime": "x", "modificationDateTime": "x"}
        bench.vtn.extra = [
            {**stamp, **event, "id": f"any-{number}"} if isinstance(event, dict) else event
            for number, event in enumerate(events)
        ]
        first = await bench.run(seconds=25)
        assert first.health().failures == 0, first.health().last_error
        assert bench.in_force()["good"] == 0
        assert [one.value for one in bench.now("good")] == [5.0]
        before, effects = bench.events(), list(bench.desk.effects)
        second = await bench.run(seconds=15)
        assert second.health().failures == 0, second.health().last_error
        again = [effect for effect in bench.desk.effects[len(effects) :] if not effect.startswith("unroll")]
        assert again == [], "a restart changes nothing"
        assert bench.events().keys() == before.keys()

    virtually(scenario, dialect=dialect)
