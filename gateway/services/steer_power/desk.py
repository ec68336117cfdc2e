"""The desk of steering boxes: their words become states, orders and limits on disk before they are answered; time does the rest."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from gateway.domain.errors import Conflict, InvalidInput, NotFound, RequestReused, Unavailable
from gateway.domain.evidence import content_hash, require_request_id
from gateway.domain.identity import Permission, Principal, system_principal
from gateway.domain.limits import Direction
from gateway.domain.section_14a import Relays, require_eligible
from gateway.domain.steering import Limitation, LimitWrite, new_limitation
from gateway.domain.steering_orders import ExecutionProof, OrderKind, SteeringOrder
from gateway.domain.topology import ConnectionPoint, Node
from gateway.observe import STEERING_BOXES_SILENT, logger
from gateway.ports import Batch, Clock, Ids, LimitDesk, Put, StatedLimits, Store
from gateway.services.steer_power.change import Asked, Change, end_entry
from gateway.services.steer_power.settings import PROTOCOL, SteeringBox, SteeringSettings
from gateway.services.steer_power.views import BoxView, box_view
from gateway.wakeup import WakeUp

_LOG = logger("steer_power")
_MOST_ORDERS = 10_000


@dataclass(kw_only=True, slots=True)
class _Held:
    """One box in memory."""

    box: SteeringBox
    limitations: dict[Direction, Limitation] = field(default_factory=dict)
    orders: dict[Direction, SteeringOrder] = field(default_factory=dict)
    """The last one of each direction; it holds unless it has ended."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class SteeringDesk:
    """Keeps the state machines of all boxes."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        limit_desk: LimitDesk,
        find_node: Callable[[str, str], Node | None],
        settings: SteeringSettings,
    ) -> None:
        """Remember the ports; `load` starts the machines.

        Args:
            store: Rows.
            clock: Market time.
            ids: Ids of orders, limits and audit entries.
            limit_desk: Where limits go.
            find_node: Node of a tenant by id.
            settings: The boxes.
        """
        self._store = store
        self._clock = clock
        self._ids = ids
        self._limit_desk = limit_desk
        self._find_node = find_node
        self._settings = settings
        self._held = {(box.tenant, box.name): _Held(box=box) for box in settings.boxes}
        self._wake = WakeUp(clock)

    async def load(self) -> None:
        """Start every machine at its failsafe (LPC-901/1), with what is known from before.

        Raises:
            InvalidInput: A box steers what does not exist, or paragraph 14a does not apply there; its setting is named.
            StorageUnavailable: Nothing is known.
        """
        for held in self._held.values():
            await self._check(held.box)
            for direction in held.box.rules:
                await self._start(held, direction)
        for tenant in self._settings.tenants:
            await self._let_go(tenant)

    async def run(self) -> None:
        """Let time pass for every box, until cancelled; what was missed is caught up first."""
        while True:
            is_kept = True
            for held in self._held.values():
                try:
                    async with held.lock:
                        await self._pass_time(held)
                except (Conflict, Unavailable) as error:
                    is_kept = False
                    _LOG.warning("steering_waits", box=held.box.name, reason=str(error))
            STEERING_BOXES_SILENT.set(sum(self._view(held).is_silent for held in self._held.values()))
            await self._wake.wait(self._look_again(is_kept=is_kept))

    # ---------------------------------------------------------------- what boxes say

    async def heartbeat(self, principal: Principal, name: str) -> BoxView:
        """Take a box's sign of life and return how it stands; in the states INIT and FAILSAFE it is to say its limit next.

        Raises:
            NotFound: There is no such box, or it is not the caller's.
            StorageUnavailable: It does not count.
        """
        held = self._mine(principal, name)
        async with held.lock:
            await self._pass_time(held)
            await self._beat(held)
        # No wake-up: with a heartbeat everything is due later than it was.
        return self._view(held)

    async def write_limit(
        self, principal: Principal, name: str, *, direction: Direction, word: LimitWrite, request_id: str
    ) -> SteeringOrder:
        """Take a limit, or its withdrawal, and return the order that came of it.

        Raises:
            NotFound: There is no such box, or it is not the caller's.
            InvalidInput: The box does not limit that direction.
            PreconditionFailed: It must send a heartbeat first.
            RequestReused: The request id was used with other content.
            StorageUnavailable: Not on disk; a reduction acts from memory all the same.
        """
        held = self._mine(principal, name)
        _require_direction(held.box, direction)
        content = content_hash([direction, word.max_kw if word.is_active else None, word.is_active, word.duration])
        ordered_kw = word.max_kw if word.limits else None
        asked = Asked(
            kind=OrderKind.LIMIT,
            request_id=require_request_id(request_id),
            content=content,
            ordered_kw=ordered_kw,
            duration=word.duration if word.limits else None,
        )
        async with held.lock:
            known = await self._replayed(held, asked)
            if known is None:
                await self._pass_time(held)
                known = await self._write(held, principal, direction, word, asked)
        self._wake.ring()
        return known

    async def set_relays(self, principal: Principal, name: str, *, relays: Relays, request_id: str) -> SteeringOrder:
        """Take what two contacts say, which is also a sign of life, and return the order that came of it.

        Raises:
            NotFound: There is no such box, or it is not the caller's.
            RequestReused: The request id was used with other content.
            StorageUnavailable: Not on disk; a reduction acts from memory all the same.
        """
        held = self._mine(principal, name)
        direction = Direction.IMPORT
        _require_direction(held.box, direction)
        limit_kw = held.box.relay_kw(relays.state)
        word = LimitWrite(max_kw=0.0 if limit_kw is None else limit_kw, is_active=limit_kw is not None)
        asked = Asked(
            kind=OrderKind.RELAYS,
            request_id=require_request_id(request_id),
            content=content_hash([relays.dim, relays.off]),
            ordered_kw=limit_kw,
            duration=None,
        )
        async with held.lock:
            await self._pass_time(held)
            await self._beat(held)
            known = await self._replayed(held, asked)
            if known is None:
                known = await self._write(held, principal, direction, word, asked)
        self._wake.ring()
        return known

    async def write_failsafe(
        self,
        principal: Principal,
        name: str,
        *,
        direction: Direction,
        max_kw: float | None,
        duration: timedelta | None,
        request_id: str,
    ) -> BoxView:
        """Take other failsafe values and return how the box stands.

        Raises:
            NotFound: There is no such box, or it is not the caller's.
            InvalidInput: A value is out of range or none was given.
            PreconditionFailed: The box must send a heartbeat and a limit first.
            RequestReused: The request id was used with other content.
            StorageUnavailable: They do not count.
        """
        held = self._mine(principal, name)
        _require_direction(held.box, direction)
        if max_kw is None and duration is None:
            raise InvalidInput("failsafe_kw", "or failsafe_duration is required")
        content = content_hash([direction, max_kw, duration])
        asked = Asked(
            kind=OrderKind.FAILSAFE_VALUES,
            request_id=require_request_id(request_id),
            content=content,
            ordered_kw=max_kw,
            duration=duration,
        )
        async with held.lock:
            if await self._replayed(held, asked) is None:
                await self._pass_time(held)
                await self._keep_values(held, principal, direction, asked)
        return self._view(held)

    # ---------------------------------------------------------------- what people ask

    def state(self, principal: Principal, name: str) -> BoxView:
        """Return how a box stands.

        Raises:
            NotFound: There is no such box for the caller.
        """
        held = self._visible(principal).get(name)
        if held is None:
            raise NotFound("steering box", name)
        return self._view(held)

    def states(self, principal: Principal) -> list[BoxView]:
        """Return how the boxes stand that the caller may see, by name."""
        return [self._view(held) for _, held in sorted(self._visible(principal).items())]

    async def orders(
        self, principal: Principal, name: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> list[tuple[SteeringOrder, ExecutionProof | None]]:
        """Return the orders of a box by the time they were received, each with what became of it; None while nothing is known.

        Raises:
            NotFound: There is no such box for the caller.
        """
        self.state(principal, name)
        where = {"box": name}
        tenant = principal.tenant
        rows = await self._store.find(SteeringOrder, tenant, where, since=since, until=until, limit=_MOST_ORDERS)
        found = await self._store.find(ExecutionProof, tenant, where, since=since, until=until, limit=_MOST_ORDERS)
        proofs = {row.record.id: row.record for row in found}
        return [(row.record, proofs.get(row.record.id)) for row in rows]

    # ---------------------------------------------------------------- inside

    def _mine(self, principal: Principal, name: str) -> _Held:
        principal.require(Permission.POWER_STEER)
        held = self._held.get((principal.tenant, name))
        if held is None or held.box.account != principal.actor:
            raise NotFound("steering box", name)
        return held

    def _visible(self, principal: Principal) -> Mapping[str, _Held]:
        principal.require(Permission.STEERING_READ)
        is_box = not principal.may(Permission.SIGNAL_READ)
        return {
            name: held
            for (tenant, name), held in self._held.items()
            if tenant == principal.tenant and (not is_box or held.box.account == principal.actor)
        }

    def _view(self, held: _Held) -> BoxView:
        return box_view(held.box, tuple(held.limitations.values()), self._clock.now())

    def _look_again(self, *, is_kept: bool) -> datetime:
        now = self._clock.now()
        if not is_kept:
            return now + self._settings.retry_after
        dues = [
            due
            for held in self._held.values()
            for direction, limitation in held.limitations.items()
            if (due := limitation.due_at(held.box.rules[direction])) is not None
        ]
        return min([*dues, now + self._settings.sweep])

    async def _check(self, box: SteeringBox) -> None:
        if self._find_node(box.tenant, box.node) is None:
            raise InvalidInput(f"{box.where}.node", f"{box.node} is not known; import it first")
        if not box.is_section_14a:
            return
        row = await self._store.get(ConnectionPoint, box.tenant, box.connection_point)
        if row is None:
            raise InvalidInput(f"{box.where}.connection_point", f"{box.connection_point} is not known; import it first")
        require_eligible(f"{box.where}.connection_point", row.record)

    async def _start(self, held: _Held, direction: Direction) -> None:
        box, now = held.box, self._clock.now()
        fresh = new_limitation(box.tenant, box.name, direction, box.rules[direction], now)
        row = await self._store.get(Limitation, box.tenant, fresh.id)
        known = fresh if row is None else row.record
        held.limitations[direction] = known
        order = None if not known.order else await self._store.get(SteeringOrder, box.tenant, known.order)
        if order is not None:
            held.orders[direction] = order.record
        change = self._change(held, direction, self._system(box.tenant))
        change.start()
        await self._state(held, change)

    async def _let_go(self, tenant: str) -> None:
        """Withdraw the limits of boxes that are no longer configured: whoever took them out of the settings meant it."""
        principal = self._system(tenant)
        for row in await self._store.find(Limitation, tenant):
            left = row.record
            box = self._settings.named.get((tenant, left.box))
            if (box is not None and left.direction in box.rules) or not left.limit_ids:
                continue
            _LOG.warning("steering_box_gone", box=left.box, direction=left.direction.value)
            order = await self._store.get(SteeringOrder, tenant, left.order)
            ended = [] if order is None else [order.record.ended(self._clock.now(), "the box is no longer configured")]
            stated = StatedLimits(
                authority=f"{PROTOCOL}:{left.box}",
                raw=None,
                withdrawn=left.limit_ids,
                puts=(Put(record=replace(left, limit_ids=())), *(Put(record=one) for one in ended)),
                audit=tuple(end_entry(self._ids, principal, self._clock.now(), one) for one in ended),
            )
            await self._limit_desk.state_limits(principal, stated)

    def _change(self, held: _Held, direction: Direction, principal: Principal) -> Change:
        return Change(
            box=held.box,
            limitation=held.limitations[direction],
            order=held.orders.get(direction),
            ids=self._ids,
            principal=principal,
            now=self._clock.now(),
        )

    async def _pass_time(self, held: _Held) -> None:
        for direction in held.box.rules:
            change = self._change(held, direction, self._system(held.box.tenant))
            change.by_time()
            if not change.is_empty:
                await self._state(held, change)

    async def _beat(self, held: _Held) -> None:
        """Take a heartbeat in every direction; on disk where it changes more than its own time."""
        now = self._clock.now()
        after = {direction: one.heartbeat(now) for direction, one in held.limitations.items()}
        new = [one for direction, one in after.items() if _matters(held.limitations[direction], one)]
        if new:
            await self._store.apply(Batch(tenant=held.box.tenant, puts=tuple(Put(record=one) for one in new)))
        held.limitations |= after

    async def _write(
        self, held: _Held, principal: Principal, direction: Direction, word: LimitWrite, asked: Asked
    ) -> SteeringOrder:
        limitation, order = held.limitations[direction], held.orders.get(direction)
        after = limitation.write(word, self._clock.now())
        if order is not None and _confirms(order, limitation, after, asked):
            await self._remember(held, asked, order)
            return order
        change = self._change(held, direction, principal)
        change.to(after, asked)
        await self._state(held, change)
        return held.orders[direction]

    async def _keep_values(self, held: _Held, principal: Principal, direction: Direction, asked: Asked) -> None:
        after = held.limitations[direction].write_failsafe(asked.ordered_kw, asked.duration)
        change = self._change(held, direction, principal)
        await self._store.apply(change.values(after, asked))
        held.limitations[direction] = after

    async def _remember(self, held: _Held, asked: Asked, order: SteeringOrder) -> None:
        """Keep that a request said once more what holds already."""
        batch = Batch(
            tenant=held.box.tenant,
            request_id=f"{held.box.authority}/{asked.request_id}",
            request_hash=asked.content,
            response=order.id,
        )
        await self._store.apply(batch)

    async def _replayed(self, held: _Held, asked: Asked) -> SteeringOrder | None:
        """Return the order that an earlier copy of a request led to; None for a new request.

        Raises:
            RequestReused: It had other content.
        """
        tenant = held.box.tenant
        key = f"{held.box.authority}/{asked.request_id}"
        known = await self._store.replay(tenant, key, asked.content)
        row = await self._store.get(SteeringOrder, tenant, known or f"{held.box.name}/{asked.request_id}")
        if row is None:
            return None
        if known is None and (row.record.kind, row.record.content) != (asked.kind, asked.content):
            raise RequestReused(asked.request_id)
        return row.record

    async def _state(self, held: _Held, change: Change) -> None:
        """Make a change durable and let it act; only then it counts here."""
        await self._limit_desk.state_limits(self._system(held.box.tenant), change.stated())
        direction = change.limitation.direction
        held.limitations[direction] = change.limitation
        if change.order is not None:
            held.orders[direction] = change.order

    def _system(self, tenant: str) -> Principal:
        return system_principal(tenant, "steering")


def _require_direction(box: SteeringBox, direction: Direction) -> None:
    if direction not in box.rules:
        raise InvalidInput("direction", f"{box.name} does not limit {direction.value}")


def _matters(before: Limitation, after: Limitation) -> bool:
    """Tell whether a heartbeat says more than that contact goes on."""
    return before.heartbeat_at is None or before.returned_at != after.returned_at


def _confirms(order: SteeringOrder, before: Limitation, after: Limitation, asked: Asked) -> bool:
    """Tell whether a write only says once more what holds without end."""
    return before == after and order.kind is asked.kind and after.limit_until is None
