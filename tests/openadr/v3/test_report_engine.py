"""Reports of a 3.x VEN from the event that asks for them to the VTN that has them, in virtual time."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.programs import ReportDuty
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.report_engine import ReportSettings
from tests.openadr.v3.memory_vtn import Json, intervals, period
from tests.openadr.v3.report_bench import RESOURCES, ReportBench, after, ids_of, reporting, said, wants
from tests.openadr.virtual_life import START

MINUTE = timedelta(minutes=1)
USAGE: Json = {"payloadType": "USAGE"}
BOTH = pytest.mark.parametrize("dialect", list(Dialect), ids=lambda dialect: dialect.value)


def names(bench: ReportBench) -> list[str]:
    return [report["reportName"] for report in bench.sent()]


@BOTH
def test_b16_the_default_is_one_report_after_the_last_interval_with_four_ids(dialect: Dialect) -> None:
    bench = after(wants(USAGE), dialect=dialect)
    [report] = bench.sent()
    assert ids_of(report) == [0, 1, 2, 3]
    assert [values["USAGE"] for _, values in said(report)] == [0, 3.75, 7.5, 11.25], "kWh in a quarter of an hour"
    assert report["resources"][0]["intervalPeriod"] == {"start": "2025-10-15T08:00:00Z", "duration": "PT15M"}
    assert report["payloadDescriptors"] == [
        {"objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": "USAGE", "units": "KWH"}
    ]
    assert (report["eventID"], report["clientName"]) == ("e1", "Depot A&B")
    assert report.get("programID") == ("p1" if dialect is Dialect.V301 else None)
    [asked] = bench.vtn.asked("POST /reports")
    assert asked.at == START + 60 * MINUTE
    [duty] = bench.duties()
    assert (duty.sent_count, duty.is_finished, duty.report_id) == (1, True, "report-1")
    assert duty.reported_until == START + 60 * MINUTE


def test_b16_frequency_two_repeat_three_are_three_reports() -> None:
    bench = after(wants({**USAGE, "frequency": 2, "repeat": 3}, kw=[10.0] * 6), minutes=100)
    assert [ids_of(report) for report in bench.sent()] == [[0, 1], [2, 3], [4, 5]]
    assert [one.at for one in bench.vtn.asked("POST /reports")] == [START + n * MINUTE for n in (30, 60, 90)]
    assert names(bench) == ["e1.0.0.0", "e1.0.0.1", "e1.0.0.2"]


def test_b16_a_looping_event_is_reported_each_time_round() -> None:
    bench = after(
        wants({**USAGE, "repeat": -1}, kw=[10.0, 5.0], duration="PT15M") | {"duration": "P9999Y"}, minutes=100
    )
    assert [ids_of(report) for report in bench.sent()] == [[0, 1]] * 3
    starts = [report["resources"][0]["intervalPeriod"]["start"] for report in bench.sent()]
    assert starts == ["2025-10-15T08:00:00Z", "2025-10-15T08:30:00Z", "2025-10-15T09:00:00Z"]
    assert not bench.duties()[0].is_finished


def test_b16_open_and_sub_intervals() -> None:
    event = wants(
        {**USAGE, "reportIntervals": "SUB_INTERVALS"}, {**USAGE, "reportIntervals": "OPEN_INTERVALS"}, kw=[9.0, 8.0]
    )
    event["intervalPeriod"] = period(START, "PT30M")
    bench = after(event)
    assert [ids_of(report) for report in bench.sent()] == [[0, 0, 1, 1], [0, 1, 2, 3]]


def test_b16_implied_intervals_of_an_event_that_only_asks() -> None:
    event = {
        "intervalPeriod": period(START, "PT15M"),
        "reportDescriptors": [{"payloadType": "DEMAND", "numIntervals": 2, "repeat": -1}],
    }
    bench = after(event)
    assert [ids_of(report) for report in bench.sent()] == [[0, 1], [2, 3]]
    assert said(bench.sent()[1]) == [(2, {"DEMAND": 30}), (3, {"DEMAND": 45})]


def test_of_an_event_seen_late_only_the_latest_report_is_made() -> None:
    event = wants({**USAGE, "frequency": 1, "repeat": -1})
    event["intervalPeriod"] = period(START - 31 * MINUTE, "PT15M")
    bench = after(event, minutes=40)
    assert [ids_of(report) for report in bench.sent()] == [[1], [2], [3]]


def test_a_report_waits_for_late_readings_and_not_for_ever() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants(USAGE))
        bench.usage.known_until = START + 45 * MINUTE
        await bench.run((62 * 60, lambda: setattr(bench.usage, "known_until", None)), seconds=63 * 60)

    [asked] = reporting(scenario).vtn.asked("POST /reports")
    assert asked.at == START + 63 * MINUTE - timedelta(seconds=60)
    assert [one["id"] for one in asked.content["resources"][0]["intervals"]] == [0, 1, 2, 3]

    async def impatient(bench: ReportBench) -> None:
        bench.vtn.event(**wants(USAGE))
        bench.usage.known_until = START + 45 * MINUTE
        await bench.run(seconds=70 * 60)

    [asked] = reporting(impatient).vtn.asked("POST /reports")
    assert asked.at == START + 65 * MINUTE
    assert [one["id"] for one in asked.content["resources"][0]["intervals"]] == [0, 1, 2], "unknown is never zero"


def test_what_is_never_known_is_not_reported_and_does_not_come_again() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.usage.unknown_nodes.add("vpp-be")
        bench.vtn.event(**wants({**USAGE, "frequency": 2, "repeat": 2}))
        await bench.run(seconds=80 * 60)

    bench = reporting(scenario)
    assert not bench.sent()
    assert [duty.is_finished for duty in bench.duties()] == [True]


# ---------------------------------------------------------------- which resources, which values


def test_each_resource_or_their_sum() -> None:
    bench = after(wants(USAGE, {**USAGE, "aggregate": True}), resources=RESOURCES)
    each, together = bench.sent()
    assert [one["resourceName"] for one in each["resources"]] == ["depot-1", "depot-2"]
    assert said(each, 0) == said(each, 1)
    [total] = together["resources"]
    assert total["resourceName"] == "AGGREGATED_REPORT"
    assert said(together) == [(0, {"USAGE": 0}), (1, {"USAGE": 3.75}), (2, {"USAGE": 7.5}), (3, {"USAGE": 11.25})]


def test_a_sum_of_which_a_part_is_unknown_is_unknown() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.usage.unknown_nodes.add("site-02")
        bench.vtn.event(**wants({**USAGE, "targets": ["depot-1", "depot-2"], "aggregate": True}))
        bench.vtn.event("e2", **wants({**USAGE, "targets": ["depot-1", "depot-2"]}))
        await bench.run(seconds=70 * 60)

    bench = reporting(scenario, resources=RESOURCES)
    [report] = bench.sent()
    assert report["eventID"] == "e2"
    assert [one["resourceName"] for one in report["resources"]] == ["depot-1"], "one that fails harms no other"


def test_targets_choose_resources_in_both_dialects() -> None:
    for dialect, targets in (
        (Dialect.V310, ["depot-2"]),
        (Dialect.V301, [{"type": "RESOURCE_NAME", "values": ["depot-2"]}]),
    ):
        bench = after(wants({**USAGE, "targets": targets}), resources=RESOURCES, dialect=dialect)
        [report] = bench.sent()
        assert [one["resourceName"] for one in report["resources"]] == ["depot-2"]


@pytest.mark.parametrize(
    ("descriptor", "value"),
    [
        pytest.param({"payloadType": "USAGE"}, 3.75, id="usage"),
        pytest.param({"payloadType": "USAGE", "units": "WH"}, 3750, id="usage-wh"),
        pytest.param({"payloadType": "USAGE", "units": "MWH"}, 0.00375, id="usage-mwh"),
        pytest.param({"payloadType": "USAGE", "units": "KW"}, 15, id="usage-kw"),
        pytest.param({"payloadType": "DEMAND"}, 15, id="demand"),
        pytest.param({"payloadType": "DEMAND", "units": "W"}, 15_000, id="demand-w"),
        pytest.param({"payloadType": "DEMAND", "readingType": "PEAK"}, 29, id="demand-peak"),
        pytest.param({"payloadType": "READING", "units": "KW"}, 29, id="reading"),
        pytest.param({"payloadType": "DATA_QUALITY"}, "OK", id="quality"),
    ],
)
def test_what_is_measured_is_reported_in_the_wanted_unit(descriptor: Json, value: Any) -> None:
    bench = after(wants(descriptor))
    assert said(bench.sent()[0])[1] == (1, {descriptor["payloadType"]: value})


@pytest.mark.parametrize(
    ("descriptor", "value"),
    [
        pytest.param({"payloadType": "SETPOINT", "units": "KW"}, 100, id="set-point"),
        pytest.param({"payloadType": "OPERATING_STATE"}, "RUNNING_CURTAILED", id="state"),
        pytest.param({"payloadType": "UP_REGULATION_AVAILABLE"}, 30, id="up"),
        pytest.param({"payloadType": "DOWN_REGULATION_AVAILABLE", "units": "W"}, 60_000, id="down"),
    ],
)
def test_what_is_only_known_now_stands_in_the_interval_that_has_just_ended(descriptor: Json, value: Any) -> None:
    bench = after(wants(descriptor))
    assert said(bench.sent()[0]) == [(3, {descriptor["payloadType"]: value})]


def test_what_is_only_known_now_is_not_told_of_a_time_long_past() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants({"payloadType": "SETPOINT"}))
        await bench.run(seconds=50 * 60)
        await bench.clock.sleep(timedelta(minutes=30))
        await bench.run(seconds=10 * 60)

    assert not reporting(scenario).sent()


def test_a_forecast_of_what_could_change_holds_the_present_interval() -> None:
    rolling = {"payloadType": "UP_REGULATION_AVAILABLE", "historical": False, "startInterval": 0, "numIntervals": 3}
    bench = after(wants({**rolling, "frequency": 1, "repeat": -1}), minutes=35)
    assert [said(report) for report in bench.sent()] == [
        [(number, {"UP_REGULATION_AVAILABLE": 30})] for number in range(3)
    ]


def test_a_simple_level_is_reported_where_we_follow_it() -> None:
    event = wants({"payloadType": "SIMPLE_LEVEL"})
    event |= {"payloadDescriptors": [], "intervals": intervals("SIMPLE", 1, 3)}
    bench = after(event)
    assert said(bench.sent()[0]) == [(0, {"SIMPLE_LEVEL": 1}), (1, {"SIMPLE_LEVEL": 3})]


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"is_online": False}, "ERROR"),
        ({"is_overridden": True}, "RUNNING_OPTED_OUT"),
        ({"limit_kw": 150.0}, "RUNNING_NORMAL"),
        ({"limit_kw": 150.0, "power_kw": 0.0}, "IDLE_NORMAL"),
        ({"power_kw": 0.05}, "IDLE_CURTAILED"),
        ({"limit_kw": 150.0, "power_kw": None}, "NORMAL"),
        ({"power_kw": None}, None),
        ({"is_online": None}, None),
        ({"is_short": True}, "ERROR"),
    ],
    ids=["error", "opted-out", "running", "idle", "idle-curtailed", "normal", "power-unknown", "unknown", "not-kept"],
)
def test_the_operating_state_says_what_is_known(change: dict[str, Any], state: str | None) -> None:
    async def scenario(bench: ReportBench) -> None:
        for name, value in change.items():
            setattr(bench.status, name, value)
        bench.vtn.event(**wants({"payloadType": "OPERATING_STATE"}))
        await bench.run(seconds=70 * 60)

    found = reporting(scenario).sent()
    assert [said(report) for report in found] == ([] if state is None else [[(3, {"OPERATING_STATE": state})]])


def test_quality_stands_beside_the_value_in_one_report() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.usage.coverage = 0.5
        bench.usage.known_until = START + 30 * MINUTE
        bench.vtn.event(**wants({**USAGE, "units": "KWH"}, {"payloadType": "DATA_QUALITY"}))
        await bench.run(seconds=70 * 60)

    [report] = reporting(scenario).sent()
    assert said(report) == [
        (0, {"USAGE": 0, "DATA_QUALITY": "ESTIMATED"}),
        (1, {"USAGE": 3.75, "DATA_QUALITY": "ESTIMATED"}),
        (2, {"DATA_QUALITY": "MISSING"}),
        (3, {"DATA_QUALITY": "MISSING"}),
    ]


@pytest.mark.parametrize(
    ("descriptor", "reason"),
    [
        ({"payloadType": "STORAGE_CHARGE_LEVEL"}, "no source"),
        ({"payloadType": "GENERATION_DELTA_AVAILABLE"}, "no source"),
        ({"payloadType": "PRIVATE"}, "no source"),
        ({"payloadType": "USAGE", "units": "THERM"}, "energy or power"),
        ({"payloadType": "DEMAND", "units": "KWH"}, "power"),
        ({"payloadType": "USAGE", "historical": False}, "forecast"),
        ({"payloadType": "USAGE", "readingType": "FORECAST"}, "forecast"),
        ({"payloadType": "USAGE", "repeat": 0}, "repeat"),
        ({"payloadType": "USAGE", "targets": ["somebody-else"]}, "nothing of ours"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(str(one) for one in value.values()),
)
def test_what_cannot_be_answered_is_left_out_and_says_why(descriptor: Json, reason: str) -> None:
    bench = after(wants(descriptor, {"payloadType": "DEMAND", "units": "KW"}))
    [report] = bench.sent()
    assert set(said(report)[0][1]) == {"DEMAND"}
    refused = next(duty for duty in bench.duties() if duty.index == 0)
    assert reason in refused.problem
    assert refused.is_finished


def test_unanswered_duties_are_told_while_the_event_is_there() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants({"payloadType": "STORAGE_CHARGE_LEVEL"}))
        engine = bench.engine
        assert engine is not None
        await bench.run(seconds=30)
        assert list(engine.unanswered) == ["vtn:test:e1:0"]

    reporting(scenario)


# ---------------------------------------------------------------- moments of our own


def test_b16_ad_hoc_reports_tell_a_change_of_state_once() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants({"payloadType": "OPERATING_STATE", "frequency": 0, "repeat": -1}))
        await bench.run(
            (1800, lambda: setattr(bench.status, "limit_kw", 150.0)),
            (1860, lambda: setattr(bench.status, "power_kw", 41.0)),
            seconds=50 * 60,
        )

    bench = reporting(scenario)
    states = [said(report)[0][1]["OPERATING_STATE"] for report in bench.sent()]
    assert states == ["RUNNING_CURTAILED", "RUNNING_NORMAL"]


def test_b16_ad_hoc_measured_values_come_each_quarter_and_as_often_as_wanted() -> None:
    bench = after(wants({**USAGE, "frequency": 0, "repeat": 3}), minutes=90)
    starts = [report["resources"][0]["intervalPeriod"]["start"] for report in bench.sent()]
    assert len(starts) == 3
    assert sorted(set(starts)) == starts


def test_b16_a_state_of_now_is_asked_once() -> None:
    event = {
        "intervalPeriod": period("0001-01-01T00:00:00Z", "PT0S"),
        "reportDescriptors": [
            {"payloadType": "UP_REGULATION_AVAILABLE", "frequency": 0, "reportIntervals": "OPEN_INTERVALS"},
            {"payloadType": "DOWN_REGULATION_AVAILABLE", "frequency": 0, "reportIntervals": "OPEN_INTERVALS"},
        ],
    }
    bench = after(event, minutes=10)
    [report] = bench.sent()
    assert said(report) == [(0, {"UP_REGULATION_AVAILABLE": 30, "DOWN_REGULATION_AVAILABLE": 60})]


# ---------------------------------------------------------------- outages, refusals, restarts, changes


def test_b17_a_report_that_is_there_already_is_replaced() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants(USAGE))
        there = {"id": "r-7", "eventID": "e1", "clientName": "Depot A&B", "reportName": "e1.0.0.0", "resources": []}
        bench.vtn.reports["r-7"] = {**there, "createdDateTime": "x", "objectType": "REPORT"}
        bench.vtn.once("POST /reports", 409, {"status": 409, "title": "Conflict"})
        await bench.run(seconds=70 * 60)

    bench = reporting(scenario)
    [report] = bench.sent()
    assert (report["id"], ids_of(report)) == ("r-7", [0, 1, 2, 3])
    assert len(bench.vtn.asked("PUT /reports/r-7")) == 1
    assert bench.duties()[0].report_id == "r-7"


def test_b17_through_an_outage_each_report_arrives_once() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants({**USAGE, "frequency": 1, "repeat": -1}))
        await bench.run(
            (20 * 60, lambda: setattr(bench.vtn, "is_down", True)),
            (55 * 60, lambda: setattr(bench.vtn, "is_down", False)),
            seconds=75 * 60,
        )

    bench = reporting(scenario)
    assert [ids_of(report) for report in bench.sent()] == [[0], [1], [2], [3]]
    assert len(set(names(bench))) == 4
    assert all(row.sent_at is not None for row in bench.rows())


def test_b17_a_lost_answer_does_not_make_a_second_report() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants(USAGE))
        original = bench.vtn.request

        async def deaf(request: Any) -> Any:
            reply = await original(request)
            if (
                request.method == "POST"
                and request.url.endswith("/reports")
                and len(bench.vtn.asked("POST /reports")) == 1
            ):
                return type(reply)(status=200, body=b"")
            return reply

        bench.vtn.request = deaf  # type: ignore[method-assign]  # the answer is lost on its way
        await bench.run(seconds=70 * 60)

    bench = reporting(scenario)
    assert len(bench.vtn.asked("POST /reports")) == 1
    assert [row.sent_at is not None for row in bench.rows()] == [True]
    assert bench.duties()[0].report_id == "report-1"


@pytest.mark.parametrize("minute", [20, 59.99, 60.5, 75], ids=lambda value: f"{value:g}")
def test_b17_a_kill_at_any_step_loses_nothing_and_repeats_nothing(minute: float) -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants({**USAGE, "frequency": 1, "repeat": -1}))
        await bench.run(seconds=minute * 60)
        await bench.run(seconds=30 * 60)
        await bench.run(seconds=(80 - minute) * 60 if minute < 80 else 60)

    assert [ids_of(report) for report in reporting(scenario).sent()] == [[0], [1], [2], [3]]


def test_b17_a_duty_of_long_ago_is_remembered_although_it_was_not_taken_up() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants(USAGE))
        await bench.run(seconds=70 * 60)
        find = bench.store.find

        async def forgetful(kind: Any, *what: Any, **how: Any) -> Any:
            return [] if kind is ReportDuty else await find(kind, *what, **how)

        bench.store.find = forgetful  # type: ignore[method-assign]  # as if too many others were newer
        await bench.run(seconds=10 * 60)

    assert len(reporting(scenario).vtn.asked("POST /reports")) == 1


def test_b17_what_was_made_up_before_a_kill_is_sent_after_it() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants(USAGE))
        await bench.run(seconds=59 * 60)
        bench.vtn.once("POST /reports", 500, {"status": 500})
        await bench.run(seconds=61.5 * 60 - 59 * 60)
        assert len(bench.rows()) == 1
        bench.vtn.is_down = True
        await bench.run(seconds=60)
        bench.vtn.is_down = False
        await bench.run(seconds=10 * 60)

    bench = reporting(scenario)
    assert [ids_of(report) for report in bench.sent()] == [[0, 1, 2, 3]]
    assert len(bench.rows()) == 1


def test_one_that_is_refused_again_and_again_is_given_up_and_harms_no_other() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants(USAGE))
        bench.vtn.event("e2", **wants(USAGE))
        refuse = bench.vtn.on_request

        def watch(heard: Any) -> None:
            if (heard.method, heard.path) == ("POST", "/reports") and heard.content["eventID"] == "e1":
                bench.vtn.once("POST /reports", 400, {"status": 400, "detail": "no"})
            refuse(heard)

        bench.vtn.on_request = watch
        await bench.run(seconds=100 * 60)

    bench = reporting(scenario)
    assert [report["eventID"] for report in bench.sent()] == ["e2"]
    dropped = {row.request: row.dropped_at is not None for row in bench.rows()}
    assert dropped == {"vtn:test:e1:0": True, "vtn:test:e2:0": False}
    assert len([one for one in bench.vtn.asked("POST /reports") if one.content["eventID"] == "e1"]) == 5


def test_a_busy_vtn_is_left_alone_as_long_as_it_wants() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants(USAGE))
        bench.vtn.event("e2", **wants(USAGE))
        bench.vtn.once("POST /reports", 503, {"status": 503}, retry_after="600")
        await bench.run(seconds=80 * 60)

    bench = reporting(scenario)
    refused, *later = bench.vtn.asked("POST /reports")
    assert [one.at - refused.at >= timedelta(minutes=10) for one in later] == [True, True]
    assert len(bench.sent()) == 2


def test_an_event_that_is_gone_asks_for_nothing_more() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants({**USAGE, "frequency": 1, "repeat": -1}))
        await bench.run((20 * 60, bench.vtn.events.clear), seconds=70 * 60)

    bench = reporting(scenario)
    assert [ids_of(report) for report in bench.sent()] == [[0]]
    assert bench.duties()[0].is_finished


def test_a_changed_event_goes_on_after_what_was_reported() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants({**USAGE, "frequency": 1, "repeat": -1}))
        longer = wants({**USAGE, "frequency": 1, "repeat": -1}, kw=[10.0] * 6)
        await bench.run((35 * 60, lambda: bench.vtn.event(**longer)), seconds=100 * 60)

    bench = reporting(scenario)
    assert [ids_of(report) for report in bench.sent()] == [[n] for n in range(6)]
    assert names(bench)[2] == "e1.0.1.2"


def test_when_the_disk_is_full_nothing_is_sent_that_is_not_kept() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants(USAGE))
        await bench.run(
            (55 * 60, lambda: setattr(bench.store, "is_down", True)),
            (62 * 60, lambda: setattr(bench.store, "is_down", False)),
            seconds=75 * 60,
        )

    bench = reporting(scenario)
    [asked] = bench.vtn.asked("POST /reports")
    assert asked.at >= START + 62 * MINUTE


def test_readings_that_cannot_be_had_are_asked_for_again() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants(USAGE))
        bench.usage.is_down = True
        await bench.run((90 * 60, lambda: setattr(bench.usage, "is_down", False)), seconds=95 * 60)

    assert [ids_of(report) for report in reporting(scenario).sent()] == [[0, 1, 2, 3]]


def test_health_counts_what_is_not_taken_yet() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants(USAGE))
        bench.vtn.once("POST /reports", 500, {"status": 500})
        ven = bench.ven
        await bench.run(seconds=60 * 60 + 2)
        assert ven.health().pending_reports == 1

    reporting(scenario)


def test_parts_have_the_length_that_is_set() -> None:
    fine = ReportSettings(part=timedelta(minutes=5))
    bench = after(wants({**USAGE, "reportIntervals": "SUB_INTERVALS"}, kw=[1.0]), report_settings=fine)
    assert ids_of(bench.sent()[0]) == [0, 0, 0]
