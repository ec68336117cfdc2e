"""What an event means for us before it is kept: whom it may call, from which baselines, our answer, its expected effect."""

from dataclasses import replace
from datetime import datetime

from gateway.domain.authorities import require_plausible
from gateway.domain.limits import Limit
from gateway.domain.programs import OptDecision
from gateway.domain.signals import GridEvent, Instruction, OptType
from gateway.services.gather_signals.agreements import Agreements
from gateway.services.gather_signals.blocks import needs_baseline
from gateway.services.gather_signals.expectation import expected_change_kw
from gateway.services.gather_signals.programs import Circumstances, limits_of_events, must_follow
from gateway.services.gather_signals.settings import SignalSettings, SignalSources

BY_POLICY = "policy"
"""Who answered, when no person did."""
_POWERS = frozenset(
    {Instruction.IMPORT_LIMIT_KW, Instruction.IMPORT_SUBSCRIPTION_KW, Instruction.IMPORT_RESERVATION_KW}
)
"""What is stated in kW that a node may draw."""
NOT_OURS = "target is not a node of ours"
NOT_ENROLLED = "no node that it names is enrolled in the program"


class Appraiser:
    """Fills in what the gateway knows about an event."""

    def __init__(self, sources: SignalSources, settings: SignalSettings) -> None:
        """Remember whom to ask and how programs are treated."""
        self._sources = sources
        self._settings = settings

    def appraise(self, event: GridEvent, agreements: Agreements, now: datetime) -> tuple[GridEvent, str]:
        """Return the event with nodes, baselines, answer and expected effect; a text when it cannot be applied at all."""
        if not event.nodes or any(self._sources.find_node(event.tenant, node) is None for node in event.nodes):
            return event, NOT_OURS
        if self._settings.rules_of(event).requires_enrolment:
            event = replace(event, nodes=agreements.enrolled(event, max(event.active.start, now)))
            if not event.nodes:
                return event, NOT_ENROLLED
        self._check_collar(event)
        event = self._with_baselines(event, now)
        event = replace(event, is_dry_run=agreements.is_dry_run(event.authority, event.market_context))
        limits = self.limits_if_followed(event, now)
        decision = self._decide(event, limits, now)
        change = expected_change_kw(event, limits, self._sources.find_node, self._sources.expected_kw, now)
        return (
            replace(
                event,
                opt=decision.opt,
                opt_reason=decision.reason,
                opt_by=BY_POLICY,
                opt_deadline=decision.deadline,
                expected_change_kw=change,
            ),
            "",
        )

    def limits_if_followed(self, event: GridEvent, now: datetime) -> list[Limit]:
        """Return the limits that an event alone brings when it is followed, also of a test or a dry run."""
        meant = replace(event, opt=OptType.OPT_IN, test_event=False, is_dry_run=False)
        ratings = {
            node: found.max_import_kw
            for node in event.nodes
            if (found := self._sources.find_node(event.tenant, node)) is not None
        }
        around = Circumstances(rules_of=self._settings.rules_of, ratings_kw=ratings, now=now)
        return list(limits_of_events([meant], around))

    def _check_collar(self, event: GridEvent) -> None:
        """Refuse a power that no node could ever draw: a slip of W for kW would displace every true limit of the partner."""
        collar = self._settings.rules_of(event).most_times_rating
        ratings = [
            found.max_import_kw
            for name in event.nodes
            if (found := self._sources.find_node(event.tenant, name)) is not None
        ]
        for interval in event.intervals:
            if interval.instruction in _POWERS:
                require_plausible("event.interval.value", interval.value, max(ratings), collar)

    def _with_baselines(self, event: GridEvent, now: datetime) -> GridEvent:
        """Return the event with the power that its values are measured from, fixed now so that asking later loosens nothing."""
        rules = self._settings.rules_of(event)
        if not any(needs_baseline(interval, rules) for interval in event.intervals):
            return event
        baseline_kw = None if len(event.nodes) > 1 else self._sources.baseline_kw(event.tenant, event.nodes[0], now)
        intervals = (replace(i, baseline_kw=baseline_kw) if needs_baseline(i, rules) else i for i in event.intervals)
        return replace(event, intervals=tuple(intervals))

    def _decide(self, event: GridEvent, limits: list[Limit], now: datetime) -> OptDecision:
        has_no_past = any(i.instruction is Instruction.REDUCTION_KW and i.baseline_kw is None for i in event.intervals)
        if has_no_past and not must_follow(event, self._settings.rules_of(event)) and not event.test_event:
            return OptDecision(opt=OptType.OPT_OUT, reason="no baseline for a reduction")
        return self._sources.decide(event, limits, now)
