"""Reports: offered, asked for, delivered through outages without loss or repeat, and ended; in virtual time."""

from collections import deque
from datetime import datetime, timedelta

import pytest

from gateway.domain.signals import ReportRequest
from gateway.openadr.v20b.settings import ReportPoint
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import Bench, Said, virtually
from tests.openadr.virtual_life import START, TENANT

MINUTE = timedelta(minutes=1)


def minutes_of(said: Said) -> list[int]:
    """Return the minutes since the start of the intervals in one update, as their values should say too."""
    starts = [
        round((datetime.fromisoformat(text) - START) / MINUTE)
        for text in said.texts("//ei:interval/xcal:dtstart/xcal:date-time")
    ]
    assert [round(float(text)) for text in said.texts("//ei:interval//ei:value")] == starts
    return starts


def delivered(bench: Bench, request_id: str = "RR-1") -> list[int]:
    """Return the minutes of all intervals that the VTN has acknowledged for a request, in order of arrival."""
    mine = [said for said in bench.vtn.acknowledged if said.text("//ei:reportRequestID") == request_id]
    return [minute for said in mine for minute in minutes_of(said)]


def asks(bench: Bench, *requests: str) -> None:
    bench.vtn.queue.append(messages.create_report(*requests))


def stored(bench: Bench) -> dict[str, ReportRequest]:
    return {row.report_request_id: row for row in bench.store.all(ReportRequest, TENANT)}


def wanting(bench: Bench, *requests: str) -> None:
    """Let the VTN ask for reports in answer to METADATA, under fresh ids each time as openleadr does."""
    count = iter(range(1, 100))
    bench.vtn.script["RegisterReport"] = lambda _: messages.registered_report(
        *(request.replace("RR-1", f"RR-{next(count)}") for request in requests)
    )


def test_it_offers_what_it_measures() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=15)

    offered = virtually(scenario).vtn.all("RegisterReport")[0]
    usage, status, history = (
        offered.texts(f"//oadr:oadrReport[{number}]/oadr:oadrReportDescription/ei:rID") for number in (1, 2, 3)
    )
    assert usage == history == ["vpp-be-power", "vpp-be-energy", "site-01-power", "site-01-energy"]
    assert status == ["vpp-be-status", "site-01-status"]
    assert set(offered.texts("//ei:reportDataSource/ei:resourceID")) == {"vpp-be", "site-01"}
    assert offered.texts("//ei:reportName") == [
        "METADATA_TELEMETRY_USAGE",
        "METADATA_TELEMETRY_STATUS",
        "METADATA_HISTORY_USAGE",
    ]
    assert len(offered.root.xpath("//*[local-name()='powerReal']")) == 4
    assert len(offered.root.xpath("//*[local-name()='energyReal']")) == 4
    assert offered.texts("//oadr:oadrReport[2]//oadr:oadrOnChange") == ["true", "true"]
    assert offered.text("//oadr:oadrSamplingRate/oadr:oadrMinPeriod") == "PT1M"
    assert offered.text("//ei:venID") == "ven-1"


def test_a38_a_resource_may_have_any_name() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=15)

    point = ReportPoint(r_id="<r&1>", node="vpp-be", resource_id="Depot A&B <1>")
    offered = virtually(scenario, report_points=(point,)).vtn.all("RegisterReport")[0]
    assert offered.texts("//oadr:oadrReport[1]//ei:rID") == ["<r&1>", "<r&1>-energy"]
    assert set(offered.texts("//ei:resourceID")) == {"Depot A&B <1>"}


def test_without_points_nothing_is_offered() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=60)

    assert not virtually(scenario, report_points=()).vtn.all("RegisterReport")


def test_an_offer_that_fails_does_not_keep_from_polling_and_is_made_again() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["RegisterReport"] = lambda _: messages.oadr_response(500)
        await bench.play((60, bench.vtn.script.clear), seconds=700)

    bench = virtually(scenario)
    assert [said.at - START for said in bench.vtn.all("RegisterReport")] == [timedelta(0), timedelta(minutes=5)]
    assert len(bench.vtn.all("Poll")) == 69


