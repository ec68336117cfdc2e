"""Bans of sources as rows: no call before the end and then one alone, not even after a restart."""

from dataclasses import replace
from datetime import timedelta

from gateway.domain.errors import Conflict
from gateway.domain.evidence import AuditEntry
from gateway.domain.market_asking import PROBE_PATIENCE, Admission, SourceBan, admission, next_ban
from gateway.observe import logger
from gateway.ports import Batch, Clock, Ids, Put, Store

_LOG = logger("gather_market_data")


class SourceBans:
    """Who asked to be left alone and until when; `market_data.turnstile.BanBook`."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids, tenant: str) -> None:
        """Take the store and the tenant under whose name the rows are kept: a ban is of the machine, not of a customer."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._tenant = tenant

    async def admit(self, source: str) -> Admission:
        """Return whether a source may be called now; the one call after a ban is given to one asker, whatever the others do."""
        now = self._clock.now()
        row = await self._store.get(SourceBan, self._tenant, source)
        found = admission(None if row is None else row.record, now)
        if row is None or not found.is_probe:
            return found
        put = Put(record=replace(row.record, probed_at=now), expected_version=row.version)
        try:
            await self._store.apply(Batch(tenant=self._tenant, puts=(put,)))
        except Conflict:
            return Admission(wait_until=now + PROBE_PATIENCE)
        _LOG.info("source_probed", source=source)
        return found

    async def lift(self, source: str) -> None:
        """Keep that the one call after a ban was answered: everybody may call the source again."""
        row = await self._store.get(SourceBan, self._tenant, source)
        if row is None or row.record.is_lifted:
            return
        put = Put(record=replace(row.record, is_lifted=True), expected_version=row.version)
        entry = self._entry("source.ban-lifted", row.record)
        try:
            await self._store.apply(Batch(tenant=self._tenant, puts=(put,), audit=(entry,)))
        except Conflict:
            # It was banned anew meanwhile.
            return
        _LOG.info("source_ban_lifted", source=source)

    async def ban(self, source: str) -> timedelta:
        """Keep that a source refuses, and return for how long it is left alone."""
        now = self._clock.now()
        row = await self._store.get(SourceBan, self._tenant, source)
        duration = next_ban(None if row is None else row.record, now)
        ban = SourceBan(id=source, tenant=self._tenant, banned_at=now, until=now + duration)
        entry = self._entry("source.ban", ban)
        put = Put(record=ban, expected_version=0 if row is None else row.version)
        try:
            await self._store.apply(Batch(tenant=self._tenant, puts=(put,), audit=(entry,)))
        except Conflict:
            _LOG.info("source_banned_twice", source=source)
        _LOG.error("source_banned", source=source, until=ban.until.isoformat())
        return duration

    def _entry(self, action: str, ban: SourceBan) -> AuditEntry:
        return AuditEntry(
            id=self._ids.new("audit"),
            tenant=self._tenant,
            at=self._clock.now(),
            actor="system:market-data",
            action=action,
            object_kind="source",
            object_id=ban.id,
            detail={"until": ban.until.isoformat()},
        )
