"""`voltbridge market rates`: what currencies are worth in each other, as stated by somebody for a day."""

import asyncio
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from gateway.app.offline_rates import ECB_URL, fetch_rates, import_rates, rates_of
from gateway.domain.errors import InvalidInput
from gateway.services.gather_market_data import KeptRates
from gateway.settings import load_settings

app = typer.Typer(help="Exchange rates: amounts are converted by these and by nothing else.", no_args_is_help=True)
Config = Annotated[Path | None, typer.Option(help="Settings as TOML.")]
Only = Annotated[list[str] | None, typer.Option(help="Currency to take, several times for several; all by default.")]


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="eurofxref*.csv, .zip or .xml, or CSV date,base,quote,rate,source.")],
    only: Only = None,
    since: Annotated[str | None, typer.Option(help="First day, for example 2025-01-01.")] = None,
    config: Config = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen and write nothing.")] = False,
) -> None:
    """Import exchange rates from a file. The gateway must not be running unless it is a dry run."""
    first = None if since is None else _day("since", since)
    kept = asyncio.run(import_rates(load_settings(config), file, since=first, only=only or (), dry_run=dry_run))
    _tell(kept, "would keep" if dry_run else "kept")


@app.command()
def fetch(
    only: Only = None,
    url: Annotated[str, typer.Option(help="Where the reference rates are.")] = ECB_URL,
    config: Config = None,
) -> None:
    """Fetch the reference rates of the European Central Bank of the last 90 days. The gateway must not be running."""
    _tell(asyncio.run(fetch_rates(load_settings(config), url=url, only=only or ())), "kept")


@app.command()
def show(
    day: Annotated[str, typer.Argument(help="Day of the amounts, for example 2025-10-15.")], config: Config = None
) -> None:
    """Print the rates that amounts of a day may be converted by; exit code 1 when there is none."""
    rates = asyncio.run(rates_of(load_settings(config), _day("day", day)))
    for rate in rates:
        typer.echo(rate.told())
    if not rates:
        typer.echo("no rate of the seven days up to it is known", err=True)
        raise typer.Exit(1)


def _tell(kept: KeptRates, verb: str) -> None:
    typer.echo(f"{verb} {kept.new} new and {len(kept.revised)} revised rates, {kept.same} are the same")
    for one in kept.revised:
        typer.echo(f"revised: {one}")


def _day(field: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(field, f"{text!r} is no ISO date") from error
