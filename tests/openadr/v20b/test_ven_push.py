"""What the VTN pushes is taken by the rules of what it is polled for, in virtual time without sockets."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.domain.errors import InvalidInput, Unavailable
from gateway.domain.signals import ReportRequest, VenRegistration
from gateway.openadr.health import VenState
from gateway.openadr.v20b.guard import SignaturePolicy
from gateway.openadr.v20b.names import Service
from gateway.openadr.v20b.push_settings import PushSettings
from gateway.openadr.v20b.rejection import MessageRejected
from gateway.openadr.v20b.schema import schema
from tests.openadr.v20b import messages, signing
from tests.openadr.v20b.bench import NS, Bench, settings, virtually
from tests.openadr.virtual_life import START, TENANT

PUSH = PushSettings(port=0, public_url="http://127.0.0.1:8443/", allow_plain_http=True)
QUIET = PushSettings(port=0, public_url="http://127.0.0.1:8443/", allow_plain_http=True, is_polling=False)


class Answered:
    """What the VEN answered on the VTN's own connection, or why it did not."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.errors: list[Exception] = []

    @property
    def names(self) -> list[str]:
        return [etree.QName(self._root(body)[0][0]).localname for body in self.bodies]

    def codes(self) -> list[str]:
        return [self._root(body).findtext(".//ei:responseCode", namespaces=NS) or "" for body in self.bodies]

    def texts(self, path: str) -> list[str]:
        return [str(each.text or "") for body in self.bodies for each in self._root(body).xpath(path, namespaces=NS)]

    @staticmethod
    def _root(body: bytes) -> Any:
        root = etree.fromstring(body)
        schema().assertValid(root)
        return root


def pushes(
    *steps: tuple[float, Service, bytes], seconds: float = 60.0, patience: float = 30.0
) -> tuple[Callable[[Bench], Awaitable[None]], Answered]:
    """Return a scenario in which the VTN pushes messages at their seconds, and what came back."""
    answered = Answered()

    async def scenario(bench: Bench) -> None:
        ven = bench.ven

        async def push(at: float, service: Service, body: bytes) -> None:
            await bench.clock.sleep_until(START + timedelta(seconds=at))
            try:
                async with asyncio.timeout(patience):
                    answered.bodies.append(await ven.receive(service, body))
            except (Unavailable, InvalidInput) as error:
                answered.errors.append(error)

        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
                tasks.create_task(ven.run())
                for step in steps:
                    tasks.create_task(push(*step))
        except TimeoutError:
            pass
        bench.ven = bench.build()

    return scenario, answered


def test_the_vtn_is_told_where_it_may_push_to() -> None:
    scenario, _ = pushes()
    bench = virtually(scenario, push=PUSH)
    created = bench.vtn.all("CreatePartyRegistration")[0]
    assert created.text("//oadr:oadrTransportAddress") == "http://127.0.0.1:8443/"
    assert created.text("//oadr:oadrHttpPullModel") == "false"
    assert len(bench.vtn.all("Poll")) == 5, "polling goes on"
    pulled = virtually(pushes()[0]).vtn.all("CreatePartyRegistration")[0]
    assert pulled.texts("//oadr:oadrTransportAddress") == []
    assert pulled.text("//oadr:oadrHttpPullModel") == "true"


def test_pushed_events_are_kept_acknowledged_and_answered_in_a_message_of_their_own() -> None:
    body = messages.distribute_event(messages.event("E1"), messages.event("E2", required="never"), request_id="RQ-5")
    scenario, answered = pushes((13.0, Service.EVENT, body))
    bench = virtually(scenario, push=PUSH)
    assert (answered.names, answered.codes()) == (["oadrResponse"], ["200"])
    assert answered.texts("//ei:eiResponse/pyld:requestID") == ["RQ-5"]
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")]
    assert bench.vtn.all("CreatedEvent")[0].at == START + timedelta(seconds=13), "at once, not with the next poll"
    assert bench.desk.dispatched == ["E1/0", "E2/0"]


def test_a_push_without_polls_is_enough() -> None:
    body = messages.distribute_event(messages.event("E1"))
    scenario, _ = pushes((13.0, Service.EVENT, body), seconds=600.0)
    bench = virtually(scenario, push=QUIET)
    assert not bench.vtn.all("Poll")
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")]


