"""What it costs a gateway when a tenth of 10,000 chargers falls silent and comes back every minute (case G13).

The gateway is a process of its own with its database; ten platforms in another process measure and obey. First nobody flaps, then ten
per cent a minute do. Sites have less power than their cars want, so that whoever falls silent is made room for.
"""

import argparse
import asyncio
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from gateway.demo.configuration import environment, free_port, run_command
from gateway.demo.folder import RunFolder, toml_text
from gateway.demo.programs import Program as Served
from scripts.benches.dispatch import Program, Row, number
from scripts.dispatch_bench.flapping import platform_name
from scripts.measuring import Goal, Report, at_least, at_most
from scripts.openadr_many import cpu_s
from scripts.openadr_storm import loop_lag_s

PLATFORMS, CHARGERS = 10, 10_000
SECONDS = 60.0
SETTLE_S = 30.0
STARTS_WITHIN_S = 180.0
QUIET = "quiet"
LOOK_S = 4.0
"""The gateway tells the worst lag of at least the last five seconds."""
TENANT = "bench"
SHARE = 0.6
"""Of what all cars of a site would take."""
LAG_GOAL_MS, CORES_GOAL = 1_000.0, 1.0
_CHARGER = {"phases": 3, "max_import_kw": 11.0, "min_import_kw": 4.14, "fallback_kw": 1.0}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a run be smaller than the whole bench."""
    parser.add_argument("--chargers", type=int, default=CHARGERS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each of both")


def run(options: argparse.Namespace) -> Report:
    """Measure quiet and flapping."""
    with tempfile.TemporaryDirectory(prefix="voltbridge-flap-") as name:
        rows = asyncio.run(measure(RunFolder(path=Path(name)), options.chargers, options.seconds))
    return {"results": rows, "goals": goals_of(rows)}


def goals_of(rows: list[Row]) -> list[Goal]:
    """Return what must hold of the numbers."""
    goals = []
    for row in rows:
        what = f"{row['chargers']:,} chargers, {row['beside']}"
        goals.append(at_most(f"event loop lag, worst, ms, {what}", LAG_GOAL_MS, number(row["lag_ms"])))
        goals.append(at_most(f"cores of the gateway, {what}", CORES_GOAL, number(row["cores"])))
        if row["beside"] != QUIET:
            goals.append(at_least(f"chargers that fell silent and came back, {what}", 1.0, number(row["come_back"])))
    return goals


async def measure(folder: RunFolder, chargers: int, seconds: float) -> list[Row]:
    """Return a row without and one with flapping."""
    each = chargers // PLATFORMS
    await prepare(folder, each)
    arguments = ("serve", "--stop-with-parent", "--config", str(folder.config))
    served = Served(
        name="gateway", module="gateway", arguments=arguments, folder=folder.path, environment=environment()
    )
    addresses = await served.start()
    platforms = Program("flapping", addresses["rpc"], str(folder.path), str(PLATFORMS), str(each))
    try:
        async with aiohttp.ClientSession() as http:
            async with asyncio.timeout(STARTS_WITHIN_S):
                while not await _measured(platforms, 2 * each * PLATFORMS):  # noqa: ASYNC110  # another process's doing
                    await asyncio.sleep(LOOK_S)
            await asyncio.sleep(SETTLE_S)
            rows = []
            for beside, is_flapping in ((QUIET, False), ("10 % flap per minute", True)):
                before = await asyncio.to_thread(platforms.ask, flap=is_flapping)
                facts = await watch(http, addresses["page"], served.pid, seconds)
                after = await asyncio.to_thread(platforms.ask, flap=is_flapping)
                done = {key: after[key] - count for key, count in before.items()}
                rows.append({"beside": beside, "chargers": each * PLATFORMS, **facts, **done})
            return rows
    finally:
        await asyncio.to_thread(platforms.end)
        await served.stop()


async def _measured(platforms: Program, readings: int) -> bool:
    """Tell whether the platforms have sent so many readings."""
    return bool((await asyncio.to_thread(platforms.ask, flap=False))["measured"] >= readings)


async def watch(http: aiohttp.ClientSession, page: str, pid: int, seconds: float) -> Row:
    """Return how late the loop of a process was at worst and how many cores it took."""
    began, spent, worst = time.monotonic(), cpu_s(pid), 0.0
    await asyncio.sleep(LOOK_S)
    while time.monotonic() < began + seconds:
        await asyncio.sleep(LOOK_S)
        worst = max(worst, await loop_lag_s(http, page))
    return {"lag_ms": 1e3 * worst, "cores": (cpu_s(pid) - spent) / (time.monotonic() - began)}


async def prepare(folder: RunFolder, each: int) -> None:
    """Write settings, inventory and accounts, and import them."""
    names = [platform_name(place) for place in range(PLATFORMS)]
    settings = {
        "tenants": [TENANT],
        "store": {"url": f"sqlite:///{folder.database}"},
        "rpc": {"port": free_port(), "allow_plain_on_loopback": True},
        "web": {"port": free_port(), "allow_plain_on_loopback": True, "tenant": TENANT},
        "dispatch": {"telemetry_stale_after": 15.0},
    }
    accounts = [
        {
            "actor": name,
            "roles": ["csms"],
            "csms": name,
            "token_file": str(folder.write_secret(f"{name}.token", secrets.token_urlsafe(32))),
        }
        for name in names
    ]
    folder.config.write_text(toml_text(settings), encoding="utf-8")
    (folder.path / "inventory.toml").write_text(toml_text(inventory_of(names, each)), encoding="utf-8")
    (folder.path / "accounts.toml").write_text(toml_text({"tenant": TENANT, "accounts": accounts}), encoding="utf-8")
    rows = (str(folder.path / "inventory.toml"), "--accounts", str(folder.path / "accounts.toml"))
    await run_command("import", *rows, "--config", str(folder.config))


def inventory_of(names: list[str], each: int) -> dict[str, Any]:
    """Return a site for each platform, with so many chargers."""
    site_kw = SHARE * _CHARGER["max_import_kw"] * each
    limits = {"max_import_kw": len(names) * site_kw, "fail_safe_import_kw": len(names) * site_kw}
    portfolio = {
        "id": "bench",
        "name": "Bench",
        **limits,
        "bidding_zone": "BE",
        "time_zone": "UTC",
        "currency": "EUR",
        "route": "tariff-only",
        "exchange_portfolio": "none",
        "max_order_mw": "1",
        "max_day_mwh": "24",
    }
    sites = [
        {
            "id": f"site-{name}",
            "portfolio": "bench",
            "name": name,
            "max_import_kw": site_kw,
            "fail_safe_import_kw": site_kw,
            "connection_points": [{"id": f"meter-{name}", "dso": "dso-bench", "site_class": "public"}],
            "charger_groups": [
                {"parent": f"site-{name}", "id_prefix": f"{name}-", "count": each, "csms": name, **_CHARGER}
            ],
        }
        for name in names
    ]
    return {"tenant": TENANT, "portfolios": [portfolio], "sites": sites}
