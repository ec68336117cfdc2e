"""A gateway that is killed beside a CSMS with chargers: all fall back in time, and are taken up again when it is back (case G4)."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.configuration import environment, free_port, run_command
from gateway.demo.folder import RunFolder, toml_text
from gateway.demo.programs import Program
from gateway.sandbox.charge_point import ChargePoint, ChargerModel
from gateway.sandbox.clock import SandboxClock

pytestmark = pytest.mark.e2e
VERSIONS = ("1.6", "2.0.1", "2.1")
TENANT, CSMS = "default", "csms-1"
LEASE_S = 8.0
GRACE_S = 5.0
"""Case G4: at the fallback so long after the end of the lease, at the latest."""
FALLBACK_A = 6.0
PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Town:
    gateway: Program
    chargers: Sequence[ChargePoint]

    def allowed_a(self) -> list[float]:
        return [charger.limit_a() for charger in self.chargers]


def inventory() -> dict[str, Any]:
    group = {"parent": "site-1", "id_prefix": "site-1-", "count": len(VERSIONS), "csms": CSMS, "phases": 3}
    site = {
        "id": "site-1",
        "portfolio": "all",
        "name": "Site",
        "max_import_kw": 50.0,
        "fail_safe_import_kw": 20.0,
        "connection_points": [{"id": "meter-1", "dso": "dso", "site_class": "public"}],
        "charger_groups": [group | {"max_import_kw": 11.0, "min_import_kw": 4.14, "fallback_kw": 4.14}],
    }
    portfolio = {
        "id": "all",
        "name": "All",
        "max_import_kw": 50.0,
        "fail_safe_import_kw": 20.0,
        "bidding_zone": "BE",
        "time_zone": "UTC",
        "currency": "EUR",
        "route": "tariff-only",
        "exchange_portfolio": "none",
        "max_order_mw": "1",
        "max_day_mwh": "24",
    }
    return {"tenant": TENANT, "portfolios": [portfolio], "sites": [site]}


async def configured(folder: RunFolder) -> Path:
    """Write what both programs are told, import the rows, and return the settings of the CSMS."""
    token = folder.write_secret("csms.token", secrets.token_urlsafe(32))
    port = free_port()
    settings = {
        "tenants": [TENANT],
        "store": {"url": f"sqlite:///{folder.database}"},
        "rpc": {"port": port, "allow_plain_on_loopback": True},
        "web": {"port": free_port(), "allow_plain_on_loopback": True, "tenant": TENANT},
        "dispatch": {"tick": 1.0, "lease": LEASE_S, "stability": 1.0, "restore_spread": 1.0},
    }
    account = {"actor": CSMS, "roles": ["csms"], "csms": CSMS, "token_file": str(token)}
    csms = {
        "state_folder": str(folder.path / "csms"),
        "listen": {"port": 0},
        "gateway": {"address": f"127.0.0.1:{port}", "token_file": str(token)},
        "times": {"telemetry": 1.0, "meter_interval": 2, "boot_wait": 1.0},
        "stations": [
            {"identity": f"CP-{n}", "connectors": [{"id": 1, "charger": f"site-1-{n:03d}"}]}
            for n in range(1, len(VERSIONS) + 1)
        ],
    }
    files = {
        folder.config: settings,
        folder.path / "inventory.toml": inventory(),
        folder.path / "accounts.toml": {"tenant": TENANT, "accounts": [account]},
        folder.path / "csms.toml": csms,
    }
    for file, content in files.items():
        file.write_text(toml_text(content), encoding="utf-8")
    rows = (str(folder.path / "inventory.toml"), "--accounts", str(folder.path / "accounts.toml"))
    await run_command("import", *rows, "--config", str(folder.config))
    return folder.path / "csms.toml"


@asynccontextmanager
async def town(path: Path) -> AsyncIterator[Town]:
    folder = RunFolder(path=path)
    csms_config = await configured(folder)
    around: dict[str, Any] = {"module": "gateway", "folder": path, "environment": environment()}
    serve = ("serve", "--stop-with-parent", "--config", str(folder.config))
    gateway = Program(name="gateway", arguments=serve, **around)
    csms = Program(name="csms", arguments=("csms", "serve", "--config", str(csms_config)), **around)
    try:
        await gateway.start()
        ready = await csms.start()
        chargers = [
            ChargePoint(f"ws://127.0.0.1:{ready['port']}/CP-{n}", ChargerModel(version=version), SandboxClock(None))
            for n, version in enumerate(VERSIONS, 1)
        ]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(charger.run()) for charger in chargers]
            try:
                yield Town(gateway=gateway, chargers=chargers)
            finally:
                for task in running:
                    task.cancel()
    finally:
        await csms.stop()
        await gateway.stop()


async def until(holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(patience_s):
        while not holds():  # other processes' doing
            await asyncio.sleep(0.1)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
async def test_g4_every_charger_is_at_its_fallback_after_the_lease_of_a_killed_gateway_and_is_taken_up_again(
    tmp_path: Path,
) -> None:
    async with town(tmp_path) as place:
        await until(lambda: all(charger.profiles.history for charger in place.chargers))
        for charger in place.chargers:
            await charger.plug()
        await until(lambda: min(place.allowed_a()) > FALLBACK_A + 0.5)
        os.kill(place.gateway.pid, signal.SIGKILL)
        await place.gateway.ended()
        assert min(place.allowed_a()) > FALLBACK_A + 0.5
        await until(lambda: max(place.allowed_a()) <= FALLBACK_A + 0.1, LEASE_S + GRACE_S)
        assert min(place.allowed_a()) >= FALLBACK_A - 0.1
        await place.gateway.start()
        await until(lambda: min(place.allowed_a()) > FALLBACK_A + 0.5)
