import math
import struct
import zlib
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.dispatch import DispatchBatch
from gateway.domain.errors import InvalidInput, StorageUnavailable
from gateway.domain.evidence import canonical_json
from gateway.domain.sessions import Session
from gateway.domain.settlement import MeteredPeriod, SettledPeriod
from gateway.domain.signals import RawSignal, VenRegistration
from gateway.storage import codec
from tests.storage.records import EXAMPLES, QUARTER, T0, dispatch, outcome, raw_signal, session

aware = st.datetimes(
    min_value=T0.replace(year=1970, tzinfo=None),
    max_value=T0.replace(year=2200, tzinfo=None),
    timezones=st.sampled_from([UTC, timezone(QUARTER * 22)]),
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
decimals = st.decimals(allow_nan=False, allow_infinity=False)


def there_and_back(record: Any) -> Any:
    return codec.decode(type(record), codec.encode(record))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_every_kind_comes_back_exactly(example: Any) -> None:
    back = there_and_back(example)
    assert back == example
    assert canonical_json(back) == canonical_json(example)


@given(body=st.binary(), text=texts, at=aware)
def test_bytes_texts_and_instants(body: bytes, text: str, at: datetime) -> None:
    signal = raw_signal(body=body, protocol=text, received_at=at)
    back = there_and_back(signal)
    assert back == signal
    assert canonical_json(back) == canonical_json(signal)


@given(values=st.lists(decimals, min_size=6, max_size=6))
def test_decimals_keep_every_digit(values: list[Decimal]) -> None:
    names = ["position_mwh", "metered_mwh", "day_ahead_price_per_mwh", "imbalance_price_per_mwh"]
    names += ["day_ahead_cash", "imbalance_cash"]
    period = SettledPeriod(start=T0, end=T0 + QUARTER, cause="", **dict(zip(names, values, strict=True)))
    back = there_and_back(period)
    assert [getattr(back, name).as_tuple() for name in names] == [value.as_tuple() for value in values]


@given(
    energy=st.floats(allow_nan=False),
    chargers=st.just(float("nan")) | st.floats(allow_nan=False),
    coverage=st.floats(0, 1),
)
def test_floats_keep_every_bit(energy: float, chargers: float, coverage: float) -> None:
    period = MeteredPeriod(
        id="1",
        tenant="t",
        connection_point="c",
        start=T0,
        end=T0 + QUARTER,
        energy_kwh=energy,
        chargers_kwh=chargers,
        coverage=coverage,
    )
    back = there_and_back(period)
    assert struct.pack("dd", back.energy_kwh, back.coverage) == struct.pack("dd", energy, coverage)
    assert back.chargers_kwh == chargers or (math.isnan(chargers) and math.isnan(back.chargers_kwh))


@given(interval=st.timedeltas(timedelta(days=-3000), timedelta(days=3000)))
def test_durations_keep_every_microsecond(interval: timedelta) -> None:
    registration = VenRegistration(
        id="v",
        tenant="t",
        vtn_id="",
        ven_id="",
        registration_id="",
        poll_interval=interval,
        registered_at=T0,
        active=False,
    )
    assert there_and_back(registration) == registration


@given(at=aware)
def test_microseconds_are_exact(at: datetime) -> None:
    assert codec.instant_of(codec.micros("at", at)) == at


def test_numpy_numbers_become_plain_numbers() -> None:
    record = dispatch(limit_kw=(np.float64(1.5), np.float32(0.5)), sequence=np.int64(7))
    back = there_and_back(record)
    assert [type(value) for value in back.limit_kw] == [float, float]
    assert type(back.sequence) is int
    assert there_and_back(outcome(states=(np.int8(1), np.int8(5)))).states == (1, 5)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (session(charger=7), "Session.charger: must be str"),
        (session(state="plugged-in"), "Session.state: must be enum"),
        (session(expected_departure="tomorrow"), "Session.expected_departure: must be datetime"),
        (dispatch(charger_ids=["charger-1", "charger-2"]), "DispatchBatch.charger_ids: must be tuple"),
        (raw_signal(body="text"), "RawSignal.body: must be bytes"),
        (session(charger="\ud800"), "Session: holds something that cannot be stored"),
    ],
)
def test_a_wrong_type_is_refused_when_written_without_its_value(record: Any, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        codec.encode(record)
    assert str(caught.value).startswith(problem)
    assert "tomorrow" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        (Session, codec.encode(session()).replace('"phases":3', '"phases":2'), "must be 1 or 3"),
        (Session, codec.encode(session()).replace('"phases"', '"fases"'), "phases"),
        (Session, codec.encode(session()).replace('"phases":3', '"phases":"3"'), "phases"),
        (Session, codec.encode(session())[:-1], "JSON"),
        (Session, codec.encode(session())[:-1] + ',"driver":"x"}', "driver"),
        (RawSignal, codec.encode(session()), "authority"),
    ],
)
def test_a_damaged_row_is_an_error_without_its_content(kind: type, text: str, problem: str) -> None:
    with pytest.raises(StorageUnavailable, match=problem) as caught:
        codec.decode(kind, text)
    assert "charger-1" not in str(caught.value)


def test_packed_text_is_smaller_and_damage_is_found() -> None:
    text = codec.encode(dispatch(charger_ids=("charger-1",) * 500, limit_kw=(7.4,) * 500, fallback_kw=(3.6,) * 500))
    packed = codec.pack(text)
    assert len(packed) < len(text) / 10
    assert codec.unpack(packed) == text
    for damaged in (packed[:-1], packed[:9] + bytes([packed[9] ^ 1]) + packed[10:], zlib.compress(b"\xff")):
        with pytest.raises(StorageUnavailable):
            codec.unpack(damaged)


def test_reading_runs_the_checks_of_the_record() -> None:
    text = codec.encode(dispatch()).replace('"limit_kw":[0.0,', '"limit_kw":[-1.0,')
    with pytest.raises(StorageUnavailable, match=r"DispatchBatch row cannot be read: dispatch\.limit_kw"):
        codec.decode(DispatchBatch, text)
