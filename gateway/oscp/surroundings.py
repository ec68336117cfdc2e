"""What every part of the room works with for one partner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Principal
from gateway.domain.topology import CapacityGroup
from gateway.oscp.settings import PeerSettings
from gateway.ports import Clock, Ids, LimitDesk, Store, UsageDesk
from gateway.sealing import Seal


class Notes(Protocol):
    """Where exchanges with the partner are noted for people."""

    def answered(self, what: str, outcome: str, *, sent: int, received: int, is_failed: bool = False) -> None:
        """Note an exchange of ours that was answered."""
        ...

    def unanswered(self, what: str, problem: str, *, sent: int) -> None:
        """Note an exchange of ours without a usable answer."""
        ...

    def called(self, what: str, outcome: str, *, sent: int, received: int, is_failed: bool = False) -> None:
        """Note that the partner called us and what we answered."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class AssetReading:
    """What a charger draws."""

    asset: str
    power_kw: float
    at: datetime


class GroupFacts(Protocol):
    """What is known of the chargers below a node now; answers from memory."""

    def demand_kw(self, tenant: str, node: str) -> float | None:
        """Return what the cars below a node would draw if nothing limited them, in kW; None when nobody knows the node."""
        ...

    def assets(self, tenant: str, node: str) -> Sequence[AssetReading]:
        """Return the last measured power of each charger below a node; chargers that nobody measured are left out."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Settings and ports of one partner, and the identity that acts."""

    settings: PeerSettings
    store: Store
    limit_desk: LimitDesk
    usage_desk: UsageDesk
    facts: GroupFacts
    clock: Clock
    ids: Ids
    principal: Principal
    seal: Seal
    notes: Notes

    def entry(self, action: str, now: datetime, detail: Mapping[str, str] | None = None) -> AuditEntry:
        """Return an entry for the audit about the link with this partner."""
        return AuditEntry(
            id=self.ids.new("audit"),
            tenant=self.settings.tenant,
            at=now,
            actor=self.principal.actor,
            action=action,
            object_kind="oscp-link",
            object_id=self.settings.authority,
            detail=dict(detail or {}),
        )

    async def groups(self) -> list[CapacityGroup]:
        """Return the groups that the partner knows, by name."""
        where = {"authority": self.settings.authority}
        rows = await self.store.find(CapacityGroup, self.settings.tenant, where)
        return sorted((row.record for row in rows), key=lambda group: group.name)
