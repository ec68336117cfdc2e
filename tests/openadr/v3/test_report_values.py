"""From readings and states to values: units, sums, baselines; what is not known has none."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.identity import Principal, system_principal
from gateway.domain.signals import (
    EventBaseline,
    EventInterval,
    GridEvent,
    Instruction,
    OptType,
    ResourceStatus,
    UsageReading,
)
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.openadr.v3.report_facts import FactFinder, Facts, Needs, Yardstick, baseline_kw, grids_of, simple_level
from gateway.openadr.v3.report_schedule import Slot
from gateway.openadr.v3.report_sources import answer_to
from gateway.openadr.v3.report_values import values_of
from gateway.openadr.v3.wire import ReportDescriptor
from tests.fakes.clock import START

QUARTER = timedelta(minutes=15)
SLOT = Slot(id=0, start=START, end=START + QUARTER)
PRINCIPAL = system_principal("demo", "openadr")


class Meters:
    """Power by node; None is not measured."""

    def __init__(self, **powers: float | None) -> None:
        self.powers = powers

    async def usage(self, principal: Principal, node: str, grid: TimeGrid) -> Sequence[UsageReading]:
        return [
            UsageReading(
                start=grid.slot_start(i), end=grid.slot_start(i) + grid.step, power_kw=self.powers[node], coverage=0.9
            )
            for i in range(grid.count)
        ]


class States:
    def __init__(self, **states: ResourceStatus) -> None:
        self.states = states

    async def status(self, principal: Principal, node: str) -> ResourceStatus:
        return self.states[node]


def state(**changes: Any) -> ResourceStatus:
    said = {"is_online": True, "is_overridden": False, "power_kw": 10.0, "limit_kw": 20.0, "rating_kw": 30.0}
    return ResourceStatus(at=START, **{**said, **changes})


def event(**changes: Any) -> GridEvent:
    said: dict[str, Any] = {
        "id": "vtn:test:e1",
        "tenant": "demo",
        "authority": "vtn:test",
        "event_id": "e1",
        "modification": 0,
        "cancelled": False,
        "cancelled_at": None,
        "market_context": "p1",
        "priority": None,
        "test_event": False,
        "response_required": False,
        "active": Interval(start=START, end=START + 4 * QUARTER),
        "start_offset": timedelta(0),
        "start_after": timedelta(0),
        "notification": timedelta(0),
        "intervals": (),
        "nodes": ("vpp-be",),
        "opt": OptType.OPT_IN,
        "opt_reason": "",
        "raw_signal": "s",
        "received_at": START,
    }
    return GridEvent(**{**said, **changes})


def step(start: datetime, quarters: float, power_kw: float, resources: tuple[str, ...] = ()) -> EventBaseline:
    return EventBaseline(start=start, end=start + quarters * QUARTER, power_kw=power_kw, resources=resources)


def mean(power_kw: float | None) -> Facts:
    assert SLOT.end is not None
    reading = UsageReading(start=SLOT.start, end=SLOT.end, power_kw=power_kw, coverage=1.0)
    return Facts(means={(SLOT.start, SLOT.end): reading})


def value(payload_type: str, facts: Facts, against: Yardstick | None = None, **wished: str) -> Any:
    answer = answer_to(ReportDescriptor(payload_type=payload_type, **wished), {})  # type: ignore[arg-type]  # texts only
    found = values_of(answer, facts, SLOT, against or Yardstick(), is_moment=True)
    return found[0] if found else None


@given(
    st.floats(-500, 500), st.sampled_from([("WH", 250.0), ("KWH", 0.25), ("MWH", 0.00025), ("W", 1000.0), ("KW", 1.0)])
)
def test_usage_in_any_unit_is_the_same_power(power_kw: float, unit: tuple[str, float]) -> None:
    found = value("USAGE", mean(power_kw), units=unit[0])
    assert float(found) / unit[1] == pytest.approx(power_kw, abs=0.0011)
    assert not str(found).startswith("-0.0000000")


@pytest.mark.parametrize("power_kw", [None, float("nan"), float("inf")], ids=str)
def test_what_is_not_measured_has_no_value(power_kw: float | None) -> None:
    assert value("USAGE", mean(power_kw)) is None
    assert value("DATA_QUALITY", mean(power_kw)) == "MISSING"
    assert value("USAGE", Facts()) is None


def test_zero_is_a_value() -> None:
    assert value("USAGE", mean(0.0)) == Decimal(0)
    assert str(value("DEMAND", mean(-0.00001))) == "0.0000"


def test_a_baseline_is_the_partners_where_it_has_sent_one() -> None:
    whole = Yardstick(event=event(baselines=(step(START, 1, 40.0),)))
    assert value("BASELINE", Facts(), whole) == Decimal(40)
    assert value("BASELINE", Facts(), whole, units="KWH") == Decimal(10)
    assert value("DELTA_USAGE", mean(25.0), whole) == Decimal("-3.75")
    assert value("DELTA_USAGE", mean(25.0), whole, units="KW") == Decimal(-15)
    assert value("DELTA_USAGE", mean(None), whole) is None
    assert value("DELTA_USAGE", mean(25.0)) is None
    assert value("BASELINE", Facts()) is None


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([step(START, 0.5, 40.0), step(START + QUARTER / 2, 2, 20.0)], 30.0),
        ([step(START, 0.5, 40.0)], None),
        ([step(START, 1, 40.0, ("R-1",))], None),
        ([], None),
    ],
    ids=["two-steps", "half", "of-one-resource", "none"],
)
def test_a_baseline_covers_the_whole_interval_or_is_none(steps: list[EventBaseline], expected: float | None) -> None:
    assert baseline_kw(event(baselines=tuple(steps)), SLOT) == expected


def test_a_reductions_own_baseline_counts_where_the_event_has_no_other() -> None:
    interval = EventInterval(
        start=START,
        end=START + 2 * QUARTER,
        instruction=Instruction.REDUCTION_KW,
        value=5.0,
        signal_id="s",
        baseline_kw=33.0,
    )
    assert baseline_kw(event(intervals=(interval,)), SLOT) == 33.0
    later = Slot(id=1, start=START + 3 * QUARTER, end=START + 4 * QUARTER)
    assert baseline_kw(event(intervals=(interval,)), later) is None


def test_a_level_is_ours_only_where_we_follow_the_event() -> None:
    interval = EventInterval(
        start=START, end=START + QUARTER, instruction=Instruction.SIMPLE_LEVEL, value=2.0, signal_id="s"
    )
    assert simple_level(event(intervals=(interval,)), SLOT) == 2
    assert simple_level(event(intervals=(interval,), opt=OptType.OPT_OUT), SLOT) is None
    assert (
        simple_level(event(intervals=(interval,)), Slot(id=1, start=START + QUARTER, end=START + 2 * QUARTER)) is None
    )


async def test_a_sum_is_known_when_all_of_it_is() -> None:
    slots = (SLOT, Slot(id=1, start=START + QUARTER, end=START + 2 * QUARTER))
    needs = Needs(means=True, fine=True, status=True)
    states = States(a=state(), b=state(power_kw=5.0, is_online=False), c=state(power_kw=None, is_online=None))
    finder = FactFinder(Meters(a=10.0, b=5.0, c=None), states, PRINCIPAL)
    both = await finder.find(("a", "b"), slots, needs)
    assert [one.power_kw for one in both.means.values()] == [15.0, 15.0]
    assert {one.power_kw for series in both.fine.values() for one in series} == {15.0}
    assert both.status is not None
    assert (both.status.power_kw, both.status.limit_kw, both.status.is_online) == (15.0, 40.0, False)
    part = await finder.find(("a", "c"), slots, needs)
    assert [one.power_kw for one in part.means.values()] == [None, None]
    assert part.status is not None
    assert (part.status.power_kw, part.status.is_online) == (None, None)
    assert await finder.find((), slots, needs) == Facts()
    assert (await FactFinder(Meters(a=1.0), None, PRINCIPAL).find(("a",), slots, needs)).status is None


def test_intervals_that_follow_each_other_are_one_question() -> None:
    follow = [
        (START, START + QUARTER),
        (START + QUARTER, START + 2 * QUARTER),
        (START + 2 * QUARTER, START + 4 * QUARTER),
    ]
    assert [(grid.count, grid.step) for grid in grids_of(follow)] == [(2, QUARTER), (1, 2 * QUARTER)]


@pytest.mark.parametrize("payload_type", ["STORAGE_USABLE_CAPACITY", "USAGE_FORECAST", "IMPORT_RESERVATION_FEE", "X"])
def test_what_has_no_source_is_refused_by_name(payload_type: str) -> None:
    with pytest.raises(InvalidInput, match=payload_type):
        answer_to(ReportDescriptor(payload_type=payload_type), {})
