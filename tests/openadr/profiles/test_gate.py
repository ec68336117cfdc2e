"""What a VEN is told about an object: used or not, what it breaks, what it means in plain words."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.openadr.profiles import ProfileGate, check_bundle, check_object, load_profile, profile_names
from gateway.openadr.profiles.gate import program_profile
from gateway.openadr.profiles.objects import kind_of, objects_in
from gateway.openadr.profiles.rules import ObjectKind
from tests.openadr.profiles import objects as made
from tests.openadr.profiles.objects import Json, changed, put

NOW = datetime(2025, 10, 15, 10, tzinfo=UTC)


def gate(profile: str = "gac-2.2", *, applies_broken: bool = False) -> ProfileGate:
    return ProfileGate(load_profile(profile), tenant="t", authority="vtn:dso", applies_broken=applies_broken)


def values_of(content: Any) -> list[tuple[str, Any]]:
    return [
        (payload["type"], payload["values"][0]) for interval in content["intervals"] for payload in interval["payloads"]
    ]


def test_b18_what_keeps_the_profile_is_used_as_it_is() -> None:
    admission = gate().admit("event", made.gac_event(), now=NOW)
    assert admission.broken == ()
    assert admission.content == made.gac_event()


def test_b18_what_breaks_the_profile_is_told_and_not_used() -> None:
    event = put(made.gac_event(), priority=1, targets=["1" * 17])
    admission = gate().admit("event", event, now=NOW, raw_signal="raw-1")
    assert admission.content is None
    assert {(one.rule, one.is_applied, one.object_id, one.raw_signal) for one in admission.broken} == {
        ("no-priority", False, "e1", "raw-1"),
        ("targets", False, "e1", "raw-1"),
    }
    assert {one.profile for one in admission.broken} == {"gac-2.2"}
    assert any(one.problem.startswith("targets[0] is '11111111111111111'") for one in admission.broken)


def test_b18_settings_may_use_what_breaks_the_profile() -> None:
    admission = gate(applies_broken=True).admit("event", put(made.gac_event(), priority=1), now=NOW)
    assert admission.content is not None
    assert [(one.rule, one.is_applied) for one in admission.broken] == [("no-priority", True)]


def test_b18_a_finding_keeps_its_id_while_polling_repeats_it() -> None:
    event = put(made.gac_event(), priority=1)
    first, again = (gate().admit("event", event, now=NOW).broken for _ in range(2))
    assert [one.id for one in first] == [one.id for one in again]
    [other] = gate().admit("event", put(event, id="e2"), now=NOW).broken
    assert other.id != first[0].id


def test_b18_the_safe_mode_event_is_what_holds_when_no_other_does() -> None:
    content = gate().admit("event", made.safe_mode_event(), now=NOW).content
    assert values_of(content) == [("IMPORT_CAPACITY_SUBSCRIPTION", 11)]
    assert content is not None
    assert content["payloadDescriptors"] == [made.described("IMPORT_CAPACITY_SUBSCRIPTION", units="KW")]


def test_b18_a_program_that_lacks_its_safe_mode_event_is_told_once_all_is_known() -> None:
    [found] = gate().whole([made.gac_program()], [made.gac_event()], now=NOW)
    assert (found.rule, found.object_kind, found.object_id) == ("safe-mode", "program", "p1")
    assert gate().whole([made.gac_program()], [made.safe_mode_event()], now=NOW) == ()
    assert gate().whole([made.gac_program()], [], now=NOW) == ()
    [named] = gate().whole([made.gac_program("2.1.0")], [], now=NOW)
    assert (named.rule, named.is_applied) == ("program-type", True)


def test_a_called_flexibility_is_the_limit_that_it_leaves() -> None:
    others = [made.baseline_event(), put(made.baseline_event(), id="old", createdDateTime="2025-10-14T08:00:00Z")]
    others[1]["intervals"][0]["payloads"][0]["values"] = [99]
    content = gate("nl-flex-1.0").admit("event", made.dispatch_event(), now=NOW, others=others).content
    assert values_of(content) == [
        ("IMPORT_CAPACITY_LIMIT", Decimal("20.25")),
        ("IMPORT_CAPACITY_LIMIT", Decimal("14.75")),
        ("IMPORT_CAPACITY_LIMIT", Decimal("20.25")),
    ]
    too_much = changed(made.dispatch_event(), lambda e: e["intervals"][1]["payloads"][0].update(values=[30]))
    content = gate("nl-flex-1.0").admit("event", too_much, now=NOW, others=others).content
    assert values_of(content)[1] == ("IMPORT_CAPACITY_LIMIT", 0)


@pytest.mark.parametrize("applies_broken", [False, True])
@pytest.mark.parametrize(
    "others",
    [[], [put(made.baseline_event(), targets=["GROUP-8"])], [put(made.baseline_event(), programID="p2")]],
    ids=["none", "another group", "another program"],
)
def test_what_counts_from_nothing_is_told_and_never_used(others: list[Json], *, applies_broken: bool) -> None:
    judge = gate("nl-flex-1.0", applies_broken=applies_broken)
    admission = judge.admit("event", made.dispatch_event(), now=NOW, others=others)
    assert admission.content is None
    [found] = admission.broken
    assert (found.rule, found.is_applied) == ("baseline-unknown", False)
    assert "intervals[0].payloads[0] counts from ACTIVE_BASELINE" in found.problem


def test_a_swedish_limit_is_one_of_import() -> None:
    content = gate("se-conditional-1.0").admit("event", made.limit_request(), now=NOW).content
    assert values_of(content) == [("IMPORT_CAPACITY_LIMIT", 15000), ("POWER_LIMIT_VERSION", 1)]


def test_advice_is_told_and_keeps_nothing_from_being_used() -> None:
    late = put(made.limit_request(), createdDateTime="2023-10-20T11:59:00Z")
    admission = gate("se-conditional-1.0").admit("event", late, now=NOW)
    assert admission.content is not None
    assert [(one.rule, one.is_applied) for one in admission.broken] == [("notice", True)]


def test_the_profile_of_a_program_is_found_by_its_name_then_its_id() -> None:
    program = {"id": "p1", "programName": "limits"}
    assert program_profile(program, {"limits": "gac-2.2", "p1": "gac-2.0"}) == "gac-2.2"
    assert program_profile(program, {"p1": "gac-2.0"}) == "gac-2.0"
    assert program_profile(program, {}, "nl-flex-1.0") == "nl-flex-1.0"
    assert program_profile(program, {}) == ""


# ------------------------------------------------------------ what is in a text


def test_objects_are_recognised_by_their_type_or_their_fields() -> None:
    assert kind_of({"objectType": "BL_VEN_REQUEST"}) == "ven"
    assert kind_of({"objectType": "VEN_RESOURCE_REQUEST"}) == "resource"
    assert kind_of(made.gac_program()) == "program"
    assert kind_of(made.dispatch_event()) == "event"
    assert kind_of(made.anchor_event()) == "event"
    assert kind_of(made.ack_report()) == "report"
    assert kind_of({"venName": "x"}) == "ven"
    assert kind_of(made.flex_resource()) == "resource"
    assert kind_of({"clientName": "x"}) is None
    both = [made.gac_program(), made.gac_event()]
    assert [(one.kind, one.path) for one in objects_in(both)] == [("program", "[0]"), ("event", "[1]")]
    assert [one.path for one in objects_in({"events": both[1:]})] == ["events[0]"]
    for content in ([1], "text", {}, {"events": [1]}):
        with pytest.raises(InvalidInput):
            objects_in(content)


# ------------------------------------------------------------ hostile objects

WORDS = "id intervals payloads type values targets payloadDescriptors payloadType units intervalPeriod start duration"
MORE_WORDS = "attributes resources programID reportDescriptors frequency eventName createdDateTime"
NAMES = st.sampled_from(f"{WORDS} {MORE_WORDS}".split())
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.sampled_from(["FLEX", "ACTIVE_BASELINE", "IMPORT_CAPACITY_LIMIT", "PT1H", "P9999Y", "P99999999999D", "KW", ""]),
    st.sampled_from(["0001-01-01", "9999-12-31T23:59:59Z", "2025-10-16T00:00:00Z"]),
    st.text(max_size=5),
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6))
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "intervals": st.lists(st.dictionaries(NAMES, JSON, max_size=4) | JSON, max_size=4) | JSON,
        "payloadDescriptors": JSON,
        "intervalPeriod": JSON,
        "targets": JSON,
        "programID": JSON,
    },
)


@pytest.mark.parametrize("name", profile_names())
@settings(max_examples=25, deadline=None)
@given(content=JSON | EVENTS)
def test_whatever_an_object_is_it_is_judged(name: str, content: Any) -> None:
    profile = load_profile(name)
    for kind in cast("tuple[ObjectKind, ...]", get_args(ObjectKind)):
        for finding in check_object(profile, kind, content):
            assert finding.text
    if isinstance(content, dict):
        ProfileGate(profile, tenant="t", authority="a", applies_broken=True).admit(
            "event", content, now=NOW, others=[content]
        )


def test_a_long_event_is_judged() -> None:
    event = put(made.price_event(), intervals=[{"id": i, "payloads": []} for i in range(20_000)])
    report = check_bundle(load_profile("us-ca-prices-1.0"), objects_in(json.loads(json.dumps(event))))
    assert not report.is_compliant
