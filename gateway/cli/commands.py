"""All command groups in one application."""

import sys

import typer

from gateway.cli import audit, csms, demo, inventory, market, openadr, serve
from gateway.domain.errors import VoltbridgeError

app = typer.Typer(
    name="voltbridge",
    help="Gateway between the electricity grid, the power markets and EV charging.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("import")(inventory.import_inventory)
app.add_typer(audit.app, name="audit")
app.add_typer(csms.app, name="csms")
app.add_typer(market.app, name="market")
app.add_typer(inventory.accounts, name="account")
app.add_typer(openadr.app, name="openadr")


def run() -> None:
    """Run the command line; an error of the domain is one line and exit code 2."""
    try:
        app()
    except VoltbridgeError as error:
        sys.stderr.write(f"{error.reason}: {error}\n")
        sys.exit(2)
