"""Steering boxes over the real desk of limits and the real dispatcher: what is on disk, what survives, what reaches the chargers."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from gateway.domain.errors import (
    InvalidInput,
    NotFound,
    PermissionRefused,
    PreconditionFailed,
    RequestReused,
    StorageUnavailable,
)
from gateway.domain.evidence import canonical_json
from gateway.domain.identity import Principal, Role
from gateway.domain.limits import Direction, Limit
from gateway.domain.section_14a import DeviceControl, Relays, guaranteed_kw
from gateway.domain.steering import Limitation, LimitationRules, LimitWrite, SteeringState
from gateway.domain.steering_orders import ExecutionProof, OrderKind, SteeringOrder, orders_of_audit
from gateway.domain.topology import ConnectionPoint
from gateway.observe import STEERING_BOXES_SILENT
from gateway.ports import Batch, Put
from gateway.services.steer_power import BoxView, SteeringBox, SteeringDesk, SteeringSettings
from gateway.services.steer_power.proof import PROVED, ProofKeeper
from gateway.storage.retention import Retention
from gateway.storage.store import SqlStore
from tests.fakes.clock import START
from tests.services.scene import POINTS, TENANT, Scene, tree

BOX = Principal(tenant=TENANT, actor="box-7", roles=frozenset({Role.STEERING_BOX}))
OPERATOR = Principal(tenant=TENANT, actor="olga", roles=frozenset({Role.OPERATOR}))
IMPORT = Direction.IMPORT
OFF = LimitWrite(max_kw=0.0, is_active=False)


def on(max_kw: float, duration_s: float | None = None) -> LimitWrite:
    duration = None if duration_s is None else timedelta(seconds=duration_s)
    return LimitWrite(max_kw=max_kw, is_active=True, duration=duration)


def box(**changes: object) -> SteeringBox:
    plain = SteeringBox(
        name="box-7",
        tenant=TENANT,
        node="site-1",
        account="box-7",
        rules={IMPORT: LimitationRules(failsafe_kw=20.0)},
        dim_kw=10.0,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


class House:
    """A scene with a desk of steering boxes."""

    def __init__(self, *boxes: SteeringBox) -> None:
        self.scene = Scene()
        self.boxes = boxes or (box(),)
        self.desk = self._build()
        self.sent = 0

    def _build(self) -> SteeringDesk:
        return SteeringDesk(
            store=self.scene._store_port,
            clock=self.scene.clock,
            ids=self.scene.ids,
            limit_desk=self.scene.services.signals,
            find_node=self.scene.services.tracker.find_node,
            settings=SteeringSettings(boxes=self.boxes, tenants=(TENANT,)),
        )

    async def start(self, cars: int = 0) -> "House":
        if cars:
            await self.scene.start(cars)
        else:
            await self.scene.store.seed(TENANT, *tree())
            await self.scene.load()
        await self.desk.load()
        return self

    async def restart(self) -> None:
        """Die without a word and come back."""
        await self.scene.restart()
        self.desk = self._build()
        await self.desk.load()

    async def beat(self) -> None:
        await self.desk.heartbeat(BOX, "box-7")

    async def write(self, word: LimitWrite, request_id: str = "") -> SteeringOrder:
        self.sent += 1
        return await self.desk.write_limit(
            BOX, "box-7", direction=IMPORT, word=word, request_id=request_id or f"r-{self.sent}"
        )

    async def let(self, seconds: float) -> None:
        """Let time pass for the box alone."""
        self.scene.clock.move(seconds=seconds)
        for held in self.desk._held.values():
            await self.desk._pass_time(held)

    async def kw(self, node: str = "site-1", direction: Direction = IMPORT) -> float:
        return (await self.scene.services.signals.resolve(OPERATOR, node, None, direction=direction)).kw

    @property
    def state(self) -> SteeringState:
        return self.desk.state(OPERATOR, "box-7").limitations[0].state

    def orders(self) -> list[SteeringOrder]:
        return sorted(self.scene.store.all(SteeringOrder, TENANT), key=lambda order: order.received_at)


async def test_o27_a_box_is_followed_through_silence_and_back() -> None:
    house = await House().start()
    assert (house.state, await house.kw()) == (SteeringState.INIT, 20.0)
    await house.beat()
    assert await house.kw() == 20.0
    await house.write(OFF)
    assert await house.kw() == 80.0, "the rating of the site"
    await house.let(121)
    assert (house.state, await house.kw()) == (SteeringState.FAILSAFE, 20.0)
    await house.beat()
    assert await house.kw() == 20.0, "a heartbeat alone changes nothing"
    await house.write(on(8.0))
    assert (house.state, await house.kw()) == (SteeringState.LIMITED, 8.0)
    for _ in range(60 * 24):
        house.scene.clock.move(seconds=60)
        await house.beat()
    assert (house.state, await house.kw()) == (SteeringState.LIMITED, 8.0)


async def test_o25_an_order_below_the_guarantee_is_applied_at_it_and_a_fuse_below_still_wins() -> None:
    rules = {IMPORT: LimitationRules(guaranteed_kw=4.2)}
    point = ConnectionPoint(
        id="malo-1",
        tenant=TENANT,
        site="site-1",
        bidding_zone="DE-LU",
        time_zone="Europe/Berlin",
        dso="d",
        brp=None,
        site_class="workplace",
    )
    house = House(box(rules=rules, is_section_14a=True, connection_point="malo-1"))
    await house.scene.store.seed(TENANT, point)
    await house.start()
    await house.beat()
    order = await house.write(on(2.0))
    assert (order.ordered_kw, order.applied_kw) == (2.0, 4.2)
    [limit] = house.scene.services.signals.stated_by(TENANT, "lpc:box-7")
    assert (limit.max_kw, limit.guaranteed_kw, limit.is_at_grid) == (4.2, 4.2, True)
    assert limit.reason == "2 kW ordered, 4.2 kW are guaranteed"
    await house.scene.services.signals.set_manual_limit(
        OPERATOR,
        node_id="site-1",
        max_kw=3.0,
        start=None,
        end=START + timedelta(hours=1),
        reason="fuse",
        request_id="m-1",
    )
    assert await house.kw() == 3.0


async def test_o25_headroom_does_not_eat_the_guarantee_one_car_goes_on_charging() -> None:
    rules = {IMPORT: LimitationRules(guaranteed_kw=4.2)}
    house = await House(box(rules=rules)).start(cars=5)
    scene = house.scene
    await house.beat()
    await house.write(on(0.0))
    await scene.pass_time(100)
    await house.beat()
    await scene.pass_time(60)
    assert scene.platform is not None
    assert scene.platform.total("ch-1-") == pytest.approx(4.2, abs=0.07), "5 % less would be below the 6 A of every car"


async def test_o26_ten_devices_behind_an_energy_management_system() -> None:
    floor_kw = guaranteed_kw(10, DeviceControl.EMS)
    house = await House(box(rules={IMPORT: LimitationRules(guaranteed_kw=floor_kw)})).start()
    await house.beat()
    assert (await house.write(on(0.0))).applied_kw == pytest.approx(21.21)


async def test_a_limit_reaches_the_chargers_and_its_end_lets_them_go() -> None:
    house = await House().start(cars=5)
    await house.beat()
    await house.write(OFF)
    scene = house.scene
    await scene.pass_time(115)
    await house.beat()
    await scene.pass_time(100)
    platform = scene.platform
    assert platform is not None
    before_kw = platform.total("ch-1-")
    assert before_kw > 30.0
    await house.beat()
    await house.write(on(15.0, 60))
    await scene.turn()
    await scene.turn()
    assert platform.total("ch-1-") <= 15.0
    await house.let(59)
    await scene.turn()
    assert platform.total("ch-1-") <= 15.0
    await house.let(2)
    assert (house.state, await house.kw()) == (SteeringState.UNLIMITED_CONTROLLED, 80.0)


async def test_a_limit_does_not_expire_while_the_gateway_is_dead_and_init_comes_after() -> None:
    house = await House().start()
    await house.beat()
    await house.write(on(8.0))
    await house.restart()
    assert (house.state, await house.kw()) == (SteeringState.INIT, 8.0), "what was in force goes on beside the failsafe"
    with pytest.raises(PreconditionFailed):
        await house.write(OFF)
    assert await house.kw() == 8.0
    await house.beat()
    await house.write(OFF)
    assert await house.kw() == 80.0


async def test_failsafe_values_are_kept_and_hold_from_the_next_loss_on() -> None:
    house = await House().start()
    with pytest.raises(PreconditionFailed):
        await values(house, 30.0, None, "v-0")
    await house.beat()
    await house.write(OFF)
    view = await values(house, 30.0, timedelta(hours=4), "v-1")
    assert (view.limitations[0].failsafe_kw, view.limitations[0].failsafe_duration) == (30.0, timedelta(hours=4))
    await values(house, 30.0, timedelta(hours=4), "v-1")
    with pytest.raises(RequestReused):
        await values(house, 31.0, timedelta(hours=4), "v-1")
    assert await house.kw() == 80.0
    await house.let(121)
    assert await house.kw() == 30.0
    await house.restart()
    assert await house.kw() == 30.0
    kinds = [order.kind for order in house.orders()]
    assert kinds.count(OrderKind.FAILSAFE_VALUES) == 1


async def values(house: House, max_kw: float | None, duration: timedelta | None, request_id: str) -> BoxView:
    return await house.desk.write_failsafe(
        BOX, "box-7", direction=IMPORT, max_kw=max_kw, duration=duration, request_id=request_id
    )


async def test_one_request_has_one_effect_also_across_restarts() -> None:
    house = await House().start()
    await house.beat()
    first = await house.write(on(8.0), "same")
    await house.write(OFF, "next")
    assert (await house.write(on(8.0), "same")).id == first.id
    assert await house.kw() == 80.0, "the repetition changed nothing"
    with pytest.raises(RequestReused):
        await house.write(on(9.0), "same")
    await house.restart()
    assert (await house.write(on(8.0), "same")).id == first.id
    assert house.state is SteeringState.INIT


async def test_saying_the_same_again_makes_no_rows() -> None:
    house = await House().start()
    await house.beat()
    first = await house.write(on(8.0), "a")
    rows = len(house.scene.store.all(Limit, TENANT))
    again = await house.write(on(8.0), "b")
    assert again.id == first.id
    assert (await house.write(on(8.0), "b")).id == first.id
    with pytest.raises(RequestReused):
        await house.write(on(7.0), "b")
    assert len(house.scene.store.all(Limit, TENANT)) == rows
    free = await house.write(OFF, "c")
    assert (await house.write(OFF, "d")).id == free.id


async def test_nothing_is_acknowledged_that_is_not_on_disk_but_a_reduction_acts() -> None:
    house = await House().start()
    await house.beat()
    await house.write(OFF)
    house.scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await house.write(on(8.0), "lost")
    assert await house.kw() == 8.0
    assert house.state is SteeringState.UNLIMITED_CONTROLLED, "the box was not answered, so it is where it was"
    house.scene.store.is_down = False
    assert (await house.write(on(8.0), "lost")).applied_kw == 8.0


async def test_the_loss_of_a_box_acts_while_the_store_is_down_and_is_written_when_it_is_back() -> None:
    house = await House().start()
    await house.beat()
    await house.write(OFF)
    house.scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await house.let(121)
    assert await house.kw() == 20.0
    house.scene.store.is_down = False
    await house.let(1)
    assert (house.state, await house.kw()) == (SteeringState.FAILSAFE, 20.0)


async def test_silence_is_noticed_by_the_running_desk_within_its_second() -> None:
    house = await House().start()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(house.desk.run())
        await house.beat()
        await house.write(on(8.0, 30))
        await _settle()
        house.scene.clock.move(seconds=30)
        await _settle()
        states = [house.state]
        for seconds in (89, 1):
            house.scene.clock.move(seconds=seconds)
            await _settle()
            states.append(house.state)
        free = SteeringState.UNLIMITED_CONTROLLED
        assert states == [free, free, SteeringState.FAILSAFE]
        assert STEERING_BOXES_SILENT._value.get() == 1.0
        running.cancel()


async def _settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_two_transitions_at_once_never_open_the_limit_between_them() -> None:
    house = await House().start()
    await house.beat()
    await house.write(on(8.0, 60))
    seen: list[float] = []
    signals = house.scene.services.signals
    signals.on_change.append(lambda tenant: seen.append(min(x.max_kw for x in signals.stated_by(tenant, "lpc:box-7"))))
    await house.let(600)
    assert seen == [20.0]
    assert [order.kind for order in house.orders()][-1] is OrderKind.FAILSAFE


async def test_a_write_that_comes_before_the_loop_has_noticed_the_silence_meets_the_failsafe() -> None:
    house = await House().start()
    await house.beat()
    await house.write(OFF)
    house.scene.clock.move(seconds=121)
    with pytest.raises(PreconditionFailed):
        await house.write(on(50.0))
    assert (house.state, await house.kw()) == (SteeringState.FAILSAFE, 20.0)


async def test_relays_dim_and_stop_and_are_a_sign_of_life() -> None:
    house = await House().start()

    async def set_to(dim: bool, off: bool, name: str) -> float:
        await house.desk.set_relays(BOX, "box-7", relays=Relays(dim=dim, off=off), request_id=name)
        return await house.kw()

    assert await set_to(False, False, "1") == 80.0
    assert await set_to(True, False, "2") == 10.0
    assert await set_to(False, True, "3") == 0.0
    assert await set_to(True, True, "4") == 0.0
    await house.let(121)
    assert (house.state, await house.kw()) == (SteeringState.FAILSAFE, 0.0)
    assert await set_to(False, False, "5") == 80.0


async def test_production_is_limited_apart_from_consumption() -> None:
    both = {IMPORT: LimitationRules(failsafe_kw=20.0), Direction.EXPORT: LimitationRules(failsafe_kw=5.0)}
    house = await House(box(rules=both)).start()
    await house.beat()
    await house.desk.write_limit(BOX, "box-7", direction=Direction.EXPORT, word=on(0.0), request_id="e-1")
    await house.write(OFF)
    assert await house.kw() == 80.0
    limits = house.scene.services.signals.stated_by(TENANT, "lpc:box-7")
    assert [(limit.direction, limit.max_kw) for limit in limits] == [(Direction.EXPORT, 0.0)]


@pytest.mark.parametrize(
    ("principal", "error"),
    [
        (replace(BOX, actor="box-8"), NotFound),
        (replace(BOX, tenant="other"), NotFound),
        (OPERATOR, PermissionRefused),
    ],
    ids=["another box", "another tenant", "a person"],
)
async def test_only_the_box_speaks_for_itself(principal: Principal, error: type[Exception]) -> None:
    house = await House().start()
    with pytest.raises(error):
        await house.desk.heartbeat(principal, "box-7")
    with pytest.raises(error):
        await house.desk.write_limit(principal, "box-7", direction=IMPORT, word=OFF, request_id="r")
    with pytest.raises(error):
        await house.desk.set_relays(principal, "box-7", relays=Relays(dim=False, off=False), request_id="r")


async def test_a_box_sees_itself_and_people_see_all() -> None:
    house = await House(box(), box(name="box-8", account="box-8", node="site-2")).start()
    assert [view.name for view in house.desk.states(BOX)] == ["box-7"]
    assert [view.name for view in house.desk.states(OPERATOR)] == ["box-7", "box-8"]
    with pytest.raises(NotFound):
        house.desk.state(BOX, "box-8")


async def test_a_direction_that_was_not_agreed_is_refused() -> None:
    house = await House().start()
    with pytest.raises(InvalidInput) as caught:
        await house.desk.write_limit(BOX, "box-7", direction=Direction.EXPORT, word=on(1.0), request_id="e")
    assert caught.value.field == "direction"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"node": "site-9"}, "steering_box[0].node"),
        ({"is_section_14a": True, "connection_point": "none"}, "steering_box[0].connection_point"),
        ({"is_section_14a": True, "connection_point": POINTS[0]}, "steering_box[0].connection_point"),
    ],
    ids=["node", "unknown point", "public point"],
)
async def test_a_box_that_steers_what_it_may_not_stops_the_start(changes: dict[str, object], field: str) -> None:
    house = House(box(where="steering_box[0]", **changes))
    with pytest.raises(InvalidInput) as caught:
        await house.start()
    assert caught.value.field == field


async def test_a_box_that_is_taken_out_of_the_settings_lets_go() -> None:
    house = await House().start()
    await house.beat()
    await house.write(on(8.0))
    house.boxes = ()
    await house.restart()
    assert await house.kw() == 80.0
    assert not any(order.is_open for order in house.orders())


async def test_the_orders_can_be_made_again_from_the_audit_alone() -> None:
    house = await House().start()
    await house.beat()
    await house.write(on(8.0, 30))
    await house.let(31)
    await house.let(121)
    await house.beat()
    await house.write(on(2.0))
    await values(house, 9.0, None, "v")
    await house.restart()
    told = orders_of_audit(chained.entry for chained in await house.scene.store.audit_entries())
    known = {order.id: order for order in house.orders()}
    assert {order.id: order for order in told} == known
    assert len(told) == 6


async def test_rows_of_the_machine_say_what_memory_says() -> None:
    house = await House().start()
    await house.beat()
    await house.write(on(8.0))
    [row] = house.scene.store.all(Limitation, TENANT)
    assert row == house.desk._held[TENANT, "box-7"].limitations[IMPORT]


def keeper(house: House) -> ProofKeeper:
    tracker = house.scene.services.tracker
    return ProofKeeper(
        store=house.scene._store_port,
        clock=house.scene.clock,
        ids=house.scene.ids,
        node_power=tracker.node_power,
        chargers_below=lambda tenant, node: below(house, node),
        settings=SteeringSettings(boxes=house.boxes, tenants=(TENANT,)),
    )


def below(house: House, node: str) -> frozenset[str]:
    tree = house.scene.services.tracker.view(TENANT).tree
    return frozenset(np.array(tree.charger_ids, dtype=object)[tree.below(node)].tolist())


async def test_an_order_is_proved_by_commands_and_meters_and_the_proof_is_in_the_audit() -> None:
    rules = {IMPORT: LimitationRules(failsafe_kw=60.0)}
    beside = box(name="box-8", account="box-8", node="site-2")
    house = await House(box(rules=rules), beside).start(cars=5)
    proofs, scene = keeper(house), house.scene
    await house.beat()
    await house.write(OFF)
    await scene.pass_time(60)
    await house.beat()
    ordered_at = scene.clock.now()
    order = await house.write(on(15.0))
    await scene.pass_time(60)
    await house.beat()
    await proofs.keep_up(TENANT)
    await scene.pass_time(60)
    await house.beat()
    await house.write(OFF)
    await proofs.keep_up(TENANT)
    await scene.pass_time(310)
    await proofs.keep_up(TENANT)
    proof = next(one for one in scene.store.all(ExecutionProof, TENANT) if one.id == order.id)
    assert proof.is_complete
    assert proof.power_before_kw is not None
    assert proof.power_before_kw > 30.0
    assert proof.reached_at is not None
    assert proof.reached_at - ordered_at <= timedelta(seconds=60)
    assert {step.charger for step in proof.steps} <= below(house, "site-1")
    lowered = {step.charger: step.set_kw for step in proof.steps}
    assert lowered
    assert sum(lowered.values()) <= 15.0
    newest = {step.charger: step.state for step in proof.steps}
    assert set(newest.values()) <= {"accepted", "applied", "followed"}
    assert all(ordered_at <= step.set_at <= ordered_at + timedelta(seconds=120) for step in proof.steps)
    assert all(sample.power_kw <= 15.0 for sample in proof.samples[2:])
    [entry] = [
        chained.entry
        for chained in await scene.store.audit_of(TENANT, "steering-order", order.id)
        if chained.entry.action == PROVED
    ]
    assert entry.detail["proof"] == canonical_json(proof)
    before = len(scene.store.applied)
    await proofs.keep_up(TENANT)
    assert len(scene.store.applied) == before, "what is proved is not looked at again"
    found = dict(await house.desk.orders(OPERATOR, "box-7"))
    assert found[next(one for one in found if one.id == order.id)] == proof


async def test_a_proof_goes_on_after_a_restart_and_an_order_that_ended_meanwhile_is_proved_too() -> None:
    house = await House().start(cars=3)
    await house.beat()
    order = await house.write(on(12.0, 45))
    await house.scene.pass_time(30)
    await keeper(house).keep_up(TENANT)
    await house.restart()
    await house.scene.pass_time(400)
    await house.let(0)
    await keeper(house).keep_up(TENANT)
    proofs = {one.id: one for one in house.scene.store.all(ExecutionProof, TENANT)}
    assert proofs[order.id].is_complete
    assert proofs[order.id].steps


async def test_a_box_and_its_proofs_survive_on_a_database(tmp_path: Path) -> None:
    house = House()
    async with SqlStore.open(f"sqlite:///{tmp_path / 'rows.sqlite'}", house.scene.clock) as store:
        await store.apply(Batch(tenant=TENANT, puts=tuple(Put(record=row) for row in tree())))
        house.scene.go_to(store)
        await house.scene.load()
        house.desk = house._build()
        await house.desk.load()
        await house.beat()
        order = await house.write(on(8.0, 3_600))
        await values(house, 30.0, timedelta(hours=3), "v")
        house.scene.clock.move(seconds=60)
        house.scene.go_to(store)
        await house.scene.load()
        house.desk = house._build()
        await house.desk.load()
        view = house.desk.state(OPERATOR, "box-7").limitations[0]
        assert (view.state, view.limit_kw, view.failsafe_kw) == (SteeringState.INIT, 8.0, 30.0)
        assert view.until == START + timedelta(hours=1)
        await keeper(house).keep_up(TENANT)
        house.scene.clock.move(seconds=400)
        await keeper(house).keep_up(TENANT)
        found = {one.id: (one, proof) for one, proof in await house.desk.orders(OPERATOR, "box-7")}
        ended, proof = found[order.id]
        assert ended.end_reason == "the gateway was started anew"
        assert proof is not None
        assert proof.is_complete
        told = orders_of_audit(chained.entry for chained in await store.audit_entries())
        assert {one.id: one for one in told} == {name: one for name, (one, _) in found.items()}


@pytest.mark.parametrize("kind", [SteeringOrder, ExecutionProof, Limitation])
def test_what_proves_is_kept_for_ever(kind: type) -> None:
    with pytest.raises(InvalidInput) as caught:
        Retention(records={kind: timedelta(days=730)})
    assert caught.value.problem.endswith("is kept for ever")
