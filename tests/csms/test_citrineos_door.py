"""CitrineOS's REST over real sockets against the sandbox stub: two layers, no gap, the charger's own answer counts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from gateway.csms.citrineos.door import CitrineDoor, CitrineSettings, Installed
from gateway.csms.citrineos.messages import Profile, Purpose, Station, set_request
from gateway.csms.listening import DoorListener, ListenSettings, path_of
from gateway.csms.orders import Order, Word
from gateway.domain.charging_profiles import Supply
from gateway.domain.dispatch import DispatchState
from gateway.domain.doors import CommandOutcome, CsmsCommand
from gateway.domain.topology import EnforcementClass
from gateway.outbound import ClientTls, PeerHttp
from gateway.sandbox.citrineos import CitrineStub, StubCharger
from gateway.sandbox.vtn_control import Fault
from tests.csms.door_scene import LEASE, RULES, Behind, free_port, rows, running, serving, until
from tests.services.scene import CSMS, GRID, PLATFORM, TENANT, Scene, event, message, session

APPLIED, REJECTED, TIMED_OUT = DispatchState.APPLIED, DispatchState.REJECTED, DispatchState.TIMED_OUT
CHARGERS = ("ch-1-0", "ch-1-1", "ch-2-0", "ch-2-1")


@dataclass
class CitrineScene(Behind):
    """A stub on one side, the services on the other."""

    scene: Scene
    door: CitrineDoor
    stub: CitrineStub
    callbacks: str

    def __post_init__(self) -> None:
        super().__init__(self.scene)

    def charger(self, name: str = "ch-1-0") -> StubCharger:
        return self.stub.chargers[name]

    async def plug(self, *names: str) -> None:
        """Cars come, reported over gRPC by the platform under their transaction's id."""
        for name in names:
            self.charger(name).transaction = f"s-{name}-1"
        await self.scene.services.tracker.report_sessions(
            PLATFORM, [session(name) for name in names], is_history=False, request_id=f"cars-{names}"
        )

    async def charging(self, *names: str) -> None:
        """Cars come and end up at full power."""
        await self.plug(*names)
        for _ in range(60):
            await self.pass_time(10, step=10.0)
            full = [(self.stub.limit_kw(name) or 0.0) > 10.0 and self.state(name) is APPLIED for name in names]
            if all(full):
                return
        raise AssertionError("never at full power")

    async def tighten(self, kw: float, number: int = 1) -> None:
        grid_event = event(f"e{number}", start=self.scene.clock.now(), max_kw=kw, minutes=240)
        await self.scene.services.signals.receive(GRID, message(grid_event, raw_id=f"raw-{number}"))

    async def is_in(self, state: DispatchState, name: str = "ch-1-0") -> None:
        await self.steps_until(lambda: self.state(name) is state, state.name)

    def sets(self, name: str = "ch-1-0") -> list[dict[str, Any]]:
        found = [body for action, body in self.charger(name).heard if action == "setChargingProfile"]
        return [body.get("chargingProfile") or body["csChargingProfiles"] for body in found]


@asynccontextmanager
async def citrine_scene(**settings: Any) -> AsyncIterator[CitrineScene]:
    """Four chargers of class A behind a stub."""
    scene = Scene()
    await scene.store.seed(TENANT, *rows(EnforcementClass.A))
    await scene.load()
    stub = CitrineStub(scene.clock, CHARGERS)
    port = free_port()
    listen = ListenSettings(port=port, public_url=f"http://127.0.0.1:{port}", allow_plain_on_loopback=True)
    listener = DoorListener(listen)
    http = PeerHttp(RULES, ClientTls(), max_bytes=1_000_000, timeout_s=2.0)

    def session_of(charger: str) -> str | None:
        view = scene.services.tracker.view(TENANT)
        found: str | None = view.session_ids[view.tree.charger_ids.index(charger)]
        return found

    async with serving(stub.app()) as url:
        callbacks = f"{listen.root_of(CSMS)}/citrineos"
        told = CitrineSettings(url=url, callback_url=callbacks, **settings)
        ports = Behind(scene).ports
        door = CitrineDoor(
            told, ports, http, scene.services.dispatcher, session_of, lease=LEASE, enforcement=EnforcementClass.A
        )
        listener.add(door.routes(path_of(CSMS)))
        async with running(listener.run, door.run):
            await until(lambda: listener.port is not None and door.standing().charger_count == 4, "the link")
            yield CitrineScene(scene, door, stub, callbacks)


