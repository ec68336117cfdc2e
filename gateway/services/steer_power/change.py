"""One change of one limitation: its state, the orders that begin and end, the limits that follow, and what the audit says."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Principal
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.steering import Limitation, LimitationRules, SteeringState
from gateway.domain.steering_orders import ORDER_ENDED, ORDER_OPENED, OrderKind, SteeringOrder, detail_of
from gateway.domain.timegrid import Interval
from gateway.ports import Batch, Ids, Put, StatedLimits
from gateway.services.steer_power.settings import SteeringBox

_ENDS = {
    "LPC-901/1": "the gateway was started anew",
    "LPC-904": "the box says a limit",
    "LPC-905": "the box says that there is no limit",
    "LPC-906": "the box said nothing after our start",
    "LPC-908": "its duration is over",
    "LPC-909": "the box took it back",
    "LPC-911": "the box fell silent",
    "LPC-912": "the box fell silent",
    "LPC-919": "the box says a limit again",
    "LPC-920": "the box says again that there is no limit",
    "LPC-921": "the box is heard again and says no limit",
    "LPC-922": "the minimum duration of the failsafe is over",
}
STATE_CHANGED = "steering.state"
"""Action of the audit entry that every transition leaves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a box asked for."""

    kind: OrderKind
    request_id: str
    content: str
    """Hash of it."""
    ordered_kw: float | None
    duration: timedelta | None


class Change:
    """Gathers what becomes true together; `stated` gives it out."""

    def __init__(
        self,
        *,
        box: SteeringBox,
        limitation: Limitation,
        order: SteeringOrder | None,
        ids: Ids,
        principal: Principal,
        now: datetime,
    ) -> None:
        """Begin with what holds.

        Args:
            box: Whose limitation.
            limitation: Where it is.
            order: The last order; None before the first.
            ids: Ids of orders, limits and audit entries.
            principal: Who acts.
            now: The instant.
        """
        self.limitation = limitation
        self.order = order
        """The last order; it holds unless it has ended."""
        self._box = box
        self._before = limitation
        self._ids = ids
        self._principal = principal
        self._now = now
        self._orders: dict[str, SteeringOrder] = {}
        self._entries: list[AuditEntry] = []

    @property
    def rules(self) -> LimitationRules:
        """What was agreed for this direction."""
        return self._box.rules[self.limitation.direction]

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return self.limitation == self._before and not self._orders

    def start(self) -> None:
        """Begin anew at the failsafe, as after every start of ours."""
        self.limitation = self._before.restarted(self._now)
        self._note_state(self._before.state, self._now)
        self._end(_ENDS[self.limitation.rule], self._now)
        self._open(_by_itself(OrderKind.RESTART, self.limitation), self._now)

    def values(self, after: Limitation, asked: Asked) -> Batch:
        """Take other failsafe values; they change nothing that holds now. Return what is to be written."""
        order, self.limitation = self.order, after
        self._open(asked, self._now, applies=False)
        self.order = order
        puts = (Put(record=after), *(Put(record=one) for one in self._orders.values()))
        return Batch(tenant=self._box.tenant, puts=puts, audit=tuple(self._entries))

    def by_time(self) -> None:
        """Take every timed transition that is due by now."""
        while (after := self.limitation.next_due(self.rules, self._now)) is not None:
            self.to(after)

    def to(self, after: Limitation, asked: Asked | None = None) -> None:
        """Go to another state of the machine.

        Args:
            after: Where it is now.
            asked: What the box asked for; None for what time or a restart brought.
        """
        before, self.limitation = self.limitation, after
        at = self._now if asked is not None else after.since
        has_moved = (before.state, before.since) != (after.state, after.since)
        if has_moved:
            self._note_state(before.state, at)
        if asked is not None:
            self._end(_ENDS.get(after.rule, "") if has_moved else "replaced by the next order", at)
            self._open(asked, at)
        elif has_moved:
            self._end(_ENDS.get(after.rule, ""), at)
            if after.state is SteeringState.FAILSAFE:
                self._open(_by_itself(OrderKind.FAILSAFE, after), at)

    def stated(self) -> StatedLimits:
        """Return what the limit desk is told: limits, rows and audit in one batch."""
        before = self._before
        is_same = before.bounds(self.rules, self._now) == self.limitation.bounds(self.rules, self._now)
        if not (is_same and not self._orders and before.limit_ids):
            limits = tuple(self._limits())
            order = "" if self.order is None else self.order.id
            self.limitation = replace(self.limitation, order=order, limit_ids=tuple(limit.id for limit in limits))
        else:
            limits = ()
        return StatedLimits(
            authority=self._box.authority,
            raw=None,
            limits=limits,
            withdrawn=tuple(name for name in before.limit_ids if name not in self.limitation.limit_ids),
            puts=(Put(record=self.limitation), *(Put(record=order) for order in self._orders.values())),
            audit=tuple(self._entries),
        )

    # ---------------------------------------------------------------- inside

    def _open(self, asked: Asked, at: datetime, *, applies: bool = True) -> None:
        after = self.limitation
        name = asked.request_id or self._ids.new("order")
        order = SteeringOrder(
            id=f"{after.box}/{name}",
            tenant=after.tenant,
            box=after.box,
            node=self._box.node,
            direction=after.direction,
            kind=asked.kind,
            request_id=asked.request_id,
            content=asked.content,
            received_at=at,
            ordered_kw=asked.ordered_kw,
            duration=asked.duration,
            applied_kw=after.in_force_kw(self.rules, self._now) if applies else None,
            state=after.state,
            rule=after.rule,
        )
        self._note(ORDER_OPENED, ("steering-order", order.id), detail_of(order), order.request_id)
        self.order = self._orders[order.id] = order
        if order.applied_kw is None:
            self._end("nothing is limited by it", at)

    def _end(self, reason: str, at: datetime) -> None:
        if self.order is None or not self.order.is_open:
            return
        self.order = self._orders[self.order.id] = self.order.ended(at, reason)
        self._entries.append(end_entry(self._ids, self._principal, self._now, self.order))

    def _note_state(self, before: SteeringState, at: datetime) -> None:
        after = self.limitation
        detail = {"from": before.value, "to": after.state.value, "rule": after.rule, "at": at.isoformat()}
        self._note(STATE_CHANGED, ("limitation", after.id), detail)

    def _limits(self) -> Iterator[Limit]:
        start = self._now
        after, order = self.limitation, self.order
        is_import = after.direction is Direction.IMPORT
        for bound in after.bounds(self.rules, self._now):
            yield Limit(
                id=self._ids.new("limit"),
                tenant=after.tenant,
                authority=self._box.authority,
                node=self._box.node,
                direction=after.direction,
                kind=LimitKind.LIMIT,
                binding=Binding.MANDATORY,
                max_kw=bound.max_kw,
                interval=Interval(start=start, end=bound.end),
                cause="" if order is None else f"steering-order:{order.id}",
                known_at=self._now,
                reason=self._reason(bound.max_kw),
                guaranteed_kw=self.rules.guaranteed_kw if is_import else 0.0,
                is_at_grid=self._box.is_section_14a,
            )
            if bound.end is not None:
                start = bound.end

    def _reason(self, applied_kw: float) -> str:
        after = self.limitation
        match after.state:
            case SteeringState.INIT:
                return "failsafe until the steering box says its limit"
            case SteeringState.FAILSAFE:
                return f"failsafe, the steering box is silent since {after.since:%Y-%m-%d %H:%M}Z"
            case _ if after.limit_kw is not None and after.limit_kw < applied_kw:
                return f"{after.limit_kw:g} kW ordered, {applied_kw:g} kW are guaranteed"
            case _:
                return "ordered by the steering box"

    def _note(self, action: str, thing: tuple[str, str], detail: dict[str, str], request_id: str = "") -> None:
        entry = entry_of(self._ids, self._principal, self._now, action, thing, detail)
        self._entries.append(replace(entry, request_id=request_id))


def _by_itself(kind: OrderKind, after: Limitation) -> Asked:
    """Return what nobody asked for: the failsafe."""
    return Asked(kind=kind, request_id="", content="", ordered_kw=after.failsafe_kw, duration=None)


def entry_of(
    ids: Ids, principal: Principal, now: datetime, action: str, thing: tuple[str, str], detail: dict[str, str]
) -> AuditEntry:
    """Return an audit entry about a thing, given as kind and id."""
    return AuditEntry(
        id=ids.new("audit"),
        tenant=principal.tenant,
        at=now,
        actor=principal.actor,
        action=action,
        object_kind=thing[0],
        object_id=thing[1],
        detail=detail,
    )


def end_entry(ids: Ids, principal: Principal, now: datetime, order: SteeringOrder) -> AuditEntry:
    """Return the audit entry of the end of an order."""
    at = now if order.ended_at is None else order.ended_at
    detail = {"ended_at": at.isoformat(), "reason": order.end_reason}
    return entry_of(ids, principal, now, ORDER_ENDED, ("steering-order", order.id), detail)
