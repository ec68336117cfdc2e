"""Availability and participation over a real connection: declared once, by whom may, listed, withdrawn, and heeded."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest

from gateway.domain.programs import OptSchedule
from gateway.domain.signals import OptType
from gateway.services.declare_availability import REGISTRATION_TOPIC
from gateway.v1 import signals_service_pb2 as pb
from gateway.v1 import types_pb2
from tests.fakes.wired import OTHER, TENANT, Wired, wired
from tests.rpc.conftest import Caller
from tests.rpc.refusals import Refusal, refusal
from tests.web.partners_scene import PARTNER, vtn

WAIT = 5.0
HOUR = timedelta(hours=1)


@pytest.fixture
async def house() -> Wired:
    return await wired(vtn=(vtn(),))


async def refused(call: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return refusal(caught.value)


def span(start: datetime, hours: float = 1.0) -> types_pb2.TimeSpan:
    out = types_pb2.TimeSpan()
    out.start_time.FromDatetime(start)
    out.end_time.FromDatetime(start + hours * HOUR)
    return out


def order(house: Wired, request_id: str = "r-1", **changes: Any) -> pb.DeclareAvailabilityRequest:
    now = house.scene.clock.now()
    wanted: dict[str, Any] = {
        "request_id": request_id,
        "authority": PARTNER,
        "opt": pb.OPT_OUT,
        "reason": "mustRun",
        "program": "http://grid-demo.example/dr",
        "windows": [span(now + HOUR, 2.0), span(now + 25 * HOUR)],
        "resources": ["Depot A&B <1>", "R-1"],
        **changes,
    }
    return pb.DeclareAvailabilityRequest(**{name: value for name, value in wanted.items() if value is not None})


def rows(house: Wired) -> Sequence[OptSchedule]:
    return house.scene.store.all(OptSchedule, TENANT)


async def test_a37_two_windows_are_declared_once_listed_and_withdrawn(house: Wired, call: Caller) -> None:
    asked = order(house)
    async with call("olga") as gateway:
        said = (await gateway.signals.DeclareAvailability(asked, timeout=WAIT)).availability
        assert (await gateway.signals.DeclareAvailability(asked, timeout=WAIT)).availability == said, "same request"
        [row] = rows(house)
        assert (row.id, row.opt, row.market_context, row.reason) == (said.id, OptType.OPT_OUT, asked.program, "mustRun")
        assert (list(said.windows), list(said.resources)) == (list(asked.windows), ["Depot A&B <1>", "R-1"])
        assert (said.authority, said.opt, said.program, said.declared_by) == (
            PARTNER,
            pb.OPT_OUT,
            asked.program,
            "olga",
        )
        assert [name for name in ("withdraw_time", "tell_time") if said.HasField(name)] == []
        reused = await refused(gateway.signals.DeclareAvailability(order(house, reason="economic"), timeout=WAIT))
        assert reused.reason == "REQUEST_ID_REUSED"
        withdrawal = pb.WithdrawAvailabilityRequest(availability_id=said.id, request_id="r-2")
        gone = (await gateway.signals.WithdrawAvailability(withdrawal, timeout=WAIT)).availability
        assert gone.withdraw_time.ToDatetime(house.scene.clock.now().tzinfo) == house.scene.clock.now()
        assert (await gateway.signals.WithdrawAvailability(withdrawal, timeout=WAIT)).availability == gone
        withdrawal.request_id = "r-3"
        code = (await refused(gateway.signals.WithdrawAvailability(withdrawal, timeout=WAIT))).code
        assert code is grpc.StatusCode.FAILED_PRECONDITION


async def test_declarations_are_listed_newest_first_in_pages_without_words_on_events(
    house: Wired, call: Caller
) -> None:
    async with call("olga") as gateway:
        first = (await gateway.signals.DeclareAvailability(order(house), timeout=WAIT)).availability
        house.scene.clock.move(seconds=60)
        plain = order(house, "r-2", opt=pb.OPT_IN, reason="participating", program=None, resources=None)
        second = (await gateway.signals.DeclareAvailability(plain, timeout=WAIT)).availability
        assert (second.opt, second.program, list(second.resources)) == (pb.OPT_IN, "", [])
        word = OptSchedule(
            id=f"{PARTNER}:word",
            tenant=TENANT,
            authority=PARTNER,
            opt_id="word",
            opt=OptType.OPT_OUT,
            reason="economic",
            market_context="",
            windows=(),
            resources=(),
            created_by="olga",
            created_at=house.scene.clock.now(),
            event_id="E1",
        )
        await house.scene.store.seed(TENANT, word)
        page = types_pb2.PageRequest(page_size=1)
        listed = await gateway.signals.ListAvailability(pb.ListAvailabilityRequest(page=page), timeout=WAIT)
        assert list(listed.availabilities) == [second]
        page.page_token = listed.next_page_token
        listed = await gateway.signals.ListAvailability(pb.ListAvailabilityRequest(page=page), timeout=WAIT)
        assert (list(listed.availabilities), listed.next_page_token) == ([first], "")
        elsewhere = pb.ListAvailabilityRequest(authority="vtn:another")
        assert not (await gateway.signals.ListAvailability(elsewhere, timeout=WAIT)).availabilities


async def test_a_tenant_neither_sees_nor_touches_what_another_declared(house: Wired, call: Caller) -> None:
    async with call("olga") as gateway:
        said = (await gateway.signals.DeclareAvailability(order(house), timeout=WAIT)).availability
    withdrawal = pb.WithdrawAvailabilityRequest(availability_id=said.id, request_id="r-2")
    async with call("olga", OTHER) as stranger:
        assert not (await stranger.signals.ListAvailability(pb.ListAvailabilityRequest(), timeout=WAIT)).availabilities
        code = (await refused(stranger.signals.WithdrawAvailability(withdrawal, timeout=WAIT))).code
        assert code is grpc.StatusCode.NOT_FOUND
        seen = await refused(stranger.signals.DeclareAvailability(order(house), timeout=WAIT))
        assert seen.field == "authority", "it is no partner of theirs"
    async with call("aud") as auditor:
        code = (await refused(auditor.signals.DeclareAvailability(order(house), timeout=WAIT))).code
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert (await auditor.signals.ListAvailability(pb.ListAvailabilityRequest(), timeout=WAIT)).availabilities


AT = datetime(2030, 7, 1, 16, 0)  # noqa: DTZ001  # protobuf takes UTC without a zone
ENDLESS = span(AT)
ENDLESS.ClearField("end_time")
STARTLESS = span(AT)
STARTLESS.ClearField("start_time")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"request_id": ""}, "request_id"),
        ({"authority": ""}, "authority"),
        ({"authority": "vtn:nobody"}, "authority"),
        ({"opt": None}, "opt"),
        ({"opt": 7}, "opt"),
        ({"reason": ""}, "reason"),
        ({"reason": "because"}, "reason"),
        ({"program": "x" * 1025}, "program"),
        ({"windows": []}, "windows"),
        ({"windows": [span(AT)] * 101}, "windows"),
        ({"windows": [span(datetime(2001, 7, 1))]}, "windows"),  # noqa: DTZ001
        ({"windows": [span(AT), ENDLESS]}, "windows[1].end_time"),
        ({"windows": [STARTLESS]}, "windows[0].start_time"),
        ({"windows": [span(AT, 0.0)]}, "windows[0].end_time"),
        ({"windows": [span(AT, 1e-4)]}, "windows"),
        ({"resources": ["R"] * 101}, "resources"),
        ({"resources": ["R", ""]}, "resources[1]"),
    ],
    ids=range(17),
)
async def test_what_could_not_be_told_is_refused_by_the_field(
    house: Wired, call: Caller, changes: dict[str, Any], field: str
) -> None:
    async with call("olga") as gateway:
        seen = await refused(gateway.signals.DeclareAvailability(order(house, **changes), timeout=WAIT))
    assert (seen.code, seen.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert not rows(house)


async def test_leaving_and_joining_are_said_once_and_kept(house: Wired, call: Caller) -> None:
    leave = pb.SetParticipationRequest(request_id="r-1", authority=PARTNER, is_participating=False)
    join = pb.SetParticipationRequest(request_id="r-2", authority=PARTNER, is_participating=True)
    async with call("olga") as gateway:
        for asked in (leave, leave, join):
            answer = await gateway.signals.SetParticipation(asked, timeout=WAIT)
            assert (answer.authority, answer.is_participating) == (PARTNER, asked.is_participating)
        for wrong, field in (
            (pb.SetParticipationRequest(request_id="r-3", authority=PARTNER), "is_participating"),
            (pb.SetParticipationRequest(request_id="r-3", authority="vtn:nobody", is_participating=True), "authority"),
            (pb.SetParticipationRequest(authority=PARTNER, is_participating=True), "request_id"),
        ):
            seen = await refused(gateway.signals.SetParticipation(wrong, timeout=WAIT))
            assert (seen.code, seen.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    items = await house.scene.store.due_outbox(REGISTRATION_TOPIC, house.scene.clock.now())
    assert sorted(item.key for item in items) == [f"{PARTNER}:join", f"{PARTNER}:leave"]
    async with call("tara") as trader:
        code = (await refused(trader.signals.SetParticipation(leave, timeout=WAIT))).code
        assert code is grpc.StatusCode.PERMISSION_DENIED
