"""A VEN among hostile messages: whatever comes, it goes on, says why it threw it away, and tells nobody what was in it.

`a25` and `a26` are acceptance cases of OpenADR 2.0b, `hostile_a1` to `hostile_a18` rows of the catalogue of hostile messages.
"""

import gzip
import json
import random
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest
from structlog.testing import capture_logs

from gateway.openadr.health import VenState
from gateway.openadr.v20b.rejection import Reason
from gateway.openadr.v20b.settings import SigningFiles
from scripts.campaigns import openadr as campaign
from scripts.openadr_messages import draw_message
from scripts.openadr_mutations import mutate_bytes
from tests.openadr.v20b import messages, signing
from tests.openadr.v20b.bench import Bench, virtually
from tests.openadr.v20b.messages import event
from tests.openadr.v20b.test_guard import INTERNAL_ENTITY, LAUGHS, QUADRATIC
from tests.openadr.v20b.test_signature import wrap_in_signature_object
from tests.openadr.v20b.test_ven_events import VTN, sends, sign_everything, signed

CANARY = "canary-5f1e9c"
DOCTYPE = b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>'
ROWS = [messages.interval("PT1S", 1)] * 20_000
HOSTILE: dict[str, tuple[bytes, Reason]] = {
    "hostile_a1_internal_entity": (INTERNAL_ENTITY, Reason.FORBIDDEN_MARKUP),
    "hostile_a2_ten_levels": (LAUGHS, Reason.FORBIDDEN_MARKUP),
    "hostile_a2_quadratic": (QUADRATIC, Reason.FORBIDDEN_MARKUP),
    "hostile_a3_external_entity": (DOCTYPE, Reason.FORBIDDEN_MARKUP),
    "hostile_a4_utf_16": (messages.oadr_response().decode().encode("utf-16"), Reason.NOT_UTF8),
    "hostile_a4_latin_1": (messages.oadr_response().replace(b"said", b"s\xe4gt"), Reason.NOT_UTF8),
    "hostile_a4_nul": (messages.oadr_response().replace(b"said", b"s\x00d"), Reason.MALFORMED),
    "hostile_a4_json": (b'{"status": 500}', Reason.MALFORMED),
    "hostile_a4_html": (b"<html><body>502 Bad Gateway</body></html>", Reason.NOT_ONE_OBJECT),
    "hostile_a5_20_megabytes": (b"<a>" + b"x" * 20_000_000 + b"</a>", Reason.TOO_LARGE),
    "hostile_a5_gzip_nobody_announced": (gzip.compress(bytes(300_000)), Reason.NOT_UTF8),
    "hostile_a7_nesting": (b"<a>" * 100_000 + b"</a>" * 100_000, Reason.TOO_DEEP),
    "hostile_a7_10_megabyte_id": (messages.distribute_event(event("x" * 10_000_000)), Reason.TOO_LARGE),
    "hostile_a7_intervals": (messages.distribute_event(event(signals=[messages.signal(ROWS)])), Reason.TOO_LARGE),
    "hostile_a18_3000_events": (messages.distribute_event(*(event(f"E{i}") for i in range(1_200))), Reason.TOO_MANY_EVENTS),
    "two_objects": (messages.oadr_response().replace(b"</oadr:oadrSignedObject>", b"</oadr:oadrSignedObject><oadr:oadrSignedObject/>"), Reason.NOT_ONE_OBJECT),
    "not_for_a_ven": (messages.payload('<oadr:oadrPoll ei:schemaVersion="2.0b"><ei:venID>v</ei:venID></oadr:oadrPoll>'), Reason.NOT_UNDERSTOOD),
}  # fmt: skip


def rejections(why: Reason) -> float:
    return REGISTRY.get_sample_value("gateway_openadr_rejected_messages_total", {"reason": why.value}) or 0.0


@pytest.mark.parametrize("case", HOSTILE)
def test_a25_a_hostile_answer_is_counted_and_the_next_poll_is_normal(case: str) -> None:
    body, why = HOSTILE[case]
    before = rejections(why)

    async def scenario(bench: Bench) -> None:
        steps = (
            (5, lambda: sends(bench, event("E0"))),
            (15, lambda: bench.vtn.queue.append(body)),
            (25, lambda: sends(bench, event("E0"), event("E1"))),
        )
        await bench.play(*steps, seconds=55)
        assert bench.desk.in_force() == {"E0": 0, "E1": 0}

    bench = virtually(scenario)
    assert rejections(why) == before + 1
    assert [opt[0] for opt in bench.vtn.opts()][-2:] == ["E0", "E1"]


