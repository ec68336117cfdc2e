"""Becoming and staying registered, through refusals, outages, restarts and the VTN's own wishes; in virtual time."""

import asyncio
from collections import deque
from datetime import timedelta
from itertools import pairwise

import pytest

from gateway.domain.signals import VenRegistration
from gateway.openadr.health import VenState
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import Bench, virtually
from tests.openadr.virtual_life import AUTHORITY, START, TENANT


def seconds_after_start(bench: Bench, name: str) -> list[float]:
    return [(said.at - START).total_seconds() for said in bench.vtn.all(name)]


def stored(bench: Bench) -> VenRegistration:
    return bench.store.all(VenRegistration, TENANT)[0]


def test_it_queries_registers_asks_for_events_and_polls_as_often_as_it_is_told() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.poll_interval = "PT30S"
        ven = await bench.play(seconds=95)
        assert ven.state is VenState.REGISTERED
        assert ven.health().heard_at is not None

    bench = virtually(scenario)
    assert bench.vtn.names()[:4] == ["QueryRegistration", "CreatePartyRegistration", "RequestEvent", "RegisterReport"]
    assert seconds_after_start(bench, "Poll") == [30, 60, 90]
    created = bench.vtn.all("CreatePartyRegistration")[0]
    assert created.text("//oadr:oadrVenName") == "Depot A&B <1>"
    assert (created.texts("//ei:registrationID"), created.texts("//ei:venID")) == ([], [])
    assert {said.service for said in bench.vtn.heard} == {"EiRegisterParty", "EiEvent", "EiReport", "OadrPoll"}
    assert (stored(bench).ven_id, stored(bench).registration_id, stored(bench).active) == ("ven-1", "reg-1", True)
    assert stored(bench).poll_interval == timedelta(seconds=30)
    assert bench.vtn.closed == 1


def test_a1_hostile_a19_a_vtn_that_is_down_at_the_start_is_found_within_one_backoff_step() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.down_until = START + timedelta(seconds=5)
        await bench.run(seconds=16)

    bench = virtually(scenario)
    assert seconds_after_start(bench, "CreatePartyRegistration")[0] <= 10


def test_attempts_get_rarer_up_to_a_cap_and_are_jittered() -> None:
    attempts: list[float] = []

    async def scenario(bench: Bench) -> None:
        async def refuse(*_: object) -> bytes:
            attempts.append((bench.clock.now() - START).total_seconds())
            return b""

        bench.vtn.post = refuse  # type: ignore[assignment]
        await bench.run(hours=2)

    virtually(scenario)
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    assert 5 <= pauses[0] <= 10
    assert 10 <= pauses[1] <= 20
    assert all(150 <= pause <= 300 for pause in pauses[6:])
    assert len({round(pause, 3) for pause in pauses}) == len(pauses)


@pytest.mark.parametrize("code", [463, 451, 500])
def test_a2_a_refused_registration_is_tried_again_for_ever(code: int) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["CreatePartyRegistration"] = lambda _: messages.created_registration(code=code)
        ven = await bench.play(seconds=3600)
        assert ven.state is VenState.UNREGISTERED
        assert str(code) in ven.health().last_error
        del bench.vtn.script["CreatePartyRegistration"]
        ven = await bench.play(seconds=400)
        assert ven.state is VenState.REGISTERED

    bench = virtually(scenario)
    assert 10 < len(bench.vtn.all("CreatePartyRegistration")) < 60
    assert not bench.vtn.all("Poll")[:-40]


def test_an_answer_without_ids_is_no_registration() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["CreatePartyRegistration"] = lambda _: messages.created_registration(registration_id="")
        ven = await bench.play(seconds=60)
        assert ven.state is VenState.UNREGISTERED

    assert not virtually(scenario).store.all(VenRegistration, TENANT)


