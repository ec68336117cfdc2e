"""The stage of the self-test: scripted partners and a real gateway as processes, in a folder of their own."""

import os
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from gateway.clock import FileClock, write_clock_file
from gateway.demo.configuration import environment, free_port, run_command
from gateway.demo.folder import RunFolder, toml_text
from gateway.demo.programs import Program
from gateway.domain.errors import PeerUnavailable
from gateway.selftest.broker import Broker, is_installed
from gateway.selftest.pace import FIRST
from gateway.selftest.partner import RATING_KW
from gateway.selftest.script import POLL_S, TENANT, VEN_SECRET_FILE

OPENING = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
_CSMS = "csms-selftest"
_LEASE_S = 900.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Who the self-test is for the gateway."""

    operator: str
    csms: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Everything that runs."""

    folder: RunFolder
    clock: FileClock
    http: aiohttp.ClientSession
    gateway: Program
    rpc_address: str
    tokens: Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Doors:
    """Where the partners are."""

    vtn20b: str
    vtn3: str
    broker: Broker | None
    """None where none is installed."""

    def control(self, dialect: str) -> str:
        """Return the control door of the VTN that speaks a dialect."""
        return f"{self.vtn20b if dialect == '2.0b' else self.vtn3}/control"


def charger_of(name: str) -> str:
    """Return the one charger below the node of a case."""
    return f"{name}-001"


async def start_program(folder: RunFolder, name: str, module: str, *arguments: str) -> tuple[Program, dict[str, Any]]:
    """Start a program and return it with what its ready file says.

    Raises:
        PeerUnavailable: It did not come up.
    """
    program = Program(name=name, module=module, arguments=arguments, folder=folder.path, environment=environment())
    return program, await program.start()


@asynccontextmanager
async def partners(folder: RunFolder) -> AsyncIterator[Doors]:
    """Run both VTNs on the clock of the self-test."""
    write_clock_file(folder.clock, OPENING, FIRST)
    folder.write_secret(VEN_SECRET_FILE, "ven-secret")
    shared = ("--clock", str(folder.clock))
    async with AsyncExitStack() as stack:
        urls = []
        for name in ("vtn20b", "vtn3"):
            program, ready = await start_program(folder, name, f"gateway.sandbox.{name}", *shared)
            stack.push_async_callback(program.stop)
            urls.append(ready["url"])
        broker = Broker(folder.path) if is_installed() else None
        if broker is not None:
            await broker.start()
            stack.push_async_callback(broker.stop)
        yield Doors(vtn20b=urls[0], vtn3=urls[1], broker=broker)


@asynccontextmanager
async def gateway_with(
    folder: RunFolder, tables: Sequence[Mapping[str, Any]], nodes: Mapping[str, str]
) -> AsyncIterator[Stage]:
    """Run the gateway with these partners and one node of the site tree for each case, by the case's name."""
    tokens = Tokens(operator=secrets.token_urlsafe(32), csms=secrets.token_urlsafe(32))
    folder.config.write_text(toml_text(_settings(folder, tables)), encoding="utf-8")
    await _seed(folder, nodes, tokens)
    program, addresses = await start_program(
        folder, "gateway", "gateway", "serve", "--stop-with-parent", "--config", str(folder.config)
    )
    try:
        async with aiohttp.ClientSession() as http:
            yield Stage(
                folder=folder,
                clock=FileClock(folder.clock),
                http=http,
                gateway=program,
                rpc_address=addresses["rpc"],
                tokens=tokens,
            )
    finally:
        await program.stop()


async def refusal_of(folder: RunFolder, table: Mapping[str, Any]) -> str:
    """Return what the gateway says when it refuses to start with a partner; empty when it starts.

    Args:
        folder: Of the run; a folder inside it takes the configuration and the rows.
        table: Settings of the partner.
    """
    trial = RunFolder(path=Path(tempfile.mkdtemp(dir=folder.path)))
    settings = {**_settings(trial, [table]), "clock_file": str(folder.clock)}
    trial.config.write_text(toml_text(settings), encoding="utf-8")
    try:
        program, _ = await start_program(trial, "gateway", "gateway", "serve", "--config", str(trial.config))
    except PeerUnavailable as error:
        return str(error)
    await program.stop()
    return ""


async def kill_and_start(gateway: Program) -> None:
    """Kill the gateway without a word of warning and start it again on the same rows."""
    os.kill(gateway.pid, signal.SIGKILL)
    await gateway.ended()
    await gateway.start()


def _settings(folder: RunFolder, tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "clock_file": str(folder.clock),
        "tenants": [TENANT],
        "store": {"url": f"sqlite:///{folder.database}"},
        "rpc": {"port": free_port(), "allow_plain_on_loopback": True},
        "web": {"port": free_port(), "allow_plain_on_loopback": True, "tenant": TENANT},
        "dispatch": {"tick": POLL_S, "lease": _LEASE_S, "telemetry_stale_after": _LEASE_S},
        "webhook": _webhook(free_port()),
        "vtn": list(tables),
    }


def _webhook(port: int) -> dict[str, Any]:
    return {"port": port, "public_url": f"http://127.0.0.1:{port}", "allow_plain_on_loopback": True}


async def _seed(folder: RunFolder, nodes: Mapping[str, str], tokens: Tokens) -> None:
    inventory, accounts = folder.path / "inventory.toml", folder.path / "accounts.toml"
    inventory.write_text(toml_text(_inventory(nodes)), encoding="utf-8")
    rows = [
        {
            "actor": "operator",
            "roles": ["operator"],
            "token_file": str(folder.write_secret("operator.token", tokens.operator)),
        },
        {
            "actor": _CSMS,
            "roles": ["csms"],
            "csms": _CSMS,
            "token_file": str(folder.write_secret("csms.token", tokens.csms)),
        },
    ]
    accounts.write_text(toml_text({"tenant": TENANT, "accounts": rows}), encoding="utf-8")
    await run_command("import", str(inventory), "--accounts", str(accounts), "--config", str(folder.config))


def _inventory(nodes: Mapping[str, str]) -> dict[str, Any]:
    total_kw = RATING_KW * len(nodes)
    portfolio = {
        "id": "selftest",
        "name": "Self-test",
        "max_import_kw": total_kw,
        "fail_safe_import_kw": total_kw,
        "bidding_zone": "BE",
        "time_zone": "UTC",
        "currency": "EUR",
        "route": "tariff-only",
        "exchange_portfolio": "none",
        "max_order_mw": "1",
        "max_day_mwh": "24",
    }
    return {"tenant": TENANT, "portfolios": [portfolio], "sites": [_site(*each) for each in nodes.items()]}


def _site(name: str, node: str) -> dict[str, Any]:
    chargers = {
        "parent": node,
        "id_prefix": f"{name}-",
        "count": 1,
        "csms": _CSMS,
        "phases": 3,
        "max_import_kw": 22.0,
        "min_import_kw": 1.38,
        "fallback_kw": 1.38,
    }
    return {
        "id": node,
        "portfolio": "selftest",
        "name": f"Case {name}",
        "max_import_kw": RATING_KW,
        "fail_safe_import_kw": RATING_KW,
        "connection_points": [{"id": f"meter-{name}", "dso": "dso-selftest", "site_class": "public"}],
        "charger_groups": [chargers],
    }
