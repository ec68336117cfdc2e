"""Whether we follow an event: by policy at once, or by a person later.

The policy protects what drivers were promised: a voluntary event that leaves less power than the cars that must charge now need is
answered optOut. Mandatory programs and tests are always answered optIn.
"""

from collections import Counter
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Protocol

from gateway.domain.errors import InvalidInput, NotFound, PreconditionFailed
from gateway.domain.identity import Permission, Principal
from gateway.domain.signals import EventStatus, GridEvent, Instruction, OptType
from gateway.domain.timegrid import Interval
from gateway.ports import Clock, Store


@dataclass(frozen=True, kw_only=True, slots=True)
class OptRules:
    """What we agreed with one authority."""

    is_mandatory: bool = False
    """Its events must be followed; nobody can opt out."""
    min_notice: timedelta = timedelta(0)
    """Shorter notice than this is answered optOut; zero takes events that begin at once or have begun."""
    most_events_per_day: int | None = None
    """More opted-in events that start on one UTC day are answered optOut; None for no bound."""
    protects_guarantees: bool = True
    """Answer optOut when cars that must charge now need more than the event leaves."""
    simple_fraction: tuple[float, float, float, float] = (1.0, 0.7, 0.4, 0.0)
    """Most that may be drawn at SIMPLE levels 0 to 3, as a fraction of the node's rating."""


class FleetFacts(Protocol):
    """What the policy asks about the fleet."""

    def rating_kw(self, tenant: str, node_id: str) -> float:
        """Return the import rating of a node in kW."""
        ...

    def promised_kw(self, tenant: str, node_id: str, span: Interval) -> float:
        """Return the mean power that promises to drivers below a node need within a span, in kW."""
        ...


class ChangeOpt(Protocol):
    """Who keeps events and their limits; implemented by `services.gather_signals`."""

    def __call__(
        self, principal: Principal, *, event_id: str, opt: OptType, reason: str, request_id: str
    ) -> Awaitable[GridEvent]:
        """Change our answer to an event."""
        ...


@dataclass(kw_only=True, slots=True)
class _Promises:
    """Opted-in events by authority and day."""

    events: dict[str, tuple[str, date]] = field(default_factory=dict)

    def count(self, event: GridEvent) -> int:
        """Return how many other events of the authority start on the same day."""
        key = (event.authority, event.active.start.date())
        return Counter(value for name, value in self.events.items() if name != event.id)[key]

    def keep(self, event: GridEvent) -> None:
        """Remember that we follow an event."""
        self.events[event.id] = (event.authority, event.active.start.date())

    def forget_before(self, day: date) -> None:
        """Forget events of past days."""
        self.events = {name: value for name, value in self.events.items() if value[1] >= day}


class OptDecider:
    """The policy, and the door for people who decide otherwise."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        facts: FleetFacts,
        change_opt: ChangeOpt,
        rules: Mapping[str, OptRules] | None = None,
    ) -> None:
        """Remember whom to ask.

        Args:
            store: Rows.
            clock: Market time.
            facts: What the fleet needs and nodes can carry.
            change_opt: Who writes a person's decision.
            rules: Agreements by authority; an authority without an entry has the default ones.
        """
        self._store = store
        self._clock = clock
        self._facts = facts
        self._change_opt = change_opt
        self._rules = {} if rules is None else dict(rules)
        self._promises = _Promises()

    async def load(self, tenant: str) -> None:
        """Count the events of today and later that were opted in before a restart."""
        day_start = self._clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        for row in await self._store.find(GridEvent, tenant, {"opt": OptType.OPT_IN.value}, since=day_start):
            self._promises.keep(row.record)

    def decide_now(self, event: GridEvent, now: datetime) -> tuple[OptType, str]:
        """Return our answer to an event and why, from what is known now.

        Args:
            event: The event, its nodes all ours.
            now: Instant of the decision.
        """
        rules = self._rules.get(event.authority, OptRules())
        if event.test_event:
            return OptType.OPT_IN, "test event: answered, not dispatched"
        if rules.is_mandatory:
            return OptType.OPT_IN, "program is mandatory"
        objection = self._objection(event, rules, now)
        if objection:
            return OptType.OPT_OUT, objection
        self._promises.forget_before(now.date())
        self._promises.keep(event)
        return OptType.OPT_IN, "within the agreement and the drivers' guarantees"

    def _objection(self, event: GridEvent, rules: OptRules, now: datetime) -> str:
        if event.status(now) is EventStatus.COMPLETED:
            return "event is over"
        if rules.min_notice and event.active.start - now < rules.min_notice:
            return f"notice is shorter than {rules.min_notice}"
        most = rules.most_events_per_day
        if most is not None and self._promises.count(event) >= most:
            return f"more than {most} events on one day"
        return self._guarantee_at_risk(event, rules) if rules.protects_guarantees else ""

    def _guarantee_at_risk(self, event: GridEvent, rules: OptRules) -> str:
        for node in event.nodes:
            allowed_kw = min(
                (self._allowed_kw(event, i.instruction, i.value, node, rules) for i in event.intervals),
                default=float("inf"),
            )
            needed_kw = self._facts.promised_kw(event.tenant, node, event.active)
            if needed_kw > allowed_kw:
                return f"cars at {node} were promised {needed_kw:.1f} kW in that time, the event leaves {allowed_kw:.1f} kW"
        return ""

    def _allowed_kw(
        self, event: GridEvent, instruction: Instruction, value: float, node: str, rules: OptRules
    ) -> float:
        rating_kw = self._facts.rating_kw(event.tenant, node)
        match instruction:
            case Instruction.IMPORT_LIMIT_KW:
                return value
            case Instruction.IMPORT_LIMIT_FRACTION:
                return value * rating_kw
            case Instruction.SIMPLE_LEVEL:
                return rules.simple_fraction[int(value)] * rating_kw
            case Instruction.REDUCTION_KW:
                baselines = [
                    i.baseline_kw for i in event.intervals if i.instruction is instruction and i.value == value
                ]
                return float("inf") if baselines[0] is None else max(0.0, baselines[0] - value)
            case _:
                return float("inf")

    async def decide(
        self, principal: Principal, *, event_id: str, opt: OptType, reason: str, request_id: str
    ) -> GridEvent:
        """Let a person decide on an event.

        Raises:
            NotFound: There is no such event.
            InvalidInput: An opt-out without a reason.
            PreconditionFailed: It is over, or must be followed.
        """
        principal.require(Permission.OPT_DECIDE)
        row = await self._store.get(GridEvent, principal.tenant, event_id)
        if row is None:
            raise NotFound("event", event_id)
        if opt is OptType.OPT_OUT and not reason:
            raise InvalidInput("reason", "is required to opt out")
        rules = self._rules.get(row.record.authority, OptRules())
        if opt is OptType.OPT_OUT and rules.is_mandatory:
            raise PreconditionFailed("events of this authority must be followed")
        return await self._change_opt(principal, event_id=event_id, opt=opt, reason=reason, request_id=request_id)
