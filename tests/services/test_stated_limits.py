"""Limits that authorities state directly: one batch, the newest word, silence, and a store that fails."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from gateway.domain.authorities import AuthorityStanding, StatedRules
from gateway.domain.errors import Conflict, InvalidInput, NotFound, PermissionRefused, StorageUnavailable
from gateway.domain.evidence import AuditEntry
from gateway.domain.limits import Binding, Direction, Limit, LimitKind, PhasePowers
from gateway.domain.signals import RawSignal
from gateway.domain.timegrid import Interval
from gateway.domain.topology import CapacityGroup
from gateway.ports import Put, StatedLimits
from gateway.services.gather_signals import ProgramRules, scribe
from tests.fakes.clock import START
from tests.services.scene import GRID, OPERATOR, PLATFORM, SETTINGS, TENANT, Scene, event, message

DSO = "oscp:dso-1"


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def limit(  # what a limit says
    limit_id: str,
    max_kw: float,
    start: float = 0.0,
    end: float | None = 60.0,
    *,
    kind: LimitKind = LimitKind.LIMIT,
    direction: Direction = Direction.IMPORT,
    node: str = "site-1",
    phases: PhasePowers | None = None,
    authority: str = DSO,
) -> Limit:
    return Limit(
        id=limit_id,
        tenant=TENANT,
        authority=authority,
        node=node,
        direction=direction,
        kind=kind,
        binding=Binding.MANDATORY,
        max_kw=max_kw,
        interval=Interval(start=at(start), end=None if end is None else at(end)),
        cause="signal:raw-1",
        known_at=START,
        phase_max_kw=phases,
    )


def said(*limits: Limit, withdrawn: tuple[str, ...] = (), authority: str = DSO) -> StatedLimits:
    return StatedLimits(authority=authority, raw=None, limits=limits, withdrawn=withdrawn)


async def loaded(**options: object) -> Scene:
    scene = Scene(**options)  # type: ignore[arg-type]
    await scene.start(cars=0)
    scene.clock.set(START + timedelta(minutes=5))
    return scene


async def value(scene: Scene, minute: float, node: str = "site-1") -> float:
    return (await scene.services.signals.resolve(GRID, node, at(minute))).kw


async def test_everything_an_authority_says_is_one_batch_with_the_rows_of_its_room() -> None:
    scene = await loaded()
    raw = RawSignal(
        id="raw-1",
        tenant=TENANT,
        authority=DSO,
        protocol="oscp-2.0",
        received_at=START,
        sha256="0" * 64,
        body=b"{}",
    )
    own = CapacityGroup(id=f"{DSO}:g", tenant=TENANT, authority=DSO, name="g", node="site-1")
    entry = AuditEntry(
        id="audit-own",
        tenant=TENANT,
        at=START,
        actor="oscp",
        action="oscp.register",
        object_kind="link",
        object_id=DSO,
        causes=(),
        detail={},
    )
    before = len(scene.store.applied)
    stated = StatedLimits(authority=DSO, raw=raw, limits=(limit("l1", 50.0),), puts=(Put(record=own),), audit=(entry,))
    await scene.services.signals.state_limits(GRID, stated)
    (batch,) = scene.store.applied[before:]
    assert [type(put.record).__name__ for put in batch.puts] == [
        "CapacityGroup",
        "RawSignal",
        "AuthorityStanding",
        "Limit",
    ]
    assert [each.action for each in batch.audit] == ["oscp.register", "limit.set"]
    assert batch.puts[-1].record.known_at == scene.clock.now(), "known when it was on disk, whatever the room said"
    assert [x.id for x in scene.services.signals.stated_by(TENANT, DSO)] == ["l1"]


async def test_the_newest_word_replaces_the_time_it_covers_and_the_rest_stays() -> None:
    scene = await loaded()
    desk = scene.services.signals
    await desk.state_limits(GRID, said(limit("l1", 50.0, 0, 120)))
    await desk.state_limits(GRID, said(limit("l2", 20.0, 30, 60)))
    assert [await value(scene, minute) for minute in (10, 29.9, 30, 59.9, 60, 119.9)] == [50, 50, 20, 20, 50, 50]
    await scene.restart()
    assert [await value(scene, minute) for minute in (10, 29.9, 30, 59.9, 60, 119.9)] == [50, 50, 20, 20, 50, 50]


async def test_a_withdrawn_limit_goes_with_what_overlaps_left_of_it() -> None:
    scene = await loaded()
    desk = scene.services.signals
    await desk.state_limits(GRID, said(limit("l1", 50.0, 0, 120, authority="lpc:box"), authority="lpc:box"))
    await desk.state_limits(GRID, said(limit("l2", 20.0, 30, 60, authority="lpc:box"), authority="lpc:box"))
    await desk.state_limits(GRID, said(withdrawn=("l1",), authority="lpc:box"))
    assert [await value(scene, minute) for minute in (10, 30, 60)] == [80, 20, 80]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"kind": LimitKind.FALLBACK}, id="kind"),
        pytest.param({"direction": Direction.EXPORT}, id="direction"),
        pytest.param({"node": "site-2"}, id="node"),
        pytest.param({"phases": (10.0, None, None)}, id="phases"),
    ],
)
async def test_a_word_about_something_else_replaces_nothing(other: dict[str, object]) -> None:
    scene = await loaded()
    await scene.services.signals.state_limits(GRID, said(limit("l1", 50.0)))
    await scene.services.signals.state_limits(GRID, said(limit("l2", 60.0, **other)))  # type: ignore[arg-type]
    assert {x.id for x in scene.services.signals.stated_by(TENANT, DSO)} == {"l1", "l2"}
    assert await value(scene, 10) == 50.0


async def test_a_limit_of_somebody_else_or_at_no_node_of_ours_is_refused_whole() -> None:
    scene = await loaded()
    desk = scene.services.signals
    for bad, field in (
        (limit("l2", 1.0, authority="oscp:other"), "limit.authority"),
        (replace(limit("l2", 1.0), tenant="other"), "limit.tenant"),
        (limit("l2", 1.0, node="nowhere"), "limit.node"),
    ):
        with pytest.raises(InvalidInput) as caught:
            await desk.state_limits(GRID, said(limit("l1", 50.0), bad))
        assert caught.value.field == field
    assert not desk.stated_by(TENANT, DSO)
    with pytest.raises(PermissionRefused):
        await desk.state_limits(PLATFORM, said(limit("l1", 50.0)))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"max_kw": 50_000.0}, "limit.max_kw", id="g11-watts-for-kilowatts"),
        pytest.param({"phase_max_kw": (None, 16_000.0, None)}, "limit.phase_max_kw", id="g11-watts-on-a-phase"),
    ],
)
async def test_g11_a_slip_of_units_is_refused_by_the_collar_and_what_was_said_before_stays(
    changes: dict[str, object], field: str
) -> None:
    scene = await loaded()
    desk = scene.services.signals
    await desk.state_limits(GRID, said(limit("l1", 50.0)))
    with pytest.raises(InvalidInput) as caught:
        await desk.state_limits(GRID, said(replace(limit("l2", 50.0), **changes)))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert await value(scene, 10) == 50.0
    await desk.state_limits(GRID, said(limit("l3", 800.0)))
    assert (await desk.resolve(GRID, "site-1", None)).authority == "rating", "above the connection is no slip of units"


async def test_g11_the_collar_is_set_by_authority() -> None:
    scene = await loaded(stated={"oscp": StatedRules(most_times_rating=None)})
    await scene.services.signals.state_limits(GRID, said(limit("l1", 50_000.0)))
    assert await value(scene, 10) == 80.0
    with pytest.raises(InvalidInput, match="must be at least 1"):
        StatedRules(most_times_rating=0.5)


async def test_g11_an_event_with_a_slip_of_units_is_refused_alone() -> None:
    scene = await loaded()
    slip, good = event("slip", max_kw=50_000.0), event("good", max_kw=40.0)
    answers = await scene.services.signals.receive(GRID, message(slip, good))
    assert [(a.opt.value, "over 100 times the rating" in a.description) for a in answers] == [
        ("optOut", True),
        ("optIn", False),
    ]
    assert {e.event_id for e in await scene.services.signals.events(GRID)} == {"good"}


async def test_manual_limits_have_one_door_in_which_they_always_expire() -> None:
    scene = await loaded()
    desk, now = scene.services.signals, scene.clock.now()
    manual = limit("m1", 5.0, authority="manual:olga")
    with pytest.raises(InvalidInput, match="has a door of its own"):
        await desk.state_limits(GRID, said(manual, authority="manual:olga"))
    with pytest.raises(InvalidInput, match="must expire"):
        limit("m1", 5.0, end=None, authority="manual:olga")
    for end in (now, now - timedelta(minutes=1), now + timedelta(days=8)):
        with pytest.raises(InvalidInput) as caught:
            await desk.set_manual_limit(
                OPERATOR, node_id="site-1", max_kw=5.0, start=None, end=end, reason="x", request_id="r"
            )
        assert caught.value.field == "expire_time"
    assert not scene.store.all(Limit, TENANT)


async def test_a_reduction_acts_from_memory_when_the_store_fails_and_nothing_opens() -> None:
    scene = await loaded()
    desk = scene.services.signals
    await desk.state_limits(GRID, said(limit("f1", 10.0, kind=LimitKind.FALLBACK)))
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await desk.state_limits(GRID, said(limit("l1", 50.0)))
    assert await value(scene, 10) == 10.0, "what is not on disk opens nothing, not even from a fallback to a limit"
    with pytest.raises(StorageUnavailable):
        await desk.state_limits(GRID, said(limit("l2", 5.0)))
    assert await value(scene, 10) == 5.0
    scene.store.is_down = False
    await desk.state_limits(GRID, said(limit("l3", 40.0)))
    assert await value(scene, 10) == 40.0, "said again and on disk: it counts"


async def test_o19_a_lost_authority_without_fallback_is_fail_safe_also_after_a_restart() -> None:
    scene = await loaded()
    desk = scene.services.signals
    await desk.contact(GRID, "lpc:box", is_lost=False)
    await desk.state_limits(GRID, said(limit("l1", 50.0, 0, 20, authority="lpc:box"), authority="lpc:box"))
    await desk.contact(GRID, "lpc:box", is_lost=True)
    assert [await value(scene, minute) for minute in (10, 20)] == [50.0, 20.0], "its last limit runs to its end"
    scene.clock.set(at(3 * 24 * 60))
    await scene.restart()
    assert await value(scene, 3 * 24 * 60) == 20.0, "its limits are long forgotten, who is lost is not"
    await scene.services.signals.contact(GRID, "lpc:box", is_lost=False)
    assert await value(scene, 3 * 24 * 60) == 80.0
    assert [x.is_lost for x in scene.store.all(AuthorityStanding, TENANT)] == [False]


async def test_o18_a_lost_capacity_provider_falls_back_within_a_second_and_comes_back_with_its_block() -> None:
    scene = Scene(settings=replace(SETTINGS, lead=timedelta(0)))
    platform = await scene.start()
    desk = scene.services.signals
    now = scene.clock.now()
    whole = Interval(start=now, end=now + timedelta(days=1))
    block, low = (replace(limit(name, kw), interval=whole) for name, kw in (("l1", 50.0), ("f1", 20.0)))
    await desk.contact(GRID, DSO, is_lost=False)
    await desk.state_limits(GRID, said(block, replace(low, kind=LimitKind.FALLBACK)))
    await scene.pass_time(60)
    assert 35.0 < platform.total("ch-1") <= 47.5
    await desk.contact(GRID, DSO, is_lost=True)
    await scene.turn()
    assert sum(kw for name, kw in scene.limits().items() if name.startswith("ch-1")) <= 19.0 + 1e-6
    await desk.contact(GRID, DSO, is_lost=False)
    await scene.pass_time(600)
    assert 35.0 < platform.total("ch-1") <= 47.5


async def test_o20_a_gap_acts_is_written_down_once_and_survives_the_end_of_everything_said() -> None:
    scene = await loaded()
    desk = scene.services.signals
    await desk.contact(GRID, DSO, is_lost=False)
    await desk.state_limits(GRID, said(limit("l1", 50.0, 0, 10), limit("l2", 60.0, 20, 30)))
    await desk.keep_up(TENANT)
    seen = []
    for minute in (12, 13, 22, 40, 41, 3 * 24 * 60):
        scene.clock.set(at(minute))
        await desk.keep_up(TENANT)
        seen.append((await desk.resolve(GRID, "site-1", None)).kw)
    assert seen == [20.0, 20.0, 60.0, 20.0, 20.0, 20.0]
    texts = [entry.detail["why"] for entry in _audit(scene, "limit.binds")]
    assert texts == [
        "50.0 kW at site-1 by order of oscp:dso-1 until 2025-10-15 08:10Z",
        "20.0 kW at site-1 by its fail-safe of oscp:dso-1 (it says nothing for this time) until 2025-10-15 08:20Z",
        "60.0 kW at site-1 by order of oscp:dso-1 until 2025-10-15 08:30Z",
        "20.0 kW at site-1 by its fail-safe of oscp:dso-1 (it says nothing for this time) until further notice",
    ]
    await scene.restart()
    assert await value(scene, 3 * 24 * 60) == 20.0, "nothing that it said is remembered, that it must speak is"


async def test_o20_g12_a_capacity_group_without_a_word_is_fail_safe_from_the_moment_it_is_known() -> None:
    scene = await loaded()
    group = CapacityGroup(id=f"{DSO}:g", tenant=TENANT, authority=DSO, name="g", node="site-2")
    await scene.store.seed(TENANT, group)
    await scene.services.signals.keep_up(TENANT)
    assert await value(scene, 5, "site-2") == 20.0
    assert (
        await scene.services.signals.resolve(GRID, "site-2", None, direction=Direction.EXPORT)
    ).authority == "rating"


async def test_a_person_ends_the_say_of_an_authority_until_it_speaks_again() -> None:
    scene = await loaded()
    desk = scene.services.signals
    await scene.store.seed(TENANT, CapacityGroup(id=f"{DSO}:g", tenant=TENANT, authority=DSO, name="g", node="site-2"))
    await desk.contact(GRID, DSO, is_lost=False)
    await desk.state_limits(GRID, said(limit("l1", 50.0, 0, 600)))
    await desk.contact(GRID, DSO, is_lost=True)
    await desk.keep_up(TENANT)
    assert [await value(scene, 5, node) for node in ("site-1", "site-2")] == [20.0, 20.0]
    for _ in range(2):
        await desk.release_authority(OPERATOR, authority=DSO, reason="the contract ended", request_id="r")
    assert [await value(scene, 5, node) for node in ("site-1", "site-2")] == [80.0, 80.0]
    assert len(_audit(scene, "authority.release")) == 1
    await scene.restart()
    desk = scene.services.signals
    assert [await value(scene, 5, node) for node in ("site-1", "site-2")] == [80.0, 80.0]
    await desk.state_limits(GRID, said(limit("l2", 60.0, 0, 10)))
    assert [await value(scene, minute) for minute in (5, 10)] == [20.0, 20.0], (
        "still lost: its word alone is no contact"
    )
    await desk.contact(GRID, DSO, is_lost=False)
    assert [await value(scene, minute) for minute in (5, 10)] == [60.0, 20.0]
    with pytest.raises(NotFound):
        await desk.release_authority(OPERATOR, authority="oscp:nobody", reason="x", request_id="r2")
    with pytest.raises(PermissionRefused):
        await desk.release_authority(PLATFORM, authority=DSO, reason="x", request_id="r3")


async def test_a_loss_that_could_not_be_written_acts_and_is_written_when_the_store_is_back() -> None:
    scene = await loaded()
    desk = scene.services.signals
    await desk.contact(GRID, DSO, is_lost=False)
    await desk.state_limits(GRID, said(limit("l1", 50.0, 0, 20)))
    scene.store.is_down = True
    await desk.contact(GRID, DSO, is_lost=True)
    assert DSO in desk.lost
    scene.store.is_down = False
    await desk.keep_up(TENANT)
    await scene.restart()
    assert DSO in scene.services.signals.lost
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await scene.services.signals.contact(GRID, DSO, is_lost=False)
    assert DSO in scene.services.signals.lost, "who was found counts as found only when it is on disk"


async def test_o39_a_limit_of_a_charger_itself_enters_and_leaves_and_its_silence_opens_nothing_else() -> None:
    scene = await loaded()
    desk, charger = scene.services.signals, "charger:ch-1-0"
    await desk.state_limits(GRID, said(limit("n1", 30.0, 0, None, authority=charger), authority=charger))
    assert await value(scene, 10) == 30.0
    await desk.contact(GRID, charger, is_lost=True)
    assert await value(scene, 10) == 30.0, "its last word goes on; its silence is no reason for a fail-safe"
    await desk.state_limits(GRID, said(withdrawn=("n1",), authority=charger))
    assert await value(scene, 10) == 80.0


def _audit(scene: Scene, action: str) -> list[AuditEntry]:
    return [entry for batch in scene.store.applied for entry in batch.audit if entry.action == action]


async def test_an_old_limit_without_end_holds_after_a_restart_however_many_came_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scribe, "MOST_ROWS", 5)
    scene = await loaded()
    old = limit("old", 12.0, 0.0, None, authority="lpc:box-1")
    await scene.services.signals.state_limits(GRID, said(old, authority="lpc:box-1"))
    for i in range(10):
        await scene.services.signals.state_limits(GRID, said(limit(f"n{i}", 40.0, 15.0 * i, 15.0 * i + 15.0)))
    await scene.restart(keeps_stream=False)
    assert await value(scene, 20.0) == 12.0


async def test_a_lost_unconditional_authority_of_events_holds_its_nodes_for_ever() -> None:
    scene = await loaded(programs={"vtn:grid": ProgramRules(is_unconditional=True)})
    signals = scene.services.signals
    await signals.contact(GRID, "vtn:grid", is_lost=False)
    await signals.receive(GRID, message(event(nodes=("site-1",), max_kw=10.0)))
    await signals.contact(GRID, "vtn:grid", is_lost=True)
    scene.clock.move(seconds=30 * 3600)
    await scene.restart(keeps_stream=False)
    assert (await scene.services.signals.resolve(GRID, "site-1", None)).authority == "fail-safe of vtn:grid"


async def test_a_reduction_that_could_not_be_written_holds_until_there_is_a_word_about_its_own_node() -> None:
    scene = await loaded()
    signals = scene.services.signals
    await signals.state_limits(GRID, said(limit("a", 50.0), limit("b", 50.0, node="site-2")))
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await signals.state_limits(GRID, said(limit("less", 15.0)))
    scene.store.is_down = False
    await signals.state_limits(GRID, said(limit("other", 40.0, node="site-2")))
    assert await value(scene, 20.0) == 15.0
    await signals.state_limits(GRID, said(limit("again", 45.0)))
    assert await value(scene, 20.0) == 45.0


async def test_g2_a_reduction_acts_while_a_storm_of_events_of_somebody_else_is_taken_in() -> None:
    scene = await loaded()
    signals = scene.services.signals
    for end in (0.0, 12.0):
        async with signals.scribe.lock(TENANT):
            puts = (Put(record=limit(f"own-{end}", 1.0, node="site-2"), expected_version=int(end)),)
            words = replace(said(limit(f"less-{end}", 12.0)), puts=puts)
            stating = asyncio.create_task(signals.state_limits(GRID, words))
            await asyncio.sleep(0)
            assert await value(scene, 20.0) == 12.0, "before anything is on disk"
            assert not stating.done(), "and before anything is acknowledged"
        if end:
            with pytest.raises(Conflict):
                await stating
            assert f"less-{end}" not in {x.id for x in signals.limits_by_node(TENANT)["site-1"]}, "refused after all"
        else:
            await stating
            assert [x.id for x in scene.store.all(Limit, TENANT) if x.node == "site-1"] == ["less-0.0"]


async def test_an_order_that_acts_from_memory_is_listed_and_can_be_withdrawn() -> None:
    scene = Scene()
    platform = await scene.start()
    signals, end = scene.services.signals, scene.clock.now() + timedelta(days=6)
    scene.store.is_down = True
    for name, kw in (("first", 0.0), ("second", 40.0)):
        with pytest.raises(StorageUnavailable):
            await signals.set_manual_limit(
                OPERATOR, node_id="vpp", max_kw=kw, start=None, end=end, reason=name, request_id=name
            )
    scene.store.is_down = False
    await scene.pass_time(60)
    assert platform.total() == 0.0
    first, second = sorted(signals.manual_limits(OPERATOR), key=lambda one: one.max_kw)
    assert (first.reason, first.authority) == ("first", f"manual:{OPERATOR.actor}")
    withdrawn = await signals.withdraw_manual_limit(OPERATOR, limit_id=first.id, reason="wrong", request_id="w")
    assert withdrawn.withdrawn_at == scene.clock.now()
    assert signals.manual_limits(OPERATOR) == [second], "one order of a person says nothing about another"
    assert (await signals.resolve(OPERATOR, "vpp", None)).kw == 40.0
    await scene.restart()
    assert (await signals.resolve(OPERATOR, "vpp", None)).kw > 0.0


async def test_a_contact_that_was_lost_during_an_outage_is_audited_when_it_is_written() -> None:
    scene = Scene()
    await scene.start()
    await scene.services.signals.state_limits(GRID, said(limit("a", 50.0)))
    scene.store.is_down = True
    await scene.services.signals.contact(GRID, "oscp:dso-1", is_lost=True)
    scene.store.is_down = False
    for _ in range(3):
        await scene.pass_time(60)
        await scene.services.signals.keep_up(TENANT)
    entries = [one.entry for one in await scene.store.audit_entries() if one.entry.action == "signal.lost"]
    assert [entry.object_id for entry in entries] == ["oscp:dso-1"]
