"""Reports of a 3.x VEN: made up when they are due, on disk before they are sent, sent once, through outages and restarts.

```
 event ──descriptors──> duties ──due──> looked up ──> PendingReport and duty on disk ──> POST ──> acknowledged
                                                                                          409 └──> PUT
```

Each report has a name of its own, made of its event, its place there, the event's version and a number; it never changes.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from gateway.domain.errors import NotFound, Unavailable
from gateway.domain.programs import PendingReport, ReportDuty
from gateway.domain.signals import GridEvent
from gateway.observe import logger
from gateway.openadr.profiles.meaning import baseline_of
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.companion import KnownEvent
from gateway.openadr.v3.report_content import Content, Outline, compose, moment_of, registration
from gateway.openadr.v3.report_duties import Demands, DutyBook, Group
from gateway.openadr.v3.report_facts import FactFinder, Yardstick
from gateway.openadr.v3.report_schedule import Slot, report_due, report_slots
from gateway.openadr.v3.report_sending import ReportSender
from gateway.openadr.v3.report_sources import MOMENTARY, TOLD_ON_CHANGE, Answer, Source
from gateway.openadr.v3.standing import Standing
from gateway.openadr.v3.surroundings import Surroundings
from gateway.openadr.v3.translate import record_id
from gateway.openadr.v3.understanding import GateOf
from gateway.ports import StatusDesk, UsageDesk

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_AT_ONCE = 20
"""Reports of one duty that are made up in one turn; a longer backlog takes several."""
_DIGEST_DIGITS = 16
_log = logger("openadr")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSettings:
    """How reports are made where the specification leaves it to us. Market time."""

    part: timedelta = timedelta(minutes=15)
    """Length of intervals that are ours, and of parts of the event's."""
    patience: timedelta = timedelta(minutes=5)
    """How long after an interval its last readings are waited for."""
    look_every: timedelta = timedelta(minutes=1)
    """How often to look whether something is known, or has changed."""
    ad_hoc_every: timedelta = timedelta(minutes=15)
    """How often measured values are reported where the moment is ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportPorts:
    """Where reports find out what they say."""

    usage_desk: UsageDesk
    standing: Callable[[], Standing]
    """Returns our ven and resources as the VTN has them."""
    status_desk: StatusDesk | None = None
    """None where nobody can say how chargers are."""
    gate_of: GateOf | None = None
    """Profiles of programs; None for none."""


class ReportEngine:
    """Answers the report descriptors of one VTN's events; a `companion.Companion`.

    Args:
        around: Settings and ports of the VEN.
        client: Speaks to the VTN.
        ports: Where values come from.
        settings: What is left to us.
    """

    def __init__(
        self, around: Surroundings, client: VtnClient, ports: ReportPorts, settings: ReportSettings | None = None
    ) -> None:
        self._around = around
        self._settings = settings or ReportSettings()
        self._gate_of = ports.gate_of
        self._facts = FactFinder(ports.usage_desk, ports.status_desk, around.principal)
        self._book = DutyBook(around.settings, self._demands_of, ports.standing)
        self._sender = ReportSender(around, client)
        self._duties: dict[str, ReportDuty] = {}
        self._groups: dict[str, Group] = {}
        self._look_at: dict[str, datetime] = {}
        self._known: tuple[KnownEvent, ...] = ()

    # ---------------------------------------------------------------- what others ask

    @property
    def pending_count(self) -> int:
        """How many reports the VTN has not taken yet."""
        return len(self._sender.pending)

    @property
    def pending(self) -> Sequence[PendingReport]:
        """Reports that the VTN has not taken yet, oldest first."""
        return self._sender.pending

    @property
    def unanswered(self) -> dict[str, str]:
        """Why nothing is reported, by duty, of the events that the VTN has now."""
        return {duty.id: duty.problem for duty in self._duties.values() if duty.problem}

    async def register_resources(
        self, program_id: str, group_id: str, resource_ids: Sequence[str], *, is_removal: bool = False
    ) -> PendingReport:
        """Ask to register resources into a resource group, or to take them out (NL-Flex), and return the report.

        Args:
            program_id: The program whose reporting anchor event is used.
            group_id: The VTN's object id of the group.
            resource_ids: The VTN's object ids of the resources.
            is_removal: Take them out.

        Raises:
            NotFound: The program has no event that asks for such reports.
            StorageUnavailable: Nothing was kept.
        """
        word = "DE_REGISTRATION_REQUEST" if is_removal else "REGISTRATION_REQUEST"
        for known in self._known:
            wanted = {descriptor.payload_type for descriptor in known.event.report_descriptors}
            if known.event.program_id == program_id and word in wanted:
                report = registration(
                    known.event.meta.id,
                    program_id,
                    self._around.settings.ven_name,
                    group_id,
                    resource_ids,
                    is_removal=is_removal,
                )
                report_id = f"{self._around.settings.authority}:{self._around.ids.new('registration')}"
                pending = self._sender.pend(report_id, known.event.meta.id, report)
                await self._around.keep(pending)
                self._sender.add(pending)
                return pending
        raise NotFound("event that asks for", word)

    # ---------------------------------------------------------------- Companion

    async def load(self) -> None:
        """Take up duties and unsent reports of an earlier run."""
        settings = self._around.settings
        rows = await self._around.store.find(
            ReportDuty, settings.tenant, {"authority": settings.authority}, newest_first=True
        )
        self._duties = {row.record.id: row.record for row in rows}
        await self._sender.load()

    async def take(self, events: Sequence[KnownEvent]) -> None:
        """Bring duties in line with the events that the VTN has now; those of an event that is gone are over."""
        now = self._around.clock.now()
        groups: dict[str, Group] = {}
        duties: dict[str, ReportDuty] = {}
        for known in events:
            if self._book.descriptors(known):
                found, kept = self._book.of(known, await self._held(known), now)
                groups |= {group.key: group for group in found}
                duties |= {duty.id: duty for duty in kept}
        gone = [duty for key, duty in self._duties.items() if key not in duties and not duty.is_finished]
        changed = [duty for key, duty in duties.items() if self._duties.get(key) != duty]
        await self._around.keep(*changed, *(replace(duty, is_finished=True) for duty in gone))
        for duty in changed:
            if duty.problem:
                _log.warning("report not answered", authority=duty.authority, duty=duty.id, problem=duty.problem)
        self._known, self._groups, self._duties = tuple(events), groups, duties
        self._look_at = {key: at for key, at in self._look_at.items() if key in groups}

    async def _held(self, known: KnownEvent) -> dict[str, ReportDuty]:
        """Return an event's duties as they were, also those that an earlier run left so long ago that they were not taken up."""
        held = {key: duty for key, duty in self._duties.items() if duty.event_id == known.event.meta.id}
        for key in self._book.ids(known):
            if key not in held:
                row = await self._around.store.get(ReportDuty, self._around.settings.tenant, key)
                if row is not None:
                    held[key] = row.record
        return held

    async def act(self) -> None:
        """Make up what is due and send what is made up; what fails is tried again and harms nothing else.

        Raises:
            StorageUnavailable: Something could not be kept.
        """
        for key in list(self._groups):
            await self._make(key)
        for pending, report_id in await self._sender.send_due():
            await self._note(pending.request, report_id)

    def next_due(self) -> datetime | None:
        """Return when something is to be made up or sent."""
        dues = [due for key in self._groups if (due := self._due_at(key)) is not None]
        sending = self._sender.next_due()
        return min(dues if sending is None else [*dues, sending], default=None)

    # ---------------------------------------------------------------- making up

    def _demands_of(self, known: KnownEvent) -> Demands:
        gate = None if self._gate_of is None else self._gate_of(known.program)
        return {} if gate is None else {demand.payload: demand for demand in gate.profile.reports}

    def _due_at(self, key: str) -> datetime | None:
        """Return when to look at a group; None when it is never due."""
        group, now = self._groups[key], self._around.clock.now()
        if group.is_on_receipt or group.is_ad_hoc:
            return self._look_at.get(key, now)
        due = report_due(group.descriptor, group.course, group.number)
        return None if due is None else max(due.at, self._look_at.get(key, due.at))

    async def _make(self, key: str) -> None:
        for _ in range(_MOST_AT_ONCE):
            due = self._due_at(key) if key in self._groups else None
            if due is None or due > self._around.clock.now():
                return
            await self._make_one(self._groups[key])

    async def _make_one(self, group: Group) -> None:
        """Make up one report, or put it off."""
        now = self._around.clock.now()
        until: datetime | None = None
        if group.is_on_receipt or group.is_ad_hoc:
            slots: tuple[Slot, ...] = (self._own_slot(group, now),)
            deadline = now
        else:
            due = report_due(group.descriptor, group.course, group.number)
            if due is None:
                return
            slots = report_slots(group.descriptor, due.slots, self._settings.part)
            deadline = due.at + self._settings.patience
            until = due.slots[-1].end if group.descriptor.historical else None
        try:
            content = await self._look_up(group, slots, now)
        except Unavailable as error:
            self._look_at[group.key] = now + self._settings.look_every
            _log.warning("report not made", authority=self._around.settings.authority, error=str(error))
            return
        if content.missing > 0 and now < deadline:
            self._look_at[group.key] = min(now + self._settings.look_every, deadline)
            return
        if group.is_ad_hoc:
            await self._tell_change(group, content, now)
        else:
            await self._keep(group.after(group.number, until), group, content)

    def _own_slot(self, group: Group, now: datetime) -> Slot:
        """Return the interval of a report whose moment is ours: now, or the last part whose readings are surely there."""
        sources = {answer.source for answer in group.answers}
        if sources <= MOMENTARY | {Source.RECEIPT}:
            return Slot(id=0, start=now, end=now)
        part = self._settings.part
        end = _EPOCH + (now - self._settings.patience - _EPOCH) // part * part
        return Slot(id=0, start=end - part, end=end)

    async def _look_up(self, group: Group, slots: tuple[Slot, ...], now: datetime) -> Content:
        event_id = group.known.event.meta.id
        settings = self._around.settings
        stored = await self._around.store.get(GridEvent, settings.tenant, record_id(settings.authority, event_id))
        is_own = group.is_on_receipt or group.is_ad_hoc
        tolerance = self._settings.patience + self._settings.look_every
        outline = Outline(
            event_id=event_id,
            program_id=group.known.event.program_id,
            client_name=settings.ven_name,
            name=group.answers[0].report_name or self._name(group),
            answers=group.answers,
            entries=group.entries,
            slots=slots,
            moment=0 if is_own else moment_of(slots, now, tolerance),
            against=Yardstick(event=None if stored is None else stored.record, agreed_kw=self._agreed_kw(group)),
            skips=_told(group.duties[0]),
        )
        needs, measured = outline.needs(), outline.measured_slots()
        facts = {entry.name: await self._facts.find(entry.nodes, measured, needs) for entry in outline.entries}
        return compose(outline, facts)

    def _agreed_kw(self, group: Group) -> float | None:
        """Return the baseline that the partner has sent in another event, where the profile counts from one."""
        wanted = next((answer.baseline for answer in group.answers if answer.baseline), "")
        others = [known.event.content for known in self._known]
        found = baseline_of(group.known.event.content, others, wanted) if wanted else None
        return None if found is None else float(found)

    def _name(self, group: Group) -> str:
        duty = group.duties[0]
        return f"{duty.event_id}.{duty.index}.{duty.version}.{group.number}"

    async def _tell_change(self, group: Group, content: Content, now: datetime) -> None:
        """Keep a report whose moment is ours when it says something new, or when it is time again."""
        sources = {answer.source for answer in group.answers}
        is_by_change = bool(sources & TOLD_ON_CHANGE)
        pause = self._settings.look_every if is_by_change else self._settings.ad_hoc_every
        self._look_at[group.key] = now + pause
        if content.report is None:
            return
        told = _error(content) if group.is_unasked else _digest(content, group.answers)
        if group.is_unasked and not _is_under_way(group.known, now):
            return
        if Source.OPERATION in sources:
            told = json.dumps({**_told(group.duties[0]), **content.told}, sort_keys=True)
        if is_by_change and told == group.duties[0].last_content:
            return
        await self._keep(group.after(group.number, group.duties[0].reported_until, told), group, content)

    async def _keep(self, after: Group, before: Group, content: Content) -> None:
        """Make a report and the progress of its duties durable together, then let it be sent."""
        if content.report is None:
            _log.warning("nothing known to report", authority=self._around.settings.authority, duty=before.key)
            await self._around.keep(*after.duties)
        else:
            report_id = f"{self._around.settings.authority}:{self._name(before)}"
            pending = self._sender.pend(report_id, before.key, content.report)
            await self._around.keep(*after.duties, pending)
            self._sender.add(pending)
        self._duties |= {duty.id: duty for duty in after.duties}
        if after.duties[0].is_finished:
            self._groups.pop(before.key, None)
            self._look_at.pop(before.key, None)
        else:
            self._groups[before.key] = after
            if not after.is_ad_hoc:
                self._look_at.pop(before.key, None)

    async def _note(self, key: str, report_id: str) -> None:
        """Remember the VTN's id of a report it has taken."""
        duty = self._duties.get(key)
        if duty is None or not report_id:
            return
        noted = replace(duty, report_id=report_id)
        await self._around.keep(noted)
        self._duties[key] = noted
        group = self._groups.get(key)
        if group is not None:
            self._groups[key] = replace(group, duties=(noted, *group.duties[1:]))


def _is_under_way(known: KnownEvent, now: datetime) -> bool:
    schedule = known.schedule
    return schedule is not None and schedule.start <= now and (schedule.end is None or now < schedule.end)


def _error(content: Content) -> str:
    """Return what is worth a report that nobody asked for: an error; empty when there is none, which is how each event begins."""
    said = () if content.report is None else content.report.resources
    values = (v for one in said for interval in one.intervals for payload in interval.payloads for v in payload.values)
    return "ERROR" if "ERROR" in values else ""


def _told(duty: ReportDuty) -> dict[str, str]:
    """Return what each resource was last told to be, where only a change is told."""
    try:
        content = json.loads(duty.last_content) if duty.last_content else {}
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _digest(content: Content, answers: Sequence[Answer]) -> str:
    """Return what a report says that is worth a report when it changes, in a few letters."""
    if content.report is None:
        return ""
    types = {answer.payload_type for answer in answers if answer.source in TOLD_ON_CHANGE}
    said = [
        (resource.name, payload.type, [str(value) for value in payload.values])
        for resource in content.report.resources
        for interval in resource.intervals
        for payload in interval.payloads
        if payload.type in types
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:_DIGEST_DIGITS]
