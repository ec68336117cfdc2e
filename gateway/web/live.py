"""The live stream: tells open pages that something changed, so that they fetch it anew."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from gateway.ports import Change
from gateway.web.rooms import Login, Rooms

router = APIRouter()
TOPICS: dict[str, str] = {
    "Bid": "bids",
    "Order": "bids",
    "Award": "bids",
    "Nomination": "bids",
    "Settlement": "bids",
    "PriceSeries": "prices",
    "CarbonSeries": "prices",
    "MarketDayStatus": "prices",
    "GridEvent": "limits",
    "Limit": "limits",
    "AuthorityStanding": "limits",
    "RawSignal": "partners",
    "NonCompliance": "partners",
    "ReportRequest": "partners",
    "ReportDuty": "partners",
    "PendingReport": "partners",
    "VenRegistration": "partners",
    "ProgramState": "partners",
    "Enrolment": "partners",
    "DispatchBatch": "dispatch",
    "DispatchOutcome": "dispatch",
}
"""Which page event a changed row raises."""
_HOLD_SECONDS = 0.5
_ALIVE_SECONDS = 10.0


@router.get("/live")
async def live(request: Request, rooms: Rooms, session: Login) -> Response:
    """Stream page events of the caller's tenant, at most two a second per topic."""
    return StreamingResponse(
        _events(rooms, session.principal.tenant), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _events(rooms: Rooms, tenant: str) -> AsyncIterator[str]:
    async with rooms.store.changes(TOPICS.keys()) as changes:
        yield "event: hello\ndata: -\n\n"
        while True:
            topics = await _collect(changes, tenant)
            for topic in sorted(topics):
                yield f"event: {topic}\ndata: -\n\n"
            if not topics:
                yield ": alive\n\n"


async def _collect(changes: AsyncIterator[Change], tenant: str) -> set[str]:
    topics: set[str] = set()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _ALIVE_SECONDS
    try:
        async with asyncio.timeout_at(deadline) as limit:
            async for change in changes:
                if change.tenant == tenant:
                    if not topics:
                        limit.reschedule(loop.time() + _HOLD_SECONDS)
                    topics.add(TOPICS[change.kind])
    except TimeoutError:
        pass
    return topics
