"""Hunts for OpenADR messages that end in anything but an answer or a declared error: mutated trees and mutated bytes.

Of eight cases six are XML of 2.0b, two JSON of 3.x; one of each is structured (a valid message whose parts were removed, repeated,
moved, renamed, given hostile values), the others are byte strings (valid messages cut, flipped, spliced, filled with markup). XML goes
through guard, codec and translation as the answer of a VTN would, JSON through its guard and readers. What is let in is compared with
an independent parser: ids character for character, a finite value in every interval, an answer that is valid against the schema and
names the same ids, and under a signature nothing but what was signed. A crash of the process ends the campaign without a summary.
"""

from __future__ import annotations

import copy
import functools
import json
import math
import random
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from xml.etree import ElementTree

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import GridEvent
from gateway.json_guard import JsonPolicy, JsonRejected, read_json
from gateway.openadr.v3 import reader
from gateway.openadr.v20b.codec import encode
from gateway.openadr.v20b.guard import GuardPolicy, SignaturePolicy, check
from gateway.openadr.v20b.reader import read
from gateway.openadr.v20b.refusal import EventRefused
from gateway.openadr.v20b.rejection import MessageRejected
from gateway.openadr.v20b.translate import Programme, Receipt, translate
from gateway.openadr.v20b.wire_events import CreatedEvent, DistributeEvent, EventResponse
from gateway.openadr.v20b.wire_parts import Response
from scripts import openadr_json
from scripts.openadr_json import draw_objects
from scripts.openadr_messages import CONTEXT, NOW, RESOURCES, VEN_ID, draw_message
from scripts.openadr_mutations import mutate_bytes, mutate_tree
from scripts.soak_runner import Outcome

SLICE_SECONDS = 5.0
"""What the tests spend on it."""
CORPUS = Path(__file__).resolve().parents[2] / "tests" / "soak" / "corpus" / "openadr_signed"
"""Messages signed by keys that were thrown away, with the fingerprints of their certificates."""
CYCLE = ("xml-tree", "xml-bytes", "xml-bytes", "json-tree", "xml-bytes", "xml-bytes", "json-bytes", "xml-bytes")
"""What the cases are, in turn."""
SIGNED_SHARE = 0.08
VALID_COUNT = 300
"""Valid messages that one seed draws and mutates."""
EI = "{http://docs.oasis-open.org/ns/energyinterop/201110}"
OADR = "{http://openadr.org/oadr-2.0b/2012/07}"
EVENT_ID_PATH = (
    f"{OADR}oadrSignedObject/{OADR}oadrDistributeEvent/{OADR}oadrEvent/{EI}eiEvent/{EI}eventDescriptor/{EI}eventID"
)
"""Where the id of an event is; the schema lets anything be in `components`, other events too, which nobody reads."""
PROGRAMME = Programme(
    authority="vtn:soak",
    tenant="soak",
    ven_id=VEN_ID,
    market_contexts=frozenset({CONTEXT}),
    own_nodes=("portfolio",),
    nodes=dict.fromkeys(RESOURCES, "portfolio"),
    device_classes=frozenset({"EVSE"}),
)
RECEIPT = Receipt(raw_signal="signal-1", received_at=NOW)
PLAIN = GuardPolicy()
JSON_POLICY = JsonPolicy()
READERS: dict[str, Callable[[Any], Any]] = {
    "event": reader.read_event,
    "program": reader.read_program,
    "ven": reader.read_ven,
    "resource": reader.read_resource,
    "subscription": reader.read_subscription,
    "report": reader.read_report,
}
"""Who reads each kind of object of 3.x."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the cases of one seed are made from."""

    valid: list[bytes]
    signed: list[bytes]
    vouched: frozenset[bytes]
    """Canonical form of every object that was signed."""
    demanding: GuardPolicy
    """Lets in only what those certificates signed."""
    lists: list[tuple[str, list[Any]]]
    """Kind and objects of lists that a 3.x VTN sends."""

    @functools.cached_property
    def trees(self) -> list[etree._Element]:
        """The valid messages, parsed."""
        return [etree.fromstring(body) for body in self.valid]

    @functools.cached_property
    def signed_trees(self) -> list[etree._Element]:
        """The signed messages, parsed."""
        return [etree.fromstring(body) for body in self.signed]


