"""Years of made-up prices for measurements: documents as ENTSO-E sends them, and rows as the gateway keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from gateway.domain.series import PriceProduct, PriceSeries, Quality, price_series_id
from gateway.domain.timegrid import DeliveryDay

AREA = "10YBE----------2"
ZONE = "Europe/Brussels"
FIRST_DAY = date(2016, 1, 1)
_NAMESPACE = "urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3"
_REVISED_EACH = 10
"""One day in so many has a second revision."""


def prices_of(day: DeliveryDay, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a price in cents for each quarter-hour of a day: cheap at noon, dear in the evening, noisy."""
    hours = np.arange(day.grid().count) / 4.0
    shape = 70.0 + 35.0 * np.sin((hours - 13.0) / 6.0 * np.pi) + rng.normal(0.0, 12.0, len(hours))
    return np.asarray(np.round(shape, 2))


def year_document(year: int, seed: int = 1) -> bytes:
    """Return one A44 document with a TimeSeries for each delivery day of a year, every position given (A01)."""
    rng = np.random.default_rng(seed)
    days = list(_days(date(year, 1, 1), date(year + 1, 1, 1)))
    body = "".join(_time_series(number, day, prices_of(day, rng)) for number, day in enumerate(days, 1))
    start, end = days[0].interval.start, days[-1].next().interval.start
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<Publication_MarketDocument xmlns="{_NAMESPACE}">'
        "<mRID>1</mRID><revisionNumber>1</revisionNumber><type>A44</type>"
        f"<createdDateTime>{year + 1}-01-02T00:00:00Z</createdDateTime>"
        f"<period.timeInterval><start>{_stamp(start)}</start><end>{_stamp(end)}</end></period.timeInterval>"
        f"{body}</Publication_MarketDocument>"
    ).encode()


def price_rows(zone: str, years: int, seed: int) -> Iterator[PriceSeries]:
    """Yield the rows of a zone day by day, revisions directly after what they revise."""
    rng = np.random.default_rng(seed)
    for number, day in enumerate(_days(FIRST_DAY, FIRST_DAY.replace(year=FIRST_DAY.year + years))):
        published = day.interval.start - timedelta(hours=11)
        series = PriceSeries(
            id="",
            zone=zone,
            product=PriceProduct.DAY_AHEAD_SDAC,
            currency="EUR",
            grid=day.grid(),
            prices_per_mwh=tuple(Decimal(f"{price:.2f}") for price in prices_of(day, rng)),
            source="made up",
            published_at=published,
            fetched_at=published + timedelta(minutes=3),
            quality=Quality.FINAL,
            licence="Apache-2.0",
        )
        yield replace(series, id=price_series_id(series, day))
        if number % _REVISED_EACH == 0:
            prices = (series.prices_per_mwh[0] or Decimal(0)) + 1, *series.prices_per_mwh[1:]
            later = replace(series, prices_per_mwh=prices, fetched_at=series.fetched_at + timedelta(hours=2))
            yield replace(later, id=price_series_id(later, day))


def random_question(years: int, rng: np.random.Generator) -> tuple[DeliveryDay, datetime]:
    """Return a delivery day of the years and an instant at which something was known of it."""
    day = DeliveryDay(day=FIRST_DAY, zone=ZONE).next(int(rng.integers(0, 365 * years)))
    return day, day.interval.start - timedelta(hours=float(rng.uniform(0.0, 10.0)))


def _days(first: date, end: date) -> Iterator[DeliveryDay]:
    day = DeliveryDay(day=first, zone=ZONE)
    while day.day < end:
        yield day
        day = day.next()


def _time_series(number: int, day: DeliveryDay, prices: npt.NDArray[np.float64]) -> str:
    points = "".join(
        f"<Point><position>{position}</position><price.amount>{price:.2f}</price.amount></Point>"
        for position, price in enumerate(prices, 1)
    )
    return (
        f"<TimeSeries><mRID>{number}</mRID><auction.type>A01</auction.type><businessType>A62</businessType>"
        f'<in_Domain.mRID codingScheme="A01">{AREA}</in_Domain.mRID>'
        f'<out_Domain.mRID codingScheme="A01">{AREA}</out_Domain.mRID>'
        "<contract_MarketAgreement.type>A01</contract_MarketAgreement.type>"
        "<currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>MWH</price_Measure_Unit.name>"
        f"<curveType>A01</curveType><Period><timeInterval><start>{_stamp(day.interval.start)}</start>"
        f"<end>{_stamp(day.next().interval.start)}</end></timeInterval><resolution>PT15M</resolution>"
        f"{points}</Period></TimeSeries>"
    )


def _stamp(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
