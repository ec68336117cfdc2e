"""Reports through outages, refusals, full disks and restarts: nothing is lost and nothing is told twice; in virtual time."""

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.domain.errors import PeerUnavailable
from gateway.domain.identity import Principal
from gateway.domain.programs import PendingReport
from gateway.domain.signals import ReportRequest, UsageReading
from gateway.domain.timegrid import TimeGrid
from gateway.openadr.v20b import report_book
from gateway.openadr.v20b import reports as engine
from gateway.openadr.v20b.codec_report_body import read_report, report_text
from gateway.openadr.v20b.reports import MOST_REFUSALS
from gateway.openadr.v20b.wire_reports import ControlRange, LoadStatus, Report, ReportInterval
from tests.fakes.clock import VirtualClock
from tests.openadr.desk_of_usage import DeskOfUsage
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import Bench, Said, virtually
from tests.openadr.virtual_life import START, TENANT

MINUTE = timedelta(minutes=1)
ONCE: dict[str, Any] = {"granularity": "PT0S", "report_back": "PT0S"}
STATUS: dict[str, Any] = {"specifier": "telemetry-status", "r_ids": ("vpp-be-status",)}


def asks(bench: Bench, *requests: str) -> None:
    bench.vtn.queue.append(messages.create_report(*requests))


def reports(said: list[Said]) -> dict[str, set[bytes]]:
    """Return the different contents of each report by its id."""
    found: dict[str, set[bytes]] = {}
    for one in said:
        (element,) = one.root.xpath("//*[local-name()='oadrReport']")
        found.setdefault(element.findtext("{*}eiReportID"), set()).add(etree.tostring(element, method="c14n"))
    return found


def told(said: list[Said], request_id: str = "RR-1") -> list[float]:
    """Return when every interval began that was told, in seconds since the start; a report counts once by its id."""
    seen: set[str] = set()
    found = []
    for one in said:
        report_id = one.text("//ei:eiReportID") or ""
        if one.text("//ei:reportRequestID") == request_id and report_id not in seen:
            seen.add(report_id)
            starts = one.texts("//ei:interval/xcal:dtstart/xcal:date-time")
            found += [(datetime.fromisoformat(text) - START).total_seconds() for text in starts]
    return found


def rows(bench: Bench) -> list[PendingReport]:
    return bench.store.all(PendingReport, TENANT)


def stored(bench: Bench) -> dict[str, ReportRequest]:
    return {row.report_request_id: row for row in bench.store.all(ReportRequest, TENANT)}


def silent(bench: Bench) -> Callable[[Said], bytes]:
    """Return a VTN that takes a report and dies before its acknowledgement is out."""

    def answer(said: Said) -> bytes:
        bench.vtn.acknowledged.append(said)
        raise PeerUnavailable("connection reset")

    return answer


@pytest.mark.parametrize("step", ["made", "sent", "taken"])
def test_a_restart_at_any_step_of_a_report_sends_the_very_same_again(step: str) -> None:
    async def scenario(bench: Bench) -> None:
        if step == "taken":
            bench.vtn.script["UpdateReport"] = silent(bench)
        if step == "sent":
            bench.vtn.script["UpdateReport"] = lambda _: b""
        await bench.play((5, lambda: asks(bench, messages.report_request())), seconds=119)
        if step == "made":
            bench.vtn.is_down = True
        await bench.run(seconds=60)
        bench.vtn.is_down = False
        bench.vtn.script.clear()
        await bench.run(seconds=400)

    bench = virtually(scenario)
    sent = bench.vtn.all("UpdateReport")
    assert all(len(contents) == 1 for contents in reports(sent).values())
    assert told(bench.vtn.acknowledged) == [60.0 * i for i in range(8)]
    assert (len(sent) > len(reports(sent))) == (step != "made")


def test_a_status_that_was_seen_before_a_restart_is_told_after_it() -> None:
    async def scenario(bench: Bench) -> None:
        request = messages.report_request(report_back="PT5M", start="2025-10-15T08:00:20Z", duration="PT5M", **STATUS)
        await bench.play((5, lambda: asks(bench, request)), seconds=150)
        await bench.clock.sleep(timedelta(seconds=60))
        await bench.run(seconds=600)

    bench = virtually(scenario)
    assert told(bench.vtn.acknowledged) == [20.0, 80.0, 140.0, 210.0, 260.0], (
        "the look at 200 is late: nobody was there"
    )
    assert len(reports(bench.vtn.acknowledged)) == 1
    assert stored(bench)["RR-1"].reported_until == stored(bench)["RR-1"].end


