"""JSON objects of both dialects as values, and whatever else comes instead."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.json_guard import Json, JsonPolicy, read_json
from gateway.openadr.v3.literals import parse_duration
from gateway.openadr.v3.names import Operation
from gateway.openadr.v3.reader import (
    read_event,
    read_listing,
    read_notification,
    read_problem,
    read_program,
    read_report,
    read_resource,
    read_subscription,
    read_ven,
)
from gateway.openadr.v3.wire import Payload, PayloadDescriptor, Point, ReportDescriptor, Target

META = {"id": "x-1", "createdDateTime": "2025-01-01T00:00:00Z", "modificationDateTime": "2025-01-02T00:00:00Z"}


def said(**content: Any) -> Json:
    """Return an object as the guard gives it out."""
    return read_json(json.dumps({**META, **content}).encode(), JsonPolicy())


def test_an_event_of_3_1_0() -> None:
    event = read_event(
        said(
            programID="p1",
            eventName="peak",
            priority=0,
            duration="P9999Y",
            targets=["group-1", "541448820000000015"],
            payloadDescriptors=[{"payloadType": "PRICE", "units": "KWH", "currency": "EUR"}],
            reportDescriptors=[{"payloadType": "USAGE"}],
            intervalPeriod={"start": "0001-01-01", "duration": "PT1H", "randomizeStart": "PT5M"},
            intervals=[
                {"id": 7, "payloads": [{"type": "PRICE", "values": [0.1, 1]}]},
                {"id": -3, "payloads": [{"type": "X", "values": ["a", True, {"x": 1, "y": 2.5}]}]},
            ],
        )
    )
    assert (event.meta.id, event.program_id, event.name, event.priority) == ("x-1", "p1", "peak", 0)
    assert event.meta.modified == "2025-01-02T00:00:00Z"
    assert event.duration == parse_duration("d", "P9999Y")
    assert event.targets == (Target("", "group-1"), Target("", "541448820000000015"))
    assert event.descriptors == (PayloadDescriptor(payload_type="PRICE", units="KWH", currency="EUR"),)
    assert event.report_descriptors == (ReportDescriptor(payload_type="USAGE"),)
    assert event.period is not None
    assert event.period.start is not None
    assert event.period.start.is_now
    assert event.intervals[0].payloads == (Payload(type="PRICE", values=(Decimal("0.1"), Decimal(1))),)
    assert event.intervals[1].id == -3
    assert event.intervals[1].payloads[0].values == ("a", True, Point(Decimal(1), Decimal("2.5")))
    assert event.findings == ()


def test_nulls_are_as_if_nothing_was_said() -> None:
    names = (
        "eventName",
        "duration",
        "priority",
        "targets",
        "reportDescriptors",
        "payloadDescriptors",
        "intervalPeriod",
    )
    event = read_event(said(programID="p1", **dict.fromkeys((*names, "intervals"))))
    assert event == read_event(said(programID="p1"))
    assert event.findings == ()


def test_targets_of_3_0_1_are_pairs() -> None:
    targets = [{"type": "VEN_NAME", "values": ["a", "b"]}, {"type": "GROUP", "values": []}]
    assert read_event(said(programID="p1", targets=targets)).targets == (
        Target("VEN_NAME", "a"),
        Target("VEN_NAME", "b"),
    )


def test_programs_of_both_dialects_say_the_same() -> None:
    old = read_program(said(programName="P", programType="T-1", retailerName="R", bindingEvents=True))
    new = read_program(
        said(
            programName="P",
            attributes=[
                {"type": "PROGRAM_TYPE", "values": ["T-1"]},
                {"type": "RETAILER_NAME", "values": ["R"]},
                {"type": "BINDING_EVENTS", "values": [True]},
            ],
        )
    )
    for program in (old, new):
        assert (program.program_type, program.retailer_name, program.is_binding) == ("T-1", "R", True)


@pytest.mark.parametrize(
    ("value", "is_binding"),
    [(True, True), ("true", True), ("TRUE", True), (1, True), (False, False), ("no", False)],
    ids=str,
)
def test_binding_events_in_the_spellings_of_vtns(value: Any, is_binding: bool) -> None:
    program = read_program(said(programName="P", attributes=[{"type": "BINDING_EVENTS", "values": [value]}]))
    assert program.is_binding is is_binding


@pytest.mark.parametrize("word", ["VEN", "BL_VEN_REQUEST", "VEN_VEN_REQUEST", None], ids=str)
def test_b19_a_ven_by_any_of_its_names(word: str | None) -> None:
    ven = read_ven(said(objectType=word, venName="V", clientID="c", targets=["t"]))
    assert (ven.name, ven.client_id, ven.targets) == ("V", "c", (Target("", "t"),))
    with pytest.raises(InvalidInput):
        read_ven(said(objectType="PROGRAM", venName="V"))


@pytest.mark.parametrize("word", ["RESOURCE", "BL_RESOURCE_REQUEST", "VEN_RESOURCE_REQUEST"])
def test_b19_a_resource_by_any_of_its_names(word: str) -> None:
    resource = read_resource(said(objectType=word, resourceName="R", venID="v", targets=None))
    assert (resource.name, resource.ven_id, resource.targets) == ("R", "v", ())
    with pytest.raises(InvalidInput):
        read_resource(said(objectType="VEN", resourceName="R"))


@pytest.mark.parametrize(
    ("word", "operation"),
    [("CREATE", Operation.CREATE), ("READ", Operation.READ), ("POST", Operation.CREATE), ("GET", Operation.READ),
     ("PUT", Operation.UPDATE), ("DELETE", Operation.DELETE)],
)  # fmt: skip
def test_notifications_of_both_dialects(word: str, operation: Operation) -> None:
    found = read_notification(
        said(objectType="EVENT", operation=word, object={"id": "e1", "programID": "p1"}, targets=["t"])
    )
    assert (found.object_type, found.operation, found.object_id, found.program_id) == ("EVENT", operation, "e1", "p1")


@pytest.mark.parametrize(
    "content",
    [{"id": "e1"}, {"programID": "p1"}, [], None, "text", {"id": "", "programID": "p"}, {"id": 7, "programID": "p"}],
    ids=str,
)
def test_what_is_needed_and_missing_is_named(content: Json) -> None:
    with pytest.raises(InvalidInput):
        read_event(content)


def test_one_broken_object_of_a_list_stands_apart() -> None:
    listing = read_listing([said(programID="p1"), {"id": "bad"}, 7], read_event)
    assert [one.meta.id for one in listing.objects] == ["x-1"]
    assert [(one.object_id, one.finding.path) for one in listing.broken] == [("bad", "programID"), ("", "object")]
    with pytest.raises(InvalidInput):
        read_listing({"events": []}, read_event)


@pytest.mark.parametrize("content", [None, [], "x", {"title": 7, "detail": ["x"]}, {"title": "t" * 9999}], ids=str)
def test_a_problem_is_read_from_anything(content: Json) -> None:
    problem = read_problem(400, content)
    assert problem.status == 400
    assert len(problem.title) <= 300


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
    | st.sampled_from(["PT1H", "P9999Y", "0001-01-01", "2025-01-01T00:00:00Z", "PRICE", "EVENT", "CREATE"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["id", "type", "values", "payloads", "intervalPeriod", "start", "duration", "x", "y", "payloadType"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
NAMES = st.sampled_from(
    ["id", "programID", "eventID", "programName", "venName", "resourceName", "clientName", "targets", "intervals", "priority",
     "intervalPeriod", "duration", "payloadDescriptors", "reportDescriptors", "attributes", "objectOperations", "resources",
     "objectType", "operation", "object", "modificationDateTime", "bindingEvents"]
)  # fmt: skip


@given(st.dictionaries(NAMES, VALUES, max_size=12))
def test_any_object_is_read_or_refused(content: dict[str, Any]) -> None:
    given_content = read_json(
        json.dumps({"id": "a", "programID": "p", "programName": "n", **content}).encode(), JsonPolicy()
    )
    readers = (
        read_event, read_program, read_ven, read_resource, read_report, read_subscription, read_notification,
    )  # fmt: skip
    fields = []
    for read in readers:
        try:
            read(given_content)
        except InvalidInput as error:
            fields.append(error.field)
    assert all(fields)
