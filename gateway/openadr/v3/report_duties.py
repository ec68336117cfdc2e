"""Report duties: what an event asks for, how it is answered, and how far it is; what has changed and what is over."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.domain.errors import InvalidInput
from gateway.domain.programs import ReportDuty
from gateway.openadr.profiles.pack import ReportDemand
from gateway.openadr.v3.companion import KnownEvent
from gateway.openadr.v3.report_content import Entry
from gateway.openadr.v3.report_descriptors import AD_HOC, FOR_EVER, problem_of, timing_of, write_descriptor
from gateway.openadr.v3.report_schedule import Course, course_of, first_number, is_ad_hoc, report_due, resumed_number
from gateway.openadr.v3.report_sources import Answer, Source, answer_to
from gateway.openadr.v3.settings import VenSettings
from gateway.openadr.v3.standing import Standing
from gateway.openadr.v3.targeting import nodes_of
from gateway.openadr.v3.wire import AGGREGATED, ReportDescriptor

_UNASKED = ReportDescriptor(payload_type="OPERATING_STATE", frequency=AD_HOC, repeat=FOR_EVER)
"""What is told where nobody asked, see `VenSettings.unasked_errors`."""
_STATES = frozenset({Source.STATE, Source.OPERATION})
Demands = Mapping[str, ReportDemand]
"""What a program's profile says about its reports, by payload type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Descriptors of an event that share their reports, because they agree in everything but what is measured."""

    known: KnownEvent
    descriptor: ReportDescriptor
    """The first of them."""
    course: Course | None
    answers: tuple[Answer, ...]
    entries: tuple[Entry, ...]
    duties: tuple[ReportDuty, ...]
    """In order of their places in the event; all equally far."""

    @property
    def key(self) -> str:
        """Id of the first duty, which stands for all."""
        return self.duties[0].id

    @property
    def number(self) -> int:
        """Number of the next report."""
        return self.duties[0].sent_count

    @property
    def is_on_receipt(self) -> bool:
        """Whether it is one report, as soon as the event has arrived."""
        return self.answers[0].on_receipt

    @property
    def is_ad_hoc(self) -> bool:
        """Whether the moments are ours to choose."""
        return not self.is_on_receipt and is_ad_hoc(self.descriptor, self.course)

    @property
    def is_unasked(self) -> bool:
        """Whether the event does not ask for it: an error of an event under way is told all the same."""
        return self.duties[0].index >= len(self.known.event.report_descriptors)

    def is_over(self, number: int) -> bool:
        """Tell whether there is no report of a number."""
        if self.is_on_receipt:
            return number > 0
        if self.is_ad_hoc:
            return self.descriptor.repeat != FOR_EVER and number >= self.descriptor.repeat
        return report_due(self.descriptor, self.course, number) is None

    def after(self, number: int, until: datetime | None, told: str | None = None) -> "Group":
        """Return the group once a report is made up.

        Args:
            number: The report's number.
            until: End of its last interval; None leaves it as it is.
            told: What it tells that only a change is told of; None leaves it as it is.
        """
        is_over = self.is_over(number + 1)
        duties = tuple(
            replace(
                duty,
                sent_count=number + 1,
                reported_until=until or duty.reported_until,
                last_content=duty.last_content if told is None else told,
                is_finished=is_over,
            )
            for duty in self.duties
        )
        return replace(self, duties=duties)


