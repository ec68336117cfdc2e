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

_OUTPUT = 1
"""File descriptor of standard output, over which a worker process answers."""


class ProcessWorker:
    """Runs module-level functions in killable processes, at most so many at a time."""

    def __init__(self, *, process_count: int = 1) -> None:
        """Take how many processes may run at once; further calls wait, and their deadline starts when they run."""
        self._process_count = process_count
        self._places: anyio.CapacityLimiter | None = None

    async def run(self, function: Callable[..., Any], *args: Any, deadline_s: float) -> Any:  # noqa: ANN401  # the port's
        """Run a function in a worker process and return its result.

        Args:
            function: Importable by name; arguments and result travel pickled.
            args: Positional arguments.
            deadline_s: Real seconds after which the process is killed.

        Raises:
            TimeoutError: The deadline passed; the process is gone.
            Unavailable: The process died by itself (out of memory, crash of a solver).
            Exception: Whatever the function raised.
        """
        if self._places is None:
            self._places = anyio.CapacityLimiter(self._process_count)
        async with self._places:
            try:
                with anyio.fail_after(deadline_s):
                    return await anyio.to_process.run_sync(
                        _run_quietly, function, args, cancellable=True, limiter=anyio.CapacityLimiter(1)
                    )
            except anyio.BrokenWorkerProcess as error:
                name = getattr(function, "__qualname__", "function")
                raise Unavailable(f"the worker process of {name} ended unexpectedly") from error


def _run_quietly(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:  # noqa: ANN401  # whatever it returns
    """Run a function while nothing it prints can get between the worker and its parent."""
    with _output_to_nowhere():
        return function(*args)


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
