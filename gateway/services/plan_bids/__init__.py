"""Makes the day-ahead plan of a portfolio and drafts the bid from it.

`knowledge` reads what was known at an instant, `records` turns a plan into rows, `planner` does both around one call of a worker
process. The mathematics lives in `bidding`, the checks in `gateway.domain.bid_checks`; whether a bid leaves is not decided here.
"""

from gateway.services.plan_bids.planner import BidPlanner
from gateway.services.plan_bids.settings import PlanOutcome, PlanSettings

__all__ = ["BidPlanner", "PlanOutcome", "PlanSettings"]