@dataclass
class Ledger:
    """What happened so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    history: int = 0
    """Checksum over every case's bytes and outcome, in order: the same seed gives the same history."""

    def note(self, body: bytes, outcome: str) -> None:
        """Add one case."""
        self.outcomes[outcome] += 1
        self.history = zlib.crc32(outcome.encode(), zlib.crc32(body, self.history))


class Undeclared:
    """A place in which an exception nobody declared is noted instead of raised; the hunt is for exactly these."""

    def __init__(self, ledger: Ledger, where: str) -> None:
        self._ledger, self._where = ledger, where

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Note an error that is no demand to stop."""
        if not isinstance(error, Exception):
            return False
        self._ledger.failures.append(f"{self._where}: {type(error).__name__}: {str(error)[:200]}")
        return True


class Wrong(Exception):
    """Something was let in that should not have been, or came out changed."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One message and how it is to be read."""

    kind: str
    """One of `CYCLE`."""
    body: bytes
    policy: GuardPolicy = PLAIN
    objects: str = ""
    """What kind of objects a JSON list is asked for."""


def run(seed: int, until: Callable[[], bool]) -> Outcome:
    """Draw and judge cases until told to stop; the case number with the seed draws a case again."""
    material = gather_material(seed)
    ledger = Ledger()
    drawn: Counter[str] = Counter()
    while not until():
        number = drawn.total()
        case = draw_case(material, seed, number)
        drawn[case.kind] += 1
        with Undeclared(ledger, f"seed {seed}, case {number}"):
            ledger.note(case.body, judge_list(case) if case.objects else judge(case.body, case.policy, material))
    measured: dict[str, float] = {f"{kind}_count": drawn[kind] for kind in sorted(set(CYCLE))}
    measured |= {f"{name}_count": count for name, count in sorted(ledger.outcomes.items())}
    measured = {name.replace("-", "_"): value for name, value in measured.items()}
    measured["history_crc32"] = ledger.history
    return Outcome(case_count=drawn.total(), failures=tuple(ledger.failures), measured=measured)


def gather_material(seed: int) -> Material:
    """Return the valid messages of a seed and the signed ones of the corpus."""
    draw = random.Random(seed)  # noqa: S311  # replayable
    signed = [path.read_bytes() for path in sorted(CORPUS.glob("*.xml"))]
    pins = frozenset((CORPUS / "fingerprints.txt").read_text(encoding="ascii").split())
    demanding = GuardPolicy(signature=SignaturePolicy.REQUIRED, fingerprints=pins)
    vouched = frozenset(canonical(check(body, demanding, NOW).signed_object) for body in signed)
    valid = [draw_message(draw) for _ in range(VALID_COUNT)]
    lists = [draw_objects(draw) for _ in range(VALID_COUNT)]
    return Material(valid=valid, signed=signed, vouched=vouched, demanding=demanding, lists=lists)


def draw_case(material: Material, seed: int, number: int) -> Case:
    """Return a case of a seed by its number."""
    draw = random.Random((seed << 48) | number)  # noqa: S311  # replayable
    kind = CYCLE[number % len(CYCLE)]
    if kind.startswith("json"):
        objects, content = draw.choice(material.lists)
        if kind == "json-tree":
            return Case(kind=kind, body=openadr_json.as_bytes(openadr_json.spoil(draw, content)), objects=objects)
        others = [openadr_json.as_bytes(draw.choice(material.lists)[1])]
        body = mutate_bytes(draw, openadr_json.as_bytes(content), others, openadr_json.TOKENS)
        return Case(kind=kind, body=body, objects=objects)
    is_signed = draw.random() < SIGNED_SHARE
    policy = material.demanding if is_signed else PLAIN
    if kind == "xml-bytes":
        bodies = material.signed if is_signed else material.valid
        return Case(kind=kind, body=mutate_bytes(draw, draw.choice(bodies), material.valid), policy=policy)
    tree = copy.deepcopy(draw.choice(material.signed_trees if is_signed else material.trees))
    mutate_tree(draw, tree, material.trees)
    return Case(kind=kind, body=etree.tostring(tree, encoding="UTF-8"), policy=policy)


