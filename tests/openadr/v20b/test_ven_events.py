"""Events from the VTN to the desk and the answers back, through modification, cancellation, faults and restarts."""

from collections import deque
from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.domain.signals import GridEvent, OptType, RawSignal, SeenNonce
from gateway.openadr.v20b.guard import SignaturePolicy
from gateway.ports import Batch, OutboxItem, Put
from tests.openadr.v20b import messages, signing
from tests.openadr.v20b.bench import Bench, PicklingWorker, virtually
from tests.openadr.v20b.test_codec import AWKWARD
from tests.openadr.virtual_life import START, TENANT


def event(event_id: str = "E1", **changes: object) -> str:
    return messages.event(event_id, **changes)  # type: ignore[arg-type]


def sends(bench: Bench, *events: str, **frame: object) -> None:
    bench.vtn.queue.append(messages.distribute_event(*events, **frame))  # type: ignore[arg-type]


def rows(bench: Bench) -> dict[str, GridEvent]:
    return {row.event_id: row for row in bench.store.all(GridEvent, TENANT)}


def test_an_event_is_kept_then_answered_then_the_next_poll() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: sends(bench, event("E1"), request_id="RQ-77")), seconds=25)

    bench = virtually(scenario)
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")]
    assert bench.desk.dispatched == ["E1/0"]
    answer = bench.vtn.all("CreatedEvent")[0]
    assert answer.text("//ei:eventResponse/pyld:requestID") == "RQ-77"
    assert answer.text("//ei:eiResponse/pyld:requestID") == ""
    assert answer.text("//pyld:eiCreatedEvent/ei:venID") == "ven-1"
    names = bench.vtn.names()
    assert names[names.index("CreatedEvent") - 1 :][:3] == ["Poll", "CreatedEvent", "Poll"]
    received = bench.desk.received[0]
    assert received.complete
    assert received.events[0].raw_signal == received.raw.id
    assert b"RQ-77" in received.raw.body
    assert (received.raw.protocol, received.raw.authority) == ("openadr-2.0b", "vtn:test")


@pytest.mark.parametrize("event_id", AWKWARD)
def test_a7_ids_come_back_character_for_character(event_id: str) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: sends(bench, event(event_id))), seconds=15)

    assert virtually(scenario).vtn.opts() == [(event_id, 0, "200", "optIn")]


@pytest.mark.parametrize("vtn_id", ["123456", "my_vtn", "A&B"])
def test_a8_hostile_a14_any_vtn_id_is_a_vtn_id(vtn_id: str) -> None:
    async def scenario(bench: Bench) -> None:
        created = messages.created_registration(vtn_id=vtn_id)
        bench.vtn.script["QueryRegistration"] = bench.vtn.script["CreatePartyRegistration"] = lambda _: created
        await bench.play((5, lambda: sends(bench, event(), vtn_id=vtn_id)), seconds=15)

    assert virtually(scenario, vtn_id=vtn_id).vtn.opts() == [("E1", 0, "200", "optIn")]


def test_hostile_a14_events_of_another_vtn_are_answered_452_and_not_taken() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: sends(bench, event(), vtn_id="OTHER")), seconds=15)

    bench = virtually(scenario)
    answer = bench.vtn.all("CreatedEvent")[0]
    assert answer.texts("//ei:responseCode") == ["452"]
    assert not bench.desk.received


def test_a9_a10_what_is_missing_from_a_later_message_is_released() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play(
            (5, lambda: sends(bench, event("E1"), event("E2"))), (15, lambda: sends(bench, event("E2"))), seconds=25
        )
        assert bench.desk.in_force() == {"E2": 0}
        await bench.play((5, lambda: sends(bench)), seconds=15)
        assert bench.desk.in_force() == {}

    bench = virtually(scenario)
    assert bench.vtn.opts()[-1] == ("E2", 0, "200", "optIn")
    assert bench.desk.received[-1].complete


async def changes_opt(bench: Bench, *, expires_in: float = 3600.0) -> None:
    """Leave what the signal desk leaves when a person changes an answer."""
    row = await bench.store.get(GridEvent, TENANT, "vtn:test:E1")
    assert row is not None
    now = bench.clock.now()
    event_row = replace(row.record, opt=OptType.OPT_OUT, opt_reason="buses must leave")
    told = OutboxItem(
        id="opt:r1",
        tenant=TENANT,
        topic="openadr-opt",
        key="vtn:test:E1",
        due_at=now,
        expires_at=now + timedelta(seconds=expires_in),
    )
    await bench.store.apply(Batch(tenant=TENANT, puts=(Put(record=event_row),), outbox=(told,)))


