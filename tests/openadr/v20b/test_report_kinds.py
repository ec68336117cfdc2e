"""What a utility's test tool asks for, kind by kind: usage, status, history and METADATA; in virtual time.

Every message of the VEN is validated against the schema when it arrives at the scripted VTN.
"""

from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.domain.programs import PendingReport
from gateway.domain.signals import ReportRequest
from gateway.openadr.v20b.report_schedule import is_finished
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import Bench, Said, virtually
from tests.openadr.virtual_life import START, TENANT

MINUTE = timedelta(minutes=1)
ONCE: dict[str, Any] = {"granularity": "PT0S", "report_back": "PT0S"}
STATUS: dict[str, Any] = {"specifier": "telemetry-status", "r_ids": ("vpp-be-status",)}
HISTORY: dict[str, Any] = {"specifier": "history-usage"}


def asks(bench: Bench, *requests: str) -> None:
    bench.vtn.queue.append(messages.create_report(*requests))


def updates(bench: Bench, request_id: str = "RR-1") -> list[Said]:
    return [said for said in bench.vtn.acknowledged if said.text("//ei:reportRequestID") == request_id]


def starts(said: Said) -> list[datetime]:
    return [datetime.fromisoformat(text) for text in said.texts("//ei:interval/xcal:dtstart/xcal:date-time")]


def seconds(bench: Bench, request_id: str = "RR-1") -> list[float]:
    """Return when each interval that was told began, in seconds since the start of the test."""
    return [(one - START).total_seconds() for said in updates(bench, request_id) for one in starts(said)]


def values(said: Said, r_id: str) -> list[float]:
    payloads = said.root.xpath("//*[local-name()='oadrReportPayload']")
    mine = [one for one in payloads if one.findtext("{*}rID") == r_id]
    return [float(one.findtext("{*}payloadFloat/{*}value")) for one in mine]


def stored(bench: Bench, request_id: str = "RR-1") -> ReportRequest:
    return next(row for row in bench.store.all(ReportRequest, TENANT) if row.report_request_id == request_id)


def served(bench: Bench) -> list[str]:
    """Return the requests that are not over, as they are on disk."""
    return [row.report_request_id for row in bench.store.all(ReportRequest, TENANT) if not is_finished(row)]


# ---------------------------------------------------------------- status


def test_a28_a_status_is_told_once_after_it_was_confirmed() -> None:
    async def scenario(bench: Bench) -> None:
        bench.status.change("vpp-be", limit_kw=40.0, is_overridden=True)
        await bench.play((5, lambda: asks(bench, messages.report_request(**ONCE, **STATUS))), seconds=600)

    bench = virtually(scenario)
    names = bench.vtn.names()
    assert names.index("CreatedReport") < names.index("UpdateReport")
    (said,) = updates(bench)
    assert said.text("//ei:reportName") == "TELEMETRY_STATUS"
    assert said.text("//ei:reportSpecifierID") == "telemetry-status"
    assert (said.text("//oadr:oadrOnline"), said.text("//oadr:oadrManualOverride")) == ("true", "true")
    assert [
        float(said.text(f"//oadr:oadrSetPoint/oadr:{name}") or "nan")
        for name in ("oadrMin", "oadrMax", "oadrCurrent", "oadrNormal")
    ] == [10.0, 100.0, 40.0, 100.0]
    assert float(said.text("//oadr:oadrCapacity/oadr:oadrCurrent") or "nan") == 0.4
    assert said.text("//oadr:oadrDataQuality") == "Quality Good - Local Override"
    assert said.at == START + timedelta(seconds=10)
    assert stored(bench).reported_until == stored(bench).end


def test_a27_a_status_and_usage_at_once_in_one_message_each_have_their_own_points() -> None:
    async def scenario(bench: Bench) -> None:
        status = messages.report_request("RR-1", **ONCE, **STATUS)
        usage = messages.report_request("RR-2", **ONCE, r_ids=("vpp-be-power", "vpp-be-energy"))
        await bench.play((125, lambda: asks(bench, status, usage)), seconds=300)

    bench = virtually(scenario)
    (status,), (usage,) = updates(bench, "RR-1"), updates(bench, "RR-2")
    assert status.texts("//ei:interval//ei:rID") == ["vpp-be-status"]
    assert usage.texts("//ei:interval//ei:rID") == ["vpp-be-power", "vpp-be-energy"]
    assert values(usage, "vpp-be-power") == [1.0]
    assert values(usage, "vpp-be-energy") == [pytest.approx(1.0 / 60.0)]