@pytest.mark.parametrize(("profile", "transport"), [("2.0a", "simpleHttp"), ("2.0b", "xmpp")])
def test_a_vtn_that_speaks_another_profile_is_left_alone(profile: str, transport: str) -> None:
    async def scenario(bench: Bench) -> None:
        offer = messages.created_registration(profile=profile, transport=transport)
        bench.vtn.script["QueryRegistration"] = lambda _: offer
        await bench.run(seconds=60)

    assert not virtually(scenario).vtn.all("CreatePartyRegistration")


def test_another_vtn_than_the_configured_one_is_left_alone() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["QueryRegistration"] = lambda _: messages.created_registration(vtn_id="EVIL")
        await bench.run(seconds=60)

    assert not virtually(scenario, vtn_id=messages.VTN_ID).vtn.all("CreatePartyRegistration")


def test_a3_a_restart_registers_again_with_the_same_ids() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=25)
        await bench.run(seconds=25)

    bench = virtually(scenario)
    again = bench.vtn.all("CreatePartyRegistration")[1]
    assert (again.text("//ei:registrationID"), again.text("//ei:venID")) == ("reg-1", "ven-1")
    assert stored(bench).ven_id == "ven-1"


def test_an_id_that_was_given_out_beforehand_is_shown_from_the_first_registration_on() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=25)

    bench = virtually(scenario, ven_id="ven-1")
    created = bench.vtn.all("CreatePartyRegistration")[0]
    assert (created.texts("//ei:registrationID"), created.texts("//ei:venID")) == ([], ["ven-1"])


def test_ids_that_the_vtn_does_not_know_are_let_go() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=15)

        def forgetful(said: object) -> bytes:
            has_ids = bool(said.texts("//ei:registrationID"))  # type: ignore[attr-defined]
            return messages.created_registration(code=452) if has_ids else messages.created_registration(ven_id="ven-2")

        bench.vtn.script["CreatePartyRegistration"] = forgetful
        await bench.run(seconds=60)

    bench = virtually(scenario)
    assert stored(bench).ven_id == "ven-2"
    assert [said.texts("//ei:registrationID") for said in bench.vtn.all("CreatePartyRegistration")[1:]] == [
        ["reg-1"],
        [],
    ]


def test_an_identity_is_not_given_up_for_a_refusal_or_two() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=15)
        bench.vtn.once["CreatePartyRegistration"] = deque([messages.created_registration(code=451)] * 2)
        await bench.run(seconds=60)

    bench = virtually(scenario)
    assert [said.text("//ei:registrationID") for said in bench.vtn.all("CreatePartyRegistration")[1:]] == ["reg-1"] * 3


def test_a4_a_wish_to_register_again_is_granted_at_once_and_the_new_interval_holds() -> None:
    async def scenario(bench: Bench) -> None:
        def ask() -> None:
            bench.vtn.poll_interval = "PT5S"
            bench.vtn.queue.append(messages.request_reregistration())

        await bench.play((12, ask), seconds=50)

    bench = virtually(scenario)
    asked = next(index for index, said in enumerate(bench.vtn.heard) if said.name == "Response")
    assert bench.vtn.names()[asked : asked + 3] == ["Response", "QueryRegistration", "CreatePartyRegistration"]
    again = bench.vtn.all("CreatePartyRegistration")[1]
    assert again.text("//ei:registrationID") == "reg-1"
    assert again.at == START + timedelta(seconds=20)
    assert seconds_after_start(bench, "Poll") == [10, 20, 25, 30, 35, 40, 45]
    assert len(bench.vtn.all("RegisterReport")) == 2


def test_a_wish_that_means_somebody_else_is_declined() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: bench.vtn.queue.append(messages.request_reregistration("ven-9"))), seconds=60)

    bench = virtually(scenario)
    assert bench.vtn.all("Response")[0].text("//ei:responseCode") == "452"
    assert len(bench.vtn.all("CreatePartyRegistration")) == 1


def test_a5_a_vtn_that_forgets_us_is_told_again() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: bench.vtn.queue.append(messages.oadr_response(463))), seconds=40)

    bench = virtually(scenario)
    assert [said.at for said in bench.vtn.all("CreatePartyRegistration")] == [START, START + timedelta(seconds=10)]
    assert bench.vtn.all("CreatePartyRegistration")[1].text("//ei:registrationID") == "reg-1"


