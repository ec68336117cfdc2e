from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.openadr.profiles.ean import check_digit, is_ean, is_emi3
from gateway.openadr.profiles.selecting import select
from gateway.openadr.profiles.values import ValueRule, decimals_of, is_same_duration

OPERATORS = ("8716916000004", "8712423014022", "8716871000002", "8716912000008", "8716892000005", "8716878999996")


@pytest.mark.parametrize("ean", OPERATORS)
def test_the_dutch_operators_have_right_check_digits(ean: str) -> None:
    assert is_ean(ean, 13)
    wrong = f"{ean[:-1]}{(int(ean[-1]) + 1) % 10}"
    assert not is_ean(wrong, 13)


@given(st.integers(min_value=0, max_value=10**17 - 1))
def test_one_wrong_digit_never_passes(number: int) -> None:
    body = f"{number:017d}"
    good = f"{body}{check_digit(body)}"
    assert is_ean(good, 18)
    for place in (0, 8, 17):
        bad = f"{good[:place]}{(int(good[place]) + 3) % 10}{good[place + 1 :]}"
        assert not is_ean(bad, 18)


@pytest.mark.parametrize("text", ["", "٣" * 13, "8716871000002 ", "871687100000", "x716871000002"], ids=ascii)
def test_what_is_no_row_of_digits_is_no_ean(text: str) -> None:
    assert not is_ean(text, 13)


def test_operator_ids_of_emi3() -> None:
    assert [is_emi3(text) for text in ("NLABC", "NL-ABC", "NL-A1C", "nlabc", "NLAB", "NLABCD")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        pytest.param({"one_of": [True]}, [True], [1, "true", None, False], id="true is not one"),
        pytest.param({"one_of": [0]}, [0, 0.0, Decimal(0)], [False, "0"], id="zero is not false"),
        pytest.param({"decimals": 2}, [1, 1.25, Decimal("1.250"), -0.01], [1.255, "1.2", True], id="decimals"),
        pytest.param({"minimum": 0.0}, [0, 0.0, 7], [-0.001, float("nan"), float("inf"), 10**400], id="minimum"),
        pytest.param({"durations": ["P1D"]}, ["P1D", "PT24H", "PT1440M"], ["P1M", "PT23H", "", 24], id="durations"),
        pytest.param({"durations": ["P9999Y"]}, ["P9999Y"], ["P9Y", "PT0S"], id="endless"),
        pytest.param({"min_length": 2, "max_length": 3}, ["ab", "abc"], ["a", "abcd", 12], id="length"),
        pytest.param({"pattern": "a+"}, ["aa"], ["aab", "", "a" * 10_001], id="whole text"),
        pytest.param({"format": "instant"}, ["0001-01-01", "2025-10-15T10:00:00+02:00"], ["soon", 5], id="instant"),
        pytest.param({"format": "duration"}, ["P1M", "P9999Y"], ["15 min"], id="duration"),
    ],
)
def test_values(rule: dict[str, object], good: list[object], bad: list[object]) -> None:
    made = ValueRule.model_validate(rule)
    assert [value for value in good if list(made.problems(value))] == []
    assert [value for value in bad if not list(made.problems(value))] == []


@pytest.mark.parametrize(
    "rule", [{}, {"pattern": "("}, {"durations": ["soon"]}, {"min_length": -1}, {"colour": "red"}, {"format": "ean8"}]
)
def test_a_value_rule_that_means_nothing_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ValueRule.model_validate(rule)


def test_decimals_of_numbers_as_they_are_written() -> None:
    assert [decimals_of(value) for value in (1.10, Decimal("1e3"), 0.125, 1e-7)] == [1, 0, 3, 7]
    assert is_same_duration("PT60M", "PT1H")
    assert not is_same_duration("PT60M", "an hour")


def test_selecting_names_places_and_survives_everything() -> None:
    event = {"intervals": [{"id": 0}, "nonsense", {"payloads": [{"type": "PRICE"}]}]}
    assert [(one.path, one.value) for one in select(event, "intervals[*].id")] == [
        ("intervals[0].id", 0),
        ("intervals[1].id", None),
        ("intervals[2].id", None),
    ]
    assert [one.path for one in select(event, "intervals[*].payloads[*].type")] == ["intervals[2].payloads[0].type"]
    assert select(None, "a[*].b") == []
    with pytest.raises(ValueError, match="path"):
        select(event, "intervals[0]")