def test_what_the_vtn_asks_for_at_registration_is_kept_confirmed_and_delivered() -> None:
    async def scenario(bench: Bench) -> None:
        wanting(bench, messages.report_request())
        await bench.run(minutes=10, seconds=5)

    bench = virtually(scenario)
    created = bench.vtn.all("CreatedReport")[0]
    assert created.text("//ei:responseCode") == "200"
    assert created.texts("//oadr:oadrPendingReports/ei:reportRequestID") == ["RR-1"]
    assert [minutes_of(said) for said in bench.vtn.acknowledged] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    update = bench.vtn.acknowledged[0]
    assert update.at == START + 2 * MINUTE
    assert update.text("//ei:reportSpecifierID") == "telemetry-usage"
    assert update.text("//ei:reportName") == "TELEMETRY_USAGE"
    assert update.text("//oadr:oadrReport/ei:eiReportID") == "RR-1/2025-10-15T08:02:00Z/1"
    assert update.texts("//ei:interval/xcal:duration/xcal:duration") == ["PT1M", "PT1M"]
    assert update.texts("//ei:confidence") == ["100", "100"]
    assert stored(bench)["RR-1"].reported_until == START + 10 * MINUTE


def test_a29_ten_minutes_from_a_start_to_come_then_it_stops() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(start="2025-10-15T08:01:00Z", duration="PT10M")
        await bench.play((5, lambda: asks(bench, request)), seconds=3600)

    bench = virtually(scenario)
    assert [minutes_of(said) for said in bench.vtn.acknowledged] == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    assert stored(bench)["RR-1"].reported_until == START + 11 * MINUTE


def test_a27_two_requests_in_one_message_each_get_their_own_points() -> None:
    async def scenario(bench: Bench) -> None:
        first = messages.report_request("RR-1", r_ids=("vpp-be-power",))
        second = messages.report_request("RR-2", r_ids=("site-01-power", "vpp-be-power"), report_back="PT3M")
        await bench.play((5, lambda: asks(bench, first, second)), seconds=200)

    bench = virtually(scenario)
    points = {
        said.text("//ei:reportRequestID"): set(said.texts("//ei:interval//ei:rID")) for said in bench.vtn.acknowledged
    }
    assert points == {"RR-1": {"vpp-be-power"}, "RR-2": {"site-01-power", "vpp-be-power"}}
    assert bench.vtn.all("CreatedReport")[0].texts("//ei:reportRequestID") == ["RR-1", "RR-2"]
    assert {node for node, _ in bench.usage.asked} == {"vpp-be", "site-01"}


def test_one_shot_is_sent_once() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(granularity="PT0S", report_back="PT0S")
        await bench.play((125, lambda: asks(bench, request)), seconds=600)

    assert delivered(virtually(scenario)) == [1]


@pytest.mark.parametrize(
    ("request_text", "code"),
    [
        (messages.report_request(specifier="else"), "461"),
        (messages.report_request(r_ids=("nothing",)), "452"),
        (messages.report_request(granularity="PT1S"), "461"),
        (messages.report_request(report_back="-PT2M"), "454"),
    ],
    ids=range(4),
)
def test_a_wish_that_cannot_be_served_is_declined_and_the_others_are(request_text: str, code: str) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: asks(bench, request_text, messages.report_request("RR-2"))), seconds=130)

    bench = virtually(scenario)
    created = bench.vtn.all("CreatedReport")[0]
    assert created.text("//ei:responseCode") == code
    assert created.texts("//oadr:oadrPendingReports/ei:reportRequestID") == ["RR-2"]
    assert delivered(bench, "RR-2") == [0, 1]


