"""`voltbridge market`: prices and carbon in the database, with where they come from and what is wrong with them."""

import asyncio
import dataclasses
import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.app.market_doctor import findings
from gateway.app.market_import import ask_all, confirm_day, fetch_day, import_prices
from gateway.app.offline_market import day_of, file_reports, prices_of, tariff_lines, told
from gateway.app.offline_rates import answers_in_currency, in_currency
from gateway.app.price_export import export_prices
from gateway.app.system_export import export_system, system_lines, system_of
from gateway.cli import market_rates
from gateway.domain.errors import InvalidInput
from gateway.domain.market_time_units import day_ahead_product
from gateway.domain.series import DayState, PriceProduct, PriceSeries
from gateway.domain.system_series import SystemKind
from gateway.market_data.price_file import FileTerms
from gateway.market_data.site_tariff_file import load_site_tariff
from gateway.services.gather_market_data import compared
from gateway.settings import Settings, load_settings

app = typer.Typer(help="Prices and carbon: what is known, from where, and what is wrong.", no_args_is_help=True)
app.add_typer(market_rates.app, name="rates")
Config = Annotated[Path | None, typer.Option(help="Settings as TOML.")]
Zone = Annotated[str, typer.Option(help="Bidding zone; the settings' own by default.")]
Product = Annotated[
    str,
    typer.Option(
        help=f"One of {', '.join(product.value for product in PriceProduct)}; the zone's day-ahead auction by default."
    ),
]
Currency = Annotated[
    str, typer.Option(help="ISO 4217 code to convert prices to, by a rate of `market rates`; as published by default.")
]

System = Annotated[
    str, typer.Option(help=f"In place of prices one of {', '.join(kind.value for kind in SystemKind)}, in MW.")
]


@app.command()
def show(
    day: Annotated[str, typer.Argument(help="Delivery day, for example 2025-10-15.")],
    zone: Zone = "",
    product: Product = "",
    known_at: Annotated[str | None, typer.Option(help="As known at this instant, ISO 8601 with offset.")] = None,
    currency: Currency = "",
    system: System = "",
    config: Config = None,
) -> None:
    """Print the prices, or a system series, of a delivery day on the market's wall clock, gaps as gaps."""
    settings = load_settings(config)
    zone = zone or _own_zone(settings)
    wanted, at = _day(day), None if known_at is None else _instant(known_at)
    if system:
        power = asyncio.run(system_of(settings, zone, _kind(system), wanted, at))
        for line in system_lines(power, day_of(settings, zone, wanted)):
            typer.echo(line)
        return
    series = asyncio.run(prices_of(settings, zone, _product(product, zone), wanted, at))
    if currency:
        series, _ = asyncio.run(in_currency(settings, series, wanted, currency))
    for line in told(series, day_of(settings, zone, wanted)):
        typer.echo(line)


@app.command()
def export(
    first: Annotated[str, typer.Argument(help="First delivery day.")],
    last: Annotated[str, typer.Argument(help="Last delivery day.")],
    out: Annotated[Path, typer.Argument(help="CSV file to write.")],
    zone: Zone = "",
    product: Product = "",
    currency: Currency = "",
    system: System = "",
    config: Config = None,
) -> None:
    """Write prices, or a system series, with their provenance as CSV; exit code 1 when a day is not known."""
    settings = load_settings(config)
    span = (_day(first), _day(last))
    zone = zone or _own_zone(settings)
    if system:
        writing = export_system(settings, zone, _kind(system), span, out)
    else:
        writing = export_prices(settings, zone, _product(product, zone), span, out, currency=currency)
    count, unknown = asyncio.run(writing)
    typer.echo(f"{count} delivery periods written to {out}")
    if unknown:
        typer.echo(f"not known: {', '.join(unknown)}", err=True)
        raise typer.Exit(1)


@app.command()
def doctor(
    files: Annotated[list[Path] | None, typer.Argument(help="Files to look at instead of the database.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder whose tables are looked at.")] = None,
    against: Annotated[Path | None, typer.Option(help="File of the same prices to compare the files with.")] = None,
    time_zone: Annotated[str, typer.Option(help="IANA time zone of the files' market.")] = "Europe/Brussels",
    days: Annotated[int, typer.Option(min=1, max=3_660, help="Delivery days to look back in the database.")] = 14,
    config: Config = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
) -> None:
    """Say what is missing, stale, contradictory or stood in for, and why; exit code 1 when there is something."""
    if files or data is not None:
        reports = list(file_reports(files or (), folder=data, time_zone=time_zone, against=against))
        found = [one for report in reports for one in (() if isinstance(report, str) else report.findings)]
        place = f"{len(reports)} files"
    else:
        reports = []
        found = asyncio.run(findings(load_settings(config), days=days))
        place = f"{days} days"
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in found]))
    else:
        for report in reports:
            typer.echo(report if isinstance(report, str) else report.told())
        for one in found:
            typer.echo(f"{one.kind:<14} {one.what}: {one.why}")
        typer.echo(f"{len(found)} findings in {place}")
    if found:
        raise typer.Exit(1)


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV, gzipped CSV or Parquet: one row per delivery period.")],
    zone: Zone = "",
    product: Product = "",
    currency: Annotated[str, typer.Option(help="ISO 4217 code; prices are per MWh.")] = "EUR",
    licence: Annotated[str, typer.Option(help="Under which terms the values may be used.")] = "as the file's",
    time_column: Annotated[str | None, typer.Option(help="Column with the begins, UTC or with offset.")] = None,
    price_column: Annotated[str | None, typer.Option(help="Column with the prices.")] = None,
    config: Config = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen and write nothing.")] = False,
) -> None:
    """Import prices from a file; gaps stay gaps. The gateway must not be running unless it is a dry run."""
    settings = load_settings(config)
    zone = zone or _own_zone(settings)
    terms = FileTerms(
        zone=zone,
        product=_product(product, zone),
        currency=currency,
        licence=licence,
        time_column=time_column,
        price_column=price_column,
    )
    days = asyncio.run(import_prices(settings, file, terms, dry_run=dry_run))
    for one in days:
        if one.missing_count > 0 or one.fate.startswith("refused"):
            typer.echo(f"{one.day}: {one.fate}, {one.missing_count} delivery periods have no price")
    counts = Counter(one.fate.partition(":")[0] for one in days)
    told = ", ".join(f"{count} {fate}" for fate, count in sorted(counts.items()))
    typer.echo(f"{'would import' if dry_run else 'imported'} {len(days)} days: {told or 'nothing'}")


