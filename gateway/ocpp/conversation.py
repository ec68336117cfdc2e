"""OCPP-J over one web socket: calls, results and errors as frames, checked against the schemas of the `ocpp` package.

A message that breaks the schema is answered by a CALLERROR and reaches nobody; frames that are no OCPP at all are counted and
left unanswered, as OCPP-J 4 wants. What was said is in no log: it may name a driver.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from ocpp.exceptions import OCPPError
from ocpp.messages import Call, CallError, CallResult, unpack, validate_payload
from websockets.exceptions import ConnectionClosed

from gateway.domain.errors import InvalidInput, VoltbridgeError

Payload = dict[str, Any]
Handler = Callable[[Payload], Awaitable[Payload]]

_LOG = logging.getLogger(__name__)
_CODES_OF_16 = {
    "FormatViolation": "FormationViolation",
    "OccurrenceConstraintViolation": "OccurenceConstraintViolation",
}
"""OCPP-J 1.6 spells two codes of later versions otherwise (table 7, with its typing mistakes)."""


class Socket(Protocol):
    """The part of a web socket that is used."""

    async def send(self, message: str) -> None:
        """Send a text frame."""
        ...

    async def recv(self) -> str | bytes:
        """Return the next frame."""
        ...

    async def close(self) -> None:
        """End the connection in order."""
        ...


class CallRefused(VoltbridgeError):
    """The charger answered a call with CALLERROR."""

    reason = "OCPP_CALL_REFUSED"

    def __init__(self, code: str) -> None:
        super().__init__(f"CALLERROR {code}")
        self.code = code


class NoAnswer(VoltbridgeError):
    """The charger did not answer in time or the connection broke."""

    reason = "OCPP_NO_ANSWER"


class Conversation:
    """Both directions of one connection; one own call at a time, as OCPP-J demands."""

    def __init__(self, socket: Socket, version: str, answer_real_seconds: float) -> None:
        """Begin a conversation.

        Args:
            socket: Connected, the version agreed on.
            version: `1.6`, `2.0.1` or `2.1`.
            answer_real_seconds: How long a charger may take to answer, real time.
        """
        self.version = version
        self._socket = socket
        self._answer_seconds = answer_real_seconds
        self._handlers: Mapping[str, Handler] = {}
        self._turn = asyncio.Lock()
        self._waiting: dict[str, asyncio.Future[CallResult | CallError]] = {}
        self._number = 0

    def answer_with(self, handlers: Mapping[str, Handler]) -> None:
        """Say who answers which action; all others are answered NotImplemented."""
        self._handlers = handlers

    async def run(self) -> None:
        """Read until the connection ends."""
        try:
            while True:
                await self._take(await self._socket.recv())
        except ConnectionClosed:
            pass
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(NoAnswer("the connection ended before the charger answered"))

    async def close(self) -> None:
        """End the connection."""
        await self._socket.close()

    async def call(self, action: str, payload: Payload) -> Payload:
        """Call the charger and return its answer.

        Raises:
            CallRefused: It answered CALLERROR.
            NoAnswer: It did not answer in time, the connection broke, or the answer breaks the schema.
        """
        async with self._turn:
            self._number += 1
            call = Call(f"vb-{self._number}", action, payload)
            try:
                await validate_payload(call, self.version)
            except OCPPError as error:
                raise InvalidInput(f"ocpp.{action}", f"breaks the schema of OCPP {self.version}") from error
            answer = await self._exchange(call)
        if isinstance(answer, CallError):
            raise CallRefused(str(answer.error_code))
        answer.action = action
        try:
            await validate_payload(answer, self.version)
        except OCPPError as error:
            raise NoAnswer(f"the answer to {action} breaks the schema") from error
        result: Payload = answer.payload
        return result

    async def _exchange(self, call: Call) -> CallResult | CallError:
        waiting: asyncio.Future[CallResult | CallError] = asyncio.get_running_loop().create_future()
        self._waiting[call.unique_id] = waiting
        try:
            async with asyncio.timeout(self._answer_seconds):
                await self._socket.send(call.to_json())
                return await waiting
        except TimeoutError as error:
            raise NoAnswer(f"{call.action} was not answered within {self._answer_seconds:g} s") from error
        except ConnectionClosed as error:
            raise NoAnswer(f"the connection ended before {call.action} was answered") from error
        finally:
            self._waiting.pop(call.unique_id, None)

    async def _take(self, frame: str | bytes) -> None:
        try:
            message = unpack(frame)
        except (OCPPError, RecursionError, ValueError) as error:  # a number of 5,000 digits is a ValueError
            _LOG.warning("a frame that is no OCPP message was dropped (%s)", type(error).__name__)
            return
        if isinstance(message, Call):
            await self._socket.send((await self._answer(message)).to_json())
            return
        waiting = self._waiting.get(message.unique_id) if isinstance(message.unique_id, str) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    async def _answer(self, call: Call) -> CallResult | CallError:
        handler = self._handlers.get(call.action) if isinstance(call.action, str) else None
        if handler is None:
            return CallError(call.unique_id, "NotImplemented", "")
        try:
            await validate_payload(call, self.version)
            return CallResult(call.unique_id, await handler(call.payload))
        except OCPPError as error:
            code = error.code if self.version != "1.6" else _CODES_OF_16.get(error.code, error.code)
            _LOG.warning("%s was refused: %s", call.action, code)
            return CallError(call.unique_id, code, "")
        except (VoltbridgeError, ValueError, OverflowError, OSError) as error:
            _LOG.warning("%s could not be taken in: %s", call.action, type(error).__name__)
            return CallError(call.unique_id, "InternalError", "")
