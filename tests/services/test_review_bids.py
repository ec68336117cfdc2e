"""Two people, an unchanged hash, checks that cannot be talked round, and one order per auction."""

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from gateway.domain.bids import Bid, BidPeriod, BidState, CheckOutcome, CurvePoint, Order, OrderState
from gateway.domain.errors import (
    ContentChanged,
    GateClosed,
    InvalidInput,
    NoRoute,
    NotFound,
    PermissionRefused,
    PreconditionFailed,
    PreTradeLimitExceeded,
    RequestReused,
    SelfApproval,
    VoltbridgeError,
)
from gateway.domain.identity import Account, Role
from gateway.domain.topology import ConnectionPoint, Portfolio, Route
from gateway.ports import Put
from tests.services.market_scene import APPROVER, BOTH, PORTFOLIO, STRANGER, TENANT, TRADER, MarketScene


@pytest.fixture
async def scene() -> MarketScene:
    return await MarketScene().with_past()


async def change(scene: MarketScene, record: object, **changes: object) -> None:
    await scene.store.seed(TENANT, dataclasses.replace(record, **changes))  # type: ignore[type-var]


def with_volume(bid: Bid, index: int, volume: str) -> tuple[BidPeriod, ...]:
    periods = list(bid.periods)
    top = CurvePoint(price_per_mwh=Decimal(4000), volume_mw=Decimal(volume))
    periods[index] = dataclasses.replace(periods[index], curve=(top,))
    return tuple(periods)


async def test_trader_proposes_and_another_person_approves(scene: MarketScene) -> None:
    bid = await scene.approved()
    assert (bid.state, bid.proposed_by, bid.approved_by) == (BidState.APPROVED, "tara", "ann")
    [order] = scene.store.all(Order, TENANT)
    assert order.state is OrderState.PENDING
    assert order.id == f"{bid.auction}:{PORTFOLIO}:{bid.id}"
    assert order.bid_hash == bid.content_hash
    [item] = await scene.store.due_outbox("order", scene.clock.now())
    assert item.id == order.id
    assert item.expires_at == scene.gate


async def test_order_outbox_and_approval_are_one_batch(scene: MarketScene) -> None:
    await scene.approved()
    last = scene.store.applied[-1]
    assert {type(put.record) for put in last.puts} >= {Bid, Order}
    assert [item.topic for item in last.outbox] == ["order"]
    assert [entry.action for entry in last.audit] == ["bid.approve", "order.create"]


async def test_same_person_cannot_approve_what_it_proposed(scene: MarketScene) -> None:
    bid = await scene.drafted()
    await scene.reviewer.propose(BOTH, bid_id=bid.id, content_hash=bid.content_hash, request_id="p")
    with pytest.raises(SelfApproval):
        await scene.reviewer.approve(BOTH, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    assert not scene.store.all(Order, TENANT)


async def test_who_drafted_a_revision_cannot_approve_it_either(scene: MarketScene) -> None:
    bid = await scene.drafted()
    new = await scene.reviewer.revise(BOTH, bid_id=bid.id, periods=bid.periods, request_id="r")
    await scene.reviewer.propose(TRADER, bid_id=new.id, content_hash=new.content_hash, request_id="p")
    with pytest.raises(SelfApproval):
        await scene.reviewer.approve(BOTH, bid_id=new.id, content_hash=new.content_hash, request_id="a")


async def test_roles_decide_who_may_what(scene: MarketScene) -> None:
    bid = await scene.drafted()
    seen = {"bid_id": bid.id, "content_hash": bid.content_hash}
    with pytest.raises(PermissionRefused):
        await scene.reviewer.propose(APPROVER, **seen, request_id="1")
    with pytest.raises(PermissionRefused):
        await scene.reviewer.approve(TRADER, **seen, request_id="2")
    with pytest.raises(PermissionRefused):
        await scene.reviewer.reject(TRADER, bid_id=bid.id, reason="no", request_id="3")


async def test_another_tenant_sees_and_moves_nothing(scene: MarketScene) -> None:
    bid = await scene.proposed()
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: scene.reviewer.get(STRANGER, bid.id),
        lambda: scene.reviewer.approve(STRANGER, bid_id=bid.id, content_hash=bid.content_hash, request_id="x"),
        lambda: scene.reviewer.withdraw(STRANGER, bid_id=bid.id, reason="mine", request_id="y"),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            await attempt()
    assert await scene.reviewer.list_bids(STRANGER) == []
    assert (await scene.bid(bid.id)).state is BidState.PROPOSED


async def test_proposer_who_lost_the_role_no_longer_counts(scene: MarketScene) -> None:
    bid = await scene.proposed()
    [account] = [a for a in scene.store.all(Account, TENANT) if a.actor == "tara"]
    await change(scene, account, roles=(Role.AUDITOR,))
    with pytest.raises(PreconditionFailed, match="tara may not propose"):
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    await change(scene, account, enabled=False)
    with pytest.raises(PreconditionFailed, match="tara may not propose"):
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")


async def test_hash_of_another_content_is_refused_at_every_step(scene: MarketScene) -> None:
    bid = await scene.drafted()
    with pytest.raises(ContentChanged):
        await scene.reviewer.propose(TRADER, bid_id=bid.id, content_hash="0" * 64, request_id="p1")
    await scene.reviewer.propose(TRADER, bid_id=bid.id, content_hash=bid.content_hash, request_id="p2")
    with pytest.raises(ContentChanged):
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash="0" * 64, request_id="a")


