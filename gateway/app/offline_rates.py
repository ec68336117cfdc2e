"""What the command line does with exchange rates: import files, fetch the European Central Bank's, and convert prices for people."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import aiohttp

from gateway.app.market_import import is_there
from gateway.app.offline import clock_of
from gateway.app.offline_market import day_of
from gateway.domain.errors import NotFound, PeerUnavailable
from gateway.domain.exchange_rates import Conversion, ExchangeRate
from gateway.domain.identity import system_principal
from gateway.domain.series import PriceSeries
from gateway.ids import RandomIds
from gateway.market_data.http_fetch import FetchCaps, checked_url, fetch
from gateway.market_data.rate_file import MAX_BYTES, read_rate_file, read_rates
from gateway.services.gather_market_data import Currencies, KeptRates, SourceAnswer
from gateway.settings import Settings
from gateway.storage.store import SqlStore

ECB_URL = "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist-90d.xml"
"""The reference rates of the last 90 days; no key."""
_ACTOR = "market"


async def import_rates(
    settings: Settings, file: Path, *, since: date | None, only: Sequence[str], dry_run: bool
) -> KeptRates:
    """Keep the exchange rates of a file for every tenant.

    Args:
        settings: The deployment.
        file: A file of the European Central Bank, or a table of one's own (`gateway.market_data.rate_file`).
        since: First day; None for all.
        only: Currencies to take; none for all.
        dry_run: Say what would happen and write nothing.

    Raises:
        InvalidInput: The file cannot be read or a value in it is wrong; nothing was written.
    """
    rates = read_rate_file(file, fetched_at=clock_of(settings).now())
    return await _keep(settings, wanted(rates, since=since, only=only), dry_run=dry_run)


async def fetch_rates(settings: Settings, *, url: str, only: Sequence[str]) -> KeptRates:
    """Ask the European Central Bank for its reference rates and keep them for every tenant.

    Raises:
        InvalidInput: The address may not be used, or the document breaks a rule.
        PeerUnavailable: It does not answer.
    """
    checked_url("url", url)
    async with aiohttp.ClientSession() as http:
        reply = await fetch(http, url, peer="ECB", params={}, headers={}, caps=FetchCaps(max_bytes=MAX_BYTES))
    if reply.status != 200:
        raise PeerUnavailable(f"ECB answered with status {reply.status}")
    rates = read_rates(reply.body, fetched_at=clock_of(settings).now())
    return await _keep(settings, wanted(rates, since=None, only=only), dry_run=False)


def wanted(rates: Sequence[ExchangeRate], *, since: date | None, only: Sequence[str]) -> tuple[ExchangeRate, ...]:
    """Return the rates from a day on that are of one of some currencies; all of them where neither is named."""
    return tuple(
        rate
        for rate in rates
        if (since is None or rate.day >= since) and (not only or {rate.base, rate.quote} & set(only))
    )


async def _keep(settings: Settings, rates: Sequence[ExchangeRate], *, dry_run: bool) -> KeptRates:
    if not rates:
        raise NotFound("exchange-rate", "of these days and currencies")
    clock = clock_of(settings)
    # A dry run reads only, so that it works beside a running gateway.
    is_reading = dry_run and is_there(settings.store.url)
    async with SqlStore.open(settings.store.url, clock, read_only=is_reading) as store:
        currencies = Currencies(store=store, clock=clock, ids=RandomIds())
        kept = [
            await currencies.keep(system_principal(tenant, _ACTOR), rates, dry_run=dry_run)
            for tenant in settings.tenants
        ]
    return kept[0]


async def rates_of(settings: Settings, day: date) -> list[ExchangeRate]:
    """Return the rates that amounts of a day may be converted by."""
    clock = clock_of(settings)
    async with SqlStore.open(settings.store.url, clock, read_only=True) as store:
        currencies = Currencies(store=store, clock=clock, ids=RandomIds())
        return await currencies.rates(system_principal(settings.tenants[0], _ACTOR), day)


async def in_currency(
    settings: Settings, series: PriceSeries, day: date, currency: str
) -> tuple[PriceSeries, Conversion | None]:
    """Return prices of a delivery day in a currency, and how they were converted; None when they are in it already.

    Raises:
        RateMissing: No exchange rate of the week up to the day is known.
        InvalidInput: The zone is not one of the settings, or the code is none.
    """
    clock = clock_of(settings)
    async with SqlStore.open(settings.store.url, clock, read_only=True) as store:
        currencies = Currencies(store=store, clock=clock, ids=RandomIds())
        principal = system_principal(settings.tenants[0], _ACTOR)
        return await currencies.in_currency(principal, series, day_of(settings, series.zone, day), currency)


async def answers_in_currency(
    settings: Settings, answers: Sequence[SourceAnswer], day: date, currency: str
) -> tuple[SourceAnswer, ...]:
    """Return what sources said with their prices in one currency, each converted one labelled in its note; see `in_currency`."""
    found = []
    for answer in answers:
        series = None if answer.series is None else (await in_currency(settings, answer.series, day, currency))[0]
        found.append(SourceAnswer(source=answer.source, series=series, problem=answer.problem))
    return tuple(found)
