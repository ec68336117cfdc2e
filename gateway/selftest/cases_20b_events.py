"""2.0b: events, their answers and the limits they become (A7 to A24)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from gateway.selftest.partner import RATING_KW, expect, text_of
from gateway.selftest.partner_20b import OTHER_CONTEXT, Partner20b, event, event_responses, said, setpoint
from gateway.v1 import signals_service_pb2 as signals

OPT_IN = ("200", "optIn")
_HALF_HOUR = timedelta(minutes=30)
_SECOND = timedelta(seconds=1)
WINDOW = timedelta(minutes=5)
"""`startafter` of the randomised events."""


async def a7(vtn: Partner20b) -> str:
    """Ids that look like something else."""
    await vtn.registered()
    ids = ("00123", "true", "1.2.3", "E&1")
    await vtn.tell(*(event(each, vtn.soon()) for each in ids))
    answers = await vtn.answers(*ids)
    expect(all(said(each) == OPT_IN for each in answers.values()), answers)
    return f"echoed {', '.join(answers)}"


async def a8(vtn: Partner20b) -> str:
    """VTN ids of digits and of lower case."""
    await vtn.registered()
    for number, vtn_id in enumerate(("123456", "my_vtn")):
        mark = await vtn.mark()
        await vtn.world(vtn_id=vtn_id)
        await vtn.say("oadrRequestReregistration")
        await vtn.heard("oadrRequestEvent", after=mark)
        mark = await vtn.mark()
        await vtn.tell(event(f"E{number}", vtn.soon()))
        created = await vtn.heard("oadrCreatedEvent", after=mark, where=event_responses)
        code = created[0]["fields"]["eiCreatedEvent"]["eiResponse"]["responseCode"]
        expect(code == "200", f"{vtn_id} answered {code}")
    return "123456 and my_vtn answered 200"


async def a9(vtn: Partner20b) -> str:
    """An event is missing from the next message."""
    await vtn.registered()
    start = vtn.soon(60)
    first, second = event("E1", start, kw=40.0), event("E2", start + 3 * _HALF_HOUR, kw=50.0)
    inside = start + _HALF_HOUR
    await vtn.tell(first, second)
    await vtn.limits({inside: 40.0, inside + 3 * _HALF_HOUR: 50.0})
    await vtn.tell(second)
    return await vtn.limits({inside: RATING_KW, inside + 3 * _HALF_HOUR: 50.0})


async def a10(vtn: Partner20b) -> str:
    """An empty message releases all."""
    await vtn.registered()
    start = vtn.soon(60)
    await vtn.tell(event("E1", start))
    await vtn.limits({start + _HALF_HOUR: 40.0})
    await vtn.tell()
    return await vtn.limits({start + _HALF_HOUR: RATING_KW})


async def a11(vtn: Partner20b) -> str:
    """A lower modification number comes later."""
    await vtn.registered()
    start = vtn.soon(60)
    await vtn.tell(event("E1", start, modification=3, kw=30.0))
    await vtn.answers("E1")
    mark = await vtn.mark()
    await vtn.tell(event("E1", start, modification=2, kw=20.0))
    answer = (await vtn.answers("E1", after=mark))["E1"]
    expect(answer["responseCode"].startswith("4"), answer)
    await vtn.limits({start + _HALF_HOUR: 30.0})
    return f"modification 2 answered {answer['responseCode']}, 30 kW stay"


async def a12(vtn: Partner20b) -> str:
    """An unknown event is cancelled already."""
    await vtn.registered()
    start = vtn.soon(60)
    await vtn.tell(event("E1", start, status="cancelled"))
    answer = (await vtn.answers("E1"))["E1"]
    expect(said(answer) == OPT_IN, answer)
    await vtn.limits({start + _HALF_HOUR: RATING_KW})
    return "optIn, no limit"


async def a13(vtn: Partner20b) -> str:
    """A cancelled event is sent three times beside a new one."""
    await vtn.registered()
    start = vtn.soon(60)
    await vtn.tell(event("E1", start, kw=30.0))
    await vtn.answers("E1")
    cancelled = event("E1", start, modification=1, status="cancelled")
    for number in range(2, 5):
        mark = await vtn.mark()
        book = [event(f"E{each}", start + 3 * _HALF_HOUR * each) for each in range(2, number + 1)]
        await vtn.tell(cancelled, *book)
        answers = await vtn.answers("E1", f"E{number}", after=mark)
        expect(all(said(each) == OPT_IN for each in answers.values()), answers)
    await vtn.limits({start + _HALF_HOUR: RATING_KW})
    return "optIn each of three times"


async def a14(vtn: Partner20b) -> str:
    """One of three events cannot be understood; later it can."""
    await vtn.registered()
    start = vtn.soon(60)
    good = [event("E1", start, kw=41.0), event("E3", start + 4 * _HALF_HOUR, kw=43.0)]
    broken = event("E2", start + 2 * _HALF_HOUR, minutes=60, signals=[setpoint([(60, 0.0)])])
    broken["signals"][0]["intervals"][0]["value"] = "NaN"
    await vtn.tell(good[0], broken, good[1])
    answers = await vtn.answers("E1", "E2", "E3")
    expect(said(answers["E1"]) == said(answers["E3"]) == OPT_IN, answers)
    expect(said(answers["E2"]) != OPT_IN, answers["E2"])
    code = answers["E2"]["responseCode"]
    mark = await vtn.mark()
    await vtn.tell(good[0], event("E2", start + 2 * _HALF_HOUR, kw=42.0), good[1])
    repaired = (await vtn.answers("E2", after=mark))["E2"]
    expect(said(repaired) == OPT_IN, repaired)
    return f"E2 answered {code}, then optIn; E1 and E3 optIn"


async def a15(vtn: Partner20b) -> str:
    """Targets of others, of nobody, of one known and one unknown."""
    await vtn.registered()
    start = vtn.soon(60)

    def at(place: int) -> datetime:
        return start + 4 * _HALF_HOUR * place

    other = event("other", at(0), targets=[{"kind": "venID", "id": "OTHER"}])
    nobody = event("nobody", at(1))
    some = [{"kind": "groupID", "id": "unknown"}, {"kind": "resourceID", "id": vtn.node}]
    one_known = event("one-known", at(2), targets=some)
    await vtn.tell(other, nobody, one_known)
    answers = await vtn.answers("other", "nobody", "one-known")
    expect(said(answers["other"]) == ("462", "optOut"), answers["other"])
    expect(said(answers["nobody"]) == said(answers["one-known"]) == OPT_IN, answers)
    return await vtn.limits({at(0) + _HALF_HOUR: RATING_KW, at(1) + _HALF_HOUR: 40.0, at(2) + _HALF_HOUR: 40.0})


async def a16(vtn: Partner20b) -> str:
    """Four wrong events and a good one."""
    await vtn.registered()
    start = vtn.soon(60)
    level = {"name": "SIMPLE", "type": "level", "intervals": [{"duration": "PT60M", "value": 7}]}
    wrong = {
        "context": event("context", start, context="http://selftest.example/unknown"),
        "signal": event("signal", start, signals=[setpoint([(60, 40.0)], name="x-FOO")]),
        "level": event("level", start, signals=[level]),
        "sum": event("sum", start, signals=[setpoint([(20, 40.0), (20, 40.0)])]),
    }
    await vtn.tell(*wrong.values(), event("good", start, kw=45.0))
    answers = await vtn.answers(*wrong, "good")
    codes = {name: answers[name]["responseCode"] for name in wrong}
    expect(codes["signal"] == "460" and codes["level"] == codes["sum"] == "454", codes)
    expect(codes["context"].startswith("4"), codes)
    expect(said(answers["good"]) == OPT_IN, answers["good"])
    await vtn.limits({start + _HALF_HOUR: 45.0})
    return f"codes {codes}"


async def a17(vtn: Partner20b) -> str:
    """No answer is wanted."""
    await vtn.registered()
    start = vtn.soon(60)
    mark = await vtn.mark()
    await vtn.tell(event("E1", start, response_required="never"))
    await vtn.limits({start + _HALF_HOUR: 40.0})
    await vtn.polled(2)
    answered = [each for each in await vtn.log(mark) if each["kind"] == "oadrCreatedEvent"]
    expect(not answered, f"{len(answered)} oadrCreatedEvent")
    return "limit 40 kW, no oadrCreatedEvent"


async def a18(vtn: Partner20b) -> str:
    """A test event."""
    await vtn.registered()
    start = vtn.soon(60)
    await vtn.tell(event("E1", start, test_event="foo"))
    answer = (await vtn.answers("E1"))["E1"]
    expect((await vtn.event_known("E1")).is_test, "not known as a test")
    await vtn.limits({start + _HALF_HOUR: RATING_KW})
    return f"answered {' '.join(said(answer))}, no limit"


async def a19(vtn: Partner20b) -> str:
    """A randomised start, redelivered and modified, then cancelled while it is active."""
    await vtn.registered()
    start = vtn.soon(60)
    await vtn.tell(event("E1", start, start_after="PT5M"))
    await vtn.answers("E1")
    first = _start(await vtn.event_known("E1"))
    expect(start <= first <= start + WINDOW, f"starts at {text_of(first)} for {text_of(start)}")
    same = event("E1", start, start_after="PT5M")
    for again in (same, {**same, "modification": 1, "signals": [setpoint([(60, 44.0)])]}):
        mark = await vtn.mark()
        await vtn.tell(again)
        await vtn.answers("E1", after=mark)
        now = _start(await vtn.event_known("E1"))
        expect(first == now, f"start {text_of(first)} became {text_of(now)}")
    shift = (first - start).total_seconds()
    running = event("E2", vtn.soon(1), minutes=600, kw=33.0, start_after="PT5M")
    await vtn.tell(running)
    await vtn.answers("E2")
    await vtn.clock.sleep_until(_start(await vtn.event_known("E2")) + _SECOND)
    mark = await vtn.mark()
    await vtn.tell({**running, "modification": 1, "status": "cancelled"})
    answer = (await vtn.answers("E2", after=mark))["E2"]
    expect(said(answer) == OPT_IN, answer)
    await vtn.limits({vtn.clock.now() + WINDOW + timedelta(minutes=1): RATING_KW})
    return f"{shift:.0f} s after dtstart three times; cancelled inside the window"


async def a20(vtn: Partner20b) -> str:
    """Open-ended until it is cancelled."""
    await vtn.registered()
    start = vtn.soon(30)
    endless = setpoint([(0, 40.0)])
    await vtn.tell(event("E1", start, minutes=0, signals=[endless]))
    late = start + timedelta(days=3)
    await vtn.limits({start + _HALF_HOUR: 40.0, late: 40.0})
    await vtn.tell(event("E1", start, minutes=0, signals=[endless], modification=1, status="cancelled"))
    await vtn.limits({late: RATING_KW})
    return "40 kW three days later, gone when cancelled"


async def a21(vtn: Partner20b) -> str:
    """Two contexts overlap."""
    await vtn.registered()
    start = vtn.soon(60)
    later = start + timedelta(hours=6)
    last = later + timedelta(hours=6)
    await vtn.tell(
        event("low", start, kw=20.0, priority=2),
        event("high", start, kw=60.0, priority=1, context=OTHER_CONTEXT),
        event("none", later, kw=20.0, priority=0),
        event("two", later, kw=60.0, priority=2, context=OTHER_CONTEXT),
        event("second", last + _HALF_HOUR, kw=20.0, priority=1),
        event("first", last, kw=60.0, priority=1, context=OTHER_CONTEXT),
    )
    quarter = _HALF_HOUR / 2
    return await vtn.limits(
        {start + quarter: 60.0, later + quarter: 60.0, last + 3 * quarter: 60.0, last + 5 * quarter: 20.0}
    )


async def a22(vtn: Partner20b) -> str:
    """Three intervals in kW."""
    await vtn.registered()
    start = vtn.soon(60)
    await vtn.tell(event("E1", start, minutes=45, signals=[setpoint([(15, 40.0), (15, 30.5), (15, 20.0)])]))
    return await vtn.limits(_around(start, (RATING_KW, 40.0, 30.5, 20.0, RATING_KW)))


async def a23(vtn: Partner20b) -> str:
    """`completed` is sent before the randomised end."""
    await vtn.registered()
    start = vtn.soon(8)
    await vtn.tell(event("E1", start, start_after="PT5M"))
    await vtn.answers("E1")
    begun = _start(await vtn.event_known("E1"))
    await vtn.clock.sleep_until(begun + _SECOND)
    mark = await vtn.mark()
    await vtn.tell(event("E1", start, start_after="PT5M", status="completed"))
    await vtn.polled(2, after=mark)
    await vtn.limits({begun + timedelta(minutes=59): 40.0})
    return "40 kW until the randomised end"


async def a24(vtn: Partner20b) -> str:
    """No Z behind the start."""
    await vtn.registered()
    start = vtn.soon(60)
    without_zone = event("E1", start)
    without_zone["start"] = text_of(start).removesuffix("Z")
    await vtn.tell(without_zone)
    answer = (await vtn.answers("E1"))["E1"]
    if said(answer) == OPT_IN:
        await vtn.limits({start + _HALF_HOUR: 40.0})
        return "taken as UTC"
    expect(answer["responseCode"] == "454", answer)
    return "answered 454"


async def a36(vtn: Partner20b) -> str:
    """An event must reach a charging platform that never answers."""
    await vtn.registered()
    start = vtn.soon(1)
    await vtn.tell(event("E1", start, kw=10.0))
    await vtn.answers("E1")
    await vtn.clock.sleep_until(start)
    mark = await vtn.mark()
    polls = await vtn.polled(6, after=mark)
    return f"{len(polls)} polls while nobody acknowledged"


def _around(start: datetime, values: Sequence[float], step: timedelta = timedelta(minutes=15)) -> dict[datetime, float]:
    """Return what must hold a second before and at each boundary."""
    expected = {start - _SECOND: values[0]}
    for number, value in enumerate(values[1:]):
        expected[start + number * step] = value
        if number < len(values) - 2:
            expected[start + (number + 1) * step - _SECOND] = value
    return expected


def _start(known: signals.GridEvent) -> datetime:
    instant: datetime = known.active.start_time.ToDatetime(UTC)
    return instant
