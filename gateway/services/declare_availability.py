"""What we tell grid partners about ourselves of our own accord: when we are available, and whether we take part at all.

Here a person's word becomes a row, or an item in the outbox; the grid-protocol room of the partner finds it there and tells the
partner until it has taken it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from gateway.domain.errors import InvalidInput, NotFound, PreconditionFailed
from gateway.domain.evidence import AuditEntry, content_hash
from gateway.domain.identity import Permission, Principal
from gateway.domain.programs import OptSchedule
from gateway.domain.signals import OptType
from gateway.domain.timegrid import Interval
from gateway.ports import Batch, Clock, Ids, OutboxItem, Put, Store

REGISTRATION_TOPIC = "openadr-registration"
"""Outbox topic of wishes about a registration; the key is `{authority}:leave` or `{authority}:join`."""
REASONS = (
    "economic",
    "emergency",
    "mustRun",
    "notParticipating",
    "outageRunStatus",
    "overrideStatus",
    "participating",
    "x-schedule",
)
"""Reasons that OpenADR 2.0b knows (`optReason`)."""
_MOST_WINDOWS = 100
_LONGEST_REQUEST_ID = 128


class AvailabilityDesk:
    """The door for people who declare availability."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids, partners: Mapping[str, Collection[str]]) -> None:
        """Remember where rows are written, where time and ids come from, and the 2.0b partners of each tenant."""
        self._partners = partners
        self._store = store
        self._clock = clock
        self._ids = ids

    async def schedules(self, principal: Principal) -> list[OptSchedule]:
        """Return the tenant's schedules and words on events, the newest first."""
        principal.require(Permission.SIGNAL_READ)
        rows = await self._store.find(OptSchedule, principal.tenant, newest_first=True)
        return [row.record for row in rows]

    async def declare(  # noqa: PLR0913  # what a person must say
        self,
        principal: Principal,
        *,
        authority: str,
        opt: OptType,
        reason: str,
        windows: Sequence[Interval],
        request_id: str,
        market_context: str = "",
        resources: Sequence[str] = (),
    ) -> OptSchedule:
        """Declare when we are available to a partner (optIn), or are not (optOut).

        Args:
            principal: Who declares.
            authority: The partner.
            opt: Available or not.
            reason: One of `REASONS`.
            windows: Half-open, bounded, whole seconds, not over yet.
            request_id: Idempotency key.
            market_context: For one program; empty for all.
            resources: The partner's names; empty for the whole VEN.

        Raises:
            InvalidInput: A value that the partner could not be told.
            StorageUnavailable: Nothing was declared.
        """
        principal.require(Permission.OPT_DECIDE)
        self._require_partner(principal, authority)
        now = self._clock.now()
        if reason not in REASONS:
            raise InvalidInput("reason", f"must be one of {', '.join(REASONS)}")
        content = [authority, opt, reason, list(windows), market_context, list(resources)]
        known = await self._replayed(principal, request_id, content)
        if known is not None:
            return known
        _require_windows(windows, now)
        opt_id = self._ids.new("opt")
        schedule = OptSchedule(
            id=f"{authority}:{opt_id}",
            tenant=principal.tenant,
            authority=authority,
            opt_id=opt_id,
            opt=opt,
            reason=reason,
            market_context=market_context,
            windows=tuple(windows),
            resources=tuple(resources),
            created_by=principal.actor,
            created_at=now,
        )
        await self._keep(principal, schedule, 0, "availability.declare", request_id, content)
        return schedule

    async def withdraw(self, principal: Principal, *, schedule_id: str, request_id: str) -> OptSchedule:
        """Withdraw a schedule before its end.

        Raises:
            NotFound: There is no such schedule.
            PreconditionFailed: It is withdrawn already, or a word on an event, which only a new word changes.
            Conflict: The partner was told about it at this very moment; try again.
        """
        principal.require(Permission.OPT_DECIDE)
        known = await self._replayed(principal, request_id, [schedule_id])
        if known is not None:
            return known
        row = await self._store.get(OptSchedule, principal.tenant, schedule_id)
        if row is None:
            raise NotFound("schedule", schedule_id)
        if row.record.cancelled_at is not None or row.record.event_id:
            raise PreconditionFailed("it cannot be withdrawn")
        gone = row.record.cancel(self._clock.now())
        await self._keep(principal, gone, row.version, "availability.withdraw", request_id, [schedule_id])
        return gone

    async def take_part(self, principal: Principal, *, authority: str, is_wanted: bool, request_id: str) -> None:
        """Cancel our registration with a partner, or register again after that; limits in force run on to their end.

        Raises:
            InvalidInput: The partner is none of ours.
            StorageUnavailable: The wish is not kept.
        """
        principal.require(Permission.PROGRAM_SWITCH)
        self._require_partner(principal, authority)
        now, wish = self._clock.now(), "join" if is_wanted else "leave"
        item = OutboxItem(
            id=f"registration:{request_id}",
            tenant=principal.tenant,
            topic=REGISTRATION_TOPIC,
            key=f"{authority}:{wish}",
            due_at=now,
        )
        content_id = _content_id(request_id, [authority, wish])
        if await self._store.replay(principal.tenant, request_id, content_id) is not None:
            return
        await self._store.apply(
            Batch(
                tenant=principal.tenant,
                outbox=(item,),
                audit=(self._entry(principal, f"registration.{wish}", "registration", authority),),
                request_id=request_id,
                request_hash=content_id,
                response=authority,
            )
        )

    def _require_partner(self, principal: Principal, authority: str) -> None:
        if authority not in self._partners.get(principal.tenant, ()):
            raise InvalidInput("authority", "is not a partner of ours that speaks OpenADR 2.0b")

    async def _replayed(self, principal: Principal, request_id: str, content: Sequence[object]) -> OptSchedule | None:
        key = await self._store.replay(principal.tenant, request_id, _content_id(request_id, content))
        row = None if key is None else await self._store.get(OptSchedule, principal.tenant, key)
        return None if row is None else row.record

    async def _keep(  # one argument per part of the batch
        self,
        principal: Principal,
        schedule: OptSchedule,
        version: int,
        action: str,
        request_id: str,
        content: Sequence[object],
    ) -> None:
        await self._store.apply(
            Batch(
                tenant=principal.tenant,
                puts=(Put(record=schedule, expected_version=version),),
                audit=(self._entry(principal, action, "schedule", schedule.id),),
                request_id=request_id,
                request_hash=_content_id(request_id, content),
                response=schedule.id,
            )
        )

    def _entry(self, principal: Principal, action: str, kind: str, object_id: str) -> AuditEntry:
        return AuditEntry(
            id=self._ids.new("audit"),
            tenant=principal.tenant,
            at=self._clock.now(),
            actor=principal.actor,
            action=action,
            object_kind=kind,
            object_id=object_id,
            detail={},
        )


def _require_windows(windows: Sequence[Interval], now: datetime) -> None:
    if not 0 < len(windows) <= _MOST_WINDOWS:
        raise InvalidInput("windows", f"must be 1 to {_MOST_WINDOWS}")
    for window in windows:
        if window.end is None or window.end <= now:
            raise InvalidInput("windows", "must end, and later than now")
        if window.start.microsecond or window.end.microsecond:
            raise InvalidInput("windows", "must begin and end at whole seconds")


def _content_id(request_id: str, content: Sequence[object]) -> str:
    if not 0 < len(request_id) <= _LONGEST_REQUEST_ID:
        raise InvalidInput("request_id", f"must have 1 to {_LONGEST_REQUEST_ID} characters")
    return content_hash(list(content))