class DutyBook:
    """Turns an event's descriptors into duties, and duties that are answered together into groups.

    Args:
        settings: Our names and nodes.
        demands_of: What the profile of an event's program says about its reports.
        standing: Returns our ven and resources with their granted targets.
    """

    def __init__(
        self, settings: VenSettings, demands_of: Callable[[KnownEvent], Demands], standing: Callable[[], Standing]
    ) -> None:
        self._settings = settings
        self._demands_of = demands_of
        self._standing = standing

    def of(
        self, known: KnownEvent, held: Mapping[str, ReportDuty], now: datetime
    ) -> tuple[list[Group], list[ReportDuty]]:
        """Return what an event asks for.

        Args:
            known: The event.
            held: Its duties as they were, by id.
            now: Of reports whose time has passed when an event is first seen, only the latest is made.

        Returns:
            What is still to be answered, and all duties as they should be kept, also those that are over or not answered.
        """
        groups = self._grouped(known, held, now)
        grouped = {duty.id: duty for group in groups for duty in group.duties}
        duties = [
            grouped.get(self._id(known, index)) or self._unanswered(known, index, descriptor)
            for index, descriptor in enumerate(self.descriptors(known))
        ]
        return [group for group in groups if not group.duties[0].is_finished], duties

    def ids(self, known: KnownEvent) -> list[str]:
        """Return the ids of an event's duties."""
        return [self._id(known, index) for index in range(len(self.descriptors(known)))]

    def descriptors(self, known: KnownEvent) -> tuple[ReportDescriptor, ...]:
        """Return what an event asks for, and after that what is told of it unasked."""
        asked = known.event.report_descriptors
        if not (self._settings.unasked_errors and known.nodes):
            return asked
        demands = self._demands_of(known)
        return asked if any(_tells_state(one, demands) for one in asked) else (*asked, _UNASKED)

    def _id(self, known: KnownEvent, index: int) -> str:
        return f"{self._settings.authority}:{known.event.meta.id}:{index}"

    def _grouped(self, known: KnownEvent, held: Mapping[str, ReportDuty], now: datetime) -> list[Group]:
        course = course_of(known.event, known.schedule)
        demands = self._demands_of(known)
        members: dict[object, list[tuple[int, ReportDescriptor, Answer]]] = {}
        asked_count = len(known.event.report_descriptors)
        for index, descriptor in enumerate(self.descriptors(known)):
            if problem_of(descriptor) is not None:
                continue
            try:
                answer = answer_to(descriptor, demands)
            except InvalidInput:
                continue
            if self._entries(known, descriptor, answer):
                key = (index >= asked_count, *_shared(descriptor, answer))
                members.setdefault(key, []).append((index, descriptor, answer))
        return [self._group(known, course, found, held, now) for found in members.values()]

    def _group(
        self,
        known: KnownEvent,
        course: Course | None,
        members: Sequence[tuple[int, ReportDescriptor, Answer]],
        held: Mapping[str, ReportDuty],
        now: datetime,
    ) -> Group:
        _, descriptor, answer = members[0]
        duties = tuple(self._duty(known, index, descriptor) for index, descriptor, _ in members)
        group = Group(
            known=known,
            descriptor=descriptor,
            course=course,
            answers=tuple(answer for _, _, answer in members),
            entries=self._entries(known, descriptor, answer),
            duties=duties,
        )
        before = [held[duty.id] for duty in duties if duty.id in held and not held[duty.id].problem]
        return replace(group, duties=tuple(_progressed(group, duty, before, now) for duty in duties))

    def _duty(self, known: KnownEvent, index: int, descriptor: ReportDescriptor) -> ReportDuty:
        return ReportDuty(
            id=self._id(known, index),
            tenant=self._settings.tenant,
            authority=self._settings.authority,
            event_id=known.event.meta.id,
            version=known.version,
            index=index,
            descriptor=write_descriptor(descriptor),
        )

    def _unanswered(self, known: KnownEvent, index: int, descriptor: ReportDescriptor) -> ReportDuty:
        problem = problem_of(descriptor)
        if problem is None:
            try:
                answer_to(descriptor, self._demands_of(known))
                problem = "targets name nothing of ours"
            except InvalidInput as error:
                problem = str(error)
        return replace(self._duty(known, index, descriptor), problem=problem, is_finished=True)

    def _entries(self, known: KnownEvent, descriptor: ReportDescriptor, answer: Answer) -> tuple[Entry, ...]:
        nodes = known.nodes
        if descriptor.targets:
            nodes = nodes_of(descriptor.targets, self._settings, self._standing())
        is_sum = descriptor.aggregate or answer.source is Source.RECEIPT or answer.step is not None
        return entries_of(self._settings, nodes, is_sum=is_sum)


def _tells_state(descriptor: ReportDescriptor, demands: Demands) -> bool:
    try:
        return problem_of(descriptor) is None and answer_to(descriptor, demands).source in _STATES
    except InvalidInput:
        return False


def _shared(descriptor: ReportDescriptor, answer: Answer) -> tuple[object, ...]:
    """Return what descriptors must agree in to share their reports."""
    if answer.on_receipt:
        return ("on receipt", descriptor.targets, answer.report_name)
    return (*timing_of(descriptor), answer.report_name, answer.step)


def _progressed(group: Group, duty: ReportDuty, before: Sequence[ReportDuty], now: datetime) -> ReportDuty:
    """Return a duty as far as it is: as before, going on after what was reported, or from its first report."""
    furthest = max(before, key=lambda old: old.sent_count, default=None)
    if furthest is None or (group.is_on_receipt and furthest.version != duty.version):
        number = 0 if group.is_on_receipt else first_number(group.descriptor, group.course, now)
        return replace(duty, sent_count=number, is_finished=group.is_over(number))
    number = furthest.sent_count
    is_same = furthest.version == duty.version or group.is_on_receipt or group.is_ad_hoc
    if not is_same and furthest.reported_until is not None:
        number = resumed_number(group.descriptor, group.course, furthest.reported_until)
    elif not is_same:
        number = first_number(group.descriptor, group.course, now)
    return replace(
        duty,
        sent_count=number,
        reported_until=furthest.reported_until,
        report_id=furthest.report_id,
        last_content=furthest.last_content,
        is_finished=group.is_over(number),
    )


def entries_of(settings: VenSettings, nodes: Sequence[str], *, is_sum: bool) -> tuple[Entry, ...]:
    """Return the resources of a report about some nodes.

    Args:
        settings: Names of our resources and nodes.
        nodes: What the report is about.
        is_sum: One sum instead of each resource.
    """
    if not nodes:
        return ()
    if is_sum:
        return (Entry(name=AGGREGATED, nodes=tuple(nodes)),)
    if settings.resources and set(nodes) == set(settings.own_nodes):
        return tuple(Entry(name=one.name, nodes=(one.node,)) for one in settings.resources)
    names = {node: target for target, node in settings.nodes.items()}
    names |= {one.node: one.name for one in settings.resources}
    own = {settings.own_nodes[0]: settings.ven_name} if len(settings.own_nodes) == 1 else {}
    return tuple(Entry(name=names.get(node) or own.get(node) or node, nodes=(node,)) for node in nodes)
