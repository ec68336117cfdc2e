"""An independent grid partner: ElaadNL's openadr3-client publishes, the gateway follows, the client judges the gateway's objects.

    python -m scripts.openadr_peer

The strict VTN of the sandbox is between them. Exit code 0 when the limits are those that were published and the client finds nothing
wrong, 1 when not, 2 when the client cannot be installed here (it needs Python 3.12 or newer).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from gateway.client import connect
from gateway.demo.folder import RunFolder
from gateway.selftest.cases_3_contact import EAN13, EAN18
from gateway.selftest.partner import Around, CaseFailed, text_of
from gateway.selftest.partner_3 import Partner3
from gateway.selftest.script import Script, usual_table
from gateway.selftest.stage import gateway_with, partners
from scripts.environment import SetupError, say
from scripts.peer_environment import OPENADR3_CLIENT, PeerError, python_of

NAME = "peer"
STEP = timedelta(minutes=15)
LIMITS_KW = tuple(50.0 + 2.5 * (number % 24) for number in range(96))
"""A day of quarter-hours."""
PATIENCE_S = 120.0
UNAVAILABLE = 2
SCRIPT = Script(
    play=lambda _: asyncio.sleep(0, ""),
    dialect="3.1.0",
    table={"ven_name": EAN13, "targets": {EAN18: NAME}, "v3": {"profile": "gac-2.2"}},
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Peering:
    """What came of it."""

    versions: str
    checked: int
    """Instants whose limit was the published one."""
    objects: tuple[str, ...]
    """What the client read of the VTN."""
    problems: tuple[str, ...]
    """What it found wrong."""


def main() -> int:
    """Play it once and say what came of it."""
    try:
        python = python_of(OPENADR3_CLIENT)
    except SetupError as error:
        say(f"PEER UNTESTED: {error}")
        return UNAVAILABLE
    try:
        with tempfile.TemporaryDirectory(prefix="voltbridge-peer-") as name:
            peering = asyncio.run(play(python, Path(name)))
    except (PeerError, CaseFailed) as error:
        say(str(error))
        return 1
    say(json.dumps(dataclasses.asdict(peering), indent=2))
    return 1 if peering.problems else 0


async def play(python: Path, path: Path) -> Peering:
    """Publish, follow and judge in a folder of its own.

    Raises:
        PeerError: The client failed.
        CaseFailed: The gateway did not follow.
    """
    folder = RunFolder(path=path)
    async with partners(folder) as doors, aiohttp.ClientSession() as http:
        control = doors.control(SCRIPT.dialect)
        options = {"takes_nulls": True}  # the client writes nulls where the official description allows none
        async with http.put(f"{control}/worlds/{NAME}", json=options, raise_for_status=True) as made:
            url = (await made.json())["url"]
        table = usual_table(SCRIPT, NAME, url, folder)
        async with (
            gateway_with(folder, [table], {NAME: NAME}) as stage,
            connect(stage.rpc_address, token=stage.tokens.operator) as gateway,
        ):
            around = Around(
                clock=stage.clock,
                http=http,
                gateway=gateway,
                intermission=_never,
                restart_broker=_never,
                refusal=lambda _: _nothing(),
            )
            return await _peer(Partner3(NAME, NAME, control, around), url, python, path)


async def _peer(vtn: Partner3, url: str, python: Path, path: Path) -> Peering:
    start = vtn.soon(60)
    order = {
        "vtn_url": url,
        "secret": "bl-secret",
        "targets": [EAN18],
        "start": start.isoformat(),
        "limits_kw": LIMITS_KW,
    }
    await vtn.known_ven()
    published = await asyncio.to_thread(_ask, python, "publish", order, path)
    await vtn.control("POST", "/grant", {"targets": [EAN18]})
    wanted: dict[datetime, float] = {start + STEP * (n + 0.5): value for n, value in enumerate(LIMITS_KW)}
    say(f"Published {published['event']}; {len(wanted)} limits from {text_of(start)}")
    await vtn.limits(wanted)
    judged = await asyncio.to_thread(_ask, python, "judge", order, path)
    return Peering(
        versions=judged["versions"],
        checked=len(wanted),
        objects=tuple(judged["objects"]),
        problems=tuple(judged["problems"]),
    )


def _ask(python: Path, what: str, order: dict[str, Any], path: Path) -> dict[str, Any]:
    order_file, answer_file = path / f"{what}.json", path / f"{what}.answer.json"
    order_file.write_text(json.dumps(order))
    command = [str(python), str(OPENADR3_CLIENT.script), what, str(order_file), str(answer_file)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=path)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{OPENADR3_CLIENT.title} gave no answer: {error}") from error
    if ended.returncode != 0:
        raise PeerError(f"{OPENADR3_CLIENT.title} could not {what}: {ended.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(answer_file.read_text())
    return answer


async def _never() -> None:
    raise CaseFailed("nothing is killed here")


async def _nothing() -> str:
    return ""


if __name__ == "__main__":
    sys.exit(main())
