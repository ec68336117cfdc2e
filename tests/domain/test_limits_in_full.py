"""Limits per phase and at the grid, what authorities guarantee, and what their silence means."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.limits import Limit, LimitKind, resolve
from gateway.domain.topology import Node
from gateway.domain.units import ac_power_kw
from tests.domain.test_limits import NODE, T0, limit, minutes

HEADROOM = 0.05
DSO = frozenset({"oscp:dso"})
NOBODY: frozenset[str] = frozenset()


def fallback(kw: float, start: float = 0.0, end: float | None = 1440.0, **changes: object) -> Limit:
    return limit(kw, start, end, kind=LimitKind.FALLBACK, id=f"fallback-{kw}", **changes)


def test_o15_a_bound_per_phase_holds_beside_the_total_and_a_balanced_plan_fits_the_least() -> None:
    amperes = {0: 50.0, 1: 60.0, 2: 40.0}
    stated = [
        limit(100.0, id=f"phase-{i}", phase_max_kw=tuple(ac_power_kw(a, 1) if k == i else None for k in range(3)))
        for i, a in amperes.items()
    ]
    found = resolve(NODE, stated, T0)
    assert found.kw == 100.0
    assert found.phase_kw is not None
    assert found.phase_kw == pytest.approx((11.5, 13.8, 9.2))
    assert 3 * min(found.phase_kw) == pytest.approx(27.6)
    assert [x and x.id for x in found.phase_binding] == ["phase-0", "phase-1", "phase-2"]
    assert "L1 11.5 kW L2 13.8 kW L3 9.2 kW by order of oscp:dso" in found.why()


def test_the_fuse_of_a_phase_binds_whatever_is_ordered_and_is_no_order() -> None:
    fused = replace(NODE, phase_rating_a=25.0)
    found = resolve(fused, [limit(100.0, phase_max_kw=(50.0, 2.0, None))], T0)
    assert found.phase_kw == pytest.approx((5.75, 2.0, 5.75))
    assert [x is None for x in found.phase_binding] == [True, False, True]
    assert ", L2 2.0 kW by order of oscp:dso until" in found.why()


def test_o18_a_lost_forecaster_falls_back_at_once_and_its_last_limit_still_holds() -> None:
    said = [limit(50.0, 0, 60), fallback(20.0)]
    here = resolve(NODE, said, T0, steady=DSO)
    gone = resolve(NODE, said, T0, lost=DSO, steady=DSO)
    assert (here.kw, gone.kw) == (50.0, 20.0)
    assert gone.usable_kw(HEADROOM) == pytest.approx(19.0)
    assert "its fallback: it cannot be reached" in gone.why()
    lower = [limit(10.0, 0, 60), fallback(20.0)]
    assert [resolve(NODE, lower, minutes(m), lost=DSO, steady=DSO).kw for m in (0, 60)] == [10.0, 20.0]


def test_o19_a_lost_forecaster_without_fallback_leaves_the_fail_safe_and_never_more_than_it_said() -> None:
    found = [resolve(NODE, [limit(50.0, 0, 60)], minutes(m), lost=DSO, steady=DSO) for m in (0, 60)]
    assert [x.kw for x in found] == [15.0, 15.0]
    lower = [resolve(NODE, [limit(5.0, 0, 60)], minutes(m), lost=DSO, steady=DSO) for m in (0, 60)]
    assert [x.kw for x in lower] == [5.0, 15.0]
    states_what_it_wants = [resolve(NODE, [limit(50.0, 0, 60)], minutes(m), lost=DSO) for m in (0, 60)]
    assert [x.kw for x in states_what_it_wants] == [50.0, 15.0], "one that is no forecaster runs to its end"
    assert found[1].why() == (
        "15.0 kW at g1 by its fail-safe of oscp:dso (it cannot be reached and left no fallback) until further notice"
    )


def test_o20_a_gap_in_a_forecast_is_the_fallback_or_the_fail_safe_and_says_so() -> None:
    gap = [limit(50.0, 0, 15), limit(60.0, 30, 45)]
    bare = resolve(NODE, gap, minutes(20), steady=DSO)
    assert (bare.kw, bare.authority) == (15.0, "fail-safe of oscp:dso")
    assert "(it says nothing for this time)" in bare.why()
    assert resolve(NODE, gap, minutes(20), steady=NOBODY).kw == 100.0, "an authority that need not speak leaves no gap"
    kept = resolve(NODE, [*gap, fallback(20.0)], minutes(20), steady=DSO)
    assert (kept.kw, kept.until) == (20.0, minutes(30))
    assert "its fallback: it says nothing else for this time" in kept.why()


def test_o22_a_wish_above_the_limit_ends_inside_the_limit_with_headroom() -> None:
    found = resolve(NODE, [limit(50.0), limit(60.0, kind=LimitKind.OPTIMUM, id="wish")], T0)
    assert found.optimum_kw is not None
    assert min(found.optimum_kw, found.usable_kw(HEADROOM)) == pytest.approx(47.5)


@pytest.mark.parametrize(
    ("ordered_kw", "guaranteed_kw", "fuse_kw", "left_kw"),
    [
        pytest.param(2.0, 4.2, 100.0, 4.2, id="o25"),
        pytest.param(2.0, 4.2, 3.0, 3.0, id="o25-fuse"),
        pytest.param(0.0, 21.21, 100.0, 21.21, id="o26"),
        pytest.param(0.0, 0.0, 100.0, 0.0, id="zero-is-a-limit"),
    ],
)
def test_o25_o26_what_an_authority_guarantees_goes_before_its_order_and_lifts_nothing_physical(
    ordered_kw: float, guaranteed_kw: float, fuse_kw: float, left_kw: float
) -> None:
    node = replace(NODE, max_import_kw=fuse_kw, fail_safe_import_kw=0.0)
    found = resolve(node, [limit(ordered_kw, guaranteed_kw=guaranteed_kw)], T0)
    assert found.kw == left_kw
    expected = left_kw if fuse_kw > left_kw else fuse_kw * (1.0 - HEADROOM)
    assert found.usable_kw(HEADROOM) == pytest.approx(expected), "headroom never eats a guarantee, only a rating"


def test_o25_a_floor_of_one_authority_lifts_no_limit_of_another() -> None:
    floor = limit(2.0, authority="lpc:box", guaranteed_kw=4.2)
    other = limit(3.0, authority="vtn:a", id="other")
    assert resolve(NODE, [floor, other], T0).kw == 3.0
    close = limit(4.3, authority="vtn:a", id="close")
    found = resolve(NODE, [floor, close], T0)
    assert found.kw == 4.2
    assert found.usable_kw(HEADROOM) == pytest.approx(4.3 * 0.95), "the other's limit needs its headroom all the same"


@pytest.mark.parametrize(
    ("other_kw", "room_kw"),
    [
        pytest.param(0.0, 9.5, id="nothing-else"),
        pytest.param(-6.0, 15.5, id="own-generation-carries-more"),
        pytest.param(3.0, 6.5, id="other-load-leaves-less"),
        pytest.param(30.0, 4.2, id="never-under-the-guarantee"),
    ],
)
def test_a_limit_at_the_grid_leaves_room_for_own_generation(other_kw: float, room_kw: float) -> None:
    found = resolve(NODE, [limit(10.0, is_at_grid=True, guaranteed_kw=4.2)], T0)
    assert found.usable_kw(HEADROOM, other_kw) == pytest.approx(room_kw)
    plain = resolve(NODE, [limit(10.0)], T0)
    assert plain.usable_kw(HEADROOM, other_kw) == pytest.approx(9.5), "a limit of the chargers themselves does not move"


def test_own_generation_never_lifts_a_rating() -> None:
    node = replace(NODE, max_import_kw=12.0, fail_safe_import_kw=0.0)
    found = resolve(node, [limit(10.0, is_at_grid=True)], T0)
    assert found.usable_kw(HEADROOM, -50.0) == pytest.approx(11.4)


@pytest.mark.parametrize("bad", [(-1.0, None, None), (None, float("nan"), None)])
def test_impossible_powers_of_a_phase_are_refused(bad: tuple[float | None, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"limit\.phase_max_kw"):
        limit(5.0, phase_max_kw=bad)


def test_g9_authorities_lost_one_by_one_step_to_their_fallbacks_and_to_the_fail_safe_at_the_end() -> None:
    names = ["oscp:a", "oscp:b", "oscp:c"]
    said = [
        *(limit(90.0 - 10.0 * i, 0, 30, authority=name, id=f"limit-{name}") for i, name in enumerate(names)),
        *(fallback(60.0 - 15.0 * i, 0, 90, authority=name) for i, name in enumerate(names)),
    ]
    steady = frozenset(names)
    stepped = [resolve(NODE, said, minutes(10), lost=frozenset(names[:count]), steady=steady).kw for count in range(4)]
    assert stepped == [70.0, 60.0, 45.0, 30.0]
    assert resolve(NODE, said, minutes(120), lost=steady, steady=steady).kw == 15.0
    assert sorted(stepped, reverse=True) == stepped


names = st.sampled_from(["oscp:a", "oscp:b"])
blocks = st.builds(
    lambda kw, start, length, authority, kind, guaranteed: limit(
        kw, start, start + length, authority=authority, kind=kind, guaranteed_kw=guaranteed, id=f"{start}{kw}{kind}"
    ),
    st.floats(0, 200),
    st.integers(-60, 60),
    st.integers(1, 60),
    names,
    st.sampled_from([LimitKind.LIMIT, LimitKind.FALLBACK]),
    st.sampled_from([0.0, 4.2]),
)


@given(st.lists(blocks, max_size=8), st.integers(-60, 60), st.frozensets(names), st.frozensets(names))
def test_losing_an_authority_or_expecting_a_word_of_it_never_opens_anything(
    said: list[Limit], at: int, lost: frozenset[str], steady: frozenset[str]
) -> None:
    def value(node: Node, lost: frozenset[str], steady: frozenset[str]) -> float:
        return resolve(node, said, minutes(at), lost=lost, steady=steady).kw

    reached = value(NODE, NOBODY, steady)
    assert value(NODE, lost, steady) <= reached <= value(NODE, NOBODY, NOBODY)
