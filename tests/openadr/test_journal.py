"""What is noted of exchanges with grid partners, and what never is."""

import pytest

from gateway.domain.errors import PeerUnavailable
from gateway.openadr.journal import ExchangeJournal
from gateway.openadr.v3.noted import NotedTransport as NotedTransport3
from gateway.openadr.v3.transport import Reply, Request
from gateway.openadr.v20b.names import Service
from gateway.openadr.v20b.noted import NotedTransport, message_name
from tests.fakes.clock import HandClock
from tests.openadr.v20b import messages


class Wire:
    """Carries whatever a test wants, in either dialect."""

    def __init__(self, answer: bytes | None, status: int = 200) -> None:
        self.answer = answer
        self.status = status
        self.is_closed = False

    async def post(self, service: Service, body: bytes) -> bytes:
        return self._answer()

    async def request(self, request: Request) -> Reply:
        return Reply(status=self.status, body=self._answer())

    async def close(self) -> None:
        self.is_closed = True

    def _answer(self) -> bytes:
        if self.answer is None:
            raise PeerUnavailable("the VTN did not answer (TimeoutError)")
        return self.answer


@pytest.fixture
def journal() -> ExchangeJournal:
    return ExchangeJournal(kept=3)


async def test_2b_messages_are_noted_by_name_and_size(journal: ExchangeJournal) -> None:
    body = messages.distribute_event(messages.event("a secret name"))
    wire = Wire(body)
    noted = NotedTransport(wire, journal.page("t", "vtn:a", HandClock()))
    assert await noted.post(Service.POLL, messages.oadr_response()) == body
    [one] = journal.latest("t")
    assert (one.what, one.outcome, one.is_failed) == ("OadrPoll: oadrResponse", "oadrDistributeEvent", False)
    assert (one.sent_bytes, one.received_bytes) == (len(messages.oadr_response()), len(body))
    assert "secret" not in repr(one)
    await noted.close()
    assert wire.is_closed


async def test_silence_is_noted_and_goes_on_as_an_error(journal: ExchangeJournal) -> None:
    noted = NotedTransport(Wire(None), journal.page("t", "vtn:a", HandClock()))
    with pytest.raises(PeerUnavailable):
        await noted.post(Service.EVENT, b"<x/>")
    noted3 = NotedTransport3(Wire(None), journal.page("t", "vtn:a", HandClock()))
    with pytest.raises(PeerUnavailable):
        await noted3.request(Request(method="GET", url="https://vtn.example/openadr3/events?targets=871"))
    assert [(one.what, one.is_failed, one.received_bytes) for one in journal.latest("t")] == [
        ("GET /openadr3/events", True, 0),
        ("EiEvent: no OpenADR message", True, 0),
    ]


async def test_3x_requests_are_noted_without_query_header_and_body(journal: ExchangeJournal) -> None:
    noted = NotedTransport3(Wire(b'{"detail": "hush"}', 401), journal.page("t", "vtn:a", HandClock()))
    request = Request(
        method="POST",
        url="https://vtn.example/auth/token?client_secret=hush",
        headers={"Authorization": "Bearer hush"},
        body=b"client_secret=hush",
    )
    assert (await noted.request(request)).status == 401
    [one] = journal.latest("t")
    assert (one.what, one.outcome, one.is_failed, one.sent_bytes) == ("POST /auth/token", "HTTP 401", True, 18)
    assert "hush" not in repr(one)
    await noted.close()


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"", "nothing"),
        (b"  \n", "nothing"),
        (b"<html>", "no OpenADR message"),
        (b"\xff\xfe\x00", "no OpenADR message"),
        (b"<oadrSignedObject><script>", "no OpenADR message"),
        (b"<o:oadrSignedObject Id='x'>\n <o:oadrPoll/>", "oadrPoll"),
        (b"<oadrSignedObject>" + b" " * 200 + b"<oadrPoll/>", "no OpenADR message"),
        (b"<oadrSignedObject><oadr" + b"a" * 100 + b">", "no OpenADR message"),
    ],
    ids=["empty", "blank", "html", "binary", "script", "poll", "far away", "long name"],
)
def test_the_name_of_a_message_is_nothing_but_a_name(body: bytes, name: str) -> None:
    assert message_name(body) == name


def test_only_the_last_exchanges_of_each_partner_are_kept_by_tenant(journal: ExchangeJournal) -> None:
    clock = HandClock()
    first, second = journal.page("t", "vtn:a", clock), journal.page("t", "vtn:b", clock)
    for number in range(5):
        first.answered(f"poll {number}", "x" * 500, sent=number, received=0)
    second.called("push", "HTTP 200", sent=1, received=2)
    journal.page("other", "vtn:a", clock).answered("theirs", "", sent=0, received=0)
    assert [one.what for one in journal.latest("t")] == ["poll 4", "poll 3", "poll 2", "push"]
    assert [one.is_ours for one in journal.latest("t")] == [True, True, True, False]
    assert max(len(one.outcome) for one in journal.latest("t")) == 200
    assert journal.latest("nobody") == []


def test_the_same_again_is_counted_so_that_polls_push_nothing_out(journal: ExchangeJournal) -> None:
    page = journal.page("t", "vtn:a", HandClock())
    page.unanswered("report", "no answer", sent=10)
    for size in range(100):
        page.answered("poll", "nothing new", sent=1, received=size)
    page.called("poll", "nothing new", sent=1, received=1)
    assert [(one.what, one.repeats, one.received_bytes) for one in journal.latest("t")] == [
        ("poll", 1, 1),
        ("poll", 100, 99),
        ("report", 1, 0),
    ]