def test_a_status_every_minute_for_five_minutes_from_now() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(report_back="PT1M", start="2025-10-15T08:00:25Z", duration="PT5M", **STATUS)
        await bench.play((5, lambda: asks(bench, request)), seconds=900)

    bench = virtually(scenario)
    assert seconds(bench) == [25.0, 85.0, 145.0, 205.0, 265.0]
    assert [(said.at - START).total_seconds() for said in updates(bench)] == seconds(bench)
    assert {said.text("//ei:interval/xcal:duration/xcal:duration") for said in updates(bench)} == {"PT1M"}
    assert served(bench) == []


def test_statuses_are_gathered_until_they_are_to_be_told() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(report_back="PT2M", start="2025-10-15T08:00:25Z", duration="PT5M", **STATUS)
        await bench.play((5, lambda: asks(bench, request)), seconds=900)

    bench = virtually(scenario)
    assert [len(starts(said)) for said in updates(bench)] == [2, 2, 1]
    assert seconds(bench) == [25.0, 85.0, 145.0, 205.0, 265.0]
    assert len(bench.store.all(PendingReport, TENANT)) == 3


def test_a_status_without_an_end_goes_on_until_it_is_cancelled() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(report_back="PT1M", start="2025-10-15T08:00:25Z", **STATUS)
        await bench.play(
            (5, lambda: asks(bench, request)),
            (601, lambda: bench.vtn.queue.append(messages.cancel_report("RR-1"))),
            seconds=1200,
        )

    assert seconds(virtually(scenario)) == [25.0 + 60.0 * i for i in range(10)]


def test_a_status_on_change_is_told_when_it_changes_and_only_then() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(
            granularity="PT0S", report_back="PT1M", start="2025-10-15T08:02:00Z", **STATUS
        )
        await bench.play(
            (5, lambda: asks(bench, request)),
            (300, lambda: bench.status.change("vpp-be", power_kw=99.0)),
            (605, lambda: bench.status.change("vpp-be", limit_kw=40.0)),
            (625, lambda: bench.status.change("vpp-be", is_online=False)),
            (905, lambda: bench.status.change("vpp-be", is_online=True)),
            seconds=1800,
        )

    bench = virtually(scenario)
    assert seconds(bench) == [120.0, 610.0, 630.0, 910.0]
    assert [(said.at - START).total_seconds() for said in updates(bench)] == [180.0, 660.0, 960.0]
    assert updates(bench)[1].texts("//oadr:oadrOnline") == ["true", "false"]
    assert updates(bench)[1].texts("//oadr:oadrSetPoint/oadr:oadrCurrent") == ["40.0", "40.0"]


def test_only_the_resource_that_changed_is_told() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(
            granularity="PT0S",
            report_back="PT1M",
            specifier="telemetry-status",
            r_ids=("vpp-be-status", "site-01-status"),
        )
        await bench.play(
            (5, lambda: asks(bench, request)), (300, lambda: bench.status.change("site-01", limit_kw=1.0)), seconds=600
        )

    first, second = updates(virtually(scenario))
    assert first.texts("//ei:interval//ei:rID") == ["vpp-be-status", "site-01-status"]
    assert second.texts("//ei:interval//ei:rID") == ["site-01-status"]


def test_what_was_told_is_known_after_a_restart() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(granularity="PT0S", report_back="PT1M", **STATUS)
        await bench.play((5, lambda: asks(bench, request)), seconds=200)
        await bench.run(seconds=200)
        bench.status.change("vpp-be", is_overridden=True)
        await bench.run(seconds=200)

    bench = virtually(scenario)
    assert [said.text("//oadr:oadrManualOverride") for said in updates(bench)] == ["false", "true"]


