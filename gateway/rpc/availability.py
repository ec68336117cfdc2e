"""The part of SignalsService that is about what we declare: when we are available, and whether we take part at all."""

from collections.abc import Sequence
from typing import Protocol

from typing_extensions import override

from gateway.domain.errors import InvalidInput
from gateway.domain.identity import Principal
from gateway.domain.programs import OptSchedule
from gateway.domain.signals import OptType
from gateway.domain.timegrid import Interval
from gateway.rpc import convert
from gateway.rpc.door import Context, caller
from gateway.v1 import signals_service_pb2 as pb
from gateway.v1 import signals_service_pb2_grpc as pb_grpc
from gateway.v1 import types_pb2

OPTS = {OptType.OPT_IN: pb.OPT_IN, OptType.OPT_OUT: pb.OPT_OUT}
"""Our answers as messages say them."""
_LONGEST_PROGRAM = 1024
_MOST_RESOURCES = 100


class AvailabilityDoor(Protocol):
    """What this servicer needs of `services.declare_availability.AvailabilityDesk`."""

    async def schedules(self, principal: Principal) -> list[OptSchedule]:
        """Return the tenant's schedules and words on events, the newest first."""
        ...

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
        """Declare when we are available to a partner, or are not."""
        ...

    async def withdraw(self, principal: Principal, *, schedule_id: str, request_id: str) -> OptSchedule:
        """Withdraw a schedule before its end."""
        ...

    async def take_part(self, principal: Principal, *, authority: str, is_wanted: bool, request_id: str) -> None:
        """Leave a partner, or join it again."""
        ...


class AvailabilityCalls(pb_grpc.SignalsServiceServicer):
    """Translates messages about availability and participation."""

    def __init__(self, availability: AvailabilityDoor) -> None:
        """Remember the service behind."""
        self._availability = availability

    @override
    async def DeclareAvailability(
        self, request: pb.DeclareAvailabilityRequest, context: Context
    ) -> pb.DeclareAvailabilityResponse:
        """Declare when we are available, or are not."""
        if len(request.program) > _LONGEST_PROGRAM:
            raise InvalidInput("program", f"must have at most {_LONGEST_PROGRAM} characters")
        if len(request.resources) > _MOST_RESOURCES:
            raise InvalidInput("resources", f"must be at most {_MOST_RESOURCES}")
        schedule = await self._availability.declare(
            caller(),
            authority=convert.required_text("authority", request.authority),
            opt=opt_of(request.opt),
            reason=convert.required_text("reason", request.reason),
            windows=[_window(f"windows[{index}]", span) for index, span in enumerate(request.windows)],
            request_id=convert.required_text("request_id", request.request_id),
            market_context=request.program,
            resources=[
                convert.required_text(f"resources[{index}]", name) for index, name in enumerate(request.resources)
            ],
        )
        return pb.DeclareAvailabilityResponse(availability=availability_message(schedule))

    @override
    async def ListAvailability(
        self, request: pb.ListAvailabilityRequest, context: Context
    ) -> pb.ListAvailabilityResponse:
        """List declarations, newest first; our words on single events are told with the events."""
        found = [
            one
            for one in await self._availability.schedules(caller())
            if not one.event_id and request.authority in {"", one.authority}
        ]
        chosen, token = convert.page(found, request.page, [one.id for one in found])
        messages = [availability_message(one) for one in chosen]
        return pb.ListAvailabilityResponse(availabilities=messages, next_page_token=token)

    @override
    async def WithdrawAvailability(
        self, request: pb.WithdrawAvailabilityRequest, context: Context
    ) -> pb.WithdrawAvailabilityResponse:
        """Withdraw a declaration."""
        schedule = await self._availability.withdraw(
            caller(),
            schedule_id=convert.required_text("availability_id", request.availability_id),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.WithdrawAvailabilityResponse(availability=availability_message(schedule))

    @override
    async def SetParticipation(
        self, request: pb.SetParticipationRequest, context: Context
    ) -> pb.SetParticipationResponse:
        """Join a partner or leave it."""
        if not request.HasField("is_participating"):
            raise InvalidInput("is_participating", "is required; say false if you mean to leave")
        authority = convert.required_text("authority", request.authority)
        await self._availability.take_part(
            caller(),
            authority=authority,
            is_wanted=request.is_participating,
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.SetParticipationResponse(authority=authority, is_participating=request.is_participating)


def opt_of(wire: int) -> OptType:
    """Return an answer that a message says.

    Raises:
        InvalidInput: It says none.
    """
    for opt, number in OPTS.items():
        if wire == number:
            return opt
    raise InvalidInput("opt", "must be OPT_IN or OPT_OUT")


def _window(field: str, span: types_pb2.TimeSpan) -> Interval:
    start = convert.required_instant(f"{field}.start_time", span, "start_time")
    end = convert.required_instant(f"{field}.end_time", span, "end_time")
    if end <= start:
        raise InvalidInput(f"{field}.end_time", "must be later than the start")
    return Interval(start=start, end=end)


def availability_message(schedule: OptSchedule) -> pb.Availability:
    """Return a declaration as a message."""
    cancelled_at, told_at = schedule.cancelled_at, schedule.told_at
    return pb.Availability(
        id=schedule.id,
        authority=schedule.authority,
        opt=OPTS[schedule.opt],
        reason=schedule.reason,
        program=schedule.market_context,
        windows=[convert.span_message(window) for window in schedule.windows],
        resources=schedule.resources,
        declared_by=schedule.created_by,
        declare_time=convert.timestamp(schedule.created_at),
        withdraw_time=None if cancelled_at is None else convert.timestamp(cancelled_at),
        tell_time=None if told_at is None else convert.timestamp(told_at),
        refusal=schedule.refusal,
    )
