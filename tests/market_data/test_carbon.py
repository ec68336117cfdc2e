import json
import traceback
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import CarbonKind, Quality
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.market_data.carbon import CarbonAccount, CarbonIntensitySource
from gateway.market_data.carbon_grid import on_quarter_hours
from gateway.market_data.http_fetch import FetchCaps
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import ScriptedPeer

TOKEN = "canary-carbon-secret"
DAY = DeliveryDay(day=date(2025, 10, 15), zone="Europe/Brussels")
START = DAY.grid().start
END = DAY.grid().end
QUARTER = timedelta(minutes=15)

Source = Callable[..., CarbonIntensitySource]


def rows(first: datetime, values: list[Any], step: timedelta = QUARTER, **extra: Any) -> list[dict[str, Any]]:
    more = {"isEstimated": False, "emissionFactorType": "lifecycle", **extra}
    return [
        {"datetime": (first + step * i).strftime("%Y-%m-%dT%H:%M:%S.000Z"), "carbonIntensity": value, **more}
        for i, value in enumerate(values)
    ]


def document(key: str, samples: list[dict[str, Any]], **extra: Any) -> bytes:
    return json.dumps({"zone": "BE", "temporalGranularity": "15_minutes", key: samples, **extra}).encode()


@pytest.fixture
def source(peer: ScriptedPeer, session: aiohttp.ClientSession) -> Source:
    def make(now: datetime = END, kind: CarbonKind = CarbonKind.AVERAGE) -> CarbonIntensitySource:
        account = CarbonAccount(url=peer.url, token=TOKEN, kind=kind)
        caps = FetchCaps(connect_s=1.0, total_s=1.0)
        return CarbonIntensitySource(account=account, session=session, clock=HandClock(now), caps=caps)

    return make


async def test_a_past_day_is_measured(source: Source, peer: ScriptedPeer) -> None:
    peer.reply(document("data", rows(START, list(range(96)))))
    found = await source().fetch("BE", DAY)
    assert found is not None
    assert found.intensity_g_per_kwh == tuple(float(value) for value in range(96))
    assert (found.quality, found.kind, found.note) == (Quality.FINAL, CarbonKind.AVERAGE, "lifecycle factors")
    assert len(peer.asked) == 1
    asked = peer.asked[0]
    assert asked.path == "/v3/carbon-intensity/past-range"
    assert asked.headers["auth-token"] == TOKEN
    assert TOKEN not in str(asked.url)
    assert (asked.query["start"], asked.query["end"]) == ("2025-10-14T22:00:00+00:00", "2025-10-15T22:00:00+00:00")


async def test_a_day_ahead_is_forecast_and_estimated(source: Source, peer: ScriptedPeer) -> None:
    peer.reply(document("forecast", rows(START - timedelta(hours=13), [100] * 52 + list(range(96)))))
    found = await source(START - timedelta(hours=13)).fetch("BE", DAY)
    assert found is not None
    assert found.intensity_g_per_kwh == tuple(float(value) for value in range(96))
    assert found.quality is Quality.ESTIMATED
    assert peer.asked[0].path == "/v3/carbon-intensity/forecast"
    assert peer.asked[0].query["horizonHours"] == "48"


async def test_a_day_in_progress_is_measured_first_and_forecast_after(source: Source, peer: ScriptedPeer) -> None:
    peer.reply(document("data", rows(START, [1] * 40)))
    peer.reply(document("forecast", rows(START, [2] * 96)))
    found = await source(START + timedelta(hours=10, minutes=7)).fetch("BE", DAY)
    assert found is not None
    assert found.intensity_g_per_kwh == (1.0,) * 40 + (2.0,) * 56
    assert peer.asked[0].query["end"] == "2025-10-15T08:00:00+00:00"
    assert peer.asked[1].query["horizonHours"] == "24"


async def test_a_day_too_far_ahead_is_not_asked_for(source: Source, peer: ScriptedPeer) -> None:
    assert await source(START - timedelta(days=3)).fetch("BE", DAY) is None
    assert peer.asked == []


async def test_what_is_missing_is_a_gap(source: Source, peer: ScriptedPeer) -> None:
    peer.reply(document("data", rows(START, [50, None, 70])))
    found = await source().fetch("BE", DAY)
    assert found is not None
    assert found.intensity_g_per_kwh[:4] == (50.0, None, 70.0, None)


@pytest.mark.parametrize("body", [b'{"status": "no-data"}', b"not found"])
async def test_no_data_is_none(source: Source, peer: ScriptedPeer, body: bytes) -> None:
    peer.reply(body, status=404)
    assert await source().fetch("BE", DAY) is None


async def test_one_estimated_value_makes_the_day_estimated(source: Source, peer: ScriptedPeer) -> None:
    samples = rows(START, [1] * 96)
    samples[50]["isEstimated"] = True
    peer.reply(document("data", samples))
    found = await source().fetch("BE", DAY)
    assert found is not None
    assert found.quality is Quality.ESTIMATED


async def test_a_stand_in_is_labelled(source: Source, peer: ScriptedPeer) -> None:
    peer.reply(document("data", rows(START, [1] * 96), signalType="marginal"), headers={"X-Stand-In": "California"})
    found = await source(kind=CarbonKind.MARGINAL).fetch("BE", DAY)
    assert found is not None
    assert found.quality is Quality.SUBSTITUTED
    assert found.kind is CarbonKind.MARGINAL
    assert found.note == "stand-in values: California; lifecycle factors"


