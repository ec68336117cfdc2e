"""Reports that profiles ask for: NL-Flex from the event to a report that the profile itself finds compliant."""

import copy
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.errors import NotFound
from gateway.openadr.profiles import ProfileGate, check_object, load_profile
from gateway.openadr.v3.settings import OwnResource
from gateway.openadr.v3.wire import Program
from tests.openadr.profiles import objects as made
from tests.openadr.v3.memory_vtn import Json
from tests.openadr.v3.report_bench import ReportBench, reporting
from tests.openadr.virtual_life import AUTHORITY, TENANT

FLEX = load_profile("nl-flex-1.0")
GATE = ProfileGate(FLEX, tenant=TENANT, authority=AUTHORITY)
HOUR = 3_600
ASSETS = (OwnResource(name="asset-1", node="site-01"), OwnResource(name="asset-2", node="site-02"))
GROUP_ID, ASSET_ID = "0f0e0d0c-0b0a-0908-0706-050403020100", "1f0e0d0c-0b0a-0908-0706-050403020100"


def flex(*events: Json, hours: float, prepare: Any = None) -> ReportBench:
    """Return the bench after a VEN lived under NL-Flex for so long; it starts on 15 October at 8."""

    def gate_of(_program: Program | None) -> ProfileGate:
        return GATE

    async def scenario(bench: ReportBench) -> None:
        bench.vtn.programs.clear()
        bench.vtn.program("p1", **{key: value for key, value in made.flex_program().items() if key != "id"})
        for event in events:
            content = copy.deepcopy(event)
            bench.vtn.event(content.pop("id"), **content)
        steps = () if prepare is None else prepare(bench)
        await bench.run((30, lambda: grant(bench)), *steps, seconds=hours * HOUR)

    def grant(bench: ReportBench) -> None:
        bench.vtn.grant([made.GROUP])

    return reporting(
        scenario,
        gate_of=gate_of,
        ven_name=made.EAN13,
        resources=ASSETS,
        poll_interval=timedelta(minutes=15),
        survey_interval=timedelta(minutes=15),
    )


def compliant(report: Json) -> bool:
    return not [finding for finding in check_object(FLEX, "report", report) if not finding.is_advice]


def of_type(bench: ReportBench, payload_type: str) -> list[Json]:
    """Return the reports that carry a payload type, as they were sent."""
    return [
        one.content
        for one in bench.vtn.asked("POST /reports")
        if payload_type in {p["type"] for r in one.content["resources"] for i in r["intervals"] for p in i["payloads"]}
    ]


def test_a_call_is_acknowledged_when_it_arrives_and_its_delivery_reported_after_it() -> None:
    def measured(bench: ReportBench) -> tuple[()]:
        bench.usage.of = {"vpp-be": 12.346}
        return ()

    bench = flex(made.baseline_event(), made.dispatch_event(), hours=37, prepare=measured)
    [ack] = of_type(bench, "ACK")
    assert ack["resources"] == [
        {"resourceName": "AGGREGATED_REPORT", "intervals": [{"id": 0, "payloads": [{"type": "ACK", "values": [True]}]}]}
    ]
    assert (ack["eventID"], ack["clientName"]) == ("call", made.EAN13)
    [delivery] = of_type(bench, "DELIVERED_FLEX")
    [group] = delivery["resources"]
    assert group["resourceName"] == "AGGREGATED_REPORT"
    assert [one["id"] for one in group["intervals"]] == [0, 1, 2]
    wanted = [one["intervalPeriod"] for one in made.dispatch_event()["intervals"]]
    assert [one["intervalPeriod"] for one in group["intervals"]] == wanted
    assert [one["payloads"][0]["values"] for one in group["intervals"]] == [[7.9] * 4, [7.9] * 8, [7.9] * 4]
    assert all(compliant(report) for report in (ack, delivery))


def test_what_was_drawn_above_the_baseline_delivered_nothing() -> None:
    def measured(bench: ReportBench) -> tuple[()]:
        bench.usage.of = {"vpp-be": 30.0}
        return ()

    bench = flex(made.baseline_event(), made.dispatch_event(), hours=37, prepare=measured)
    [delivery] = of_type(bench, "DELIVERED_FLEX")
    assert delivery["resources"][0]["intervals"][0]["payloads"][0]["values"] == [0, 0, 0, 0]
    assert compliant(delivery)


def test_offers_are_not_made_up() -> None:
    bench = flex(made.baseline_event(), hours=2)
    assert not bench.sent()
    assert {duty.problem for duty in bench.duties()} == {
        "ACTIVE_FLEX_DELTA: has no source here, and nothing is made up",
        "RESERVED_FLEX_DELTA: has no source here, and nothing is made up",
    }


def test_operation_is_told_when_it_changes_and_only_where_it_does() -> None:
    def failing(bench: ReportBench) -> tuple[Any, ...]:
        return (
            (2 * HOUR, lambda: bench.status.offline_nodes.add("site-02")),
            (4 * HOUR, bench.status.offline_nodes.clear),
        )

    bench = flex(made.anchor_event(), hours=8, prepare=failing)
    found = of_type(bench, "OPERATIONAL_STATUS")
    said = [
        [(one["resourceName"], one["intervals"][0]["payloads"][0]["values"]) for one in report["resources"]]
        for report in found
    ]
    assert said == [[("asset-2", ["ERROR"])], [("asset-2", ["NORMAL"])]]
    assert {report["reportName"] for report in found} == {"OPERATIONAL_STATUS"}
    assert all(compliant(report) for report in found)


def test_operation_is_not_told_twice_after_a_restart() -> None:
    def gate_of(_program: Program | None) -> ProfileGate:
        return GATE

    async def scenario(bench: ReportBench) -> None:
        bench.vtn.programs.clear()
        bench.vtn.program("p1", **{key: value for key, value in made.flex_program().items() if key != "id"})
        anchor = made.anchor_event()
        bench.vtn.event(anchor.pop("id"), **anchor)
        bench.status.offline_nodes.add("site-02")
        await bench.run(seconds=HOUR)
        await bench.run(seconds=HOUR)

    bench = reporting(scenario, gate_of=gate_of, ven_name=made.EAN13, resources=ASSETS)
    assert len(of_type(bench, "OPERATIONAL_STATUS")) == 1


@pytest.mark.parametrize("is_removal", [False, True], ids=["register", "take-out"])
def test_resources_are_registered_into_a_group_on_request(*, is_removal: bool) -> None:
    box: list[Any] = []

    def ask(bench: ReportBench) -> tuple[Any, ...]:
        engine = bench.engine
        assert engine is not None

        async def request() -> None:
            with pytest.raises(NotFound):
                await engine.register_resources("other", GROUP_ID, [ASSET_ID])
            box.append(await engine.register_resources("p1", GROUP_ID, [ASSET_ID], is_removal=is_removal))

        return ((HOUR, lambda: bench.later(request())),)

    bench = flex(made.anchor_event(), hours=2, prepare=ask)
    word = "DE_REGISTRATION_REQUEST" if is_removal else "REGISTRATION_REQUEST"
    [report] = of_type(bench, word)
    assert report["resources"][0]["intervals"][0]["payloads"] == [
        {"type": "RESOURCE_GROUP_ID", "values": [GROUP_ID]},
        {"type": word, "values": [ASSET_ID]},
    ]
    assert (report["reportName"], report["eventID"]) == ("RESOURCE_REGISTRATION", "anchor")
    assert compliant(report)
    assert [row.sent_at is not None for row in bench.rows()] == [True]
