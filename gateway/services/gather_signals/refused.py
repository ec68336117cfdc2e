"""Events that we refused, kept with the reason that the partner was told: people look for them beside the events we took."""

from collections.abc import Iterable
from datetime import datetime

from gateway.domain.programs import REFUSED_RULE, NonCompliance
from gateway.ports import ReceivedEvents
from gateway.services.gather_signals.intake import OUT_OF_SEQUENCE, Decided

_MOST_KEPT = 50
"""Of one message: a partner that sends nothing else does not fill the disk with it."""


def refused_events(received: ReceivedEvents, decided: Iterable[Decided], now: datetime) -> list[NonCompliance]:
    """Return one row per refused event of a message; sent again, the same row with the newer instant.

    An older modification than the one we hold is no refusal: the newer one stands.
    """
    undone = (one.answer for one in decided if one.event is None and one.answer is not None)
    told = [answer for answer in (*received.rejected, *undone) if answer.is_refusal and answer.code != OUT_OF_SEQUENCE]
    raw = received.raw
    return [
        NonCompliance(
            id=f"{raw.authority}:event:{answer.event_id}:{REFUSED_RULE}",
            tenant=raw.tenant,
            authority=raw.authority,
            profile=raw.protocol,
            rule=REFUSED_RULE,
            object_kind="event",
            object_id=answer.event_id,
            problem=f"{answer.description} (told as {answer.code})",
            is_applied=False,
            raw_signal=raw.id,
            at=now,
        )
        for answer in told[:_MOST_KEPT]
    ]
