"""`voltbridge audit`: check and export the audit's hash chain."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gateway.app.offline import export_audit, verify_audit
from gateway.settings import load_settings

app = typer.Typer(help="The append-only audit and its hash chain.", no_args_is_help=True)
Config = Annotated[Path | None, typer.Option(help="Settings as TOML.")]


@app.command()
def verify(config: Config = None) -> None:
    """Recompute every hash of the chain; exit code 1 names the first entry that does not fit."""
    verdict = asyncio.run(verify_audit(load_settings(config)))
    if not verdict.is_intact:
        typer.echo(f"broken at sequence {verdict.first_broken_sequence}", err=True)
        raise typer.Exit(1)
    typer.echo(f"intact: {verdict.entry_count} entries, head {verdict.head_hash}")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="File to write, one JSON object a line.")], config: Config = None
) -> None:
    """Write the whole chain as JSON lines."""
    count = asyncio.run(export_audit(load_settings(config), out))
    typer.echo(f"{count} entries written to {out}")