async def test_content_changed_behind_the_hash_is_refused(scene: MarketScene) -> None:
    bid = await scene.proposed()
    await change(scene, bid, periods=with_volume(bid, 0, "0.3"))
    with pytest.raises(ContentChanged):
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    assert not scene.store.all(Order, TENANT)


async def test_hundredfold_volume_never_leaves(scene: MarketScene) -> None:
    bid = await scene.drafted()
    index = max(range(len(bid.periods)), key=lambda i: bid.periods[i].max_volume_mw)
    wrong = bid.periods[index].max_volume_mw * 100
    new = await scene.reviewer.revise(
        TRADER, bid_id=bid.id, periods=with_volume(bid, index, str(wrong)), request_id="r"
    )
    assert new.state is BidState.DRAFT
    failed = {check.name for check in new.checks if check.outcome is CheckOutcome.FAILED}
    assert "hundredfold" in failed
    with pytest.raises((PreTradeLimitExceeded, PreconditionFailed)):
        await scene.reviewer.propose(TRADER, bid_id=new.id, content_hash=new.content_hash, request_id="p")


async def test_hundredfold_is_stopped_even_inside_the_collar(scene: MarketScene) -> None:
    bid = await scene.drafted()
    [portfolio] = scene.store.all(Portfolio, TENANT)
    await change(scene, portfolio, max_order_mw="1000", max_day_mwh="100000")
    new = await scene.reviewer.revise(TRADER, bid_id=bid.id, periods=with_volume(bid, 3, "50"), request_id="r")
    outcomes = {check.name: check.outcome for check in new.checks}
    assert outcomes["max-order"] is CheckOutcome.PASSED
    assert outcomes["hundredfold"] is CheckOutcome.FAILED


async def test_collar_tightened_after_the_proposal_stops_the_approval(scene: MarketScene) -> None:
    bid = await scene.proposed()
    [portfolio] = scene.store.all(Portfolio, TENANT)
    await change(scene, portfolio, max_order_mw="0.1")
    with pytest.raises(PreTradeLimitExceeded, match="max-order"):
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")


async def test_lost_route_or_brp_stops_the_approval(scene: MarketScene) -> None:
    bid = await scene.proposed()
    [portfolio] = scene.store.all(Portfolio, TENANT)
    for lost in ({"route": Route.TARIFF_ONLY}, {"brp": None}):
        await change(scene, portfolio, **lost)
        with pytest.raises(NoRoute):
            await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    await change(scene, portfolio)
    point = scene.store.all(ConnectionPoint, TENANT)[0]
    await change(scene, point, brp="brp-other")
    with pytest.raises(NoRoute, match=point.id):
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")


@pytest.mark.parametrize(("seconds", "is_in"), [(-1, True), (0, False), (1, False)])
async def test_gate_is_closed_at_its_very_instant(scene: MarketScene, seconds: int, is_in: bool) -> None:
    bid = await scene.proposed()
    scene.clock.set(scene.gate + timedelta(seconds=seconds))
    approve = scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    if is_in:
        assert (await approve).state is BidState.APPROVED
    else:
        with pytest.raises(GateClosed):
            await approve


async def test_same_request_gets_the_same_answer_and_has_one_effect(scene: MarketScene) -> None:
    bid = await scene.proposed()
    seen = {"bid_id": bid.id, "content_hash": bid.content_hash, "request_id": "a"}
    first = await scene.reviewer.approve(APPROVER, **seen)
    writes = len(scene.store.applied)
    assert await scene.reviewer.approve(APPROVER, **seen) == first
    assert len(scene.store.applied) == writes
    with pytest.raises(RequestReused):
        await scene.reviewer.approve(APPROVER, **{**seen, "content_hash": "f" * 64})


@pytest.mark.parametrize("request_id", ["", "x" * 129])
async def test_request_id_is_required_and_bounded(scene: MarketScene, request_id: str) -> None:
    bid = await scene.drafted()
    with pytest.raises(InvalidInput) as caught:
        await scene.reviewer.propose(TRADER, bid_id=bid.id, content_hash=bid.content_hash, request_id=request_id)
    assert caught.value.field == "request_id"


async def test_rejection_needs_a_reason_and_ends_the_bid(scene: MarketScene) -> None:
    bid = await scene.proposed()
    with pytest.raises(InvalidInput):
        await scene.reviewer.reject(APPROVER, bid_id=bid.id, reason="  ", request_id="r0")
    rejected = await scene.reviewer.reject(APPROVER, bid_id=bid.id, reason="too much at noon", request_id="r1")
    assert (rejected.state, rejected.reason) == (BidState.REJECTED, "too much at noon")
    with pytest.raises(PreconditionFailed):
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")


