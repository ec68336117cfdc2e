"""Where a program wants it, a VTN learns of chargers that cannot keep its event also when the event asks for no report (o41)."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from tests.openadr.v3.memory_vtn import Json
from tests.openadr.v3.report_bench import ReportBench, reporting, said, wants

STATE: Json = {"payloadType": "OPERATING_STATE", "frequency": 0, "repeat": -1}
SETPOINT: Json = {"payloadType": "SETPOINT", "frequency": 0, "repeat": -1}


def short(at: float, *, is_short: bool) -> Callable[[ReportBench], tuple[float, Callable[[], None]]]:
    return lambda bench: (at, lambda: setattr(bench.status, "is_short", is_short))


def lived(
    descriptors: Sequence[Json],
    *steps: Callable[[ReportBench], tuple[float, Callable[[], None]]],
    minutes: float = 90,
    **changes: bool,
) -> ReportBench:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants(*descriptors))
        await bench.run(*(step(bench) for step in steps), seconds=minutes * 60)

    done: Callable[[ReportBench], Awaitable[None]] = scenario
    return reporting(done, **({"unasked_errors": True} | changes))


def states(bench: ReportBench) -> list[str]:
    found = [said(report)[0][1] for report in bench.sent()]
    return [values["OPERATING_STATE"] for values in found if "OPERATING_STATE" in values]


def test_o41_an_error_and_its_end_are_told_unasked() -> None:
    bench = lived([], short(600, is_short=True), short(1_800, is_short=False))
    assert states(bench) == ["ERROR", "RUNNING_CURTAILED"]
    assert {report["eventID"] for report in bench.sent()} == {"e1"}


def test_o41_without_an_error_nothing_is_told_unasked() -> None:
    bench = lived([], lambda one: (600, lambda: setattr(one.status, "limit_kw", 150.0)))
    assert bench.sent() == []


def test_o41_nothing_is_told_unasked_unless_it_is_wanted() -> None:
    assert lived([], short(600, is_short=True), unasked_errors=False).sent() == []


def test_o41_nothing_is_told_of_an_event_that_is_over() -> None:
    assert states(lived([], short(3_900, is_short=True))) == []


def test_o41_what_is_asked_is_told_once() -> None:
    bench = lived([STATE], short(600, is_short=True), short(1_800, is_short=False))
    assert states(bench) == ["RUNNING_CURTAILED", "ERROR", "RUNNING_CURTAILED"]


@pytest.mark.parametrize("asked", [SETPOINT, {"payloadType": "USAGE"}], ids=["ad-hoc", "timed"])
def test_o41_other_reports_stay_what_they_were(asked: Json) -> None:
    plain = lived([asked], unasked_errors=False)
    bench = lived([asked], short(600, is_short=True))
    others = [report for report in bench.sent() if "OPERATING_STATE" not in said(report)[0][1]]
    assert [said(report) for report in others] == [said(report) for report in plain.sent()]
    assert states(bench) == ["ERROR"]


def test_o41_a_restart_tells_the_same_error_once() -> None:
    async def scenario(bench: ReportBench) -> None:
        bench.vtn.event(**wants())
        bench.status.is_short = True
        await bench.run(seconds=900)
        await bench.run(seconds=900)

    assert states(reporting(scenario, unasked_errors=True)) == ["ERROR"]
