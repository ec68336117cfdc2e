"""2.0b: registration, polling and what goes wrong with them (A1 to A6, A25, A35)."""

from datetime import datetime, timedelta

from gateway.selftest.partner import CaseFailed, Fields, expect, text_of
from gateway.selftest.partner_20b import Partner20b, event, minutes_text, said

POLL = timedelta(minutes=1)
LONG_CYCLE = timedelta(minutes=14)
SLOWER_POLL = timedelta(minutes=3)
_TOLERANCE = timedelta(seconds=1)
_LATE = timedelta(seconds=20)
"""So much of market time a busy machine may bring one request late, which makes the next gap look shorter."""
LONG_POLL = "PT15M"
"""So long between two cycles that a machine that is busy cannot make a cycle look like several."""
_LARGE = 20_000_000
_TRIES = 5


async def a1(vtn: Partner20b) -> str:
    """The VTN cuts every connection at the start, then is up."""
    tries = await vtn.heard("oadrQueryRegistration", count=2)
    await vtn.heal()
    ids = await vtn.registered()
    return f"registered as {ids['ven_id']} after {len(tries)} cut connections"


async def a2(vtn: Partner20b) -> str:
    """Registration is answered 463 three times."""
    tries = await vtn.heard("oadrCreatePartyRegistration", count=4)
    ids = await vtn.registered()
    return f"{len(tries) - 1} refusals, then registered as {ids['ven_id']}"


async def a3(vtn: Partner20b) -> str:
    """The gateway is killed with an accepted, randomised event."""
    ids = await vtn.registered()
    start = vtn.soon(600)
    await vtn.tell(event("E1", start, start_after="PT60M"))
    await vtn.answers("E1")
    before = await vtn.event_known("E1")
    mark = await vtn.mark()
    await vtn.around.intermission()
    await vtn.heard("oadrRequestEvent", after=mark)
    await vtn.polled(2)
    again = [e["fields"] for e in await vtn.log(mark) if e["kind"] == "oadrCreatePartyRegistration"]
    expect(all(each.get("registrationID") == ids["registration_id"] for each in again), f"registered with {again}")
    after = await vtn.event_known("E1")
    expect(before.active == after.active, f"active {before.active} became {after.active}")
    expect(before.modification == after.modification and before.id == after.id, "the event became another one")
    now = await vtn.control("GET", "/log?after=1000000")
    expect(now["ven_id"] == ids["ven_id"], f"venID {ids['ven_id']} became {now['ven_id']}")
    shift = after.active.start_time.ToDatetime(start.tzinfo) - start
    return f"same ids, same start {round(shift.total_seconds())} s after dtstart"


async def a4(vtn: Partner20b) -> str:
    """The VTN asks for a new registration with a slower poll."""
    ids = await vtn.registered()
    mark = await vtn.mark()
    await vtn.world(poll=minutes_text(SLOWER_POLL.total_seconds() / 60))
    await vtn.say("oadrRequestReregistration")
    await vtn.heard("oadrResponse", after=mark)
    created = await vtn.heard("oadrCreatePartyRegistration", after=mark)
    expect(created[0]["fields"].get("registrationID") == ids["registration_id"], created[0]["fields"])
    gaps = await vtn.poll_gaps(4, after=created[0]["n"])
    mean = sum(gaps, timedelta()) / len(gaps)
    expect(mean >= SLOWER_POLL - _TOLERANCE and min(gaps) >= SLOWER_POLL - _LATE, f"polls {gaps} apart")
    return f"polls {mean.total_seconds():.0f} s apart"


async def a5(vtn: Partner20b) -> str:
    """The VTN has forgotten the VEN."""
    await vtn.registered()
    mark = await vtn.mark()
    await vtn.fault("oadrPoll", "code", code=463)
    created = await vtn.heard("oadrCreatePartyRegistration", after=mark)
    await vtn.polled(1, after=created[0]["n"])
    return "463, then registered again and polling"


