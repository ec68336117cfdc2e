"""`voltbridge demo`: the whole market in a box on this machine."""

import asyncio
import json
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from gateway.demo.configuration import MARKETS, Market
from gateway.demo.play import DemoOptions, play
from gateway.domain.errors import InvalidInput

STOPPED = 130
"""Exit code of a run that was told to stop, as shells use it."""
ENDS = ("settled", "forever")


def demo(  # one argument per option
    market: Annotated[str, typer.Option(help="be: Belgian day-ahead market; us: tariff and carbon only.")] = "be",
    day: Annotated[str | None, typer.Option(help="Delivery day, ISO date; default of the market's data.")] = None,
    speed: Annotated[float | None, typer.Option(help="Market seconds per real second on the delivery day.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of cars, ids and faults.")] = 1,
    until: Annotated[
        str, typer.Option(help="settled: stop after settlement; forever: go on until Ctrl-C.")
    ] = "forever",
    folder: Annotated[Path, typer.Option(help="Run folder; emptied at the start.")] = Path("var/demo"),
    *,
    autopilot: Annotated[bool, typer.Option(help="Play trader and approver as well.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON summary at the end and nothing else.")
    ] = False,
) -> None:
    """Open at 11:00 on the day before delivery and pass a market day."""
    if market not in MARKETS:
        raise InvalidInput("market", f"must be one of {', '.join(MARKETS)}")
    if until not in ENDS:
        raise InvalidInput("until", f"must be one of {', '.join(ENDS)}")
    options = DemoOptions(
        market=market,
        day=None if day is None else delivery_day_of(day, MARKETS[market]),
        speed=speed,
        seed=seed,
        is_autopilot=autopilot,
        until_settled=until == "settled",
        folder=folder,
    )
    try:
        summary = asyncio.run(play(options, say=_to_stderr if as_json else typer.echo))
    except asyncio.CancelledError:
        typer.echo("Stopped.", err=True)
        raise typer.Exit(STOPPED) from None
    if as_json:
        typer.echo(json.dumps(summary, indent=2, sort_keys=True))


def delivery_day_of(text: str, market: Market) -> date:
    """Read the delivery day; one outside the record would play on stand-ins and never be settled.

    Raises:
        InvalidInput: It is no ISO date, or a day that the market did not record.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput("day", "must be an ISO date such as 2025-10-15") from error
    first, last = market.days
    if not first <= day <= last:
        raise InvalidInput("day", f"must be {first.isoformat()} to {last.isoformat()}: no other day was recorded whole")
    return day


def _to_stderr(line: str) -> None:
    typer.echo(line, err=True)
