"""A `Worker` of spawned processes with a hard deadline, over `anyio.to_process`.

Processes are spawned, not forked: gRPC does not survive a fork. A call that is cancelled or late kills its process with SIGKILL;
the next call gets a new one. A warm process is kept for five idle minutes, because importing the solvers takes a second.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.to_process

from gateway.domain.errors import Unavailable
from gateway.workers.memory import bounded_memory

NICENESS = 5
"""Of worker processes, as the system counts it: a third of the share of the process whose event loop serves everybody."""
_OUTPUT = 1
"""File descriptor of standard output, over which a worker process answers."""


class ProcessWorker:
    """Runs module-level functions in killable processes, at most so many at a time."""

    def __init__(self, *, process_count: int = 1, memory_bytes: int | None = None) -> None:
        """Take the bounds.

        Args:
            process_count: How many processes may run at once; further calls wait, and their deadline starts when they run.
            memory_bytes: How much memory one call may take beyond what its process has; None for as much as there is.
        """
        self._process_count = process_count
        self._memory_bytes = memory_bytes
        self._places: anyio.CapacityLimiter | None = None

    async def run(self, function: Callable[..., Any], *args: Any, deadline_s: float) -> Any:  # noqa: ANN401  # the port's
        """Run a function in a worker process and return its result.

        Args:
            function: Importable by name; arguments and result travel pickled.
            args: Positional arguments.
            deadline_s: Real seconds after which the process is killed.

        Raises:
            TimeoutError: The deadline passed; the process is gone.
            MemoryError: The call needed more memory than allowed; nothing of it is left.
            Unavailable: The process died by itself (crash of a solver, killed by the system).
            Exception: Whatever the function raised.
        """
        if self._places is None:
            self._places = anyio.CapacityLimiter(self._process_count)
        async with self._places:
            try:
                with anyio.fail_after(deadline_s):
                    return await anyio.to_process.run_sync(
                        _run_quietly,
                        function,
                        args,
                        self._memory_bytes,
                        cancellable=True,
                        limiter=anyio.CapacityLimiter(1),
                    )
            except anyio.BrokenWorkerProcess as error:
                name = getattr(function, "__qualname__", "function")
                raise Unavailable(f"the worker process of {name} ended unexpectedly") from error


def _run_quietly(function: Callable[..., Any], args: tuple[Any, ...], memory_bytes: int | None) -> Any:  # noqa: ANN401  # whatever it returns
    """Run a function inside its memory, while nothing it prints can get between the worker and its parent."""
    _step_back()
    with _output_to_nowhere():
        try:
            with bounded_memory(memory_bytes):
                return function(*args)
        except MemoryError:
            is_too_big = True
    if is_too_big:
        # A new exception: the first one holds frames, and with them the memory that was too much.
        raise MemoryError(f"more than {memory_bytes} bytes are needed")
    return None


def _step_back() -> None:
    """Let the processes that serve go first on a busy machine, where the system can; called before every piece of work."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


@contextmanager
def _output_to_nowhere() -> Iterator[None]:
    """Point the output descriptor elsewhere: solvers written in C print past `sys.stdout`."""
    sys.stdout.flush()
    kept = os.dup(_OUTPUT)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, _OUTPUT)
        yield
    finally:
        os.dup2(kept, _OUTPUT)
        os.close(kept)
        os.close(nowhere)
