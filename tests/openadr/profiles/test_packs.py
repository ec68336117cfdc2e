"""The packs of the gateway, rule by rule: what keeps them is accepted, each breach is told with its place."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.openadr.profiles import check_bundle, check_object, load_profile, profile_names
from gateway.openadr.profiles.objects import objects_in
from tests.openadr.profiles import objects as made
from tests.openadr.profiles.objects import Json, changed, put


def breaches(profile: str, kind: Any, content: Json) -> set[tuple[str, str]]:
    return {(one.rule, one.path) for one in check_object(load_profile(profile), kind, content)}


# ------------------------------------------------------------ B18: Grid Aware Charging


@pytest.mark.parametrize(
    ("profile", "kind", "content"),
    [
        pytest.param("gac-2.2", "program", made.gac_program(), id="program"),
        pytest.param("gac-2.2", "event", made.gac_event(), id="event, time said once"),
        pytest.param("gac-2.2", "event", made.safe_mode_event(), id="safe-mode event"),
        pytest.param("gac-2.2", "ven", {"venName": made.EAN13, "targets": [made.EAN18]}, id="ven"),
        pytest.param("gac-2.1", "program", made.gac_program("2.1.1"), id="2.1 program"),
        pytest.param("gac-2.1", "ven", {"venName": "NLABC"}, id="2.1 ven"),
        pytest.param("gac-2.0", "program", made.gac20_program(), id="2.0 program"),
        pytest.param("gac-2.0", "event", made.gac20_event(), id="2.0 event"),
        pytest.param("gac-2.0", "ven", {"venName": "NL-ABC"}, id="2.0 ven"),
    ],
)
def test_b18_what_keeps_gac_is_accepted(profile: str, kind: str, content: Json) -> None:
    assert breaches(profile, kind, content) == set()


def test_b18_the_time_may_be_said_in_every_interval() -> None:
    period = {"start": "2025-10-16T00:00:00Z", "duration": "PT15M"}

    def separate(event: Json) -> None:
        del event["intervalPeriod"]
        for interval in event["intervals"]:
            interval["intervalPeriod"] = period

    separated = changed(made.gac_event(), separate)
    assert breaches("gac-2.2", "event", separated) == set()
    both = separated | {"intervalPeriod": period}
    assert ("continuous-or-separated", "intervals[3].intervalPeriod") in breaches("gac-2.2", "event", both)
    neither = changed(separated, lambda event: event["intervals"][2].pop("intervalPeriod"))
    assert breaches("gac-2.2", "event", neither) == {("continuous-or-separated", "intervals[2].intervalPeriod")}


def add_payload(event: Json) -> None:
    event["intervals"][1]["payloads"].append({"type": "IMPORT_CAPACITY_LIMIT", "values": [1]})


B18: tuple[tuple[str, Callable[[Json], object], set[tuple[str, str]]], ...] = (
    ("priority", lambda e: e.update(priority=0), {("no-priority", "priority")}),
    ("two payloads", add_payload, {("one-payload", "intervals[1].payloads")}),
    (
        "unit kW in lower case",
        lambda e: e["payloadDescriptors"][0].update(units="kW"),
        {("one-descriptor", "payloadDescriptors[0].units")},
    ),
    ("EAN of 17 digits", lambda e: e.update(targets=[made.EAN18, made.EAN18[:17]]), {("targets", "targets[1]")}),
    ("no descriptor", lambda e: e.pop("payloadDescriptors"), {("one-descriptor", "payloadDescriptors")}),
    (
        "a second descriptor",
        lambda e: e["payloadDescriptors"].append({"payloadType": "PRICE"}),
        {("one-descriptor", "payloadDescriptors[1].payloadType")},
    ),
    ("ids in disorder", lambda e: e["intervals"][2].update(id=1), {("interval-ids", "intervals[2].id")}),
    ("no intervals", lambda e: e.update(intervals=[]), {("intervals", "intervals")}),
    (
        "two values",
        lambda e: e["intervals"][0]["payloads"][0].update(values=[1, 2]),
        {("one-value", "intervals[0].payloads[0].values")},
    ),
    (
        "another payload",
        lambda e: e["intervals"][0]["payloads"][0].update(type="PRICE"),
        {("one-value", "intervals[0].payloads[0].type")},
    ),
    (
        "a limit below zero",
        lambda e: e["intervals"][0]["payloads"][0].update(values=[-1]),
        {("limit-value", "intervals[0].payloads[0].values[0]")},
    ),
)


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in B18], ids=[case[0] for case in B18])
def test_b18_each_breach_of_a_gac_event_is_told(
    change: Callable[[Json], object], expected: set[tuple[str, str]]
) -> None:
    assert breaches("gac-2.2", "event", changed(made.gac_event(), change)) == expected


def test_b18_all_breaches_are_told_and_not_only_the_first() -> None:
    event = made.gac_event()
    for _, change, _ in B18[:4]:
        event = changed(event, change)
    assert {rule for rule, _ in breaches("gac-2.2", "event", event)} == {
        "no-priority",
        "one-payload",
        "one-descriptor",
        "targets",
    }


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PROGRAM_TYPE", "DSO_CPO_INTERFACE-2.1.1", "program-type"),
        ("PROGRAM_TYPE", "DSO_CPO_INTERFACE-2.2", "program-type"),
        ("RETAILER_NAME", "L", "retailer-name"),
        ("RETAILER_NAME", "L" * 129, "retailer-name"),
        ("BINDING_EVENTS", False, "binding-events"),
        ("BINDING_EVENTS", "true", "binding-events"),
    ],
    ids=["old version", "no patch", "short name", "long name", "false", "a text"],
)
def test_b18_attributes_of_a_gac_program(name: str, value: object, expected: str) -> None:
    def change(program: Json) -> None:
        [entry] = [one for one in program["attributes"] if one["type"] == name]
        entry["values"] = [value]

    assert {rule for rule, _ in breaches("gac-2.2", "program", changed(made.gac_program(), change))} == {expected}


def test_b18_a_missing_and_a_repeated_attribute_are_told() -> None:
    without = put(made.gac_program(), attributes=None)
    assert breaches("gac-2.2", "program", without) == {
        ("program-type", "attributes"),
        ("retailer-name", "attributes"),
        ("binding-events", "attributes"),
    }
    twice = changed(made.gac_program(), lambda p: p["attributes"].append(p["attributes"][0]))
    assert breaches("gac-2.2", "program", twice) == {("program-type", "attributes")}


@pytest.mark.parametrize(
    ("name", "rules"),
    [("NLABC", {"ven-name"}), ("8716871000003", {"ven-name"}), (None, {"ven-name"})],
    ids=["eMI3", "check digit", "none"],
)
def test_b18_a_gac_22_ven_is_named_by_its_ean13(name: str | None, rules: set[str]) -> None:
    assert {rule for rule, _ in breaches("gac-2.2", "ven", {"venName": name, "targets": []})} == rules


def test_b18_gac_20_has_one_target_of_each_kind() -> None:
    only_location = changed(made.gac20_event(), lambda e: e["targets"].pop())
    assert breaches("gac-2.0", "event", only_location) == {("ven-targets", "targets")}
    short = changed(made.gac20_event(), lambda e: e["targets"][0].update(values=["1" * 17]))
    assert breaches("gac-2.0", "event", short) == {("location-targets", "targets[0].values[0]")}


def test_b18_a_program_without_safe_mode_event_is_told() -> None:
    profile = load_profile("gac-2.2")
    bundle = {"programs": [made.gac_program()], "events": [made.gac_event(), made.safe_mode_event()]}
    assert check_bundle(profile, objects_in(bundle)).is_compliant
    bundle["events"].pop()
    report = check_bundle(profile, objects_in(bundle))
    assert [(one.rule, one.path, one.object_id) for one in report.findings] == [("safe-mode", "programs[0]", "p1")]
    foreign = made.safe_mode_event() | {"programID": "p2"}
    report = check_bundle(profile, objects_in({**bundle, "events": [foreign]}))
    assert [one.rule for one in report.findings] == ["safe-mode"]
    alone = check_bundle(profile, objects_in(made.gac_program()))
    assert alone.is_compliant
    assert {one.rule for one in alone.outcomes if one.verdict == "not checked"} >= {"safe-mode", "no-priority"}


# ------------------------------------------------------------ NL-Flex

FLEX_OBJECTS: tuple[tuple[str, Json], ...] = (
    ("program", made.flex_program()),
    ("event", made.anchor_event()),
    ("event", made.baseline_event()),
    ("event", made.override_event()),
    ("event", made.dispatch_event()),
    ("resource", made.flex_resource()),
    ("ven", {"venName": made.EAN13}),
    ("report", made.ack_report()),
    ("report", made.delivery_report()),
)


@pytest.mark.parametrize(
    ("kind", "content"),
    FLEX_OBJECTS,
    ids=[f"{kind} {one.get('id', index)}" for index, (kind, one) in enumerate(FLEX_OBJECTS)],
)
def test_what_keeps_nl_flex_is_accepted(kind: str, content: Json) -> None:
    assert breaches("nl-flex-1.0", kind, content) == set()


def interval_of(content: Json, index: int = 0) -> Json:
    found: Json = content["intervals"][index]
    return found


NL_FLEX: tuple[tuple[str, str, Json, Callable[[Json], object], set[str]], ...] = (
    ("anchor with targets", "event", made.anchor_event(), lambda e: e.update(targets=["x"]), {"anchor-targets"}),
    ("anchor with period", "event", made.anchor_event(), lambda e: e.update(intervalPeriod={}), {"anchor-period"}),
    ("anchor, two reports", "event", made.anchor_event(), lambda e: e["reportDescriptors"].pop(), {"anchor-reports"}),
    (
        "anchor, default frequency",
        "event",
        made.anchor_event(),
        lambda e: e["reportDescriptors"][0].pop("frequency"),
        {"anchor-reports"},
    ),
    (
        "baseline with period",
        "event",
        made.baseline_event(),
        lambda e: e.update(intervalPeriod={"duration": "P1D"}),
        {"open-ended"},
    ),
    (
        "baseline, one half",
        "event",
        made.baseline_event(),
        lambda e: interval_of(e)["payloads"].pop(),
        {"baseline-payloads"},
    ),
    (
        "baseline, three decimals",
        "event",
        made.baseline_event(),
        lambda e: interval_of(e)["payloads"][0].update(values=[1.005]),
        {"baseline-payloads"},
    ),
    ("baseline for nobody", "event", made.baseline_event(), lambda e: e.pop("targets"), {"baseline-targets"}),
    (
        "override without reason",
        "event",
        made.override_event(),
        lambda e: interval_of(e)["payloads"].pop(),
        {"override-reason-given"},
    ),
    (
        "override above zero",
        "event",
        made.override_event(),
        lambda e: interval_of(e)["payloads"][1].update(values=[0.5]),
        {"override-values"},
    ),
    (
        "dispatch of three hours",
        "event",
        made.dispatch_event(),
        lambda e: interval_of(e, 1)["intervalPeriod"].update(duration="PT3H"),
        {"dispatch-durations", "dispatch-schedule"},
    ),
    (
        "dispatch of two groups",
        "event",
        made.dispatch_event(),
        lambda e: e["targets"].append("other"),
        {"one-group"},
    ),
    (
        "hour beside calls something",
        "event",
        made.dispatch_event(),
        lambda e: interval_of(e)["payloads"][0].update(values=[1]),
        {"dispatch-schedule"},
    ),
    (
        "hour beside nothing",
        "event",
        made.dispatch_event(),
        lambda e: interval_of(e)["intervalPeriod"].update(start="2025-10-16T10:00:00Z"),
        {"dispatch-schedule"},
    ),
    (
        "dispatch outside its window",
        "event",
        made.dispatch_event(),
        lambda e: e["intervalPeriod"].update(start="2025-10-16T17:00:00Z"),
        {"dispatch-schedule"},
    ),
    (
        "dispatch beyond its window",
        "event",
        made.dispatch_event(),
        lambda e: e.update(
            intervals=[
                interval_of(e, 1)
                | {"id": 0, "intervalPeriod": {"start": "2025-10-16T23:00:00Z", "duration": "PT2H"}}
            ]
        ),
        {"dispatch-schedule"},
    ),
    (
        "dispatches that overlap",
        "event",
        made.dispatch_event(),
        lambda e: interval_of(e, 2)["intervalPeriod"].update(start="2025-10-16T18:00:00Z", duration="PT2H"),
        {"dispatch-schedule"},
    ),
    (
        "dispatch without delivery report",
        "event",
        made.dispatch_event(),
        lambda e: e["reportDescriptors"].pop(),
        {"dispatch-delivery", "dispatch-reports"},
    ),
    (
        "an event of prices",
        "event",
        made.price_event(),
        lambda e: None,
        {"event-kind"},
    ),
    ("a shop as operator", "program", made.flex_program(), lambda p: p["attributes"][1].update(values=["Shop"]), {"retailer-name"}),
    (
        "rejected without reason",
        "resource",
        made.flex_resource(),
        lambda r: r["attributes"].append({"type": "REGISTRATION_STATUS", "values": ["REJECTED"]}),
        {"resource-rejection"},
    ),
    (
        "EAN18 with a wrong check digit",
        "resource",
        made.flex_resource(),
        lambda r: r["attributes"][1].update(values=["871687110000000013"]),
        {"resource-ean"},
    ),
    (
        "no to a dispatch",
        "report",
        made.ack_report(),
        lambda r: r["resources"][0]["intervals"][0]["payloads"][0].update(values=[False]),
        {"report-ack"},
    ),
    (
        "hourly delivery",
        "report",
        made.delivery_report(),
        lambda r: r["resources"][0]["intervals"][0]["payloads"][0].update(values=[5.5, 5.5]),
        {"report-delivery-values"},
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "content", "change", "expected"), [c[1:] for c in NL_FLEX], ids=[c[0] for c in NL_FLEX]
)
def test_each_breach_of_nl_flex_is_told(
    kind: str, content: Json, change: Callable[[Json], object], expected: set[str]
) -> None:
    assert {rule for rule, _ in breaches("nl-flex-1.0", kind, changed(content, change))} == expected


def test_what_a_program_should_have_is_advice() -> None:
    program = changed(made.flex_program(), lambda p: p["attributes"].pop(3))
    [finding] = check_object(load_profile("nl-flex-1.0"), "program", program)
    assert (finding.rule, finding.is_advice) == ("country", True)
    bundle = {"programs": [program], "events": [made.anchor_event()]}
    assert check_bundle(load_profile("nl-flex-1.0"), objects_in(bundle)).is_compliant


# ------------------------------------------------------------ Sweden and California


def test_swedish_limit_requests_as_documented_are_accepted() -> None:
    assert breaches("se-conditional-1.0", "event", made.limit_request()) == set()
    plain = put(made.gac_event(), targets=[])
    assert breaches("se-conditional-1.0", "event", plain) == set()


SWEDEN: tuple[tuple[str, Callable[[Json], object], set[str]], ...] = (
    ("half an hour", lambda e: e["intervalPeriod"].update(duration="PT30M"), {"delivery-period"}),
    ("no version", lambda e: interval_of(e)["payloads"].pop(), {"request-version"}),
    ("megawatts", lambda e: e["payloadDescriptors"][0].update(units="MW"), {"units"}),
    ("below zero", lambda e: interval_of(e)["payloads"][0].update(values=[-1]), {"request-limit"}),
    ("at once", lambda e: e.update(createdDateTime="2023-10-20T11:50:00Z"), {"notice"}),
    ("not asked to acknowledge", lambda e: e.pop("reportDescriptors"), {"request-ack"}),
)


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in SWEDEN], ids=[case[0] for case in SWEDEN])
def test_each_breach_of_a_swedish_limit_is_told(change: Callable[[Json], object], expected: set[str]) -> None:
    assert {
        rule for rule, _ in breaches("se-conditional-1.0", "event", changed(made.limit_request(), change))
    } == expected


def test_a_short_notice_is_told_and_still_obeyed() -> None:
    late = put(made.limit_request(), createdDateTime="2023-10-20T11:59:00Z")
    [finding] = check_object(load_profile("se-conditional-1.0"), "event", late)
    assert finding.is_advice


def test_californian_prices_are_accepted() -> None:
    assert breaches("us-ca-prices-1.0", "event", made.price_event()) == set()
    assert breaches("us-ca-prices-1.0", "event", made.price_event(23)) == set()
    week = put(made.price_event(), intervalPeriod={"start": "2026-05-04T07:00:00Z", "duration": "PT168H"})
    week["intervals"] = [{"id": 0, "payloads": [{"type": "PRICE", "values": [0.1] * 168}]}]
    assert breaches("us-ca-prices-1.0", "event", week) == set()


CALIFORNIA: tuple[tuple[str, Callable[[Json], object], set[str]], ...] = (
    ("half a day", lambda e: e.update(intervals=e["intervals"][:12]), {"hourly"}),
    (
        "two values in an hour and a half",
        lambda e: interval_of(e)["intervalPeriod"].update(duration="PT90M"),
        {"hourly"},
    ),
    ("euros", lambda e: e["payloadDescriptors"][0].update(currency="EUR"), {"currency"}),
    ("a text", lambda e: interval_of(e)["payloads"][0].update(values=["cheap"]), {"payloads"}),
    ("a limit", lambda e: interval_of(e)["payloads"][0].update(type="IMPORT_CAPACITY_LIMIT"), {"payloads"}),
)


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in CALIFORNIA], ids=[c[0] for c in CALIFORNIA])
def test_each_breach_of_californian_prices_is_told(change: Callable[[Json], object], expected: set[str]) -> None:
    assert {rule for rule, _ in breaches("us-ca-prices-1.0", "event", changed(made.price_event(), change))} == expected


# ------------------------------------------------------------ all packs


@pytest.mark.parametrize("name", profile_names())
def test_every_rule_has_a_source_and_a_sentence(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    for rule in profile.rules:
        assert rule.says[0].islower() or rule.says[0].isupper()
        assert profile.sources[rule.source].title
    assumed = {key for key, source in profile.sources.items() if source.is_assumption}
    assert assumed == {"assumption"}
