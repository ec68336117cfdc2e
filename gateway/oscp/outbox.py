"""How our messages leave: from rows, in the order in which things happened, retried until taken, expired or refused.

A message keeps its request id and its tokens over all tries. 5, 10 and 15 s after the first tries it is tried again, then every
minute; an answer of 4xx other than 408 and 429 ends it, and so does its time, also while we are down. One message that waits for
its next try does not hold up the others. Messages leave in lanes, one at a time in each: a partner that hangs over a measurement
gets the acknowledgement of its handshake meanwhile.
"""

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from gateway.domain.errors import Conflict, InvalidInput, PeerUnavailable, Unavailable
from gateway.domain.oscp import OscpMessage
from gateway.observe import OSCP_MESSAGES, logger
from gateway.oscp.names import (
    ASSET_MEASUREMENTS,
    GROUP_MEASUREMENTS,
    HANDSHAKE,
    HANDSHAKE_ACKNOWLEDGE,
    HANDSHAKE_ACKNOWLEDGMENT,
    REGISTER,
)
from gateway.oscp.peer import OscpPeer
from gateway.outbound import Answer, Call
from gateway.ports import Batch, Put
from gateway.wakeup import WakeUp

PAUSES = (timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=15))
"""Waits after the first failures; the pattern of a widespread server."""
LATER = timedelta(minutes=1)
_IDLE = timedelta(minutes=1)
_RETRIED = frozenset({408, 425, 429})
_OK = range(200, 300)
_FIRST_SERVER_ERROR = 500
_NOT_FOUND = 404
_LONGEST_OUTCOME = 200
_log = logger("oscp")


class Lane(StrEnum):
    """Messages that leave in their order; those of another lane do not wait for them."""

    CONTACT = "contact"
    """Register, handshake and their answers: what the link lives on."""
    MEASUREMENT = "measurement"
    WORD = "word"
    """Forecasts, wishes and compliance errors."""


_LANES = {
    REGISTER: Lane.CONTACT,
    HANDSHAKE: Lane.CONTACT,
    HANDSHAKE_ACKNOWLEDGE: Lane.CONTACT,
    GROUP_MEASUREMENTS: Lane.MEASUREMENT,
    ASSET_MEASUREMENTS: Lane.MEASUREMENT,
}


class Http(Protocol):
    """Calls the partner (see `gateway.outbound.PeerHttp`)."""

    async def call(self, call: Call) -> Answer:
        """Send a request and return the answer.

        Raises:
            InvalidInput: The address must not be called; nothing was sent.
            PeerUnavailable: There was no usable answer.
        """
        ...

    async def close(self) -> None:
        """Give up connections; it may be used again."""
        ...


