"""Two people and an unchanged hash: a trader proposes a bid, another person approves it, and only then there is an order.

Every step re-reads the row, recomputes the hash of what is bought, checks it against the hash that the person saw, and runs the
pre-trade checks again. The order and its outbox item are written in the same batch as the approval, so that an approved bid
without an order, or an order without an approval, cannot exist.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.bid_checks import require_passed
from gateway.domain.bids import (
    Bid,
    BidPeriod,
    BidState,
    CheckOutcome,
    Order,
    OrderState,
    PlanRun,
)
from gateway.domain.errors import (
    Conflict,
    ContentChanged,
    GateClosed,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    SelfApproval,
)
from gateway.domain.evidence import AuditEntry, content_hash, require_request_id
from gateway.domain.identity import Permission, Principal, system_principal
from gateway.domain.positions import order_of
from gateway.domain.price_doubts import waits_for_word
from gateway.domain.series import MarketDayStatus
from gateway.domain.topology import Portfolio
from gateway.observe import logger
from gateway.ports import Batch, Clock, Ids, OutboxItem, Put, Store, Stored
from gateway.services.review_bids.facts import BidFacts, is_news, price_data

ORDER_TOPIC = "order"
GATE_TOPIC = "bid-gate"
_TRIES = 3
_LONGEST_REASON = 500
_LOG = logger("review_bids")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One step of a person: what it writes, besides the request id that the caller adds."""

    bid: Bid
    puts: tuple[Put, ...]
    audit: tuple[AuditEntry, ...]
    outbox: tuple[OutboxItem, ...] = ()
    refusal: PreconditionFailed | None = None
    """Raised once this is written: the person has to look again, and may ask again under the same key."""


