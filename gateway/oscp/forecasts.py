"""Capacity forecasts as limits, and our powers as capacity: units, phases and kinds.

| unit | ALL | ONE, TWO, THREE | UNKNOWN |
| --- | --- | --- | --- |
| W, KW | total over the phases | of that phase | as ALL |
| WH, KWH | energy in the block: its mean power, as W | of that phase | as ALL |
| A | current of each phase | of that phase | of each phase: nobody knows which |

A current becomes a power at the node's nominal voltage. A node of one phase has no phases to tell apart: a value of any phase is
its total.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.limits import Binding, Direction, Limit, LimitKind, PhasePowers
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Node
from gateway.oscp.names import CapacityUnit, ForecastType, Phase
from gateway.oscp.wire import ForecastedBlock, GroupCapacityForecast

WATTS_PER_KW = 1_000.0
_MANY_BLOCKS = 200
"""More are made limits of in a thread."""
_SECONDS_PER_HOUR = 3_600.0
_Place = tuple[str, Direction, LimitKind, bool]
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


def limits_of(forecast: GroupCapacityForecast, node: Node, origin: Origin, names: Sequence[str]) -> tuple[Limit, ...]:
    """Return one limit per block, in order; of blocks of one message that overlap, both count.

    Args:
        forecast: What the partner said.
        node: The node that it calls by the group's name.
        origin: Whose word it is.
        names: Id of each limit, one per block.
    """
    direction, kind = _MEANING[forecast.type]
    binding = Binding.COMMITTED if kind is LimitKind.OPTIMUM else Binding.MANDATORY
    limits = []
    for name, block in zip(names, forecast.forecasted_blocks, strict=True):
        max_kw, phase_max_kw = powers_of(block, node, direction)
        limits.append(
            Limit(
                id=name,
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


async def limits_beside(
    forecast: GroupCapacityForecast, node: Node, origin: Origin, names: Sequence[str], known: Sequence[Limit]
) -> tuple[tuple[Limit, ...], tuple[str, ...]]:
    """Return the limits of a forecast (see `limits_of`) and those they replace (see `replaced`); of many blocks in a thread."""

    def read() -> tuple[tuple[Limit, ...], tuple[str, ...]]:
        limits = limits_of(forecast, node, origin, names)
        return limits, replaced(known, limits)

    return read() if len(names) <= _MANY_BLOCKS else await asyncio.to_thread(read)


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
    covers = _covers(new)
    return tuple(old.id for old in known if _is_whole(old) and _is_covered(old, covers.get(_other_place(old), [])))


def _covers(new: Sequence[Limit]) -> dict[_Place, list[Interval]]:
    """Return the time that new limits for all phases cover, merged and in order, by place."""
    covers: dict[_Place, list[Interval]] = {}
    for limit in sorted((one for one in new if _is_whole(one)), key=lambda one: one.interval.start):
        spans = covers.setdefault((limit.node, limit.direction, limit.kind, limit.phase_max_kw is None), [])
        last = spans[-1] if spans else None
        if last is None or (last.end is not None and last.end < limit.interval.start):
            spans.append(limit.interval)
        elif last.end is not None and (limit.interval.end is None or limit.interval.end > last.end):
            spans[-1] = Interval(start=last.start, end=limit.interval.end)
    return covers


def _is_whole(limit: Limit) -> bool:
    return limit.phase_max_kw is None or None not in limit.phase_max_kw


def _other_place(limit: Limit) -> _Place:
    return limit.node, limit.direction, limit.kind, limit.phase_max_kw is not None


def _is_covered(limit: Limit, spans: Sequence[Interval]) -> bool:
    place = bisect_right(spans, limit.interval.start, key=lambda span: span.start) - 1
    if place < 0:
        return False
    end = spans[place].end
    return end is None or (limit.interval.end is not None and limit.interval.end <= end)


def block_of(power_kw: float, interval: Interval, end: datetime) -> ForecastedBlock:
    """Return a power over all phases as a block; an open interval ends at `end`."""
    return ForecastedBlock(
        capacity=round(power_kw, 3),
        phase=Phase.ALL,
        unit=CapacityUnit.KW,
        start_time=interval.start,
        end_time=end if interval.end is None else interval.end,
    )
