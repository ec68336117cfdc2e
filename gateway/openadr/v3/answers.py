"""Answers that a person changed: 3.x has no message for them.

A 3.x VTN learns what we do from the reports that its event asks for (a profile's acknowledgement among them), or not at all. So
that a changed answer has an end all the same, its outbox item is settled with what became of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from gateway.domain.programs import ReportDuty
from gateway.domain.signals import GridEvent
from gateway.openadr.v3.companion import KnownEvent
from gateway.openadr.v3.surroundings import Surroundings
from gateway.ports import Batch

ANSWER_TOPIC = "openadr3-answer"
"""Outbox topic under which the signal desk leaves answers that a person has changed."""


class AnswerNotes:
    """Settles what nobody will be told in words; a `Companion`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def load(self) -> None:
        """Take up nothing: the outbox is the memory."""

    async def take(self, events: Sequence[KnownEvent]) -> None:
        """Look at nothing: only answers matter."""

    async def act(self) -> None:
        """Settle the changed answers of this VTN's events, each once.

        Raises:
            StorageUnavailable: Called again later; nothing is lost.
        """
        settings, store = self._around.settings, self._around.store
        now = self._around.clock.now()
        for item in await store.due_outbox(ANSWER_TOPIC, now):
            if item.tenant != settings.tenant or not item.key.startswith(f"{settings.authority}:"):
                continue
            settled = replace(item, settled_at=now, note=await self._note(item.key))
            await store.apply(Batch(tenant=item.tenant, outbox=(settled,)))

    async def _note(self, record: str) -> str:
        settings, store = self._around.settings, self._around.store
        stored = await store.get(GridEvent, settings.tenant, record)
        if stored is None:
            return "the event is not known any more"
        where = {"authority": settings.authority, "event_id": stored.record.event_id}
        duties = await store.find(ReportDuty, settings.tenant, where)
        if any(not row.record.is_finished for row in duties):
            return "told by the reports that the event asks for"
        return "not told: OpenADR 3 has no message for it and the event asks for no report"

    def next_due(self) -> datetime | None:
        """Return None: answers are looked at with every poll."""
        return None

    @property
    def pending_count(self) -> int:
        """No report is pending here."""
        return 0
