"""`voltbridge openadr`: what certification asks of a VEN, played against this gateway."""

import asyncio
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.openadr_check import check
from gateway.selftest.catalogue import chosen
from gateway.selftest.run import Outcome, Verdict, play_cases

app = typer.Typer(help="OpenADR: conformance of the VEN and of grid partners.", no_args_is_help=True)


app.command("check")(check)


@app.command()
def selftest(
    case: Annotated[list[str] | None, typer.Option(help="Case such as A7; repeat for several; all by default.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder for configuration, rows and logs; kept. By default a temporary one.")
    ] = None,
    *,
    listing: Annotated[bool, typer.Option("--list", help="Print the cases and play none.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
) -> None:
    """Play acceptance cases against scripted grid partners; exit code 1 when one fails."""
    cases = chosen(case or ())
    if listing:
        for each in cases:
            typer.echo(f"{each.number:<4} {each.what}")
        return
    if folder is not None:
        folder.mkdir(parents=True, mode=0o700)
        outcomes = asyncio.run(play_cases(cases, folder))
    else:
        with tempfile.TemporaryDirectory(prefix="voltbridge-selftest-") as name:
            outcomes = asyncio.run(play_cases(cases, Path(name)))
    typer.echo(_json(outcomes) if as_json else _table(outcomes))
    if any(outcome.verdict is Verdict.FAILED for outcome in outcomes):
        raise typer.Exit(1)


def _json(outcomes: Sequence[Outcome]) -> str:
    rows = [{**dataclasses.asdict(each.case), "verdict": each.verdict, "evidence": each.evidence} for each in outcomes]
    return json.dumps(rows, indent=2)


def _table(outcomes: Sequence[Outcome]) -> str:
    lines = [f"{each.case.number:<4} {each.verdict:<10} {each.case.what}\n{'':15} {each.evidence}" for each in outcomes]
    counts = [f"{sum(each.verdict is verdict for each in outcomes)} {verdict}" for verdict in Verdict]
    return "\n".join([*lines, ", ".join(counts)])
