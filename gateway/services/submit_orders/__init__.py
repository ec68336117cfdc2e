"""Sends approved orders once, collects awards, and turns them into nominations and schedules.

`submitter` talks to the exchange and the balance responsible party, `outcomes` says in rows what became of an order. Whether an
order may leave is decided by two people in `review_bids` and checked once more here; how it is written on a wire is not known.
"""

from gateway.services.submit_orders.settings import SubmitSettings
from gateway.services.submit_orders.submitter import OrderSubmitter

__all__ = ["OrderSubmitter", "SubmitSettings"]
