"""The guard in front of JSON: what it lets in, exactly, and what it throws away."""

import json
import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.json_guard import JsonPolicy, JsonRejected, canonical, read_json

SMALL = JsonPolicy(max_bytes=200, max_depth=4, max_values=20)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe[\x00]\x00", "not JSON"),
        (b'{"a": NaN}', "no number"),
        (b"[Infinity]", "no number"),
        (b"[-Infinity]", "no number"),
        (b"[1e400]", "out of range"),
        (b"[1e99999999999999999999]", "out of range"),
        (b"[" + b"1" * 65 + b"]", "64 characters"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'[{"b": {"c": 1, "c": 1}}]', "twice"),
        (b"[[[[[]]]]]", "nested"),
        (b"[" * 100_000, "longer"),
        (b"[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "values"),
        (b" " * 201, "longer"),
        (b"[1] 2", "not JSON"),
    ],
    ids=[
        "empty", "cut", "utf-16", "nan", "infinity", "minus-infinity", "too-large", "exponent", "digits", "name-twice",
        "deep-name-twice", "deep", "long", "many", "spaces", "more-behind",
    ],
)  # fmt: skip
def test_what_is_thrown_away(body: bytes, problem: str) -> None:
    with pytest.raises(JsonRejected, match=problem):
        read_json(body, SMALL)


def test_deep_nesting_within_the_bytes_is_thrown_away_too() -> None:
    with pytest.raises(JsonRejected, match="nested"):
        read_json(b"[" * 900_000 + b"]" * 900_000, JsonPolicy())


def test_numbers_are_exact_and_a_byte_order_mark_does_no_harm() -> None:
    found = read_json(b'\xef\xbb\xbf{"price": 0.1, "big": 12345678901234567890, "e": 1E-7}', JsonPolicy())
    assert found == {"price": Decimal("0.1"), "big": Decimal(12345678901234567890), "e": Decimal("1E-7")}


def test_a_rejection_survives_the_pipe_of_a_worker() -> None:
    error = JsonRejected("openadr.json", "is bad")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    assert (type(copy), str(copy), copy.reason) == (JsonRejected, str(error), "MESSAGE_REJECTED")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_read_as_what_it_says(content: Any) -> None:
    body = json.dumps(content).encode()
    assert read_json(body, JsonPolicy()) == json.loads(body, parse_float=Decimal, parse_int=Decimal)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_rejected(body: bytes) -> None:
    try:
        read_json(body, JsonPolicy())
    except JsonRejected:
        return


@given(st.dictionaries(st.text().filter(lambda name: name not in {"null", "nothing"}), JSON, max_size=5))
def test_canonical_text_does_not_depend_on_order_nulls_and_spelling(content: dict[str, Any]) -> None:
    there = read_json(json.dumps(content).encode(), JsonPolicy())
    turned = read_json(json.dumps({**dict(reversed(content.items())), "null": None}, indent=3).encode(), JsonPolicy())
    assert canonical(there) == canonical({name: value for name, value in turned.items() if name != "null"})
    assert canonical(there) == canonical({**there, "nothing": None})


def test_numbers_are_the_same_however_they_are_spelled_and_never_texts() -> None:
    spelled = [canonical(read_json(text, JsonPolicy())) for text in (b"[10]", b"[10.0]", b"[1e1]", b"[1.00E+1]")]
    assert len(set(spelled)) == 1
    assert canonical([Decimal(10)]) != canonical(["10"])
    assert canonical([Decimal("-0.0")]) == canonical([Decimal(0)])
