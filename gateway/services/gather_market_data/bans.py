"""Bans of sources as rows: no call before the end, not even after a restart."""

from datetime import datetime, timedelta

from gateway.domain.errors import Conflict
from gateway.domain.evidence import AuditEntry
from gateway.domain.market_asking import SourceBan, next_ban
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

    async def banned_until(self, source: str) -> datetime | None:
        """Return until when a source may not be called; None when it may."""
        row = await self._store.get(SourceBan, self._tenant, source)
        return None if row is None or row.record.until <= self._clock.now() else row.record.until

    async def ban(self, source: str) -> timedelta:
        """Keep that a source refuses, and return for how long it is left alone."""
        now = self._clock.now()
        row = await self._store.get(SourceBan, self._tenant, source)
        duration = next_ban(None if row is None else row.record, now)
        ban = SourceBan(id=source, tenant=self._tenant, banned_at=now, until=now + duration)
        entry = AuditEntry(
            id=self._ids.new("audit"),
            tenant=self._tenant,
            at=now,
            actor="system:market-data",
            action="source.ban",
            object_kind="source",
            object_id=source,
            detail={"until": ban.until.isoformat()},
        )
        put = Put(record=ban, expected_version=0 if row is None else row.version)
        try:
            await self._store.apply(Batch(tenant=self._tenant, puts=(put,), audit=(entry,)))
        except Conflict:
            _LOG.info("source_banned_twice", source=source)
        _LOG.error("source_banned", source=source, until=ban.until.isoformat())
        return duration
