"""What the demo tells each program: markets, settings of the gateway, command lines of the sandbox, rows to start from."""

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from gateway.demo.folder import Login, RunFolder, toml_text
from gateway.demo.settings import ROOT, demo_settings
from gateway.demo.timeline import Pace, Timeline, at_least_real
from gateway.domain.errors import PeerUnavailable


@dataclass(frozen=True, kw_only=True, slots=True)
class Tariff:
    """A supply contract from a file, and the carbon of the same place and time."""

    currency: str
    file: Path
    licence: str
    carbon_file: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Market:
    """One market that the demo can play."""

    name: str
    day: date
    """Delivery day when none is asked for."""
    days: tuple[date, date]
    """First and last delivery day that can be settled: its prices or sessions were recorded whole."""
    zone: str
    time_zone: str
    tenant: str
    portfolio: str
    inventory: Path
    connection_point_count: int
    history_days: int
    brp: str | None = None
    """Balance responsible party behind an exchange; None where nothing is traded."""
    recorded: Path | None = None
    """Sessions that are replayed; None draws them."""
    tariff: Tariff | None = None
    """Supply contract of a portfolio that trades nothing."""
    looks_per_real_second: float = 2.0
    """How often the fleet is looked at and measured; a small one can be looked at more often."""
    stability_s: float = 300.0
    """In market time: an increase waits until its reason has lasted so long."""
    example_chargers: tuple[str, ...] = ()
    """Chargers of the second platform, for the client line that is printed."""

    @property
    def has_exchange(self) -> bool:
        """Whether there is an auction to bid in, a grid partner, and a balance responsible party."""
        return self.tariff is None


MARKETS: dict[str, Market] = {
    "be": Market(
        name="be",
        day=date(2025, 10, 15),
        days=(date(2025, 10, 2), date(2025, 10, 19)),
        zone="BE",
        time_zone="Europe/Brussels",
        tenant="demo",
        portfolio="vpp-be",
        brp="brp-demo",
        inventory=ROOT / "config/data/demo_be_tree.toml",
        connection_point_count=12,
        history_days=13,
        example_chargers=("example-001", "example-002"),
    ),
    "us": Market(
        name="us",
        day=date(2019, 5, 23),
        days=(date(2019, 5, 2), date(2019, 5, 30)),
        zone="SCE",
        time_zone="America/Los_Angeles",
        tenant="demo",
        portfolio="vpp-us",
        inventory=ROOT / "config/data/us_2019/tree.toml",
        connection_point_count=2,
        history_days=20,
        recorded=ROOT / "config/data/us_2019/sessions.csv",
        looks_per_real_second=10.0,
        stability_s=60.0,
        tariff=Tariff(
            currency="USD",
            file=ROOT / "config/data/sce_tou_ev/sce_tou_ev_4_march_2019.json",
            licence="BSD-3-Clause, California Institute of Technology (acnportal 0.3.3)",
            carbon_file=ROOT / "config/data/us_2019/sgip_caiso_sce_moer_2019_05.csv",
        ),
    ),
}
AUTHORITY = "vtn:grid-demo"
MARKET_CONTEXT = "http://grid-demo.example/dr"
VEN_NAME = "voltbridge-demo"
CSMS = "csms-demo"
EXAMPLE_CSMS = "csms-example"
"""A second platform with a few chargers, for the client line that the demo prints."""