def test_metadata_is_given_again_on_request() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(
            "RR-M", specifier="METADATA", granularity="PT0S", report_back="PT0S", r_ids=("x",)
        )
        await bench.play((5, lambda: asks(bench, request)), seconds=30)

    bench = virtually(scenario)
    assert bench.vtn.all("CreatedReport")[0].text("//ei:responseCode") == "200"
    again = bench.vtn.all("RegisterReport")[1]
    assert again.texts("//ei:reportRequestID") == ["RR-M"] * 4


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", messages.oadr_response(500), messages.updated_report(469)], ids=range(4)
)
def test_a32_what_is_not_acknowledged_is_sent_again_and_nothing_twice(answer: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.once["UpdateReport"] = deque([answer] * 5)
        await bench.play((5, lambda: asks(bench, messages.report_request())), seconds=605)

    bench = virtually(scenario)
    assert delivered(bench) == list(range(10))
    assert len(bench.vtn.all("UpdateReport")) > len(bench.vtn.acknowledged)


def test_a32_an_outage_is_made_up_for() -> None:
    async def scenario(bench: Bench) -> None:
        def fall() -> None:
            bench.vtn.is_down = True

        def rise() -> None:
            bench.vtn.is_down = False

        await bench.play((5, lambda: asks(bench, messages.report_request())), (300, fall), (3900, rise), seconds=4205)

    assert delivered(virtually(scenario)) == list(range(70))


def test_a_long_backlog_comes_in_pieces() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(start="2025-10-13T00:00:00Z", duration="PT0S")
        bench.usage.known_until = START + timedelta(days=9)
        await bench.play((5, lambda: asks(bench, request)), seconds=60)

    bench = virtually(scenario)
    sizes = [len(said.texts("//ei:interval")) for said in bench.vtn.acknowledged]
    assert max(sizes) == 1000
    assert sum(sizes) == (2 * 24 + 8) * 60


def test_a_restart_goes_on_where_the_vtn_has_acknowledged() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: asks(bench, messages.report_request())), seconds=250)
        await bench.run(seconds=250)

    assert delivered(virtually(scenario)) == list(range(8))


def test_a_vtn_that_asks_anew_after_each_registration_gets_every_interval_once() -> None:
    async def scenario(bench: Bench) -> None:
        wanting(bench, messages.report_request())
        await bench.run(seconds=250)
        await bench.clock.sleep(timedelta(minutes=3))
        await bench.run(seconds=250)

    bench = virtually(scenario)
    assert [said.text("//ei:reportRequestID") for said in bench.vtn.acknowledged] == [
        "RR-1",
        "RR-1",
        "RR-2",
        "RR-2",
        "RR-2",
    ]
    assert delivered(bench, "RR-1") + delivered(bench, "RR-2") == list(range(10))
    assert stored(bench)["RR-1"].cancelled


def test_the_same_request_told_twice_keeps_its_progress() -> None:
    async def scenario(bench: Bench) -> None:
        def deafen() -> None:
            bench.vtn.script["UpdateReport"] = lambda _: b""

        await bench.play(
            (5, lambda: asks(bench, messages.report_request())),
            (130, deafen),
            (255, lambda: asks(bench, messages.report_request())),
            (270, bench.vtn.script.clear),
            seconds=490,
        )

    assert delivered(virtually(scenario)) == list(range(8))


def test_the_same_id_with_another_wish_is_another_request() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play(
            (5, lambda: asks(bench, messages.report_request())),
            (255, lambda: asks(bench, messages.report_request(report_back="PT5M"))),
            seconds=605,
        )

    bench = virtually(scenario)
    assert [len(said.texts("//ei:interval")) for said in bench.vtn.acknowledged] == [2, 2, 5]
    assert stored(bench)["RR-1"].report_back == 5 * MINUTE


def test_readings_that_are_late_are_waited_for_and_then_passed_over() -> None:
    async def scenario(bench: Bench) -> None:
        bench.usage.known_until = START + 3 * MINUTE

        def arrive() -> None:
            bench.usage.known_until = None

        await bench.play((5, lambda: asks(bench, messages.report_request())), (400, arrive), seconds=605)
        assert delivered(bench) == list(range(10))
        bench.usage.known_until = START
        await bench.run(minutes=12)
        assert delivered(bench) == list(range(10))
        await bench.run(minutes=10)
        assert stored(bench)["RR-1"].reported_until > START + 14 * MINUTE

    virtually(scenario, report_patience=timedelta(minutes=15))


def test_a34_a_node_that_is_gone_harms_no_other() -> None:
    async def scenario(bench: Bench) -> None:
        bench.usage.unknown_nodes = {"site-01"}
        request = messages.report_request(r_ids=("site-01-power", "vpp-be-power"))
        await bench.play((5, lambda: asks(bench, request)), seconds=250)

    bench = virtually(scenario)
    assert delivered(bench) == [0, 1, 2, 3]
    assert {r_id for said in bench.vtn.acknowledged for r_id in said.texts("//ei:interval//ei:rID")} == {"vpp-be-power"}