@pytest.mark.parametrize("version", ["2.0.1", "1.6"])
def test_o30_a_station_whose_clock_is_behind_has_its_limit_at_once_and_the_lease_ends_when_it_should(
    version: str,
) -> None:
    now = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
    profile = Profile(purpose=Purpose.DEFAULT, level=2, limit_kw=11.0, start=now, end=now + LEASE)
    request = set_request(version, Station(identifier="CP", evse=1), profile, Supply())
    content = request.get("chargingProfile") or request["csChargingProfiles"]
    schedule = content["chargingSchedule"][0] if version == "2.0.1" else content["chargingSchedule"]
    begins = datetime.fromisoformat(schedule["startSchedule"])
    assert begins == now - timedelta(minutes=5)
    assert begins + timedelta(seconds=schedule["duration"]) == now + LEASE
    assert content["validTo"] == "2026-11-21T10:15:00Z"


async def test_o35_half_an_order_is_unknown_and_never_counts_as_refused() -> None:
    async with citrine_scene(ocpp="1.6", read_back=False) as citrine:
        await citrine.is_in(DispatchState.ACCEPTED)
        await citrine.plug("ch-1-0")  # under an id that is no number, as 1.6 has it
        order = Order(
            position=0,
            charger="ch-1-0",
            sequence=99,
            limit_kw=11.0,
            fallback_kw=0.0,
            lease_until=citrine.scene.clock.now() + LEASE,
            cause="test",
        )
        before = len(citrine.sets())
        row = next(one for one in citrine.scene.store.all(CsmsCommand, TENANT) if one.charger == "ch-1-0")
        verdict = await citrine.door.carry(order, row.handle)
        assert len(citrine.sets()) == before + 1, "the limit is in for the next car, not for this one"
        assert (verdict.word, verdict.reason) == (
            Word.UNKNOWN,
            "session.id: must be the transaction's number in OCPP 1.6",
        )
        assert verdict.handle == row.handle


@pytest.mark.parametrize("version", ["2.0.1", "1.6"])
async def test_o30_the_fallback_is_installed_first_and_everything_ends(version: str) -> None:
    async with citrine_scene(ocpp=version, read_back=version == "2.0.1") as citrine:
        await citrine.is_in(APPLIED if version == "2.0.1" else DispatchState.ACCEPTED)
        sent = citrine.sets()
        assert [(p["chargingProfilePurpose"], p["stackLevel"]) for p in sent] == [
            ("TxDefaultProfile", 1),
            ("TxDefaultProfile", 2),
        ]
        for profile in sent:
            assert "validFrom" not in profile
            schedule = profile["chargingSchedule"]
            schedule = schedule[0] if isinstance(schedule, list) else schedule
            assert schedule["duration"] > 0
            assert schedule["chargingRateUnit"] == "A"
            assert schedule["chargingSchedulePeriod"][0]["numberPhases"] == 3
        assert citrine.door.standing().is_connected


async def test_o34_a_running_transaction_has_a_profile_of_its_own() -> None:
    async with citrine_scene() as citrine:
        await citrine.charging("ch-1-0")
        await citrine.tighten(6.0)
        await citrine.steps_until(lambda: (citrine.stub.limit_kw("ch-1-0") or 99.0) <= 5.7, "the limit")
        newest = citrine.sets()[-2:]
        assert [p["chargingProfilePurpose"] for p in newest] == ["TxDefaultProfile", "TxProfile"]
        assert newest[1]["transactionId"] == "s-ch-1-0-1"