def test_the_same_push_twice_is_one_event() -> None:
    body = messages.distribute_event(messages.event("E1"))
    scenario, answered = pushes((13.0, Service.EVENT, body), (13.0, Service.EVENT, body), (14.0, Service.EVENT, body))
    bench = virtually(scenario, push=PUSH)
    assert answered.codes() == ["200"] * 3
    assert bench.desk.dispatched == ["E1/0"]


def test_pushed_reports_are_answered_on_the_same_connection() -> None:
    wish = messages.create_report(messages.report_request())
    scenario, answered = pushes(
        (13.0, Service.REPORT, wish),
        (20.0, Service.REPORT, messages.register_report()),
        (50.0, Service.REPORT, messages.cancel_report("RR-1")),
    )
    bench = virtually(scenario, push=PUSH)
    assert answered.names == ["oadrCreatedReport", "oadrRegisteredReport", "oadrCanceledReport"]
    assert not bench.vtn.all("CreatedReport")
    assert bench.store.all(ReportRequest, TENANT)[0].cancelled


def test_a_pushed_cancellation_ends_the_registration_if_it_is_ours() -> None:
    scenario, answered = pushes(
        (13.0, Service.REGISTER, messages.cancel_registration("reg-9")),
        (14.0, Service.REGISTER, messages.cancel_registration()),
        (15.0, Service.EVENT, messages.distribute_event(messages.event("E1"))),
    )
    bench = virtually(scenario, push=PUSH)
    assert answered.names == ["oadrCanceledPartyRegistration"] * 2 + ["oadrResponse"]
    assert answered.codes() == ["452", "200", "463"]
    registration = bench.store.all(VenRegistration, TENANT)[0]
    assert (registration.active, registration.ended_by) == (False, "vtn")
    assert not bench.desk.received
    assert not [said for said in bench.vtn.all("Poll") if said.at > START + timedelta(seconds=15)]


def test_a_pushed_wish_to_register_again_is_granted_at_once() -> None:
    scenario, answered = pushes((13.0, Service.REGISTER, messages.request_reregistration()))
    bench = virtually(scenario, push=PUSH)
    assert (answered.names, answered.codes()) == (["oadrResponse"], ["200"])
    again = bench.vtn.all("CreatePartyRegistration")[1]
    assert (again.at, again.text("//ei:registrationID")) == (START + timedelta(seconds=13), "reg-1")
    assert not bench.vtn.all("Response"), "nothing is posted that was answered already"


@pytest.mark.parametrize(
    ("service", "body", "code"),
    [
        (Service.REPORT, messages.distribute_event(messages.event("E1")), "453"),
        (Service.EVENT, messages.cancel_registration(), "453"),
        (Service.POLL, messages.create_report(messages.report_request()), "453"),
        (Service.EVENT, messages.distribute_event(*[messages.event(f"E{n}") for n in range(1001)]), "469"),
        (Service.EVENT, b"<x>" + b" " * 2_000_001, "469"),
    ],
    ids=range(5),
)
def test_what_came_to_the_wrong_place_or_is_too_much_is_answered_with_an_error(
    service: Service, body: bytes, code: str
) -> None:
    scenario, answered = pushes((13.0, service, body))
    bench = virtually(scenario, push=PUSH)
    assert answered.codes() == [code]
    assert not bench.desk.received


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'<!DOCTYPE r [<!ENTITY a "b">]><r>&a;</r>', messages.payload("<x/>")], ids=range(4)
)
def test_junk_is_refused_and_disturbs_nobody(body: bytes) -> None:
    scenario, answered = pushes((13.0, Service.EVENT, body))
    bench = virtually(scenario, push=PUSH)
    assert [type(error) for error in answered.errors] == [MessageRejected]
    assert [round((said.at - START).total_seconds()) for said in bench.vtn.all("Poll")] == [10, 20, 30, 40, 50]


def test_nothing_is_acknowledged_while_the_disk_is_full() -> None:
    answered = Answered()

    async def scenario(bench: Bench) -> None:
        bench.desk.is_down = True
        play, answered.bodies = pushes((13.0, Service.EVENT, messages.distribute_event(messages.event("E1"))))[0], []
        await play(bench)

    bench = virtually(scenario, push=PUSH)
    assert not answered.bodies
    assert not bench.vtn.all("CreatedEvent")