def test_statuses_of_an_outage_are_told_later_in_order() -> None:
    async def scenario(bench: Bench) -> None:
        def fall() -> None:
            bench.vtn.is_down = True

        def rise() -> None:
            bench.vtn.is_down = False

        often = messages.report_request("RR-1", report_back="PT1M", start="2025-10-15T08:00:25Z", **STATUS)
        changes = messages.report_request("RR-2", granularity="PT0S", report_back="PT1M", **STATUS)
        steps = [
            (at, lambda kw=float(at): bench.status.change("vpp-be", limit_kw=kw / 100.0)) for at in (605, 905, 1505)
        ]
        await bench.play((5, lambda: asks(bench, often, changes)), (300, fall), *steps, (1800, rise), seconds=2500)

    bench = virtually(scenario)
    assert seconds(bench, "RR-1") == [25.0 + 60.0 * i for i in range(42)]
    assert [
        float(kw) for said in updates(bench, "RR-2") for kw in said.texts("//oadr:oadrSetPoint/oadr:oadrCurrent")
    ] == [
        100.0,
        6.05,
        9.05,
        15.05,
    ]
    told = seconds(bench, "RR-2")
    assert told == sorted(told)
    assert all(abs(at - changed) <= 10.0 for at, changed in zip(told[1:], (605, 905, 1505), strict=True))


def test_a34_a_resource_that_cannot_be_looked_at_harms_no_other_and_an_unknown_one_is_not_online() -> None:
    async def scenario(bench: Bench) -> None:
        bench.status.failing_nodes = {"site-01"}
        bench.status.change("vpp-be", is_online=None)
        request = messages.report_request(
            report_back="PT1M",
            start="2025-10-15T08:00:25Z",
            duration="PT3M",
            specifier="telemetry-status",
            r_ids=("site-01-status", "vpp-be-status"),
        )
        await bench.play((5, lambda: asks(bench, request)), (100, bench.status.failing_nodes.clear), seconds=300)

    told = updates(virtually(scenario))
    assert [said.texts("//ei:interval//ei:rID") for said in told] == [
        ["vpp-be-status"],
        ["vpp-be-status"],
        ["site-01-status", "vpp-be-status"],
    ]
    assert told[0].text("//oadr:oadrOnline") == "false"
    assert told[0].text("//oadr:oadrDataQuality") == "Quality Bad - Not Connected"


# ---------------------------------------------------------------- usage


def test_a30_ninety_seconds_are_ninety_seconds() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(
            granularity="PT1M30S", report_back="PT3M", start="2025-10-15T08:00:30Z", duration="PT15M"
        )
        await bench.play((5, lambda: asks(bench, request)), seconds=1200)

    bench = virtually(scenario)
    assert seconds(bench) == [30.0 + 90.0 * i for i in range(10)]
    assert [len(starts(said)) for said in updates(bench)] == [2, 2, 2, 2, 2]


def test_a34_a_meter_that_fails_harms_no_other_and_its_values_come_later() -> None:
    async def scenario(bench: Bench) -> None:
        bench.usage.failing_nodes = {"site-01"}
        request = messages.report_request(r_ids=("site-01-power", "vpp-be-power"), start="2025-10-15T08:00:00Z")
        await bench.play((5, lambda: asks(bench, request)), (500, bench.usage.failing_nodes.clear), seconds=725)

    bench = virtually(scenario)
    told = [(set(said.texts("//ei:interval//ei:rID")), len(starts(said))) for said in updates(bench)]
    both = {"site-01-power", "vpp-be-power"}
    assert told == [({"vpp-be-power"}, 2)] * 4 + [(both, 12), (both, 4)]
    for r_id in both:
        minutes = [value for said in updates(bench) for value in values(said, r_id)]
        assert minutes == [float(i) for i in range(12)]


def test_a34_a_meter_that_stays_silent_does_not_keep_a_report_from_ending() -> None:
    async def scenario(bench: Bench) -> None:
        bench.usage.failing_nodes = {"site-01"}
        request = messages.report_request(
            r_ids=("site-01-power", "vpp-be-power"), start="2025-10-15T08:00:00Z", duration="PT4M"
        )
        await bench.play((5, lambda: asks(bench, request)), seconds=3600)

    bench = virtually(scenario, report_patience=timedelta(minutes=30))
    assert [len(starts(said)) for said in updates(bench)] == [2, 2]
    assert served(bench) == []
    assert stored(bench).reported_until == START + 4 * MINUTE


