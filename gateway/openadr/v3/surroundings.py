"""What every part of one VEN works with."""

from dataclasses import dataclass

from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Principal
from gateway.openadr.v3.settings import VenSettings
from gateway.ports import Batch, Clock, Ids, Put, SignalDesk, Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Settings and ports of one VEN, and the identity it acts under."""

    settings: VenSettings
    store: Store
    signal_desk: SignalDesk
    clock: Clock
    ids: Ids
    principal: Principal

    async def write(self, *records: object) -> None:
        """Make records durable; without records nothing happens.

        Raises:
            StorageUnavailable: Nothing was written.
        """
        if records:
            await self.store.apply(Batch(tenant=self.settings.tenant, puts=tuple(Put(record=one) for one in records)))

    async def write_audited(self, action: str, record: object, object_id: str, detail: dict[str, str]) -> None:
        """Make a record durable together with an audit entry about it.

        Raises:
            StorageUnavailable: Nothing was written.
        """
        entry = AuditEntry(
            id=self.ids.new("audit"),
            tenant=self.settings.tenant,
            at=self.clock.now(),
            actor=self.principal.actor,
            action=action,
            object_kind=type(record).__name__,
            object_id=object_id,
            detail=detail,
        )
        await self.store.apply(Batch(tenant=self.settings.tenant, puts=(Put(record=record),), audit=(entry,)))