def test_an_answer_that_a_person_changed_is_told_once() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: sends(bench, event("E1"))), seconds=15)
        await changes_opt(bench)
        await bench.play(seconds=45)
        assert await bench.store.due_outbox("openadr-opt", bench.clock.now()) == []

    bench = virtually(scenario)
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn"), ("E1", 0, "200", "optOut")]


def test_a_changed_answer_is_not_told_when_the_event_is_over() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: sends(bench, event("E1"))), seconds=15)
        await changes_opt(bench, expires_in=0.0)
        await bench.play(seconds=45)
        assert await bench.store.due_outbox("openadr-opt", bench.clock.now()) == []

    assert virtually(scenario).vtn.opts() == [("E1", 0, "200", "optIn")]


def test_an_error_lists_nothing_and_releases_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: sends(bench, event("E1"))), (15, lambda: sends(bench, code=500)), seconds=45)
        assert bench.desk.in_force() == {"E1": 0}

    virtually(scenario)


def test_a11_hostile_a15_an_older_modification_is_an_error_and_the_newer_stays() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play(
            (5, lambda: sends(bench, event(modification=3))),
            (15, lambda: sends(bench, event(modification=2))),
            (25, lambda: sends(bench, event(modification=3))),
            (35, lambda: sends(bench, event(modification=9))),
            seconds=45,
        )
        assert bench.desk.in_force() == {"E1": 9}

    bench = virtually(scenario)
    assert bench.vtn.opts() == [
        ("E1", 3, "200", "optIn"),
        ("E1", 2, "450", "optOut"),
        ("E1", 3, "200", "optIn"),
        ("E1", 9, "200", "optIn"),
    ]
    assert bench.desk.dispatched == ["E1/3", "E1/9"]


def test_two_modifications_in_one_message_are_one_event() -> None:
    async def scenario(bench: Bench) -> None:
        twice = (event(modification=2), event(modification=3), event(modification=3), event("E2"))
        await bench.play((5, lambda: sends(bench, *twice)), seconds=15)

    bench = virtually(scenario)
    assert bench.vtn.opts() == [
        ("E1", 2, "450", "optOut"),
        ("E1", 3, "200", "optIn"),
        ("E2", 0, "200", "optIn"),
    ]
    assert bench.desk.dispatched == ["E1/3", "E2/0"]


def test_a12_an_unknown_cancelled_event_is_confirmed_and_nothing_happens() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: sends(bench, event(status="cancelled"))), seconds=15)

    bench = virtually(scenario)
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")]
    assert bench.desk.dispatched == []


def test_a13_hostile_a16_a_cancelled_event_told_three_times_harms_no_other() -> None:
    async def scenario(bench: Bench) -> None:
        gone = event("E1", status="cancelled", modification=1)
        await bench.play(
            (5, lambda: sends(bench, event("E1"))),
            (15, lambda: sends(bench, gone)),
            (25, lambda: sends(bench, gone, event("E2"))),
            (35, lambda: sends(bench, gone, event("E2"))),
            seconds=45,
        )
        assert bench.desk.in_force() == {"E2": 0}

    bench = virtually(scenario)
    assert set(bench.vtn.opts()[1:]) == {("E1", 1, "200", "optIn"), ("E2", 0, "200", "optIn")}
    assert rows(bench)["E1"].cancelled_at == START + timedelta(seconds=20)


def test_a14_one_event_that_fails_inside_harms_no_other_and_is_tried_again() -> None:
    async def scenario(bench: Bench) -> None:
        bench.desk.failing = {"E2"}
        every = (event("E1"), event("E2"), event("E3"))
        await bench.play(
            (5, lambda: sends(bench, *every)),
            (15, bench.desk.failing.clear),
            (15, lambda: sends(bench, *every)),
            seconds=25,
        )

    bench = virtually(scenario)
    assert bench.vtn.opts()[:3] == [("E1", 0, "200", "optIn"), ("E2", 0, "469", "optOut"), ("E3", 0, "200", "optIn")]
    assert {opt for *_, opt in bench.vtn.opts()[3:]} == {"optIn"}
    assert bench.desk.dispatched == ["E1/0", "E3/0", "E2/0"]