def test_hostile_a8_a_value_that_is_no_number_or_out_of_range_costs_its_own_event_only() -> None:
    low = messages.signal([messages.interval("PT1H", -1)], name="SIMPLE", kind="level")
    spoiled = {f"N{n}": messages.setpoint(value) for n, value in enumerate(("NaN", "INF", "-INF", "1e400"))}
    sent = [event(name, signals=[rows]) for name, rows in (spoiled | {"low": low}).items()]

    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: sends(bench, event("first"), *sent, event("last"))), seconds=15)

    bench = virtually(scenario)
    codes = {name: (code, opt) for name, _, code, opt in bench.vtn.opts()}
    assert codes.pop("first") == codes.pop("last") == ("200", "optIn")
    assert set(codes.values()) == {("454", "optOut")}
    assert bench.desk.dispatched == ["first/0", "last/0"]


LONG_IDS = ["1" * 5_000, "\u0661\u0662\u0663", "</ei:eventID>", "\u200fright", "=cmd|' /C calc'!A0", "1.2.3", "00123"]


@pytest.mark.parametrize("event_id", LONG_IDS, ids=[f"id{number}" for number in range(len(LONG_IDS))])
def test_hostile_a9_ids_are_kept_byte_for_byte_or_their_event_is_refused(event_id: str) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.play((5, lambda: sends(bench, event(event_id), event("other"))), seconds=15)

    (name, _, code, _), other = virtually(scenario).vtn.opts()
    assert (name, code) == (event_id, "452" if len(event_id) > 1_024 else "200")
    assert other == ("other", 0, "200", "optIn")


def wrapped(bench: Bench) -> bytes:
    protect = signing.replay_protect("wrapped", f"{bench.clock.now():%Y-%m-%dT%H:%M:%S}Z")
    body = messages.distribute_event(event("EVIL"))
    return signing.sign(body, VTN, protect=protect, spoil=wrap_in_signature_object)


def unsigned(_bench: Bench) -> bytes:
    return messages.distribute_event(event("EVIL"))


def ahead(bench: Bench) -> bytes:
    stamp = f"{bench.clock.now() + timedelta(minutes=10):%Y-%m-%dT%H:%M:%S}Z"
    return signing.sign(messages.distribute_event(event("EVIL")), VTN, protect=signing.replay_protect("ahead", stamp))


def by_somebody_else(bench: Bench) -> bytes:
    return signing.sign(messages.distribute_event(event("EVIL")), signing.make_identity(name="other"))


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (wrapped, Reason.NOT_ONE_OBJECT),
        (unsigned, Reason.UNSIGNED),
        (ahead, Reason.OUTSIDE_CLOCK_WINDOW),
        (by_somebody_else, Reason.WRONG_SIGNER),
    ],
)
def test_a26_what_the_vtn_did_not_sign_now_is_not_read(forge: Callable[[Bench], bytes], why: Reason) -> None:
    before = rejections(why)

    async def scenario(bench: Bench) -> None:
        sign_everything(bench)
        plain = bench.vtn.post
        forged: list[bytes] = []

        async def post(service: object, body: bytes) -> bytes:
            answer = await plain(service, body)  # type: ignore[arg-type]
            return forged.pop() if forged and bench.vtn.names()[-1] == "Poll" else answer

        bench.vtn.post = post  # type: ignore[method-assign]
        steps = ((5, lambda: forged.append(forge(bench))), (25, lambda: sends(bench, event("E1"))))
        await bench.play(*steps, seconds=55)

    bench = virtually(scenario, fingerprints=frozenset({VTN.fingerprint}), clock_skew=timedelta(minutes=1))
    assert rejections(why) == before + 1
    assert bench.desk.dispatched == ["E1/0"]


