"""EvidenceService: traces and the check of the audit's hash chain."""

from typing import Protocol

from typing_extensions import override

from gateway.domain.evidence import TraceStep
from gateway.domain.identity import Principal
from gateway.domain.settlement import EventPerformance
from gateway.rpc import convert
from gateway.rpc.door import Context, caller
from gateway.v1 import evidence_service_pb2 as pb
from gateway.v1 import evidence_service_pb2_grpc as pb_grpc


class TraceDoor(Protocol):
    """What this servicer needs of `services.report_delivery.DeliveryReporter`."""

    async def trace(self, principal: Principal, kind: str, record_id: str) -> list[TraceStep]:
        """Follow causes; raises NotFound."""
        ...

    async def event_performance(self, principal: Principal, event_id: str) -> EventPerformance:
        """Say how far an event was followed; raises NotFound."""
        ...


class Verdict(Protocol):
    """What a check of the chain found."""

    @property
    def entry_count(self) -> int:
        """Entries checked."""
        ...

    @property
    def head_hash(self) -> str:
        """Hash of the last entry."""
        ...

    @property
    def is_intact(self) -> bool:
        """Whether every hash fits."""
        ...

    @property
    def first_broken_sequence(self) -> int:
        """First sequence that does not fit; 0 when intact."""
        ...


class AuditDoor(Protocol):
    """What this servicer needs of `services.keep_audit.AuditKeeper`."""

    async def verify(self, principal: Principal) -> Verdict:
        """Check the chain."""
        ...


class EvidenceServicer(pb_grpc.EvidenceServiceServicer):
    """Translates evidence messages."""

    def __init__(self, reporter: TraceDoor, auditor: AuditDoor) -> None:
        """Remember the services behind."""
        self._reporter = reporter
        self._auditor = auditor

    @override
    async def GetTrace(self, request: pb.GetTraceRequest, context: Context) -> pb.GetTraceResponse:
        """Follow causes back."""
        steps = await self._reporter.trace(
            caller(), convert.required_text("kind", request.kind), convert.required_text("id", request.id)
        )
        return pb.GetTraceResponse(steps=[_step_message(step) for step in steps])

    @override
    async def GetEventPerformance(
        self, request: pb.GetEventPerformanceRequest, context: Context
    ) -> pb.GetEventPerformanceResponse:
        """Say how far an event was followed."""
        found = await self._reporter.event_performance(caller(), convert.required_text("event_id", request.event_id))
        return pb.GetEventPerformanceResponse(
            node_id=found.node,
            requested_power_kw=found.requested_kw,
            mean_power_kw=found.mean_power_kw,
            baseline_power_kw=found.baseline_kw,
            baseline_method=found.baseline_method,
            compliance_ratio=found.compliance,
        )

    @override
    async def VerifyAudit(self, request: pb.VerifyAuditRequest, context: Context) -> pb.VerifyAuditResponse:
        """Check the hash chain."""
        verdict = await self._auditor.verify(caller())
        return pb.VerifyAuditResponse(
            entry_count=verdict.entry_count,
            head_hash=verdict.head_hash,
            is_intact=verdict.is_intact,
            first_broken_sequence=verdict.first_broken_sequence,
        )


def _step_message(step: TraceStep) -> pb.TraceStep:
    return pb.TraceStep(
        kind=step.kind, id=step.id, at_time=convert.timestamp(step.at), summary=step.summary, causes=step.causes
    )