def test_a15_a16_a24_events_that_break_a_rule_are_answered_one_by_one() -> None:
    async def scenario(bench: Bench) -> None:
        simple = messages.signal([messages.interval("PT1H", 7)], name="SIMPLE", kind="level")
        foo = messages.signal([messages.interval("PT1H", 1)], name="x-FOO", kind="level")
        half = messages.signal([messages.interval("PT30M", 1)], name="SIMPLE", kind="level")
        sent = [
            event("E0"),
            event("E1", targets=messages.target("venID", "OTHER")),
            event("E2", context="http://else.example"),
            event("E3", signals=[foo]),
            event("E4", signals=[simple]),
            event("E5", signals=[half]),
            event("E6", signals=[messages.setpoint("NaN")]),
            event("E7", duration="P1M"),
            event("E8", targets=messages.target("groupID", "nobody") + messages.target("resourceID", "R-1")),
            event("E9", start="2025-10-15T09:00:00"),
        ]
        await bench.play((5, lambda: sends(bench, *sent)), seconds=15)

    bench = virtually(scenario)
    assert [(event_id, code) for event_id, _, code, _ in bench.vtn.opts()] == [
        ("E0", "200"),
        ("E1", "462"),
        ("E2", "452"),
        ("E3", "460"),
        ("E4", "454"),
        ("E5", "454"),
        ("E6", "454"),
        ("E7", "454"),
        ("E8", "200"),
        ("E9", "200"),
    ]
    assert bench.vtn.all("CreatedEvent")[0].text("//ei:eiResponse/ei:responseCode") == "200"
    assert bench.desk.dispatched == ["E0/0", "E8/0", "E9/0"]
    assert rows(bench)["E8"].nodes == ("site-01",)
    assert [answer.event_id for answer in bench.desk.received[0].rejected] == ["E1", "E2", "E3", "E4", "E5", "E6", "E7"]


def test_a_rule_broken_by_a_known_event_leaves_it_as_it_was() -> None:
    async def scenario(bench: Bench) -> None:
        bad = event(modification=1, signals=[messages.setpoint("INF")])
        await bench.play((5, lambda: sends(bench, event())), (15, lambda: sends(bench, bad)), seconds=25)
        assert bench.desk.in_force() == {"E1": 0}

    assert virtually(scenario).vtn.opts()[-1] == ("E1", 1, "454", "optOut")


def test_a17_an_event_that_wants_no_answer_gets_none_but_counts() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play(
            (5, lambda: sends(bench, event("E1", required="never"))),
            (15, lambda: sends(bench, event("E1", required="never"), event("E2"))),
            seconds=25,
        )

    bench = virtually(scenario)
    assert bench.vtn.opts() == [("E2", 0, "200", "optIn")]
    assert bench.desk.dispatched == ["E1/0", "E2/0"]


@pytest.mark.parametrize("text", ["foo", "true", "False positive"])
def test_a18_a_test_event_is_answered_and_never_dispatched(text: str) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: sends(bench, event(test=text))), seconds=15)

    bench = virtually(scenario)
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")]
    assert bench.desk.dispatched == []
    assert rows(bench)["E1"].test_event


def test_a20_an_open_ended_event_is_active_until_cancelled() -> None:
    async def scenario(bench: Bench) -> None:
        rows_ = [messages.signal([messages.interval("PT0S", 1)], name="SIMPLE", kind="level")]
        await bench.play((5, lambda: sends(bench, event(duration="PT0S", signals=rows_))), seconds=15)

    known = rows(virtually(scenario))["E1"]
    assert known.active.end is None
    assert known.status(START + timedelta(days=99)) == "active"


def test_a19_a_random_start_survives_redelivery_modification_and_restart() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: sends(bench, event(start_after="PT5M"))), seconds=15)
        first = rows(bench)["E1"].start_offset
        assert timedelta(0) < first < timedelta(minutes=5)
        await bench.play((5, lambda: sends(bench, event(start_after="PT5M"))), seconds=15)
        await bench.play((5, lambda: sends(bench, event(start_after="PT5M", modification=1))), seconds=15)
        assert rows(bench)["E1"].start_offset == first
        assert rows(bench)["E1"].modification == 1
        await bench.play(
            (5, lambda: sends(bench, event(start_after="PT10M", modification=2, status="far"))), seconds=15
        )
        assert rows(bench)["E1"].start_offset != first

    virtually(scenario)