class Outbox:
    """Sends what a partner shall be told.

    Args:
        peer: The partner.
        http: Calls it.
    """

    def __init__(self, peer: OscpPeer, http: Http) -> None:
        self._peer = peer
        self._around = peer.around
        self._http = http
        self._wakes = {lane: WakeUp(peer.around.clock) for lane in Lane}
        self.failures = 0
        """Tries that failed since the last one that succeeded."""
        self.waiting = 0
        """Messages that were not taken yet, at the last look."""
        peer.on_change.extend(wake.ring for wake in self._wakes.values())

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for lane in Lane:
                tasks.create_task(self._run(lane))

    async def _run(self, lane: Lane) -> None:
        while True:
            try:
                next_look = await self.send_due(lane)
            except (Conflict, Unavailable) as error:
                _log.warning("messages wait", authority=self._peer.link.id, lane=lane.value, reason=str(error))
                next_look = self._around.clock.now() + PAUSES[0]
            await self._wakes[lane].wait(next_look)

    async def send_due(self, lane: Lane) -> datetime:
        """Send everything of a lane that is due and return when to look again."""
        where: dict[str, str | int] = {"authority": self._peer.link.id, "is_open": True}
        rows = await self._around.store.find(OscpMessage, self._peer.link.tenant, where)
        self.waiting = len(rows)
        next_look = self._around.clock.now() + _IDLE
        for message in (row.record for row in rows if _LANES.get(row.record.path, Lane.WORD) is lane):
            if message.due_at <= self._around.clock.now() and self._can_send(message):
                message = await self._try(message)  # noqa: PLW2901  # as it is after the try
            if message.is_open and self._can_send(message):
                next_look = min(next_look, message.due_at)
        return next_look

    def _can_send(self, message: OscpMessage) -> bool:
        """Before the partner has told us where it is, only the Register that asks it can leave."""
        return bool(message.url) or bool(self._peer.link.base_url and self._peer.link.sealed_token)

    async def _try(self, message: OscpMessage) -> OscpMessage:
        if message.expires_at <= self._around.clock.now():
            # We were away until now: what it says of that time is of no use, and may be wrong by now.
            return await self._settle(message, "not sent: its time is over", is_over=True, is_taken=False)
        try:
            answer = await self._deliver(message)
            is_over = answer.status in _OK or not _is_retried(answer.status)
            outcome, is_taken = f"HTTP {answer.status}", answer.status in _OK
        except PeerUnavailable as error:
            is_over, is_taken, outcome = False, False, str(error)
        except InvalidInput as error:
            is_over, is_taken, outcome = True, False, f"not sent: {error.problem}"
        return await self._settle(message, outcome[:_LONGEST_OUTCOME], is_over=is_over, is_taken=is_taken)

    async def _settle(self, message: OscpMessage, outcome: str, *, is_over: bool, is_taken: bool) -> OscpMessage:
        now = self._around.clock.now()
        pause = PAUSES[message.attempts] if message.attempts < len(PAUSES) else LATER
        is_given_up = not is_over and now + pause >= message.expires_at
        settled = replace(
            message,
            attempts=message.attempts + 1,
            due_at=now + pause,
            is_open=not (is_over or is_given_up),
            outcome=outcome if is_over or is_given_up else "",
        )
        current = await self._around.store.get(OscpMessage, message.tenant, message.id)
        if current is not None and current.record.is_open:
            puts = (Put(record=settled),)
            await self._around.store.apply(Batch(tenant=message.tenant, puts=puts))
        else:
            settled = replace(settled, is_open=False)
        self._count(settled, outcome, is_taken=is_taken)
        if is_taken and message.path == REGISTER:
            await self._peer.register_taken(message)
        return settled

    def _count(self, message: OscpMessage, outcome: str, *, is_taken: bool) -> None:
        result = "taken" if is_taken else ("retried" if message.is_open else "given up")
        OSCP_MESSAGES.labels(message=message.path, result=result).inc()
        if is_taken:
            self.failures = 0
            return
        self.failures += 1
        self._peer.problem = f"{message.path}: {outcome}"
        if not message.is_open:
            _log.warning("message given up", authority=message.authority, path=message.path, outcome=outcome)

    async def _deliver(self, message: OscpMessage) -> Answer:
        path = message.path
        if path != HANDSHAKE_ACKNOWLEDGE:
            return await self.post(message, path)
        known = self._peer.link.ack_path or self._around.settings.ack_path or path
        answer = await self.post(message, known)
        if answer.status != _NOT_FOUND or self._peer.link.ack_path:
            return answer
        other = HANDSHAKE_ACKNOWLEDGMENT if known == HANDSHAKE_ACKNOWLEDGE else HANDSHAKE_ACKNOWLEDGE
        answer = await self.post(message, other)
        if answer.status in _OK:
            await self._peer.remember_ack_path(other)
        return answer

    async def post(self, message: OscpMessage, path: str) -> Answer:
        """Send a message once.

        Raises:
            InvalidInput: The address must not be called, or the key file does not open the token.
            PeerUnavailable: There was no usable answer.
        """
        link, seal = self._peer.link, self._around.seal
        body = message.body
        if message.sealed_token:
            body = json.dumps({"token": seal.open(message.sealed_token), **json.loads(body)})
        headers = {
            "Authorization": f"Token {seal.open(message.sealed_key or link.sealed_token)}",
            "X-Request-ID": message.request_id,
            "Content-Type": "application/json",
        }
        if message.correlation_id:
            headers["X-Correlation-ID"] = message.correlation_id
        call = Call(
            method=message.method,
            url=f"{(message.url or link.base_url).rstrip('/')}/{path}",
            headers=headers,
            body=body.encode(),
        )
        return await self._noted(call, path)

    async def _noted(self, call: Call, path: str) -> Answer:
        what, sent = f"{call.method} {path}", len(call.body or b"")
        try:
            answer = await self._http.call(call)
        except PeerUnavailable as error:
            self._around.notes.unanswered(what, str(error), sent=sent)
            raise
        is_failed = answer.status not in _OK
        self._around.notes.answered(
            what, f"HTTP {answer.status}", sent=sent, received=len(answer.body), is_failed=is_failed
        )
        return answer


def _is_retried(status: int) -> bool:
    return status in _RETRIED or status >= _FIRST_SERVER_ERROR