def test_the_same_words_twice_make_one_report() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["UpdateReport"] = lambda _: b""
        wishes = [messages.report_request("RR-1", **ONCE), messages.report_request("RR-2", **ONCE, **STATUS)]
        await bench.play(
            (125, lambda: asks(bench, *wishes)),
            (205, lambda: asks(bench, *wishes)),
            (300, bench.vtn.script.clear),
            seconds=900,
        )

    bench = virtually(scenario)
    assert [said.text("//ei:responseCode") for said in bench.vtn.all("CreatedReport")] == ["200", "200"]
    assert len(told(bench.vtn.acknowledged, "RR-1")) == len(told(bench.vtn.acknowledged, "RR-2")) == 1
    assert len(rows(bench)) == 2


def test_another_wish_under_the_same_id_drops_what_was_made_up_for_the_first() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["UpdateReport"] = lambda _: b""
        await bench.play(
            (5, lambda: asks(bench, messages.report_request())),
            (245, lambda: asks(bench, messages.report_request(r_ids=("site-01-power",)))),
            (300, bench.vtn.script.clear),
            seconds=900,
        )

    bench = virtually(scenario)
    assert {r_id for said in bench.vtn.acknowledged for r_id in said.texts("//ei:interval//ei:rID")} == {
        "site-01-power"
    }
    assert [row.dropped_at is not None for row in rows(bench)][:2] == [True, True]


def test_a_cancelled_request_is_not_taken_up_again_with_what_it_left() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["UpdateReport"] = lambda _: b""
        await bench.play(
            (5, lambda: asks(bench, messages.report_request())),
            (245, lambda: bench.vtn.queue.append(messages.cancel_report("RR-1"))),
            seconds=300,
        )
        bench.vtn.script.clear()
        asks(bench, messages.report_request())
        await bench.run(seconds=60)
        await bench.run(seconds=200)

    bench = virtually(scenario)
    assert told(bench.vtn.acknowledged)[0] == 300.0
    assert all((row.dropped_at is None) != (row.sent_at is None) for row in rows(bench))


def test_a_report_that_is_refused_for_ever_is_given_up_and_the_next_ones_are_told() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.once["UpdateReport"] = deque([messages.updated_report(454)] * MOST_REFUSALS)
        await bench.play((5, lambda: asks(bench, messages.report_request(report_back="PT1H"))), seconds=4 * 3600)

    bench = virtually(scenario)
    refused = [said.text("//ei:eiReportID") for said in bench.vtn.all("UpdateReport")][:MOST_REFUSALS]
    assert len(set(refused)) == 1
    assert told(bench.vtn.acknowledged)[0] == 3600.0
    assert [row.dropped_at is not None for row in rows(bench)].count(True) == 1
    actions = [entry.entry.action for entry in bench.store._audit]
    assert actions.count("openadr.report-given-up") == 1


def test_a_single_report_that_is_given_up_is_over() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["UpdateReport"] = lambda _: messages.updated_report(454)
        await bench.play((5, lambda: asks(bench, messages.report_request(**ONCE))), seconds=2 * 3600)

    bench = virtually(scenario)
    assert len(bench.vtn.all("UpdateReport")) == MOST_REFUSALS
    assert stored(bench)["RR-1"].reported_until == stored(bench)["RR-1"].end


def test_pauses_between_repetitions_grow() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["UpdateReport"] = lambda _: b""
        await bench.play((5, lambda: asks(bench, messages.report_request())), seconds=1500)

    sent = virtually(scenario).vtn.all("UpdateReport")
    gaps = [(later.at - earlier.at).total_seconds() for earlier, later in itertools.pairwise(sent)]
    assert gaps[:6] == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0]
    assert max(gaps) == 300.0


def test_while_the_disk_is_full_nothing_is_made_up_and_afterwards_all_of_it() -> None:
    async def scenario(bench: Bench) -> None:
        def fill() -> None:
            bench.store.is_down = True

        def free() -> None:
            bench.store.is_down = False

        await bench.play((5, lambda: asks(bench, messages.report_request())), (100, fill), (500, free), seconds=725)

    bench = virtually(scenario)
    assert told(bench.vtn.acknowledged) == [60.0 * i for i in range(12)]


def test_a_backlog_is_bounded_and_what_does_not_fit_stays_in_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_book, "MOST_UNSENT", 3)

    async def scenario(bench: Bench) -> None:
        def fall() -> None:
            bench.vtn.is_down = True

        def rise() -> None:
            assert len([row for row in rows(bench) if row.sent_at is None]) <= 6
            bench.vtn.is_down = False

        often = messages.report_request("RR-2", report_back="PT1M", start="2025-10-15T08:00:00Z", **STATUS)
        await bench.play(
            (5, lambda: asks(bench, messages.report_request(), often)), (200, fall), (3000, rise), seconds=3965
        )

    bench = virtually(scenario)
    assert told(bench.vtn.acknowledged) == [60.0 * i for i in range(66)]
    statuses = told(bench.vtn.acknowledged, "RR-2")
    assert statuses == sorted(set(statuses))
    assert statuses[-1] > 3000.0


