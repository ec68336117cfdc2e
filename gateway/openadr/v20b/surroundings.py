"""What every part of one VEN works with."""

from dataclasses import dataclass

from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Principal
from gateway.openadr.profiles.gate import ProfileGate
from gateway.openadr.v20b.settings import VenSettings
from gateway.ports import Batch, Clock, Ids, Put, SignalDesk, StatusDesk, Store, UsageDesk


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Settings and ports of one VEN, and the identity it acts under."""

    settings: VenSettings
    store: Store
    signal_desk: SignalDesk
    usage_desk: UsageDesk
    clock: Clock
    ids: Ids
    principal: Principal
    status_desk: StatusDesk | None = None
    """None where nobody knows how chargers are: a status report then has no values."""
    gate: ProfileGate | None = None
    """Profile that the VTN's events must keep; None for none."""

    async def keep(
        self,
        *records: object,
        action: str = "",
        detail: dict[str, str] | None = None,
        expected_version: int | None = None,
    ) -> None:
        """Make records durable, with one audit entry per record when there is something to say about them.

        Args:
            records: What to write.
            action: For the audit; empty for no entry.
            detail: Beside the action.
            expected_version: Which version every row must have now; None writes whatever is there.

        Raises:
            Conflict: A row has another version; nothing was written.
            StorageUnavailable: Nothing was written.
        """
        now = self.clock.now()
        audit = tuple(
            AuditEntry(
                id=self.ids.new("audit"),
                tenant=self.settings.tenant,
                at=now,
                actor=self.principal.actor,
                action=action,
                object_kind=type(record).__name__,
                object_id=str(getattr(record, "id", "")),
                detail=detail or {},
            )
            for record in (records if action else ())
        )
        puts = tuple(Put(record=record, expected_version=expected_version) for record in records)
        await self.store.apply(Batch(tenant=self.settings.tenant, puts=puts, audit=audit))