def test_a_restart_asks_for_all_events_and_dispatches_none_again() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.events = [event("E1")]
        await bench.run(seconds=15)
        await bench.run(seconds=15)

    bench = virtually(scenario)
    assert len(bench.vtn.all("RequestEvent")) == 2
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")] * 2
    assert bench.desk.dispatched == ["E1/0"]


def test_nothing_is_answered_while_the_disk_is_full_and_nothing_is_missed_after() -> None:
    async def scenario(bench: Bench) -> None:
        def fill() -> None:
            bench.desk.is_down = True
            sends(bench, event("E1"))
            bench.vtn.events = [event("E1")]

        def free() -> None:
            bench.desk.is_down = False

        await bench.play((5, fill), (60, free), seconds=100)

    bench = virtually(scenario)
    assert all(said.at >= START + timedelta(seconds=60) for said in bench.vtn.all("CreatedEvent"))
    assert bench.vtn.opts()[0] == ("E1", 0, "200", "optIn")
    assert bench.desk.dispatched == ["E1/0"]


def test_an_answer_that_does_not_arrive_is_given_again() -> None:
    async def scenario(bench: Bench) -> None:
        def lose(_: object) -> bytes:
            bench.vtn.script.pop("CreatedEvent")
            bench.vtn.events = [event("E1")]
            bench.vtn.heard.pop()
            return b"<html>oops"

        bench.vtn.script["CreatedEvent"] = lose
        await bench.play((5, lambda: sends(bench, event("E1"))), seconds=45)

    bench = virtually(scenario)
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")]
    assert bench.desk.dispatched == ["E1/0"]


