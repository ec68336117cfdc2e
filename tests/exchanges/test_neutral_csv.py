from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.bids import BidPeriod, CurvePoint
from gateway.domain.errors import InvalidInput
from gateway.exchanges.neutral_csv import COLUMNS, NeutralOrder, export_neutral, export_order, import_neutral
from tests.exchanges.orders import AUTUMN, DAY, bid_period, curve, day_periods, order_of

HEADER = ",".join(COLUMNS)
ROW = "2025-10-15,BE,BE-EV,EUR,2025-10-14T22:00:00Z,2025-10-14T22:15:00Z,95.00,1.4"


def order(portfolio: str = "BE-EV", periods: tuple[BidPeriod, ...] = day_periods()) -> NeutralOrder:
    return NeutralOrder(delivery_day="2025-10-15", area="BE", portfolio=portfolio, currency="EUR", periods=periods)


def field_of(content: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        import_neutral(content)
    return caught.value.field


def test_a_file_has_one_row_per_point() -> None:
    lines = export_order(order_of(), "2025-10-15").split("\r\n")
    assert lines[:3] == [
        HEADER,
        "2025-10-15,BE,BE-EV,EUR,2025-10-14T22:00:00Z,2025-10-14T22:15:00Z,80,2.0",
        "2025-10-15,BE,BE-EV,EUR,2025-10-14T22:00:00Z,2025-10-14T22:15:00Z,120.5,0.5",
    ]
    assert len(lines) == 1 + 2 * 96 + 1


def test_the_day_of_a_hundred_quarter_hours_is_unambiguous_in_utc() -> None:
    periods = day_periods(AUTUMN)
    back = import_neutral(export_neutral(order(periods=periods)).encode())
    assert back.periods == periods
    assert len({period.start for period in back.periods}) == 100


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "'"])
def test_a_text_is_never_a_formula(start: str) -> None:
    named = order(f'{start}HYPERLINK("x")')
    text = export_neutral(named)
    assert f",{start}HYPERLINK" not in text
    assert f'"{start}HYPERLINK' not in text
    assert import_neutral(text.encode()) == named


def test_numbers_are_numbers_even_when_negative() -> None:
    selling = order(periods=(bid_period((50, 1), (4000, -2)),))
    assert export_neutral(selling).splitlines()[2].endswith(",4000,-2")
    assert import_neutral(export_neutral(selling).encode()) == selling


def test_a_spreadsheets_mark_at_the_begin_is_skipped() -> None:
    assert import_neutral(f"\ufeff{HEADER}\n{ROW}\n".encode()).portfolio == "BE-EV"


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "file.header"),
        (b"price,volume\n", "file.header"),
        (f"{HEADER}\n".encode(), "file"),
        (b"\xff\xfe", "file"),
        pytest.param(b"x" * 5_000_001, "file", id="large"),
        (f'{HEADER}\n"{ROW}\n'.encode(), "file"),
        (f"{HEADER}\n{ROW},more\n".encode(), "row[2]"),
        (f"{HEADER}\n{ROW.replace('2025-10-15', '15.10.2025', 1)}\n".encode(), "row[2].delivery_day"),
        (f"{HEADER}\n{ROW.replace('BE,', ',', 1)}\n".encode(), "row[2].area"),
        (f"{HEADER}\n{ROW.replace('22:00:00Z', '22:00:00', 1)}\n".encode(), "row[2].contract_start_utc"),
        (f"{HEADER}\n{ROW.replace('22:15:00Z', '24:15:00Z')}\n".encode(), "row[2].contract_end_utc"),
        (f"{HEADER}\n{ROW.replace('95.00', '95,00')}\n".encode(), "row[2]"),
        (f"{HEADER}\n{ROW.replace('95.00', 'NaN')}\n".encode(), "row[2].price"),
        (f"{HEADER}\n{ROW.replace('95.00', '1' * 21)}\n".encode(), "row[2].price"),
        (f"{HEADER}\n{ROW.replace('1.4', 'all')}\n".encode(), "row[2].volume"),
        (f"{HEADER}\n{ROW.replace('22:15', '22:00')}\n".encode(), "row[2].period.end"),
        (f"{HEADER}\n{ROW}\n{ROW}\n".encode(), "row[2].period.curve.price_per_mwh"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('95.00,1.4', '96.00,1.5')}\n".encode(), "row[2].period.curve.volume_mw"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('EUR', 'PLN')}\n".encode(), "row[3]"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('22:15', '22:30')}\n{ROW}\n".encode(), "row[4].contract_start_utc"),
    ],
)
def test_a_wrong_file_names_the_row(content: bytes, field: str) -> None:
    assert field_of(content) == field


decimals = st.decimals(-9999, 9999, places=2, allow_nan=False, allow_infinity=False)


@given(
    portfolio=st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=40),
    curves=st.lists(st.lists(st.tuples(decimals, decimals), min_size=1, max_size=5), min_size=1, max_size=4),
)
def test_what_goes_out_comes_back(portfolio: str, curves: list[list[tuple[Decimal, Decimal]]]) -> None:
    periods: list[BidPeriod] = []
    for index, steps in enumerate(curves):
        prices = sorted({price for price, _ in steps})
        volumes = sorted((volume for _, volume in steps[: len(prices)]), reverse=True)
        start = DAY.grid().start + timedelta(minutes=15) * index
        points: tuple[CurvePoint, ...] = curve(*zip(prices, volumes, strict=True))
        periods.append(BidPeriod(start=start, end=start + timedelta(minutes=15), curve=points))
    whole = order(portfolio, tuple(periods))
    assert import_neutral(export_neutral(whole).encode()) == whole