def test_a_vtn_that_always_forgets_us_is_not_hammered() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["RequestEvent"] = lambda _: messages.oadr_response(463)
        await bench.run(hours=1)

    bench = virtually(scenario)
    assert 10 < len(bench.vtn.all("CreatePartyRegistration")) < 40


def test_a6_hostile_a20_a_cancelled_registration_is_kept_away_from_and_comes_back() -> None:
    async def scenario(bench: Bench) -> None:
        ven = await bench.play((12, lambda: bench.vtn.queue.append(messages.cancel_registration())), seconds=600)
        assert ven.state is VenState.CANCELLED
        assert not stored(bench).active

    bench = virtually(scenario, register_again_after=timedelta(minutes=20))
    answer = bench.vtn.all("CanceledPartyRegistration")[0]
    assert (answer.text("//ei:responseCode"), answer.text("//ei:registrationID")) == ("200", "reg-1")
    assert seconds_after_start(bench, "Poll") == [10, 20]

    async def longer(bench: Bench) -> None:
        ven = await bench.play((12, lambda: bench.vtn.queue.append(messages.cancel_registration())), seconds=1300)
        assert ven.state is VenState.REGISTERED

    bench = virtually(longer, register_again_after=timedelta(minutes=20))
    again = bench.vtn.all("CreatePartyRegistration")[1]
    assert again.texts("//ei:registrationID") == []
    assert again.at >= START + timedelta(seconds=20, minutes=20)
    assert len(bench.vtn.all("RegisterReport")) == 2


def test_somebody_can_call_it_back_earlier() -> None:
    async def scenario(bench: Bench) -> None:
        ven = bench.ven
        await bench.play(
            (12, lambda: bench.vtn.queue.append(messages.cancel_registration())), (100, ven.register_again), seconds=150
        )
        assert ven.state is VenState.REGISTERED

    virtually(scenario, register_again_after=timedelta(days=1))


def test_a_restart_after_a_cancel_registers_anew() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((12, lambda: bench.vtn.queue.append(messages.cancel_registration())), seconds=60)
        await bench.run(seconds=30)

    assert virtually(scenario).vtn.all("CreatePartyRegistration")[1].texts("//ei:registrationID") == []


@pytest.mark.parametrize("ids", [("reg-9", "ven-1"), ("reg-1", "ven-9")])
def test_a6_a_cancel_of_another_registration_changes_nothing(ids: tuple[str, str]) -> None:
    async def scenario(bench: Bench) -> None:
        ven = await bench.play((12, lambda: bench.vtn.queue.append(messages.cancel_registration(*ids))), seconds=60)
        assert ven.state is VenState.REGISTERED

    bench = virtually(scenario)
    assert bench.vtn.all("CanceledPartyRegistration")[0].text("//ei:responseCode") == "452"
    assert seconds_after_start(bench, "Poll")[-1] == 50
    assert stored(bench).active


def test_we_leave_when_somebody_wants_it_and_stay_away_until_somebody_wants_us_back() -> None:
    async def scenario(bench: Bench) -> None:
        ven = bench.ven
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(ven.run())
            await asyncio.sleep(25)
            await ven.leave()
            await asyncio.sleep(30)
            assert ven.state is VenState.LEFT
            running.cancel()
        ven = await bench.play(seconds=3600)
        assert ven.state is VenState.LEFT, "a restart does not bring it back"
        assert (stored(bench).active, stored(bench).ended_by) == (False, "operator")
        await bench.ven.join()
        ven = await bench.play(seconds=60)
        assert ven.state is VenState.REGISTERED
        assert (stored(bench).active, stored(bench).ended_by) == (True, "")

    bench = virtually(scenario)
    (said,) = bench.vtn.all("CancelPartyRegistration")
    assert (said.service, said.text("//ei:registrationID"), said.text("//ei:venID")) == (
        "EiRegisterParty",
        "reg-1",
        "ven-1",
    )
    assert said.at == START + timedelta(seconds=25), "at once, not with the next poll"
    created = bench.vtn.all("CreatePartyRegistration")
    assert [one.texts("//ei:registrationID") for one in created] == [[], []]


