"""Consent and switches of programs: who may be called, and whether a program only practises.

Dry run: events that come or change while it is on are taken in, answered as they would be, and change no limit. What was in force
before goes on. When it is switched off, events that have not begun are decided again, each with an audit entry, and the partner is
told where the answer differs; an event that has begun stays a dry run to its end, so that nothing starts in its middle.

A consent that is withdrawn ends at once: the node's limits of that program are withdrawn, and an event that has no node left is
answered optOut.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.domain.errors import NotFound, PreconditionFailed
from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Permission, Principal
from gateway.domain.programs import Enrolment, ProgramState
from gateway.domain.signals import EventStatus, GridEvent, OptType
from gateway.ports import Batch, Put
from gateway.services.gather_signals.agreements import Agreements, state_id
from gateway.services.gather_signals.appraisal import Appraiser
from gateway.services.gather_signals.manual import request_hash
from gateway.services.gather_signals.outbox import changed_answer
from gateway.services.gather_signals.scribe import Scribe

_OVER = frozenset({EventStatus.CANCELLED, EventStatus.COMPLETED})


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramView:
    """A program as people see it."""

    authority: str
    program: str
    """Market context or program id; empty for what holds for all programs of the authority."""
    is_dry_run: bool
    requires_enrolment: bool
    live_event_count: int
    """Events of it that are not over."""
    changed_by: str
    """Who switched last; empty when nobody has."""
    changed_at: datetime | None


class ProgramDesk:
    """Lists and changes enrolments and switches."""

    def __init__(self, scribe: Scribe, appraiser: Appraiser) -> None:
        """Remember whose books to change and who decides again."""
        self._scribe = scribe
        self._appraiser = appraiser

    async def enrolments(self, principal: Principal, authority: str = "") -> list[Enrolment]:
        """Return the consents of one authority, or of all, by authority, program and node; withdrawn ones included."""
        principal.require(Permission.SIGNAL_READ)
        found = self._scribe.agreements(principal.tenant).enrolments.values()
        chosen = (one for one in found if not authority or one.authority == authority)
        return sorted(chosen, key=lambda one: (one.authority, one.program, one.node, one.id))

    async def programs(self, principal: Principal) -> list[ProgramView]:
        """Return every program that was switched, configured or heard of."""
        principal.require(Permission.SIGNAL_READ)
        now, settings = self._scribe.clock.now(), self._scribe.settings
        agreements, events = self._scribe.agreements(principal.tenant), self._scribe.ledger(principal.tenant).events
        named = {(event.authority, event.market_context) for event in events.values()}
        named |= {(one.authority, one.program) for one in agreements.states.values()}
        named |= {(one.authority, one.program) for one in agreements.enrolments.values()}
        live = [event for event in events.values() if event.status(now) not in _OVER]
        return [
            ProgramView(
                authority=authority,
                program=program,
                is_dry_run=agreements.is_dry_run(authority, program),
                requires_enrolment=settings.rules(authority, program).requires_enrolment,
                live_event_count=sum(_is_of(event, authority, program) for event in live),
                changed_by="" if state is None else state.changed_by,
                changed_at=None if state is None else state.changed_at,
            )
            for authority, program in sorted(named)
            for state in (agreements.states.get(state_id(authority, program)),)
        ]

    async def set_dry_run(  # what a person must say
        self, principal: Principal, *, authority: str, program: str, is_dry_run: bool, reason: str, request_id: str
    ) -> ProgramState:
        """Switch the dry run of a program, or of all programs of an authority, on or off.

        Args:
            principal: Who switches.
            authority: The grid partner.
            program: Market context or program id; empty for all programs without a switch of their own.
            is_dry_run: On or off.
            reason: Why, for the audit.
            request_id: Idempotency key.

        Raises:
            StorageUnavailable: Nothing was changed.
        """
        principal.require(Permission.PROGRAM_SWITCH)
        tenant, key = principal.tenant, state_id(authority, program)
        content_id = request_hash(request_id, [key, is_dry_run, reason])
        async with self._scribe.lock(tenant):
            books = self._scribe.agreements(tenant)
            if await self._scribe.store.replay(tenant, request_id, content_id) is not None and key in books.states:
                return books.states[key]
            now = self._scribe.clock.now()
            state = ProgramState(
                id=key,
                tenant=tenant,
                authority=authority,
                program=program,
                is_dry_run=is_dry_run,
                changed_by=principal.actor,
                changed_at=now,
            )
            after = Agreements(books.enrolments.values(), [*books.states.values(), state])
            changed = [] if is_dry_run else self._decided_again(tenant, after, now)
            entry = self._scribe.entries.of(
                principal,
                "program.dry-run-on" if is_dry_run else "program.dry-run-off",
                ("program", key),
                detail={"reason": reason},
            )
            batch = Batch(
                tenant=tenant, puts=(Put(record=state),), audit=(entry,), request_id=request_id, request_hash=content_id
            )
            await self._write(principal, replace(batch, response=key), after, changed, "event.decide")
        return state

    def _decided_again(self, tenant: str, agreements: Agreements, now: datetime) -> list[GridEvent]:
        """Return the events of programs that no longer practise and have not begun, decided anew."""
        again = []
        for event in self._scribe.ledger(tenant).events.values():
            is_waiting = event.is_dry_run and not event.cancelled and now < event.active.start
            if is_waiting and not agreements.is_dry_run(event.authority, event.market_context):
                decided, problem = self._appraiser.appraise(event, agreements, now)
                again.append(replace(decided, opt=OptType.OPT_OUT, opt_reason=problem) if problem else decided)
        return again

    async def withdraw_enrolment(
        self, principal: Principal, *, enrolment_id: str, reason: str, request_id: str
    ) -> Enrolment:
        """Withdraw a consent from now on.

        Raises:
            NotFound: There is no such enrolment.
            PreconditionFailed: It no longer holds.
            StorageUnavailable: Nothing was changed.
        """
        principal.require(Permission.ENROLMENT_MANAGE)
        tenant = principal.tenant
        content_id = request_hash(request_id, [enrolment_id, reason])
        async with self._scribe.lock(tenant):
            books, now = self._scribe.agreements(tenant), self._scribe.clock.now()
            if enrolment_id not in books.enrolments:
                raise NotFound("enrolment", enrolment_id)
            held = books.enrolments[enrolment_id]
            if await self._scribe.store.replay(tenant, request_id, content_id) is not None:
                return held
            if held.withdrawn_at is not None or (held.valid.end is not None and held.valid.end <= now):
                raise PreconditionFailed("the enrolment no longer holds")
            withdrawn = replace(held, withdrawn_at=now)
            after = Agreements([*books.enrolments.values(), withdrawn], books.states.values())
            entry = self._scribe.entries.of(
                principal,
                "enrolment.withdraw",
                ("enrolment", held.id),
                detail={"node": held.node, "owner": held.owner, "reason": reason},
            )
            batch = Batch(
                tenant=tenant,
                puts=(Put(record=withdrawn),),
                audit=(entry,),
                request_id=request_id,
                request_hash=content_id,
                response=held.id,
            )
            changed = list(self._without(tenant, held, after, now))
            await self._write(principal, batch, after, changed, "event.release")
        return withdrawn

    def _without(self, tenant: str, gone: Enrolment, agreements: Agreements, now: datetime) -> Iterable[GridEvent]:
        """Yield the events that may no longer call the node of a consent, as they are without it."""
        for event in self._scribe.ledger(tenant).events.values():
            is_asked = self._scribe.settings.rules_of(event).requires_enrolment
            concerns = event.authority == gone.authority and gone.program in {"", event.market_context}
            if not (is_asked and concerns and gone.node in event.nodes) or event.status(now) in _OVER:
                continue
            nodes = agreements.enrolled(event, max(event.active.start, now))
            if nodes == event.nodes:
                continue
            if nodes:
                yield replace(event, nodes=nodes)
            else:
                yield replace(event, opt=OptType.OPT_OUT, opt_reason=f"the consent for {gone.node} was withdrawn")

    async def _write(
        self, principal: Principal, batch: Batch, after: Agreements, changed: Sequence[GridEvent], action: str
    ) -> None:
        """Write what was switched with the events and limits that follow; in memory it holds once it is on disk."""
        tenant, now = principal.tenant, self._scribe.clock.now()
        before = self._scribe.agreements(tenant)
        known = self._scribe.ledger(tenant).events
        told = [event for event in changed if event.opt is not known[event.id].opt]
        is_written = False
        self._scribe.agree(tenant, after)
        try:
            limits = await self._scribe.limits_after(tenant, changed, now)
            entries = [self._entry(principal, event, action) for event in changed]
            full = replace(
                batch,
                puts=(*batch.puts, *(Put(record=record) for record in (*changed, *limits))),
                audit=(*batch.audit, *entries, *self._scribe.entries.of_limits(principal, limits)),
                outbox=tuple(changed_answer(event, f"opt:{batch.request_id}:{event.id}", now) for event in told),
            )
            await self._scribe.write(full, changed, limits)
            is_written = True
        finally:
            if not is_written:
                self._scribe.agree(tenant, before)

    def _entry(self, principal: Principal, event: GridEvent, action: str) -> AuditEntry:
        opt = "" if event.opt is None else event.opt.value
        return self._scribe.entries.of(
            principal, action, ("event", event.id), detail={"opt": opt, "reason": event.opt_reason}
        )


def _is_of(event: GridEvent, authority: str, program: str) -> bool:
    return event.authority == authority and program in {"", event.market_context}
