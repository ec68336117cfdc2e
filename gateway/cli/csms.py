"""`voltbridge csms`: the reference CSMS, and the passport of a charger."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.domain.topology import EnforcementClass
from gateway.ocpp.passport.run import take_passport, write_passport
from gateway.ocpp.program import clock_of
from gateway.ocpp.program import serve as serve_csms
from gateway.ocpp.settings import CsmsSettings, load_csms_settings

app = typer.Typer(help="Chargers over OCPP 1.6J, 2.0.1 and 2.1, as a client of the gateway.", no_args_is_help=True)
Config = Annotated[Path, typer.Option(help="Settings of the CSMS as TOML, see config/reference_csms.toml.")]


@app.command()
def serve(
    config: Config,
    ready: Annotated[Path | None, typer.Option(help="File written with the port once chargers can connect.")] = None,
) -> None:
    """Take chargers in and command them for the gateway until told to stop (SIGTERM, Ctrl-C)."""
    settings = load_csms_settings(config)
    _log_to_stderr()
    asyncio.run(_serve(settings, ready))


@app.command()
def passport(
    charger: Annotated[str, typer.Argument(help="The charger's id in the site tree.")],
    config: Config,
    out: Annotated[Path, typer.Option(help="Folder for the JSON, Markdown and CSV files.")] = Path("var/passports"),
    phases: Annotated[int, typer.Option(help="Phases of the charger.", min=1, max=3)] = 3,
    port: Annotated[int | None, typer.Option(help="Listen here instead of where the settings say.")] = None,
) -> None:
    """Test a charger with a car for about twenty minutes; exit code 1 when it is of class C."""
    settings = load_csms_settings(config)
    if port is not None:
        settings = settings.model_copy(update={"listen": settings.listen.model_copy(update={"port": port})})
    found = asyncio.run(take_passport(settings, charger, clock_of(settings), _say, phases=phases))
    for file in write_passport(found, out):
        typer.echo(file)
    verdict = "good for reserve" if found.judgement.is_reserve_eligible else "not good for reserve"
    typer.echo(f"class {found.judgement.enforcement.value}: {found.judgement.why}; {verdict}")
    if found.judgement.enforcement is EnforcementClass.C:
        raise typer.Exit(1)


async def _serve(settings: CsmsSettings, ready: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell(port: int) -> None:
        typer.echo(f"chargers connect to port {port}", err=True)
        if ready is not None:
            beside = ready.with_name(f".{ready.name}")
            beside.write_text(json.dumps({"port": port}), encoding="utf-8")
            beside.replace(ready)

    with contextlib.ExitStack() as cleanup:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
            cleanup.callback(loop.remove_signal_handler, number)
        await serve_csms(settings, stop, tell)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