@pytest.mark.parametrize(
    ("answers", "tries"),
    [
        ([messages.canceled_registration(452)], 1),
        ([messages.oadr_response(463)], 1),
        ([messages.canceled_registration(500), b"<html>"], 3),
    ],
    ids=["unknown-to-the-vtn", "not-registered", "trouble"],
)
def test_leaving_goes_on_until_the_vtn_knows(answers: list[bytes], tries: int) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.once["CancelPartyRegistration"] = deque(answers)
        await bench.run(seconds=15)
        await bench.ven.leave()
        ven = await bench.play(seconds=180)
        assert ven.state is VenState.LEFT
        assert not stored(bench).active

    assert len(virtually(scenario).vtn.all("CancelPartyRegistration")) == tries


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", messages.canceled_registration(500), messages.distribute_event()], ids=range(4)
)
def test_a_vtn_that_does_not_let_us_go_is_served_as_before(answer: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["CancelPartyRegistration"] = lambda _: answer
        await bench.run(seconds=15)
        await bench.ven.leave()
        ven = await bench.play(seconds=65)
        assert ven.state is VenState.REGISTERED

    bench = virtually(scenario)
    again = START + timedelta(seconds=15)
    assert [(said.at - again).total_seconds() for said in bench.vtn.all("Poll")][-6:] == [10, 20, 30, 40, 50, 60]
    assert 5 <= len(bench.vtn.all("CancelPartyRegistration")) <= 8


def test_a_bare_acknowledgement_is_enough_to_leave() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["CancelPartyRegistration"] = lambda _: messages.oadr_response()
        await bench.run(seconds=15)
        await bench.ven.leave()
        ven = await bench.play(seconds=30)
        assert ven.state is VenState.LEFT

    assert len(virtually(scenario).vtn.all("CancelPartyRegistration")) == 1


def test_a_wish_to_leave_before_the_first_registration_is_heeded() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.ven.leave()
        await bench.run(seconds=60)
        ven = await bench.play(seconds=60)
        assert ven.state is VenState.LEFT

    assert not virtually(scenario).vtn.heard


def test_the_last_wish_counts() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=15)
        await bench.ven.leave()
        await asyncio.sleep(1)
        await bench.ven.join()
        ven = await bench.play(seconds=60)
        assert ven.state is VenState.REGISTERED

    assert not virtually(scenario).vtn.all("CancelPartyRegistration")


def test_a_stop_cancels_the_registration_only_if_told_to() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(seconds=15)
        await bench.run(seconds=15)

    bench = virtually(scenario, cancel_at_stop=True)
    assert len(bench.vtn.all("CancelPartyRegistration")) == 2
    assert stored(bench).ended_by == "stop"
    assert [said.texts("//ei:registrationID") for said in bench.vtn.all("CreatePartyRegistration")] == [[], []]
    assert not virtually(scenario).vtn.all("CancelPartyRegistration")


def test_a_vtn_that_does_not_answer_does_not_keep_us_from_stopping() -> None:
    async def scenario(bench: Bench) -> None:
        async def hang(_: object) -> bytes:
            await asyncio.Event().wait()
            return b""

        plain = bench.vtn.post

        async def post(service: object, body: bytes) -> bytes:
            return await hang(body) if b"oadrCancelPartyRegistration" in body else await plain(service, body)  # type: ignore[arg-type]

        bench.vtn.post = post  # type: ignore[method-assign]
        before = bench.clock.now()
        await bench.run(seconds=15)
        assert bench.clock.now() - before == timedelta(seconds=20)
        assert stored(bench).active

    virtually(scenario, cancel_at_stop=True)


