"""The part of SignalsService that is about programs: switches, enrolments and consent."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from typing_extensions import override

from gateway.domain.errors import InvalidInput
from gateway.domain.identity import Principal
from gateway.domain.programs import Enrolment, ProgramState
from gateway.rpc import convert
from gateway.rpc.door import Context, caller
from gateway.v1 import signals_service_pb2 as pb
from gateway.v1 import signals_service_pb2_grpc as pb_grpc

_LONGEST_REASON = 1000
_LONGEST_PROGRAM = 1024


class ProgramLine(Protocol):
    """A program as `services.gather_signals.ProgramView` shows it."""

    @property
    def authority(self) -> str:
        """Return the grid partner."""
        ...

    @property
    def program(self) -> str:
        """Return the market context or program id."""
        ...

    @property
    def is_dry_run(self) -> bool:
        """Tell whether its events change no limit."""
        ...

    @property
    def requires_enrolment(self) -> bool:
        """Tell whether only enrolled nodes may be called."""
        ...

    @property
    def live_event_count(self) -> int:
        """Return how many of its events are not over."""
        ...

    @property
    def changed_by(self) -> str:
        """Return who switched last."""
        ...

    @property
    def changed_at(self) -> datetime | None:
        """Return when it was switched last."""
        ...


class ProgramDoor(Protocol):
    """What this servicer needs of `services.gather_signals.ProgramDesk`."""

    async def programs(self, principal: Principal) -> Sequence[ProgramLine]:
        """Return every program that was switched, configured or heard of."""
        ...

    async def set_dry_run(
        self, principal: Principal, *, authority: str, program: str, is_dry_run: bool, reason: str, request_id: str
    ) -> ProgramState:
        """Switch the dry run of a program."""
        ...

    async def enrolments(self, principal: Principal, authority: str = "") -> list[Enrolment]:
        """Return the consents of one authority, or of all."""
        ...

    async def withdraw_enrolment(
        self, principal: Principal, *, enrolment_id: str, reason: str, request_id: str
    ) -> Enrolment:
        """Withdraw a consent from now on."""
        ...


class ProgramCalls(pb_grpc.SignalsServiceServicer):
    """Translates messages about programs and enrolments."""

    def __init__(self, programs: ProgramDoor) -> None:
        """Remember the service behind."""
        self._programs = programs

    @override
    async def ListPrograms(self, request: pb.ListProgramsRequest, context: Context) -> pb.ListProgramsResponse:
        """List programs with their switches."""
        lines = await self._programs.programs(caller())
        chosen, token = convert.page(lines, request.page, [f"{line.authority}:{line.program}" for line in lines])
        return pb.ListProgramsResponse(programs=[program_message(line) for line in chosen], next_page_token=token)

    @override
    async def SetDryRun(self, request: pb.SetDryRunRequest, context: Context) -> pb.SetDryRunResponse:
        """Switch a dry run on or off."""
        if not request.HasField("is_dry_run"):
            raise InvalidInput("is_dry_run", "is required; say false if you mean off")
        if len(request.program) > _LONGEST_PROGRAM:
            raise InvalidInput("program", f"must have at most {_LONGEST_PROGRAM} characters")
        principal = caller()
        state = await self._programs.set_dry_run(
            principal,
            authority=convert.required_text("authority", request.authority),
            program=request.program,
            is_dry_run=request.is_dry_run,
            reason=convert.required_text("reason", request.reason, _LONGEST_REASON),
            request_id=convert.required_text("request_id", request.request_id),
        )
        lines = await self._programs.programs(principal)
        [line] = [line for line in lines if (line.authority, line.program) == (state.authority, state.program)]
        return pb.SetDryRunResponse(program=program_message(line))

    @override
    async def ListEnrolments(self, request: pb.ListEnrolmentsRequest, context: Context) -> pb.ListEnrolmentsResponse:
        """List enrolments, withdrawn ones included."""
        found = await self._programs.enrolments(caller(), request.authority)
        chosen, token = convert.page(found, request.page, [one.id for one in found])
        return pb.ListEnrolmentsResponse(enrolments=[enrolment_message(one) for one in chosen], next_page_token=token)

    @override
    async def WithdrawEnrolment(
        self, request: pb.WithdrawEnrolmentRequest, context: Context
    ) -> pb.WithdrawEnrolmentResponse:
        """Withdraw an enrolment."""
        withdrawn = await self._programs.withdraw_enrolment(
            caller(),
            enrolment_id=convert.required_text("enrolment_id", request.enrolment_id),
            reason=convert.required_text("reason", request.reason, _LONGEST_REASON),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.WithdrawEnrolmentResponse(enrolment=enrolment_message(withdrawn))


def program_message(line: ProgramLine) -> pb.Program:
    """Return a program as a message."""
    return pb.Program(
        authority=line.authority,
        program=line.program,
        is_dry_run=line.is_dry_run,
        requires_enrolment=line.requires_enrolment,
        live_event_count=line.live_event_count,
        changed_by=line.changed_by,
        change_time=None if line.changed_at is None else convert.timestamp(line.changed_at),
    )


def enrolment_message(enrolment: Enrolment) -> pb.Enrolment:
    """Return an enrolment as a message."""
    return pb.Enrolment(
        id=enrolment.id,
        authority=enrolment.authority,
        program=enrolment.program,
        node_id=enrolment.node,
        resource=enrolment.resource,
        owner=enrolment.owner,
        purpose=enrolment.purpose,
        valid=convert.span_message(enrolment.valid),
        consent_time=convert.timestamp(enrolment.consented_at),
        withdraw_time=None if enrolment.withdrawn_at is None else convert.timestamp(enrolment.withdrawn_at),
    )
