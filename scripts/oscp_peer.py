"""An independent grid partner over OSCP 2.0: pyoscp is the capacity provider, a gateway of its own is the flexibility provider.

    python -m scripts.oscp_peer

The exchange of tokens is begun once by the gateway and once by pyoscp; then both shake hands, send heartbeats both ways and pyoscp
states forecasts, which must be the limits in force; at the end pyoscp is killed and its fallback must apply. pyoscp needs both quirks
of the settings: times without zone, and its own spelling of handshake_acknowledge. Exit code 0 when all of it held, 1 when not, 2
when pyoscp cannot be installed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from gateway.client import Gateway, connect
from gateway.demo.configuration import environment, free_port, run_command
from gateway.demo.folder import RunFolder, toml_text
from gateway.demo.programs import Program
from gateway.domain.errors import PeerUnavailable
from gateway.v1 import signals_service_pb2 as signals
from scripts.environment import SetupError, say
from scripts.peer_environment import PYOSCP, PeerError, python_of

UNAVAILABLE = 2
TENANT = "peer"
ZONE = "Europe/Brussels"
"""pyoscp writes local times without zone; its process lives in this one."""
OURS, THEIRS = "begun-by-us", "begun-by-it"
BEAT_S = 2.0
PATIENCE_S = 60.0
CALL_S = 10.0
TOLERANCE_KW = 1e-6
_LOOK_S = 0.1
LIMITS_KW = {OURS: 50.0, THEIRS: 40.0}
FALLBACKS_KW = {OURS: 20.0, THEIRS: 15.0}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Peering:
    """What held, in order."""

    version: str
    held: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Town:
    """Everything that runs."""

    gateway: Gateway
    http: aiohttp.ClientSession
    provider: asyncio.subprocess.Process
    provider_url: str
    tokens: dict[str, str]
    """One-time token by site."""


def main() -> int:
    """Play it once and say what came of it."""
    try:
        python = python_of(PYOSCP)
    except SetupError as error:
        say(f"PEER UNTESTED: {error}")
        return UNAVAILABLE
    try:
        with tempfile.TemporaryDirectory(prefix="voltbridge-peer-") as name:
            peering = asyncio.run(play(python, RunFolder(path=Path(name))))
    except (PeerError, PeerUnavailable) as error:
        say(str(error))
        return 1
    say(json.dumps(dataclasses.asdict(peering), indent=2))
    return 0


async def play(python: Path, folder: RunFolder) -> Peering:
    """Let both speak to each other in a folder of their own.

    Raises:
        PeerError: Something did not hold.
    """
    held = []
    async with town(python, folder) as here:
        async with here.http.get(f"{here.provider_url}/version") as answer:
            version = (await answer.json())["pyoscp"]
        for site in (OURS, THEIRS):
            await _until(f"{site}: tokens are exchanged", partial(_is_registered, here, site))
            held.append(f"{site}: tokens are exchanged")
        await _until("heartbeats go both ways", partial(_beats, here))
        held.append("heartbeats go both ways")
        for site in (OURS, THEIRS):
            for kind, limit_kw in (("FALLBACK_CONSUMPTION", FALLBACKS_KW[site]), ("CONSUMPTION", LIMITS_KW[site])):
                await _state(here, site, kind, limit_kw)
        await _until("the forecast is in force", partial(_is_in_force, here, OURS, LIMITS_KW[OURS]))
        held.append("the forecast is in force")
        here.provider.kill()
        for site in (OURS, THEIRS):
            await _until(f"{site}: its fallback is in force", partial(_is_in_force, here, site, FALLBACKS_KW[site]))
            held.append(f"{site}: its fallback is in force after it was killed")
    return Peering(version=version, held=tuple(held))


@contextlib.asynccontextmanager
async def town(python: Path, folder: RunFolder) -> AsyncIterator[Town]:
    """Run pyoscp and the gateway."""
    page, port = free_port(), free_port()
    tokens = {site: secrets.token_urlsafe(32) for site in (OURS, THEIRS)}
    operator = secrets.token_urlsafe(32)
    provider_url = f"http://127.0.0.1:{port}"
    await _configure(folder, page, f"{provider_url}/oscp/cp/2.0", tokens, operator)
    order = {
        "port": port,
        "endpoints": str(folder.path / "endpoints.json"),
        "tokens": [tokens[OURS]],
        "begins": [
            {
                "own_token": secrets.token_urlsafe(32),
                "token": tokens[THEIRS],
                "base_url": f"http://127.0.0.1:{page}/oscp/fp/2.0",
            }
        ],
    }
    order_file = folder.write_secret("order.json", json.dumps(order))
    gateway = Program(
        name="gateway",
        module="gateway",
        arguments=("serve", "--stop-with-parent", "--config", str(folder.config)),
        folder=folder.path,
        environment=environment(),
    )
    addresses = await gateway.start()
    provider = await asyncio.create_subprocess_exec(
        str(python),
        str(PYOSCP.script),
        str(order_file),
        cwd=folder.path,
        env={**os.environ, "TZ": ZONE},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as http, connect(addresses["rpc"], token=operator) as stubs:
            here = Town(gateway=stubs, http=http, provider=provider, provider_url=provider_url, tokens=tokens)
            await _until("pyoscp listens", partial(_listens, here))
            yield here
    finally:
        with contextlib.suppress(ProcessLookupError):
            provider.kill()
        await provider.wait()
        await gateway.stop()


async def _configure(folder: RunFolder, page: int, provider_url: str, tokens: dict[str, str], operator: str) -> None:
    door = {
        "public_url": f"http://127.0.0.1:{page}/oscp",
        "seal_key_file": str(folder.write_secret("seal", secrets.token_urlsafe(32))),
    }
    partners = [
        {
            "name": site,
            "tenant": TENANT,
            "token_file": str(folder.write_secret(f"{site}.token", token)),
            "allow_plain_on_loopback": True,
            "heartbeat": BEAT_S,
            "naive_time_zone": ZONE,
            "sends_handshake": True,
            **({"url": provider_url} if site == OURS else {}),
        }
        for site, token in tokens.items()
    ]
    settings = {
        "tenants": [TENANT],
        "store": {"url": f"sqlite:///{folder.database}"},
        "rpc": {"port": free_port(), "allow_plain_on_loopback": True},
        "web": {"port": page, "allow_plain_on_loopback": True, "tenant": TENANT},
        "oscp_door": door,
        "oscp": partners,
    }
    folder.config.write_text(toml_text(settings), encoding="utf-8")
    inventory, accounts = folder.path / "inventory.toml", folder.path / "accounts.toml"
    inventory.write_text(toml_text(_inventory()), encoding="utf-8")
    account = {
        "actor": "operator",
        "roles": ["operator"],
        "token_file": str(folder.write_secret("operator.token", operator)),
    }
    accounts.write_text(toml_text({"tenant": TENANT, "accounts": [account]}), encoding="utf-8")
    await run_command("import", str(inventory), "--accounts", str(accounts), "--config", str(folder.config))


def _inventory() -> dict[str, Any]:
    portfolio = {
        "id": "peer",
        "name": "Peer",
        "max_import_kw": 200.0,
        "fail_safe_import_kw": 0.0,
        "bidding_zone": "BE",
        "time_zone": ZONE,
        "currency": "EUR",
        "route": "tariff-only",
        "exchange_portfolio": "none",
        "max_order_mw": "1",
        "max_day_mwh": "24",
    }
    sites = [
        {
            "id": site,
            "portfolio": "peer",
            "name": site,
            "max_import_kw": 100.0,
            "fail_safe_import_kw": 7.0,
            "connection_points": [{"id": f"meter-{site}", "dso": "dso-peer", "site_class": "public"}],
        }
        for site in (OURS, THEIRS)
    ]
    groups = [{"authority": f"oscp:{site}", "name": f"trafo-{site}", "node": site} for site in (OURS, THEIRS)]
    return {"tenant": TENANT, "portfolios": [portfolio], "sites": sites, "capacity_groups": groups}


# ---------------------------------------------------------------- what must hold


async def _until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await holds():  # noqa: ASYNC110  # another process has no event to wait for
                await asyncio.sleep(_LOOK_S)
    except TimeoutError as error:
        raise PeerError(f"this never came true: {what}") from error


async def _listens(here: Town) -> bool:
    try:
        async with here.http.get(f"{here.provider_url}/seen") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _ties(here: Town) -> dict[str, dict[str, Any]]:
    """Return what pyoscp knows of each partner, by the token that the partner shows it."""
    async with here.http.get(f"{here.provider_url}/seen") as answer:
        found: dict[str, dict[str, Any]] = (await answer.json())["endpoints"]
        return found


async def _tie_of(here: Town, site: str) -> tuple[str, dict[str, Any]] | None:
    """Return the tie of a site: pyoscp shows us a token that is no longer the one-time token, and knows our address."""
    ties = [
        (token, tie)
        for token, tie in (await _ties(here)).items()
        if tie["register"]["base_url"] and tie["register"]["token"] not in here.tokens.values()
    ]
    begun_by_it = [one for one in ties if "should_register" in one[1]]
    begun_by_us = [one for one in ties if "should_register" not in one[1]]
    found = begun_by_us if site == OURS else begun_by_it
    return found[0] if found else None


async def _is_registered(here: Town, site: str) -> bool:
    return await _tie_of(here, site) is not None


async def _beats(here: Town) -> bool:
    """Tell whether pyoscp has read heartbeats of ours that hold, and its own keep both partners there."""
    for site in (OURS, THEIRS):
        tie = await _tie_of(here, site)
        if tie is None or "offline_at" not in tie[1] or "next_heartbeat" not in tie[1]:
            return False
    return True


async def _state(here: Town, site: str, kind: str, limit_kw: float) -> None:
    tie = await _tie_of(here, site)
    if tie is None:
        raise PeerError(f"pyoscp has lost {site}")
    now = datetime.now(UTC).replace(microsecond=0)
    block = {
        "capacity": limit_kw,
        "phase": "ALL",
        "unit": "KW",
        "start_time": (now - timedelta(minutes=1)).isoformat(),
        "end_time": (now + timedelta(hours=1)).isoformat(),
    }
    forecast = {"group_id": f"trafo-{site}", "type": kind, "forecasted_blocks": [block]}
    async with here.http.post(f"{here.provider_url}/say", json={"token": tie[0], "forecast": forecast}) as answer:
        said = await answer.json() if answer.status == 200 else {"status": answer.status}
    if said["status"] != 204:
        raise PeerError(f"the forecast was answered {said['status']}")


async def _is_in_force(here: Town, site: str, limit_kw: float) -> bool:
    request = signals.ResolveLimitRequest(node_id=site)
    answer = await here.gateway.signals.ResolveLimit(request, timeout=CALL_S, wait_for_ready=True)
    return bool(abs(answer.resolution.power_kw - limit_kw) < TOLERANCE_KW)


if __name__ == "__main__":
    sys.exit(main())
