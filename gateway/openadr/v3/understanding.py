"""What one event means for us, whole or not at all, and what is wrong with it; events never affect each other."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.domain.errors import InvalidInput
from gateway.domain.programs import NonCompliance
from gateway.domain.signals import EventAnswer, GridEvent, OptType
from gateway.json_guard import Json
from gateway.openadr.profiles.gate import ProfileGate
from gateway.openadr.v3.chance import draws
from gateway.openadr.v3.companion import KnownEvent
from gateway.openadr.v3.findings import Finding
from gateway.openadr.v3.holdings import Holdings, Seen
from gateway.openadr.v3.names import Dialect, ObjectKind
from gateway.openadr.v3.parts import BROKEN
from gateway.openadr.v3.reader import Unreadable, read_event
from gateway.openadr.v3.shown import Shown
from gateway.openadr.v3.surroundings import Surroundings
from gateway.openadr.v3.survey import Survey
from gateway.openadr.v3.targeting import nodes_of
from gateway.openadr.v3.timing import Schedule, is_cancelled, plan
from gateway.openadr.v3.translate import (
    Receipt,
    Translation,
    asks_at_any_time,
    asks_only_for_reports,
    grid_event,
    translate,
)
from gateway.openadr.v3.wire import Program, WireEvent

INVALID = 454
"""Response code for an event that cannot be used, as in OpenADR 2.0b; 3.x has none, and nobody is sent it."""
_ID_DIGITS = 12

GateOf = Callable[[Program | None], ProfileGate | None]
"""Returns what holds the objects of a program against its profile; None where it has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Understood:
    """What becomes of one event."""

    version: int
    known: KnownEvent | None = None
    """None when it cannot be used at all, or is taken back."""
    event: GridEvent | None = None
    """None when it says nothing but which reports are wanted, or cannot be used."""
    refused: EventAnswer | None = None
    """Why it cannot be used; its last good version stays in force."""
    is_cancelled: bool = False


