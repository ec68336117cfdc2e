"""What is known about nodes for a report: measured power by interval, and how the chargers are at the moment.

Several nodes are summed; a sum of which a part is unknown is unknown.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput, NotFound
from gateway.domain.identity import Principal
from gateway.domain.signals import GridEvent, Instruction, OptType, ResourceStatus, UsageReading
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.observe import logger
from gateway.openadr.v3.report_schedule import Slot
from gateway.ports import StatusDesk, UsageDesk

MINUTE = timedelta(minutes=1)
_MOST_STEPS = 1_500
_log = logger("openadr")

Span = tuple[datetime, datetime | None]
"""Begin and end of an interval: what readings are found by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What is to be found out."""

    means: bool = False
    fine: bool = False
    """Readings of each minute, for the highest and the last one."""
    status: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known about one resource, or about the sum of several."""

    means: Mapping[Span, UsageReading] = field(default_factory=dict)
    """Mean power of each interval, None inside where it is not known."""
    fine: Mapping[Span, Sequence[UsageReading]] = field(default_factory=dict)
    """Readings of each minute of an interval, longer steps in a very long one."""
    status: ResourceStatus | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Yardstick:
    """What measured power is held against."""

    event: GridEvent | None = None
    """The event as we follow it; None when we do not have it."""
    agreed_kw: float | None = None
    """The baseline of the program's profile, in kW; None when the partner has sent none."""


class FactFinder:
    """Asks the desks about nodes.

    Args:
        usage_desk: Measured power.
        status_desk: How chargers are; None where nobody can say.
        principal: Who asks.
    """

    def __init__(self, usage_desk: UsageDesk, status_desk: StatusDesk | None, principal: Principal) -> None:
        self._usage = usage_desk
        self._status = status_desk
        self._principal = principal

    async def find(self, nodes: Sequence[str], slots: Sequence[Slot], needs: Needs) -> Facts:
        """Return what is known about some nodes together."""
        if not nodes:
            return Facts()
        spans = list(dict.fromkeys((slot.start, slot.end) for slot in slots if slot.end is not None))
        filled = [(start, end) for start, end in spans if end > start]
        found = [await self._of(node, filled, needs) for node in nodes]
        return Facts(
            means={
                span: _sum([facts.means[span] for facts in found])
                for span in filled
                if all(span in f.means for f in found)
            },
            fine={
                span: _sums([facts.fine[span] for facts in found])
                for span in filled
                if all(span in f.fine for f in found)
            },
            status=_together([facts.status for facts in found]),
        )

    async def _of(self, node: str, spans: Sequence[tuple[datetime, datetime]], needs: Needs) -> Facts:
        means: dict[Span, UsageReading] = {}
        fine: dict[Span, Sequence[UsageReading]] = {}
        if needs.means:
            for grid in grids_of(spans):
                readings = await self._readings(node, grid)
                means |= {(one.start, one.end): one for one in readings}
        if needs.fine:
            for start, end in spans:
                steps = -((start - end) // (MINUTE * _MOST_STEPS))
                step = min(MINUTE * steps, end - start)
                grid = TimeGrid(start=start, step=step, count=(end - start) // step)
                fine[start, end] = await self._readings(node, grid)
        return Facts(means=means, fine=fine, status=await self._state(node) if needs.status else None)

    async def _readings(self, node: str, grid: TimeGrid) -> Sequence[UsageReading]:
        """Return one reading a slot; a node that nobody knows has none, which harms no other."""
        try:
            return await self._usage.usage(self._principal, node, grid)
        except (NotFound, InvalidInput) as error:
            _log.warning("no readings", node=node, error=str(error))
            return ()

    async def _state(self, node: str) -> ResourceStatus | None:
        if self._status is None:
            return None
        try:
            return await self._status.status(self._principal, node)
        except (NotFound, InvalidInput) as error:
            _log.warning("no status", node=node, error=str(error))
            return None


def grids_of(spans: Sequence[tuple[datetime, datetime]]) -> list[TimeGrid]:
    """Return intervals as grids: those of one length that follow each other make one."""
    grids: list[TimeGrid] = []
    for start, end in spans:
        last = grids[-1] if grids else None
        if last is not None and last.end == start and last.step == end - start:
            grids[-1] = TimeGrid(start=last.start, step=last.step, count=last.count + 1)
        else:
            grids.append(TimeGrid(start=start, step=end - start, count=1))
    return grids


def _sum(readings: Sequence[UsageReading]) -> UsageReading:
    known = [one.power_kw for one in readings if one.power_kw is not None and math.isfinite(one.power_kw)]
    return UsageReading(
        start=readings[0].start,
        end=readings[0].end,
        power_kw=math.fsum(known) if len(known) == len(readings) else None,
        coverage=min(one.coverage for one in readings),
    )


def _sums(series: Sequence[Sequence[UsageReading]]) -> Sequence[UsageReading]:
    return [_sum(readings) for readings in zip(*series, strict=False)] if all(series) else ()


def _together(found: Sequence[ResourceStatus | None]) -> ResourceStatus | None:
    """Return several resources as one: reachable when all are, overridden or short when one is."""
    known = [status for status in found if status is not None]
    if not known or len(known) < len(found):
        return None
    states = {status.is_online for status in known}
    powers = [status.power_kw for status in known if status.power_kw is not None]
    return ResourceStatus(
        at=max(status.at for status in known),
        is_online=None if None in states else states == {True},
        is_overridden=any(status.is_overridden for status in known),
        power_kw=math.fsum(powers) if len(powers) == len(known) else None,
        limit_kw=math.fsum(status.limit_kw for status in known),
        rating_kw=math.fsum(status.rating_kw for status in known),
        floor_kw=math.fsum(status.floor_kw for status in known),
        is_short=any(status.is_short for status in known),
    )


def baseline_kw(event: GridEvent | None, slot: Slot) -> float | None:
    """Return the mean power that an interval of an event is measured against; None where the event has no baseline for it."""
    if event is None or slot.end is None or slot.end <= slot.start:
        return None
    whole = slot.end - slot.start
    parts = [
        (min(step.end, slot.end) - max(step.start, slot.start), step.power_kw)
        for step in event.baselines
        if not step.resources and step.start < slot.end and slot.start < step.end
    ]
    if parts and sum((length for length, _ in parts), timedelta(0)) == whole:
        return math.fsum(length / whole * power for length, power in parts)
    fixed = {
        one.baseline_kw
        for one in event.intervals
        if one.baseline_kw is not None and one.start <= slot.start and (one.end is None or slot.end <= one.end)
    }
    return fixed.pop() if len(fixed) == 1 else None


def simple_level(event: GridEvent | None, slot: Slot) -> int | None:
    """Return the level that an event asks for in an interval, where we follow it; None where it asks for none."""
    if event is None or event.opt is not OptType.OPT_IN:
        return None
    levels = [
        int(one.value)
        for one in event.intervals
        if one.instruction is Instruction.SIMPLE_LEVEL and Interval(start=one.start, end=one.end).contains(slot.start)
    ]
    return max(levels, default=None)
