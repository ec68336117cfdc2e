"""Capacity forecasts as limits: units, phases, kinds, what is refused, segments (cases o12 to o17, o20 to o22, C5, C6)."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.limits import Direction, LimitKind
from gateway.domain.oscp import OscpLink, OscpSegment
from gateway.domain.signals import RawSignal
from gateway.domain.timegrid import Interval
from gateway.oscp.forecasts import powers_of
from gateway.oscp.names import CapacityUnit, Phase
from gateway.oscp.reading import read_message
from gateway.oscp.wire import ForecastedBlock, GroupCapacityForecast
from gateway.ports import Batch
from tests.oscp.scene import DSO, NODES, TENANT, Scene, T, block, said

SEGMENTED = {"X-Segment-Count": "2"}


def stated(scene: Scene) -> list[tuple[str, str, float, Any]]:
    limits = sorted(scene.desk.stated_by(TENANT, DSO), key=lambda one: (one.interval.start, one.id))
    return [(one.direction.value, one.kind.value, one.max_kw, one.phase_max_kw) for one in limits]


async def test_o12_an_energy_is_the_mean_power_of_its_block() -> None:
    scene = await Scene().online()
    assert (await scene.forecast(block(12.5, 0, 15, unit="KWH"))).status == 204
    assert (await scene.resolved()).kw == 50.0
    [limit] = scene.desk.stated_by(TENANT, DSO)
    assert limit.interval == Interval(start=T, end=T + timedelta(minutes=15))
    assert limit.cause == f"{DSO}:req-4@{T:%Y%m%dT%H%M%S}"


async def test_o13_a_number_in_a_text_is_a_number() -> None:
    scene = await Scene().online()
    assert (await scene.forecast(block("50.5"))).status == 204
    assert (await scene.resolved()).kw == 50.5


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        pytest.param([block(-1)], "capacity", id="o13-negative"),
        pytest.param([block(50, unit="kW")], "unit", id="o13-unit"),
        pytest.param([], "forecasted_blocks", id="o13-empty"),
        pytest.param([block(50, 10, 10)], "end_time must be after start_time", id="o13-no-span"),
        pytest.param([block(50, 10, 5)], "end_time must be after start_time", id="o13-reversed"),
        pytest.param([block(50) | {"start_time": "2026-11-21T10:00:00"}], "time zone", id="o13-naive"),
        pytest.param([block(50) | {"start_time": 1_790_000_000}], "RFC 3339", id="a-number-is-no-time"),
        pytest.param([block(50) | {"end_time": "9999-12-31T23:59:59-14:00"}], "years", id="beyond-all-calendars"),
        pytest.param([block(True)], "capacity", id="true-is-no-number"),
        pytest.param([block("NaN")], "capacity", id="no-number-in-the-text"),
        pytest.param([block(50, phase="FOUR")], "phase", id="phase"),
    ],
)
async def test_what_breaks_a_rule_changes_nothing(blocks: list[Any], problem: str) -> None:
    scene = await Scene().online()
    await scene.forecast(block(40))
    reply = await scene.call("update_group_capacity_forecast", said(*blocks))
    assert reply.status == 400
    assert problem in reply.message
    assert (await scene.resolved()).kw == 40.0
    assert len(await scene.store.find(RawSignal, TENANT)) == 1


async def test_o14_an_unknown_group_is_not_found() -> None:
    scene = await Scene().online()
    reply = await scene.call("update_group_capacity_forecast", {**said(block(50)), "group_id": "g2"})
    assert (reply.status, reply.message) == (404, "group g2 not found")


async def test_o15_currents_bound_their_phases_and_a_balanced_plan_by_the_least() -> None:
    scene = await Scene().online()
    blocks = [block(amps, unit="A", phase=phase) for phase, amps in (("ONE", 50), ("TWO", 60), ("THREE", 40))]
    assert (await scene.forecast(*blocks)).status == 204
    resolution = await scene.resolved()
    assert resolution.phase_kw == pytest.approx((11.5, 13.8, 9.2))
    assert resolution.phase_kw is not None
    assert 3.0 * min(resolution.phase_kw) == pytest.approx(27.6)


async def test_a_word_about_one_phase_replaces_that_phase_only() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50, unit="A", phase="ONE"), block(60, unit="A", phase="TWO"))
    await scene.forecast(block(20, unit="A", phase="ONE"))
    assert (await scene.resolved()).phase_kw == pytest.approx((4.6, 13.8, float("inf")))


async def test_a_word_in_another_unit_replaces_what_it_covers() -> None:
    scene = await Scene().online()
    await scene.forecast(block(16, unit="A"))
    assert (await scene.resolved()).kw == pytest.approx(11.04)
    await scene.forecast(block(30))
    resolution = await scene.resolved()
    assert (resolution.kw, resolution.phase_kw) == (30.0, None)


@pytest.mark.parametrize(
    ("unit", "phase", "total_kw", "phases_kw"),
    [
        ("W", "ALL", 0.06, None),
        ("KW", "UNKNOWN", 60.0, None),
        ("KW", "TWO", 80.0, (None, 60.0, None)),
        ("WH", "ALL", 0.24, None),
        ("KWH", "THREE", 80.0, (None, None, 240.0)),
        ("A", "ALL", 41.4, (13.8, 13.8, 13.8)),
        ("A", "UNKNOWN", 41.4, (13.8, 13.8, 13.8)),
        ("A", "ONE", 80.0, (13.8, None, None)),
    ],
)
def test_every_unit_and_phase_has_one_meaning(unit: str, phase: str, total_kw: float, phases_kw: Any) -> None:
    read = ForecastedBlock.model_validate(block(60, 0, 15, unit=unit, phase=phase))
    total, phases = powers_of(read, NODES[1], Direction.IMPORT)
    assert total == pytest.approx(total_kw)
    assert phases == (None if phases_kw is None else pytest.approx(phases_kw))


@given(
    capacity=st.floats(min_value=0.0, max_value=1e6),
    unit=st.sampled_from(CapacityUnit),
    phase=st.sampled_from(Phase),
    minutes=st.integers(min_value=1, max_value=10_000),
)
def test_no_capacity_becomes_a_negative_or_unbounded_power(
    capacity: float, unit: CapacityUnit, phase: Phase, minutes: int
) -> None:
    read = ForecastedBlock(
        capacity=capacity, phase=phase, unit=unit, start_time=T, end_time=T + timedelta(minutes=minutes)
    )
    total, phases = powers_of(read, NODES[1], Direction.IMPORT)
    assert 0.0 <= total < float("inf")
    for power_kw in phases or ():
        assert power_kw is None or 0.0 <= power_kw <= max(total, power_kw)


async def test_every_type_is_the_limit_it_names() -> None:
    scene = await Scene().online()
    for power_kw, name in (
        (50, "CONSUMPTION"),
        (10, "GENERATION"),
        (20, "FALLBACK_CONSUMPTION"),
        (5, "FALLBACK_GENERATION"),
    ):
        assert (await scene.forecast(block(power_kw), type=name)).status == 204
    assert sorted(stated(scene)) == [
        ("export", "fallback", 5.0, None),
        ("export", "limit", 10.0, None),
        ("import", "fallback", 20.0, None),
        ("import", "limit", 50.0, None),
    ]
    assert (await scene.resolved(direction=Direction.EXPORT)).kw == 10.0


async def test_o22_an_optimum_is_a_wish_inside_the_limit() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50))
    await scene.forecast(block(60), type="OPTIMUM")
    resolution = await scene.resolved()
    assert (resolution.kw, resolution.optimum_kw) == (50.0, 50.0)
    assert resolution.usable_kw(0.05) == pytest.approx(47.5)
    assert [limit.kind for limit in scene.desk.stated_by(TENANT, DSO)].count(LimitKind.OPTIMUM) == 1


async def test_the_newest_word_replaces_the_time_it_covers() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50, 0, 60))
    await scene.forecast(block(30, 20, 40))
    values = [(await scene.resolved(T + timedelta(minutes=at))).kw for at in (10, 30, 50)]
    assert values == [50.0, 30.0, 50.0]


async def test_o17_the_same_request_twice_is_answered_twice_and_acts_once() -> None:
    scene = await Scene().online()
    for _ in range(2):
        assert (await scene.forecast(block(50), request_id="f1")).status == 204
    assert len(scene.desk.stated_by(TENANT, DSO)) == 1
    assert len(await scene.store.find(RawSignal, TENANT)) == 1


async def test_a_long_forecast_is_read_beside_the_loop_and_holds() -> None:
    scene = await Scene().online()
    blocks = [block(10 + number % 7, number, number + 1) for number in range(3_000)]
    assert (await scene.forecast(*blocks)).status == 204
    assert len(scene.desk.stated_by(TENANT, DSO)) == 3_000
    assert (await scene.forecast(*blocks, block(5, 3_000, 3_001))).status == 400


# ---------------------------------------------------------------- segments


async def part(scene: Scene, index: int, power_kw: float, *, chain: str = "s1", count: int = 2, **more: Any) -> int:
    headers = {"X-Segment-Index": str(index), "X-Segment-Count": str(count)}
    if index > 1:
        headers["X-Correlation-ID"] = chain
    request_id = chain if index == 1 else more.pop("request_id", f"{chain}-{index}")
    begin = (index - 1) * 10.0
    reply = await scene.forecast(block(power_kw, begin, begin + 10), request_id=request_id, headers=headers, **more)
    return reply.status


async def test_o16_c6_segments_in_any_order_are_one_message() -> None:
    scene = await Scene().online()
    assert await part(scene, 2, 40) == 204
    assert stated(scene) == []
    assert await part(scene, 1, 50) == 204
    assert [power_kw for _, _, power_kw, _ in stated(scene)] == [50.0, 40.0]
    causes = {limit.cause for limit in scene.desk.stated_by(TENANT, DSO)}
    assert causes == {f"{DSO}:s1@{T:%Y%m%dT%H%M%S}"}
    [raw] = [row.record for row in await scene.store.find(RawSignal, TENANT)]
    assert [one["capacity"] for one in json.loads(raw.body)["forecasted_blocks"]] == [50.0, 40.0]
    assert [row.record.is_open for row in await scene.store.find(OscpSegment, TENANT)] == [False, False]


async def test_o16_segments_survive_a_restart() -> None:
    scene = await Scene().online()
    assert await part(scene, 2, 40) == 204
    again = await Scene(after=scene).begin()
    again.http.calls += scene.http.calls
    assert await part(again, 1, 50) == 204
    assert [power_kw for _, _, power_kw, _ in stated(again)] == [50.0, 40.0]


async def test_o16_c6_a_message_that_stays_in_parts_is_dropped_after_a_minute_and_people_are_told() -> None:
    scene = await Scene().online()
    assert await part(scene, 2, 40) == 204
    scene.clock.move(seconds=59)
    assert await scene.unit.watch.look() <= T + timedelta(seconds=60)
    assert [row.record.is_open for row in await scene.store.find(OscpSegment, TENANT)] == [True]
    scene.clock.move(seconds=1)
    await scene.unit.watch.look()
    assert [row.record.is_open for row in await scene.store.find(OscpSegment, TENANT)] == [False]
    assert "segments" in scene.unit.standing().last_error
    assert [one.entry.action for one in await scene.store.audit_entries()].count("oscp.segments-missing") == 1
    assert await part(scene, 1, 50) == 204
    assert stated(scene) == []


async def test_c6_the_same_segment_twice_is_one_and_another_content_is_refused() -> None:
    scene = await Scene().online()
    assert await part(scene, 2, 40) == 204
    assert await part(scene, 2, 40, request_id="again") == 204
    assert await part(scene, 2, 41, request_id="other") == 400
    assert await part(scene, 1, 50) == 204
    assert [power_kw for _, _, power_kw, _ in stated(scene)] == [50.0, 40.0]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Segment-Index": "1", "X-Segment-Count": "1000000"},
        {"X-Segment-Index": "1", "X-Segment-Count": "101"},
        {"X-Segment-Index": "3", "X-Segment-Count": "2"},
        {"X-Segment-Index": "0", "X-Segment-Count": "2"},
        {"X-Segment-Index": "1"},
        {"X-Segment-Count": "2"},
        {"X-Segment-Index": "2", "X-Segment-Count": "2"},
        {"X-Segment-Index": "one", "X-Segment-Count": "2"},
        {"X-Segment-Index": "9" * 30, "X-Segment-Count": "9" * 30},
    ],
)
async def test_c6_segment_headers_that_do_not_fit_are_refused(headers: dict[str, str]) -> None:
    scene = await Scene().online()
    assert (await scene.forecast(block(50), headers=headers)).status == 400
    assert await scene.store.find(OscpSegment, TENANT) == []


async def test_c6_segments_of_different_messages_do_not_mix() -> None:
    scene = await Scene().online()
    assert await part(scene, 2, 40) == 204
    assert await part(scene, 3, 40, count=3) == 400
    assert await part(scene, 1, 50, type="GENERATION") == 400
    assert stated(scene) == []


async def test_c6_a_message_of_more_than_five_megabytes_is_refused() -> None:
    scene = await Scene().online()
    statuses = []
    for index in range(2, 8):
        headers = {"X-Segment-Index": str(index), "X-Segment-Count": "10", "X-Correlation-ID": "big"}
        body = {**said(block(50)), "padding": "x" * 900_000}
        reply = await scene.call("update_group_capacity_forecast", body, headers=headers)
        statuses.append(reply.status)
    assert statuses == [204] * 5 + [400]


async def test_c6_a_partner_with_too_many_open_messages_is_told_to_wait() -> None:
    scene = await Scene().online()
    statuses = [await part(scene, 2, 40, chain=f"chain-{number}") for number in range(17)]
    assert statuses == [204] * 16 + [429]


@given(order=st.permutations(range(1, 6)), repeated=st.lists(st.integers(1, 5), max_size=5))
async def test_c6_whatever_the_order_and_the_repetitions_the_message_acts_once_and_whole(
    order: list[int], repeated: list[int]
) -> None:
    scene = await Scene().online()
    for index in [*order[:-1], *[one for one in repeated if one != order[-1]], order[-1]]:
        assert stated(scene) == []
        assert await part(scene, index, 10.0 * index, count=5) == 204
    assert [power_kw for _, _, power_kw, _ in stated(scene)] == [10.0, 20.0, 30.0, 40.0, 50.0]


def test_unknown_fields_are_passed_over() -> None:
    document = {**said(block(50) | {"note": 1}), "extra": {"a": []}}
    forecast = read_message(GroupCapacityForecast, json.dumps(document).encode(), None)
    assert json.loads(forecast.as_json()) == said(block(50.0))


async def test_g2_a_forecast_does_not_wait_for_a_heartbeat_that_is_being_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await Scene().online()
    goes_on, apply = asyncio.Event(), scene.store.apply

    async def slowly(batch: Batch) -> None:
        if any(isinstance(put.record, OscpLink) for put in batch.puts):
            await goes_on.wait()
        await apply(batch)

    monkeypatch.setattr(scene.store, "apply", slowly)
    beat = asyncio.create_task(scene.beat(300.0))
    await asyncio.sleep(0)
    before = scene.link
    async with asyncio.timeout(5.0):
        assert (await scene.forecast(block(30.0))).status == 204
    assert (await scene.resolved()).kw == 30.0
    assert not beat.done()
    assert scene.link == before
    goes_on.set()
    assert (await beat).status == 204
    assert scene.link != before