@app.command()
def fetch(
    day: Annotated[str, typer.Argument(help="Delivery day, for example 2025-10-15.")],
    zone: Zone = "",
    product: Product = "",
    config: Config = None,
) -> None:
    """Ask the configured sources for a delivery day now and keep what is new; exit code 1 when it is not complete."""
    settings = load_settings(config)
    zone = zone or _own_zone(settings)
    status = asyncio.run(fetch_day(settings, zone, _product(product, zone), _day(day)))
    typer.echo(f"{status.id}: {status.state.value}, {status.missing_count} delivery periods have no price")
    if status.note:
        typer.echo(f"note: {status.note}")
    if status.state is not DayState.COMPLETE:
        raise typer.Exit(1)


@app.command()
def compare(
    day: Annotated[str, typer.Argument(help="Delivery day, for example 2025-10-15.")],
    zone: Zone = "",
    product: Product = "",
    currency: Currency = "",
    config: Config = None,
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep what a second source says beside the day's prices.")
    ] = False,
) -> None:
    """Ask every configured source for a day and name every period in which two differ by more than a cent.

    Nothing is kept, unless asked for: then plans, bids and settlements of the day say it too, and the gateway must not run. Exit code 1 when sources differ, or when fewer than two have prices.
    """
    settings = load_settings(config)
    zone = zone or _own_zone(settings)
    answers = asyncio.run(ask_all(settings, zone, _product(product, zone), _day(day)))
    if currency:
        answers = asyncio.run(answers_in_currency(settings, answers, _day(day), currency))
    for answer in answers:
        what = answer.problem if answer.series is None else f"{answer.series.quality.value}, {_known(answer.series)}"
        typer.echo(f"{answer.source:<20} {what}")
        if currency and answer.series is not None and answer.series.note:
            typer.echo(f"{'':<20} {answer.series.note}")
    results = compared(answers)
    for result in results:
        typer.echo(result if isinstance(result, str) else result.told())
        for one in () if isinstance(result, str) else result.differences:
            typer.echo(f"  {one.start:%Y-%m-%d %H:%M}Z  {one.price_per_mwh:>10} {one.other_per_mwh:>10}")
    if keep:
        said = asyncio.run(confirm_day(settings, zone, _product(product, zone), _day(day)))
        typer.echo(f"kept: {said}" if said else "nothing is kept: the day is not complete, or nobody can be compared")
    if not results or any(isinstance(one, str) or not one.agrees for one in results):
        raise typer.Exit(1)


def _known(series: PriceSeries) -> str:
    return f"{series.grid.count - len(series.gaps)} of {series.grid.count} delivery periods"


@app.command()
def tariff(
    file: Annotated[Path, typer.Argument(help="Tariff as TOML, for example config/tariffs/de_depot_2025.toml.")],
    day: Annotated[str, typer.Argument(help="Day, for example 2025-10-15.")],
) -> None:
    """Print what a site pays on a day by a tariff, layer by layer, where it changes."""
    for line in tariff_lines(load_site_tariff(file), _day(day)):
        typer.echo(line)


def _own_zone(settings: Settings) -> str:
    place = settings.price_zone
    if place is None:
        raise InvalidInput("zone", "is required: the settings have no market")
    return place.zone


def _product(name: str, zone: str) -> PriceProduct:
    if not name:
        return day_ahead_product(zone)
    try:
        return PriceProduct(name)
    except ValueError as error:
        raise InvalidInput("product", f"{name!r} is none") from error


def _kind(name: str) -> SystemKind:
    try:
        return SystemKind(name)
    except ValueError as error:
        raise InvalidInput("system", f"{name!r} is none") from error


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput("day", f"{text!r} is no ISO date") from error


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput("known_at", f"{text!r} is no ISO 8601 instant") from error
    if instant.tzinfo is None:
        raise InvalidInput("known_at", "needs an offset, for example +02:00 or Z")
    return instant.astimezone(UTC)
