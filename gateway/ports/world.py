"""Time, randomness and worker processes."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol


class Clock(Protocol):
    """The only source of time. In the demo market time runs faster than real time and may jump forward."""

    def now(self) -> datetime:
        """Return the current instant, aware UTC, of the market."""
        ...

    def monotonic(self) -> float:
        """Return seconds of market time that never go back; for leases and timeouts of protocols."""
        ...

    async def sleep_until(self, when: datetime) -> None:
        """Return once `now() >= when`, also after a jump."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Return after a duration of market time."""
        ...


class Ids(Protocol):
    """The only source of fresh ids and random draws; seeded in tests and in the demo."""

    def new(self, prefix: str) -> str:
        """Return a fresh id such as `bid-7f3a...`, unique for ever."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """Return a uniform draw in `[low, high)`; for jitter and protocol randomisation."""
        ...


class Worker(Protocol):
    """Killable worker processes for everything that computes longer than 50 ms."""

    async def run(self, function: Callable[..., Any], *args: Any, deadline_s: float) -> Any:  # noqa: ANN401  # whatever runs
        """Run a module-level function in a worker process and return its result.

        Args:
            function: Importable by name; arguments and result travel pickled.
            args: Positional arguments.
            deadline_s: Real seconds after which the process is killed.

        Raises:
            TimeoutError: The deadline passed; the process is gone.
            MemoryError: The function needed more memory than workers may take.
            Exception: Whatever the function raised.
        """
        ...
