"""3.x: what events become (B2 to B13)."""

from datetime import datetime, timedelta

from gateway.selftest.partner import RATING_KW, expect, text_of
from gateway.selftest.partner_3 import EVER, HOUR, NOW, Partner3, limit_body, midnight, values_of

_MINUTE = timedelta(minutes=1)
_MANY = 61
"""More than one page of 50."""
_FAR = timedelta(days=365)
_PER_MWH = 1000.0
"""EUR/MWh of one EUR/kWh."""


async def b2(vtn: Partner3) -> str:
    """More events than fit on a page."""
    await vtn.program()
    start = vtn.soon(60)
    wanted = {await vtn.limit(start + number * HOUR, [40.0 + number]) for number in range(_MANY)}
    known: dict[str, object] = {}

    async def are_known() -> bool:
        known.update(await vtn.events())
        return wanted <= set(known)

    await vtn.until(are_known, f"{_MANY} events", seen=lambda: len(known))
    return f"{len(known)} events over pages of 50"


async def b3(vtn: Partner3) -> str:
    """An event for the VEN's target, one for another's, both read under `objectType` VEN."""
    await vtn.program()
    ven = await vtn.known_ven()
    expect(ven["objectType"] == "VEN", ven)
    return await b3_targets(vtn)


async def b3_targets(vtn: Partner3) -> str:
    """Publish an event for the VEN's target and one for another's."""
    start = vtn.soon(600)
    mine = await vtn.limit(start, [40.0], targets=["mine"])
    foreign = await vtn.limit(start + 2 * HOUR, [30.0], targets=["foreign"])
    await vtn.control("POST", "/grant", {"targets": ["mine"]})
    await vtn.event_known(mine)
    await vtn.reads(2)
    expect(foreign not in await vtn.events(), "the foreign event is known")
    return await vtn.limits({start + HOUR / 2: 40.0, start + 2.5 * HOUR: RATING_KW})


async def b4(vtn: Partner3) -> str:
    """Now and for ever."""
    await vtn.program()
    await vtn.limit(NOW, [40.0], EVER)
    soon = vtn.soon(10)
    await vtn.limits({soon: 40.0, soon + _FAR: 40.0})
    return "40 kW at once and in a year"


async def b5(vtn: Partner3) -> str:
    """24 hourly prices that repeat for ever."""
    await vtn.program()
    day = midnight(vtn.clock.now())
    prices = [[0.1 + hour / 100] for hour in range(24)]
    event = await vtn.event(
        duration=EVER,
        intervalPeriod={"start": text_of(day), "duration": "PT1H"},
        intervals=values_of("PRICE", prices),
        payloadDescriptors=[_price()],
    )
    rows = {start: value for start, _, value in await vtn.intervals(event)}
    for hour in (11, 35, 59):
        value, wanted = rows.get(day + hour * HOUR), prices[hour % 24][0] * _PER_MWH
        expect(value is not None and abs(value - wanted) < 1.0 / _PER_MWH, f"hour {hour} costs {value}, not {wanted}")
    return "hours 11, 35 and 59 cost the same"


async def b6(vtn: Partner3) -> str:
    """Three prices in one interval of three hours."""
    await vtn.program()
    start = vtn.soon(60)
    event = await vtn.event(
        intervalPeriod={"start": text_of(start), "duration": "PT3H"},
        intervals=values_of("PRICE", [[0.1, 0.2, 0.3]]),
        payloadDescriptors=[_price()],
    )
    rows = [(begin, round(value, 6)) for begin, _, value in await vtn.intervals(event)]
    wanted = [(start + hour * HOUR, (hour + 1) * 100.0) for hour in range(3)]
    expect(rows == wanted, rows)
    return "100, 200 and 300 EUR/MWh"


async def b7(vtn: Partner3) -> str:
    """Odd payloads and fields beside three good events."""
    await vtn.program()
    start = vtn.soon(60)
    period = {"start": text_of(start), "duration": "PT1H"}
    odd: list[dict[str, object]] = [
        {"intervals": [{"id": 0, "payloads": []}]},
        {"intervals": values_of("CURVE", [[{"x": 1.0, "y": 2.0}]])},
        {"intervals": values_of("x-private", [["anything"]])},
        {"intervals": values_of("SIMPLE", [[1]]), "colour": "red"},
    ]
    good = [await vtn.limit(start + 2 * number * HOUR, [40.0 + number]) for number in range(1, 3)]
    for fields in odd:
        await vtn.event(intervalPeriod=period, **fields)
    good.append(await vtn.limit(start + 6 * HOUR, [43.0]))
    held = {start + 2 * number * HOUR + _MINUTE: 40.0 + number for number in range(1, 4)}
    await vtn.limits(held)
    return f"{len(good)} good events hold beside {len(odd)} odd ones"


