"""2.0b: what we say of our own accord about our availability (A37)."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from gateway.selftest.partner import CALL_S, Fields, expect
from gateway.selftest.partner_20b import CONTEXT, Partner20b, event, listed, said
from gateway.v1 import signals_service_pb2 as signals

_DAY_MINUTES = 24 * 60.0
_HOUR = timedelta(hours=1)


async def a37(vtn: Partner20b) -> str:
    """Two windows are declared and withdrawn; the gateway is killed with a withdrawal and another declaration under way."""
    await vtn.registered()
    day = vtn.soon(_DAY_MINUTES)
    book = _Declarations(vtn)
    first = await book.declare("first", [day, day + 4 * _HOUR])
    heard = await vtn.heard("oadrCreateOpt", where=_about(first))
    expect(_window_count(heard[0]["fields"]) == 2, f"windows {heard[0]['fields']}")
    expect(heard[0]["fields"]["marketContext"] == CONTEXT, heard[0]["fields"])
    await book.told(first)
    inside = event("inside", day + _HOUR / 2)
    await vtn.tell(inside)
    answers = await vtn.answers("inside")
    expect(said(answers["inside"]) == ("200", "optOut"), answers)
    second = await book.declare("second", [day + timedelta(days=1), day + timedelta(days=1, hours=4)])
    await book.withdraw("first-gone", first)
    await vtn.around.intermission()
    await vtn.heard("oadrCancelOpt", where=_about(first))
    await vtn.heard("oadrCreateOpt", where=_about(second))
    await book.told(first, second)
    mark = await vtn.mark()
    await vtn.tell(event("free", day + _HOUR / 2), event("late", day + timedelta(days=1)))
    answers = await vtn.answers("free", "late", after=mark)
    expect((said(answers["free"])[1], said(answers["late"])[1]) == ("optIn", "optOut"), answers)
    await book.withdraw("second-gone", second)
    await vtn.heard("oadrCancelOpt", where=_about(second))
    created = await vtn.heard("oadrCreateOpt", where=_about(first))
    expect(len(created) == 1, f"the first declaration was told {len(created)} times")
    return "two windows told once, an event inside answered optOut, both declarations withdrawn across a kill"


class _Declarations:
    """What the gateway keeps about our availability to the partner of a case."""

    def __init__(self, vtn: Partner20b) -> None:
        self._vtn = vtn
        self._gateway = vtn.around.gateway.signals

    async def declare(self, request_id: str, starts: Sequence[datetime]) -> signals.Availability:
        """Say that we are not available for an hour from each start on."""
        request = signals.DeclareAvailabilityRequest(
            request_id=f"{self._vtn.name}-{request_id}",
            authority=self._vtn.authority,
            opt=signals.OPT_OUT,
            reason="mustRun",
            program=CONTEXT,
        )
        for start in starts:
            window = request.windows.add()
            window.start_time.FromDatetime(start)
            window.end_time.FromDatetime(start + _HOUR)
        answer: signals.DeclareAvailabilityResponse = await self._gateway.DeclareAvailability(
            request, timeout=CALL_S, wait_for_ready=True
        )
        return answer.availability

    async def withdraw(self, request_id: str, one: signals.Availability) -> None:
        """Withdraw a declaration."""
        request = signals.WithdrawAvailabilityRequest(
            request_id=f"{self._vtn.name}-{request_id}", availability_id=one.id
        )
        await self._gateway.WithdrawAvailability(request, timeout=CALL_S, wait_for_ready=True)

    async def told(self, *wanted: signals.Availability) -> None:
        """Return once the gateway has noted that the partner took these as they are now.

        Raises:
            CaseFailed: It did not in time.
        """
        request = signals.ListAvailabilityRequest(authority=self._vtn.authority)
        ids = {one.id for one in wanted}

        async def is_noted() -> bool:
            answer = await self._gateway.ListAvailability(request, timeout=CALL_S, wait_for_ready=True)
            return ids <= {one.id for one in answer.availabilities if one.HasField("tell_time")}

        await self._vtn.until(is_noted, "declarations noted as told")


def _about(one: signals.Availability) -> Callable[[Fields], bool]:
    """Return what tells whether a message is about a declaration."""
    return lambda fields: one.id == f"{one.authority}:{fields.get('optID')}"


def _window_count(fields: Fields) -> int:
    return len(listed(fields["vavailability"]["components"]["available"]))
