"""Case 7 in one: gRPC, the CSV export, the exchange's contracts and the blocks of the reserve agree on a day when the clock changes."""

import csv
import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bidding.orders.market_file import parse_markets
from gateway.app.offline_market import told
from gateway.app.price_export import export_prices
from gateway.client import connect
from gateway.clock import SystemClock
from gateway.domain.series import MarketDayStatus, PriceProduct, PriceSeries, market_day_id
from gateway.domain.timegrid import DeliveryDay
from gateway.exchanges.nord_pool import NordPoolExchange
from gateway.ports import Batch, Put
from gateway.settings import load_settings
from gateway.storage.store import SqlStore
from gateway.v1 import market_data_service_pb2 as pb
from tests.exchanges.test_nord_pool import exchange, make_exchange, open_for
from tests.fakes.sandbox_market import SandboxMarket
from tests.fakes.wired import TENANT, token_of, wired

__all__ = ["exchange", "make_exchange"]
ZONE = "Europe/Brussels"
SDAC = PriceProduct.DAY_AHEAD_SDAC
QUARTER = timedelta(minutes=15)
MARKETS = Path(__file__).resolve().parents[2] / "config" / "markets" / "europe.toml"


async def exported(folder: Path, series: PriceSeries, status: MarketDayStatus) -> list[tuple[datetime, datetime, str]]:
    """Return begin, end and price of each line of the CSV that the command line writes of a day."""
    config, out = folder / "gateway.toml", folder / "prices.csv"
    config.write_text(
        f'tenants = ["{TENANT}"]\n[store]\nurl = "sqlite:///{folder / "rows.sqlite"}"\n[rpc]\nallow_plain_on_loopback = true\n'
        f'[web]\nallow_plain_on_loopback = true\n[market]\nzone = "BE"\ntime_zone = "{ZONE}"\nfeeds = [{{name = "energy-charts"}}]\n'
    )
    settings = load_settings(config)
    async with SqlStore.open(settings.store.url, SystemClock()) as store:
        await store.apply(Batch(tenant=TENANT, puts=(Put(record=series), Put(record=status))))
    day = date.fromisoformat(status.day)
    count, unknown = await export_prices(settings, "BE", SDAC, (day, day), out)
    with out.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert (count, unknown) == (len(lines), ())
    return [
        (datetime.fromisoformat(line["start_utc"]), datetime.fromisoformat(line["end_utc"]), line["price_per_mwh"])
        for line in lines
    ]


async def over_grpc(day: DeliveryDay) -> tuple[list[tuple[datetime, str]], PriceSeries, MarketDayStatus]:
    """Return begin and price of each point that a client gets, and the rows behind them."""
    house = await wired(day.day)
    await house.scene.publish(day, SDAC)
    status = await house.scene.store.get(MarketDayStatus, TENANT, market_day_id("BE", SDAC, day))
    assert status is not None
    assert status.record.series_id is not None
    series = await house.scene.store.get(PriceSeries, TENANT, status.record.series_id)
    assert series is not None
    request = pb.GetPricesRequest(zone="BE", delivery_day=day.day.isoformat(), product=pb.PRICE_PRODUCT_DAY_AHEAD_SDAC)
    async with house.listening() as address, connect(address, token=token_of(TENANT, "tara")) as gateway:
        answer = await gateway.market_data.GetPrices(request)
    assert (answer.resolution_minutes, answer.is_complete) == (15, True)
    points = [(point.start_time.ToDatetime(tzinfo=UTC), point.value) for point in answer.points]
    return points, series.record, status.record


@pytest.mark.parametrize(
    ("day", "count", "first_block", "twice", "never"),
    [
        pytest.param(date(2025, 10, 26), 100, 20, "02:00", "", id="autumn"),
        pytest.param(date(2026, 3, 29), 92, 12, "", "02:00", id="spring"),
    ],
)
async def test_m7_grpc_csv_contracts_and_blocks_agree_on_a_day_when_the_clock_changes(  # what a case says
    market: SandboxMarket,
    exchange: NordPoolExchange,
    tmp_path: Path,
    day: date,
    count: int,
    first_block: int,
    twice: str,
    never: str,
) -> None:
    delivery = DeliveryDay(day=day, zone=ZONE)
    points, series, status = await over_grpc(delivery)
    lines = await exported(tmp_path, series, status)
    open_for(market, delivery)
    auction = await exchange.auction("BE", delivery)
    assert auction is not None
    fcr = parse_markets(tomllib.loads(MARKETS.read_text(encoding="utf-8"))).reserve("fcr", day)
    blocks = fcr.blocks(day)

    spans = [(start, start + QUARTER) for start, _ in points]
    assert len(spans) == len(set(spans)) == count
    assert spans[0][0] == delivery.interval.start
    assert spans[-1][1] == delivery.interval.end
    assert [(start, end) for start, end, _ in lines] == spans
    assert [price for *_, price in lines] == [price for _, price in points]
    assert [(start, end) for _, start, end in auction.contracts] == spans
    assert len({contract for contract, _, _ in auction.contracts}) == count

    # Every block begins and ends where a quarter-hour does, and together they are the day.
    parts = [
        [span for span in spans if block.start <= span[0] and span[1] <= (block.end or span[1])] for block in blocks
    ]
    assert [len(part) for part in parts] == [first_block, *(16,) * 5]
    assert [span for part in parts for span in part] == spans
    assert [(part[0][0], part[-1][1]) for part in parts] == [(block.start, block.end) for block in blocks]

    labels = [line.split()[0] for line in told(series, delivery)][-count:]
    walls = [f"{start.astimezone(ZoneInfo(ZONE)):%H:%M%z}" for start, _ in spans]
    assert labels == walls
    assert len(set(labels)) == count, "no two quarter-hours have one label"
    hours = [label[:5] for label in labels]
    assert hours.count(twice) == (2 if twice else 0)
    assert {f"{twice}+0200", f"{twice}+0100"} <= set(labels) or not twice
    assert not never or never not in hours
