"""Demand and forecasts of wind and sun: read strictly, gaps kept, each kind a series of its own."""

from datetime import UTC, date, datetime

import aiohttp
import pytest

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.system_series import SystemKind
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.entsoe import EntsoeAccount, EntsoeEndpoint
from gateway.market_data.entsoe_system import EntsoeSystemSource
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import ScriptedPeer
from tests.market_data.documents import BE, acknowledgement, period, points

DAY = DeliveryDay(day=date(2025, 10, 15), zone="Europe/Brussels")
START, END = "2025-10-14T22:00Z", "2025-10-15T22:00Z"
GL = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"


def gl_series(given: dict[int | str, object], *, domain: str, kind: str = "", area: str = BE, unit: str = "MAW") -> str:
    psr = f"<MktPSRType><psrType>{kind}</psrType></MktPSRType>" if kind else ""
    return (
        f'<TimeSeries><mRID>1</mRID><businessType>A04</businessType><{domain} codingScheme="A01">{area}</{domain}>'
        f"<quantity_Measure_Unit.name>{unit}</quantity_Measure_Unit.name><curveType>A01</curveType>{psr}"
        f"{period(START, END, given, amount='quantity')}</TimeSeries>"
    )


def gl_document(*series: str, kind: str = "A65") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><GL_MarketDocument xmlns="{GL}"><mRID>x</mRID>'
        f"<revisionNumber>1</revisionNumber><type>{kind}</type><createdDateTime>2025-10-14T16:00:00Z</createdDateTime>"
        f"<time_Period.timeInterval><start>{START}</start><end>{END}</end></time_Period.timeInterval>"
        f"{''.join(series)}</GL_MarketDocument>"
    ).encode()


OUT, IN = "outBiddingZone_Domain.mRID", "inBiddingZone_Domain.mRID"
WHOLE: dict[int | str, object] = points(range(9000, 9096))


@pytest.fixture
def endpoint(peer: ScriptedPeer, session: aiohttp.ClientSession) -> EntsoeEndpoint:
    account = EntsoeAccount(url=f"{peer.url}/api", token="canary")
    return EntsoeEndpoint(account=account, session=session, clock=HandClock(datetime(2025, 10, 14, 17, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("subject", "process", "kind"),
    [("load", "A16", SystemKind.LOAD), ("load-forecast", "A01", SystemKind.LOAD_FORECAST)],
)
async def test_demand_is_asked_for_by_its_process_and_read(
    endpoint: EntsoeEndpoint, peer: ScriptedPeer, subject: str, process: str, kind: SystemKind
) -> None:
    peer.reply(gl_document(gl_series(WHOLE, domain=OUT)))
    (series,) = await EntsoeSystemSource(endpoint=endpoint, subject=subject).fetch("BE", DAY)
    assert (series.kind, series.power_mw[0], series.power_mw[-1]) == (kind, 9000.0, 9095.0)
    assert series.is_complete
    assert series.published_at == datetime(2025, 10, 14, 16, tzinfo=UTC)
    query = peer.asked[0].query
    assert (query["documentType"], query["processType"], query["outBiddingZone_Domain"]) == ("A65", process, BE)


async def test_wind_and_sun_are_three_series_and_gaps_stay_gaps(endpoint: EntsoeEndpoint, peer: ScriptedPeer) -> None:
    holes = {position: value for position, value in WHOLE.items() if position != 7}
    parts = [gl_series(holes if kind == "B16" else WHOLE, domain=IN, kind=kind) for kind in ("B19", "B16", "B18")]
    peer.reply(gl_document(*parts, kind="A69"))
    found = await EntsoeSystemSource(endpoint=endpoint, subject="wind-solar-forecast").fetch("BE", DAY)
    assert [series.kind.value for series in found] == [
        "solar-forecast",
        "wind-offshore-forecast",
        "wind-onshore-forecast",
    ]
    assert found[0].power_mw[6] is None
    assert found[1].is_complete
    assert len({series.id for series in found}) == 3


async def test_nothing_published_yet_is_nothing(endpoint: EntsoeEndpoint, peer: ScriptedPeer) -> None:
    peer.reply(acknowledgement())
    assert await EntsoeSystemSource(endpoint=endpoint, subject="load").fetch("BE", DAY) == ()


@pytest.mark.parametrize(
    ("series", "kind", "field"),
    [
        pytest.param(gl_series(WHOLE, domain=OUT, area="10YNL----------L"), "A65", OUT, id="another area"),
        pytest.param(gl_series(WHOLE, domain=OUT, unit="MWH"), "A65", "quantity_Measure_Unit.name", id="energy"),
        pytest.param(gl_series(WHOLE, domain=OUT), "A69", "type", id="another document"),
        pytest.param(gl_series(WHOLE, domain=IN), "A65", OUT, id="production"),
    ],
)
async def test_a_document_that_breaks_a_rule_is_refused(
    endpoint: EntsoeEndpoint, peer: ScriptedPeer, series: str, kind: str, field: str
) -> None:
    peer.reply(gl_document(series, kind=kind))
    with pytest.raises(InvalidInput) as refusal:
        await EntsoeSystemSource(endpoint=endpoint, subject="load").fetch("BE", DAY)
    assert refusal.value.field == field


async def test_a_type_that_is_no_wind_and_no_sun_is_refused(endpoint: EntsoeEndpoint, peer: ScriptedPeer) -> None:
    peer.reply(gl_document(gl_series(WHOLE, domain=IN, kind="B04"), kind="A69"))
    with pytest.raises(InvalidInput, match="B16, B18 or B19"):
        await EntsoeSystemSource(endpoint=endpoint, subject="wind-solar-forecast").fetch("BE", DAY)
    with pytest.raises(InvalidInput, match="must be one of"):
        EntsoeSystemSource(endpoint=endpoint, subject="weather")


async def test_a_web_page_is_no_document(endpoint: EntsoeEndpoint, peer: ScriptedPeer) -> None:
    peer.reply(b"<html>maintenance</html>")
    with pytest.raises(PeerUnavailable):
        await EntsoeSystemSource(endpoint=endpoint, subject="load").fetch("BE", DAY)
