"""The guard before anything is read: size, bytes, markup, shape, schema. Every attack ends in a typed rejection."""

import contextlib
import pickle
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.openadr.v20b.guard import Checked, GuardPolicy, SignaturePolicy, check
from gateway.openadr.v20b.reader import read
from gateway.openadr.v20b.rejection import MessageRejected, Reason
from gateway.openadr.v20b.wire_events import BrokenEvent, DistributeEvent
from tests.openadr.v20b import messages

NOW = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)
PLAIN = GuardPolicy()

INTERNAL_ENTITY = b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "b">]><oadrPayload>&a;</oadrPayload>'
LAUGHS = (
    b'<!DOCTYPE l [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%s;" % (b"" if i == 1 else b"%d" % (i - 1)) * 10) for i in range(1, 11))
    + b"]><l>&a10;</l>"
)
QUADRATIC = b'<!DOCTYPE q [<!ENTITY a "' + b"x" * 50_000 + b'">]><q>' + b"&a;" * 30_000 + b"</q>"


def rejected(body: bytes, policy: GuardPolicy = PLAIN) -> Reason:
    with pytest.raises(MessageRejected) as caught:
        check(body, policy, NOW)
    assert caught.value.field == "openadr.message"
    return caught.value.why


@pytest.mark.parametrize(
    "body",
    [
        INTERNAL_ENTITY,
        LAUGHS,
        QUADRATIC,
        b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>',
        b'<!DOCTYPE r [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]><r>&x;</r>',
        b'<!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x.dtd">%p;]><r/>',
        b'<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd"><r/>',
        b"<!DOCTYPE r><r/>",
        b"\xef\xbb\xbf<!DOCTYPE r [<!ENTITY a 'b'>]><r>&a;</r>",
        b'<?xml version="1.0" encoding="UTF-8"?>\n\n<!DOCTYPE\tr [<!ENTITY a "b">]><r>&a;</r>',
        b"<r/><!ENTITY a 'b'>",
        b'<?xml version="1.0"?><?xml-stylesheet href="http://127.0.0.1:9/x"?><r/>',
    ],
)
def test_hostile_a1_a2_a3_declarations_and_instructions_never_reach_the_parser(body: bytes) -> None:
    assert rejected(body) is Reason.FORBIDDEN_MARKUP


def test_hostile_a1_the_document_that_kills_a_process_leaves_one_alive() -> None:
    program = (
        "import sys\n"
        "from datetime import UTC, datetime\n"
        "from gateway.openadr.v20b.guard import GuardPolicy, check\n"
        "from gateway.openadr.v20b.rejection import MessageRejected\n"
        "try:\n"
        "    check(sys.stdin.buffer.read(), GuardPolicy(), datetime(2025, 10, 15, tzinfo=UTC))\n"
        "except MessageRejected as error:\n"
        "    sys.exit(42 if error.why == 'forbidden-markup' else 1)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], input=INTERNAL_ENTITY, check=False, timeout=15)
    assert ended.returncode == 42


def test_an_undeclared_entity_is_no_entity() -> None:
    assert rejected(messages.distribute_event(messages.event("E1")).replace(b"E1", b"&xxe;")) is Reason.MALFORMED


def test_hostile_a3_xinclude_is_not_followed() -> None:
    included = messages.payload(
        '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>'
    )
    assert rejected(included) is Reason.NOT_VALID


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", Reason.EMPTY),
        (b" \n", Reason.EMPTY),
        (b"\xef\xbb\xbf", Reason.EMPTY),
        (messages.oadr_response().decode().encode("utf-16"), Reason.NOT_UTF8),
        (messages.oadr_response().replace(b"said", "gesägt".encode("latin-1")), Reason.NOT_UTF8),
        (messages.oadr_response().replace(b'"utf-8"', b'"iso-8859-1"'), Reason.NOT_UTF8),
        (messages.oadr_response().replace(b'"utf-8"', b'"utf-7"'), Reason.NOT_UTF8),
        (messages.oadr_response().replace(b'"utf-8"', b"'UTF-16LE'"), Reason.NOT_UTF8),
        (messages.oadr_response().split(b"?>")[1].replace(b"<", b"+ADw-"), Reason.MALFORMED),
        (messages.oadr_response().replace(b"said", b"sa\x00id"), Reason.MALFORMED),
        (messages.oadr_response()[:-20], Reason.MALFORMED),
        (b'{"code": 200}', Reason.MALFORMED),
        (b"<html><body>502 Bad Gateway<br></body></html>", Reason.MALFORMED),
        (b"<html><body>502 Bad Gateway</body></html>", Reason.NOT_ONE_OBJECT),
        (b"<a/>" * 2, Reason.MALFORMED),
        (b"\xef\xbb\xbf\xef\xbb\xbf" + messages.oadr_response(), Reason.MALFORMED),
        (messages.oadr_response().replace(b"?>", b"?>\xef\xbb\xbf"), Reason.MALFORMED),
        (messages.oadr_response().replace(b"version=", b"vErsion="), Reason.FORBIDDEN_MARKUP),
        (messages.oadr_response().replace(b'"1.0"', b'"1.1"'), Reason.FORBIDDEN_MARKUP),
        (messages.oadr_response().replace(b"<?xml ", b"<?xml2 "), Reason.FORBIDDEN_MARKUP),
    ],
)
def test_hostile_a4_what_is_not_our_kind_of_xml_is_rejected(body: bytes, why: Reason) -> None:
    assert rejected(body) is why


