"""What every part of a VEN works with, whatever it speaks."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Principal
from gateway.ports import Batch, Clock, Ids, Put, SignalDesk, Store


class TenantSettings(Protocol):
    """Settings of something that belongs to one tenant."""

    @property
    def tenant(self) -> str:
        """The tenant."""
        ...


SettingsT = TypeVar("SettingsT", bound=TenantSettings)


@dataclass(frozen=True, kw_only=True, slots=True)
class VenSurroundings(Generic[SettingsT]):
    """Settings and ports of one VEN, and the identity it acts under."""

    settings: SettingsT
    store: Store
    signal_desk: SignalDesk
    clock: Clock
    ids: Ids
    principal: Principal

    async def keep(
        self,
        *records: object,
        action: str = "",
        detail: dict[str, str] | None = None,
        expected_version: int | None = None,
    ) -> None:
        """Make records durable, with one audit entry per record when there is something to say about them.

        Args:
            records: What to write; without any nothing happens.
            action: For the audit; empty for no entry.
            detail: Beside the action.
            expected_version: Which version every row must have now; None writes whatever is there.

        Raises:
            Conflict: A row has another version; nothing was written.
            StorageUnavailable: Nothing was written.
        """
        if not records:
            return
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
