"""The planner: one request, one call of a worker process, one batch of rows."""

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import date, datetime

from bidding.optimum.outcome import SolutionRejected
from bidding.plans.portfolio_plan import PortfolioInputs, PortfolioResult, plan_portfolio
from gateway.domain.bids import OPEN_STATES, ORDERED_STATES, Bid, BidState, PlanRun, Schedule
from gateway.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from gateway.domain.evidence import AuditEntry, content_hash, require_request_id
from gateway.domain.fleet import FleetView
from gateway.domain.identity import Permission, Principal, system_principal
from gateway.domain.series import CarbonSeries, MarketDayStatus
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.topology import Portfolio, Route
from gateway.observe import logger
from gateway.ports import AuctionInfo, Batch, Clock, Exchange, Ids, Put, Store, Stored, Worker
from gateway.services.plan_bids.carbon import moved_carbon
from gateway.services.plan_bids.knowledge import KnowledgeReader
from gateway.services.plan_bids.records import (
    Failure,
    Planned,
    bridge_schedules,
    draft_bid,
    gate_item,
    market_rules,
    plan_run_of,
    plan_schedules,
    tariff_schedules,
)
from gateway.services.plan_bids.settings import PlanOutcome, PlanSettings
from gateway.wakeup import woken_by

_LOG = logger("plan_bids")
_BAD_OUTCOMES = frozenset({"failed", "timed-out"})