class BidReviewer:
    """Moves bids along their states at the word of people."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids) -> None:
        """Take the ports."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._facts = BidFacts(store)

    async def get(self, principal: Principal, bid_id: str) -> Bid:
        """Return one bid.

        Raises:
            PermissionRefused: The caller may not read bids.
            NotFound: This tenant has no such bid.
        """
        principal.require(Permission.BID_READ)
        return (await self._read(principal, bid_id)).record

    async def list_bids(self, principal: Principal, delivery_day: str | None = None) -> list[Bid]:
        """Return the bids of a delivery day, or of all days, newest first.

        Raises:
            PermissionRefused: The caller may not read bids.
        """
        principal.require(Permission.BID_READ)
        where = None if delivery_day is None else {"delivery_day": delivery_day}
        rows = await self._store.find(Bid, principal.tenant, where, newest_first=True)
        return [row.record for row in rows]

    async def planned(self, principal: Principal, bid: Bid) -> tuple[BidPeriod, ...]:
        """Return the periods as the plan behind a bid drafted them, before anybody corrected one.

        Raises:
            PermissionRefused: The caller may not read bids.
        """
        principal.require(Permission.BID_READ)
        where = {"portfolio": bid.portfolio, "delivery_day": bid.delivery_day}
        rows = await self._store.find(Bid, principal.tenant, where)
        versions = [row.record for row in rows if row.record.plan == bid.plan]
        return min(versions, key=lambda one: one.version, default=bid).periods

    async def propose(self, principal: Principal, *, bid_id: str, content_hash: str, request_id: str) -> Bid:
        """Propose a validated bid for approval.

        Args:
            principal: The trader.
            bid_id: The bid.
            content_hash: The hash that the trader saw.
            request_id: Idempotency key.

        Raises:
            PermissionRefused: The caller may not propose.
            ContentChanged: The bid is not what the trader saw.
            PreTradeLimitExceeded: A check fails; so do `NoRoute` and `GateClosed`.
            PreconditionFailed: The bid is in another state, or prices behind it contradict each other and nobody has
                acknowledged that.
        """
        principal.require(Permission.BID_PROPOSE)

        async def step(row: Stored[Bid], now: datetime) -> _Step:
            bid = row.record
            bid.require_transition(BidState.PROPOSED)
            _require_unchanged(bid, content_hash)
            checks = await self._facts.checked(bid, now)
            require_passed(checks)
            await self._facts.require_word(bid)
            after = dataclasses.replace(
                bid, state=BidState.PROPOSED, checks=checks, proposed_by=principal.actor, proposed_at=now
            )
            return self._moved(principal, row, after, "bid.propose", request_id)

        return await self._decide(principal, bid_id, ["propose", bid_id, content_hash], request_id, step)

    async def approve(self, principal: Principal, *, bid_id: str, content_hash: str, request_id: str) -> Bid:
        """Approve a proposed bid; the order leaves without anybody doing anything else.

        Args:
            principal: The approver: another person than who drafted and who proposed.
            bid_id: The bid.
            content_hash: The hash that the approver saw.
            request_id: Idempotency key.

        Raises:
            PermissionRefused: The caller may not approve.
            SelfApproval: The caller drafted or proposed the bid.
            ContentChanged: The bid is not what the approver saw, or not what was proposed.
            GateClosed: The gate has closed; at the very instant it has.
            NoRoute: There is no route with a balance responsible party any more.
            PreTradeLimitExceeded: A check fails now.
            PreconditionFailed: The bid is in another state, who proposed it may not do so any more, prices behind it contradict
                each other and nobody has acknowledged that, or something is doubtful about them that the checks that the
                approver saw did not say: they say it now.
        """
        principal.require(Permission.BID_APPROVE)

        async def step(row: Stored[Bid], now: datetime) -> _Step:
            bid = row.record
            if principal.actor in {bid.proposed_by, bid.drafted_by}:
                raise SelfApproval("another person than who drafted and proposed the bid must approve it")
            bid.require_transition(BidState.APPROVED)
            _require_unchanged(bid, content_hash)
            await self._facts.require_proposer(bid)
            checks = await self._facts.checked(bid, now)
            require_passed(checks)
            await self._facts.require_word(bid)
            if is_news(bid.checks, checks):
                return self._shown_again(row, dataclasses.replace(bid, checks=checks), request_id)
            after = dataclasses.replace(
                bid, state=BidState.APPROVED, checks=checks, approved_by=principal.actor, approved_at=now
            )
            return await self._ordered(principal, row, after, request_id)

        return await self._decide(principal, bid_id, ["approve", bid_id, content_hash], request_id, step)

    async def reject(self, principal: Principal, *, bid_id: str, reason: str, request_id: str) -> Bid:
        """Refuse a proposed bid.

        Raises:
            PermissionRefused: The caller may not approve.
            InvalidInput: No reason is given.
            PreconditionFailed: The bid is in another state.
        """
        principal.require(Permission.BID_APPROVE)
        why = _require_reason(reason)

        async def step(row: Stored[Bid], _now: datetime) -> _Step:
            row.record.require_transition(BidState.REJECTED)
            if row.record.state is not BidState.PROPOSED:
                raise PreconditionFailed(
                    f"a bid that is {row.record.state.value} is rejected by the exchange, not by people"
                )
            after = dataclasses.replace(row.record, state=BidState.REJECTED, reason=why)
            return self._moved(principal, row, after, "bid.reject", request_id)

        return await self._decide(principal, bid_id, ["reject", bid_id, reason], request_id, step)

    async def withdraw(self, principal: Principal, *, bid_id: str, reason: str, request_id: str) -> Bid:
        """Take a bid back before it is sent; an approved one loses its order in the same batch.

        Raises:
            PermissionRefused: The caller may not withdraw.
            InvalidInput: No reason is given.
            PreconditionFailed: The bid has left already.
        """
        principal.require(Permission.BID_WITHDRAW)
        why = _require_reason(reason)

        async def step(row: Stored[Bid], now: datetime) -> _Step:
            row.record.require_transition(BidState.WITHDRAWN)
            after = dataclasses.replace(row.record, state=BidState.WITHDRAWN, reason=why)
            step = self._moved(principal, row, after, "bid.withdraw", request_id)
            if row.record.state is BidState.APPROVED:
                return await self._without_order(step, now)
            return step

        return await self._decide(principal, bid_id, ["withdraw", bid_id, reason], request_id, step)

    async def revise(self, principal: Principal, *, bid_id: str, periods: Sequence[BidPeriod], request_id: str) -> Bid:
        """Replace a bid by a new version with other periods; approvals of the old one are void with it.

        The new version is VALIDATED when all checks pass, otherwise it stays a DRAFT that shows what failed.

        Raises:
            PermissionRefused: The caller may not draft.
            GateClosed: The gate has closed.
            PreconditionFailed: The bid has been approved or has left.
        """
        principal.require(Permission.BID_DRAFT)

        async def step(row: Stored[Bid], now: datetime) -> _Step:
            old = row.record
            if old.state is BidState.APPROVED:
                raise PreconditionFailed("withdraw the approved bid first")
            old.require_transition(BidState.WITHDRAWN)
            if now >= old.gate_closure:
                raise GateClosed(f"the gate closed at {old.gate_closure.isoformat()}")
            new = await self._next_version(principal, old, tuple(periods), now)
            gone = dataclasses.replace(old, state=BidState.WITHDRAWN, reason=f"replaced by version {new.version}")
            return _Step(
                bid=new,
                puts=(Put(record=gone, expected_version=row.version), Put(record=new, expected_version=0)),
                audit=(
                    self._entry(principal, gone, "bid.replace", request_id, ()),
                    self._entry(principal, new, "bid.draft", request_id, (f"bid:{old.id}", f"plan:{old.plan}")),
                ),
                outbox=(
                    OutboxItem(
                        id=f"{GATE_TOPIC}:{new.id}",
                        tenant=new.tenant,
                        topic=GATE_TOPIC,
                        key=new.id,
                        due_at=new.gate_closure,
                    ),
                ),
            )

        return await self._decide(principal, bid_id, ["revise", bid_id, list(periods)], request_id, step)

    # ------------------------------------------------------------ the steps' parts

    async def _decide(
        self,
        principal: Principal,
        bid_id: str,
        request: list[object],
        request_id: str,
        step: Callable[[Stored[Bid], datetime], Awaitable[_Step]],
    ) -> Bid:
        """Answer a replay with what the first call led to, otherwise take the step; a conflict is read again and retried."""
        require_request_id(request_id)
        request_hash = content_hash([principal.actor, *request])
        for _ in range(_TRIES):
            replay = await self._store.replay(principal.tenant, request_id, request_hash)
            if replay is not None:
                return (await self._read(principal, replay)).record
            taken = await step(await self._read(principal, bid_id), self._clock.now())
            batch = Batch(tenant=principal.tenant, puts=taken.puts, audit=taken.audit, outbox=taken.outbox)
            if taken.refusal is None:
                batch = dataclasses.replace(
                    batch, request_id=request_id, request_hash=request_hash, response=taken.bid.id
                )
            try:
                await self._store.apply(batch)
            except Conflict:
                continue
            if taken.refusal is not None:
                raise taken.refusal
            _LOG.info("bid_moved", bid=taken.bid.id, state=taken.bid.state.value, actor=principal.actor)
            return taken.bid
        raise Conflict(f"bid {bid_id} keeps changing; read it again")

    async def _read(self, principal: Principal, bid_id: str) -> Stored[Bid]:
        row = await self._store.get(Bid, principal.tenant, bid_id)
        if row is None:
            raise NotFound("bid", bid_id)
        return row

    async def contradicted_days(self, principal: Principal, plan_id: str) -> list[MarketDayStatus]:
        """Return the days behind a plan whose prices are contradicted while nobody has acknowledged it: no bid of it leaves.

        Raises:
            PermissionRefused: The caller may not read bids.
            NotFound: This tenant has no such plan.
        """
        principal.require(Permission.BID_READ)
        plan = await self._store.get(PlanRun, principal.tenant, plan_id)
        if plan is None:
            raise NotFound("plan", plan_id)
        return [status for status in await self._facts.price_days(plan.record) if waits_for_word(status)]

    def _shown_again(self, row: Stored[Bid], bid: Bid, request_id: str) -> _Step:
        """Return the step that only writes what is doubtful now, so that whoever looks next sees it."""
        entry = dataclasses.replace(
            self._entry(system_principal(bid.tenant, "bids"), bid, "bid.recheck", request_id, (f"plan:{bid.plan}",)),
            detail={"price_data": price_data(bid.checks).message},
        )
        refusal = PreconditionFailed(
            "what is doubtful about the prices behind the bid has changed: look at its checks again"
        )
        return _Step(bid=bid, puts=(Put(record=bid, expected_version=row.version),), audit=(entry,), refusal=refusal)

    async def _ordered(self, principal: Principal, row: Stored[Bid], bid: Bid, request_id: str) -> _Step:
        portfolio = await self._store.get(Portfolio, bid.tenant, bid.portfolio)
        if portfolio is None:
            raise NotFound("portfolio", bid.portfolio)
        await self._facts.require_only(bid)
        now = self._clock.now()
        order = order_of(bid, portfolio.record.exchange_portfolio, now)
        moved = self._moved(principal, row, bid, "bid.approve", request_id)
        entry = AuditEntry(
            id=self._ids.new("audit"),
            tenant=bid.tenant,
            at=now,
            actor=principal.actor,
            action="order.create",
            object_kind="order",
            object_id=order.id,
            causes=(f"bid:{bid.id}",),
            detail={"bid_hash": bid.content_hash},
            request_id=request_id,
        )
        item = OutboxItem(
            id=order.id,
            tenant=bid.tenant,
            topic=ORDER_TOPIC,
            key=order.id,
            due_at=now,
            expires_at=bid.gate_closure,
        )
        return dataclasses.replace(
            moved,
            # The portfolio is written unchanged: two approvals at once for two versions of a bid then collide.
            puts=(
                *moved.puts,
                Put(record=order, expected_version=0),
                Put(record=portfolio.record, expected_version=portfolio.version),
            ),
            audit=(*moved.audit, entry),
            outbox=(item,),
        )

    async def _without_order(self, step: _Step, now: datetime) -> _Step:
        rows = await self._store.find(Order, step.bid.tenant, {"bid": step.bid.id})
        pending = [row for row in rows if row.record.state is OrderState.PENDING]
        if len(pending) != len(rows):
            raise PreconditionFailed("the order is already on its way")
        gone = [
            Put(
                record=dataclasses.replace(
                    row.record, state=OrderState.REJECTED, message=f"withdrawn before it was sent: {step.bid.reason}"
                ),
                expected_version=row.version,
            )
            for row in pending
        ]
        settled = [
            OutboxItem(
                id=row.record.id,
                tenant=step.bid.tenant,
                topic=ORDER_TOPIC,
                key=row.record.id,
                due_at=now,
                expires_at=row.record.gate_closure,
                settled_at=now,
                note="withdrawn",
            )
            for row in pending
        ]
        return dataclasses.replace(step, puts=(*step.puts, *gone), outbox=tuple(settled))

    async def _next_version(self, principal: Principal, old: Bid, periods: tuple[BidPeriod, ...], now: datetime) -> Bid:
        """Return the version after the latest of the same portfolio and day, checked."""
        rows = await self._store.find(Bid, old.tenant, {"portfolio": old.portfolio, "delivery_day": old.delivery_day})
        latest = max((row.record.version for row in rows), default=old.version)
        draft = dataclasses.replace(
            old,
            id=self._ids.new("bid"),
            version=latest + 1,
            periods=periods,
            state=BidState.DRAFT,
            checks=(),
            drafted_by=principal.actor,
            drafted_at=now,
            proposed_by=None,
            proposed_at=None,
            approved_by=None,
            approved_at=None,
            reason="",
        )
        checks = await self._facts.checked(draft, now)
        is_valid = all(check.outcome is not CheckOutcome.FAILED for check in checks)
        return dataclasses.replace(
            draft,
            content_hash=draft.hash_of_content(),
            checks=checks,
            state=BidState.VALIDATED if is_valid else BidState.DRAFT,
        )

    def _moved(self, principal: Principal, row: Stored[Bid], after: Bid, action: str, request_id: str) -> _Step:
        entry = self._entry(principal, after, action, request_id, (f"plan:{after.plan}",))
        return _Step(bid=after, puts=(Put(record=after, expected_version=row.version),), audit=(entry,))

    def _entry(
        self, principal: Principal, bid: Bid, action: str, request_id: str, causes: tuple[str, ...]
    ) -> AuditEntry:
        return AuditEntry(
            id=self._ids.new("audit"),
            tenant=bid.tenant,
            at=self._clock.now(),
            actor=principal.actor,
            action=action,
            object_kind="bid",
            object_id=bid.id,
            causes=causes,
            detail={"state": bid.state.value, "content_hash": bid.content_hash, "reason": bid.reason},
            request_id=request_id,
        )


def _require_unchanged(bid: Bid, seen_hash: str) -> None:
    if bid.hash_of_content() != bid.content_hash:
        raise ContentChanged("the bid's content does not match its own hash")
    if seen_hash != bid.content_hash:
        raise ContentChanged("the bid is not the one you saw; look at it again")


def _require_reason(reason: str) -> str:
    text = reason.strip()
    if not text:
        raise InvalidInput("reason", "is required")
    if len(text) > _LONGEST_REASON:
        raise InvalidInput("reason", f"must have at most {_LONGEST_REASON} characters")
    return text
