"""What a bid is held against: the rows behind it as they are now, not as they were when it was drafted."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from gateway.domain.bid_checks import PRICE_DATA_CHECK, check_bid, terms_of
from gateway.domain.bids import ORDERED_STATES, Bid, BidCheck, CheckOutcome, PlanRun
from gateway.domain.errors import NotFound, PreconditionFailed
from gateway.domain.identity import Account, Permission
from gateway.domain.price_doubts import UsedDay, doubts_about, require_word
from gateway.domain.series import MarketDayStatus, PriceSeries
from gateway.domain.topology import ConnectionPoint, Portfolio
from gateway.ports import Store


class BidFacts:
    """Reads rows; writes nothing."""

    def __init__(self, store: Store) -> None:
        """Remember where the rows are."""
        self._store = store

    async def checked(self, bid: Bid, now: datetime) -> tuple[BidCheck, ...]:
        """Run the pre-trade checks against the rows as they are now."""
        plan = await self._store.get(PlanRun, bid.tenant, bid.plan)
        portfolio = await self._store.get(Portfolio, bid.tenant, bid.portfolio)
        if plan is None:
            raise NotFound("plan", bid.plan)
        if portfolio is None:
            raise NotFound("portfolio", bid.portfolio)
        points: list[ConnectionPoint] = []
        for site in plan.record.sites:
            row = await self._store.get(ConnectionPoint, bid.tenant, site.connection_point)
            if row is None:
                raise NotFound("connection-point", site.connection_point)
            points.append(row.record)
        doubts = await self._price_doubts(plan.record)
        return check_bid(bid.periods, terms_of(bid, plan.record, portfolio.record, points, doubts), now)

    async def _price_doubts(self, plan: PlanRun) -> tuple[str, ...]:
        """Return what is doubtful now about the prices behind a plan: another source may have spoken since it was made."""
        days = await self.price_days(plan)
        found = [await self._store.get(PriceSeries, plan.tenant, day.series_id or "") for day in days]
        series = [None if row is None else row.record for row in found]
        return doubts_about([UsedDay(status=day, series=own) for day, own in zip(days, series, strict=True)])

    async def price_days(self, plan: PlanRun) -> list[MarketDayStatus]:
        """Return the market days behind a plan as they are now."""
        rows = [await self._store.get(MarketDayStatus, plan.tenant, key) for key in plan.price_days]
        return [row.record for row in rows if row is not None]

    async def require_word(self, bid: Bid) -> None:
        """Refuse while a contradiction between the sources of the prices behind a bid waits for a person's word."""
        plan = await self._store.get(PlanRun, bid.tenant, bid.plan)
        require_word([] if plan is None else await self.price_days(plan.record))

    async def require_proposer(self, bid: Bid) -> None:
        """Count the proposal only if who made it may still make it."""
        if bid.proposed_by is None:
            raise PreconditionFailed("nobody has proposed the bid")
        rows = await self._store.find(Account, bid.tenant, {"actor": bid.proposed_by})
        accounts = [row.record for row in rows if row.record.enabled]
        if not any(account.principal().may(Permission.BID_PROPOSE) for account in accounts):
            raise PreconditionFailed(f"{bid.proposed_by} may not propose any more; let somebody else propose the bid")

    async def require_only(self, bid: Bid) -> None:
        """Refuse a second order of a portfolio in one auction: it would be bought twice."""
        rows = await self._store.find(Bid, bid.tenant, {"portfolio": bid.portfolio, "delivery_day": bid.delivery_day})
        for row in rows:
            other = row.record
            if other.id != bid.id and other.auction == bid.auction and other.state in ORDERED_STATES:
                raise PreconditionFailed(f"version {other.version} of this bid is {other.state.value} already")


def price_data(checks: Iterable[BidCheck]) -> BidCheck:
    """Return the check of what is doubtful about the prices."""
    return next(check for check in checks if check.name == PRICE_DATA_CHECK)


def is_news(seen: Sequence[BidCheck], now: Sequence[BidCheck]) -> bool:
    """Tell whether something is doubtful about the prices that the checks on the bid do not say."""
    shown = {check.message for check in seen if check.name == PRICE_DATA_CHECK}
    found = price_data(now)
    return found.outcome is not CheckOutcome.PASSED and found.message not in shown
