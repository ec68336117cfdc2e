"""Chargers and validators that others wrote: the ocpp package's charge points, npm ocpp-rpc in strict mode, npm typed-ocpp for 2.1."""

import asyncio
import contextlib
import json
import logging
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ocpp.routing import on
from ocpp.v16 import ChargePoint as ChargePoint16
from ocpp.v16 import call as call_16
from ocpp.v16 import call_result as result_16
from ocpp.v21 import ChargePoint as ChargePoint21
from ocpp.v21 import call as call_21
from ocpp.v21 import call_result as result_21
from ocpp.v201 import ChargePoint as ChargePoint201
from ocpp.v201 import call as call_201
from ocpp.v201 import call_result as result_201
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gateway.ocpp.words import Verdict
from gateway.sandbox.charge_point import ChargerModel, external_limit
from scripts.environment import SetupError
from scripts.ocpp_peers import installed
from tests.ocpp.csms_scene import CsmsScene, csms_settings, until

PATIENT = pytest.mark.timeout(240)
"""The first of them lets npm fetch 16 packages; Node.js compiles the schemas of 2.1 for seconds of its own."""
logging.getLogger("ocpp").setLevel(logging.CRITICAL)


@pytest.fixture(scope="session")
def peers() -> Path:
    """Install the JavaScript peers, or say why not."""
    try:
        return installed()
    except SetupError as error:
        pytest.skip(f"the JavaScript peers are not installed: {error}")