def test_energy_and_power_of_two_resources_in_one_report() -> None:
    async def scenario(bench: Bench) -> None:
        points = ("vpp-be-power", "vpp-be-energy", "site-01-power", "site-01-energy")
        await bench.play((5, lambda: asks(bench, messages.report_request(r_ids=points))), seconds=130)

    bench = virtually(scenario)
    (said,) = updates(bench)
    assert [node for node, _ in bench.usage.asked] == ["vpp-be", "site-01"], "a node is read once for both"
    assert values(said, "site-01-power") == [0.0, 1.0]
    assert values(said, "site-01-energy") == [0.0, pytest.approx(1.0 / 60.0)]


# ---------------------------------------------------------------- history


def test_a31_the_whole_history_has_at_least_a_hundred_points_of_each() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(
            **ONCE, **HISTORY, start="2025-10-15T08:00:05Z", r_ids=("vpp-be-power", "vpp-be-energy")
        )
        await bench.play((5, lambda: asks(bench, request)), seconds=300)

    bench = virtually(scenario)
    (said,) = updates(bench)
    assert said.text("//ei:reportName") == "HISTORY_USAGE"
    assert values(said, "vpp-be-power") == [float(i - 192) for i in range(192)]
    assert len(values(said, "vpp-be-energy")) == 192


def test_a31_half_an_hour_of_history_is_exactly_its_points() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(**ONCE, **HISTORY, start="2025-10-15T07:30:00Z", duration="PT30M")
        await bench.play((5, lambda: asks(bench, request)), seconds=300)

    (said,) = updates(virtually(scenario))
    assert values(said, "vpp-be-power") == [float(i - 30) for i in range(30)]
    assert said.texts("//oadr:oadrReport/xcal:dtstart/xcal:date-time") == ["2025-10-15T07:30:00Z"]
    assert said.texts("//oadr:oadrReport/xcal:duration/xcal:duration") == ["PT30M"]


def test_a31_history_has_no_points_where_nothing_was_measured() -> None:
    async def scenario(bench: Bench) -> None:
        bench.usage.known_until = START - timedelta(minutes=10)
        request = messages.report_request(**ONCE, **HISTORY, start="2025-10-15T07:30:00Z", duration="PT30M")
        await bench.play((5, lambda: asks(bench, request)), seconds=300)

    (said,) = updates(virtually(scenario))
    assert values(said, "vpp-be-power") == [float(i - 30) for i in range(20)]


def test_history_without_any_point_is_waited_for_and_then_over() -> None:
    async def scenario(bench: Bench) -> None:
        bench.usage.known_until = START - timedelta(days=1)
        request = messages.report_request(**ONCE, **HISTORY, start="2025-10-15T07:30:00Z", duration="PT30M")
        await bench.play((5, lambda: asks(bench, request)), seconds=3000)
        assert served(bench) == []

    bench = virtually(scenario, report_patience=timedelta(minutes=20))
    assert not updates(bench)
    assert stored(bench).reported_until == START


def test_a_long_history_comes_in_pieces() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(**ONCE, **HISTORY, start="2025-10-13T08:00:00Z", duration="P2D")
        await bench.play((5, lambda: asks(bench, request)), seconds=300)

    bench = virtually(scenario)
    assert [len(starts(said)) for said in updates(bench)] == [1000, 1000, 880]
    assert seconds(bench) == [60.0 * (i - 2880) for i in range(2880)]


# ---------------------------------------------------------------- METADATA


def test_metadata_every_minute_for_three_minutes() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(
            "RR-M",
            specifier="METADATA",
            granularity="PT0S",
            report_back="PT1M",
            start="2025-10-15T08:00:30Z",
            duration="PT3M",
        )
        await bench.play((5, lambda: asks(bench, request)), seconds=600)

    bench = virtually(scenario)
    given = [said for said in bench.vtn.all("RegisterReport") if said.text("//ei:reportRequestID") == "RR-M"]
    assert [(said.at - START).total_seconds() for said in given] == [30.0, 90.0, 150.0]


def test_metadata_that_was_asked_for_is_given_after_an_outage_and_a_restart() -> None:
    async def scenario(bench: Bench) -> None:
        def fail() -> None:
            bench.vtn.script["RegisterReport"] = lambda _: messages.oadr_response(500)
            asks(bench, messages.report_request("RR-M", specifier="METADATA", **ONCE))

        await bench.play((5, fail), seconds=60)
        bench.vtn.script.clear()
        bench.vtn.heard.clear()
        await bench.run(seconds=60)

    bench = virtually(scenario)
    asked = [said for said in bench.vtn.all("RegisterReport") if said.text("//ei:reportRequestID") == "RR-M"]
    assert len(asked) == 1


