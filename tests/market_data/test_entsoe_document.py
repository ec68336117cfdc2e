from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gateway.domain.errors import InvalidInput
from gateway.market_data.entsoe_document import PriceDocument, PricePeriod, read_balancing, read_publication
from tests.market_data.documents import (
    BE,
    acknowledgement,
    balancing,
    imbalance_series,
    period,
    points,
    publication,
    series,
)

START, END, HOUR_END = "2025-10-14T22:00Z", "2025-10-15T22:00Z", "2025-10-14T23:00Z"
FOUR = points([1, 2, 3, 4])


def read(*all_series: str) -> PriceDocument:
    document = read_publication(publication(*all_series), area=BE)
    assert document is not None
    return document


def one_period(given: dict[int | str, object], curve: str = "A03", end: str = HOUR_END) -> PricePeriod:
    return read(series(period(START, end, given), curve=curve)).series[0].periods[0]


def error_of(document: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read_publication(document, area=BE)
    return caught.value


def numbers(found: PricePeriod) -> list[float | None]:
    return [None if price is None else float(price) for price in found.prices_per_mwh]


def test_a_document_is_kept_as_it_says() -> None:
    document = read(series(period(START, HOUR_END, points(["120.26", "-0.01", "0", "95.5"])), sequence=1))
    assert document.created_at == datetime(2025, 10, 14, 10, 57, 13, tzinfo=UTC)
    assert document.revision == 1
    found = document.series[0]
    assert (found.contract, found.sequence, found.currency, found.category) == ("A01", "1", "EUR", None)
    assert found.periods[0].prices_per_mwh == (Decimal("120.26"), Decimal("-0.01"), Decimal(0), Decimal("95.5"))
    assert found.periods[0].end == datetime(2025, 10, 14, 23, tzinfo=UTC)


def test_a_series_without_position_has_no_sequence() -> None:
    assert read(series(period(START, HOUR_END, FOUR))).series[0].sequence == "none"


def test_a03_holds_a_point_until_the_next_one_inside_the_period() -> None:
    found = one_period({1: 10, 3: 30})
    assert numbers(found) == [10.0, 10.0, 30.0, 30.0]
    assert found.repeated_tail_count == 1


def test_a03_knows_nothing_before_its_first_point() -> None:
    assert numbers(one_period({2: 20, 4: 40})) == [None, 20.0, 20.0, 40.0]


def test_a03_points_may_come_in_any_order() -> None:
    assert numbers(one_period({3: 30, 1: 10})) == [10.0, 10.0, 30.0, 30.0]


def test_a01_with_a_hole_leaves_a_gap() -> None:
    found = one_period({1: 10, 2: 20, 4: 40}, curve="A01")
    assert numbers(found) == [10.0, 20.0, None, 40.0]
    assert found.repeated_tail_count == 0


def test_a_period_that_ends_early_says_nothing_of_the_rest() -> None:
    assert len(one_period(points(range(48)), end="2025-10-15T10:00Z").prices_per_mwh) == 48


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({0: 1}, "whole number"),
        ({-1: 1}, "whole number"),
        ({"01": 1}, "whole number"),
        ({"1.0": 1}, "whole number"),
        ({5: 1}, "outside the Period's 4 slots"),
        ({97: 1}, "outside"),
        ({1_000_000_000: 1}, "whole number"),
        ({"1 ": 1, 1: 2}, "given twice"),
        ({"one": 1}, "whole number"),
    ],
)
def test_a_position_outside_the_period_is_refused(given: dict[int | str, object], problem: str) -> None:
    error = error_of(publication(series(period(START, HOUR_END, given))))
    assert error.field == "Point.position"
    assert problem in error.problem


@pytest.mark.parametrize(
    "text", ["1,5", "1,234.50", "NaN", "inf", "-Infinity", "1e300", "1e3", "12345678", "", " ", "0x10", "--1", "١٢"]
)
def test_only_a_plain_number_is_a_price(text: str) -> None:
    error = error_of(publication(series(period(START, HOUR_END, {1: text}))))
    assert error.field == "price.amount"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"area": "10YNL----------L"}, "in_Domain.mRID"),
        ({"unit": "KWH"}, "price_Measure_Unit.name"),
        ({"currency": "EURO"}, "currency_Unit.name"),
        ({"currency": "eur"}, "currency_Unit.name"),
        ({"curve": "A02"}, "curveType"),
        ({"sequence": "0"}, "classificationSequence_AttributeInstanceComponent.position"),
        ({"sequence": ""}, "classificationSequence_AttributeInstanceComponent.position"),
    ],
)
def test_what_is_not_as_agreed_is_named(changed: dict[str, str], field: str) -> None:
    assert error_of(publication(series(period(START, HOUR_END, FOUR), **changed))).field == field


@pytest.mark.parametrize(
    ("start", "end", "resolution", "field"),
    [
        (HOUR_END, START, "PT15M", "timeInterval.end"),
        (START, START, "PT15M", "timeInterval.end"),
        (START, "2025-10-14T22:20Z", "PT15M", "Period.timeInterval"),
        (START, "2299-10-14T22:00Z", "PT15M", "Period.timeInterval"),
        (START, HOUR_END, "PT5M", "Period.resolution"),
        (START, HOUR_END, "P1D", "Period.resolution"),
        ("2025-10-14T22:00", HOUR_END, "PT15M", "timeInterval.start"),
        ("2025-13-14T22:00Z", HOUR_END, "PT15M", "timeInterval.start"),
        ("2025-10-14T22:00+00:00", HOUR_END, "PT15M", "timeInterval.start"),
    ],
)
def test_an_interval_must_be_one(start: str, end: str, resolution: str, field: str) -> None:
    assert error_of(publication(series(period(start, end, {1: 1}, resolution)))).field == field


