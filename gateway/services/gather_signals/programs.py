"""From the events of one authority to limits: what binds, what is only shown, and what applies when no limit does.

| what events ask | becomes |
| --- | --- |
| limits, fractions, levels, offsets, reductions | `LIMIT` rows, one per part in which the same holds |
| subscriptions, with reservations on top | `FALLBACK` rows: they apply where no limit of the authority covers the instant |
| power targets | `OPTIMUM` rows: wishes inside the limits |
| states of charge, prices, carbon, alerts, offers | no row here: kept with the event, see `tariffs` and `domain.alerts` |

A subscription is the contract of the connection and holds whatever we answer; its fallback is also what is left when the schedule
of limits is exhausted while the partner cannot be reached (OpenADR 3 User Guide 8.10.1).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.signals import GridEvent, OptType
from gateway.domain.timegrid import Interval
from gateway.services.gather_signals.blocks import NORMAL_KW, Block, ConsentEnd, Layer, blocks_of, is_live
from gateway.services.gather_signals.rules import ProgramRules
from gateway.services.gather_signals.shadowing import Piece, Precedence

RulesOf = Callable[[GridEvent], ProgramRules]
_Place = tuple[str, Direction]


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What limits depend on beside the events."""

    rules_of: RulesOf
    """Meaning of an event's program."""
    ratings_kw: Mapping[str, float]
    """Import rating of each node that events name; other nodes are left out."""
    now: datetime
    consent_end: ConsentEnd | None = None
    """Until when an event may call a node."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """A part of a fallback or reservation that is in force."""

    event: GridEvent
    span: Interval
    kw: float


def binds(event: GridEvent, rules: ProgramRules) -> bool:
    """Tell whether an event obliges us."""
    return must_follow(event, rules) or event.opt is OptType.OPT_IN


def must_follow(event: GridEvent, rules: ProgramRules) -> bool:
    """Tell whether an event obliges us whatever we answer."""
    return rules.is_mandatory or event.is_binding


def limits_of_events(events: Iterable[GridEvent], around: Circumstances) -> Iterator[Limit]:
    """Yield the limits that follow from all events of one authority, as known now.

    Args:
        events: Every event of the authority that we hold; completed and cancelled ones, tests and dry runs yield nothing.
        around: Rules, ratings, consent and the instant.
    """
    places: dict[_Place, dict[Layer, list[Block]]] = {}
    for event in sorted(events, key=lambda each: each.id):
        if is_live(event, around.now):
            for block in blocks_of(event, around.rules_of(event), around.ratings_kw, around.consent_end):
                places.setdefault((block.node, block.direction), {}).setdefault(block.layer, []).append(block)
    for layers in places.values():
        yield from _limits_at(layers, around)


def _limits_at(layers: Mapping[Layer, list[Block]], around: Circumstances) -> Iterator[Limit]:
    fallbacks = list(_with_reservations(layers))
    lowest = min((held.kw for held in _in_force(layers.get(Layer.FALLBACK, ()))), default=NORMAL_KW)
    for layer in (Layer.LIMIT, Layer.OPTIMUM):
        blocks = layers.get(layer, [])
        precedence = Precedence(blocks, lambda event: binds(event, around.rules_of(event)))
        for block in blocks:
            # On its way to a limit and back the load may not pass what applies without one.
            asked = replace(block, max_kw=min(block.max_kw, lowest)) if block.is_edge else block
            if asked.max_kw != NORMAL_KW:
                yield from (_limit(asked, piece, around) for piece in precedence.pieces(asked))
    if layers.get(Layer.FALLBACK):
        like = layers[Layer.FALLBACK][0]
        yield from (_fallback(like, held, reserved, around) for held, reserved in fallbacks)


def _in_force(blocks: Iterable[Block]) -> Iterator[_Held]:
    """Yield the parts of subscriptions or reservations that hold; the contract obliges whatever we answer."""
    blocks = list(blocks)
    precedence = Precedence(blocks, lambda event: True)
    for block in blocks:
        for piece in precedence.pieces(block):
            if not piece.shadows:
                yield _Held(event=block.event, span=piece.span, kw=block.max_kw)


def _with_reservations(layers: Mapping[Layer, list[Block]]) -> Iterator[tuple[_Held, tuple[_Held, ...]]]:
    """Yield the subscriptions in force, cut where what is reserved on top of them changes."""
    reserved = list(_in_force(layers.get(Layer.RESERVATION, ())))
    for held in _in_force(layers.get(Layer.FALLBACK, ())):
        borders = {held.span.start}
        for one in reserved:
            borders |= {b for b in (one.span.start, one.span.end) if b is not None and held.span.contains(b)}
        ordered = sorted(borders)
        for start, end in zip(ordered, [*ordered[1:], held.span.end], strict=True):
            on_top = tuple(one for one in reserved if one.span.contains(start))
            # Reservations of equal priority hold together; as with limits the smaller one counts.
            smallest = tuple(sorted(on_top, key=lambda one: (one.kw, one.event.id))[:1])
            yield replace(held, span=Interval(start=start, end=end)), smallest


def _fallback(like: Block, held: _Held, reserved: tuple[_Held, ...], around: Circumstances) -> Limit:
    kw = held.kw + sum(one.kw for one in reserved)
    if like.direction is Direction.IMPORT:
        kw = min(kw, around.ratings_kw[like.node])
    reason = f"subscription of event {held.event.event_id}"
    if reserved:
        reason += f" and reservation of event {reserved[0].event.event_id}"
    block = replace(like, event=held.event, span=held.span, max_kw=kw)
    return _row(block, held.span, (LimitKind.FALLBACK, Binding.MANDATORY), reason, around.now)


def _limit(block: Block, piece: Piece, around: Circumstances) -> Limit:
    event, rules = block.event, around.rules_of(block.event)
    binding = Binding.MANDATORY if must_follow(event, rules) else Binding.COMMITTED
    reason = f"event {event.event_id}"
    if piece.shadows:
        binding = Binding.VOLUNTARY
        reason += f", shadowed by event {piece.shadows[0]}" + (" and others" if len(piece.shadows) > 1 else "")
    elif not binds(event, rules):
        binding = Binding.VOLUNTARY
        reason += ", not opted in"
    kind = LimitKind.OPTIMUM if block.layer is Layer.OPTIMUM else LimitKind.LIMIT
    return _row(block, piece.span, (kind, binding), reason, around.now)


def _row(block: Block, span: Interval, nature: tuple[LimitKind, Binding], reason: str, now: datetime) -> Limit:
    event, (kind, binding) = block.event, nature
    end = "" if span.end is None else span.end.isoformat()
    content = (block.node, block.direction, kind, span.start.isoformat(), end, repr(block.max_kw), binding, reason)
    digest = hashlib.sha256("|".join(content).encode()).hexdigest()[:12]
    return Limit(
        id=f"{event.id}:{event.modification}:{digest}",
        tenant=event.tenant,
        authority=event.authority,
        node=block.node,
        direction=block.direction,
        kind=kind,
        binding=binding,
        max_kw=block.max_kw,
        interval=span,
        cause=f"event:{event.id}",
        known_at=now,
        reason=reason,
    )
