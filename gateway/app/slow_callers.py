"""Connections that say too little for too long are closed: whoever sends a byte a second keeps nobody else waiting (case C3)."""

import asyncio

import h11
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_PATIENCE_S = 10.0
"""Real seconds from the first byte of a request, or from the connection, to the end of its headers."""
BODY_PATIENCE_S = 60.0
"""Real seconds from the end of the headers to the end of the body."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that waits for a request only so long."""

    _deadline: asyncio.TimerHandle | None = None
    _awaited: object = None
    """State of the caller in which we wait; None while we do not."""

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    @override
    def data_received(self, data: bytes) -> None:
        """Read on, and wait for what comes next."""
        super().data_received(data)
        self._wait()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        """Set a deadline for the part of the request that has begun; more bytes of the same part do not move it."""
        state = self.conn.their_state
        if state is self._awaited:
            return
        self._stop()
        patience_s = {h11.IDLE: HEAD_PATIENCE_S, h11.SEND_BODY: BODY_PATIENCE_S}.get(state)
        if patience_s is not None:
            self._awaited = state
            self._deadline = self.loop.call_later(patience_s, self._give_up)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._awaited = None

    def _give_up(self) -> None:
        self._stop()
        if not self.transport.is_closing():
            self.transport.close()
