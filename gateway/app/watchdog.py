"""Ends the process when the control loop is wedged: the leases of the chargers run out and a supervisor outside starts us anew.

```
 loop turns: beat ... beat ... (nothing)      5 s: health says NOT_SERVING      15 s: stacks to stderr, exit
```

A thread looks, because the event loop may be what is wedged. It counts looks of its own, so that a process that was stopped from
outside, or got no turn of the processor, is not blamed when it goes on. Code that holds the interpreter's lock keeps this thread from
looking, too; the interpreter's own fault timer, which needs no lock, ends that.
"""

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from gateway.observe import WATCHDOG_AGE_SECONDS, logger

EXIT_WEDGED = 70
"""Exit code of a process that ended itself so (EX_SOFTWARE)."""
_log = logger("app")


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchdogTimes:
    """Real seconds."""

    look: float = 0.5
    """Between two looks."""
    stale: float = 5.0
    """Without a beat for so long: not serving."""
    dead: float = 15.0
    """Without a beat for so long: exit."""


class Watchdog:
    """Waits for beats of the control loop."""

    def __init__(
        self,
        tell: Callable[[bool], None],
        *,
        times: WatchdogTimes | None = None,
        end: Callable[[], None] | None = None,
        has_fault_timer: bool = False,
    ) -> None:
        """Remember whom to tell.

        Args:
            tell: Called on the event loop with whether the control loop turns, whenever that changes.
            times: How patient to be.
            end: Ends the process; None for writing all stacks to stderr and exiting at once.
            has_fault_timer: Also end a process whose interpreter's lock is held for good; one timer for a process.
        """
        self._tell = tell
        self._times = WatchdogTimes() if times is None else times
        self._end = _exit if end is None else end
        self._has_fault_timer = has_fault_timer
        self._beats = 0
        self._stop = threading.Event()

    def beat(self) -> None:
        """Say that the control loop turns; callable from everywhere."""
        self._beats += 1

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        self._stop.clear()
        thread = threading.Thread(target=self._look, args=(loop,), name="watchdog", daemon=True)
        thread.start()
        try:
            await loop.create_future()
        finally:
            self._stop.set()
            if self._has_fault_timer:
                faulthandler.cancel_dump_traceback_later()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        times, seen, idle_looks, is_fine = self._times, -1, 0, True
        while not self._stop.wait(times.look):
            if self._has_fault_timer:
                faulthandler.dump_traceback_later(times.dead + times.look, exit=True)
            beats = self._beats
            idle_looks = 0 if beats != seen else idle_looks + 1
            seen = beats
            age_s = idle_looks * times.look
            WATCHDOG_AGE_SECONDS.set(age_s)
            if (age_s <= times.stale) != is_fine:
                is_fine = not is_fine
                self._tell_on(loop, is_fine=is_fine)
            if age_s > times.dead:
                _log.error("the control loop is wedged", seconds=age_s)
                self._end()
                return

    def _tell_on(self, loop: asyncio.AbstractEventLoop, *, is_fine: bool) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._tell, is_fine)


def _exit() -> None:
    faulthandler.dump_traceback(sys.stderr)
    os._exit(EXIT_WEDGED)
