"""Canonical text and the hash chain: the same for equal values, broken by any change."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import (
    GENESIS_HASH,
    AuditEntry,
    ChainedEntry,
    canonical_json,
    chain,
    content_hash,
    verify_chain,
)

T0 = datetime(2025, 10, 15, tzinfo=UTC)


class Colour(StrEnum):
    RED = "red"


def entries(count: int) -> list[ChainedEntry]:
    found: list[ChainedEntry] = []
    head = GENESIS_HASH
    for i in range(count):
        entry = AuditEntry(
            id=f"a{i}", tenant="t", at=T0, actor="x", action="bid.approve", object_kind="bid", object_id=str(i)
        )
        found.append(chain(entry, i + 1, head))
        head = found[-1].hash
    return found


def test_an_untouched_chain_verifies_and_may_be_read_in_runs() -> None:
    found = entries(10)
    assert verify_chain(found) == 10
    assert verify_chain(found[4:], prev_hash=found[3].hash, first_seq=5) == 6


@given(at=st.integers(0, 9), kind=st.sampled_from(["change", "remove", "swap", "repeat", "detail"]))
def test_any_tampering_is_found(at: int, kind: str) -> None:
    found = entries(10)
    match kind:
        case "change":
            found[at] = replace(found[at], entry=replace(found[at].entry, actor="mallory"))
        case "detail":
            found[at] = replace(found[at], entry=replace(found[at].entry, detail={"kw": "1"}))
        case "remove" if at < 9:
            del found[at]
        case "swap" if at < 9:
            found[at], found[at + 1] = found[at + 1], found[at]
        case _:
            found.insert(at, found[at])
    with pytest.raises(InvalidInput, match=r"audit\["):
        verify_chain(found)


def test_canonical_text_does_not_depend_on_order_and_keeps_digits() -> None:
    value = {"b": Decimal("1.10"), "a": [T0, Colour.RED, b"\x00", timedelta(seconds=1.5)], "c": frozenset({"y", "x"})}
    text = '{"a":["2025-10-15T00:00:00+00:00","red","AA==",1.5],"b":"1.10","c":["x","y"]}'
    assert canonical_json(value) == text
    assert canonical_json(dict(reversed(value.items()))) == text
    assert content_hash({"x": Decimal("1.10")}) != content_hash({"x": Decimal("1.1")})


@pytest.mark.parametrize("value", [object(), {"x": {1: object()}}])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="no canonical form"):
        canonical_json(value)


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(left=plain, right=plain)
def test_different_values_have_different_hashes(left: object, right: object) -> None:
    assert (content_hash(left) == content_hash(right)) == (canonical_json(left) == canonical_json(right))