@pytest.mark.parametrize("answer", [b"", messages.oadr_response(452), messages.oadr_response(500)], ids=range(3))
def test_what_the_vtn_says_to_our_answer_does_not_stop_us(answer: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["CreatedEvent"] = lambda _: answer
        await bench.play((5, lambda: sends(bench, event("E1"))), seconds=45)

    bench = virtually(scenario)
    assert [said.at for said in bench.vtn.all("Poll")][-1] == START + timedelta(seconds=40)
    assert len(bench.vtn.opts()) == 1


@pytest.mark.parametrize("answer", [messages.oadr_response(500), b"", b"<html>"], ids=range(3))
def test_a_vtn_that_cannot_list_its_events_is_still_polled(answer: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["RequestEvent"] = lambda _: answer
        await bench.play((5, lambda: sends(bench, event("E1"))), seconds=35)

    bench = virtually(scenario)
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")]


def test_a_thousand_events_are_answered_in_one_message() -> None:
    async def scenario(bench: Bench) -> None:
        many = [event(f"E{index}", start_after="PT5M" if index % 2 else None) for index in range(1000)]
        await bench.play((5, lambda: sends(bench, *many)), seconds=15)

    bench = virtually(scenario)
    assert len(bench.vtn.all("CreatedEvent")) == 1
    assert [event_id for event_id, *_ in bench.vtn.opts()] == [f"E{index}" for index in range(1000)]
    assert len(bench.desk.dispatched) == 1000


@pytest.mark.parametrize("count", [1001, 3000])
def test_more_events_than_we_take_are_answered_with_an_error_and_polls_go_on(count: int) -> None:
    async def scenario(bench: Bench) -> None:
        many = [event(f"E{index}") for index in range(count)]
        bench.vtn.events = [event("E1")]
        ven = await bench.play((5, lambda: sends(bench, *many)), (15, lambda: sends(bench, event("E2"))), seconds=45)
        assert ven.health().failures == 0

    bench = virtually(scenario)
    first, *_, last = bench.vtn.all("CreatedEvent")[1:]
    assert (first.text("//ei:eiResponse/ei:responseCode"), first.texts("//ei:eventResponse")) == ("469", [])
    assert last.text("//ei:eventID") == "E2"
    assert [said.at for said in bench.vtn.all("Poll")] == [
        START + timedelta(seconds=at) for at in (10, 10, 20, 20, 30, 40)
    ]


def test_a_list_of_more_events_than_we_take_is_answered_and_asked_for_again() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.events = [event(f"E{index}") for index in range(1001)]
        await bench.play((15, lambda: bench.vtn.events.__delitem__(slice(1, None))), seconds=25)

    bench = virtually(scenario)
    codes = [said.text("//ei:eiResponse/ei:responseCode") for said in bench.vtn.all("CreatedEvent")]
    assert (codes[0], codes[-1]) == ("469", "200")
    assert bench.desk.dispatched == ["E0/0"]


def test_a_large_message_is_read_in_a_worker_and_a_small_one_is_not() -> None:
    async def scenario(bench: Bench) -> None:
        worker = bench.worker = PicklingWorker()
        bench.ven = bench.build()
        many = [event(f"E{index}") for index in range(300)]
        await bench.play((5, lambda: sends(bench, *many)), seconds=15)
        assert worker.ran == ["read_packed"]

    assert len(virtually(scenario).desk.dispatched) == 300


def test_a_worker_that_takes_too_long_is_a_failed_exchange() -> None:
    async def scenario(bench: Bench) -> None:
        bench.worker = PicklingWorker()
        bench.worker.is_slow = True
        ven = bench.ven = bench.build()
        many = [event(f"E{index}") for index in range(300)]
        await bench.play((5, lambda: sends(bench, *many)), seconds=15)
        assert "too long" in ven.health().last_error

    assert not virtually(scenario).desk.received


VTN = signing.make_identity()


def signed(bench: Bench, body: bytes, nonce: str) -> bytes:
    stamp = f"{bench.clock.now():%Y-%m-%dT%H:%M:%S}Z"
    return signing.sign(body, VTN, protect=signing.replay_protect(nonce, stamp))


def sign_everything(bench: Bench) -> None:
    """Make the VTN sign all it says, with a fresh nonce each time."""
    plain, count = bench.vtn.post, iter(range(10_000))

    async def post(service: object, body: bytes) -> bytes:
        answer = await plain(service, body)  # type: ignore[arg-type]
        return answer if b"Signature" in answer else signed(bench, answer, f"n-{next(count)}")

    bench.vtn.post = post  # type: ignore[method-assign]


def test_signed_conversations_work_and_leave_their_nonces() -> None:
    async def scenario(bench: Bench) -> None:
        sign_everything(bench)
        await bench.play((5, lambda: sends(bench, event("E1"))), seconds=25)

    bench = virtually(scenario, fingerprints=frozenset({VTN.fingerprint}))
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")]
    assert len(bench.store.all(SeenNonce, TENANT)) == len(bench.vtn.heard)


def test_an_unsigned_message_is_ignored_where_signatures_are_demanded() -> None:
    async def scenario(bench: Bench) -> None:
        ven = await bench.play(seconds=25)
        assert ven.health().heard_at is None

    assert not virtually(scenario, fingerprints=frozenset({VTN.fingerprint})).vtn.all("Poll")


def test_a_replayed_message_is_refused_also_after_a_restart() -> None:
    async def scenario(bench: Bench) -> None:
        sign_everything(bench)
        captured: list[bytes] = []

        def send() -> None:
            captured.append(signed(bench, messages.distribute_event(event("E1")), "captured"))
            bench.vtn.queue.append(captured[0])

        def replay() -> None:
            bench.vtn.queue.append(captured[0])

        await bench.play((9, send), (15, replay), seconds=25)
        assert len(bench.desk.received) == 1
        await bench.play((1, replay), seconds=12)
        assert len(bench.desk.received) == 1

    bench = virtually(scenario, fingerprints=frozenset({VTN.fingerprint}), clock_skew=timedelta(minutes=5))
    assert bench.desk.dispatched == ["E1/0"]


def test_a_message_from_the_future_is_refused() -> None:
    async def scenario(bench: Bench) -> None:
        sign_everything(bench)

        def send() -> None:
            body = messages.distribute_event(event("E1"))
            protect = signing.replay_protect("x", "2025-10-15T08:10:10Z")
            bench.vtn.queue.append(signing.sign(body, VTN, protect=protect))

        await bench.play((5, send), seconds=25)

    changes = {"fingerprints": frozenset({VTN.fingerprint}), "signature": SignaturePolicy.OPTIONAL}
    assert not virtually(scenario, **changes).desk.received


def test_raw_messages_differ_by_id_and_keep_their_bytes() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.once["Poll"] = deque([messages.distribute_event(event("E1"))] * 2)
        await bench.run(seconds=35)

    raws: list[RawSignal] = [received.raw for received in virtually(scenario).desk.received]
    assert len({raw.id for raw in raws}) == len(raws) == 2
    assert len({raw.sha256 for raw in raws}) == 1
