"""Both ends of the capacity optimiser's role.

A provider's forecast goes on to the optimisers that know the same node, under the name that they know it by; they answer with an
OPTIMUM, which becomes a wish inside the limits. A flexibility provider that asks us is answered with what our schedules want for the
node within its capacity: the mean of the schedule over each block, never above the block, and the block itself where there is no
schedule, because nothing better is known.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.domain.bids import Schedule
from gateway.domain.limits import Direction
from gateway.domain.oscp import OscpMessage
from gateway.domain.topology import CapacityGroup, Node
from gateway.oscp.composing import Says, message_of
from gateway.oscp.forecasts import powers_of
from gateway.oscp.names import UPDATE_FORECAST, CapacityUnit, ForecastType, Phase
from gateway.oscp.surroundings import Surroundings
from gateway.oscp.wire import ForecastedBlock, GroupCapacityForecast

_LONGEST_SCHEDULE = timedelta(hours=25)
"""A delivery day with the hour that the clock change adds: a schedule that began earlier is over."""
_DECIMALS = 3


async def forwards_of(
    around: Surroundings, forecast: GroupCapacityForecast, group: CapacityGroup, now: datetime
) -> tuple[OscpMessage, ...]:
    """Return the messages that pass a provider's forecast on to the optimisers of its node."""
    settings = around.settings
    if not settings.optimisers or forecast.type is ForecastType.OPTIMUM:
        return ()
    where = {"node": group.node, "authority": settings.optimisers}
    known = [row.record for row in await around.store.find(CapacityGroup, settings.tenant, where)]
    messages = []
    for other in sorted(known, key=lambda one: one.id):
        body = forecast.model_copy(update={"group_id": other.name}).as_json()
        says = Says(about=f"forward:{around.ids.new('forward')}", path=UPDATE_FORECAST, body=body)
        messages.append(message_of(around, says, now, authority=other.authority))
    return tuple(messages)


async def optimum_says(around: Surroundings, forecast: GroupCapacityForecast, node: Node, answers: str) -> Says | None:
    """Return the optimum for a flexibility provider's capacity to draw; None for what it may feed in and for fallbacks."""
    if forecast.type is not ForecastType.CONSUMPTION:
        return None
    first = min(block.start_time for block in forecast.forecasted_blocks)
    last = max(block.end_time for block in forecast.forecasted_blocks)
    rows = await around.store.find(
        Schedule, around.settings.tenant, {"node": node.id}, since=first - _LONGEST_SCHEDULE, until=last
    )
    schedules = [row.record for row in rows]
    blocks = tuple(_best(block, node, schedules) for block in forecast.forecasted_blocks)
    optimum = GroupCapacityForecast(group_id=forecast.group_id, type=ForecastType.OPTIMUM, forecasted_blocks=blocks)
    return Says(about=f"optimum:{answers}", path=UPDATE_FORECAST, body=optimum.as_json(), answers=answers)


def _best(block: ForecastedBlock, node: Node, schedules: Sequence[Schedule]) -> ForecastedBlock:
    total_kw, phases_kw = powers_of(block, node, Direction.IMPORT)
    if phases_kw is not None and None in phases_kw:
        return block
    planned_kw = _mean_kw(schedules, block.start_time, block.end_time)
    best_kw = total_kw if planned_kw is None else min(planned_kw, total_kw)
    return ForecastedBlock(
        capacity=round(best_kw, _DECIMALS),
        phase=Phase.ALL,
        unit=CapacityUnit.KW,
        start_time=block.start_time,
        end_time=block.end_time,
    )


def _mean_kw(schedules: Sequence[Schedule], start: datetime, end: datetime) -> float | None:
    """Return the mean scheduled power over a time; None unless schedules cover all of it."""
    energy_kws = covered_s = 0.0
    for schedule in schedules:
        step = timedelta(minutes=schedule.step_minutes)
        for place, power_kw in enumerate(schedule.power_kw):
            begin = schedule.start + step * place
            shared_s = (min(begin + step, end) - max(begin, start)).total_seconds()
            if shared_s > 0.0:
                energy_kws += max(power_kw, 0.0) * shared_s
                covered_s += shared_s
    length_s = (end - start).total_seconds()
    return energy_kws / length_s if covered_s >= length_s else None
