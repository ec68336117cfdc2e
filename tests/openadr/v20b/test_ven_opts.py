"""EiOpt: what somebody decides reaches the VTN once, through refusals, outages, changes of mind and restarts."""

import asyncio
from collections import deque
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.programs import OptSchedule
from gateway.domain.signals import GridEvent, OptType
from gateway.domain.timegrid import Interval
from gateway.openadr.v20b.settings import LaterWord, ReportPoint
from gateway.ports import Batch, OutboxItem, Put
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import NS, Bench, virtually
from tests.openadr.virtual_life import AUTHORITY, START, TENANT

HOUR = timedelta(hours=1)


def schedule(opt_id: str = "opt-1", **changes: Any) -> OptSchedule:
    wanted: dict[str, Any] = {
        "id": f"{AUTHORITY}:{opt_id}",
        "tenant": TENANT,
        "authority": AUTHORITY,
        "opt_id": opt_id,
        "opt": OptType.OPT_OUT,
        "reason": "x-schedule",
        "market_context": messages.CONTEXT,
        "windows": (
            Interval(start=START + 2 * HOUR, end=START + 4 * HOUR),
            Interval(start=START + 26 * HOUR, end=START + 27 * HOUR),
        ),
        "resources": ("Depot A&B <1>", "R-1"),
        "created_by": "account:olga",
        "created_at": START,
        **changes,
    }
    return OptSchedule(**wanted)


def row(bench: Bench, opt_id: str = "opt-1") -> OptSchedule:
    return next(one for one in bench.store.all(OptSchedule, TENANT) if one.opt_id == opt_id)


async def cancel(bench: Bench, opt_id: str = "opt-1") -> None:
    await bench.store.seed(TENANT, row(bench, opt_id).cancel(bench.clock.now()))


def test_a37_a_schedule_with_two_windows_is_told_and_withdrawn_and_survives_restarts() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.store.seed(TENANT, schedule())
        await bench.run(seconds=25)
        assert row(bench).told_at is not None
        await bench.run(seconds=45)
        assert len(bench.vtn.all("CreateOpt")) == 1, "told once, also after a restart"
        await cancel(bench)
        await bench.run(seconds=25)
        await bench.run(seconds=25)

    bench = virtually(scenario)
    (said,) = bench.vtn.all("CreateOpt")
    assert said.service == "EiOpt"
    assert [said.text(f"//ei:{name}") for name in ("optID", "optType", "optReason", "venID")] == [
        "opt-1",
        "optOut",
        "x-schedule",
        "ven-1",
    ]
    assert said.texts("//xcal:available//xcal:date-time") == ["2025-10-15T10:00:00Z", "2025-10-16T10:00:00Z"]
    assert said.texts("//xcal:available//xcal:duration/xcal:duration") == ["PT2H", "PT1H"]
    assert said.texts("//ei:eiTarget/ei:resourceID") == ["Depot A&B <1>", "R-1"]
    assert said.root.xpath("string(//*[local-name()='marketContext'])") == messages.CONTEXT
    (gone,) = bench.vtn.all("CancelOpt")
    assert (gone.text("//ei:optID"), gone.text("//ei:venID")) == ("opt-1", "ven-1")
    assert row(bench).is_settled


def test_a38_a_resource_with_awkward_characters_is_well_formed_everywhere() -> None:
    name = "Depot A&B <1>"

    async def scenario(bench: Bench) -> None:
        await bench.store.seed(TENANT, schedule(resources=(name,)))
        await bench.play((5, lambda: bench.vtn.queue.append(messages.distribute_event(event_for(name)))), seconds=25)
        assert bench.store.all(GridEvent, TENANT)[0].nodes == ("site-01",)

    point = ReportPoint(r_id="depot-power", node="site-01", resource_id=name)
    bench = virtually(scenario, nodes={name: "site-01"}, report_points=(point,))
    assert bench.vtn.all("CreateOpt")[0].texts("//ei:eiTarget/ei:resourceID") == [name]
    assert bench.vtn.all("CreatePartyRegistration")[0].text("//oadr:oadrVenName") == name
    assert name in bench.vtn.all("RegisterReport")[0].texts("//ei:resourceID")
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")]


def event_for(resource: str) -> str:
    return messages.event("E1", targets=messages.target("resourceID", resource))