def test_what_is_asked_for_in_answer_to_requested_metadata_does_not_end_other_reports() -> None:
    async def scenario(bench: Bench) -> None:
        def wanting() -> None:
            wish = messages.report_request("RR-9", r_ids=("site-01-power",))
            bench.vtn.script["RegisterReport"] = lambda _: messages.registered_report(wish)
            asks(bench, messages.report_request("RR-M", specifier="METADATA", **ONCE))

        await bench.play((5, lambda: asks(bench, messages.report_request())), (130, wanting), seconds=500)

    bench = virtually(scenario)
    assert len(updates(bench, "RR-1")) == 4
    assert updates(bench, "RR-9")


# ---------------------------------------------------------------- cancel


@pytest.mark.parametrize("is_inside", [False, True], ids=["alone", "inside-updated-report"])
@pytest.mark.parametrize(
    "request_text",
    [
        messages.report_request(start="2025-10-15T08:00:20Z"),
        messages.report_request(report_back="PT1M", start="2025-10-15T08:00:20Z", **STATUS),
        messages.report_request(granularity="PT0S", report_back="PT1M", start="2025-10-15T08:00:20Z", **STATUS),
    ],
    ids=["usage", "status", "status-on-change"],
)
def test_a33_one_more_update_after_a_cancel_with_report_to_follow(request_text: str, is_inside: bool) -> None:
    async def scenario(bench: Bench) -> None:
        def acknowledge(said: Said) -> bytes:
            bench.vtn.acknowledged.append(said)
            is_time = is_inside and len(bench.vtn.acknowledged) == 1
            return messages.updated_report(cancel=["RR-1"], to_follow=True) if is_time else messages.updated_report()

        bench.vtn.script["UpdateReport"] = acknowledge
        steps = [(5, lambda: asks(bench, request_text))]
        if not is_inside:
            steps.append((155, lambda: bench.vtn.queue.append(messages.cancel_report("RR-1", to_follow=True))))
        await bench.play(*steps, seconds=900)

    bench = virtually(scenario)
    cancelled = bench.vtn.all("CanceledReport")[0]
    assert (cancelled.text("//ei:responseCode"), cancelled.texts("//ei:reportRequestID")) == ("200", [])
    after = [said for said in bench.vtn.heard[bench.vtn.heard.index(cancelled) :] if said.name == "UpdateReport"]
    assert len(after) == 1
    assert after[0].at <= cancelled.at + timedelta(seconds=1)
    told = seconds(bench)
    assert told == sorted(set(told))
    assert served(bench) == []


def test_a_cancel_that_is_said_again_is_confirmed_again() -> None:
    async def scenario(bench: Bench) -> None:
        cancel = messages.cancel_report("RR-1")
        await bench.play(
            (5, lambda: asks(bench, messages.report_request())),
            (25, lambda: bench.vtn.queue.extend([cancel, cancel, messages.cancel_report("RR-1", "RR-9")])),
            seconds=60,
        )

    answers = virtually(scenario).vtn.all("CanceledReport")
    assert [said.text("//ei:responseCode") for said in answers] == ["200", "200", "452"]


def test_what_is_meant_for_another_ven_is_refused() -> None:
    async def scenario(bench: Bench) -> None:
        def misdirect() -> None:
            create = messages.create_report(messages.report_request("RR-2"))
            cancel = messages.cancel_report("RR-1").replace(
                b"</oadr:oadrCancelReport>", b"<ei:venID>ven-2</ei:venID></oadr:oadrCancelReport>"
            )
            bench.vtn.queue.extend([create.replace(b"<ei:venID>ven-1<", b"<ei:venID>ven-2<"), cancel])

        await bench.play((5, lambda: asks(bench, messages.report_request())), (25, misdirect), seconds=60)

    bench = virtually(scenario)
    assert [said.text("//ei:responseCode") for said in bench.vtn.all("CreatedReport")] == ["200", "452"]
    (refused,) = bench.vtn.all("CanceledReport")
    assert (refused.text("//ei:responseCode"), refused.texts("//ei:reportRequestID")) == ("452", ["RR-1"])
    assert served(bench) == ["RR-1"]
