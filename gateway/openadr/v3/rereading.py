"""A stored listing of a 3.x VTN read again: what its events would mean now, without any effect."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from gateway.domain.errors import InvalidInput
from gateway.domain.programs import HeldObject
from gateway.domain.signals import GridEvent, RawSignal
from gateway.json_guard import Json, read_json
from gateway.openadr.v3.companion import KnownEvent
from gateway.openadr.v3.names import Dialect, ObjectKind
from gateway.openadr.v3.reader import read_event, read_program
from gateway.openadr.v3.settings import VenSettings
from gateway.openadr.v3.standing import Standing
from gateway.openadr.v3.targeting import nodes_of
from gateway.openadr.v3.timing import is_cancelled, plan
from gateway.openadr.v3.translate import Receipt, grid_event, record_id, translate
from gateway.openadr.v3.understanding import GateOf
from gateway.openadr.v3.wire import Program, WireEvent
from gateway.ports import RereadEvent, Store

_NOBODY = Standing(ven=None)


class Rereader:
    """Reads stored listings of one VTN again.

    Where an event is for is what is known of it, or what its targets say without what the VTN has granted us; its start is the one
    before any random shift.

    Args:
        settings: As the VEN has them.
        store: Events and objects as known now.
        gate_of: Profiles of programs; those that the settings name by the program's name and not its id are not found here.
    """

    def __init__(self, settings: VenSettings, store: Store, gate_of: GateOf) -> None:
        self._settings = settings
        self._store = store
        self._gate_of = gate_of

    async def read_again(self, raw: RawSignal) -> list[RereadEvent]:
        """Return what the events of a listing would mean now.

        Raises:
            InvalidInput: It cannot be read.
        """
        contents = list(_contents(read_json(raw.body, self._settings.json)))
        return [await self._one(content, contents, raw) for content in contents]

    async def _one(
        self, content: Mapping[str, Json], others: Sequence[Mapping[str, Json]], raw: RawSignal
    ) -> RereadEvent:
        event_id, version = str(content.get("id", "")), 0
        try:
            program = await self._program(str(content.get("programID", "")))
            event, problem = self._admitted(content, program, others, raw.received_at)
            version, anchor = await self._held(event_id, raw.received_at)
            if event is None or problem:
                return _said(event_id, version, problem)
            if is_cancelled(event):
                return _said(event_id, version, "is taken back by the VTN")
            known = KnownEvent(
                event=event, version=version, first_seen=anchor, program=program, schedule=None, nodes=()
            )
            understood = await self._translated(known, raw)
        except InvalidInput as error:
            return _said(event_id, version, str(error))
        return RereadEvent(event_id=event_id, modification=version, problem="", event=understood)

    def _admitted(
        self,
        content: Mapping[str, Json],
        program: Program | None,
        others: Sequence[Mapping[str, Json]],
        now: datetime,
    ) -> tuple[WireEvent | None, str]:
        gate = self._gate_of(program)
        if gate is None:
            return read_event(dict(content)), ""
        admission = gate.admit("event", content, now=now, others=[one for one in others if one is not content])
        if admission.content is None:
            return None, "; ".join(one.problem for one in admission.broken)
        return read_event(dict(admission.content)), ""

    async def _held(self, event_id: str, received_at: datetime) -> tuple[int, datetime]:
        """Return version and first sight of an event as it is held; what is not held was first seen in this message."""
        key = f"{self._settings.authority}:{ObjectKind.EVENT.value}:{event_id}"
        row = await self._store.get(HeldObject, self._settings.tenant, key)
        return (0, received_at) if row is None else (row.record.version, row.record.seen_at)

    async def _program(self, program_id: str) -> Program | None:
        """Return a program as it was last seen; None when nobody remembers."""
        key = f"{self._settings.authority}:{ObjectKind.PROGRAM.value}:{program_id}"
        row = await self._store.get(HeldObject, self._settings.tenant, key)
        if row is None or not row.record.content:
            return None
        return read_program(read_json(row.record.content.encode(), self._settings.json))

    async def _translated(self, seen: KnownEvent, raw: RawSignal) -> GridEvent:
        event = seen.event
        stored = await self._store.get(
            GridEvent, self._settings.tenant, record_id(self._settings.authority, event.meta.id)
        )
        known_nodes = () if stored is None else stored.record.nodes
        nodes = known_nodes or nodes_of(event.targets, self._settings, _NOBODY)
        if not nodes:
            raise InvalidInput("targets", "name none of our nodes")
        schedule = plan(event, seen.first_seen, _unmoved, period_repeats=self._settings.dialect is Dialect.V301)
        known = replace(seen, schedule=schedule, nodes=nodes)
        translation = translate(known, schedule, self._settings, raw.received_at)
        if not translation.intervals and translation.findings:
            raise InvalidInput("event", translation.findings[0].text)
        receipt = Receipt(raw_signal=raw.id, received_at=raw.received_at)
        return grid_event(known, schedule, translation, self._settings, receipt)


def _contents(content: Json) -> Iterator[Mapping[str, Json]]:
    """Give out the events of a stored message: a list of pages, each a list of objects."""
    for page in content if isinstance(content, list) else [content]:
        for one in page if isinstance(page, list) else [page]:
            if isinstance(one, Mapping):
                yield one


def _said(event_id: str, version: int, problem: str) -> RereadEvent:
    return RereadEvent(event_id=event_id, modification=version, problem=problem, event=None)


def _unmoved(_name: str) -> float:
    return 0.0