def judge(body: bytes, policy: GuardPolicy, material: Material) -> str:
    """Return how a message ends: the reason of its rejection, `not-understood`, or `let-in`.

    Raises:
        Wrong: It was let in and is not what was sent, cannot be answered, or was not signed.
    """
    try:
        message = read(body, policy, NOW).message
    except MessageRejected as error:
        return error.why.value
    except InvalidInput:
        return "not-understood"
    is_signed = policy.signature is SignaturePolicy.REQUIRED
    if is_signed and canonical(check(body, policy, NOW).signed_object) not in material.vouched:
        raise Wrong("what was read is not what was signed")
    if isinstance(message, DistributeEvent):
        check_events(body, message)
    return "let-in"


def check_events(body: bytes, message: DistributeEvent) -> None:
    """Compare the events with an independent parser and answer them.

    Raises:
        Wrong: See `judge`.
    """
    sent = event_ids(body)
    if [event.event_id for event in message.events] != sent:
        raise Wrong("event ids are not those of the message")
    for event in message.events:
        try:
            check_event(translate(event, PROGRAMME, RECEIPT, None, lambda low, _high: low))
        except EventRefused as error:
            if not 400 <= error.code <= 499:
                raise Wrong(f"refused with {error.code}") from error
    answer = CreatedEvent(
        response=Response(code=200),
        responses=tuple(
            EventResponse(
                code=200,
                description="OK",
                request_id=message.request_id,
                event_id=event.event_id,
                modification=event.modification,
                opt="optIn",
            )
            for event in message.events
        ),
        ven_id=VEN_ID,
    )
    answered = ElementTree.fromstring(encode(answer))  # noqa: S314  # our own
    if [each.text or "" for each in answered.iter(f"{EI}eventID")] != sent:
        raise Wrong("event ids of the answer are not those of the message")


def check_event(event: GridEvent) -> None:
    """Check what must hold of every event that is accepted."""
    if any(not math.isfinite(interval.value) for interval in event.intervals):
        raise Wrong("a value is not finite")
    if not event.cancelled and min(interval.start for interval in event.intervals) < event.active.start:
        raise Wrong("an interval begins before the event")


def event_ids(body: bytes) -> list[str]:
    """Return the ids of a message's events in order, by another parser than the guard's.

    That parser knows the names of an older edition of XML: where it stumbles over the prefix of a namespace that is declared and
    not used, it reads the canonical form, which leaves such prefixes out.
    """
    root: Any
    try:
        root = ElementTree.fromstring(body.strip())  # noqa: S314  # the guard has let it in
    except ElementTree.ParseError:
        root = ElementTree.fromstring(canonical(etree.fromstring(body.strip())))  # noqa: S314
    return [found.text or "" for found in root.iterfind(EVENT_ID_PATH)]


def judge_list(case: Case) -> str:
    """Return how a list of 3.x objects ends: `json-rejected`, `json-no-list` or `json-let-in`.

    Raises:
        Wrong: An object was lost or has another id than was sent.
    """
    try:
        content = read_json(case.body, JSON_POLICY)
    except JsonRejected:
        return "json-rejected"
    try:
        listing = reader.read_listing(content, READERS[case.objects])
    except InvalidInput:
        return "json-no-list"
    sent = json.loads(case.body.decode("utf-8-sig"))
    if len(listing.objects) + len(listing.broken) != len(sent):
        raise Wrong("objects were lost")
    ids = Counter(each.get("id") for each in sent if isinstance(each, dict) and isinstance(each.get("id"), str))
    if Counter(each.meta.id for each in listing.objects) - ids:
        raise Wrong("ids are not those of the list")
    return "json-let-in" if listing.objects else "json-all-broken"


def canonical(element: etree._Element) -> bytes:
    """Return the canonical form of an element on its own."""
    return etree.tostring(element, method="c14n", exclusive=True)
