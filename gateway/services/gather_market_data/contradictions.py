"""Contradictions between sources that wait for a person, and the word that a person says about one of them."""

import dataclasses
from datetime import datetime

from gateway.domain.contradictions import ContradictionWord
from gateway.domain.errors import Conflict, ContentChanged, InvalidInput, NotFound, PreconditionFailed
from gateway.domain.evidence import AuditEntry, content_hash, require_request_id
from gateway.domain.identity import Permission, Principal
from gateway.domain.price_doubts import contradiction_in
from gateway.domain.series import MarketDayStatus, PriceProduct, market_day_id
from gateway.domain.timegrid import DeliveryDay
from gateway.observe import logger
from gateway.ports import Batch, Clock, Ids, Put, Store, Stored

_MOST_DAYS = 10_000
_TRIES = 3
_LOG = logger("gather_market_data")


class Contradictions:
    """Where people acknowledge that two sources contradict each other; see `domain.contradictions`."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids) -> None:
        """Take the ports."""
        self._store = store
        self._clock = clock
        self._ids = ids

    async def days(
        self, principal: Principal, *, only_open: bool = True, since: datetime | None = None
    ) -> list[MarketDayStatus]:
        """Return the market days whose prices are contradicted, newest day first.

        Args:
            principal: Who asks.
            only_open: Leave out those that somebody has acknowledged.
            since: Leave out days that nobody looked at since; None for all.

        Raises:
            PermissionRefused: The caller may not read market data.
        """
        principal.require(Permission.MARKET_READ)
        rows = await self._store.find(
            MarketDayStatus, principal.tenant, since=since, newest_first=True, limit=_MOST_DAYS
        )
        found = [(row.record, contradiction_in(row.record)) for row in rows]
        days = [status for status, one in found if one is not None and (one.is_open or not only_open)]
        return sorted(days, key=lambda status: (status.day, status.id), reverse=True)

    async def acknowledge(
        self,
        principal: Principal,
        *,
        place: tuple[str, PriceProduct, DeliveryDay],
        contradiction: str,
        believed: str,
        reason: str,
        request_id: str,
    ) -> MarketDayStatus:
        """Keep a person's word on one contradiction; what is used stays used, and marked.

        Args:
            principal: The person.
            place: Zone, product and delivery day.
            contradiction: Id of the contradiction that the person saw.
            believed: Which of the two sources the person believes.
            reason: Why, for those who look later.
            request_id: Idempotency key.

        Raises:
            PermissionRefused: The caller may not acknowledge.
            NotFound: The day was never looked at.
            ContentChanged: The contradiction is not the one that the person saw.
            PreconditionFailed: Nobody contradicts the prices any more.
            InvalidInput: No reason, or a source that is neither of the two.
        """
        principal.require(Permission.MARKET_ACKNOWLEDGE)
        require_request_id(request_id)
        key = market_day_id(*place)
        request_hash = content_hash([principal.actor, "acknowledge", key, contradiction, believed, reason])
        for _ in range(_TRIES):
            row = await self._store.get(MarketDayStatus, principal.tenant, key)
            if row is None:
                raise NotFound("market-day", key)
            if await self._store.replay(principal.tenant, request_id, request_hash) is not None:
                return row.record
            word = ContradictionWord(
                actor=principal.actor, spoken_at=self._clock.now(), believed=believed, reason=reason.strip()
            )
            after = _with_word(row.record, contradiction, word)
            batch = dataclasses.replace(
                self._batch(row, after, word, request_id),
                request_id=request_id,
                request_hash=request_hash,
                response=key,
            )
            try:
                await self._store.apply(batch)
            except Conflict:
                continue
            _LOG.info("contradiction_acknowledged", id=key, actor=principal.actor, believed=believed)
            return after
        raise Conflict(f"market day {key} keeps changing; look at it again")

    def _batch(
        self, row: Stored[MarketDayStatus], after: MarketDayStatus, word: ContradictionWord, request_id: str
    ) -> Batch:
        entry = AuditEntry(
            id=self._ids.new("audit"),
            tenant=after.tenant,
            at=word.spoken_at,
            actor=word.actor,
            action="market-day.acknowledge",
            object_kind="market-day",
            object_id=after.id,
            causes=() if after.series_id is None else (f"series:{after.series_id}",),
            detail={
                "contradiction": "" if after.contradiction is None else after.contradiction.id,
                "told": after.cross_check,
                "believed": word.believed,
                "reason": word.reason,
            },
            request_id=request_id,
        )
        return Batch(tenant=after.tenant, puts=(Put(record=after, expected_version=row.version),), audit=(entry,))


def _with_word(status: MarketDayStatus, seen: str, word: ContradictionWord) -> MarketDayStatus:
    """Return the status with the word on its contradiction, when it still is the one that was seen."""
    found = contradiction_in(status)
    if found is None:
        raise PreconditionFailed("nobody contradicts these prices any more")
    if found.id != seen:
        raise ContentChanged("the contradiction is not the one you saw; look at it again")
    if word.believed not in {found.source, found.other}:
        raise InvalidInput("believed", f"must be {found.source} or {found.other}")
    return dataclasses.replace(status, contradiction=dataclasses.replace(found, word=word))