async def test_o36_a_limit_is_replaced_without_a_gap() -> None:
    async with citrine_scene() as citrine:
        await citrine.charging("ch-1-0")
        for number, kw in enumerate((10.0, 9.0, 8.0, 7.0, 6.0), start=1):
            sent = len(citrine.sets())
            await citrine.tighten(kw, number)
            await citrine.steps_until(lambda: len(citrine.sets()) == sent + 2, "another limit")  # noqa: B023  # awaited here
            await citrine.is_in(APPLIED)
        await citrine.pass_time(320, step=10.0)
        charger = citrine.charger()
        assert charger.uncovered == 0
        assert charger.unlived == 0, "never down to the fallback while a limit is replaced"
        await until(lambda: len({level for _, level in charger.profiles if level > 1}) == 1, "the older one cleared")
        assert len(charger.heard) > 8


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param("unsuccessful", "CitrineOS did not pass it on: scripted", id="o35-200-but-unsuccessful"),
        pytest.param("rejected", "the charger answered setChargingProfile: Rejected", id="o35-charger-refuses"),
    ],
)
async def test_o35_what_did_not_take_effect_counts_at_the_old_value(fault: str, reason: str) -> None:
    async with citrine_scene() as citrine:
        await citrine.charging("ch-1-0", "ch-2-0")
        before = citrine.counted_kw("ch-1-0")
        assert before > 9.0
        citrine.stub.faults.add(Fault(on="setChargingProfile", do=fault, times=1))
        await citrine.tighten(16.0)
        await citrine.steps_until(lambda: REJECTED in {citrine.state("ch-1-0"), citrine.state("ch-2-0")}, "a refusal")
        bad, good = ("ch-1-0", "ch-2-0") if citrine.state("ch-1-0") is REJECTED else ("ch-2-0", "ch-1-0")
        assert citrine.counted_kw(bad) == before
        row = next(r for r in citrine.scene.store.all(CsmsCommand, TENANT) if r.charger == bad)
        assert (row.outcome, row.detail) == (CommandOutcome.REJECTED, reason)
        await citrine.steps_until(
            lambda: before + (citrine.stub.limit_kw(good) or 0.0) <= 16.0, "the other one makes room"
        )
        await citrine.pass_time(35)
        await citrine.is_in(APPLIED, bad)


async def test_o37_a_charger_that_does_not_answer_is_unknown_after_thirty_seconds() -> None:
    async with citrine_scene() as citrine:
        await citrine.charging("ch-1-0")
        before = citrine.counted_kw("ch-1-0")
        citrine.stub.faults.add(Fault(on="setChargingProfile", do="silent", times=1))
        await citrine.tighten(6.0)
        heard = len(citrine.sets())
        await citrine.steps_until(lambda: len(citrine.sets()) > heard, "a request")
        citrine.scene.clock.move(seconds=31)
        await until(lambda: citrine.state("ch-1-0") is TIMED_OUT, "a time-out")
        assert citrine.counted_kw("ch-1-0") == before
        await citrine.pass_time(35)
        await citrine.is_in(APPLIED)
        assert citrine.charger().uncovered == 0


async def test_o44_a_charger_that_lost_everything_gets_everything_again() -> None:
    async with citrine_scene() as citrine:
        await citrine.charging("ch-1-0")
        citrine.stub.faults.add(Fault(on="clearChargingProfile", do="forget", times=1))
        await citrine.tighten(6.0)
        await citrine.is_in(REJECTED)
        await citrine.pass_time(35)
        await citrine.is_in(APPLIED)
        assert ("TxDefaultProfile", 1) in citrine.charger().profiles, "the fallback, too"


async def test_a_dead_platform_is_seen_and_unknown() -> None:
    async with citrine_scene() as citrine:
        await citrine.charging("ch-1-0")
        citrine.stub.faults.add(Fault(on="*", do="status", times=-1, status=503))
        await citrine.tighten(6.0)
        await citrine.is_in(TIMED_OUT)
        standing = citrine.door.standing()
        assert (standing.is_connected, standing.state, standing.reached_count) == (False, "does not answer", 0)
        assert standing.last_error == "CitrineOS answered 503"


async def test_what_is_installed_is_known_after_a_restart() -> None:
    async with citrine_scene() as citrine:
        await citrine.is_in(APPLIED)
        row = next(r for r in citrine.scene.store.all(CsmsCommand, TENANT) if r.charger == "ch-1-0")
        known = Installed.read(row.handle)
        assert (known.level, known.fallback_kw, known.transaction) == (2, 0.0, "")
        assert Installed.read(known.handle()) == known
        assert Installed.read("") == Installed()


async def test_strangers_learn_and_change_nothing() -> None:
    async with citrine_scene() as citrine:
        citrine.stub.faults.add(Fault(on="setChargingProfile", do="silent", times=-1))
        await citrine.step()
        async with aiohttp.ClientSession() as http:
            for token in ("guess", "a" * 43):
                async with http.post(f"{citrine.callbacks}/{token}", json={"status": "Accepted"}) as answer:
                    assert answer.status == 404
        assert citrine.state("ch-1-0") is not APPLIED


async def test_stations_have_names_of_their_own() -> None:
    places = {"ch-1-0": Station(identifier="ch-2-1", evse=2)}
    async with citrine_scene(stations=places, callback_patience=timedelta(seconds=5)) as citrine:
        await citrine.is_in(APPLIED)
        bodies = [body for _, body in citrine.charger("ch-2-1").heard]
        assert {body["evseId"] for body in bodies if "evseId" in body} == {1, 2}
