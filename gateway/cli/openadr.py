"""`voltbridge openadr`: what certification asks of a VEN, played against this gateway."""

from typing import Annotated

import typer

from gateway.selftest.catalogue import chosen

app = typer.Typer(help="OpenADR: conformance of the VEN.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep the group a group while it has one command."""


@app.command()
def selftest(
    case: Annotated[list[str] | None, typer.Option(help="Case such as A7; repeat for several; all by default.")] = None,
    *,
    listing: Annotated[bool, typer.Option("--list", help="Print the cases and play none.")] = False,
) -> None:
    """Play acceptance cases against scripted grid partners; exit code 1 when one fails."""
    for each in chosen(case or ()):
        typer.echo(f"{each.number:<4} {each.what}")
    if not listing:
        raise typer.Exit(1)
