"""The random delay of regulation 11: bounds, chance, the same offset after a restart, and what a fleet may promise with it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.random_delay import (
    DelayBook,
    DelayRules,
    DelaySeed,
    charger_codes,
    mean_share,
    offsets_s,
    ramp_share,
)

NAMES = [f"charger-{n}" for n in range(2_000)]
CODES = charger_codes(NAMES)
RULES = DelayRules(nodes=("site-1",))
T = 1_800_000_000.0
ALL = np.ones(len(NAMES), dtype=bool)


def test_offsets_are_uniform_up_to_the_longest_delay() -> None:
    drawn = np.concatenate([offsets_s(CODES, 7, T + 900.0 * k, 600.0) for k in range(10)])
    assert drawn.min() >= 0.0
    assert drawn.max() < 600.0
    counts = np.histogram(drawn, bins=10, range=(0.0, 600.0))[0] / len(drawn)
    assert np.abs(counts - 0.1).max() < 0.01, "each minute has its tenth"


def test_each_change_draws_anew_and_chargers_are_independent() -> None:
    first, second = offsets_s(CODES, 7, T, 600.0), offsets_s(CODES, 7, T + 900.0, 600.0)
    assert abs(float(np.corrcoef(first, second)[0, 1])) < 0.1
    assert abs(float(np.corrcoef(first[:-1], first[1:])[0, 1])) < 0.1
    assert len(np.unique(first)) == len(NAMES)
    assert (offsets_s(CODES, 8, T, 600.0) != first).all(), "another seed, other offsets"


@settings(max_examples=50, deadline=None)
@given(at=st.floats(0.0, 4e9), seed=st.integers(0, 2**63 - 1), longest=st.floats(0.0, 1_800.0), order=st.randoms())
def test_an_offset_belongs_to_its_charger_and_change(at: float, seed: int, longest: float, order: object) -> None:
    names = NAMES[:50]
    plain = offsets_s(charger_codes(names), seed, at, longest)
    assert ((plain >= 0.0) & (plain <= longest)).all()
    backwards = offsets_s(charger_codes(names[::-1]), seed, at, longest)[::-1]
    assert (plain == backwards).all()


def test_a_charger_waits_for_its_own_offset_and_then_no_more() -> None:
    book = DelayBook(NAMES, 7, RULES)
    assert not book.is_held(T).any()
    book.change(T, ALL)
    offsets = offsets_s(CODES, 7, T, 600.0)
    for after in (0.0, 1.0, 299.0, 599.0, 600.0):
        assert (book.is_held(T + after) == (after < offsets)).all()
    assert book.next_release(T) == pytest.approx(T + offsets.min())
    assert book.next_release(T + 600.0) is None


def test_only_those_who_are_meant_wait() -> None:
    book, is_meant = DelayBook(NAMES, 7, RULES), np.arange(len(NAMES)) % 2 == 0
    book.change(T, is_meant)
    assert not book.is_held(T)[~is_meant].any()
    assert book.is_held(T)[is_meant].mean() > 0.99


def test_a_restart_keeps_every_offset() -> None:
    changes = [T - 700.0, T - 500.0, T - 200.0, T]
    before = DelayBook(NAMES, 7, RULES)
    for at in changes:
        before.change(at, ALL)
    after = DelayBook(NAMES, 7, RULES)
    for at in (one for one in changes if one > T - 600.0):
        after.change(at, ALL)
        after.change(at, ALL)
    for later in range(0, 700, 50):
        assert (before.is_held(T + later) == after.is_held(T + later)).all()


def test_a_longest_delay_of_zero_delays_nothing() -> None:
    rules = replace(RULES, longest=timedelta(0))
    book = DelayBook(NAMES, 7, rules)
    book.change(T, ALL)
    assert not book.is_held(T).any()
    assert not rules.is_on
    assert not DelayRules().is_on
    assert RULES.is_on


@pytest.mark.parametrize("longest_s", [-1.0, 1_800.5])
def test_a_delay_that_may_not_be_set_is_refused(longest_s: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        DelayRules(nodes=("n",), longest=timedelta(seconds=longest_s))
    assert caught.value.field == "random_delay.longest"
    assert DelayRules(longest=timedelta(seconds=1_800)).longest == timedelta(minutes=30)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(InvalidInput):
        DelaySeed(id="random-delay", tenant="t", seed=seed, drawn_at=datetime(2026, 1, 1, tzinfo=UTC))


def test_what_may_be_promised_is_what_follows() -> None:
    book = DelayBook(NAMES, 7, RULES)
    book.change(T, ALL)
    times = np.array([-1.0, 0.0, 60.0, 300.0, 540.0, 600.0, 900.0])
    followed = np.array([0.0, *(1.0 - book.is_held(T + t).mean() for t in times[1:].tolist())])
    assert np.abs(ramp_share(times, 600.0) - followed).max() < 0.03
    assert ramp_share(np.array([-1.0, 0.0, 5.0]), 0.0).tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("duration_s", [60.0, 600.0, 900.0, 7_200.0])
def test_the_mean_of_what_follows(duration_s: float) -> None:
    times = np.linspace(0.0, duration_s, 100_001)
    assert mean_share(duration_s, 600.0) == pytest.approx(float(ramp_share(times, 600.0).mean()), abs=1e-3)
    assert mean_share(duration_s, 0.0) == 1.0
    assert mean_share(0.0, 600.0) == 0.0
