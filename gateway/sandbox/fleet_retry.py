"""What every call of the fleet does when the gateway is away: wait a little longer each time, with jitter, and try again."""

import asyncio
import logging

import grpc
import numpy as np

TRANSIENT = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)
"""What passes by itself; anything else needs a person, and is tried again slowly until one has come."""
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
"""A gateway that is back is found within a second."""

_SHORTEST_S = 0.1
_LONGEST_S = 3.0
_LOG = logging.getLogger(__name__)


class Backoff:
    """Waits between tries: 0.1 s, doubling up to 3 s, each shortened by up to half at random; real time.

    Args:
        what: For the log.
        generator: Seeded.
        scale: Multiplies all waits; tests shorten them.
    """

    def __init__(self, what: str, generator: np.random.Generator, scale: float = 1.0) -> None:
        self._what = what
        self._generator = generator
        self._scale = scale
        self._tries = 0

    def reset(self) -> None:
        """Forget past failures: a call went through."""
        self._tries = 0

    async def wait(self, error: grpc.RpcError | None) -> None:
        """Say what failed and wait.

        Args:
            error: What the call raised; None when the peer ended a stream in order.
        """
        code = error.code() if isinstance(error, grpc.aio.AioRpcError) else None
        is_transient = code is None or code in TRANSIENT
        longest = min(_LONGEST_S, _SHORTEST_S * 2.0 ** min(self._tries, 10)) if is_transient else _LONGEST_S
        self._tries += 1
        seconds = longest * float(self._generator.uniform(0.5, 1.0)) * self._scale
        said = error.details() if isinstance(error, grpc.aio.AioRpcError) else "the stream was ended"
        name = "OK" if code is None else code.name
        _LOG.log(
            logging.INFO if is_transient else logging.ERROR,
            "%s: %s (%s), again in %.1f s",
            self._what,
            name,
            str(said).replace("\n", " ")[:300],
            seconds,
        )
        await asyncio.sleep(seconds)