async def b8(vtn: Partner3) -> str:
    """Limits in several units, and in one that nobody knows."""
    await vtn.program()
    start = vtn.soon(60)
    await vtn.limit(start, [10.0, 8.0], "PT30M")
    await vtn.limit(start + 2 * HOUR, [9000.0], units="W")
    await vtn.limit(start + 4 * HOUR, [0.007], units="MW")
    await vtn.limit(start + 6 * HOUR, [6.0], units="HORSEPOWER")
    await vtn.limit(start + 8 * HOUR, [5.0])
    inside = 5 * _MINUTE
    return await vtn.limits(
        {
            start + inside: 10.0,
            start + HOUR / 2 + inside: 8.0,
            start + 2 * HOUR + inside: 9.0,
            start + 4 * HOUR + inside: 7.0,
            start + 6 * HOUR + inside: RATING_KW,
            start + 8 * HOUR + inside: 5.0,
        }
    )


async def b9(vtn: Partner3) -> str:
    """Priorities 0, 5 and none at the same time."""
    await vtn.program()
    start = vtn.soon(60)
    for kw, priority in ((20.0, 5), (60.0, 0), (10.0, None)):
        await vtn.limit(start, [kw], priority=priority)
    return await vtn.limits({start + HOUR / 2: 60.0})


async def b10(vtn: Partner3) -> str:
    """Shortened, deleted, cancelled by its period."""
    await vtn.program()
    start = vtn.soon(60)
    shortened = await vtn.limit(start, [40.0, 40.0])
    deleted = await vtn.limit(start + 4 * HOUR, [30.0])
    cancelled = await vtn.limit(start + 8 * HOUR, [20.0])
    half = HOUR / 2
    await vtn.limits({start + 3 * half: 40.0, start + 4 * HOUR + half: 30.0, start + 8 * HOUR + half: 20.0})
    await vtn.replace(shortened, limit_body(start, [40.0], "PT1H", "KW"))
    await vtn.remove(deleted)
    await vtn.replace(cancelled, limit_body(NOW, [20.0], "PT0S", "KW"))
    await vtn.limits(
        {
            start + half: 40.0,
            start + 3 * half: RATING_KW,
            start + 4 * HOUR + half: RATING_KW,
            start + 8 * HOUR + half: RATING_KW,
        }
    )
    return "shortened once, deleted and cancelled"


async def b11(vtn: Partner3) -> str:
    """An event that began at midnight."""
    await vtn.program()
    day = midnight(vtn.clock.now())
    await vtn.limit(day, [40.0 + hour for hour in range(24)])
    now = vtn.clock.now()
    at = now.replace(minute=0, second=0, microsecond=0) + HOUR - _MINUTE
    return await vtn.limits({at: 40.0 + at.hour})


async def b12(vtn: Partner3) -> str:
    """A randomised start."""
    await vtn.program()
    start = vtn.soon(60)
    period = {"start": text_of(start), "duration": "PT1H", "randomizeStart": "PT5M"}
    body = {**limit_body(start, [40.0, 41.0, 42.0], "PT1H", "KW"), "intervalPeriod": period}
    event = await vtn.event(**body)
    first = await _shifts(vtn, event, start)
    expect(len(first) == 1 and abs(min(first)) <= 5 * _MINUTE, f"shifts {first}")
    await vtn.replace(event, {**body, "eventName": "another"})
    await vtn.reads(3)
    again = await _shifts(vtn, event, start)
    expect(first == again, f"{first} became {again}")
    return f"{min(first).total_seconds():.0f} s for all intervals, also after a change"


async def _shifts(vtn: Partner3, event: str, start: datetime) -> set[timedelta]:
    rows = sorted(begin for begin, _, _ in await vtn.intervals(event))
    return {begin - (start + number * HOUR) for number, begin in enumerate(rows)}


async def b13(vtn: Partner3) -> str:
    """The limits end while the VTN is away."""
    await vtn.program()
    await vtn.event(
        intervalPeriod={"start": NOW, "duration": EVER},
        intervals=values_of("IMPORT_CAPACITY_SUBSCRIPTION", [[100.0]]),
        payloadDescriptors=[
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_SUBSCRIPTION", "units": "KW"}
        ],
    )
    start = vtn.soon(8)
    await vtn.limit(start, [40.0, 30.0], "PT4M")
    await vtn.limits({start + _MINUTE: 40.0, start + 5 * _MINUTE: 30.0})
    await vtn.fault("*", "drop", times=-1)
    await vtn.clock.sleep_until(start + 9 * _MINUTE)

    async def is_subscribed() -> bool:
        return abs((await vtn.limit_kw(vtn.clock.now()))[0] - 100.0) < 1.0 / _PER_MWH

    await vtn.until(is_subscribed, "100 kW of the subscription in the outage")
    return "40 kW, 30 kW, then 100 kW of the subscription"


def _price() -> dict[str, str]:
    return {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "PRICE", "units": "KWH", "currency": "EUR"}
