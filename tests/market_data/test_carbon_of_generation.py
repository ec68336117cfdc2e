"""Carbon from production: the documents, the arithmetic, and what is a gap."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.series import CarbonBasis, CarbonKind, CarbonMeasure, CarbonScope, Quality
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.market_data.carbon_of_generation import (
    FactorSet,
    GenerationCarbon,
    intensity,
    load_factors,
    power_mw,
)
from gateway.market_data.entsoe import EntsoeAccount, EntsoeEndpoint
from gateway.market_data.entsoe_elements import Slots
from gateway.market_data.entsoe_generation import Generation, read_generation
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import ScriptedPeer

NL = "10YNL----------L"
DAY = DeliveryDay(day=date(2025, 10, 15), zone="Europe/Amsterdam")
GRID = DAY.grid()
Row = tuple[str, Sequence[float | None]]


def series(kind: str, values: Sequence[float | None], *, direction: str = "in", area: str = NL, unit: str = "MAW",
           curve: str = "A01", start: datetime = GRID.start, minutes: int = 15) -> str:  # fmt: skip
    end = start + timedelta(minutes=minutes) * len(values)
    points = "".join(
        f"<Point><position>{number}</position><quantity>{value:g}</quantity></Point>"
        for number, value in enumerate(values, start=1)
        if value is not None
    )
    return (
        f'<TimeSeries><mRID>1</mRID><businessType>A01</businessType><{direction}BiddingZone_Domain.mRID codingScheme="A01">'
        f"{area}</{direction}BiddingZone_Domain.mRID><quantity_Measure_Unit.name>{unit}</quantity_Measure_Unit.name>"
        f"<curveType>{curve}</curveType><MktPSRType><psrType>{kind}</psrType></MktPSRType><Period><timeInterval>"
        f"<start>{start:%Y-%m-%dT%H:%MZ}</start><end>{end:%Y-%m-%dT%H:%MZ}</end></timeInterval>"
        f"<resolution>PT{minutes}M</resolution>{points}</Period></TimeSeries>"
    )


def document(*parts: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><GL_MarketDocument '
        'xmlns="urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"><mRID>x</mRID><revisionNumber>1'
        "</revisionNumber><type>A75</type><process.processType>A16</process.processType>"
        f"<createdDateTime>2025-10-16T08:00:00Z</createdDateTime>{''.join(parts)}</GL_MarketDocument>"
    ).encode()


def produced(rows: Mapping[str, Sequence[float | None]]) -> Generation:
    found = read_generation(document(*(series(kind, values) for kind, values in rows.items())), area=NL)
    assert found is not None
    return found


@pytest.fixture
def factors(config: Path) -> FactorSet:
    return load_factors(config / "carbon_factors.toml", "ipcc-ar5-lifecycle")


def test_power_weighs_the_factors(factors: FactorSet) -> None:
    found = intensity(produced({"B04": [300.0] * 96, "B16": [100.0] * 96}), factors, GRID, {})
    assert found.g_per_kwh == pytest.approx([(300 * 490 + 100 * 45) / 400] * 96)
    assert found.estimated_count == 0


def test_24_a_quarter_hour_without_reports_is_a_gap(factors: FactorSet) -> None:
    gas: list[float | None] = [300.0] * 96
    gas[7] = None
    solar: list[float | None] = [10.0] * 96
    solar[7] = None
    found = intensity(produced({"B04": gas, "B16": solar}), factors, GRID, {"B04": 1e5, "B16": 1e4})
    assert [i for i, value in enumerate(found.g_per_kwh) if value is None] == [7]


def test_zero_everywhere_is_a_gap_and_not_clean_power(factors: FactorSet) -> None:
    """The Dutch record of 2019 has quarter-hours in which every type reports 0 MW."""
    found = intensity(produced({"B04": [0.0] * 96, "B16": [0.0] * 96}), factors, GRID, {})
    assert set(found.g_per_kwh) == {None}


def test_a_small_type_that_is_silent_makes_an_estimate_and_a_large_one_a_gap(factors: FactorSet) -> None:
    rows: dict[str, list[float | None]] = {"B04": [300.0] * 96, "B16": [None, *[10.0] * 95], "B14": [400.0] * 96}
    usual = {"B04": 5_000.0, "B16": 200.0, "B14": 4_800.0}
    small = intensity(produced(rows), factors, GRID, usual)
    assert small.estimated_count == 1
    assert small.g_per_kwh[0] == pytest.approx((300 * 490 + 400 * 12) / 700)
    large = intensity(produced(rows), factors, GRID, {**usual, "B16": 2_000.0})
    assert large.g_per_kwh[0] is None
    assert large.g_per_kwh[1] is not None


def test_a_type_that_is_missing_from_the_document_counts_as_silent(factors: FactorSet) -> None:
    found = intensity(produced({"B04": [300.0] * 96}), factors, GRID, {"B04": 5_000.0, "B14": 5_000.0})
    assert set(found.g_per_kwh) == {None}
    nearly = intensity(produced({"B04": [300.0] * 96}), factors, GRID, {"B04": 5_000.0, "B14": 100.0})
    assert nearly.estimated_count == 96


def test_pumped_storage_and_consumption_are_left_out(factors: FactorSet) -> None:
    body = document(
        series("B04", [100.0] * 96), series("B10", [500.0] * 96), series("B10", [900.0] * 96, direction="out")
    )
    found = read_generation(body, area=NL)
    assert found is not None
    assert intensity(found, factors, GRID, {"B04": 1.0, "B10": 9.0}).g_per_kwh == pytest.approx([490.0] * 96)


def test_hours_are_repeated_over_their_quarter_hours(factors: FactorSet) -> None:
    body = document(series("B04", [100.0, 200.0], minutes=60), series("B14", [100.0] * 8))
    found = read_generation(body, area=NL)
    assert found is not None
    values = intensity(found, factors, GRID, {}).g_per_kwh
    assert values[:8] == pytest.approx([251.0] * 4 + [(200 * 490 + 100 * 12) / 300] * 4)
    assert set(values[8:]) == {None}


@given(
    rows=st.dictionaries(
        st.sampled_from(["B04", "B05", "B14", "B16", "B19"]),
        st.lists(st.one_of(st.none(), st.floats(0.0, 5_000.0)), min_size=6, max_size=6).filter(
            lambda values: values[0] is not None
        ),
        min_size=1,
    )
)
def test_an_intensity_lies_between_the_factors_of_what_produces(rows: dict[str, list[float | None]]) -> None:
    grid = TimeGrid(start=GRID.start, step=GRID.step, count=6)
    factors = FactorSet(
        id="f",
        basis=CarbonBasis.DIRECT,
        source="",
        g_per_kwh={"B04": 370.0, "B05": 760.0, "B14": 0.0, "B16": 0.0, "B19": 0.0},
    )
    slots = {
        kind: Slots(
            start=grid.start,
            step=grid.step,
            values=tuple(None if v is None else Decimal(v) for v in values),
            repeated_tail_count=0,
        )
        for kind, values in rows.items()
    }
    generation = Generation(
        by_type={kind: (one,) for kind, one in slots.items()}, point_count=0, series_count=len(slots)
    )
    found = intensity(generation, factors, grid, {})
    for slot, value in enumerate(found.g_per_kwh):
        here = [kind for kind, periods in generation.by_type.items() if power_mw(periods, grid)[slot] > 0.0]
        if value is not None:
            low, high = (pick(factors.g_per_kwh[kind] for kind in here) for pick in (min, max))
            assert low - 1e-9 <= value <= high + 1e-9


@pytest.mark.parametrize(
    ("part", "field"),
    [
        pytest.param(series("B04", [1.0], area="10YBE----------2"), "inBiddingZone_Domain.mRID", id="another zone"),
        pytest.param(series("B04", [1.0], unit="KWT"), "quantity_Measure_Unit.name", id="another unit"),
        pytest.param(series("B04", [-1.0]), "Point.quantity", id="negative"),
        pytest.param(series("wind", [1.0]), "psrType", id="no type"),
        pytest.param(series("B04", [1.0], curve="A02"), "curveType", id="another curve"),
        pytest.param(
            series("B04", [1.0]).replace("<MktPSRType>", "<Other>").replace("</MktPSRType>", "</Other>"),
            "MktPSRType",
            id="without type",
        ),
        pytest.param(series("B04", [1.0]).replace("<quantity>1<", "<quantity>1,5<"), "quantity", id="comma"),
    ],
)
def test_a_document_that_breaks_a_rule_is_refused_by_element(part: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        read_generation(document(part), area=NL)
    assert refusal.value.field == field


def test_a_type_without_a_factor_is_never_free(factors: FactorSet) -> None:
    with pytest.raises(InvalidInput, match="B25 has no factor"):
        intensity(produced({"B25": [1.0] * 96}), factors, GRID, {})


@pytest.mark.parametrize("name", ["ipcc-ar5-lifecycle", "ipcc-2014-direct"])
def test_shipped_sets_know_every_type(config: Path, name: str) -> None:
    found = load_factors(config / "carbon_factors.toml", name)
    assert set(found.g_per_kwh) == {f"B{number:02d}" for number in range(1, 21)} - {"B10"}
    assert found.source


@pytest.mark.parametrize(
    ("text", "field"),
    [
        pytest.param("", "carbon_factors", id="empty"),
        pytest.param("[sets.x]\nbasis = 'average'\n[sets.x.g_per_kwh]\nB04 = 1", "carbon_factors.x.basis", id="basis"),
        pytest.param("[sets.x]\nbasis = 'direct'\ng_per_kwh = 3", "carbon_factors.x.g_per_kwh", id="no table"),
        pytest.param("[sets.x]\nbasis = 'direct'\n[sets.x.g_per_kwh]\nB04 = -1", "factors.x.B04", id="negative"),
        pytest.param("[sets", "carbon_factors", id="no TOML"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_by_place(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "factors.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as refusal:
        load_factors(path, "x")
    assert refusal.value.field == field


async def test_a_day_over_a_socket(peer: ScriptedPeer, session: aiohttp.ClientSession, factors: FactorSet) -> None:
    peer.reply(document(series("B04", [300.0] * 96), series("B16", [100.0] * 96)))
    clock = HandClock(datetime(2025, 10, 16, 9, tzinfo=UTC))
    account = EntsoeAccount(url=peer.url, token="canary-token")
    source = GenerationCarbon(endpoint=EntsoeEndpoint(account=account, session=session, clock=clock), factors=factors)
    found = await source.fetch("NL", DAY)
    assert found is not None
    assert found.is_complete
    assert found.measure == CarbonMeasure(
        kind=CarbonKind.AVERAGE, basis=CarbonBasis.LIFECYCLE, scope=CarbonScope.PRODUCTION
    )
    assert (found.quality, found.source) == (Quality.FINAL, "entsoe-generation")
    assert "ipcc-ar5-lifecycle" in found.note
    asked = peer.asked[0].query
    assert (asked["documentType"], asked["processType"], asked["in_Domain"]) == ("A75", "A16", NL)
    assert await source.fetch("NL", DAY.next(2)) is None
    assert len(peer.asked) == 1
    peer.answers.clear()
    peer.reply(document(series("B04", [300.0] * 96, start=DAY.next().grid().start)))
    clock.move(days=1)
    later = await source.fetch("NL", DAY.next())
    assert later is None, "solar made a quarter of yesterday and says nothing today"
