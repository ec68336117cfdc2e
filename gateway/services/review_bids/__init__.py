"""Two people and an unchanged hash between a bid and an order.

`reviewer` moves bids at the word of people, `facts` reads what a bid is held against.
"""

from gateway.services.review_bids.reviewer import BidReviewer

__all__ = ["BidReviewer"]
