"""A worker for tests: runs the function where it stands, or fails on order."""

import pickle
from collections.abc import Callable
from typing import Any, ClassVar


class InlineWorker:
    """Runs functions on the spot, but only with what would survive the way to a process and back.

    What workers run is pure, so the same call is computed once for all tests.
    """

    _done: ClassVar[dict[bytes, bytes]] = {}

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        """Raised one by one instead of running."""
        self.calls: list[str] = []

    async def run(self, function: Callable[..., Any], *args: Any, deadline_s: float) -> Any:
        assert deadline_s > 0
        self.calls.append(function.__name__)
        if self.failures:
            raise self.failures.pop(0)
        call = pickle.dumps((function, args))
        if call not in self._done:
            there, arguments = pickle.loads(call)  # noqa: S301  # our own
            self._done[call] = pickle.dumps(there(*arguments))
        return pickle.loads(self._done[call])  # noqa: S301  # our own