def test_an_answer_that_the_vtn_does_not_get_is_given_again() -> None:
    body = messages.distribute_event(messages.event("E1"))
    play, answered = pushes((13.0, Service.EVENT, body))

    async def scenario(bench: Bench) -> None:
        def lose(_: object) -> bytes:
            bench.vtn.script.pop("CreatedEvent")
            bench.vtn.events = [messages.event("E1")]
            bench.vtn.heard.pop()
            return b"<html>oops"

        bench.vtn.script["CreatedEvent"] = lose
        await play(bench)

    bench = virtually(scenario, push=PUSH)
    assert answered.codes() == ["200"]
    assert bench.vtn.opts() == [("E1", 0, "200", "optIn")]
    assert bench.desk.dispatched == ["E1/0"]


def test_a_push_is_taken_while_the_vtn_cannot_be_reached() -> None:
    body = messages.distribute_event(messages.event("E1"))
    play, answered = pushes((300.0, Service.EVENT, body), seconds=900.0)

    async def scenario(bench: Bench) -> None:
        plain = bench.vtn.post

        async def post(service: Service, sent: bytes) -> bytes:
            if service is Service.POLL and bench.clock.now() < START + timedelta(seconds=400):
                return b"<html>gone"
            return await plain(service, sent)

        bench.vtn.post = post  # type: ignore[method-assign,assignment]
        await play(bench)

    bench = virtually(scenario, push=PUSH)
    assert answered.codes() == ["200"]
    assert bench.vtn.all("CreatedEvent")[0].at == START + timedelta(seconds=300)


def test_a_signed_push_is_read_once_and_an_unsigned_one_never() -> None:
    vtn = signing.make_identity()
    stamp = "2025-10-15T08:00:13Z"
    signed = signing.sign(
        messages.distribute_event(messages.event("E1")), vtn, protect=signing.replay_protect("n-1", stamp)
    )
    plain = messages.distribute_event(messages.event("E2"))
    play, answered = pushes((13.0, Service.EVENT, signed), (14.0, Service.EVENT, signed), (15.0, Service.EVENT, plain))

    async def scenario(bench: Bench) -> None:
        decent, count = bench.vtn.post, iter(range(1000))

        async def post(service: Service, sent: bytes) -> bytes:
            answer = await decent(service, sent)
            now = f"{bench.clock.now():%Y-%m-%dT%H:%M:%S}Z"
            return signing.sign(answer, vtn, protect=signing.replay_protect(f"a-{next(count)}", now))

        bench.vtn.post = post  # type: ignore[method-assign,assignment]
        await play(bench)

    bench = virtually(
        scenario, push=PUSH, fingerprints=frozenset({vtn.fingerprint}), signature=SignaturePolicy.REQUIRED
    )
    assert answered.codes() == ["200"]
    assert [getattr(error, "why", "") for error in answered.errors] == ["replayed", "unsigned"]
    assert bench.desk.dispatched == ["E1/0"]


def test_messages_do_not_pile_up_without_end() -> None:
    body = messages.distribute_event(messages.event("E1"))

    async def scenario(bench: Bench) -> None:
        ven = bench.ven
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(ven.receive(Service.EVENT, body)) for _ in range(16)]
            await asyncio.sleep(1)
            with pytest.raises(Unavailable, match="too many"):
                await ven.receive(Service.EVENT, body)
            for task in waiting:
                task.cancel()
        with pytest.raises(Unavailable, match="no time"):
            await ven.receive(Service.EVENT, body)

    virtually(scenario, push=PUSH, request_timeout_s=5.0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"public_url": "http://ven.example"}, "openadr.push.public_url"),
        ({"public_url": "http://127.0.0.1:1"}, "openadr.push.public_url"),
        ({"host": "0.0.0.0"}, "openadr.push.cert_file"),  # what is refused
        ({"client_ca_file": Path("ca.pem")}, "openadr.push.cert_file"),
        ({"fingerprints": frozenset({"AA"})}, "openadr.push.client_ca_file"),
        ({"patience_s": 0.0}, "openadr.push.patience_s"),
    ],
    ids=range(6),
)
def test_a_door_that_anybody_could_use_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        PushSettings(**{"port": 0, "public_url": "https://ven.example:8443", **changes})
    assert caught.value.field == field


def test_a_door_without_client_certificates_needs_signatures() -> None:
    door = PushSettings(port=0, public_url="https://ven.example:8443")
    with pytest.raises(InvalidInput, match="client_ca_file"):
        settings(push=door)
    assert settings(push=door, fingerprints=frozenset({"AA:BB"})).push is door


def test_a_ven_that_only_polls_has_no_door() -> None:
    async def scenario(bench: Bench) -> None:
        ven = await bench.play(seconds=15)
        assert ven.state is VenState.REGISTERED

    virtually(scenario)
