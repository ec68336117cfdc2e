"""What the audit says about signals and limits."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from gateway.domain.alerts import alerts_of
from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Principal
from gateway.domain.limits import Limit
from gateway.ports import Clock, Ids
from gateway.services.gather_signals.intake import Decided


class SignalEntries:
    """Makes the audit entries of the desk."""

    def __init__(self, *, clock: Clock, ids: Ids) -> None:
        """Remember where time and ids come from."""
        self._clock = clock
        self._ids = ids

    def of_events(self, principal: Principal, decided: Iterable[Decided], signal: str) -> Iterator[AuditEntry]:
        """Yield one entry per event that changed, caused by the signal that brought it."""
        return (
            self.of(
                principal,
                d.action,
                ("event", d.event.id),
                causes=(f"signal:{signal}",),
                detail={
                    "modification": str(d.event.modification),
                    "opt": "" if d.event.opt is None else d.event.opt.value,
                    "reason": d.event.opt_reason,
                },
            )
            for d in decided
            if d.event is not None
        )

    def of_alerts(self, principal: Principal, decided: Iterable[Decided], now: datetime) -> Iterator[AuditEntry]:
        """Yield one entry per alert that came, caused by its event."""
        return (
            self.of(
                principal,
                "alert.receive",
                ("alert", alert.event),
                causes=(f"event:{alert.event}",),
                detail={"kind": alert.kind, "severity": alert.severity.name.lower(), "text": alert.text},
            )
            for alert in alerts_of((d.event for d in decided if d.event is not None), now)
        )

    def of_limits(self, principal: Principal, limits: Iterable[Limit], reason: str = "") -> Iterator[AuditEntry]:
        """Yield one entry per limit that was set or withdrawn."""
        return (
            self.of(
                principal,
                "limit.set" if limit.withdrawn_at is None else "limit.withdraw",
                ("limit", limit.id),
                causes=(limit.cause,),
                detail={"node": limit.node, "max_kw": repr(limit.max_kw), "reason": reason or limit.reason},
            )
            for limit in limits
        )

    def of(
        self,
        principal: Principal,
        action: str,
        thing: tuple[str, str],
        *,
        causes: tuple[str, ...] = (),
        detail: Mapping[str, str] | None = None,
    ) -> AuditEntry:
        """Return an entry about a thing, given as kind and id."""
        kind, object_id = thing
        return AuditEntry(
            id=self._ids.new("audit"),
            tenant=principal.tenant,
            at=self._clock.now(),
            actor=principal.actor,
            action=action,
            object_kind=kind,
            object_id=object_id,
            causes=causes,
            detail={} if detail is None else detail,
        )
