"""Proof that orders of a steering box were carried out: what was ordered, what we set at which charger when, what the meters said.

An operator of controllable devices must be able to show this for each order of the grid operator (paragraph 14a EnWG, ruling BK6-22-300);
the rows are never deleted. The same facts are in the audit, so that they can be read from its hash chain alone.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.domain.dispatch import DispatchState
from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import AuditEntry
from gateway.domain.limits import Direction
from gateway.domain.steering import SteeringState, require_power
from gateway.domain.timegrid import require_utc

ORDER_OPENED = "steering.order"
"""Action of the audit entry that an order leaves when it is received."""
ORDER_ENDED = "steering.order-end"
"""Action of the audit entry that its end leaves."""
REACHED_TOLERANCE = 0.05
"""A measurement of so much above the limit still counts as reached."""


class OrderKind(StrEnum):
    """What brought a limit about."""

    LIMIT = "limit"
    """The box wrote a limit, or took one back."""
    RELAYS = "relays"
    """Its contacts say so."""
    FAILSAFE_VALUES = "failsafe-values"
    """The box wrote other failsafe values; nothing is limited by that alone."""
    FAILSAFE = "failsafe"
    """The box fell silent."""
    RESTART = "restart"
    """We were started anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SteeringOrder:
    """One order, as kept."""

    id: str
    tenant: str
    box: str
    node: str
    direction: Direction
    kind: OrderKind
    request_id: str
    """Idempotency key of the box; empty for what time or a restart brought."""
    content: str
    """Hash of what was asked, by which a repetition is told from another request."""
    received_at: datetime
    ordered_kw: float | None
    """What was ordered, at least 0; None where a limit was taken back."""
    duration: timedelta | None
    """How long it was ordered for; None until it is taken back."""
    applied_kw: float | None
    """What we made of it: never under what is guaranteed; None where nothing is limited."""
    state: SteeringState
    """State that it led to."""
    rule: str
    """Requirement by which that was."""
    ended_at: datetime | None = None
    """When it no longer held; None while it does."""
    end_reason: str = ""

    def __post_init__(self) -> None:
        """Reject powers that are negative or not finite, and naive times."""
        for name, power_kw in (("ordered_kw", self.ordered_kw), ("applied_kw", self.applied_kw)):
            if power_kw is not None:
                require_power(f"order.{name}", power_kw)
        require_utc("order.received_at", self.received_at)

    @property
    def is_open(self) -> bool:
        """Whether it still holds."""
        return self.ended_at is None

    def ended(self, at: datetime, reason: str) -> "SteeringOrder":
        """Return the order with its end."""
        return replace(self, ended_at=at, end_reason=reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChargerStep:
    """What one charger was told because of an order."""

    charger: str
    set_kw: float
    set_at: datetime
    """When the command was on disk."""
    state: str = ""
    """Last state of this command that we know: `accepted`, `applied`, `followed`, ...; empty while nothing was heard."""
    state_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerSample:
    """What the chargers below the node drew at an instant."""

    at: datetime
    power_kw: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionProof:
    """What became of one order."""

    id: str
    """Id of the order."""
    tenant: str
    box: str
    received_at: datetime
    power_before_kw: float | None
    """Last measurement before it was received; None when unknown."""
    steps: tuple[ChargerStep, ...] = ()
    """Changes of set points while it held, in order; empty when no charger had to change."""
    samples: tuple[PowerSample, ...] = ()
    """Measurements while it held: all of the first quarter of an hour, then one per quarter of an hour."""
    reached_at: datetime | None = None
    """First measurement within the limit; None while there is none, and for a limit on what is fed in."""
    looked_until: datetime
    """Commands and measurements up to here are in it."""
    is_complete: bool = False
    """True once the order has ended and what followed was looked at."""


def reached(samples: Iterable[PowerSample], order: SteeringOrder) -> datetime | None:
    """Return when power was first measured within the limit of an order; None if never or without one.

    What chargers draw proves nothing about a limit on what is fed in.
    """
    if order.applied_kw is None or order.direction is Direction.EXPORT:
        return None
    highest_kw = order.applied_kw * (1.0 + REACHED_TOLERANCE)
    return min((sample.at for sample in samples if sample.power_kw <= highest_kw), default=None)


def state_name(state: int) -> str:
    """Return the name of a command's state for people."""
    return DispatchState(state).name.lower()


# ---------------------------------------------------------------- audit


def detail_of(order: SteeringOrder) -> dict[str, str]:
    """Return what the audit says of an order: enough to make it again."""
    return {
        "box": order.box,
        "node": order.node,
        "direction": order.direction.value,
        "kind": order.kind.value,
        "content": order.content,
        "received_at": order.received_at.isoformat(),
        "ordered_kw": _number(order.ordered_kw),
        "duration_s": "" if order.duration is None else repr(order.duration.total_seconds()),
        "applied_kw": _number(order.applied_kw),
        "state": order.state.value,
        "rule": order.rule,
    }


def orders_of_audit(entries: Iterable[AuditEntry]) -> list[SteeringOrder]:
    """Return the orders that audit entries tell of, in the order received, with their ends.

    Raises:
        InvalidInput: An entry of an order lacks a word.
    """
    orders: dict[str, SteeringOrder] = {}
    for entry in entries:
        if entry.action == ORDER_OPENED:
            orders[entry.object_id] = _order_of(entry)
        elif entry.action == ORDER_ENDED and entry.object_id in orders:
            at = datetime.fromisoformat(entry.detail["ended_at"])
            orders[entry.object_id] = orders[entry.object_id].ended(at, entry.detail["reason"])
    return sorted(orders.values(), key=lambda order: (order.received_at, order.id))


def _order_of(entry: AuditEntry) -> SteeringOrder:
    words = entry.detail
    try:
        return SteeringOrder(
            id=entry.object_id,
            tenant=entry.tenant,
            box=words["box"],
            node=words["node"],
            direction=Direction(words["direction"]),
            kind=OrderKind(words["kind"]),
            request_id=entry.request_id,
            content=words["content"],
            received_at=datetime.fromisoformat(words["received_at"]),
            ordered_kw=_power(words["ordered_kw"]),
            duration=None if not words["duration_s"] else timedelta(seconds=float(words["duration_s"])),
            applied_kw=_power(words["applied_kw"]),
            state=SteeringState(words["state"]),
            rule=words["rule"],
        )
    except KeyError as error:
        raise InvalidInput(f"audit.detail.{error.args[0]}", "is missing") from error


def _number(power_kw: float | None) -> str:
    return "" if power_kw is None else repr(power_kw)


def _power(text: str) -> float | None:
    return float(text) if text else None


# ---------------------------------------------------------------- export

CSV_COLUMNS = (
    "order_id",
    "box",
    "node",
    "direction",
    "kind",
    "received_at",
    "ordered_kw",
    "duration_s",
    "applied_kw",
    "state",
    "rule",
    "ended_at",
    "end_reason",
    "power_before_kw",
    "reached_at",
    "power_last_kw",
    "charger",
    "set_kw",
    "set_at",
    "set_state",
    "set_state_at",
)
"""Columns of the export; instants are ISO 8601 in UTC, an empty cell is unknown or does not apply."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def proof_csv(orders: Sequence[tuple[SteeringOrder, ExecutionProof | None]]) -> str:
    """Return orders with what became of them as CSV: one line per set point, or one where no charger had to change."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for order, proof in orders:
        head = _head(order, proof)
        for step in () if proof is None else proof.steps:
            cells = (step.charger, repr(step.set_kw), _time(step.set_at), step.state, _time(step.state_at))
            writer.writerow([_cell(text) for text in (*head, *cells)])
        if proof is None or not proof.steps:
            writer.writerow([_cell(text) for text in (*head, "", "", "", "", "")])
    return out.getvalue()


def _head(order: SteeringOrder, proof: ExecutionProof | None) -> tuple[str, ...]:
    words = detail_of(order)
    last_kw = proof.samples[-1].power_kw if proof is not None and proof.samples else None
    return (
        order.id,
        order.box,
        order.node,
        words["direction"],
        words["kind"],
        _time(order.received_at),
        words["ordered_kw"],
        words["duration_s"],
        words["applied_kw"],
        words["state"],
        order.rule,
        _time(order.ended_at),
        order.end_reason,
        "" if proof is None else _number(proof.power_before_kw),
        "" if proof is None else _time(proof.reached_at),
        _number(last_kw),
    )


def _time(instant: datetime | None) -> str:
    return "" if instant is None else instant.isoformat()


def _cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
