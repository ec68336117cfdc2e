"""What the rooms of the dialects learn about answers that changed later."""

from datetime import datetime

from gateway.domain.signals import GridEvent
from gateway.ports import OutboxItem

OPT_TOPIC = "openadr-opt"
"""Outbox topic of changed answers to 2.0b VTNs, told by oadrCreatedEvent."""
ANSWER_TOPIC = "openadr3-answer"
"""Outbox topic of changed answers to 3.x VTNs, which learn them by the profile's report or not at all."""


def changed_answer(event: GridEvent, item_id: str, now: datetime) -> OutboxItem:
    """Return the item by which the room of the event's dialect learns that our answer has changed."""
    return OutboxItem(
        id=item_id,
        tenant=event.tenant,
        topic=ANSWER_TOPIC if event.protocol.startswith("openadr-3") else OPT_TOPIC,
        key=event.id,
        due_at=now,
        expires_at=event.active.end,
    )
