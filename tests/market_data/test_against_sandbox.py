"""The sources against the sandbox market as a process of its own, whose documents another hand writes."""

import csv
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import CarbonKind, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.carbon import CarbonAccount, CarbonIntensitySource
from gateway.market_data.entsoe import EntsoeAccount, EntsoeEndpoint, EntsoeImbalanceSource, EntsoePriceSource
from gateway.market_data.market_rules import load_market_rules
from tests.fakes.sandbox_market import MarketClock, SandboxMarket

FIRST = DeliveryDay(day=date(2025, 10, 1), zone="Europe/Brussels")


def recorded(config: Path, column: str, day: DeliveryDay) -> list[Decimal]:
    with (config / "data" / "be_october_2025" / "prices.csv").open() as file:
        rows = {
            datetime.strptime(row["start_utc"], "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC): row
            for row in csv.DictReader(file)
        }
    return [Decimal(rows[start][column]) for start in day.grid().starts()]


@pytest.fixture
def endpoint(market: SandboxMarket, session: aiohttp.ClientSession) -> EntsoeEndpoint:
    account = EntsoeAccount(url=market.ready["entsoe_url"], token=market.ready["entsoe_token"])
    return EntsoeEndpoint(account=account, session=session, clock=MarketClock(market))


@pytest.fixture
def prices(endpoint: EntsoeEndpoint, config: Path) -> EntsoePriceSource:
    return EntsoePriceSource(endpoint=endpoint, rules=load_market_rules(config / "market_rules.toml"))


@pytest.fixture
def imbalance(endpoint: EntsoeEndpoint, config: Path) -> EntsoeImbalanceSource:
    return EntsoeImbalanceSource(endpoint=endpoint, rules=load_market_rules(config / "market_rules.toml"))


@pytest.fixture
def carbon(market: SandboxMarket, session: aiohttp.ClientSession) -> CarbonIntensitySource:
    account = CarbonAccount(
        url=market.ready["carbon_url"], token=market.ready["carbon_token"], kind=CarbonKind.MARGINAL
    )
    return CarbonIntensitySource(account=account, session=session, clock=MarketClock(market))


async def test_all_recorded_days_come_through_unchanged(
    market: SandboxMarket, prices: EntsoePriceSource, imbalance: EntsoeImbalanceSource, config: Path
) -> None:
    market.set(datetime(2025, 10, 25, tzinfo=UTC))
    for number in range(19):
        day = FIRST.next(number)
        ahead, settled = await prices.fetch("BE", day), await imbalance.fetch("BE", day)
        assert ahead is not None
        assert settled is not None
        assert list(ahead.prices_per_mwh) == recorded(config, "day_ahead_eur_per_mwh", day)
        assert list(settled.prices_per_mwh) == recorded(config, "imbalance_eur_per_mwh", day)
        assert ahead.quality is settled.quality is Quality.FINAL
        assert (ahead.note, settled.note) == ("", "")


async def test_prices_are_there_from_five_to_one(market: SandboxMarket, prices: EntsoePriceSource) -> None:
    day = FIRST.next(14)
    market.set(day.next(-1).at(time(12, 54, 59)))
    assert await prices.fetch("BE", day) is None
    market.set(day.next(-1).at(time(12, 55)))
    found = await prices.fetch("BE", day)
    assert found is not None
    assert found.is_complete
    assert found.published_at == market.now


async def test_the_first_quarter_hourly_day_has_four_prices_an_hour(
    market: SandboxMarket, prices: EntsoePriceSource
) -> None:
    market.set(datetime(2025, 10, 2, tzinfo=UTC))
    found = await prices.fetch("BE", FIRST)
    assert found is not None
    assert found.prices_per_mwh[:4] == tuple(Decimal(text) for text in ("102.68", "92.25", "80.47", "79.53"))


@pytest.mark.parametrize(("day", "count"), [((2025, 10, 26), 100), ((2026, 3, 29), 92), ((2025, 11, 5), 96)])
async def test_days_outside_the_record_are_whole_and_labelled(
    market: SandboxMarket,
    prices: EntsoePriceSource,
    imbalance: EntsoeImbalanceSource,
    carbon: CarbonIntensitySource,
    day: tuple[int, int, int],
    count: int,
) -> None:
    delivery = DeliveryDay(day=date(*day), zone="Europe/Brussels")
    market.set(delivery.next(2).at(time(12)))
    for source in (prices, imbalance):
        found = await source.fetch("BE", delivery)
        assert found is not None
        assert found.grid.count == count
        assert found.is_complete
        assert found.quality is Quality.SUBSTITUTED
        assert delivery.day.isoformat() in found.note
    intensity = await carbon.fetch("BE", delivery)
    assert intensity is not None
    assert intensity.is_complete
    assert len(intensity.intensity_g_per_kwh) == count
    assert intensity.quality is Quality.SUBSTITUTED


async def test_imbalance_prices_come_as_the_quarter_hours_pass(
    market: SandboxMarket, imbalance: EntsoeImbalanceSource, config: Path
) -> None:
    day = FIRST.next(14)
    expected = recorded(config, "imbalance_eur_per_mwh", day)
    for at, count in ((time(0, 19), 0), (time(0, 20), 1), (time(12, 5), 48), (time(23, 59), 95)):
        market.set(day.at(at))
        found = await imbalance.fetch("BE", day)
        assert (found is None) == (count == 0)
        if found is not None:
            assert list(found.prices_per_mwh) == expected[:count] + [None] * (96 - count)
            assert found.quality is Quality.PRELIMINARY
    market.set(day.next().at(time(2)))
    whole = await imbalance.fetch("BE", day)
    assert whole is not None
    assert list(whole.prices_per_mwh) == expected
    assert whole.quality is Quality.FINAL


async def test_carbon_is_known_behind_and_guessed_ahead(market: SandboxMarket, carbon: CarbonIntensitySource) -> None:
    day = FIRST.next(14)
    market.set(day.at(time(10)))
    running = await carbon.fetch("BE", day)
    market.set(day.next().at(time(10)))
    passed = await carbon.fetch("BE", day)
    assert running is not None
    assert passed is not None
    assert running.is_complete
    assert passed.is_complete
    assert running.intensity_g_per_kwh[:40] == passed.intensity_g_per_kwh[:40]
    assert running.intensity_g_per_kwh[40:] != passed.intensity_g_per_kwh[40:]
    assert "not Belgian" in passed.note


async def test_the_day_ahead_forecast_of_carbon_covers_the_whole_day(
    market: SandboxMarket, carbon: CarbonIntensitySource
) -> None:
    day = FIRST.next(14)
    market.set(day.next(-1).at(time(11)))
    found = await carbon.fetch("BE", day)
    assert found is not None
    assert found.is_complete


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("status-503", PeerUnavailable),
        ("status-429", PeerUnavailable),
        ("html", PeerUnavailable),
        ("reset", PeerUnavailable),
        ("truncated", InvalidInput),
    ],
)
async def test_the_sandbox_fails_as_it_is_told(
    market: SandboxMarket,
    prices: EntsoePriceSource,
    session: aiohttp.ClientSession,
    kind: str,
    error: type[Exception],
) -> None:
    market.set(datetime(2025, 10, 20, tzinfo=UTC))
    # A GET whose connection breaks is repeated once by the HTTP client.
    await market.fault(session, door="entsoe", kind=kind, count=2 if kind == "reset" else 1)
    with pytest.raises(error):
        await prices.fetch("BE", FIRST)
    async with session.delete(f"{market.ready['control_url']}/faults"):
        pass


async def test_a_wrong_token_is_told(market: SandboxMarket, session: aiohttp.ClientSession, config: Path) -> None:
    account = EntsoeAccount(url=market.ready["entsoe_url"], token="wrong")
    door = EntsoeEndpoint(account=account, session=session, clock=MarketClock(market))
    source = EntsoePriceSource(endpoint=door, rules=load_market_rules(config / "market_rules.toml"))
    with pytest.raises(InvalidInput, match=r"entsoe\.token"):
        await source.fetch("BE", FIRST)


async def test_a_zone_the_market_does_not_serve_is_refused(market: SandboxMarket, prices: EntsoePriceSource) -> None:
    market.set(datetime(2025, 10, 20, tzinfo=UTC) + timedelta(hours=1))
    with pytest.raises(InvalidInput, match="Invalid value for parameter in_Domain"):
        await prices.fetch("NL", FIRST)
