"""One example of every record about programs, filled so that each field shows when it is lost."""

from datetime import datetime, timedelta

from gateway.domain.programs import (
    Enrolment,
    HeldObject,
    NonCompliance,
    OptSchedule,
    PendingReport,
    ProgramState,
    ReportDuty,
)
from gateway.domain.signals import OptType
from gateway.domain.timegrid import Interval


def program_examples(tenant: str, t0: datetime) -> list[object]:
    """Return the examples for a tenant, their times around an instant."""
    hour = Interval(start=t0, end=t0 + timedelta(hours=1))
    return [
        Enrolment(
            id="enrolment-1",
            tenant=tenant,
            authority="vtn:demo",
            program="http://market.example",
            node="site-1",
            resource="Depot A&B <1>",
            owner="account:operator",
            purpose="reductions in emergencies",
            valid=hour,
            consented_at=t0,
            withdrawn_at=t0 + timedelta(minutes=30),
        ),
        ProgramState(
            id="vtn:demo:http://market.example",
            tenant=tenant,
            authority="vtn:demo",
            program="http://market.example",
            is_dry_run=True,
            changed_by="operator",
            changed_at=t0,
        ),
        OptSchedule(
            id="vtn:demo:opt-1",
            tenant=tenant,
            authority="vtn:demo",
            opt_id="opt-1",
            opt=OptType.OPT_OUT,
            reason="notParticipating",
            market_context="http://market.example",
            windows=(hour,),
            resources=("site-1",),
            created_by="operator",
            created_at=t0,
            event_id="00123",
            modification=2,
            cancelled_at=t0 + timedelta(minutes=5),
            told_at=t0 + timedelta(minutes=6),
        ),
        NonCompliance(
            id="finding-1",
            tenant=tenant,
            authority="vtn:demo",
            profile="gac-2.2",
            rule="one-payload",
            object_kind="event",
            object_id="00123",
            problem="intervals[0].payloads has two payloads",
            is_applied=True,
            raw_signal="raw-1",
            at=t0,
        ),
        HeldObject(
            id="vtn:demo:event:00123",
            tenant=tenant,
            authority="vtn:demo",
            kind="event",
            object_id="00123",
            program_id="program-1",
            modified_at="2025-10-15T12:00:00Z",
            content_sha256="ab" * 32,
            version=3,
            seen_at=t0,
            gone_at=t0 + timedelta(hours=2),
        ),
        ReportDuty(
            id="vtn:demo:00123:0",
            tenant=tenant,
            authority="vtn:demo",
            event_id="00123",
            version=3,
            index=0,
            descriptor="{}",
            sent_count=2,
            reported_until=t0,
            report_id="report-1",
            is_finished=True,
        ),
        PendingReport(
            id="pending-1",
            tenant=tenant,
            authority="vtn:demo",
            request="vtn:demo:00123:0",
            body="{}",
            made_at=t0,
            sent_at=t0 + timedelta(minutes=1),
            dropped_at=t0 + timedelta(minutes=2),
        ),
    ]
