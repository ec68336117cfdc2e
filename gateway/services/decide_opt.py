"""Whether we follow an event: by policy at once, or by a person later.

```
 must be followed (binding event, mandatory program), test  ->  optIn
 only informs (prices, carbon, alerts, contracts)           ->  optIn
 inside a time that we declared not to be available in      ->  optOut, with the reason
 too short notice, too many a day, a guarantee at risk      ->  optOut, with the reason
 `capacity`: more than the fleet can deliver                ->  optOut, with the reason
 `ask`: otherwise the program's default answer, at once     ->  a person may decide otherwise until a deadline
 `auto`: otherwise                                          ->  optIn
```

The answer is never late: OpenADR 2.0b wants it before the next poll, so a person changes an answer that was given. After the deadline
the answer given stands. The reason is one sentence and the same for the partner, over gRPC and on the page. What is declared about
our availability counts for events that are decided after it; an answer that was given is changed by a person only.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from gateway.domain.errors import InvalidInput, NotFound, PreconditionFailed, StorageUnavailable
from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import Direction, Limit, LimitKind
from gateway.domain.programs import OptDecision, OptSchedule
from gateway.domain.random_delay import mean_share
from gateway.domain.signals import BINDING_INSTRUCTIONS, EventStatus, GridEvent, Instruction, OptType
from gateway.domain.timegrid import Interval
from gateway.observe import logger
from gateway.ports import Clock, Store
from gateway.wakeup import woken_by

_BY_POLICY = "policy"
_LOOK_AGAIN = timedelta(minutes=1)
"""A wake-up that got lost costs no more than this."""
_TO_MINUTES = "%Y-%m-%d %H:%MZ"
_log = logger("decide_opt")


class OptMode(StrEnum):
    """Who decides on the events of a program."""

    AUTO = "auto"
    """Follow whatever the agreement and the drivers' guarantees allow."""
    ASK = "ask"
    """Give the default answer at once; a person may decide otherwise until a deadline."""
    CAPACITY = "capacity"
    """Like `auto`, and opt out when the fleet cannot deliver what is asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptRules:
    """What we agreed with one authority, or for one program of it."""

    mode: OptMode = OptMode.AUTO
    default_answer: OptType | None = None
    """Of mode `ask`, where nothing stands against the event; None follows it."""
    ask_within: timedelta = timedelta(minutes=15)
    """Of mode `ask`: how long a person has, at most until the event begins."""
    is_mandatory: bool = False
    """Its events must be followed; nobody can opt out."""
    min_notice: timedelta = timedelta(0)
    """Shorter notice than this is answered optOut; zero takes events that begin at once or have begun."""
    most_events_per_day: int | None = None
    """More opted-in events that start on one UTC day are answered optOut; None for no bound."""
    protects_guarantees: bool = True
    """Answer optOut when cars that must charge now need more than the event leaves."""


ResponseLatency = Callable[[str, str, str], timedelta]
"""How long a change takes until every charger follows, by tenant, authority and node."""


def _at_once(tenant: str, authority: str, node_id: str) -> timedelta:
    """Say that changes take no time."""
    del tenant, authority, node_id
    return timedelta(0)


class FleetFacts(Protocol):
    """What the policy asks about the fleet."""

    def promised_kw(self, tenant: str, node_id: str, span: Interval) -> float:
        """Return the mean power that promises to drivers below a node need within a span, in kW."""
        ...

    def uncontrolled_kw(self, tenant: str, node_id: str) -> float:
        """Return the most that chargers below a node may be drawing that nobody can command now, in kW."""
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
    """Opted-in events by agreement and day."""

    events: dict[str, tuple[str, date]] = field(default_factory=dict)
    counts: Counter[tuple[str, date]] = field(default_factory=Counter)

    def count(self, event: GridEvent, agreement: str) -> int:
        """Return how many other events under the agreement start on the same day."""
        key = (agreement, event.active.start.date())
        return self.counts[key] - (self.events.get(event.id) == key)

    def keep(self, event: GridEvent, agreement: str) -> None:
        """Remember that we follow an event."""
        self.forget(event)
        self.events[event.id] = (agreement, event.active.start.date())
        self.counts[self.events[event.id]] += 1

    def forget(self, event: GridEvent) -> None:
        """Forget an event that is not followed."""
        key = self.events.pop(event.id, None)
        if key is not None:
            self.counts[key] -= 1

    def forget_before(self, day: date) -> None:
        """Forget events of past days."""
        if any(key[1] < day for key in self.counts):
            self.events = {name: value for name, value in self.events.items() if value[1] >= day}
            self.counts = Counter(self.events.values())


@dataclass(slots=True)
class _Remembered:
    """What the fleet said at one instant: many events of one message ask the same."""

    at: datetime | None = None
    promised_kw: dict[tuple[str, str, Interval], float] = field(default_factory=dict)
    uncontrolled_kw: dict[tuple[str, str], float] = field(default_factory=dict)

    def renew(self, now: datetime) -> None:
        """Forget what was said at another instant."""
        if self.at != now:
            self.at = now
            self.promised_kw.clear()
            self.uncontrolled_kw.clear()


class OptDecider:
    """The policy, and the door for people who decide otherwise."""

    def __init__(  # noqa: PLR0913  # whom to ask, and what was agreed
        self,
        *,
        store: Store,
        clock: Clock,
        facts: FleetFacts,
        change_opt: ChangeOpt,
        rules: Mapping[str, OptRules] | None = None,
        resource_nodes: Mapping[str, Mapping[str, str]] | None = None,
        latency: ResponseLatency = _at_once,
    ) -> None:
        """Remember whom to ask.

        Args:
            store: Rows.
            clock: Market time.
            facts: What the fleet needs and nodes can carry.
            change_opt: Who writes a person's decision.
            rules: Agreements by authority, or by `{authority}:{program}` for one program of it; others have the default ones.
            resource_nodes: Our nodes by authority and by the name under which it knows them.
            latency: How long changes that it wishes for take at a node until every charger follows.
        """
        self._store = store
        self._clock = clock
        self._facts = facts
        self._change_opt = change_opt
        self._rules = {} if rules is None else dict(rules)
        self._resource_nodes = {} if resource_nodes is None else resource_nodes
        self._latency = latency
        self._schedules: dict[str, list[OptSchedule]] = {}
        """By tenant: what was declared about our availability."""
        self._promises = _Promises()
        self._remembered = _Remembered()

    async def load(self, tenant: str) -> None:
        """Count the events of today and later that were opted in before a restart, and read when we are not available."""
        await self.refresh(tenant)
        day_start = self._clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        for row in await self._store.find(GridEvent, tenant, {"opt": OptType.OPT_IN.value}, since=day_start):
            event = row.record
            if not event.cancelled and not _follows_anyhow(event, self.rules_of(event)):
                self._promises.keep(event, self._agreement(event))

    async def refresh(self, tenant: str) -> None:
        """Read again what was declared about our availability.

        Raises:
            StorageUnavailable: What was known before still counts.
        """
        rows = await self._store.find(OptSchedule, tenant, {"event_id": ""}, newest_first=True)
        self._schedules[tenant] = [row.record for row in rows]

    async def run(self) -> None:
        """Read declarations again whenever one was written, until cancelled."""
        async with woken_by(self._store, self._clock, (OptSchedule,)) as wake:
            while True:
                for tenant in tuple(self._schedules):
                    try:
                        await self.refresh(tenant)
                    except StorageUnavailable as error:
                        _log.warning("availability_not_read", tenant=tenant, error=str(error))
                await wake.wait(self._clock.now() + _LOOK_AGAIN)

    def rules_of(self, event: GridEvent) -> OptRules:
        """Return what was agreed for an event's program, else for its authority, else the default."""
        return self._rules.get(self._agreement(event), OptRules())

    def _agreement(self, event: GridEvent) -> str:
        own = f"{event.authority}:{event.market_context}"
        return own if own in self._rules else event.authority

    def decide_now(self, event: GridEvent, limits: Sequence[Limit], now: datetime) -> OptDecision:
        """Return our answer to an event and why, from what is known now.

        Args:
            event: The event, its nodes all ours.
            limits: What follows from it when it is followed.
            now: Instant of the decision.
        """
        rules = self.rules_of(event)
        follow = _follows_anyhow(event, rules)
        if follow:
            return OptDecision(opt=OptType.OPT_IN, reason=follow)
        objection = self._objection(event, limits, rules, now)
        if objection:
            self._promises.forget(event)
            return OptDecision(opt=OptType.OPT_OUT, reason=objection)
        deadline = _deadline(event, rules, now)
        if deadline is not None and rules.default_answer is OptType.OPT_OUT:
            self._promises.forget(event)
            return OptDecision(
                opt=OptType.OPT_OUT, reason="the program is followed only when a person says so", deadline=deadline
            )
        self._promises.forget_before(now.date())
        self._promises.keep(event, self._agreement(event))
        reason = "within the agreement and the drivers' guarantees"
        return OptDecision(opt=OptType.OPT_IN, reason=reason, deadline=deadline)

    def _objection(self, event: GridEvent, limits: Sequence[Limit], rules: OptRules, now: datetime) -> str:
        if event.status(now) is EventStatus.COMPLETED:
            return "event is over"
        away = self._declared_away(event, now)
        if away:
            return away
        if rules.min_notice and event.active.start - now < rules.min_notice:
            return f"notice is shorter than {rules.min_notice}"
        most = rules.most_events_per_day
        if most is not None and self._promises.count(event, self._agreement(event)) >= most:
            return f"more than {most} events on one day"
        allowed_kw = _allowed_kw(limits)
        self._remembered.renew(now)
        at_risk = self._guarantee_at_risk(event, allowed_kw) if rules.protects_guarantees else ""
        if at_risk or rules.mode is not OptMode.CAPACITY:
            return at_risk
        return self._out_of_reach(event, allowed_kw)

    def _declared_away(self, event: GridEvent, now: datetime) -> str:
        """Return when we said not to be available, of the first declaration that an event runs into; empty when of none.

        A declaration about resources is about events that name one of their nodes: the rest of the fleet is available.
        """
        node_of = self._resource_nodes.get(event.authority, {})
        for schedule in self._schedules.get(event.tenant, ()):
            if schedule.authority != event.authority or schedule.market_context not in {"", event.market_context}:
                continue
            if schedule.resources and not any(node_of.get(name) in event.nodes for name in schedule.resources):
                continue
            window = schedule.closed_window(event.active, now)
            if window is not None and window.end is not None:
                return (
                    f"not available from {window.start:{_TO_MINUTES}} to {window.end:{_TO_MINUTES}} ({schedule.reason})"
                )
        return ""

    def _guarantee_at_risk(self, event: GridEvent, allowed_kw: Mapping[str, float]) -> str:
        for node, allowed in allowed_kw.items():
            needed_kw = self._promised_kw(event, node)
            if needed_kw > allowed:
                return (
                    f"cars at {node} were promised {needed_kw:.1f} kW in that time, the event leaves {allowed:.1f} kW"
                )
        return ""

    def _out_of_reach(self, event: GridEvent, allowed_kw: Mapping[str, float]) -> str:
        """Return why the fleet cannot deliver: nothing to reduce, or power that nobody can command; empty when it can."""
        for interval in event.intervals:
            drawn_kw = interval.baseline_kw
            if interval.instruction is Instruction.REDUCTION_KW and drawn_kw is not None and interval.value > drawn_kw:
                return f"{interval.value:.1f} kW less is asked, only {drawn_kw:.1f} kW are drawn"
        for node, allowed in allowed_kw.items():
            loose_kw = self._uncontrolled_kw(event, node)
            if loose_kw > allowed:
                return f"{loose_kw:.1f} kW at {node} cannot be commanded now, the event leaves {allowed:.1f} kW"
        return self._too_late(event)

    def _too_late(self, event: GridEvent) -> str:
        """Return why what an event wishes for comes too late; limits are kept at once, changes may be delayed at random."""
        end = event.active.end
        if end is None or not any(interval.instruction in _WISHES for interval in event.intervals):
            return ""
        lasts_s = (end - event.active.start).total_seconds()
        for node in event.nodes:
            latency_s = self._latency(event.tenant, event.authority, node).total_seconds()
            if lasts_s < latency_s:
                return (
                    f"changes at {node} reach every charger within {latency_s / 60.0:.0f} min, the event lasts "
                    f"{lasts_s / 60.0:.0f} min: {mean_share(lasts_s, latency_s):.0%} of it could be delivered"
                )
        return ""

    def _promised_kw(self, event: GridEvent, node: str) -> float:
        known, key = self._remembered.promised_kw, (event.tenant, node, event.active)
        if key not in known:
            known[key] = self._facts.promised_kw(*key)
        return known[key]

    def _uncontrolled_kw(self, event: GridEvent, node: str) -> float:
        known, key = self._remembered.uncontrolled_kw, (event.tenant, node)
        if key not in known:
            known[key] = self._facts.uncontrolled_kw(*key)
        return known[key]

    async def decide(
        self, principal: Principal, *, event_id: str, opt: OptType, reason: str, request_id: str
    ) -> GridEvent:
        """Let a person decide on an event.

        Raises:
            NotFound: There is no such event.
            InvalidInput: An opt-out without a reason.
            PreconditionFailed: It is over, must be followed, or the time to decide has passed.
        """
        principal.require(Permission.OPT_DECIDE)
        row = await self._store.get(GridEvent, principal.tenant, event_id)
        if row is None:
            raise NotFound("event", event_id)
        event = row.record
        if opt is OptType.OPT_OUT:
            if not reason:
                raise InvalidInput("reason", "is required to opt out")
            if self.rules_of(event).is_mandatory:
                raise PreconditionFailed("events of this authority must be followed")
            if event.is_binding:
                raise PreconditionFailed("events of this program are binding and must be followed")
        self._require_time(event)
        changed = await self._change_opt(principal, event_id=event_id, opt=opt, reason=reason, request_id=request_id)
        if changed.opt is OptType.OPT_IN:
            self._promises.keep(changed, self._agreement(changed))
        else:
            self._promises.forget(changed)
        return changed

    def _require_time(self, event: GridEvent) -> None:
        is_asked = self.rules_of(event).mode is OptMode.ASK
        ends_at = event.opt_deadline
        is_closed = ends_at is None and is_asked and event.opt_by == _BY_POLICY
        if is_closed or (ends_at is not None and ends_at <= self._clock.now()):
            raise PreconditionFailed("the time to decide has passed; the answer given stands")


