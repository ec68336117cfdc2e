"""What becomes of an order: each way it can go, as the batch of rows that makes it true."""

import dataclasses
from datetime import datetime

from gateway.domain.bids import TRANSITIONS, Award, Bid, BidState, Order, OrderState, PlanRun
from gateway.domain.evidence import AuditEntry
from gateway.domain.positions import nominations_of, schedules_of
from gateway.observe import logger
from gateway.ports import Batch, Clock, Ids, OrderReceipt, OutboxItem, Put, Stored
from gateway.services.submit_orders.settings import (
    AWARD_TOPIC,
    CHECK_TOPIC,
    NOMINATION_TOPIC,
    ORDER_TOPIC,
    SubmitSettings,
)

_ACTOR = "system:orders"
_LOG = logger("submit_orders")


class Outcomes:
    """Makes batches; writes nothing."""

    def __init__(self, clock: Clock, ids: Ids, settings: SubmitSettings) -> None:
        """Take the ports."""
        self._clock = clock
        self._ids = ids
        self._settings = settings

    def sending(self, order: Stored[Order], bid: Stored[Bid]) -> Batch:
        """It is about to leave: on disk before the network call."""
        leaving = dataclasses.replace(order.record, state=OrderState.SENDING, sent_at=self._clock.now())
        submitting = dataclasses.replace(bid.record, state=BidState.SUBMITTING)
        entry = self.entry(submitting.tenant, "order.send", "order", leaving.id, (f"bid:{submitting.id}",))
        return self._batch(order, bid, leaving, submitting, entry)

    def accepted(self, order: Stored[Order], bid: Stored[Bid], receipt: OrderReceipt | None) -> Batch:
        """The exchange holds it; its award is asked for after the gate. `receipt` is None when a person says so."""
        exchange_id = order.record.exchange_order_id if receipt is None else receipt.exchange_order_id
        held = dataclasses.replace(order.record, state=OrderState.ACCEPTED, exchange_order_id=exchange_id, message="")
        submitted = dataclasses.replace(bid.record, state=BidState.SUBMITTED, reason="")
        entry = self.entry(
            bid.record.tenant, "order.accept", "order", held.id, (f"bid:{bid.record.id}",), exchange_id or ""
        )
        batch = self._batch(order, bid, held, submitted, entry)
        due = max(self._clock.now(), held.gate_closure + self._settings.award_delay)
        ask = self.item(held, AWARD_TOPIC, due_at=due)
        return dataclasses.replace(batch, outbox=(self.item(held, ORDER_TOPIC, settled=True, note="accepted"), ask))

    def refused(self, order: Stored[Order], bid: Stored[Bid], reason: str) -> Batch:
        """The exchange, or a person, says no."""
        return self._ended(order, bid, OrderState.REJECTED, BidState.REJECTED, reason)

    def missed(self, order: Stored[Order], bid: Stored[Bid], reason: str) -> Batch:
        """The gate closed before the exchange held it."""
        return self._ended(order, bid, OrderState.MISSED, BidState.MISSED, reason)

    def unknown(self, order: Stored[Order], bid: Stored[Bid], reason: str) -> Batch:
        """It left and nobody knows; from now on the exchange is asked now and then whether it holds it."""
        batch = self._ended(order, bid, OrderState.UNKNOWN, BidState.UNKNOWN, reason)
        look = self.item(order.record, CHECK_TOPIC, due_at=self._clock.now() + self._settings.check_poll)
        return dataclasses.replace(batch, outbox=(*batch.outbox, look))

    def _ended(
        self, order: Stored[Order], bid: Stored[Bid], state: OrderState, bid_state: BidState, reason: str
    ) -> Batch:
        bid.record.require_transition(bid_state)
        ended = dataclasses.replace(order.record, state=state, message=reason)
        moved = dataclasses.replace(bid.record, state=bid_state, reason=reason)
        entry = self.entry(moved.tenant, f"order.{state.value}", "order", ended.id, (f"bid:{moved.id}",), reason)
        _LOG.warning("order_ended", order=ended.id, state=state.value, reason=reason)
        batch = self._batch(order, bid, ended, moved, entry)
        return dataclasses.replace(batch, outbox=(self.item(ended, ORDER_TOPIC, settled=True, note=state.value),))

    def stopped(self, order: Stored[Order], bid: Stored[Bid], reason: str) -> Batch:
        """End an order that must not leave; the bid keeps the state that it was given meanwhile."""
        ended = dataclasses.replace(order.record, state=OrderState.REJECTED, message=reason)
        entry = self.entry(ended.tenant, "order.stop", "order", ended.id, (f"bid:{ended.bid}",), reason)
        moved = bid.record
        if BidState.MISSED in TRANSITIONS[moved.state]:
            moved = dataclasses.replace(moved, state=BidState.MISSED, reason=reason)
        _LOG.error("order_stopped", order=ended.id, reason=reason)
        batch = self._batch(order, bid, ended, moved, entry)
        return dataclasses.replace(batch, outbox=(self.item(ended, ORDER_TOPIC, settled=True, note="stopped"),))

    def _batch(
        self, order: Stored[Order], bid: Stored[Bid], new_order: Order, new_bid: Bid, entry: AuditEntry
    ) -> Batch:
        return Batch(
            tenant=new_bid.tenant,
            puts=(
                Put(record=new_order, expected_version=order.version),
                Put(record=new_bid, expected_version=bid.version),
            ),
            audit=(entry,),
        )

    def doubted(self, order: Stored[Order], bid: Stored[Bid], problem: str) -> Batch:
        """The award does not fit the order: a person looks at it."""
        doubted = dataclasses.replace(bid.record, state=BidState.UNKNOWN, reason=problem)
        unsure = dataclasses.replace(order.record, state=OrderState.UNKNOWN, message=problem)
        entry = self.entry(doubted.tenant, "award.doubt", "order", order.record.id, (f"bid:{doubted.id}",), problem)
        _LOG.error("award_does_not_fit", order=order.record.id, problem=problem)
        batch = self._batch(order, bid, unsure, doubted, entry)
        return dataclasses.replace(batch, outbox=(self.item(unsure, AWARD_TOPIC, settled=True, note=problem),))

    def awarded(self, order: Stored[Order], bid: Stored[Bid], award: Award, plan: PlanRun) -> Batch:
        """Return everything that follows from an award, to become true together."""
        now = self._clock.now()
        nominations = nominations_of(award, bid.record, plan, now)
        schedules = schedules_of(award, plan, now)
        won = dataclasses.replace(bid.record, state=BidState.AWARDED)
        causes = (f"award:{award.id}", f"plan:{plan.id}")
        audit = [
            self.entry(award.tenant, "award.receive", "award", award.id, (f"order:{award.order}", f"bid:{award.bid}")),
            *(self.entry(n.tenant, "nomination.create", "nomination", n.id, causes) for n in nominations),
            *(self.entry(s.tenant, "schedule.make", "schedule", s.id, causes) for s in schedules),
        ]
        items = [
            OutboxItem(id=n.id, tenant=n.tenant, topic=NOMINATION_TOPIC, key=n.id, due_at=now) for n in nominations
        ]
        _LOG.info("award_received", order=award.order, energy_mwh=str(award.energy_mwh))
        return Batch(
            tenant=award.tenant,
            puts=(
                Put(record=award, expected_version=0),
                Put(record=won, expected_version=bid.version),
                *(Put(record=nomination, expected_version=0) for nomination in nominations),
                *(Put(record=schedule) for schedule in schedules),
            ),
            audit=tuple(audit),
            outbox=(self.item(order.record, AWARD_TOPIC, settled=True, note="received"), *items),
        )

    def item(
        self, order: Order, topic: str, *, due_at: datetime | None = None, settled: bool = False, note: str = ""
    ) -> OutboxItem:
        """Return an outbox item of an order; one per order and topic, the latest wins."""
        now = self._clock.now()
        return OutboxItem(
            id=order.id if topic == ORDER_TOPIC else f"{topic}:{order.id}",
            tenant=order.tenant,
            topic=topic,
            key=order.id,
            due_at=now if due_at is None else due_at,
            expires_at=order.gate_closure if topic == ORDER_TOPIC else None,
            settled_at=now if settled else None,
            note=note,
        )

    def entry(
        self,
        tenant: str,
        action: str,
        kind: str,
        object_id: str,
        causes: tuple[str, ...],
        message: str = "",
    ) -> AuditEntry:
        """Return an audit entry of now, by the gateway itself."""
        return AuditEntry(
            id=self._ids.new("audit"),
            tenant=tenant,
            at=self._clock.now(),
            actor=_ACTOR,
            action=action,
            object_kind=kind,
            object_id=object_id,
            causes=causes,
            detail={"message": message} if message else {},
        )
