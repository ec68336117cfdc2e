"""Exactly one order whatever happens between two lines, and everything that follows from its award."""

import dataclasses
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from gateway.domain.bids import (
    Award,
    AwardedPeriod,
    Bid,
    BidState,
    Nomination,
    NominationState,
    Order,
    OrderState,
    Schedule,
)
from gateway.domain.errors import (
    GateClosed,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    PeerUnavailable,
    PermissionRefused,
    PreconditionFailed,
    StorageUnavailable,
)
from gateway.ports import Batch, OutboxItem
from gateway.services.submit_orders import OrderSubmitter
from tests.services.market_scene import APPROVER, PORTFOLIO, STRANGER, TENANT, TRADER, MarketScene


class Killed(BaseException):
    """The process dies here: nothing catches it."""


@pytest.fixture
async def scene() -> MarketScene:
    return await MarketScene().with_past()


def order_of(scene: MarketScene) -> Order:
    [order] = scene.store.all(Order, TENANT)
    return order


def schedules_of_day(scene: MarketScene) -> list[Schedule]:
    """Return what was scheduled for the delivery day; the evening before has its own rows, written with the plan."""
    return [row for row in scene.store.all(Schedule, TENANT) if row.delivery_day == scene.iso]


async def drive(scene: MarketScene, submitter: OrderSubmitter, *, minutes: int = 30) -> None:
    """Let time pass in steps of ten seconds."""
    for _ in range(minutes * 6):
        await submitter.step()
        scene.clock.move(seconds=10)


async def test_order_leaves_once_and_the_bid_is_submitted(scene: MarketScene) -> None:
    bid = await scene.submitted()
    assert bid.state is BidState.SUBMITTED
    order = order_of(scene)
    assert (order.state, order.exchange_order_id) == (OrderState.ACCEPTED, "X-1")
    await drive(scene, scene.submitter, minutes=5)
    assert scene.exchange.submissions == 1


async def test_sending_is_on_disk_before_the_network_call(scene: MarketScene) -> None:
    await scene.approved()
    scene.exchange.before.append(Killed())
    with pytest.raises(Killed):
        await scene.submitter.step()
    assert order_of(scene).state is OrderState.SENDING
    assert scene.store.all(Bid, TENANT)[-1].state is BidState.SUBMITTING


async def test_nothing_leaves_when_sending_cannot_be_written(scene: MarketScene) -> None:
    await scene.approved()
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await scene.submitter.step()
    assert scene.exchange.submissions == 0


@pytest.mark.parametrize("where", ["before", "after"])
async def test_crash_around_the_network_call_never_sends_twice_in_effect(scene: MarketScene, where: str) -> None:
    bid = await scene.approved()
    getattr(scene.exchange, where).append(Killed())
    with pytest.raises(Killed):
        await scene.submitter.step()
    await scene.new_submitter().step()
    assert (await scene.bid(bid.id)).state is BidState.SUBMITTED
    assert len(scene.exchange.orders) == 1
    # What had arrived is found, not sent again.
    assert scene.exchange.submissions == (2 if where == "before" else 1)


@pytest.mark.parametrize("writes", range(12))
async def test_crash_at_any_write_leads_to_the_same_end(scene: MarketScene, writes: int) -> None:
    """The store dies at the k-th write of the whole way from approval to acknowledged nominations; a restart goes on."""
    bid = await scene.approved()
    apply = scene.store.apply
    left = writes

    async def dying(batch: Batch) -> None:
        nonlocal left
        if left == 0:
            left = -1
            raise Killed
        left -= 1
        await apply(batch)

    scene.store.apply = dying  # type: ignore[method-assign]
    submitter = scene.new_submitter()
    for minute in range(120):
        scene.clock.set(max(scene.clock.now(), scene.gate - timedelta(minutes=30) + timedelta(minutes=minute)))
        try:
            await submitter.step()
        except Killed:
            submitter = scene.new_submitter()
    assert left < 0, "the way has fewer writes"
    assert (await scene.bid(bid.id)).state is BidState.AWARDED
    assert len(scene.exchange.orders) == 1
    assert len(scene.store.all(Award, TENANT)) == 1
    assert {n.state for n in scene.store.all(Nomination, TENANT)} == {NominationState.ACKNOWLEDGED}
    assert len(scene.desk.taken) == 3
    assert len(schedules_of_day(scene)) == 3


async def test_refused_connection_is_tried_again_with_growing_pauses_under_one_key(scene: MarketScene) -> None:
    bid = await scene.approved()
    scene.exchange.before += [PeerUnavailable("503")] * 3
    times = []
    while (await scene.bid(bid.id)).state is not BidState.SUBMITTED:
        seen = scene.exchange.submissions
        await scene.submitter.step()
        if scene.exchange.submissions > seen:
            times.append(scene.clock.now())
        scene.clock.move(seconds=1)
    assert scene.exchange.submissions == 4
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == [timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=20)]


