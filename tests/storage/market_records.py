"""One example of every record about gathering market data, filled so that each field shows when it is lost."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from gateway.domain.exchange_rates import ExchangeRate
from gateway.domain.market_asking import MarketPoll, SourceBan
from gateway.domain.system_series import SystemKind, SystemSeries
from gateway.domain.timegrid import TimeGrid


def market_examples(tenant: str, t0: datetime) -> list[object]:
    """Return the examples for a tenant, their times around an instant."""
    return [
        SystemSeries(
            id="BE:load:2026-03-29:1",
            zone="BE",
            kind=SystemKind.WIND_OFFSHORE_FORECAST,
            grid=TimeGrid(start=t0, count=3),
            power_mw=(0.0, None, -12.5),
            source="entsoe",
            published_at=t0,
            fetched_at=t0 + timedelta(minutes=1),
            licence="made up",
        ),
        ExchangeRate(
            base="EUR", quote="GBP", rate=Decimal("0.8701"), day=date(2026, 3, 27), source="ecb", fetched_at=t0
        ),
        MarketPoll(
            id="BE:day-ahead-sdac:2026-03-29",
            tenant=tenant,
            asked_count=7,
            failed_count=2,
            asked_at=t0,
            due_at=t0 + timedelta(minutes=3),
        ),
        SourceBan(
            id="entsoe",
            tenant=tenant,
            banned_at=t0,
            until=t0 + timedelta(minutes=20),
            probed_at=t0 + timedelta(minutes=21),
            is_lifted=True,
        ),
    ]
