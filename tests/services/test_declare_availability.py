"""A person's word about availability becomes a row that a grid-protocol room finds, once, and only from who may say it."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.errors import InvalidInput, NotFound, PermissionRefused, PreconditionFailed, RequestReused
from gateway.domain.identity import Principal, Role
from gateway.domain.programs import OptSchedule
from gateway.domain.signals import OptType
from gateway.domain.timegrid import Interval
from gateway.openadr.v20b import registration
from gateway.services.declare_availability import REGISTRATION_TOPIC, AvailabilityDesk
from tests.fakes.clock import START, HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore

TENANT, VTN = "demo", "vtn:grid"
OPERATOR = Principal(tenant=TENANT, actor="olga", roles=frozenset({Role.OPERATOR}))
AUDITOR = Principal(tenant=TENANT, actor="aud", roles=frozenset({Role.AUDITOR}))
STRANGER = Principal(tenant="other", actor="eve", roles=frozenset({Role.OPERATOR}))
WINDOW = Interval(start=START + timedelta(hours=2), end=START + timedelta(hours=4))


class Scene:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.store = MemoryStore(self.clock)
        partners = {TENANT: [VTN], "other": ["vtn:theirs"]}
        self.desk = AvailabilityDesk(store=self.store, clock=self.clock, ids=CountingIds(), partners=partners)

    async def declare(self, who: Principal = OPERATOR, **changes: Any) -> OptSchedule:
        wanted: dict[str, Any] = {
            "authority": VTN,
            "opt": OptType.OPT_OUT,
            "reason": "x-schedule",
            "windows": [WINDOW],
            "request_id": "r-1",
            **changes,
        }
        return await self.desk.declare(who, **wanted)


async def test_a_declaration_is_a_row_that_is_to_be_told() -> None:
    scene = Scene()
    said = await scene.declare(resources=["Depot A&B <1>"], market_context="http://m.example")
    (row,) = scene.store.all(OptSchedule, TENANT)
    assert row == said
    assert (row.authority, row.id, row.created_by, row.is_settled) == (VTN, f"{VTN}:{row.opt_id}", "olga", False)
    assert await scene.desk.schedules(AUDITOR) == [row]
    assert await scene.desk.schedules(STRANGER) == []
    entries = await scene.store.audit_of(TENANT, "schedule", row.id)
    assert [one.entry.action for one in entries] == ["availability.declare"]


async def test_the_same_request_twice_is_one_declaration() -> None:
    scene = Scene()
    assert await scene.declare() == await scene.declare()
    assert len(scene.store.all(OptSchedule, TENANT)) == 1
    with pytest.raises(RequestReused):
        await scene.declare(reason="economic")
    scene.clock.move(hours=5)
    assert (await scene.declare()).windows == (WINDOW,), "asked again when all is over"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reason": "because"}, "reason"),
        ({"windows": []}, "windows"),
        ({"windows": [WINDOW] * 101}, "windows"),
        ({"windows": [Interval(start=START, end=None)]}, "windows"),
        ({"windows": [Interval(start=START - timedelta(hours=2), end=START)]}, "windows"),
        ({"windows": [Interval(start=START + timedelta(seconds=1.5), end=START + timedelta(hours=1))]}, "windows"),
        ({"windows": [Interval(start=START, end=START + timedelta(seconds=1.5))]}, "windows"),
        ({"request_id": ""}, "request_id"),
        ({"authority": "vtn:theirs"}, "authority"),
    ],
    ids=range(9),
)
async def test_what_a_partner_could_not_be_told_is_refused(changes: dict[str, Any], field: str) -> None:
    scene = Scene()
    with pytest.raises(InvalidInput) as caught:
        await scene.declare(**changes)
    assert caught.value.field == field
    assert not scene.store.all(OptSchedule, TENANT)


async def test_a_withdrawal_is_to_be_told_too() -> None:
    scene = Scene()
    said = await scene.declare()
    scene.clock.move(seconds=60)
    gone = await scene.desk.withdraw(OPERATOR, schedule_id=said.id, request_id="r-2")
    assert gone == await scene.desk.withdraw(OPERATOR, schedule_id=said.id, request_id="r-2")
    assert (gone.cancelled_at, gone.is_settled) == (scene.clock.now(), False)
    with pytest.raises(PreconditionFailed):
        await scene.desk.withdraw(OPERATOR, schedule_id=said.id, request_id="r-3")
    with pytest.raises(NotFound):
        await scene.desk.withdraw(STRANGER, schedule_id=said.id, request_id="r-4")


async def test_leaving_and_joining_are_wishes_in_the_outbox_that_the_room_understands() -> None:
    scene = Scene()
    await scene.desk.take_part(OPERATOR, authority=VTN, is_wanted=False, request_id="r-1")
    await scene.desk.take_part(OPERATOR, authority=VTN, is_wanted=False, request_id="r-1")
    scene.clock.move(seconds=1)
    await scene.desk.take_part(OPERATOR, authority=VTN, is_wanted=True, request_id="r-2")
    items = await scene.store.due_outbox(registration.REGISTRATION_TOPIC, scene.clock.now())
    assert [item.key for item in items] == [f"{VTN}:{wish}" for wish in registration.Wish]
    assert REGISTRATION_TOPIC == registration.REGISTRATION_TOPIC


async def test_nobody_leaves_a_partner_of_others() -> None:
    scene = Scene()
    with pytest.raises(InvalidInput) as caught:
        await scene.desk.take_part(OPERATOR, authority="vtn:theirs", is_wanted=False, request_id="r-1")
    assert caught.value.field == "authority"


async def test_only_operators_speak_for_us() -> None:
    scene = Scene()
    with pytest.raises(PermissionRefused):
        await scene.declare(AUDITOR)
    with pytest.raises(PermissionRefused):
        await scene.desk.withdraw(AUDITOR, schedule_id="x", request_id="r")
    with pytest.raises(PermissionRefused):
        await scene.desk.take_part(AUDITOR, authority=VTN, is_wanted=False, request_id="r")