async def test_unknown_outcome_waits_for_a_person_and_is_never_sent_again(scene: MarketScene) -> None:
    bid = await scene.approved()
    scene.exchange.before.append(OutcomeUnknown("no answer within 10 s"))
    await scene.submitter.step()
    known = await scene.bid(bid.id)
    assert (known.state, known.reason) == (BidState.UNKNOWN, "no answer within 10 s")
    assert order_of(scene).state is OrderState.UNKNOWN
    await drive(scene, scene.new_submitter(), minutes=30)
    assert scene.exchange.submissions == 1
    assert (await scene.bid(bid.id)).state is BidState.UNKNOWN


async def test_order_of_unknown_outcome_that_turns_up_at_the_exchange_goes_on(scene: MarketScene) -> None:
    bid = await scene.approved()
    scene.exchange.after.append(OutcomeUnknown("the line broke"))
    await scene.submitter.step()
    assert (await scene.bid(bid.id)).state is BidState.UNKNOWN
    await drive(scene, scene.new_submitter(), minutes=5)
    assert (await scene.bid(bid.id)).state is BidState.SUBMITTED
    assert scene.exchange.submissions == 1


@pytest.mark.parametrize(("is_held", "state"), [(True, BidState.SUBMITTED), (False, BidState.REJECTED)])
async def test_person_decides_an_unknown_outcome(scene: MarketScene, is_held: bool, state: BidState) -> None:
    bid = await scene.approved()
    scene.exchange.before.append(OutcomeUnknown("silence"))
    await scene.submitter.step()
    said: dict[str, Any] = {"bid_id": bid.id, "is_held": is_held, "reason": "called the exchange", "request_id": "u"}
    with pytest.raises(PermissionRefused):
        await scene.submitter.resolve_unknown(TRADER, **said)
    with pytest.raises(InvalidInput):
        await scene.submitter.resolve_unknown(APPROVER, **{**said, "reason": " "})
    assert (await scene.submitter.resolve_unknown(APPROVER, **said)).state is state
    assert (await scene.submitter.resolve_unknown(APPROVER, **said)).state is state
    with pytest.raises(PreconditionFailed):
        await scene.submitter.resolve_unknown(APPROVER, **{**said, "request_id": "u2"})
    actors = [c.entry.actor for c in await scene.store.audit_of(TENANT, "bid", bid.id)]
    assert actors[-1] == "ann"


async def test_gate_passed_before_sending_is_a_missed_order(scene: MarketScene) -> None:
    bid = await scene.approved()
    scene.clock.set(scene.gate)
    await scene.submitter.step()
    missed = await scene.bid(bid.id)
    assert missed.state is BidState.MISSED
    assert order_of(scene).state is OrderState.MISSED
    assert scene.exchange.submissions == 0


async def test_gate_passed_while_sending_asks_before_it_is_missed(scene: MarketScene) -> None:
    bid = await scene.approved()
    scene.exchange.after.append(Killed())
    with pytest.raises(Killed):
        await scene.submitter.step()
    scene.clock.set(scene.gate + timedelta(minutes=1))
    await scene.new_submitter().step()
    assert (await scene.bid(bid.id)).state is BidState.SUBMITTED


async def test_gate_passed_while_sending_and_not_held_is_missed(scene: MarketScene) -> None:
    bid = await scene.approved()
    scene.exchange.before.append(Killed())
    with pytest.raises(Killed):
        await scene.submitter.step()
    scene.clock.set(scene.gate)
    await scene.new_submitter().step()
    assert (await scene.bid(bid.id)).state is BidState.MISSED
    assert scene.exchange.submissions == 1


async def test_bid_that_nobody_approved_misses_its_gate(scene: MarketScene) -> None:
    bid = await scene.proposed()
    scene.clock.set(scene.gate - timedelta(seconds=1))
    await scene.submitter.step()
    assert (await scene.bid(bid.id)).state is BidState.PROPOSED
    scene.clock.set(scene.gate)
    await scene.submitter.step()
    assert (await scene.bid(bid.id)).state is BidState.MISSED


@pytest.mark.parametrize(
    ("error", "state"),
    [(GateClosed("closed"), BidState.MISSED), (InvalidInput("order.periods[3]", "bad tick"), BidState.REJECTED)],
)
async def test_word_of_the_exchange_ends_the_bid(scene: MarketScene, error: Exception, state: BidState) -> None:
    bid = await scene.approved()
    scene.exchange.before.append(error)
    await scene.submitter.step()
    assert (await scene.bid(bid.id)).state is state
    await drive(scene, scene.submitter, minutes=5)
    assert scene.exchange.submissions == 1


async def test_order_that_is_not_what_was_approved_is_stopped(scene: MarketScene) -> None:
    bid = await scene.approved()
    order = order_of(scene)
    await scene.store.seed(TENANT, dataclasses.replace(order, periods=order.periods[1:]))
    await scene.submitter.step()
    assert scene.exchange.submissions == 0
    assert order_of(scene).message == "the order is not what was approved"
    assert (await scene.bid(bid.id)).state is BidState.MISSED


