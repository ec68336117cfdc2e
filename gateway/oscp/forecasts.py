"""Capacity forecasts as limits, and our powers as capacity: units, phases and kinds.

| unit | ALL | ONE, TWO, THREE | UNKNOWN |
| --- | --- | --- | --- |
| W, KW | total over the phases | of that phase | as ALL |
| WH, KWH | energy in the block: its mean power, as W | of that phase | as ALL |
| A | current of each phase | of that phase | of each phase: nobody knows which |

A current becomes a power at the node's nominal voltage. A node of one phase has no phases to tell apart: a value of any phase is
its total.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.limits import Binding, Direction, Limit, LimitKind, PhasePowers
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Node
from gateway.oscp.names import CapacityUnit, ForecastType, Phase
from gateway.oscp.wire import ForecastedBlock, GroupCapacityForecast
from gateway.ports import Ids

WATTS_PER_KW = 1_000.0
_SECONDS_PER_HOUR = 3_600.0
_PHASES = {Phase.ONE: 0, Phase.TWO: 1, Phase.THREE: 2}
_MEANING: dict[ForecastType, tuple[Direction, LimitKind]] = {
    ForecastType.CONSUMPTION: (Direction.IMPORT, LimitKind.LIMIT),
    ForecastType.GENERATION: (Direction.EXPORT, LimitKind.LIMIT),
    ForecastType.FALLBACK_CONSUMPTION: (Direction.IMPORT, LimitKind.FALLBACK),
    ForecastType.FALLBACK_GENERATION: (Direction.EXPORT, LimitKind.FALLBACK),
    ForecastType.OPTIMUM: (Direction.IMPORT, LimitKind.OPTIMUM),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where limits come from."""

    tenant: str
    authority: str
    cause: str
    """Id of the message as kept."""
    known_at: datetime


def limits_of(forecast: GroupCapacityForecast, node: Node, origin: Origin, ids: Ids) -> tuple[Limit, ...]:
    """Return one limit per block, in order; of blocks of one message that overlap, both count.

    Args:
        forecast: What the partner said.
        node: The node that it calls by the group's name.
        origin: Whose word it is.
        ids: Gives each limit an id.
    """
    direction, kind = _MEANING[forecast.type]
    binding = Binding.COMMITTED if kind is LimitKind.OPTIMUM else Binding.MANDATORY
    limits = []
    for block in forecast.forecasted_blocks:
        max_kw, phase_max_kw = powers_of(block, node, direction)
        limits.append(
            Limit(
                id=ids.new("limit"),
                tenant=origin.tenant,
                authority=origin.authority,
                node=node.id,
                direction=direction,
                kind=kind,
                binding=binding,
                max_kw=max_kw,
                phase_max_kw=phase_max_kw,
                interval=Interval(start=block.start_time, end=block.end_time),
                cause=origin.cause,
                known_at=origin.known_at,
                reason=f"{forecast.type.value} of {forecast.group_id}",
            )
        )
    return tuple(limits)


def powers_of(block: ForecastedBlock, node: Node, direction: Direction) -> tuple[float, PhasePowers | None]:
    """Return the total of a block in kW and, where it has one, the bound of each phase.

    A block of one phase bounds no other: its total is the node's rating.
    """
    power_kw = _power_kw(block, node)
    is_current = block.unit is CapacityUnit.A
    if node.phases == 1:
        return power_kw, None
    place = _PHASES.get(block.phase)
    if place is not None:
        rating_kw = node.max_import_kw if direction is Direction.IMPORT else node.max_export_kw
        return rating_kw, _only(place, power_kw)
    if is_current:
        return 3.0 * power_kw, (power_kw, power_kw, power_kw)
    return power_kw, None


def _only(place: int, power_kw: float) -> PhasePowers:
    one, two, three = (power_kw if index == place else None for index in range(3))
    return one, two, three


def _power_kw(block: ForecastedBlock, node: Node) -> float:
    hours = (block.end_time - block.start_time).total_seconds() / _SECONDS_PER_HOUR
    per_unit = {
        CapacityUnit.A: node.voltage_v / WATTS_PER_KW,
        CapacityUnit.W: 1.0 / WATTS_PER_KW,
        CapacityUnit.KW: 1.0,
        CapacityUnit.WH: 1.0 / WATTS_PER_KW / hours,
        CapacityUnit.KWH: 1.0 / hours,
    }
    return block.capacity * per_unit[block.unit]


def replaced(known: Sequence[Limit], new: Sequence[Limit]) -> tuple[str, ...]:
    """Return limits for all phases that new ones in another unit replace whole.

    The desk lets the newest word replace what has the same phases; a current and a power of ALL phases are not of that kind, though
    they say the same thing. Of one that is covered in part the rest of its time is kept with it: the smaller of both binds.
    """
    spans = [limit for limit in new if _is_whole(limit)]
    return tuple(
        old.id
        for old in known
        if _is_whole(old) and any(_is_other_word(old, limit) and _covers(limit, old) for limit in spans)
    )


def _is_whole(limit: Limit) -> bool:
    return limit.phase_max_kw is None or None not in limit.phase_max_kw


def _is_other_word(old: Limit, new: Limit) -> bool:
    is_same_place = (old.node, old.direction, old.kind) == (new.node, new.direction, new.kind)
    return is_same_place and (old.phase_max_kw is None) != (new.phase_max_kw is None)


def _covers(new: Limit, old: Limit) -> bool:
    if new.interval.end is None:
        return new.interval.start <= old.interval.start
    return (
        new.interval.start <= old.interval.start
        and old.interval.end is not None
        and old.interval.end <= new.interval.end
    )


def block_of(power_kw: float, interval: Interval, end: datetime) -> ForecastedBlock:
    """Return a power over all phases as a block; an open interval ends at `end`."""
    return ForecastedBlock(
        capacity=round(power_kw, 3),
        phase=Phase.ALL,
        unit=CapacityUnit.KW,
        start_time=interval.start,
        end_time=end if interval.end is None else interval.end,
    )
