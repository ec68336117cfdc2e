"""What the submitter is told, and the topics of its outbox."""

from dataclasses import dataclass
from datetime import timedelta

ORDER_TOPIC = "order"
CHECK_TOPIC = "order-check"
AWARD_TOPIC = "award"
NOMINATION_TOPIC = "nomination"
GATE_TOPIC = "bid-gate"


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitSettings:
    """How often peers are asked; all in market time."""

    sweep: timedelta = timedelta(seconds=30)
    """Rows are looked at least so often, wake-up or not."""
    retry: timedelta = timedelta(seconds=5)
    """First pause after a peer did not answer; doubles up to `longest_retry`."""
    longest_retry: timedelta = timedelta(minutes=2)
    award_delay: timedelta = timedelta(minutes=1)
    """After gate closure, before the first question for the result."""
    award_poll: timedelta = timedelta(minutes=2)
    check_poll: timedelta = timedelta(minutes=2)
    """How often the exchange is asked whether it holds an order of unknown outcome."""