def test_what_waits_for_a_vtn_survives_a_restart_however_much_it_is() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: asks(bench, messages.report_request(report_back="PT1M"))), seconds=200)
        bench.vtn.is_down = True
        await bench.run(hours=3)
        await bench.run(minutes=1)
        bench.vtn.is_down = False
        await bench.run(minutes=10)

    bench = virtually(scenario)
    made = told(bench.vtn.acknowledged)
    assert made == [60.0 * i for i in range(len(made))]
    assert len(made) > 180
    assert all(row.sent_at is not None for row in rows(bench)[:180])


@settings(max_examples=8, deadline=None)
@given(
    outages=st.lists(st.tuples(st.integers(20, 1200), st.integers(10, 400)), max_size=3),
    restarts=st.lists(st.integers(20, 1500), max_size=3, unique=True),
    lost_acks=st.sets(st.integers(1, 9), max_size=4),
)
def test_a32_every_interval_arrives_once_whatever_happens(
    outages: list[tuple[int, int]], restarts: list[int], lost_acks: set[int]
) -> None:
    async def scenario(bench: Bench) -> None:
        def take(said: Said) -> bytes:
            bench.vtn.acknowledged.append(said)
            if len(bench.vtn.acknowledged) in lost_acks:
                raise PeerUnavailable("connection reset")
            return messages.updated_report()

        def fall(until: float) -> Callable[[], None]:
            def act() -> None:
                bench.vtn.down_until = max(bench.vtn.down_until or START, START + timedelta(seconds=until))

            return act

        bench.vtn.poll_interval = "PT30S"
        bench.vtn.script["UpdateReport"] = take
        usage = messages.report_request(start="2025-10-15T08:00:30Z", duration="PT16M")
        changes = messages.report_request("RR-2", granularity="PT0S", report_back="PT1M", **STATUS)
        steps: list[tuple[float, Callable[[], None]]] = [(1, lambda: asks(bench, usage, changes))]
        steps += [(at, fall(at + length)) for at, length in outages]
        begin = 0.0
        for until in (*sorted(restarts), 3600):
            mine = sorted(((at - begin, step) for at, step in steps if begin <= at < until), key=lambda one: one[0])
            await bench.play(*mine, seconds=until - begin)
            begin = until

    bench = virtually(scenario)
    assert told(bench.vtn.acknowledged) == [30.0 + 60.0 * i for i in range(16)]
    assert all(len(contents) == 1 for contents in reports(bench.vtn.acknowledged).values())
    assert len(told(bench.vtn.acknowledged, "RR-2")) == 1
    assert stored(bench)["RR-1"].reported_until == stored(bench)["RR-1"].end


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text("A&B <1>'\"]]é中", min_size=1, max_size=9)
RANGES = st.builds(ControlRange, current=NUMBERS, low=st.none() | NUMBERS, high=st.none() | NUMBERS, normal=NUMBERS)
SECONDS = st.integers(0, 10**8).map(lambda seconds: timedelta(seconds=seconds))
INTERVALS = st.builds(
    ReportInterval,
    start=SECONDS.map(lambda span: START + span),
    duration=SECONDS,
    r_id=NAMES,
    value=NUMBERS
    | st.builds(
        LoadStatus,
        is_online=st.booleans(),
        is_overridden=st.booleans(),
        capacity=st.none() | RANGES,
        set_point=st.none() | RANGES,
    ),
    confidence=st.none() | st.integers(0, 100),
    quality=st.sampled_from([None, "Quality Good - Non Specific"]),
)


@settings(max_examples=30, deadline=None)
@given(names=st.tuples(NAMES, NAMES, NAMES), intervals=st.lists(INTERVALS, max_size=4))
def test_a38_what_is_kept_of_a_report_is_read_back_exactly(
    names: tuple[str, str, str], intervals: list[ReportInterval]
) -> None:
    report = Report(
        report_id=names[0],
        request_id=names[1],
        specifier_id=names[2],
        name="TELEMETRY_USAGE",
        created=START,
        start=START,
        duration=MINUTE,
        intervals=tuple(intervals),
    )
    assert read_report(report_text(report)) == report


def test_a_report_that_is_no_longer_offered_ends_and_harms_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: asks(bench, messages.report_request())), seconds=130)
        bench.settings = dataclasses.replace(bench.settings, report_points=())
        bench.ven = bench.build()
        await bench.run(seconds=300)

    bench = virtually(scenario)
    assert stored(bench)["RR-1"].cancelled
    assert bench.vtn.all("Poll")[-1].at > START + timedelta(seconds=400)


