from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput, ResumeTokenExpired
from gateway.rpc import convert
from gateway.v1 import fleet_service_pb2, types_pb2

NOW = datetime(2025, 10, 14, 9, tzinfo=UTC)


@given(st.integers(0, 300), st.integers(0, 60))
def test_pages_cover_a_list_once_in_order(count: int, size: int) -> None:
    keys = [f"k{i:04d}" for i in range(count)]
    seen: list[str] = []
    token = ""
    while True:
        chosen, token = convert.page(keys, types_pb2.PageRequest(page_size=size, page_token=token), keys)
        seen.extend(chosen)
        if not token:
            break
    assert seen == keys


@pytest.mark.parametrize("size", [-1, 1001])
def test_page_size_is_bounded(size: int) -> None:
    with pytest.raises(InvalidInput, match=r"page\.page_size"):
        convert.page([], types_pb2.PageRequest(page_size=size), [])


@pytest.mark.parametrize("token", ["%%%", "AAAA", convert.encode_token("gone")])
def test_foreign_page_tokens_are_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match=r"page\.page_token"):
        convert.page(["a"], types_pb2.PageRequest(page_token=token), ["a"])


@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_round_trip(instant: datetime) -> None:
    assert convert.instant("at", convert.timestamp(instant)) == instant


def test_a_timestamp_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at_time"):
        convert.instant("at_time", timestamp_pb2.Timestamp(seconds=10**14))


def test_a_required_timestamp_must_be_set() -> None:
    with pytest.raises(InvalidInput, match="arrival_time"):
        convert.required_instant("arrival_time", fleet_service_pb2.Session(), "arrival_time")


def test_texts_are_required_and_bounded() -> None:
    assert convert.required_text("id", "x") == "x"
    for wrong in ("", "x" * 201):
        with pytest.raises(InvalidInput, match="id"):
            convert.required_text("id", wrong)


@pytest.mark.parametrize("text", ["", "2025-13-01", "15.10.2025", "2025-10-15T00:00"])
def test_delivery_days_are_iso_dates(text: str) -> None:
    with pytest.raises(InvalidInput, match="delivery_day"):
        convert.iso_day("delivery_day", text)


def test_watch_tokens_name_a_place_and_expire() -> None:
    token = convert.watch_token(NOW, "bid|1", 3)
    assert convert.read_watch_token(token, NOW) == (NOW, "bid|1", 3)
    with pytest.raises(ResumeTokenExpired):
        convert.read_watch_token(token, NOW + timedelta(days=8))
    with pytest.raises(ResumeTokenExpired):
        convert.read_watch_token(token, NOW - timedelta(seconds=1))


@pytest.mark.parametrize("text", ["", "x", "2025-10-14T09:00:00|naive", "|"])
def test_foreign_watch_tokens_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="resume_token"):
        convert.read_watch_token(convert.encode_token(text), NOW)