def test_nothing_is_acknowledged_before_it_is_on_disk() -> None:
    async def scenario(bench: Bench) -> None:
        def break_disk() -> None:
            bench.store.is_down = True
            bench.vtn.queue.append(messages.cancel_registration())

        await bench.play((12, break_disk), seconds=60)

    bench = virtually(scenario)
    assert not bench.vtn.all("CanceledPartyRegistration")
    assert stored(bench).active


def test_a_registration_that_cannot_be_kept_is_not_used() -> None:
    async def scenario(bench: Bench) -> None:
        bench.store.is_down = True
        ven = await bench.play(seconds=60)
        assert ven.state is VenState.UNREGISTERED

    assert not virtually(scenario).vtn.all("Poll")


def test_every_registration_is_in_the_audit() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((12, lambda: bench.vtn.queue.append(messages.cancel_registration())), seconds=60)
        entries = await bench.store.audit_of(TENANT, "VenRegistration", AUTHORITY)
        assert [chained.entry.action for chained in entries] == ["openadr.register", "openadr.registration-cancelled"]
        assert all(chained.entry.actor == "system:openadr" for chained in entries)

    virtually(scenario)


def test_contact_is_lost_after_long_silence_and_found_again() -> None:
    async def scenario(bench: Bench) -> None:
        def fall() -> None:
            bench.vtn.is_down = True

        def rise() -> None:
            bench.vtn.is_down = False

        ven = await bench.play((95, fall), (3 * 3600, rise), seconds=4 * 3600)
        assert not ven.health().is_lost

    bench = virtually(scenario)
    assert [is_lost for _, is_lost in bench.desk.contacts] == [False, True, False]
    heard_last = START + timedelta(seconds=90)
    assert bench.desk.contacts[0][0] == START
    assert bench.desk.contacts[1][0] == heard_last + timedelta(hours=1)
    assert timedelta(hours=3) <= bench.desk.contacts[2][0] - START <= timedelta(hours=3, minutes=5)


def test_a_vtn_that_was_never_there_is_lost_too() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.is_down = True
        await bench.run(hours=2)

    bench = virtually(scenario)
    assert bench.desk.contacts == [(START + timedelta(hours=1), True)]


def test_rare_polls_are_no_loss_of_contact() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.poll_interval = "PT6H"
        await bench.run(hours=20)

    assert virtually(scenario).desk.contacts == [(START, False)]


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"<html>",
        b'<!DOCTYPE r [<!ENTITY a "b">]><r>&a;</r>',
        messages.payload('<oadr:oadrPoll ei:schemaVersion="2.0b"><ei:venID>x</ei:venID></oadr:oadrPoll>'),
        messages.registered_report(),
        messages.oadr_response(500),
        b"x" * 2_000_001,
    ],
    ids=range(7),
)
def test_junk_in_answer_to_a_poll_delays_nothing_but_itself(junk: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((12, lambda: bench.vtn.queue.append(junk)), seconds=65)

    bench = virtually(scenario)
    assert seconds_after_start(bench, "Poll")[-3:] == [40, 50, 60]
    assert len(bench.vtn.all("CreatePartyRegistration")) == 1


def test_a35_the_queue_is_drained_but_not_for_ever() -> None:
    async def scenario(bench: Bench) -> None:
        def fill() -> None:
            bench.vtn.queue.extend([messages.register_report()] * 12)

        await bench.play((12, fill), seconds=45)

    bench = virtually(scenario, longest_drain=8)
    polls = seconds_after_start(bench, "Poll")
    assert polls == [10.0] + [20.0] * 8 + [30.0] * 5 + [40.0]
    assert len(bench.vtn.all("RegisteredReport")) == 12


def test_a_vtn_that_hangs_up_on_its_own_does_not_stop_the_program() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.script["Poll"] = lambda _: (_ for _ in ()).throw(AssertionError("a bug in the program"))
        with pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match="a bug")):
            async with asyncio.timeout(60):
                await bench.ven.run()
        assert bench.vtn.closed == 1

    virtually(scenario)