def test_hostile_a4_a_byte_order_mark_is_no_harm() -> None:
    assert isinstance(check(b"\xef\xbb\xbf" + messages.oadr_response(), PLAIN, NOW), Checked)


def test_hostile_a5_size_is_judged_before_anything_else() -> None:
    assert rejected(b"\xff" * (PLAIN.max_bytes + 1)) is Reason.TOO_LARGE
    padding = f"<!--{'x' * PLAIN.max_bytes}-->".encode()
    assert rejected(messages.oadr_response() + padding) is Reason.TOO_LARGE


def test_hostile_a7_nesting_and_counts_are_capped() -> None:
    assert rejected(b"<a>" * 100_000 + b"</a>" * 100_000) is Reason.TOO_DEEP
    assert rejected(b"<a>" * 41 + b"</a>" * 41) is Reason.TOO_DEEP
    assert rejected(b"<a>" + b"<b/>" * 480_000 + b"</a>") is Reason.TOO_MANY_ELEMENTS
    assert rejected(b"<a>" + b"<b/>" * 150_000 + b"</a>") is Reason.TOO_MANY_ELEMENTS
    events = messages.distribute_event(*[messages.event(f"E{i}") for i in range(4)])
    assert rejected(events, GuardPolicy(max_events=3)) is Reason.TOO_MANY_EVENTS
    rows = [messages.signal([messages.interval("PT1S", 1)] * 10_001, unit=messages.power_unit())]
    assert rejected(messages.distribute_event(messages.event(signals=rows))) is Reason.TOO_MANY_INTERVALS


def test_hostile_a18_a_thousand_events_are_let_in() -> None:
    body = messages.distribute_event(*[messages.event(f"E{i}") for i in range(1000)])
    message = read(body, PLAIN, NOW).message
    assert isinstance(message, DistributeEvent)
    assert [event.event_id for event in message.events] == [f"E{i}" for i in range(1000)]


def test_exactly_one_signed_object_and_where_it_belongs() -> None:
    inner = messages.oadr_response().split(b"?>", 1)[1].decode()
    assert rejected(inner.replace("oadrPayload", "oadrWrapper").encode()) is Reason.NOT_ONE_OBJECT
    obj = inner[inner.index("<oadr:oadrSignedObject") : inner.index("</oadr:oadrPayload>")]
    assert rejected(inner.replace(obj, obj * 2).encode()) is Reason.NOT_ONE_OBJECT
    assert rejected(inner.replace(obj, "").encode()) is Reason.NOT_ONE_OBJECT
    assert rejected(inner.replace(obj, f"<oadr:x>{obj}</oadr:x>").encode()) is Reason.NOT_ONE_OBJECT


def test_the_schema_is_applied() -> None:
    assert rejected(messages.payload("<oadr:oadrNonsense/>")) is Reason.NOT_VALID
    assert rejected(messages.distribute_event(messages.event(modification=-1))) is Reason.NOT_VALID
    assert rejected(messages.distribute_event(messages.event(start="2025-10-15T09:00:00+00:00"))) is Reason.NOT_VALID


def test_a_rejection_says_nothing_of_the_content() -> None:
    with pytest.raises(MessageRejected) as caught:
        check(messages.distribute_event(messages.event(modification="hunter2")), PLAIN, NOW)
    assert "hunter2" not in str(caught.value)


def test_comments_cannot_split_a_text() -> None:
    body = messages.distribute_event(messages.event("E1")).replace(b"E1", b"E<!-- a -->1")
    message = read(body, PLAIN, NOW).message
    assert isinstance(message, DistributeEvent)
    assert message.events[0].event_id == "E1"


@pytest.mark.parametrize("value", ["NaN", "INF", "-INF", "1e400"])
def test_hostile_a8_a_value_that_is_no_number_breaks_its_own_event_only(value: str) -> None:
    body = messages.distribute_event(
        messages.event("E1"), messages.event("E2", signals=[messages.setpoint(value)]), messages.event("E3")
    )
    message = read(body, PLAIN, NOW).message
    assert isinstance(message, DistributeEvent)
    assert [isinstance(event, BrokenEvent) for event in message.events] == [False, True, False]


def test_a_rejection_survives_the_way_back_from_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(MessageRejected(Reason.TOO_DEEP, "is nested")))  # noqa: S301  # our own
    assert (error.why, str(error)) == (Reason.TOO_DEEP, "openadr.message: is nested")


def test_a_policy_that_looks_at_signatures_needs_pins() -> None:
    with pytest.raises(InvalidInput, match="fingerprints"):
        GuardPolicy(signature=SignaturePolicy.REQUIRED)


@given(st.binary(max_size=2_000))
def test_no_bytes_end_in_anything_but_a_rejection(body: bytes) -> None:
    with pytest.raises(MessageRejected):
        check(body, PLAIN, NOW)


@given(st.data())
def test_no_damage_to_a_message_ends_in_anything_but_a_typed_error(data: st.DataObject) -> None:
    body = bytearray(messages.distribute_event(messages.event("E1", start_after="PT5M"), messages.event("E2")))
    for _ in range(data.draw(st.integers(1, 6))):
        where = data.draw(st.integers(0, len(body) - 1))
        what = data.draw(
            st.sampled_from([b"", b"<", b">", b"&", b'"', b"9", b"-", b"PT", b"]]>", b"<x/>", b"\xf0\x9f\x98\x80"])
        )
        body[where : where + data.draw(st.integers(0, 12))] = what
    with contextlib.suppress(InvalidInput):  # rejected, or a value without exact meaning: typed, and names a field
        read(bytes(body), PLAIN, NOW)
