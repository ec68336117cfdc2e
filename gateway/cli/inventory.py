"""`voltbridge import` and `voltbridge account`: seed the rows that a deployment starts from."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gateway.app.accounts import NewAccount, read_accounts
from gateway.app.offline import add_accounts, import_file
from gateway.settings import load_settings

accounts = typer.Typer(help="Logins of people and tokens of programs.", no_args_is_help=True)


def import_inventory(
    file: Annotated[Path, typer.Argument(help="Inventory as TOML: tree, connection points, portfolios, chargers.")],
    config: Annotated[Path | None, typer.Option(help="Settings as TOML.")] = None,
    accounts_file: Annotated[
        Path | None, typer.Option("--accounts", help="Logins and programs as TOML; secrets stay in files it names.")
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option(help="Say what would change and change nothing.")] = False,
) -> None:
    """Import an inventory: all of it or, when a field is wrong, nothing."""
    settings = load_settings(config)
    new_accounts = () if accounts_file is None else read_accounts(accounts_file)
    counts = asyncio.run(import_file(settings, file, new_accounts, dry_run=dry_run))
    verb = "would be" if dry_run else "were"
    typer.echo(f"{counts.created} {verb} created, {counts.changed} {verb} changed, {counts.same} are the same")


@accounts.command("add")
def add(  # one argument per option
    actor: Annotated[str, typer.Argument(help="Login name, or name of the program.")],
    role: Annotated[list[str], typer.Option(help="Role; repeat for several.")],
    tenant: Annotated[str, typer.Option(help="Tenant.")],
    config: Annotated[Path | None, typer.Option(help="Settings as TOML.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File (mode 0600) with the password for the page.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File (mode 0600) with the bearer token for gRPC.")] = None,
    csms: Annotated[str | None, typer.Option(help="Charging platform that the program speaks for.")] = None,
    certificate_uri: Annotated[str | None, typer.Option(help="spiffe:// URI of its client certificate.")] = None,
) -> None:
    """Add a login or a program; the same name again replaces it."""
    account = NewAccount(
        tenant=tenant,
        actor=actor,
        roles=tuple(role),
        password_file=password_file,
        token_file=token_file,
        csms=csms,
        certificate_uri=certificate_uri,
    )
    asyncio.run(add_accounts(load_settings(config), (account,)))
    typer.echo(f"{actor} of {tenant} may act as {', '.join(role)}")