def test_a_schedule_for_the_whole_ven_names_the_ven() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.store.seed(TENANT, schedule(resources=(), market_context="", opt=OptType.OPT_IN))
        await bench.run(seconds=15)

    (said,) = virtually(scenario).vtn.all("CreateOpt")
    assert said.texts("//ei:eiTarget/ei:venID") == ["ven-1"]
    assert not said.root.xpath("//*[local-name()='marketContext']")


@pytest.mark.parametrize(
    "trouble",
    [b"", b"<html>", messages.oadr_response(200), messages.created_opt("opt-9"), messages.created_opt("opt-1", 500)],
    ids=["nothing", "html", "another-kind", "another-opt", "500"],
)
def test_it_is_told_until_it_is_acknowledged_and_holds_up_nothing(trouble: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.once["CreateOpt"] = deque([trouble] * 2)
        await bench.store.seed(TENANT, schedule(), schedule("opt-2"))
        await bench.run(seconds=75)
        assert row(bench).told_at is not None
        assert row(bench, "opt-2").told_at is not None

    bench = virtually(scenario)
    said = [one.text("//ei:optID") for one in bench.vtn.all("CreateOpt")]
    assert said.count("opt-1") + said.count("opt-2") == 4
    assert [round((one.at - START).total_seconds()) for one in bench.vtn.all("Poll")] == [10, 20, 30, 40, 50, 60, 70]


def test_a_vtn_without_the_service_is_asked_ever_more_rarely() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["CreateOpt"] = lambda _: b"<html>404"
        await bench.store.seed(TENANT, schedule())
        ven = await bench.play(seconds=3600)
        assert ven.health().failures == 0

    bench = virtually(scenario)
    assert 8 <= len(bench.vtn.all("CreateOpt")) <= 20
    assert len(bench.vtn.all("Poll")) == 359


@pytest.mark.parametrize("code", [451, 454, 459])
def test_a_refusal_is_kept_and_not_argued_with(code: int) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["CreateOpt"] = lambda _: messages.created_opt("opt-1", code)
        await bench.store.seed(TENANT, schedule())
        await bench.run(seconds=300)
        assert row(bench).refusal == f"the VTN answered {code}"
        assert row(bench).told_at is None
        await cancel(bench)
        await bench.run(seconds=30)

    bench = virtually(scenario)
    assert len(bench.vtn.all("CreateOpt")) == 1
    assert len(bench.vtn.all("CancelOpt")) == 1


def test_what_cannot_be_said_harms_nothing_else() -> None:
    async def scenario(bench: Bench) -> None:
        fraction = Interval(start=START + HOUR, end=START + HOUR + timedelta(seconds=1.5))
        await bench.store.seed(
            TENANT,
            schedule("opt-1", reason="because"),
            schedule("opt-2", windows=(fraction,)),
            schedule("opt-3", resources=("bell\x07",)),
            schedule("opt-4"),
        )
        await bench.run(seconds=25)
        assert [row(bench, f"opt-{n}").refusal.split(":")[0] for n in (1, 2, 3)] == ["cannot be said"] * 3
        assert row(bench, "opt-4").told_at is not None

    assert len(virtually(scenario).vtn.all("CreateOpt")) == 1


def test_what_is_over_is_not_told() -> None:
    async def scenario(bench: Bench) -> None:
        past = Interval(start=START - 2 * HOUR, end=START - HOUR)
        await bench.store.seed(TENANT, schedule("opt-1", windows=(past,)), schedule("opt-2", windows=(), event_id="E9"))
        await bench.run(seconds=25)
        assert {one.refusal for one in bench.store.all(OptSchedule, TENANT)} == {"was over before it could be told"}

    assert not virtually(scenario).vtn.all("CreateOpt")


def test_a_change_of_mind_while_the_vtn_is_told_is_not_lost() -> None:
    async def scenario(bench: Bench) -> None:
        def change(_: object) -> bytes:
            del bench.vtn.script["CreateOpt"]
            asyncio.get_running_loop().create_task(cancel(bench))
            return messages.created_opt("opt-1")

        plain = bench.vtn.post

        async def slow(service: Any, body: bytes) -> bytes:
            answer = await plain(service, body)
            await asyncio.sleep(0.1)
            return answer

        bench.vtn.post = slow  # type: ignore[method-assign]
        bench.vtn.script["CreateOpt"] = change
        await bench.store.seed(TENANT, schedule())
        await bench.run(seconds=60)
        assert row(bench).cancelled_at is not None
        assert row(bench).is_settled

    bench = virtually(scenario)
    assert (len(bench.vtn.all("CreateOpt")), len(bench.vtn.all("CancelOpt"))) == (1, 1)


@pytest.mark.parametrize(("code", "tries"), [(452, 1), (453, 1), (500, 2)])
def test_a_withdrawal_that_the_vtn_knows_nothing_of_is_done(code: int, tries: int) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.once["CancelOpt"] = deque([messages.canceled_opt("opt-1", code)])
        await bench.store.seed(TENANT, schedule().cancel(START))
        await bench.run(seconds=60)
        assert row(bench).told_at is not None

    bench = virtually(scenario)
    assert len(bench.vtn.all("CancelOpt")) == tries
    assert not bench.vtn.all("CreateOpt")


def test_a_vtn_that_forgot_us_is_told_everything_again() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.store.seed(TENANT, schedule(), schedule("opt-2"))
        await bench.run(seconds=15)
        await cancel(bench, "opt-2")
        await bench.run(seconds=15)
        registered = messages.created_registration(registration_id="reg-2", ven_id="ven-2")
        bench.vtn.script["CreatePartyRegistration"] = lambda _: registered
        bench.vtn.queue.append(messages.cancel_registration())
        await bench.run(minutes=30)

    bench = virtually(scenario)
    said = [(one.text("//ei:optID"), one.text("//ei:venID")) for one in bench.vtn.all("CreateOpt")]
    assert said == [("opt-1", "ven-1"), ("opt-2", "ven-1"), ("opt-1", "ven-2")]


def test_a_disk_that_is_full_does_not_make_it_tell_twice() -> None:
    async def scenario(bench: Bench) -> None:
        def fill(_: object) -> bytes:
            bench.store.is_down = True
            del bench.vtn.script["CreateOpt"]
            return messages.created_opt("opt-1")

        def free() -> None:
            bench.store.is_down = False

        bench.vtn.script["CreateOpt"] = fill
        await bench.store.seed(TENANT, schedule())
        await bench.play((40, free), seconds=120)
        assert row(bench).told_at is not None

    assert len(virtually(scenario).vtn.all("CreateOpt")) == 1


async def decides(bench: Bench) -> None:
    stored = await bench.store.get(GridEvent, TENANT, f"{AUTHORITY}:E&1")
    assert stored is not None
    event = replace(stored.record, opt=OptType.OPT_OUT, opt_reason="buses must leave", opt_by="account:olga")
    item = OutboxItem(
        id="opt:r1",
        tenant=TENANT,
        topic="openadr-opt",
        key=event.id,
        due_at=bench.clock.now(),
        expires_at=event.active.end,
    )
    await bench.store.apply(Batch(tenant=TENANT, puts=(Put(record=event),), outbox=(item,)))


@pytest.mark.parametrize("way", LaterWord, ids=str)
def test_a_persons_later_word_on_an_event_is_told_as_the_vtn_wants_it(way: LaterWord) -> None:
    async def scenario(bench: Bench) -> None:
        told = messages.distribute_event(messages.event("E&1", modification=3))
        await bench.play((5, lambda: bench.vtn.queue.append(told)), seconds=15)
        await decides(bench)
        await bench.run(seconds=25)
        await bench.run(seconds=25)

    bench = virtually(scenario, later_word=way)
    if way is LaterWord.CREATED_EVENT:
        assert not bench.vtn.all("CreateOpt")
        assert bench.vtn.opts().count(("E&1", 3, "200", "optOut")) == 1
        return
    (said,) = bench.vtn.all("CreateOpt")
    assert said.root.xpath("string(//ei:qualifiedEventID/ei:eventID)", namespaces=NS) == "E&1"
    assert (said.text("//ei:modificationNumber"), said.text("//ei:optType")) == ("3", "optOut")
    assert (said.text("//ei:optReason"), said.texts("//xcal:available")) == ("notParticipating", [])
    assert bench.store.all(OptSchedule, TENANT)[0].created_by == "account:olga"
    assert ("E&1", 3, "200", "optOut") not in bench.vtn.opts()


def test_a_word_is_told_between_rare_polls() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.poll_interval = "PT6H"
        await bench.run(seconds=60)
        await bench.store.seed(TENANT, schedule())
        await bench.play(seconds=20)

    bench = virtually(scenario)
    assert len(bench.vtn.all("CreateOpt")) == 1
    assert not bench.vtn.all("Poll")
