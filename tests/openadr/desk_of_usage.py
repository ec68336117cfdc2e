"""A usage desk whose readings tell one interval from another."""

from collections.abc import Callable, Sequence
from datetime import datetime

from gateway.domain.errors import NotFound, StorageUnavailable
from gateway.domain.identity import Principal
from gateway.domain.signals import UsageReading
from gateway.domain.timegrid import TimeGrid
from tests.openadr.virtual_life import START


class DeskOfUsage:
    """Mean power that grows by 1 kW a minute since the start of the test, so that every interval has its own value."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.asked: list[tuple[str, TimeGrid]] = []
        self.unknown_nodes: set[str] = set()
        self.failing_nodes: set[str] = set()
        self.known_until: datetime | None = None
        self.coverage = 1.0
        self.of: dict[str, float] = {}
        """Constant power by node, where a test wants it."""
        self.is_down = False

    async def usage(self, principal: Principal, node: str, grid: TimeGrid) -> Sequence[UsageReading]:
        self.asked.append((node, grid))
        if self.is_down:
            raise StorageUnavailable("the disk is full")
        if node in self.unknown_nodes:
            raise NotFound("node", node)
        if node in self.failing_nodes:
            raise StorageUnavailable("the meter does not answer")
        return [self._reading(node, grid.slot_start(i), grid.slot_start(i) + grid.step) for i in range(grid.count)]

    def _reading(self, node: str, start: datetime, end: datetime) -> UsageReading:
        is_known = end <= (self._now() if self.known_until is None else self.known_until)
        power = self.of.get(node, (start - START).total_seconds() / 60.0)
        return UsageReading(
            start=start, end=end, power_kw=power if is_known else None, coverage=self.coverage if is_known else 0.0
        )