async def a6(vtn: Partner20b) -> str:
    """The VTN cancels with a wrong id, then with the right one."""
    await vtn.registered()
    mark = await vtn.mark()
    await vtn.say("oadrCancelPartyRegistration", registration_id="reg-wrong")
    wrong = await vtn.heard("oadrCanceledPartyRegistration", after=mark)
    expect(wrong[0]["fields"]["eiResponse"]["responseCode"] == "452", wrong[0]["fields"])
    await vtn.polled(2, after=wrong[0]["n"])
    mark = await vtn.mark()
    await vtn.say("oadrCancelPartyRegistration")
    right = await vtn.heard("oadrCanceledPartyRegistration", after=mark)
    expect(right[0]["fields"]["eiResponse"]["responseCode"] == "200", right[0]["fields"])
    await vtn.pass_market(5 * POLL)
    late = [entry for entry in await vtn.log(right[0]["n"]) if entry["kind"] == "oadrPoll"]
    expect(not late, f"{len(late)} polls after the cancellation")
    await vtn.heard("oadrCreatePartyRegistration", after=right[0]["n"])
    offered = await vtn.heard("oadrRegisterReport", after=right[0]["n"])
    return f"452, 200, silent, back later with its reports (entry {offered[0]['n']})"


async def a25(vtn: Partner20b) -> str:
    """Messages that are attacks."""
    await vtn.registered()
    root = "oadr:oadrPayload"
    ladder = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 11))
    attacks = {
        "internal entity": f'<!DOCTYPE {root} [<!ENTITY a "b">]><{root}>&a;</{root}>',
        "ladder of entities": f'<!DOCTYPE {root} [<!ENTITY e0 "x">{ladder}]><{root}>&e10;</{root}>',
        "external entity": f'<!DOCTYPE {root} [<!ENTITY a SYSTEM "file:///etc/hostname">]><{root}>&a;</{root}>',
        "20 MB": f"<{root}>{' ' * _LARGE}</{root}>",
    }
    for name, attack in attacks.items():
        mark = await vtn.mark()
        await vtn.say_raw(attack)
        await vtn.polled(2, after=mark)
        expect((await vtn.control("GET", "/log?after=1000000"))["waiting"] == 0, f"{name}: not fetched")
    mark = await vtn.mark()
    start = vtn.soon()
    await vtn.tell(event("after-the-attacks", start))
    answers = await vtn.answers("after-the-attacks", after=mark)
    expect(said(answers["after-the-attacks"]) == ("200", "optIn"), answers)
    return f"{len(attacks)} attacks, then an event accepted for {text_of(start)}"


async def a26(vtn: Partner20b) -> str:
    """Messages whose signature covers something else, is missing, old or early."""
    await vtn.registered()
    start = vtn.soon(60)
    tampers = ("unsigned", "forged", "ahead")
    for tamper in tampers:
        mark = await vtn.mark()
        await vtn.tell(event(tamper, start), tamper=tamper)
        await vtn.polled(2, after=mark)
    await _accepted(vtn, event("signed", start))
    mark = await vtn.mark()
    await _accepted(vtn, event("repeated", start), tamper="repeat")
    await vtn.polled(4)
    kinds = [each["kind"] for each in await vtn.log(mark)]
    known = set(await vtn.events())
    expect(known == {"signed", "repeated"}, f"events {sorted(known)}")
    answers, asked = kinds.count("oadrCreatedEvent"), kinds.count("oadrRequestEvent")
    expect(1 <= answers <= 1 + asked, f"{answers} answers to one message and {asked} lists")
    return f"{', '.join(tampers)} and repeated refused, signed accepted"


async def _accepted(vtn: Partner20b, said_event: Fields, **fields: object) -> None:
    """Say an event until it is answered: on a slow machine a signature may be too old when it arrives."""
    for _ in range(_TRIES):
        mark = await vtn.mark()
        await vtn.tell(said_event, **fields)
        await vtn.polled(3, after=mark)
        if any(entry["kind"] == "oadrCreatedEvent" for entry in await vtn.log(mark)):
            return
    raise CaseFailed(f"{said_event['event_id']} was not answered, though signed")


async def a35(vtn: Partner20b) -> str:
    """Five messages wait at the VTN."""
    await vtn.registered()
    mark = await vtn.mark()
    start = vtn.soon(60)
    book = [event(f"Q{number}", start, kw=100.0 + number) for number in range(1, 6)]
    for number in range(1, 6):
        await vtn.tell(*book[:number])
    answers = await vtn.answers(*(each["event_id"] for each in book), after=mark)
    expect(all(said(each) == ("200", "optIn") for each in answers.values()), answers)
    polls = await vtn.polled(len(book) + 1, after=mark)
    span = _between(polls[0], polls[len(book)])
    expect(span < LONG_CYCLE, f"{len(book) + 1} polls in {span}")
    return f"{len(book) + 1} polls in one cycle"


def _between(earlier: dict[str, str], later: dict[str, str]) -> timedelta:
    return datetime.fromisoformat(later["at"]) - datetime.fromisoformat(earlier["at"])
