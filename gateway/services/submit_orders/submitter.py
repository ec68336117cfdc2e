"""Sends approved orders once, collects awards, and turns them into nominations and schedules.

```
PENDING --(on disk)--> SENDING --(network)--> ACCEPTED ... award --> nominations, schedules --> acknowledged
                          |-> REJECTED, MISSED
                          |-> UNKNOWN: it left and nobody knows; a person decides, we only look
```

Whatever this service has to do next is an outbox row, so that a restart at any point goes on where it was. A SENDING row found
at a restart is never sent again blindly: the exchange is asked first whether it holds the order under our key.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import timedelta

from gateway.domain.bids import (
    OPEN_STATES,
    Award,
    Bid,
    BidState,
    Nomination,
    NominationState,
    Order,
    OrderState,
    PlanRun,
)
from gateway.domain.errors import (
    Conflict,
    GateClosed,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    PeerUnavailable,
    PreconditionFailed,
    Unavailable,
)
from gateway.domain.evidence import content_hash, require_request_id
from gateway.domain.identity import Permission, Principal
from gateway.domain.positions import award_problem, problem_before_sending
from gateway.domain.price_doubts import require_word
from gateway.domain.series import MarketDayStatus
from gateway.observe import logger
from gateway.ports import Batch, Clock, Exchange, Ids, NominationDesk, OutboxItem, Put, Store, Stored
from gateway.services.submit_orders.outcomes import Outcomes
from gateway.services.submit_orders.settings import (
    AWARD_TOPIC,
    CHECK_TOPIC,
    GATE_TOPIC,
    NOMINATION_TOPIC,
    ORDER_TOPIC,
    SubmitSettings,
)
from gateway.wakeup import woken_by

_LOG = logger("submit_orders")


class OrderSubmitter:
    """The only one who talks to the exchange about orders and to the balance responsible party about nominations."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        exchange: Exchange,
        nomination_desk: NominationDesk,
        settings: SubmitSettings | None = None,
    ) -> None:
        """Take the ports."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._exchange = exchange
        self._desk = nomination_desk
        self._settings = settings if settings is not None else SubmitSettings()
        self._outcomes = Outcomes(clock, ids, self._settings)

    # ------------------------------------------------------------ what people ask

    @property
    def clock_alarm(self) -> str:
        """What to tell people about our clock and the exchange's; empty unless they are certainly more than 2 s apart."""
        skew = self._exchange.clock_skew
        return skew.told("the exchange") if skew is not None and skew.is_off else ""

    async def award(self, principal: Principal, portfolio: str, delivery_day: str) -> Award:
        """Return the latest award of a delivery day.

        Raises:
            PermissionRefused: The caller may not read bids.
            NotFound: There is none (yet).
        """
        principal.require(Permission.BID_READ)
        where = {"portfolio": portfolio, "delivery_day": delivery_day}
        rows = await self._store.find(Award, principal.tenant, where, newest_first=True, limit=1)
        if not rows:
            raise NotFound("award", f"{portfolio}:{delivery_day}")
        return rows[0].record

    async def nominations(self, principal: Principal, delivery_day: str) -> list[Nomination]:
        """Return the nominations of a delivery day, one per connection point.

        Raises:
            PermissionRefused: The caller may not read bids.
        """
        principal.require(Permission.BID_READ)
        rows = await self._store.find(Nomination, principal.tenant, {"delivery_day": delivery_day})
        return sorted((row.record for row in rows), key=lambda nomination: nomination.connection_point)

    async def resolve_unknown(
        self, principal: Principal, *, bid_id: str, is_held: bool, reason: str, request_id: str
    ) -> Bid:
        """Record a person's word on a bid whose outcome is unknown: the exchange holds it, or it does not.

        Args:
            principal: Who asked the exchange by other means.
            bid_id: The bid.
            is_held: Whether the exchange holds the order.
            reason: How the person knows.
            request_id: Idempotency key.

        Raises:
            PermissionRefused: The caller may not approve.
            InvalidInput: No reason is given.
            PreconditionFailed: The outcome is not unknown.
        """
        principal.require(Permission.BID_APPROVE)
        require_request_id(request_id)
        if not reason.strip():
            raise InvalidInput("reason", "is required")
        request_hash = content_hash([principal.actor, "resolve-unknown", bid_id, is_held, reason])
        if await self._store.replay(principal.tenant, request_id, request_hash) is None:
            order, bid = await self._rows_of_bid(principal.tenant, bid_id)
            if order.record.state is not OrderState.UNKNOWN:
                raise PreconditionFailed(f"the order is {order.record.state.value}, not unknown")
            batch = self._outcomes.accepted(order, bid, None) if is_held else self._outcomes.refused(order, bid, reason)
            note = self._outcomes.entry(
                bid.record.tenant, "bid.resolve", "bid", bid_id, (f"order:{order.record.id}",), reason
            )
            spoken = dataclasses.replace(note, actor=principal.actor, request_id=request_id)
            settled = self._outcomes.item(order.record, CHECK_TOPIC, settled=True, note="a person decided")
            batch = dataclasses.replace(
                batch,
                audit=(*batch.audit, spoken),
                outbox=(*batch.outbox, settled),
                request_id=request_id,
                request_hash=request_hash,
                response=bid_id,
            )
            await self._store.apply(batch)
        row = await self._store.get(Bid, principal.tenant, bid_id)
        if row is None:
            raise NotFound("bid", bid_id)
        return row.record

    # ------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Do what is due whenever something changes and at least every sweep, until cancelled."""
        async with woken_by(self._store, self._clock, (Order, Nomination)) as wake:
            while True:
                try:
                    await self.step()
                except Unavailable as error:
                    _LOG.warning("order_sweep_failed", error=str(error))
                await wake.wait(self._clock.now() + self._settings.sweep)

    async def step(self) -> None:
        """Do everything that is due now, once; one failing item never holds up another."""
        doers: tuple[tuple[str, Callable[[OutboxItem], Awaitable[None]]], ...] = (
            (ORDER_TOPIC, self._send),
            (CHECK_TOPIC, self._look_again),
            (AWARD_TOPIC, self._ask_award),
            (NOMINATION_TOPIC, self._nominate),
            (GATE_TOPIC, self._close_gate),
        )
        for topic, do in doers:
            for item in await self._store.due_outbox(topic, self._clock.now()):
                await self._guarded(item, do)

    async def _guarded(self, item: OutboxItem, do: Callable[[OutboxItem], Awaitable[None]]) -> None:
        try:
            await do(item)
        except PeerUnavailable as error:
            await self._later(item, self._backoff(item.attempts), str(error))
        except Conflict:
            _LOG.info("order_row_changed", topic=item.topic, key=item.key)
        except (NotFound, InvalidInput, PreconditionFailed) as error:
            # Rows that contradict each other are for a person; they must not stop the rows of others.
            _LOG.error("order_item_stuck", topic=item.topic, key=item.key, error=str(error))
            await self._later(item, self._settings.longest_retry, str(error))

    def _backoff(self, attempts: int) -> timedelta:
        doubled: timedelta = self._settings.retry * int(2 ** min(attempts, 10))
        return min(doubled, self._settings.longest_retry)

    async def _later(self, item: OutboxItem, pause: timedelta, note: str) -> None:
        again = dataclasses.replace(item, due_at=self._clock.now() + pause, attempts=item.attempts + 1, note=note)
        await self._store.apply(Batch(tenant=item.tenant, outbox=(again,)))

    async def _settle(self, item: OutboxItem, note: str) -> None:
        done = dataclasses.replace(item, settled_at=self._clock.now(), note=note)
        await self._store.apply(Batch(tenant=item.tenant, outbox=(done,)))

    # ------------------------------------------------------------ sending

    async def _send(self, item: OutboxItem) -> None:
        order, bid = await self._rows(item)
        if order.record.state is OrderState.SENDING:
            await self._resend(item, order, bid)
            return
        if order.record.state is not OrderState.PENDING:
            await self._settle(item, f"the order is {order.record.state.value}")
            return
        problem = problem_before_sending(order.record, bid.record)
        if problem:
            await self._store.apply(self._outcomes.stopped(order, bid, problem))
            return
        if self._clock.now() >= order.record.gate_closure:
            await self._store.apply(self._outcomes.missed(order, bid, "the gate closed before the order was sent"))
            return
        await self._require_word(bid.record)
        await self._store.apply(self._outcomes.sending(order, bid))
        await self._submit(*await self._rows(item))

    async def _require_word(self, bid: Bid) -> None:
        """Hold an order back while a contradiction that came after its approval waits for a person's word.

        Raises:
            PreconditionFailed: It does; the order is tried again later, until its gate.
        """
        plan = await self._store.get(PlanRun, bid.tenant, bid.plan)
        keys = () if plan is None else plan.record.price_days
        rows = [await self._store.get(MarketDayStatus, bid.tenant, key) for key in keys]
        require_word(row.record for row in rows if row is not None)

    async def _resend(self, item: OutboxItem, order: Stored[Order], bid: Stored[Bid]) -> None:
        """Go on with an order that may have left before a crash: ask first, send again only when it is not there."""
        receipt = await self._exchange.find_order(order.record)
        if receipt is not None:
            await self._store.apply(self._outcomes.accepted(order, bid, receipt))
        elif self._clock.now() >= order.record.gate_closure:
            await self._store.apply(
                self._outcomes.missed(order, bid, "the exchange does not hold it and the gate has closed")
            )
        else:
            _LOG.info("order_resent", order=order.record.id, attempts=item.attempts)
            await self._submit(order, bid)

    async def _submit(self, order: Stored[Order], bid: Stored[Bid]) -> None:
        try:
            receipt = await self._exchange.submit(order.record)
        except GateClosed:
            await self._store.apply(self._outcomes.missed(order, bid, "the exchange says that the gate has closed"))
        except InvalidInput as error:
            await self._store.apply(self._outcomes.refused(order, bid, f"the exchange refused it: {error}"))
        except OutcomeUnknown as error:
            await self._store.apply(self._outcomes.unknown(order, bid, str(error)))
        else:
            await self._store.apply(self._outcomes.accepted(order, bid, receipt))

    async def _look_again(self, item: OutboxItem) -> None:
        """Look whether the exchange holds an order of unknown outcome; only a yes is news, a no is for a person."""
        order, bid = await self._rows(item)
        if order.record.state is not OrderState.UNKNOWN:
            await self._settle(item, f"the order is {order.record.state.value}")
            return
        receipt = await self._exchange.find_order(order.record)
        if receipt is None:
            seen = f"the exchange did not hold it at {self._clock.now():%Y-%m-%d %H:%M}Z"
            await self._later(item, self._settings.check_poll, seen)
            return
        batch = self._outcomes.accepted(order, bid, receipt)
        found = self._outcomes.item(order.record, CHECK_TOPIC, settled=True, note="found at the exchange")
        await self._store.apply(dataclasses.replace(batch, outbox=(*batch.outbox, found)))

    # ------------------------------------------------------------ the award

    async def _ask_award(self, item: OutboxItem) -> None:
        order, bid = await self._rows(item)
        if bid.record.state is not BidState.SUBMITTED:
            await self._settle(item, f"the bid is {bid.record.state.value}")
            return
        answer = await self._exchange.award(order.record, f"award:{order.record.id}", self._clock.now())
        if answer is None:
            await self._later(item, self._settings.award_poll, "the auction has not cleared")
            return
        award = dataclasses.replace(
            answer,
            tenant=order.record.tenant,
            order=order.record.id,
            bid=bid.record.id,
            portfolio=bid.record.portfolio,
            delivery_day=bid.record.delivery_day,
        )
        problem = award_problem(order.record, award)
        if problem:
            await self._store.apply(self._outcomes.doubted(order, bid, problem))
            return
        plan = await self._store.get(PlanRun, item.tenant, bid.record.plan)
        if plan is None:
            raise NotFound("plan", bid.record.plan)
        await self._store.apply(self._outcomes.awarded(order, bid, award, plan.record))

    # ------------------------------------------------------------ nominations

    async def _nominate(self, item: OutboxItem) -> None:
        row = await self._store.get(Nomination, item.tenant, item.key)
        if row is None or row.record.state is not NominationState.PENDING:
            await self._settle(item, "nothing to send")
            return
        nomination = row.record
        now = self._clock.now()
        try:
            reference = await self._desk.nominate(nomination)
        except InvalidInput as error:
            after = dataclasses.replace(nomination, state=NominationState.REJECTED, message=str(error))
            _LOG.error("nomination_rejected", nomination=nomination.id, error=str(error))
        else:
            after = dataclasses.replace(
                nomination, state=NominationState.ACKNOWLEDGED, acknowledged_at=now, acknowledgement=reference
            )
        entry = self._outcomes.entry(
            item.tenant,
            f"nomination.{after.state.value}",
            "nomination",
            after.id,
            (f"award:{after.award}",),
            after.acknowledgement or after.message,
        )
        done = dataclasses.replace(item, settled_at=now, note=after.state.value)
        await self._store.apply(
            Batch(
                tenant=item.tenant,
                puts=(Put(record=after, expected_version=row.version),),
                audit=(entry,),
                outbox=(done,),
            )
        )

    async def _close_gate(self, item: OutboxItem) -> None:
        """Let a bid that nobody approved in time miss its gate."""
        row = await self._store.get(Bid, item.tenant, item.key)
        done = dataclasses.replace(item, settled_at=self._clock.now(), note="the gate has closed")
        if row is None or row.record.state not in OPEN_STATES:
            await self._store.apply(Batch(tenant=item.tenant, outbox=(done,)))
            return
        bid = row.record
        missed = dataclasses.replace(bid, state=BidState.MISSED, reason="nobody approved it before the gate closed")
        entry = self._outcomes.entry(bid.tenant, "bid.miss", "bid", bid.id, (f"plan:{bid.plan}",), missed.reason)
        _LOG.warning("bid_missed_its_gate", bid=bid.id, state=bid.state.value)
        put = Put(record=missed, expected_version=row.version)
        await self._store.apply(Batch(tenant=item.tenant, puts=(put,), audit=(entry,), outbox=(done,)))

    # ------------------------------------------------------------ rows

    async def _rows(self, item: OutboxItem) -> tuple[Stored[Order], Stored[Bid]]:
        order = await self._store.get(Order, item.tenant, item.key)
        if order is None:
            raise NotFound("order", item.key)
        bid = await self._store.get(Bid, item.tenant, order.record.bid)
        if bid is None:
            raise NotFound("bid", order.record.bid)
        return order, bid

    async def _rows_of_bid(self, tenant: str, bid_id: str) -> tuple[Stored[Order], Stored[Bid]]:
        bid = await self._store.get(Bid, tenant, bid_id)
        orders = await self._store.find(Order, tenant, {"bid": bid_id}, limit=1)
        if bid is None or not orders:
            raise NotFound("bid", bid_id)
        return orders[0], bid
