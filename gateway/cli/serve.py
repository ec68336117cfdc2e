"""`voltbridge serve`: run the gateway."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gateway.app.gateway import run_gateway
from gateway.settings import load_settings


def serve(
    config: Annotated[Path | None, typer.Option(help="Settings as TOML; the environment wins over it.")] = None,
    ready: Annotated[Path | None, typer.Option(help="File written with the addresses once all listens.")] = None,
    *,
    stop_with_parent: Annotated[bool, typer.Option(help="Stop when the program that started it has ended.")] = False,
) -> None:
    """Run the gateway until it is told to stop (SIGTERM, Ctrl-C)."""
    settings = load_settings(config)
    if ready is not None:
        settings = settings.model_copy(update={"ready_file": ready})
    raise typer.Exit(asyncio.run(run_gateway(settings, stop_with_parent=stop_with_parent)))
