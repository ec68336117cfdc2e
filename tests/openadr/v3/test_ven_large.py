"""Listings and events so large that they are read beside the event loop: on a real loop, the same as small ones."""

import asyncio
from datetime import timedelta

from tests.fakes.clock import HandClock
from tests.openadr.v3.bench import Bench, settings
from tests.openadr.v3.memory_vtn import intervals, limit_event, period
from tests.openadr.virtual_life import START


async def test_large_listings_and_events_say_what_small_ones_would() -> None:
    clock = HandClock(START)
    bench = Bench(settings=settings(), clock=clock)  # type: ignore[arg-type]  # time stands still
    bench.vtn.program()
    for number in range(61):
        kw = [float(number)] * 96
        bench.vtn.event(f"e{number}", **limit_event(START, *kw, duration="PT15M"))
    bench.vtn.event("long", **limit_event(START, *[float(one % 50) for one in range(2_000)], duration="PT15M"))
    packed = limit_event(START, 1.0) | {"intervals": intervals("IMPORT_CAPACITY_LIMIT", [1.0, 2.0] * 6_000)}
    bench.vtn.event("packed", **packed | {"intervalPeriod": period(START, "P100D")})
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.ven.run())
        while len(bench.events()) < 63:
            await asyncio.sleep(0.01)
        running.cancel()
    events = bench.events()
    assert {len(events[f"e{number}"].intervals) for number in range(61)} == {96}
    assert [one.value for one in events["long"].intervals][:3] == [0.0, 1.0, 2.0]
    assert len(events["long"].intervals) == 2_000
    assert len(events["packed"].intervals) <= bench.settings.most_intervals
    assert events["packed"].unrolled_until is not None
    assert events["packed"].active.end == START + timedelta(days=100)