def _follows_anyhow(event: GridEvent, rules: OptRules) -> str:
    """Return why an event is answered optIn whatever the fleet does; empty when that is to be decided."""
    if event.test_event:
        return "test event: answered, not dispatched"
    if event.is_binding:
        return "the program's events are binding"
    if rules.is_mandatory:
        return "program is mandatory"
    asks = {interval.instruction for interval in event.intervals}
    if asks and not asks & (BINDING_INSTRUCTIONS | _WISHES):
        return "the event informs and limits nothing"
    return ""


_WISHES = frozenset({Instruction.TARGET_KW, Instruction.TARGET_DELTA_KW})


def _deadline(event: GridEvent, rules: OptRules, now: datetime) -> datetime | None:
    """Return until when a person may decide; None where nobody is asked or the event has begun."""
    if rules.mode is not OptMode.ASK or event.active.start <= now:
        return None
    return min(now + rules.ask_within, event.active.start)


def _allowed_kw(limits: Sequence[Limit]) -> dict[str, float]:
    """Return the least that an event leaves each node to draw."""
    allowed: dict[str, float] = {}
    for limit in limits:
        if limit.kind is LimitKind.LIMIT and limit.direction is Direction.IMPORT:
            allowed[limit.node] = min(allowed.get(limit.node, limit.max_kw), limit.max_kw)
    return allowed