def test_a_document_until_2299_is_refused_before_its_periods_are_laid_out() -> None:
    assert error_of(publication(end="2299-12-31T23:00Z")).field == "period.timeInterval"


def test_the_span_is_the_callers_choice() -> None:
    document = publication(series(period(START, "2025-10-24T22:00Z", {1: 5})), end="2025-10-24T22:00Z")
    read_whole = read_publication(document, area=BE, max_span=timedelta(days=10))
    assert read_whole is not None
    assert len(read_whole.series[0].periods[0].prices_per_mwh) == 960


def test_missing_elements_are_named() -> None:
    whole = publication(series(period(START, HOUR_END, FOUR)))
    for name in (
        "createdDateTime",
        "revisionNumber",
        "currency_Unit.name",
        "curveType",
        "resolution",
        "period.timeInterval",
    ):
        opened, closed = f"<{name}>".encode(), f"</{name}>".encode()
        before, _, rest = whole.partition(opened)
        assert name in error_of(before + rest.partition(closed)[2]).field
    assert error_of(whole.replace(b"<position>2</position>", b"")).field == "position"
    assert error_of(publication(series(period(START, HOUR_END, {})))).field == "Period"


def test_an_element_given_twice_is_a_guess_that_is_not_made() -> None:
    whole = publication(series(period(START, HOUR_END, FOUR)))
    twice = whole.replace(b"<curveType>A03</curveType>", b"<curveType>A03</curveType><curveType>A01</curveType>")
    assert error_of(twice).field == "curveType"


def test_another_document_is_refused() -> None:
    assert error_of(publication(kind="A65")).field == "type"
    assert error_of(balancing()).problem == "is not a Publication_MarketDocument"
    assert error_of(b"<Publication_MarketDocument xmlns='urn:other'/>").field == "document"


def test_an_acknowledgement_of_missing_data_is_no_data_yet() -> None:
    assert read_publication(acknowledgement(), area=BE) is None
    assert read_balancing(acknowledgement(), area=BE) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The requested time period is too long", "999"),
        ("The amount of requested data exceeds allowed limit", "999"),
        ("No matching data found", "A59"),
        ("", "999"),
    ],
)
def test_any_other_acknowledgement_is_a_refusal(text: str, code: str) -> None:
    assert error_of(acknowledgement(text, code)).field in {"request", "text"}


def test_an_acknowledgement_without_reason_says_nothing() -> None:
    body = acknowledgement()
    start, end = body.index(b"<Reason>"), body.index(b"</Reason>") + len(b"</Reason>")
    assert error_of(body[:start] + body[end:]).field == "acknowledgement.Reason"


def test_a_refusals_text_is_shown_in_one_printable_line() -> None:
    error = error_of(acknowledgement("too\nlong&#10;\x7f" + "x" * 500))
    assert "\n" not in error.problem
    assert len(error.problem) < 220


def test_imbalance_prices_are_split_by_category() -> None:
    document = read_balancing(
        balancing(imbalance_series(START, HOUR_END, FOUR), imbalance_series(START, HOUR_END, FOUR, category="A05")),
        area=BE,
    )
    assert document is not None
    assert document.status == "A02"
    assert [found.category for found in document.series] == ["A04", "A05"]
    assert numbers(document.series[1].periods[0]) == [1.0, 2.0, 3.0, 4.0]


def test_both_categories_may_stand_in_one_period() -> None:
    both = imbalance_series(START, HOUR_END, FOUR).replace(
        "</Period>",
        "<Point><position>1</position><imbalance_Price.amount>9</imbalance_Price.amount>"
        "<imbalance_Price.category>A05</imbalance_Price.category></Point></Period>",
    )
    document = read_balancing(balancing(both), area=BE)
    assert document is not None
    assert [numbers(found.periods[0]) for found in document.series] == [[1.0, 2.0, 3.0, 4.0], [9.0, None, None, None]]


def test_a_category_that_changes_inside_an_a03_period_cannot_be_filled() -> None:
    mixed = imbalance_series(START, HOUR_END, {1: 5}, curve="A03").replace(
        "</Period>",
        "<Point><position>3</position><imbalance_Price.amount>9</imbalance_Price.amount>"
        "<imbalance_Price.category>A05</imbalance_Price.category></Point></Period>",
    )
    with pytest.raises(InvalidInput, match="changes inside"):
        read_balancing(balancing(mixed), area=BE)


def test_the_area_of_a_balancing_document_is_checked_wherever_it_stands() -> None:
    inside = imbalance_series(START, HOUR_END, FOUR).replace(
        "<curveType>",
        '<controlArea_Domain.mRID codingScheme="A01">10YNL----------L</controlArea_Domain.mRID><curveType>',
    )
    for document in (balancing(area="10YNL----------L"), balancing(area=None), balancing(inside)):
        with pytest.raises(InvalidInput, match=r"Domain\.mRID"):
            read_balancing(document, area=BE)