async def test_order_without_two_people_is_stopped(scene: MarketScene) -> None:
    bid = await scene.approved()
    await scene.store.seed(TENANT, dataclasses.replace(bid, approved_by=bid.proposed_by))
    await scene.submitter.step()
    assert scene.exchange.submissions == 0
    assert "two different people" in order_of(scene).message


async def test_award_waits_for_the_auction_and_survives_an_exchange_that_is_down(scene: MarketScene) -> None:
    bid = await scene.submitted()
    scene.clock.set(scene.gate + timedelta(minutes=5))
    await scene.submitter.step()
    with pytest.raises(NotFound):
        await scene.submitter.award(TRADER, PORTFOLIO, scene.iso)
    scene.exchange.blind += [PeerUnavailable("maintenance")] * 3
    await drive(scene, scene.submitter, minutes=40)
    assert (await scene.bid(bid.id)).state is BidState.AWARDED


async def test_award_becomes_positions_that_add_up_exactly(scene: MarketScene) -> None:
    await scene.awarded()
    award = await scene.submitter.award(TRADER, PORTFOLIO, scene.iso)
    nominations = await scene.submitter.nominations(TRADER, scene.iso)
    assert [n.connection_point for n in nominations] == sorted(n.connection_point for n in nominations)
    for index, period in enumerate(award.periods):
        parts = [n.periods[index].volume_mw for n in nominations]
        assert sum(parts) == period.volume_mw
        assert all(part >= 0 and part % Decimal("0.001") == 0 for part in parts)
    assert all(n.acknowledgement == f"ACK-{n.connection_point}" for n in nominations)
    assert {s.cause for s in schedules_of_day(scene)} == {f"award:{award.id}"}
    assert (award.portfolio, award.delivery_day) == (PORTFOLIO, scene.iso)


async def test_tenants_are_apart(scene: MarketScene) -> None:
    bid = await scene.awarded()
    with pytest.raises(NotFound):
        await scene.submitter.award(STRANGER, PORTFOLIO, scene.iso)
    assert await scene.submitter.nominations(STRANGER, scene.iso) == []
    with pytest.raises(NotFound):
        await scene.submitter.resolve_unknown(STRANGER, bid_id=bid.id, is_held=True, reason="x", request_id="x")


def more(period: AwardedPeriod) -> AwardedPeriod:
    return dataclasses.replace(period, volume_mw=period.volume_mw + 1)


@pytest.mark.parametrize(
    ("bend", "problem"),
    [
        (lambda a: dataclasses.replace(a, currency="GBP"), "GBP"),
        (lambda a: dataclasses.replace(a, periods=a.periods[1:]), "95 periods"),
        (lambda a: dataclasses.replace(a, periods=(more(a.periods[0]), *a.periods[1:])), "outside the order"),
        (lambda a: dataclasses.replace(a, periods=(a.periods[1], *a.periods[1:])), "96 periods"),
    ],
)
async def test_award_that_does_not_fit_its_order_is_for_a_person(
    scene: MarketScene, bend: object, problem: str
) -> None:
    bid = await scene.submitted()
    scene.exchange.bend = bend  # type: ignore[assignment]
    scene.clock.set(scene.gate + timedelta(hours=1))
    await scene.submitter.step()
    doubted = await scene.bid(bid.id)
    assert doubted.state is BidState.UNKNOWN
    assert problem in doubted.reason
    assert not scene.store.all(Award, TENANT)
    assert not scene.store.all(Nomination, TENANT)


async def test_nomination_is_retried_until_acknowledged_and_one_failure_holds_up_no_other(scene: MarketScene) -> None:
    await scene.submitted()
    scene.desk.failures += [PeerUnavailable("down"), PeerUnavailable("down")]
    scene.clock.set(scene.gate + timedelta(hours=1))
    await scene.submitter.step()
    assert len(scene.desk.taken) == 1
    await drive(scene, scene.submitter, minutes=2)
    assert {n.state for n in scene.store.all(Nomination, TENANT)} == {NominationState.ACKNOWLEDGED}


async def test_rejected_nomination_says_why(scene: MarketScene) -> None:
    await scene.submitted()
    scene.desk.failures.append(InvalidInput("nomination.connection_point", "is not in the portfolio"))
    scene.clock.set(scene.gate + timedelta(hours=1))
    await scene.submitter.step()
    rejected = [n for n in scene.store.all(Nomination, TENANT) if n.state is NominationState.REJECTED]
    assert len(rejected) == 1
    assert "is not in the portfolio" in rejected[0].message


async def test_rows_that_contradict_each_other_stop_nobody_else(scene: MarketScene) -> None:
    early = scene.clock.now() - timedelta(hours=1)
    lost = OutboxItem(id="lost", tenant=TENANT, topic="order", key="an order that is not there", due_at=early)
    await scene.store.apply(Batch(tenant=TENANT, outbox=(lost,)))
    bid = await scene.submitted()
    assert bid.state is BidState.SUBMITTED
    [stuck] = [item for item in await scene.store.due_outbox("order", scene.gate) if item.id == "lost"]
    assert "not found" in stuck.note
    assert stuck.due_at > scene.clock.now()
