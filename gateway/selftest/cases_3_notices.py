"""3.x: webhooks and MQTT (B14, B15)."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from gateway.selftest.partner import CaseFailed, Fields, expect
from gateway.selftest.partner_3 import HOUR, Partner3

POLL_S = 900.0
"""Market seconds between polls: what comes sooner came because of a notification."""
_SOON = timedelta(minutes=8)
_TRIES = 6
_PAUSE = timedelta(minutes=2)
_OK, _UNAUTHORIZED = 200, 401


async def b14(vtn: Partner3) -> str:
    """Told, told by a stranger, told nothing, told twice."""
    await vtn.program()
    await vtn.heard("POST /subscriptions", where=lambda fields: fields["status"] == 201)
    start = vtn.soon(600)
    told = await _told(vtn, start)
    expect(_OK <= told[-1] < 300, f"notification answered {told[-1]}")
    await vtn.control("PUT", "/manners", {"bearer": "wrong"})
    forged = await _told(vtn, start + 2 * HOUR)
    expect(forged[-1] == _UNAUTHORIZED, f"a wrong bearer answered {forged[-1]}")
    await vtn.control("PUT", "/manners", {"lose": True})
    lost = await vtn.limit(start + 4 * HOUR, [43.0])
    await vtn.event_known(lost)
    await vtn.control("PUT", "/manners", {"times": 2})
    twice = await vtn.limit(start + 6 * HOUR, [44.0])
    known = await vtn.event_known(twice)
    expect(known.modification == 0, f"modification {known.modification}")
    await vtn.limits({start + 6.5 * HOUR: 44.0})
    return f"echo answered, {told[-1]}; wrong bearer {forged[-1]}; the lost one found by polling; twice is once"


async def _told(vtn: Partner3, start: datetime) -> list[int]:
    """Publish an event and return the statuses of all notifications once one more was sent."""
    statuses: list[int] = []

    async def all_statuses() -> list[int]:
        sent: list[Fields] = (await vtn.control("GET", "/log?after=1000000"))["notifications"]
        return [each["status"] for each in sent if each["status"]]

    before = len(await all_statuses())
    await vtn.limit(start, [42.0])

    async def is_sent() -> bool:
        statuses[:] = await all_statuses()
        return len(statuses) > before

    await vtn.until(is_sent, "a notification", seen=lambda: statuses)
    return statuses


async def b15(vtn: Partner3) -> str:
    """Told over MQTT, also after the broker came back."""
    await vtn.program()
    await vtn.heard("GET /notifiers")
    start = vtn.soon(600)
    first = await _until_told(vtn, lambda number: vtn.limit(start + number * HOUR, [40.0]))
    await vtn.around.restart_broker()
    later = start + 24 * HOUR
    second = await _until_told(vtn, lambda number: vtn.limit(later + number * HOUR, [41.0]))
    foreign = await vtn.limit(start, [10.0], targets=["foreign"])
    await vtn.pass_market(_PAUSE)
    expect(foreign not in await vtn.events(), "the foreign event is known")
    return f"read {first} and, after the restart, {second} sooner than the next poll; the foreign event is ignored"


async def _until_told(vtn: Partner3, publish: Callable[[int], Awaitable[str]]) -> str:
    """Publish just after a poll until an event is known long before the next one; return its id."""
    for number in range(_TRIES):
        await vtn.reads(1)
        published_at = vtn.clock.now()
        event = await publish(number)
        await vtn.event_known(event)
        if vtn.clock.now() - published_at < _SOON:
            return event
    raise CaseFailed(f"none of {_TRIES} events was read before the next poll")