@pytest.mark.parametrize(("later_s", "skew_s"), [(10, 120), (600, 3_600), (3_600, 30)])
def test_hostile_a12_a_replay_is_refused_now_after_a_restart_and_after_an_hour(later_s: int, skew_s: int) -> None:
    why = Reason.OUTSIDE_CLOCK_WINDOW if later_s > skew_s else Reason.REPLAYED

    async def scenario(bench: Bench) -> None:
        sign_everything(bench)
        captured: list[bytes] = []

        def send() -> None:
            captured.append(signed(bench, messages.distribute_event(event("E1")), "captured"))
            bench.vtn.queue.append(captured[0])

        await bench.play((5, send), seconds=15)
        before = rejections(why)
        await bench.play((later_s, lambda: bench.vtn.queue.append(captured[0])), seconds=later_s + 30)
        assert rejections(why) == before + 1
        await bench.play((5, lambda: bench.vtn.queue.append(captured[0])), seconds=25)
        assert rejections(why) == before + 2

    bench = virtually(scenario, fingerprints=frozenset({VTN.fingerprint}), clock_skew=timedelta(seconds=skew_s))
    assert bench.desk.dispatched == ["E1/0"]


def canary_messages(bench: Bench) -> list[bytes]:
    """Messages that carry the canary wherever a text may be, good and bad ones."""
    bad = event(CANARY, signals=[messages.setpoint("NaN")], targets=messages.target("resourceID", CANARY))
    foreign = event("E2", context=f"http://{CANARY}.example")
    return [
        messages.distribute_event(event(CANARY), bad, foreign, event("E4", duration="P1M"), request_id=CANARY),
        messages.distribute_event(event("E5"), vtn_id=CANARY),
        messages.distribute_event(event(modification=CANARY)),
        f"<{CANARY}".encode(),
        f"<!DOCTYPE {CANARY}>".encode(),
        messages.cancel_registration(CANARY),
        messages.request_reregistration(CANARY),
        messages.create_report(messages.report_request(CANARY, specifier=CANARY, r_ids=[CANARY])),
        messages.create_report(messages.report_request(CANARY, granularity="P1M")),
        messages.cancel_report(CANARY),
        signing.sign(messages.distribute_event(event(CANARY)), VTN, protect=signing.replay_protect(CANARY)),
    ]


def test_a_canary_in_messages_keys_and_ids_shows_up_in_no_log_error_or_metric(tmp_path: Path) -> None:
    us = signing.make_identity(name=CANARY)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(us.certificate_pem)
    key.write_bytes(us.key_pem)
    secret_line = us.key_pem.decode().splitlines()[1]
    errors: list[str] = []

    async def scenario(bench: Bench) -> None:
        created = messages.created_registration(registration_id=CANARY)
        bench.vtn.script["QueryRegistration"] = bench.vtn.script["CreatePartyRegistration"] = lambda _: created
        for index, body in enumerate(canary_messages(bench)):
            ven = await bench.play((12, lambda body=body: bench.vtn.queue.append(body)), seconds=70)  # type: ignore[misc]
            errors.append(f"{index}: {ven.health()}")

    with capture_logs() as lines:
        bench = virtually(scenario, signing=SigningFiles(cert_file=cert, key_file=key))
    said = [json.dumps(line, default=str) for line in lines] + errors
    assert len(lines) > 10
    for text in (CANARY, secret_line):
        assert [line for line in said if text in line] == []
        assert text not in generate_latest().decode()
        assert text not in repr(bench.settings)


def test_a_vtn_that_says_only_spoiled_things_does_not_stop_the_ven() -> None:
    material = campaign.gather_material(11)
    draw = random.Random(11)  # replayable
    spoiled = [campaign.draw_case(material, 11, 8 * number).body for number in range(150)]
    spoiled += [mutate_bytes(draw, draw_message(draw), material.valid) for _ in range(100)]
    spoiled += [draw_message(draw) for _ in range(100)]

    async def scenario(bench: Bench) -> None:
        bench.vtn.once["Poll"] = deque(spoiled)
        for _ in range(60):
            ven = await bench.play(seconds=3_600)
            if not bench.vtn.once["Poll"]:
                break
        assert not bench.vtn.once["Poll"]
        ven = await bench.play((2_000, lambda: sends(bench, event("E-last"))), seconds=4_000)
        assert ven.state is VenState.REGISTERED

    bench = virtually(scenario)
    assert ("E-last", 0, "200", "optIn") in bench.vtn.opts()
