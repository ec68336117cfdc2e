"""A 3.x VEN whose VTN has a profile: what breaks it is told and not used; what it means is in OpenADR's own words."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import async_solipsism
import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import Instruction, RawSignal
from gateway.openadr.journal import ExchangeJournal
from gateway.openadr.profiles import ProfileGate, load_profile
from gateway.openadr.v3.noted import NotedTransport
from gateway.openadr.v3.rereading import Rereader
from gateway.openadr.v3.understanding import GateOf
from gateway.ports import RereadEvent
from tests.openadr.profiles import objects as made
from tests.openadr.profiles.objects import Json
from tests.openadr.v3.bench import Bench, virtually
from tests.openadr.v3.memory_vtn import BASE
from tests.openadr.virtual_life import AUTHORITY, START, TENANT

NODE = "vpp-be"
GAC: Json = {"nodes": {made.EAN18: NODE}}


def gate(name: str, *, applies_broken: bool = False) -> GateOf:
    one = ProfileGate(load_profile(name), tenant=TENANT, authority=AUTHORITY, applies_broken=applies_broken)
    return lambda _program: one


def shown(
    profile: str, program: Json, *events: Json, applies_broken: bool = False, seconds: float = 45, **settings: Any
) -> Bench:
    """Return the bench after a VEN saw a program and its events, polled several times."""

    async def scenario(bench: Bench) -> None:
        bench.vtn.program(**{**program, "program_id": program["id"], **without_id(program)})
        for event in events:
            bench.vtn.event(event["id"], **without_id(event))
        await bench.run((5, lambda: bench.vtn.grant([made.EAN18, made.GROUP])), seconds=seconds)

    return virtually(scenario, gate_of=gate(profile, applies_broken=applies_broken), **settings)


def without_id(content: Json) -> Json:
    return {name: value for name, value in content.items() if name not in {"id", "createdDateTime"}}


def without_targets(content: Json) -> Json:
    return {name: value for name, value in content.items() if name != "targets"}


def test_b18_an_event_that_keeps_its_profile_becomes_a_limit() -> None:
    bench = shown("gac-2.2", made.gac_program(), made.gac_event(), made.safe_mode_event(), **GAC, seconds=1000)
    assert bench.broken() == []
    limits = [(one.instruction, one.value) for one in bench.events()["e1"].intervals]
    assert limits == [(Instruction.IMPORT_LIMIT_KW, 40.0 + index) for index in range(4)]
    assert bench.events()["e1"].is_binding
    [fallback] = bench.events()["safe"].intervals
    assert (fallback.instruction, fallback.value, fallback.end) == (Instruction.IMPORT_SUBSCRIPTION_KW, 11.0, None)


BREACHES: tuple[tuple[str, Callable[[Json], object], str], ...] = (
    ("priority", lambda e: e.update(priority=1), "no-priority"),
    (
        "two payloads",
        lambda e: e["intervals"][1]["payloads"].append({"type": "IMPORT_CAPACITY_LIMIT", "values": [1]}),
        "one-payload",
    ),
    ("unit kW in lower case", lambda e: e["payloadDescriptors"][0].update(units="kW"), "one-descriptor"),
    ("EAN of 17 digits", lambda e: e["targets"].append("1" * 17), "targets"),
)


@pytest.mark.parametrize(("change", "rule"), [case[1:] for case in BREACHES], ids=[case[0] for case in BREACHES])
def test_b18_an_event_that_breaks_its_profile_is_told_and_not_used(change: Callable[[Json], object], rule: str) -> None:
    event = made.changed(made.gac_event(), change)
    good = made.gac_event("good")
    bench = shown("gac-2.2", made.gac_program(), event, good, made.safe_mode_event(), seconds=1000, **GAC)
    assert set(bench.events()) == {"good", "safe"}
    assert [(one.rule, one.is_applied, one.profile, one.object_id) for one in bench.broken()] == [
        (rule, False, "gac-2.2", "e1")
    ]


def test_b18_settings_may_use_it_all_the_same() -> None:
    event = made.put(made.gac_event(), priority=1)
    bench = shown(
        "gac-2.2", made.gac_program(), event, made.safe_mode_event(), applies_broken=True, seconds=1000, **GAC
    )
    assert "e1" in bench.in_force()
    assert [(one.rule, one.is_applied) for one in bench.broken()] == [("no-priority", True)]


def test_b18_what_a_program_lacks_is_told_once() -> None:
    program = made.gac_program("2.1.1")
    bench = shown("gac-2.2", program, made.gac_event(), seconds=1000, **GAC)
    found = {(one.rule, one.object_kind, one.object_id, one.is_applied) for one in bench.broken()}
    assert found == {("program-type", "program", "p1", True), ("safe-mode", "program", "p1", True)}
    assert "e1" in bench.in_force()


def test_b18_what_a_program_lacks_is_not_told_again_with_every_change() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program(**without_id(made.gac_program()))
        bench.vtn.event("e1", **without_id(made.gac_event()) | {"targets": []})
        more = without_id(made.gac_event()) | {"targets": [], "eventName": "another"}
        await bench.run((30, lambda: bench.vtn.event("e2", **more)), seconds=60)

    bench = virtually(scenario, gate_of=gate("gac-2.2"))
    assert set(bench.events()) == {"e1", "e2"}
    [lacks] = bench.broken()
    assert lacks.rule == "safe-mode"
    assert lacks.at < START + timedelta(seconds=30)


def test_swedish_limits_bind_although_the_program_does_not_say_so() -> None:
    program = {"id": "1", "programName": "limits"}
    request = made.put(made.limit_request(), intervalPeriod={"start": "2025-10-15T08:30:00Z", "duration": "PT15M"})
    bench = shown(
        "se-conditional-1.0",
        program,
        request,
        private_payloads=dict.fromkeys(load_profile("se-conditional-1.0").informs, Instruction.INFORMATION),
    )
    event = bench.events()["1"]
    assert event.is_binding
    limits = [(one.value, one.end) for one in event.intervals if one.instruction is Instruction.IMPORT_LIMIT_KW]
    assert limits == [(15000.0, START + timedelta(minutes=45))]
    assert bench.broken() == []


def test_prices_never_bind_whatever_the_program_says() -> None:
    program = {"id": "p1", "programName": "prices", "attributes": [{"type": "BINDING_EVENTS", "values": [True]}]}
    bench = shown("us-ca-prices-1.0", program, without_targets(made.price_event()))
    assert not bench.events()["day"].is_binding
    assert [(one.rule, one.is_applied) for one in bench.broken()] == [("no-binding", True)]
    kinds = {one.instruction for one in bench.events()["day"].intervals}
    assert kinds == {Instruction.PRICE, Instruction.EXPORT_PRICE, Instruction.CARBON_G_PER_KWH}
    assert len(bench.events()["day"].intervals) == 3 * 24


def test_a_called_flexibility_is_the_limit_it_leaves_of_the_baseline() -> None:
    bench = shown(
        "nl-flex-1.0",
        made.flex_program(),
        made.anchor_event(),
        made.baseline_event(),
        made.dispatch_event(),
        nodes={made.GROUP: NODE},
        private_payloads=dict.fromkeys(load_profile("nl-flex-1.0").informs, Instruction.INFORMATION),
        seconds=1000,
    )
    assert [one.value for one in bench.events()["call"].intervals] == [20.25, 14.75, 20.25]
    assert bench.events()["call"].is_binding
    assert [one.rule for one in bench.broken()] == []


# ------------------------------------------------------------ the journal and reading again


def test_exchanges_are_noted_without_query_token_or_body() -> None:
    journal = ExchangeJournal()

    async def scenario(bench: Bench) -> None:
        page = journal.page(TENANT, AUTHORITY, bench.clock)
        bench.vtn.program()
        bench.vtn.event(**without_id(made.gac_event()))
        noted = NotedTransport(bench.vtn, page)
        bench.ven._transport = noted
        bench.ven.client._transport = noted
        bench.ven.client._tokens._transport = noted
        await bench.run((20, lambda: setattr(bench.vtn, "is_down", True)), seconds=40)

    virtually(scenario)
    found = journal.latest(TENANT)
    assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)
    path = BASE.partition("://")[2].partition("/")[2]
    said = {one.what: one.outcome for one in found if not one.is_failed}
    assert said[f"GET /{path}/events"] == "HTTP 200"
    assert any(one.is_failed for one in found)
    everything = " ".join(f"{one.what} {one.outcome}" for one in found)
    for secret in ("s3cret", "Bearer", "skip=", "IMPORT_CAPACITY", "client_secret"):
        assert secret not in everything
    assert journal.latest("another tenant") == []


def reread(bench: Bench, raw: RawSignal, profile: str) -> list[RereadEvent]:
    async def read() -> list[RereadEvent]:
        return await Rereader(bench.settings, bench.store, gate(profile)).read_again(raw)

    with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
        return runner.run(read())


def test_a_stored_listing_is_read_again_without_effect() -> None:
    bad = made.put(made.gac_event("bad"), priority=1)
    bench = shown("gac-2.2", made.gac_program(), made.gac_event(), bad, made.safe_mode_event(), seconds=1000, **GAC)
    raws = bench.store.all(RawSignal, TENANT)
    before = len(bench.store.applied)
    found = {one.event_id: one for one in reread(bench, raws[-1], "gac-2.2")}
    assert set(found) == {"e1", "bad", "safe"}
    kept = bench.events()["e1"]
    again = found["e1"].event
    assert again is not None
    assert (again.intervals, again.nodes, again.modification) == (kept.intervals, kept.nodes, kept.modification)
    assert found["bad"].event is None
    assert "priority" in found["bad"].problem
    assert len(bench.store.applied) == before


@pytest.mark.parametrize(
    ("body", "problems"),
    [(b"[]", []), (b"[[1, 2]]", []), (b'[[{"id": "x"}]]', ["x"]), (b'{"id": "y", "programID": "p"}', ["y"])],
    ids=["nothing", "numbers", "no program", "no list"],
)
def test_whatever_was_stored_can_be_looked_at(body: bytes, problems: list[str]) -> None:
    bench = shown("gac-2.2", made.gac_program(), seconds=15)
    raw = RawSignal(
        id="r",
        tenant=TENANT,
        authority=AUTHORITY,
        protocol="openadr-3.1.0",
        received_at=START,
        sha256="",
        body=body,
    )
    assert [one.event_id for one in reread(bench, raw, "gac-2.2") if one.problem] == problems


def test_what_is_no_json_is_refused() -> None:
    bench = shown("gac-2.2", made.gac_program(), seconds=15)
    raw = RawSignal(
        id="r", tenant=TENANT, authority=AUTHORITY, protocol="openadr-3.1.0", received_at=START, sha256="", body=b"{"
    )
    with pytest.raises(InvalidInput):
        reread(bench, raw, "gac-2.2")