class Understanding:
    """Turns the events of one listing into what they mean; unchanged ones keep their meaning.

    Args:
        around: Settings and ports.
        holdings: Tells what changed.
        gate_of: Profiles of programs.
        seed: What randomised starts are drawn from.
    """

    def __init__(self, around: Surroundings, holdings: Holdings, gate_of: GateOf, seed: str) -> None:
        self._around = around
        self._settings = around.settings
        self._holdings = holdings
        self._gate_of = gate_of
        self._seed = seed
        self._last: dict[str, Understood] = {}
        self._told: frozenset[str] = frozenset()
        self.broken: list[NonCompliance] = []
        """What objects broke since it was last emptied."""

    def of_unreadable(self, found: Unreadable, receipt: Receipt) -> Understood:
        """Return what becomes of an event that cannot be read: nothing, and its last good version stays."""
        version = self._holdings.version_of(ObjectKind.EVENT, found.object_id)
        self._note(found.object_id, (found.finding,), receipt, is_applied=False)
        return Understood(version=version, refused=_refusal(found.object_id, version, found.finding.text))

    def of_event(
        self, event: WireEvent, survey: Survey, others: Sequence[Mapping[str, Json]], receipt: Receipt
    ) -> Understood | None:
        """Return what becomes of an event; None when it is for others.

        Args:
            event: As the VTN has it.
            survey: Programs and targets.
            others: Its neighbours as JSON, for profiles whose values count from another event's.
            receipt: The message it came in.
        """
        nodes = nodes_of(event.targets, self._settings, survey.standing)
        if not nodes:
            return None
        program = survey.programs.get(event.program_id)
        said, broken = self._admitted(event, program, others, receipt)
        label = survey.label(event.program_id, self._settings.programs)
        beside = [list(nodes), _context(program), _meant(event, said)]
        seen = self._holdings.see(
            ObjectKind.EVENT,
            event.meta,
            event.content,
            program_id=event.program_id,
            beside=beside,
            shown=Shown.now(event.targets, self._settings, survey.standing).text,
        )
        last = self._last.get(event.meta.id)
        if last is not None and last.version == seen.version:
            return last
        self.broken += broken
        understood = self._fresh(event, said, KnownWhere(program=program, nodes=nodes, label=label), seen, receipt)
        self._last[event.meta.id] = understood
        return understood

    def of_programs(
        self, programs: Iterable[Program], contents: Sequence[Mapping[str, Json]], receipt: Receipt
    ) -> None:
        """Note what programs break that all of their events show; what was noted last time is not noted again.

        Args:
            programs: Programs we take part in.
            contents: All events that the VTN has now, as JSON.
            receipt: The message they came in.
        """
        found: dict[str, NonCompliance] = {}
        for program in programs:
            gate = self._gate_of(program)
            if gate is not None:
                mine = [one for one in contents if one.get("programID") == program.meta.id]
                found |= {one.id: one for one in gate.whole([program.content], mine, now=receipt.received_at)}
        self.broken += [one for key, one in found.items() if key not in self._told]
        self._told = frozenset(found)

    def roll(self, understood: Understood, receipt: Receipt) -> Understood:
        """Return an event unrolled from now on."""
        known = understood.known
        if known is None or known.schedule is None:
            return understood
        translation = translate(known, known.schedule, self._settings, self._around.clock.now())
        event = grid_event(known, known.schedule, translation, self._settings, receipt)
        rolled = replace(understood, event=self._as_agreed(event, known.program))
        self._last[known.event.meta.id] = rolled
        return rolled

    def forget(self, present: set[str]) -> None:
        """Forget all events but these."""
        self._last = {key: one for key, one in self._last.items() if key in present}

    # ---------------------------------------------------------------- inside

    def _admitted(
        self, event: WireEvent, program: Program | None, others: Sequence[Mapping[str, Json]], receipt: Receipt
    ) -> tuple[WireEvent | None, tuple[NonCompliance, ...]]:
        """Return the event in OpenADR's own words; None when its profile does not let it in."""
        gate = self._gate_of(program)
        if gate is None:
            return event, ()
        neighbours = [one for one in others if one is not event.content]
        admission = gate.admit(
            "event", event.content, now=receipt.received_at, raw_signal=receipt.raw_signal, others=neighbours
        )
        if admission.content is None:
            return None, admission.broken
        if admission.content is event.content:
            return event, admission.broken
        try:
            return read_event(dict(admission.content)), admission.broken
        except InvalidInput:
            return None, admission.broken

    def _fresh(
        self, event: WireEvent, said: WireEvent | None, where: "KnownWhere", seen: Seen, receipt: Receipt
    ) -> Understood:
        event_id = event.meta.id
        if is_cancelled(event):
            return Understood(version=seen.version, is_cancelled=True)
        if said is None:
            return Understood(version=seen.version, refused=_refusal(event_id, seen.version, "breaks its profile"))
        try:
            schedule = plan(
                said,
                seen.first_seen,
                draws(self._seed, event_id),
                period_repeats=self._settings.dialect is Dialect.V301,
            )
        except InvalidInput as error:
            if asks_at_any_time(said) and (not said.intervals or self._gate_of(where.program) is not None):
                return Understood(version=seen.version, known=self._known(said, where, seen, None))
            finding = Finding(rule=BROKEN, path=error.field, problem=error.problem)
            self._note(event_id, (*said.findings, finding), receipt, is_applied=False)
            return Understood(version=seen.version, refused=_refusal(event_id, seen.version, finding.text))
        return self._translated(self._known(said, where, seen, schedule), schedule, receipt)

    @staticmethod
    def _known(said: WireEvent, where: "KnownWhere", seen: Seen, schedule: Schedule | None) -> KnownEvent:
        return KnownEvent(
            event=said,
            version=seen.version,
            first_seen=seen.first_seen,
            program=where.program,
            schedule=schedule,
            nodes=where.nodes,
            label=where.label,
        )

    def _translated(self, known: KnownEvent, schedule: Schedule, receipt: Receipt) -> Understood:
        event_id, version = known.event.meta.id, known.version
        translation = translate(known, schedule, self._settings, self._around.clock.now())
        findings = (*known.event.findings, *schedule.findings, *translation.findings)
        if asks_only_for_reports(known.event):
            self._note(event_id, findings, receipt, is_applied=True)
            return Understood(version=version, known=known)
        if not translation.intervals and findings:
            self._note(event_id, findings, receipt, is_applied=False)
            return Understood(version=version, known=known, refused=_refusal(event_id, version, findings[0].text))
        self._note(event_id, findings, receipt, is_applied=True)
        event = self._event(known, schedule, translation, receipt)
        return Understood(version=version, known=known, event=event)

    def _event(
        self, known: KnownEvent, schedule: Schedule, translation: Translation, receipt: Receipt
    ) -> GridEvent | None:
        if schedule.end is not None and schedule.end <= schedule.start:
            return None
        return self._as_agreed(grid_event(known, schedule, translation, self._settings, receipt), known.program)

    def _as_agreed(self, event: GridEvent, program: Program | None) -> GridEvent:
        """Return an event with what its profile says about all events: that they bind, or that they never do."""
        gate = self._gate_of(program)
        binds = None if gate is None else gate.profile.is_binding
        return event if binds is None else replace(event, is_binding=binds)

    def _note(self, object_id: str, findings: Sequence[Finding], receipt: Receipt, *, is_applied: bool) -> None:
        for finding in findings:
            place = hashlib.sha256(f"{finding.path}\n{finding.problem}".encode()).hexdigest()[:_ID_DIGITS]
            self.broken.append(
                NonCompliance(
                    id=f"{self._settings.authority}:event:{object_id}:{finding.rule}:{place}",
                    tenant=self._settings.tenant,
                    authority=self._settings.authority,
                    profile=self._settings.protocol,
                    rule=finding.rule,
                    object_kind=ObjectKind.EVENT.value,
                    object_id=object_id,
                    problem=finding.text,
                    is_applied=is_applied,
                    raw_signal=receipt.raw_signal,
                    at=receipt.received_at,
                )
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownWhere:
    """What surrounds an event: its program, and the nodes of ours that it is for."""

    program: Program | None
    nodes: tuple[str, ...]
    label: str


def _meant(event: WireEvent, said: WireEvent | None) -> Json:
    """Return what a profile made of an event's intervals; nothing where it left them as they are."""
    if said is None:
        return "refused"
    return None if said is event else [said.content.get("intervals"), said.content.get("payloadDescriptors")]


def _context(program: Program | None) -> Json:
    """Return what of a program decides what its events mean."""
    if program is None:
        return None
    return [program.is_binding, program.content.get("payloadDescriptors")]


def _refusal(event_id: str, version: int, problem: str) -> EventAnswer:
    return EventAnswer(event_id=event_id, modification=version, opt=OptType.OPT_OUT, code=INVALID, description=problem)