def test_cancel_ends_a_report_at_once() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play(
            (5, lambda: asks(bench, messages.report_request(), messages.report_request("RR-2"))),
            (255, lambda: bench.vtn.queue.append(messages.cancel_report("RR-1"))),
            seconds=500,
        )

    bench = virtually(scenario)
    answer = bench.vtn.all("CanceledReport")[0]
    assert (answer.text("//ei:responseCode"), answer.texts("//ei:reportRequestID")) == ("200", ["RR-2"])
    assert delivered(bench, "RR-1") == [0, 1, 2, 3]
    assert delivered(bench, "RR-2") == list(range(8))
    assert stored(bench)["RR-1"].cancelled


def test_a33_cancel_with_a_report_to_follow_sends_one_more() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play(
            (5, lambda: asks(bench, messages.report_request())),
            (285, lambda: bench.vtn.queue.append(messages.cancel_report("RR-1", to_follow=True))),
            seconds=600,
        )

    bench = virtually(scenario)
    assert [len(said.texts("//ei:interval")) for said in bench.vtn.acknowledged] == [2, 2, 1]
    last = bench.vtn.acknowledged[-1]
    assert last.at == START + timedelta(seconds=290)
    assert last.texts("//ei:interval/xcal:duration/xcal:duration") == ["PT50S"]


def test_a_cancel_inside_an_acknowledgement_is_seen() -> None:
    async def scenario(bench: Bench) -> None:
        def acknowledge(said: Said) -> bytes:
            bench.vtn.acknowledged.append(said)
            return messages.updated_report(cancel=["RR-1"])

        bench.vtn.script["UpdateReport"] = acknowledge
        await bench.play((5, lambda: asks(bench, messages.report_request())), seconds=600)

    bench = virtually(scenario)
    assert delivered(bench) == [0, 1]
    assert bench.vtn.all("CanceledReport")[0].text("//ei:responseCode") == "200"
    assert stored(bench)["RR-1"].cancelled
    assert stored(bench)["RR-1"].reported_until == START + 2 * MINUTE


def test_a_cancel_that_ends_another_report_in_the_same_round_is_no_accident() -> None:
    async def scenario(bench: Bench) -> None:
        def acknowledge(said: Said) -> bytes:
            bench.vtn.acknowledged.append(said)
            return messages.updated_report(cancel=["RR-1", "RR-2", "RR-3"])

        bench.vtn.script["UpdateReport"] = acknowledge
        wishes = [messages.report_request(f"RR-{index}") for index in (1, 2, 3)]
        await bench.play((5, lambda: asks(bench, *wishes)), seconds=300)

    bench = virtually(scenario)
    assert len(bench.vtn.acknowledged) == 1
    assert all(request.cancelled for request in stored(bench).values())


def test_a_cancel_of_what_was_never_asked_is_declined() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: bench.vtn.queue.append(messages.cancel_report("RR-9"))), seconds=30)

    assert virtually(scenario).vtn.all("CanceledReport")[0].text("//ei:responseCode") == "452"


def test_a_request_the_vtn_has_forgotten_is_let_go() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: asks(bench, messages.report_request())), seconds=250)
        bench.vtn.script["UpdateReport"] = lambda _: messages.updated_report(452)
        await bench.run(minutes=30)

    bench = virtually(scenario)
    assert len(bench.vtn.all("UpdateReport")) == 3
    assert stored(bench)["RR-1"].cancelled


def test_a_vtn_that_forgot_us_hears_of_it_from_a_report_too() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.once["UpdateReport"] = deque([messages.updated_report(463)])
        await bench.play((5, lambda: asks(bench, messages.report_request())), seconds=500)

    bench = virtually(scenario)
    assert len(bench.vtn.all("CreatePartyRegistration")) == 2
    assert delivered(bench) == list(range(8))


def test_nothing_is_confirmed_while_the_disk_is_full() -> None:
    async def scenario(bench: Bench) -> None:
        def fill() -> None:
            bench.store.is_down = True
            asks(bench, messages.report_request())

        await bench.play((15, fill), seconds=60)

    bench = virtually(scenario)
    assert not bench.vtn.all("CreatedReport")
    assert not stored(bench)


def test_progress_that_cannot_be_kept_is_remembered_and_kept_later() -> None:
    async def scenario(bench: Bench) -> None:
        def fill() -> None:
            bench.store.is_down = True

        def free() -> None:
            bench.store.is_down = False

        await bench.play((5, lambda: asks(bench, messages.report_request())), (130, fill), (400, free), seconds=505)

    bench = virtually(scenario)
    assert delivered(bench) == list(range(8))
    assert stored(bench)["RR-1"].reported_until == START + 8 * MINUTE