class BidPlanner:
    """Plans a portfolio's delivery day and drafts its bid."""

    def __init__(  # noqa: PLR0913  # keyword-only ports
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        worker: Worker,
        exchange: Exchange,
        settings: PlanSettings,
        fleet: Callable[[str], FleetView] | None = None,
    ) -> None:
        """Take the ports and, where there is one, the live fleet."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._worker = worker
        self._exchange = exchange
        self._settings = settings
        self._reader = KnowledgeReader(store, settings, fleet)
        self._one_at_a_time = asyncio.Lock()

    async def plan(self, principal: Principal, *, portfolio_id: str, delivery_day: str, request_id: str) -> PlanOutcome:
        """Plan a delivery day with what is known now and draft a bid while the gate is open.

        Args:
            principal: Who asks.
            portfolio_id: Portfolio.
            delivery_day: ISO date in the market's time zone.
            request_id: Idempotency key.

        Returns:
            The plan, and the bid it led to. There is none when the portfolio is too small, has no route, the auction is not
            announced, the gate has closed, or the plan may not be used; the plan's message says why.

        Raises:
            PermissionRefused: The caller may not draft bids.
            NotFound: This tenant has no such portfolio.
            PreconditionFailed: The delivery day has begun, a bid for it is with people or the exchange already, or there is
                no past to forecast from.
            PeerUnavailable: The exchange does not answer.
        """
        principal.require(Permission.BID_DRAFT)
        require_request_id(request_id)
        request_hash = content_hash([principal.actor, "plan", portfolio_id, delivery_day])
        async with self._one_at_a_time:
            replay = await self._store.replay(principal.tenant, request_id, request_hash)
            if replay is not None:
                return await self._remembered(principal.tenant, replay)
            scope = await self._reader.scope(principal.tenant, portfolio_id)
            day = DeliveryDay(day=_iso_date(delivery_day), zone=scope.portfolio.time_zone)
            bids = await self._bids(scope.portfolio, delivery_day)
            _require_free(bids)
            now = self._clock.now()
            auction = await self._open_auction(scope.portfolio, day, now)
            is_on_tariff = scope.portfolio.route is Route.TARIFF_ONLY
            market = None if is_on_tariff else market_rules(auction, day, scope.portfolio.currency)
            knowledge = await self._reader.read(scope, day, now, market)
            result = await self._solve(knowledge.inputs)
            plan = plan_run_of(self._ids.new("plan"), scope, knowledge, result, now)
            bid = None
            if auction is not None and not isinstance(result, Failure) and result.periods:
                planned = Planned(scope=scope, plan=plan, result=result, auction=auction)
                version = max((row.record.version for row in bids), default=0) + 1
                bid = draft_bid(self._ids.new("bid"), version, planned, principal.actor)
            if bid is None:
                plan = dataclasses.replace(plan, message=_why_no_bid(plan, scope.portfolio, auction))
            schedules: tuple[Schedule, ...] = ()
            if bid is None:
                schedules = tariff_schedules(plan, scope, now) if is_on_tariff else plan_schedules(plan, now)
            elif not isinstance(result, Failure):
                day_before = day.next(-1).day.isoformat()
                schedules = await self._unscheduled(bridge_schedules(plan, knowledge, result, day_before, now))
            batch = self._batch(principal, plan, bid, bids, schedules, request_id)
            response = f"{plan.id}|{'' if bid is None else bid.id}"
            await self._store.apply(dataclasses.replace(batch, request_hash=request_hash, response=response))
            _LOG.info("planned", plan=plan.id, outcome=plan.outcome, bid=None if bid is None else bid.id)
            return PlanOutcome(plan=plan, bid=bid)

    async def _unscheduled(self, schedules: tuple[Schedule, ...]) -> tuple[Schedule, ...]:
        """Return those of the schedules whose node has none for the day yet: what was awarded is never replaced."""
        return tuple([one for one in schedules if await self._store.get(Schedule, one.tenant, one.id) is None])

    async def _remembered(self, tenant: str, response: str) -> PlanOutcome:
        plan_id, _, bid_id = response.partition("|")
        plan = await self._store.get(PlanRun, tenant, plan_id)
        if plan is None:
            raise NotFound("plan", plan_id)
        bid = await self._store.get(Bid, tenant, bid_id) if bid_id else None
        return PlanOutcome(plan=plan.record, bid=None if bid is None else bid.record)

    async def _bids(self, portfolio: Portfolio, delivery_day: str) -> list[Stored[Bid]]:
        where = {"portfolio": portfolio.id, "delivery_day": delivery_day}
        return await self._store.find(Bid, portfolio.tenant, where)

    async def _open_auction(self, portfolio: Portfolio, day: DeliveryDay, now: datetime) -> AuctionInfo | None:
        """Return the day's auction while it takes orders; None without a route, before its announcement, after its gate."""
        if portfolio.route is Route.TARIFF_ONLY:
            return None
        auction = await self._exchange.auction(portfolio.bidding_zone, day)
        return None if auction is None or now >= auction.gate_closure else auction

    async def _solve(self, inputs: PortfolioInputs) -> PortfolioResult | Failure:
        """Run the mathematics in a worker process and turn every way it can end into a value.

        Raises:
            PreconditionFailed: What is known is not enough for a plan.
        """
        if not inputs.points:
            raise PreconditionFailed("the portfolio has no connection point")
        try:
            result: PortfolioResult = await self._worker.run(
                plan_portfolio, inputs, deadline_s=self._settings.deadline_s
            )
        except TimeoutError:
            return Failure(outcome="timed-out", message=f"no plan within {self._settings.deadline_s:.0f} s")
        except SolutionRejected as error:
            _LOG.error("solution_rejected", error=str(error))
            return Failure(outcome="failed", message=f"the independent check refused the solution: {error}")
        except Unavailable as error:
            return Failure(outcome="failed", message=f"the solving process died: {error}")
        except InvalidInput as error:
            raise PreconditionFailed(f"there is not enough to plan from: {error}") from error
        return result

    def _batch(
        self,
        principal: Principal,
        plan: PlanRun,
        bid: Bid | None,
        bids: list[Stored[Bid]],
        schedules: tuple[Schedule, ...],
        request_id: str,
    ) -> Batch:
        """Return everything a plan makes true together; an older version that nobody has proposed gives way to a new bid."""
        puts = [Put(record=plan, expected_version=0)]
        audit = [self._entry(principal, "plan.make", f"plan:{plan.id}", plan.causes, plan.outcome)]
        made_from = (f"plan:{plan.id}",)
        for schedule in schedules:
            puts.append(Put(record=schedule))
            audit.append(self._entry(principal, "schedule.make", f"schedule:{schedule.id}", made_from))
        if bid is not None:
            for row in bids:
                if row.record.state in OPEN_STATES:
                    reason = f"replaced by version {bid.version}"
                    gone = dataclasses.replace(row.record, state=BidState.WITHDRAWN, reason=reason)
                    puts.append(Put(record=gone, expected_version=row.version))
                    audit.append(self._entry(principal, "bid.replace", f"bid:{gone.id}", made_from, reason))
            puts.append(Put(record=bid, expected_version=0))
            audit.append(
                self._entry(principal, "bid.draft", f"bid:{bid.id}", made_from + plan.causes, bid.content_hash)
            )
            if bid.state is BidState.VALIDATED:
                audit.append(self._entry(principal, "bid.validate", f"bid:{bid.id}", made_from))
        return Batch(
            tenant=plan.tenant,
            puts=tuple(puts),
            audit=tuple(dataclasses.replace(entry, request_id=request_id) for entry in audit),
            outbox=() if bid is None else (gate_item(bid),),
            request_id=request_id,
        )

    def _entry(
        self, principal: Principal, action: str, subject: str, causes: tuple[str, ...], message: str = ""
    ) -> AuditEntry:
        kind, _, object_id = subject.partition(":")
        return AuditEntry(
            id=self._ids.new("audit"),
            tenant=principal.tenant,
            at=self._clock.now(),
            actor=principal.actor,
            action=action,
            object_kind=kind,
            object_id=object_id,
            causes=causes,
            detail={"message": message} if message else {},
        )

    # ------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Plan tomorrow for every portfolio from the planning time on, and again with published prices when nothing is bid."""
        async with woken_by(self._store, self._clock, (MarketDayStatus, CarbonSeries, Bid)) as wake:
            while True:
                for tenant in self._settings.tenants:
                    await self._plan_due(tenant)
                await wake.wait(self._clock.now() + self._settings.sweep)

    async def _plan_due(self, tenant: str) -> None:
        try:
            portfolios = await self._store.find(Portfolio, tenant)
            for row in portfolios:
                request_id = await self._due(row.record)
                if request_id is not None:
                    day = self._tomorrow(row.record).day.isoformat()
                    principal = system_principal(tenant, "planner")
                    await self.plan(principal, portfolio_id=row.record.id, delivery_day=day, request_id=request_id)
        except (PreconditionFailed, Conflict, Unavailable) as error:
            _LOG.info("planning_waits", tenant=tenant, reason=str(error))

    def _tomorrow(self, portfolio: Portfolio) -> DeliveryDay:
        return DeliveryDay.containing(self._clock.now(), portfolio.time_zone).next()

    async def _due(self, portfolio: Portfolio) -> str | None:
        """Return the request id of the plan that is due now, or None: it names what made it due, so it comes once."""
        now = self._clock.now()
        day = self._tomorrow(portfolio)
        if now < day.next(-1).at(self._settings.plan_at):
            return None
        iso = day.day.isoformat()
        where = {"portfolio": portfolio.id, "delivery_day": iso}
        plans = [row.record for row in await self._store.find(PlanRun, portfolio.tenant, where)]
        made = [plan for plan in plans if plan.outcome not in _BAD_OUTCOMES]
        if not made:
            scope = await self._reader.scope(portfolio.tenant, portfolio.id)
            if len(plans) >= self._settings.tries or not await self._reader.has_past(scope, now):
                return None
            return f"auto:{portfolio.id}:{iso}:{len(plans)}"
        return await self._due_again(portfolio, day, made[-1])

    async def _due_again(self, portfolio: Portfolio, day: DeliveryDay, last: PlanRun) -> str | None:
        """Plan again with what is published or revised where no award will say what to draw: after the gate, or without a bid.

        Other prices than the plan was made from are always worth it, another carbon intensity only when it has moved much.
        """
        news = await self._news(portfolio, day, last)
        if news is None:
            return None
        bids = [row.record for row in await self._bids(portfolio, day.day.isoformat())]
        now = self._clock.now()
        if any(bid.state in ORDERED_STATES for bid in bids):
            return None
        if any(bid.state in OPEN_STATES and now < bid.gate_closure for bid in bids):
            return None
        return f"auto:{portfolio.id}:{day.day.isoformat()}:{news}"

    async def _news(self, portfolio: Portfolio, day: DeliveryDay, last: PlanRun) -> str | None:
        """Return the id of the series that a plan does not know yet and should; None when there is none."""
        prices = await self._reader.published(portfolio, day)
        if prices is None:
            return None
        if prices.id != last.price_series:
            return prices.id
        moved = await moved_carbon(self._store, portfolio, last.carbon_series, self._settings.carbon_eur_per_tonne)
        return None if moved is None else moved.id


def _iso_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput("delivery_day", "must be an ISO date such as 2025-10-15") from error


def _require_free(bids: list[Stored[Bid]]) -> None:
    """Refuse a new plan while a bid of the day is with an approver or the exchange."""
    for row in bids:
        bid = row.record
        if bid.state in ORDERED_STATES or bid.state is BidState.PROPOSED:
            raise PreconditionFailed(f"version {bid.version} of the bid is {bid.state.value} already")


def _why_no_bid(plan: PlanRun, portfolio: Portfolio, auction: AuctionInfo | None) -> str:
    if plan.outcome in _BAD_OUTCOMES | {"infeasible", "too-small"}:
        return plan.message
    if portfolio.route is Route.TARIFF_ONLY:
        return f"no route to the market, planned for the tariff; {plan.message}"
    if auction is None:
        return f"no auction takes orders for this day now, planned without a bid; {plan.message}"
    return plan.message