async def test_people_cannot_reject_what_the_exchange_holds(scene: MarketScene) -> None:
    bid = await scene.submitted()
    with pytest.raises(PreconditionFailed):
        await scene.reviewer.reject(APPROVER, bid_id=bid.id, reason="regret", request_id="r")
    with pytest.raises(PreconditionFailed):
        await scene.reviewer.withdraw(TRADER, bid_id=bid.id, reason="regret", request_id="w")


async def test_withdrawing_an_approved_bid_takes_its_order_along(scene: MarketScene) -> None:
    bid = await scene.approved()
    withdrawn = await scene.reviewer.withdraw(APPROVER, bid_id=bid.id, reason="storm", request_id="w")
    assert withdrawn.state is BidState.WITHDRAWN
    [order] = scene.store.all(Order, TENANT)
    assert order.state is OrderState.REJECTED
    await scene.submitter.step()
    assert scene.exchange.submissions == 0


async def test_revision_is_a_new_version_and_voids_the_proposal(scene: MarketScene) -> None:
    bid = await scene.proposed()
    smaller = str(bid.periods[5].max_volume_mw + Decimal("0.1"))
    new = await scene.reviewer.revise(TRADER, bid_id=bid.id, periods=with_volume(bid, 5, smaller), request_id="r")
    assert (new.version, new.state, new.proposed_by) == (2, BidState.VALIDATED, None)
    assert new.content_hash != bid.content_hash
    assert (await scene.bid(bid.id)).state is BidState.WITHDRAWN
    with pytest.raises(PreconditionFailed):
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")


async def test_two_versions_of_a_bid_are_never_both_ordered(scene: MarketScene) -> None:
    first = await scene.proposed()
    second = dataclasses.replace(first, id="bid-twin", version=2)
    await scene.store.seed(TENANT, second)
    await scene.reviewer.approve(APPROVER, bid_id=first.id, content_hash=first.content_hash, request_id="a1")
    with pytest.raises(PreconditionFailed, match="version 1"):
        await scene.reviewer.approve(APPROVER, bid_id="bid-twin", content_hash=second.content_hash, request_id="a2")


async def test_two_versions_approved_at_the_same_time_collide(
    scene: MarketScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await scene.proposed()
    second = dataclasses.replace(first, id="bid-twin", version=2)
    await scene.store.seed(TENANT, second)
    apply = scene.store.apply

    async def overtaken(batch: object) -> None:
        monkeypatch.setattr(scene.store, "apply", apply)
        await scene.reviewer.approve(APPROVER, bid_id="bid-twin", content_hash=second.content_hash, request_id="a2")
        await apply(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(scene.store, "apply", overtaken)
    with pytest.raises(PreconditionFailed, match="version 2"):
        await scene.reviewer.approve(APPROVER, bid_id=first.id, content_hash=first.content_hash, request_id="a1")
    assert len(scene.store.all(Order, TENANT)) == 1


async def test_step_that_was_overtaken_is_judged_again(scene: MarketScene, monkeypatch: pytest.MonkeyPatch) -> None:
    bid = await scene.proposed()
    apply = scene.store.apply

    async def overtaken(batch: object) -> None:
        monkeypatch.setattr(scene.store, "apply", apply)
        await scene.reviewer.withdraw(TRADER, bid_id=bid.id, reason="mine", request_id="w")
        await apply(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(scene.store, "apply", overtaken)
    with pytest.raises(PreconditionFailed, match="withdrawn"):
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    assert not scene.store.all(Order, TENANT)


async def test_nothing_is_approved_when_the_disk_is_full(scene: MarketScene) -> None:
    bid = await scene.proposed()
    scene.store.is_down = True
    with pytest.raises(VoltbridgeError):
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    scene.store.is_down = False
    assert (await scene.bid(bid.id)).state is BidState.PROPOSED


async def test_every_step_is_in_the_audit_with_its_cause(scene: MarketScene) -> None:
    bid = await scene.approved()
    entries = [chained.entry for chained in await scene.store.audit_of(TENANT, "bid", bid.id)]
    assert [(entry.action, entry.actor) for entry in entries] == [
        ("bid.draft", "tara"),
        ("bid.validate", "tara"),
        ("bid.propose", "tara"),
        ("bid.approve", "ann"),
    ]
    assert all(f"plan:{bid.plan}" in entry.causes for entry in entries)
    assert entries[-1].detail["content_hash"] == bid.content_hash


async def test_conflict_that_never_ends_is_surfaced(scene: MarketScene, monkeypatch: pytest.MonkeyPatch) -> None:
    bid = await scene.drafted()
    apply = scene.store.apply

    async def always_late(batch: object) -> None:
        row = await scene.store.get(Bid, TENANT, bid.id)
        assert row is not None
        scene.store._put(TENANT, Put(record=row.record))
        await apply(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(scene.store, "apply", always_late)
    with pytest.raises(VoltbridgeError) as caught:
        await scene.reviewer.propose(TRADER, bid_id=bid.id, content_hash=bid.content_hash, request_id="p")
    assert caught.value.retryable