class Peer16(ChargePoint16):  # type: ignore[misc]  # the package ships no types
    """A charger of 1.6 on the ocpp package."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.profiles: list[dict[str, Any]] = []

    @on("SetChargingProfile")  # type: ignore[untyped-decorator]
    def set_profile(self, connector_id: int, cs_charging_profiles: dict[str, Any]) -> Any:
        self.profiles.append(cs_charging_profiles)
        return result_16.SetChargingProfile(status="Accepted")

    @on("GetConfiguration")  # type: ignore[untyped-decorator]
    def configuration(self, **_: Any) -> Any:
        entry = {"key": "ChargeProfileMaxStackLevel", "readonly": True, "value": "5"}
        return result_16.GetConfiguration(configuration_key=[entry], unknown_key=[])

    async def live(self) -> str:
        await self.call(call_16.BootNotification(charge_point_model="Peer", charge_point_vendor="ocpp"))
        now = datetime.now(UTC).isoformat()
        start = call_16.StartTransaction(connector_id=1, id_tag="TAG", meter_start=1000, timestamp=now)
        return str((await self.call(start)).transaction_id)


class _Peer2:
    """What stations of 2.0.1 and 2.1 have in common on the ocpp package."""

    calls: Any
    results: Any

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.profiles: list[dict[str, Any]] = []

    @on("SetChargingProfile")  # type: ignore[untyped-decorator]
    def set_profile(self, evse_id: int, charging_profile: dict[str, Any], **_: Any) -> Any:
        self.profiles.append(charging_profile)
        return self.results.SetChargingProfile(status="Accepted")

    async def live(self) -> str:
        call: Any = getattr(self, "call")  # noqa: B009  # of the package's class beside it
        station = {"vendor_name": "ocpp", "model": "Peer"}
        await call(self.calls.BootNotification(charging_station=station, reason="PowerUp"))
        event = self.calls.TransactionEvent(
            event_type="Started",
            timestamp=datetime.now(UTC).isoformat(),
            trigger_reason="CablePluggedIn",
            seq_no=0,
            transaction_info={"transaction_id": "peer-1"},
            evse={"id": 1, "connector_id": 1},
            id_token={"id_token": "TAG", "type": "ISO14443"},
        )
        await call(event)
        return "peer-1"


class Peer201(_Peer2, ChargePoint201):  # type: ignore[misc]  # the package ships no types
    """A station of 2.0.1 on the ocpp package."""

    calls, results = call_201, result_201


class Peer21(_Peer2, ChargePoint21):  # type: ignore[misc]  # the package ships no types
    """A station of 2.1 on the ocpp package."""

    calls, results = call_21, result_21


@pytest.mark.parametrize(
    ("version", "kind", "purpose"),
    [
        ("1.6", Peer16, "charging_profile_purpose"),
        ("2.0.1", Peer201, "charging_profile_purpose"),
        ("2.1", Peer21, "charging_profile_purpose"),
    ],
)
async def test_charge_points_of_the_ocpp_package_are_limited(
    tmp_path: Path, version: str, kind: Any, purpose: str
) -> None:
    world = CsmsScene(csms_settings(tmp_path), ChargerModel())
    async with (
        world.server.listening() as port,
        connect(f"ws://127.0.0.1:{port}/CP-1", subprotocols=[Subprotocol(f"ocpp{version}")]) as socket,
        asyncio.TaskGroup() as tasks,
    ):
        peer = kind("CP-1", socket)

        async def listen() -> None:
            with contextlib.suppress(ConnectionClosed):
                await peer.start()

        listening = tasks.create_task(listen())
        number = await peer.live()
        sequence = await world.command(6.9)
        assert world.answers.of(sequence) == [Verdict.ACCEPTED]
        assert peer.profiles[0][purpose] == "TxDefaultProfile"
        live = peer.profiles[-1]
        assert live[purpose] == "TxProfile"
        assert str(live["transaction_id"]) == number
        schedule = live["charging_schedule"]
        schedule = schedule[0] if isinstance(schedule, list) else schedule
        assert schedule["charging_schedule_period"][0]["limit"] == pytest.approx(10.0)
        listening.cancel()


@PATIENT
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_strict_charger_of_ocpp_rpc_finds_nothing_wrong(peers: Path, tmp_path: Path, version: str) -> None:
    world = CsmsScene(csms_settings(tmp_path), ChargerModel())
    async with world.server.listening() as port:
        command = ["node", "charger.cjs", f"ws://127.0.0.1:{port}", "CP-1", f"ocpp{version}"]
        process = subprocess.Popen(command, cwd=peers, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            await until(lambda: world.station.connectors[1].transaction is not None, "a transaction began", 2000)
            sequence = await world.command(6.9)
            assert world.answers.of(sequence) == [Verdict.ACCEPTED]
            await world.command(0.0)
            output, _ = await asyncio.to_thread(process.communicate, "stop\n", 10)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
    events = [json.loads(line) for line in output.splitlines()]
    assert [event for event in events if event["event"] == "broken"] == []
    profiles = [event["content"] for event in events if event["event"] == "profile"]
    key = "csChargingProfiles" if version == "1.6" else "chargingProfile"
    # What comes last depends on when a refused or repeated profile was written.
    assert "TxProfile" in {p[key]["chargingProfilePurpose"] for p in profiles}
    assert events[-1]["event"] == "stopped"
    assert world.station.record.ended
    assert process.returncode == 0


@PATIENT
async def test_every_frame_of_2_1_that_we_send_is_valid_for_typed_ocpp(peers: Path, tmp_path: Path) -> None:
    world = CsmsScene(csms_settings(tmp_path, expiry="duration"), ChargerModel(version="2.1"))
    async with world.running():
        await world.plug()
        await world.command(6.9)
        await world.charger.announce(external_limit(1, 8.0, "SO", world.clock.now()))
        await world.charger.announce({"chargingLimit": {"chargingLimitSource": "EMS"}, "evseId": 1})
        await world.charger.meter()
        await world.charger.unplug()
        await world.quiet()
        transcript = world.charger.transcript
    (tmp_path / "transcript.json").write_text(json.dumps(transcript))
    command = ["node", "validate.mjs", str(tmp_path / "transcript.json")]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=peers, capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["checked"] >= 15
    ours = [frame[2] for who, frame in transcript if who == "us" and frame[0] == 2]
    assert {"SetChargingProfile", "GetCompositeSchedule", "GetVariables", "GetChargingProfiles"} <= set(ours)
    live = [f[3]["chargingProfile"] for w, f in transcript if w == "us" and f[2] == "SetChargingProfile"]
    assert any("maxOfflineDuration" in profile for profile in live)
