"""The fold over time says at every instant what the fold at one instant says."""

import math
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.limits import Binding, Direction, Limit, LimitKind, resolve
from gateway.domain.timegrid import Interval
from gateway.domain.timeline import Silence, timeline
from gateway.domain.topology import Node
from tests.domain.test_limits import NODE, T0, limit, minutes

NODES = (NODE, replace(NODE, id="g2", phase_rating_a=63.0, max_import_kw=43.47, fail_safe_import_kw=43.47))
SPAN = Interval(start=T0, end=minutes(120))
AUTHORITIES = ["oscp:a", "vtn:b", "lpc:c"]

powers = st.floats(0, 120) | st.sampled_from([0.0, 10.0, 15.0, 43.47, 100.0])
phases = st.none() | st.tuples(*[st.none() | st.floats(0, 40)] * 3)


@st.composite
def limits(draw: st.DrawFn) -> Limit:
    start = draw(st.integers(-30, 130))
    end = draw(st.none() | st.integers(start + 1, start + 100))
    return limit(
        draw(powers),
        start,
        end,
        node=draw(st.sampled_from(["g1", "g2", "elsewhere"])),
        authority=draw(st.sampled_from(AUTHORITIES)),
        direction=draw(st.sampled_from(list(Direction))),
        kind=draw(st.sampled_from(list(LimitKind))),
        binding=draw(st.sampled_from([Binding.MANDATORY, Binding.VOLUNTARY])),
        withdrawn_at=draw(st.none() | st.integers(start - 5, start + 60).map(minutes)),
        guaranteed_kw=draw(st.sampled_from([0.0, 4.2])),
        phase_max_kw=draw(phases),
    )


nobody = st.dictionaries(st.sampled_from(["g1", "g2", "elsewhere"]), st.frozensets(st.sampled_from(AUTHORITIES)))


@given(
    found=st.lists(limits(), max_size=10),
    lost=nobody,
    steady=nobody,
    direction=st.sampled_from(list(Direction)),
)
def test_every_stretch_equals_the_fold_at_each_of_its_instants(
    found: list[Limit],
    lost: dict[str, frozenset[str]],
    steady: dict[str, frozenset[str]],
    direction: Direction,
) -> None:
    found = [replace(one, id=f"l{i * 7 % 5}{i}") for i, one in enumerate(found)]
    folded = timeline(NODES, found, SPAN, direction=direction, silence=Silence(lost=lost, steady=steady))
    for node in NODES:
        stretches = folded.of(node.id)
        assert stretches[0].interval.start == SPAN.start
        assert stretches[-1].interval.end == SPAN.end
        for before, after in pairwise(stretches):
            assert before.interval.end == after.interval.start
        for stretch in stretches:
            end = stretch.interval.end
            assert end is not None
            for at in (stretch.interval.start, end - timedelta(microseconds=1)):
                whole = resolve(
                    node,
                    found,
                    at,
                    direction=direction,
                    lost=lost.get(node.id, frozenset()),
                    steady=steady.get(node.id, frozenset()),
                )
                assert (stretch.kw, stretch.binding, stretch.authority) == (whole.kw, whole.binding, whole.authority)
                assert stretch.phase_kw == (whole.phase_kw or (math.inf,) * 3)


def test_the_mean_weighs_each_stretch_by_its_length() -> None:
    folded = timeline(NODES, [limit(40.0, 0, 30), limit(10.0, 60, 90)], SPAN)
    assert folded.mean_kw().tolist() == pytest.approx([(40 + 100 + 10 + 100) / 4, 43.47])


def test_a_span_without_end_and_an_unknown_node_are_refused() -> None:
    with pytest.raises(InvalidInput):
        timeline(NODES, [], Interval(start=T0, end=None))
    with pytest.raises(InvalidInput):
        timeline(NODES, [], SPAN).of("elsewhere")


def test_o20_a_gap_in_a_forecast_is_the_fallback_and_without_one_the_fail_safe() -> None:
    blocks = [limit(50.0, 0, 15), limit(60.0, 30, 45), limit(20.0, 0, 60, kind=LimitKind.FALLBACK)]
    steady = Silence(steady={"g1": frozenset({"oscp:dso"})})
    found = timeline([NODE], blocks, Interval(start=T0, end=minutes(75)), silence=steady).of("g1")
    assert [(s.kw, s.authority) for s in found] == [
        (50.0, "oscp:dso"),
        (20.0, "oscp:dso"),
        (60.0, "oscp:dso"),
        (20.0, "oscp:dso"),
        (15.0, "fail-safe of oscp:dso"),
    ]


def test_o21_the_least_of_a_forecast_an_event_and_the_fuse_with_headroom() -> None:
    fuse = Node(**{field: getattr(NODES[1], field) for field in NODES[1].__slots__})
    event = limit(40.0, 30, 45, authority="vtn:a", node="g2")
    found = timeline([fuse], [limit(50.0, 0, 60, node="g2"), event], Interval(start=T0, end=minutes(60))).of("g2")
    assert [s.kw for s in found] == [43.47, 40.0, 43.47]
    each = [resolve(fuse, [limit(50.0, 0, 60, node="g2"), event], s.interval.start) for s in found]
    assert [r.usable_kw(0.05) for r in each] == pytest.approx([41.2965, 38.0, 41.2965])
    assert each[0].usable_phase_kw(0.05) == pytest.approx([63 * 0.23 * 0.95] * 3)
