"""The OpenADR campaign sees what it hunts, draws the same cases again, and its valid messages are valid."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from gateway.openadr.v20b import reader, signature
from gateway.openadr.v20b.guard import GuardPolicy
from gateway.openadr.v20b.wire_events import DistributeEvent
from scripts import openadr_messages, soak_runner
from scripts.campaigns import openadr
from scripts.openadr_json import as_bytes


def run(seed: int, count: int) -> Any:
    return openadr.run(seed, soak_runner.deadline(60.0, count))


def test_the_same_seed_gives_the_same_history() -> None:
    first, again, other = run(7, 800), run(7, 800), run(8, 800)
    assert first == again
    assert first.failures == ()
    counts = {
        name: first.measured[name]
        for name in ("xml_tree_count", "xml_bytes_count", "json_tree_count", "json_bytes_count")
    }
    assert counts == {"xml_tree_count": 100, "xml_bytes_count": 500, "json_tree_count": 100, "json_bytes_count": 100}
    assert other.measured["history_crc32"] != first.measured["history_crc32"]


def test_a_case_is_drawn_again_from_its_number() -> None:
    material = openadr.gather_material(3)
    for number in range(8):
        assert openadr.draw_case(material, 3, number) == openadr.draw_case(openadr.gather_material(3), 3, number)
        assert openadr.draw_case(material, 3, number) != openadr.draw_case(material, 3, number + 8)


def test_valid_messages_are_let_in() -> None:
    drawn = [openadr_messages.draw_message(random.Random(number)) for number in range(200)]
    material = openadr.gather_material(1)
    assert {openadr.judge(body, openadr.PLAIN, material) for body in drawn} == {"let-in"}
    assert {openadr.judge(body, material.demanding, material) for body in material.signed} == {"let-in"}
    lists = [openadr.Case(kind="json-tree", body=as_bytes(content), objects=kind) for kind, content in material.lists]
    assert {openadr.judge_list(case) for case in lists} == {"json-let-in"}
    assert {case.objects for case in lists} == set(openadr.READERS)


def test_a_slice_ends_in_many_ways() -> None:
    ends = {name for name in run(1, 2_000).measured if name.endswith("_count")}
    wanted = "let_in not_schema_valid malformed not_utf_8 forbidden_markup not_one_signed_object bad_signature too_deep"
    wanted += " json_let_in json_rejected json_all_broken"
    assert {f"{name}_count" for name in wanted.split()} <= ends


def read_badly(change: Callable[[DistributeEvent], DistributeEvent]) -> Callable[..., reader.Read]:
    def read(body: bytes, policy: GuardPolicy, now: datetime) -> reader.Read:
        answer = reader.read(body, policy, now)
        message = answer.message
        return replace(answer, message=change(message)) if isinstance(message, DistributeEvent) else answer

    return read


def raise_what_nobody_declared(_message: DistributeEvent) -> DistributeEvent:
    raise KeyError("eventID")


def strip_ids(message: DistributeEvent) -> DistributeEvent:
    return replace(message, events=tuple(replace(each, event_id=each.event_id[1:]) for each in message.events))


def drop_the_last(message: DistributeEvent) -> DistributeEvent:
    return replace(message, events=message.events[:-1])


@pytest.mark.parametrize("change", [raise_what_nobody_declared, strip_ids, drop_the_last])
def test_the_campaign_sees_a_broken_reader(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[DistributeEvent], DistributeEvent]
) -> None:
    monkeypatch.setattr(openadr, "read", read_badly(change))
    failures = run(1, 1_200).failures
    assert failures
    assert failures[0].startswith("seed 1, case ")


def test_the_campaign_sees_a_guard_that_reads_what_was_not_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    def trust(root: Any, signed_object: Any, *_: object) -> Any:
        return signature.Verified(signed_object=signed_object, mark=None)  # type: ignore[arg-type]

    monkeypatch.setattr(signature, "verify", trust)
    assert any("not what was signed" in failure for failure in run(1, 2_000).failures)


def test_an_undeclared_error_is_noted_and_a_demand_to_stop_is_not() -> None:
    ledger = openadr.Ledger()
    with openadr.Undeclared(ledger, "case 1"):
        raise RecursionError
    with pytest.raises(KeyboardInterrupt), openadr.Undeclared(ledger, "case 2"):
        raise KeyboardInterrupt
    assert ledger.failures == ["case 1: RecursionError: "]


def test_an_event_inside_another_is_no_event_and_an_odd_prefix_is_no_obstacle() -> None:
    inner = openadr_messages.event("inner", [openadr_messages.signal("SIMPLE", "level", [1], 60)], 60)
    outer = openadr_messages.event("outer", [openadr_messages.signal("SIMPLE", "level", [1], 60)], 60)
    nested = outer.replace("<xcal:components/>", f"<xcal:components>{inner}</xcal:components>")
    body = openadr_messages.distribute_event(nested)
    assert openadr.event_ids(body) == ["outer"]
    odd = body.replace(b"<oadr:oadrPayload", '<oadr:oadrPayload xmlns:\u0661x="urn:x"'.encode(), 1)
    assert openadr.event_ids(odd) == ["outer"]
    assert openadr.judge(odd, openadr.PLAIN, openadr.gather_material(1)) == "let-in"