@pytest.mark.parametrize(
    ("granularity", "step", "expected"),
    [
        ("hourly", timedelta(hours=1), (0.0, 0.0, 0.0, 0.0, 1.0)),
        ("5_minutes", timedelta(minutes=5), (1.0, 4.0, 7.0, 10.0, 13.0)),
    ],
)
async def test_other_granularities_are_laid_onto_quarter_hours(
    source: Source, peer: ScriptedPeer, granularity: str, step: timedelta, expected: tuple[float, ...]
) -> None:
    body = document("data", rows(START, list(range(24)), step), temporalGranularity=granularity)
    peer.reply(body)
    found = await source().fetch("BE", DAY)
    assert found is not None
    assert found.intensity_g_per_kwh[:5] == expected


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", "carbon"),
        (b"{", "carbon"),
        (b"\xff", "carbon"),
        (b'{"zone": NaN}', "carbon"),
        pytest.param(b"[" * 100_000, "carbon", id="nested"),
        (document("data", [], zone="NL"), "carbon.zone"),
        (document("data", [], temporalGranularity="daily"), "carbon.temporalGranularity"),
        (document("data", [], signalType="marginal"), "carbon.signalType"),
        (document("history", []), "carbon.data"),
        (document("data", [1]), "carbon.data[0]"),  # type: ignore[list-item]
        (document("data", rows(START, [-1])), "carbon.data[0].carbonIntensity"),
        (document("data", rows(START, [10_000])), "carbon.data[0].carbonIntensity"),
        (document("data", rows(START, ["100"])), "carbon.data[0].carbonIntensity"),
        (document("data", rows(START, [True])), "carbon.data[0].carbonIntensity"),
        (
            b'{"zone":"BE","temporalGranularity":"hourly","data":[{"datetime":"2025-10-15T00:00:00Z","carbonIntensity":1e999}]}',
            "carbon.data[0].carbonIntensity",
        ),
        (
            b'{"zone":"BE","temporalGranularity":"hourly","data":[{"datetime":"2025-10-15T00:00:00Z","carbonIntensity":1'
            + b"0" * 400
            + b"}]}",
            "carbon.data[0].carbonIntensity",
        ),
        (document("data", rows(START + timedelta(minutes=1), [1])), "carbon.data[0].datetime"),
        (document("data", rows(START, [1]) * 2), "carbon.data[1].datetime"),
        (document("data", [{"datetime": "2025-10-15T00:00:00", "carbonIntensity": 1}]), "carbon.data[0].datetime"),
        (document("data", [{"datetime": "soon", "carbonIntensity": 1}]), "carbon.data[0].datetime"),
        (document("data", [{"carbonIntensity": 1}]), "carbon.data[0].datetime"),
        (
            document("data", rows(START, [1]) + rows(START + QUARTER, [1], emissionFactorType="direct")),
            "carbon.emissionFactorType",
        ),
    ],
)
async def test_what_breaks_the_format_is_named(source: Source, peer: ScriptedPeer, body: bytes, field: str) -> None:
    peer.reply(body)
    with pytest.raises(InvalidInput) as caught:
        await source().fetch("BE", DAY)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("status", "error"), [(401, InvalidInput), (403, InvalidInput), (429, PeerUnavailable), (500, PeerUnavailable)]
)
async def test_a_refusal_is_typed_and_without_the_token(
    source: Source, peer: ScriptedPeer, status: int, error: type[Exception]
) -> None:
    peer.reply(TOKEN.encode(), status=status)
    with pytest.raises(error) as caught:
        await source().fetch("BE", DAY)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


async def test_silence_is_a_passing_failure(source: Source, peer: ScriptedPeer) -> None:
    peer.break_off()
    with pytest.raises(PeerUnavailable):
        await source().fetch("BE", DAY)


@pytest.mark.parametrize(
    ("url", "token"), [("http://api.electricitymaps.com", "x"), ("https://api.electricitymaps.com", "")]
)
def test_an_account_must_be_safe(url: str, token: str) -> None:
    with pytest.raises(InvalidInput, match="carbon"):
        CarbonAccount(url=url, token=token, kind=CarbonKind.AVERAGE)


def test_the_account_does_not_show_its_token() -> None:
    account = CarbonAccount(url="https://api.electricitymaps.com", token=TOKEN, kind=CarbonKind.AVERAGE)
    assert TOKEN not in repr(account)


@pytest.mark.parametrize("minutes", [0, -15, 4, 7, 20, 40])
def test_a_step_must_fit_the_quarter_hour(minutes: int) -> None:
    with pytest.raises(InvalidInput, match="step"):
        on_quarter_hours({}, timedelta(minutes=minutes), DAY.grid())


@given(
    values=st.lists(st.none() | st.floats(0, 1000), min_size=36, max_size=36),
    step=st.sampled_from([timedelta(minutes=m) for m in (1, 3, 5, 15, 30, 60)]),
)
def test_a_quarter_hour_is_the_mean_of_what_covers_it_or_unknown(values: list[float | None], step: timedelta) -> None:
    start = datetime(2025, 10, 15, 6, tzinfo=UTC)
    samples = {start + step * i: value for i, value in enumerate(values) if value is not None}
    grid = TimeGrid(start=start, count=12)
    found = on_quarter_hours(samples, step, grid)
    for slot, value in enumerate(found):
        at = grid.slot_start(slot)
        covering = [
            samples.get(start + step * i)
            for i in range(36)
            if start + step * i < at + QUARTER and at < start + step * (i + 1)
        ]
        is_known = len(covering) == max(1, QUARTER // step) and None not in covering
        assert (value is not None) == is_known
        if value is not None:
            assert value == pytest.approx(sum(part for part in covering if part is not None) / len(covering))