def environment() -> dict[str, str]:
    """Return the environment of the demo's programs: ours, one numerical thread each, and the project on the path."""
    inherited = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        inherited.setdefault(name, "1")
    inherited["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [inherited.get("PYTHONPATH", "")])])
    return inherited


def grid_arguments(market: Market, timeline: Timeline) -> tuple[str, ...]:
    """Return the command line of the grid: one event in the evening peak of the delivery day."""
    return (
        "--day",
        timeline.delivery.day.isoformat(),
        "--zone",
        market.time_zone,
        "--target",
        market.portfolio,
        "--event-kw",
        str(demo_settings().event_kw),
        "--ven-name",
        VEN_NAME,
        "--market-context",
        MARKET_CONTEXT,
    )


def fleet_arguments(
    folder: RunFolder, market: Market, timeline: Timeline, pace: Pace, rpc_address: str
) -> tuple[str, ...]:
    """Return the command line of the charging platform."""
    sessions = () if market.recorded is None else ("--recorded", str(market.recorded))
    telemetry = max(1, round(pace.fastest / market.looks_per_real_second / 60.0))
    return (
        "--gateway",
        rpc_address,
        "--token-file",
        str(folder.path / "csms.token"),
        "--inventory",
        str(market.inventory),
        "--csms",
        CSMS,
        "--from-day",
        timeline.delivery.next(-1).day.isoformat(),
        "--history-days",
        str(market.history_days),
        "--telemetry-minutes",
        str(telemetry),
        *sessions,
    )


def write_gateway_config(
    folder: RunFolder, market: Market, pace: Pace, doors: Mapping[str, Mapping[str, Any]], *, seed: int
) -> None:
    """Write the gateway's configuration and the secrets it names into the run folder."""
    tables = gateway_tables(folder, market, pace, doors, seed=seed)
    folder.config.write_text(toml_text(tables), encoding="utf-8")


def gateway_tables(
    folder: RunFolder, market: Market, pace: Pace, doors: Mapping[str, Mapping[str, Any]], *, seed: int
) -> dict[str, Any]:
    """Return the gateway's settings for a run; every lease, poll and heartbeat lasts at least 5 real seconds."""
    return {
        "clock_file": str(folder.clock),
        "ids_seed": seed,
        "tenants": [market.tenant],
        "store": {"url": f"sqlite:///{folder.database}"},
        "rpc": {
            "port": free_port(),
            "allow_plain_on_loopback": True,
            "with_reflection": True,
            "heartbeat_real_seconds": demo_settings().shortest_real_seconds,
        },
        "web": {"port": free_port(), "allow_plain_on_loopback": True, "tenant": market.tenant},
        "dispatch": _dispatch_table(market, pace),
        **(_tariff_tables(market) if market.tariff else _market_tables(folder, market, doors["market"])),
        "plan": {
            "tenant": market.tenant,
            "portfolio": market.portfolio,
            "history_quiet": 8.0,
            "sweep": 2.0,
            "relative_gap": 1e-3 if market.has_exchange else 1e-4,
        },
        "vtn": [_vtn_table(market, pace, doors["grid"])] if "grid" in doors else [],
    }


def _dispatch_table(market: Market, pace: Pace) -> dict[str, float]:
    return {
        "tick": max(60.0, pace.fastest / market.looks_per_real_second),
        "lease": at_least_real(timedelta(minutes=15), pace.fastest).total_seconds(),
        "stability": market.stability_s,
        "not_following_after": max(600.0, pace.fastest * 2.0),
        "telemetry_stale_after": at_least_real(timedelta(minutes=15), pace.fastest).total_seconds(),
        "restore_spread": 300.0,
    }


def _market_tables(folder: RunFolder, market: Market, doors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "market": {
            "zone": market.zone,
            "time_zone": market.time_zone,
            "entsoe_url": doors["entsoe_url"],
            "entsoe_token_file": str(folder.write_secret("entsoe.token", doors["entsoe_token"])),
            "carbon_url": doors["carbon_url"],
            "carbon_token_file": str(folder.write_secret("carbon.token", doors["carbon_token"])),
            "carbon_kind": "marginal",
            "history_days": market.history_days,
        },
        "exchange": {
            "url": doors["exchange_url"],
            "token_url": doors["sts_url"],
            "username": doors["exchange_username"],
            "password_file": str(folder.write_secret("exchange.password", doors["exchange_password"])),
            "poll": 120.0,
        },
        "brp": {
            "id": market.brp,
            "url": doors["brp_url"],
            "token_file": str(folder.write_secret("brp.token", doors["brp_token"])),
        },
    }


def _tariff_tables(market: Market) -> dict[str, Any]:
    tariff = market.tariff
    if tariff is None:
        return {}
    return {
        "tariff": {
            "zone": market.zone,
            "time_zone": market.time_zone,
            "currency": tariff.currency,
            "file": str(tariff.file),
            "licence": tariff.licence,
            "carbon_file": str(tariff.carbon_file),
            "history_days": market.history_days,
        }
    }


def _vtn_table(market: Market, pace: Pace, doors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "authority": AUTHORITY,
        "tenant": market.tenant,
        "url": doors["vtn_url"],
        "ven_name": VEN_NAME,
        "market_contexts": [MARKET_CONTEXT],
        "portfolio_node": market.portfolio,
        "targets": {market.portfolio: market.portfolio},
        "poll": at_least_real(timedelta(minutes=5), pace.fastest).total_seconds(),
        "signature": "off",
        "allow_plain_on_loopback": True,
    }


async def seed_rows(folder: RunFolder, market: Market, logins: Mapping[str, Login]) -> None:
    """Import the inventory and the accounts with the command that any deployment uses.

    Raises:
        PeerUnavailable: The command failed; its last line is in the message.
    """
    programs = {CSMS: secrets.token_urlsafe(32), EXAMPLE_CSMS: secrets.token_urlsafe(32)}
    folder.write_secret("csms.token", programs[CSMS])
    folder.write_secret("example.token", programs[EXAMPLE_CSMS])
    accounts: list[dict[str, Any]] = [
        {
            "actor": login.actor,
            "roles": list(login.roles),
            "password_file": str(folder.write_secret(f"{login.actor}.password", login.password)),
            "token_file": str(folder.write_secret(f"{login.actor}.token", login.token)),
        }
        for login in logins.values()
    ]
    for name, file in ((CSMS, "csms.token"), (EXAMPLE_CSMS, "example.token")):
        accounts.append({"actor": name, "roles": ["csms"], "csms": name, "token_file": str(folder.path / file)})
    accounts_file = folder.path / "accounts.toml"
    accounts_file.write_text(toml_text({"tenant": market.tenant, "accounts": accounts}), encoding="utf-8")
    await run_command("import", str(market.inventory), "--accounts", str(accounts_file), "--config", str(folder.config))


def free_port() -> int:
    """Return a port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def run_command(*arguments: str) -> None:
    """Run one command of `voltbridge` to its end.

    Raises:
        PeerUnavailable: It failed; its last line is in the message.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *arguments,
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        last = output.decode(errors="replace").strip().rpartition("\n")[2]
        raise PeerUnavailable(f"voltbridge {arguments[0]} ended with {process.returncode}: {last}")