def test_a_kept_report_that_cannot_be_read_keeps_no_other_back() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["UpdateReport"] = lambda _: b""
        await bench.play((5, lambda: asks(bench, messages.report_request())), seconds=250)
        (first, *_) = rows(bench)
        await bench.store.seed(TENANT, dataclasses.replace(first, body="<broken"))
        bench.vtn.script.clear()
        await bench.run(seconds=60)

    assert told(virtually(scenario).vtn.acknowledged) == [120.0, 180.0]


def test_no_more_reports_are_served_than_a_vtn_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOST_REQUESTS", 2)

    async def scenario(bench: Bench) -> None:
        wishes = [messages.report_request(f"RR-{number}") for number in (1, 2, 3)]
        await bench.play((5, lambda: asks(bench, *wishes)), (35, lambda: asks(bench, wishes[0])), seconds=60)

    created = virtually(scenario).vtn.all("CreatedReport")
    assert [said.text("//ei:responseCode") for said in created] == ["451", "200"]
    assert created[0].text("//ei:responseDescription") == "RR-3: too many reports are asked for already"
    assert created[0].texts("//oadr:oadrPendingReports/ei:reportRequestID") == ["RR-1", "RR-2"]


class SlowMeters(DeskOfUsage):
    """Takes 45 s for every reading."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock.now)
        self._clock = clock

    async def usage(self, principal: Principal, node: str, grid: TimeGrid) -> Sequence[UsageReading]:
        await self._clock.sleep(timedelta(seconds=45))
        return await super().usage(principal, node, grid)


def test_a36_slow_meters_delay_neither_polls_nor_confirmations_nor_statuses() -> None:
    async def scenario(bench: Bench) -> None:
        bench.usage = SlowMeters(bench.clock)
        bench.ven = bench.build()
        usage = messages.report_request(start="2025-10-15T08:00:00Z", duration="PT4M")
        status = messages.report_request("RR-2", report_back="PT1M", start="2025-10-15T08:02:30Z", **STATUS)
        await bench.play((5, lambda: asks(bench, usage)), (125, lambda: asks(bench, status)), seconds=400)

    bench = virtually(scenario)
    polls = [(said.at - START).total_seconds() for said in bench.vtn.all("Poll")]
    assert {later - earlier for earlier, later in itertools.pairwise(polls) if later - earlier > 0.0} == {10.0}
    assert [(said.at - START).total_seconds() for said in bench.vtn.all("CreatedReport")] == [10.0, 130.0]
    assert told(bench.vtn.acknowledged) == [0.0, 60.0, 120.0, 180.0]
    assert all(at >= 150.0 for at in told(bench.vtn.acknowledged, "RR-2"))


def test_what_is_cancelled_while_the_meters_are_read_is_not_made_up() -> None:
    async def scenario(bench: Bench) -> None:
        bench.usage = SlowMeters(bench.clock)
        bench.ven = bench.build()
        await bench.play(
            (5, lambda: asks(bench, messages.report_request(start="2025-10-15T08:00:00Z"))),
            (135, lambda: bench.vtn.queue.append(messages.cancel_report("RR-1"))),
            seconds=400,
        )

    bench = virtually(scenario)
    assert stored(bench)["RR-1"].cancelled
    assert not rows(bench)


def test_a_single_status_is_told_as_soon_as_somebody_knows_it() -> None:
    async def scenario(bench: Bench) -> None:
        bench.status.failing_nodes = {"vpp-be"}
        await bench.play(
            (5, lambda: asks(bench, messages.report_request("RR-1", **ONCE, **STATUS))),
            (300, bench.status.failing_nodes.clear),
            seconds=400,
        )

    bench = virtually(scenario)
    assert told(bench.vtn.acknowledged) == [300.0]


def test_nothing_is_made_up_while_the_vtn_has_ended_our_registration() -> None:
    async def scenario(bench: Bench) -> None:
        often = messages.report_request("RR-2", report_back="PT1M", start="2025-10-15T08:00:20Z", **STATUS)
        await bench.play(
            (5, lambda: asks(bench, messages.report_request(start="2025-10-15T08:00:00Z"), often)),
            (200, lambda: bench.vtn.queue.append(messages.cancel_registration())),
            seconds=1505,
        )

    bench = virtually(scenario)
    away = (200.0, 200.0 + 900.0)
    made = [(row.made_at - START).total_seconds() for row in rows(bench)]
    assert [at for at in made if away[0] < at < away[1]] == []
    assert told(bench.vtn.acknowledged) == [60.0 * i for i in range(24)], "what was measured is told afterwards"
    assert [at for at in told(bench.vtn.acknowledged, "RR-2") if away[0] < at < away[1]] == []
    assert told(bench.vtn.acknowledged, "RR-2")[-1] > away[1]
