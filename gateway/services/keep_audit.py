"""Verifies the hash chain of the audit and exports a tenant's part of it."""

from collections.abc import AsyncIterator

from gateway.domain.evidence import GENESIS_HASH, AuditVerdict, canonical_json, follows
from gateway.domain.identity import Permission, Principal
from gateway.ports import Store

_PAGE = 500
"""Entries hashed between two turns of the loop: some milliseconds."""


class AuditKeeper:
    """Reads the audit; nobody can change it."""

    def __init__(self, *, store: Store) -> None:
        """Take the store."""
        self._store = store

    async def verify(self, principal: Principal) -> AuditVerdict:
        """Check the whole chain from the first entry on.

        The chain is one for all tenants: the count and the head hash tell a tenant nothing about another.

        Raises:
            PermissionRefused: The caller may not read evidence.
        """
        principal.require(Permission.EVIDENCE_READ)
        head, count = GENESIS_HASH, 0
        while page := await self._store.audit_entries(count + 1, _PAGE):
            for chained in page:
                if chained.seq != count + 1 or not follows(chained, head):
                    return AuditVerdict(
                        entry_count=count, head_hash=head, is_intact=False, first_broken_sequence=count + 1
                    )
                head, count = chained.hash, chained.seq
        return AuditVerdict(entry_count=count, head_hash=head, is_intact=True, first_broken_sequence=0)

    async def export(self, principal: Principal) -> AsyncIterator[str]:
        """Yield the tenant's entries in order, one line of JSON each, with their place and hashes.

        Entries of other tenants are left out but their places are not given to others, so a gap is visible as a gap.

        Raises:
            PermissionRefused: The caller may not read evidence.
        """
        principal.require(Permission.EVIDENCE_READ)
        first = 1
        while page := await self._store.audit_entries(first, _PAGE):
            for chained in page:
                if chained.entry.tenant == principal.tenant:
                    yield canonical_json(chained) + "\n"
            first = page[-1].seq + 1
