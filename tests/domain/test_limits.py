"""The fold of limits: what binds, by whose order, until when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.limits import Binding, Direction, Limit, LimitKind, NodeLimits, resolve
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Node, NodeKind

T0 = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
NODE = Node(
    id="g1",
    tenant="t",
    parent="vpp",
    kind=NodeKind.SITE,
    name="g1",
    max_import_kw=100.0,
    max_export_kw=10.0,
    fail_safe_import_kw=15.0,
)


def minutes(value: float) -> datetime:
    return T0 + timedelta(minutes=value)


def limit(kw: float, start: float = 0.0, end: float | None = 60.0, **changes: object) -> Limit:
    plain = Limit(
        id=f"limit-{kw}",
        tenant="t",
        authority="oscp:dso",
        node="g1",
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.MANDATORY,
        max_kw=kw,
        interval=Interval(start=minutes(start), end=None if end is None else minutes(end)),
        cause="signal:1",
        known_at=T0,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_without_limits_the_rating_binds() -> None:
    found = resolve(NODE, [], T0)
    assert (found.kw, found.binding, found.authority, found.until) == (100.0, None, "rating", None)
    assert found.why() == "100.0 kW at g1 by its rating until further notice"


def test_export_has_its_own_rating() -> None:
    assert resolve(NODE, [limit(5.0)], T0, direction=Direction.EXPORT).kw == 10.0


def test_a_limit_holds_from_its_start_and_no_longer_at_its_end() -> None:
    block = limit(50.0, 10, 20)
    assert [resolve(NODE, [block], minutes(m)).kw for m in (9, 10, 19.99, 20)] == [100.0, 50.0, 50.0, 100.0]


def test_the_minimum_over_authorities_binds_and_the_others_are_shadowed() -> None:
    dso, vtn = limit(50.0), limit(40.0, 30, 45, authority="vtn:a", reason="event 7")
    found = resolve(NODE, [dso, vtn], minutes(30))
    assert (found.kw, found.binding, found.shadowed) == (40.0, vtn, (dso,))
    assert found.until == minutes(45)
    assert found.why() == "40.0 kW at g1 by order of vtn:a (event 7) until 2026-11-21 10:45Z"


def test_zero_is_a_limit() -> None:
    assert resolve(NODE, [limit(0.0)], T0).kw == 0.0


def test_a_limit_above_the_rating_does_not_lift_it() -> None:
    found = resolve(NODE, [limit(500.0)], T0)
    assert (found.kw, found.authority) == (100.0, "rating")


def test_a_voluntary_limit_never_binds() -> None:
    assert resolve(NODE, [limit(5.0, binding=Binding.VOLUNTARY)], T0).kw == 100.0


def test_a_gap_between_blocks_is_the_fallback() -> None:
    blocks = [limit(50.0, 0, 15), limit(60.0, 30, 45), limit(20.0, 0, 60, kind=LimitKind.FALLBACK)]
    assert [resolve(NODE, blocks, minutes(m)).kw for m in (0, 20, 30, 50)] == [50.0, 20.0, 60.0, 20.0]


def test_a_lost_authority_runs_to_its_end_then_fallback_then_fail_safe() -> None:
    lost = frozenset({"oscp:dso"})
    with_fallback = [limit(50.0, 0, 15), limit(20.0, 0, 30, kind=LimitKind.FALLBACK)]
    found = [resolve(NODE, with_fallback, minutes(m), lost=lost) for m in (10, 20, 40)]
    assert [f.kw for f in found] == [50.0, 20.0, 15.0]
    assert found[2].authority == "fail-safe of oscp:dso"
    assert resolve(NODE, [], T0, lost=lost).kw == 15.0


def test_a_wish_is_shown_inside_the_value_in_force_and_never_binds() -> None:
    wish = limit(60.0, kind=LimitKind.OPTIMUM)
    assert (resolve(NODE, [wish], T0).kw, resolve(NODE, [wish], T0).optimum_kw) == (100.0, 60.0)
    assert resolve(NODE, [wish, limit(50.0)], T0).optimum_kw == 50.0


def test_a_withdrawn_limit_ends_at_its_withdrawal() -> None:
    block = limit(50.0, withdrawn_at=minutes(5))
    assert [resolve(NODE, [block], minutes(m)).kw for m in (4, 5)] == [50.0, 100.0]
    assert resolve(NODE, [block], T0).until == minutes(5)
    assert resolve(NODE, [block], minutes(5)).until is None, "its end, ten minutes later, changes nothing"
    never = limit(50.0, 20, 30, withdrawn_at=minutes(5))
    assert resolve(NODE, [never], T0).until is None, "withdrawn before it began"


@pytest.mark.parametrize("kw", [-1.0, float("nan"), float("inf")])
def test_impossible_powers_are_refused(kw: float) -> None:
    with pytest.raises(InvalidInput, match=r"limit\.max_kw"):
        limit(kw)


def test_a_manual_limit_must_expire() -> None:
    with pytest.raises(InvalidInput, match="must expire"):
        limit(5.0, end=None, authority="manual:ada")


limits = st.builds(
    lambda kw, start, length, authority, kind, binding: limit(
        kw, start, start + length, authority=authority, kind=kind, binding=binding, id=f"{authority}{start}{kw}{kind}"
    ),
    st.floats(0, 200),
    st.integers(-60, 60),
    st.integers(1, 60),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(list(LimitKind)),
    st.sampled_from([Binding.MANDATORY, Binding.COMMITTED, Binding.VOLUNTARY]),
)


@given(
    found=st.lists(limits, max_size=8), at=st.integers(-60, 60), lost=st.frozensets(st.sampled_from(["a", "b", "c"]))
)
def test_never_above_any_live_limit_nor_the_rating(found: list[Limit], at: int, lost: frozenset[str]) -> None:
    resolution = resolve(NODE, found, minutes(at), lost=lost)
    live = [
        x.max_kw
        for x in found
        if x.kind is LimitKind.LIMIT and x.binding is not Binding.VOLUNTARY and x.covers(minutes(at))
    ]
    assert resolution.kw <= min([NODE.max_import_kw, *live])
    assert resolve(NODE, found, minutes(at)).kw >= resolution.kw, "losing an authority never opens a limit"


@given(found=st.lists(limits, max_size=8), at=st.integers(-60, 60), extra=limits)
def test_another_binding_limit_never_raises_the_value(found: list[Limit], at: int, extra: Limit) -> None:
    tighter = replace(extra, kind=LimitKind.LIMIT, authority="z")
    assert resolve(NODE, [*found, tighter], minutes(at)).kw <= resolve(NODE, found, minutes(at)).kw


@given(found=st.lists(limits, max_size=6), at=st.integers(-60, 60))
def test_nothing_changes_before_the_next_change(found: list[Limit], at: int) -> None:
    now = resolve(NODE, found, minutes(at))
    horizon = minutes(200) if now.until is None else now.until
    for minute in range(at, 130):
        if minutes(minute) < horizon:
            assert resolve(NODE, found, minutes(minute)).kw == now.kw


@given(
    found=st.lists(st.builds(lambda x, after: replace(x, withdrawn_at=after), limits, st.none() | st.just(minutes(3)))),
    at=st.integers(-60, 60),
)
def test_what_is_found_by_the_instant_is_what_applies_of_all(found: list[Limit], at: int) -> None:
    known = NodeLimits([*found, limit(7.0, direction=Direction.EXPORT)])
    covering = known.covering(minutes(at), Direction.IMPORT)
    assert sorted(map(id, covering)) == sorted(id(x) for x in found if x.covers(minutes(at)))
    applying = {m: {id(x) for x in found if x.covers(minutes(m))} for m in range(-61, 130)}
    changes = (minutes(m) for m in range(at + 1, 130) if applying[m] != applying[m - 1])
    assert known.next_change(minutes(at), Direction.IMPORT) == next(changes, None)
    assert resolve(NODE, known, minutes(at)) == resolve(NODE, found, minutes(at))
    assert list(known[:-1]) == found, "as it was given"


@given(found=st.permutations([limit(50.0), limit(40.0, authority="vtn:a"), limit(60.0, authority="b")]))
def test_the_order_of_limits_does_not_matter(found: list[Limit]) -> None:
    binding = resolve(NODE, found, T0).binding
    assert binding is not None
    assert binding.max_kw == 40.0
