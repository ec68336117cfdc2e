"""OCPI against software that is not ours: a published operator, and published classes as judge. Skipped loudly where neither is installed."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.csms.listening import DoorListener, ListenSettings, path_of
from gateway.csms.ocpi.models import SessionObject, as_json, read_model
from gateway.csms.ocpi.receiver import OcpiReceiver
from gateway.csms.orders import Word
from gateway.domain.topology import EnforcementClass
from scripts.peer_environment import EXTRAWEST_OCPI, OCPI_TYPES, Peer
from tests.csms.door_scene import TOKEN_A, free_port, ocpi_door, ocpi_scene, rows, running, until
from tests.services.scene import CSMS, TENANT, Scene

ROOT = Path(__file__).resolve().parents[2]


def python_of(peer: Peer) -> str:
    """The Python of a peer's environment that is there already; a test makes none."""
    made = ROOT / ".venvs" / f"peer-{peer.name}" / "bin" / "python"
    named = os.environ.get(peer.variable, str(made))
    if not Path(named).exists():
        pytest.skip(f"PEER UNTESTED: {peer.title} is not installed; {peer.variable} names a Python that has it")
    return named


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
async def test_published_classes_take_everything_that_we_send(version: str, tmp_path: Path) -> None:
    python, module = python_of(OCPI_TYPES), f"v{version.replace('.', '_')}"
    async with ocpi_scene(version) as ocpi:
        car = await ocpi.plug("ch-1-0")
        await ocpi.steps_until(lambda: bool(ocpi.profiles(car)), "a profile")
        order: list[tuple[str, str, Any]] = [
            (module, "SetChargingProfile", next(body for _, _, body in ocpi.cpo.requests if body)),
            (module, "Credentials", as_json(ocpi.door.registrar._credentials("token"))),
            (module, "VersionDetails", as_json(ocpi.door.registrar.details())),
            (module, "ActiveChargingProfile", ocpi.cpo.world.active_profile(car)),
            (module, "Session", ocpi.cpo.world.session_document(car)),
        ]
    files = tmp_path / "order.json", tmp_path / "answer.json"
    files[0].write_text(json.dumps(order))
    subprocess.run([python, ROOT / "scripts/peers/ocpi_types_peer.py", *files], check=True, capture_output=True)
    assert json.loads(files[1].read_text()) == [""] * len(order)


@contextmanager
def operator() -> Iterator[str]:
    """Let the published operator listen, and give out its root."""
    python, port = python_of(EXTRAWEST_OCPI), free_port()
    command = [python, str(ROOT / "scripts/peers/extrawest_ocpi_peer.py"), str(port), TOKEN_A]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as peer:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            peer.terminate()


async def listening(root: str) -> None:
    host, _, port = root.removeprefix("http://").partition(":")
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise AssertionError("the operator never listened")


async def test_a_published_operator_registers_us_and_answers_about_profiles() -> None:
    scene, port = Scene(), free_port()
    await scene.store.seed(TENANT, *rows(EnforcementClass.C))
    await scene.load()
    listen = ListenSettings(port=port, public_url=f"http://127.0.0.1:{port}", allow_plain_on_loopback=True)
    with operator() as url:
        await listening(url)
        door = ocpi_door(scene, f"{listen.root_of(CSMS)}/ocpi", f"{url}/ocpi/versions", "2.2.1")
        listener = DoorListener(listen)
        listener.add(OcpiReceiver(door, door.settings, scene.clock, f"{path_of(CSMS)}/ocpi").routes())
        async with running(listener.run):
            await until(lambda: listener.port is not None, "listening")
            await door.registrar.load()
            await door.registrar.register()
            current = door.registrar.current
            assert current is not None
            assert (current.country_code, current.party_id) == ("NL", "PEE")
            for method in ("GET", "DELETE"):
                verdict, result = await door._exchange(method, session("session-1"), None)
                assert verdict.word is Word.ACCEPTED, "the result came to an address of its own, with our token"
                assert result is not None
            verdict, _ = await door._exchange("GET", session("session-2"), None)
            assert verdict.word is Word.REJECTED
            door._peer.client.token = "wrong"
            verdict, _ = await door._exchange("GET", session("session-1"), None)
            assert (verdict.word, verdict.reason) == (Word.REJECTED, "the platform answered 403 with OCPI status 0")
            await door._client.close()


def session(session_id: str) -> SessionObject:
    now = "2026-11-21T10:00:00Z"
    return read_model(
        SessionObject,
        {
            "country_code": "NL",
            "party_id": "PEE",
            "id": session_id,
            "start_date_time": now,
            "kwh": 0,
            "location_id": "L",
            "evse_uid": "ch-1-0",
            "connector_id": "1",
            "status": "ACTIVE",
            "last_updated": now,
        },
    )
