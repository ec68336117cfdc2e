"""Messages that the VTN pushes, waiting for the VEN, which takes one thing at a time like everything else it is told.

```
 VTN ── POST ──> PushServer ── bytes ──> PushInbox ── wake ──> Ven: guard, replay store, state machine ── answer ──> VTN
```
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from gateway.domain.errors import Unavailable, VoltbridgeError
from gateway.openadr.v20b.conversation import Conversation, Heard
from gateway.openadr.v20b.names import Code, Service
from gateway.openadr.v20b.rejection import TOO_MUCH, MessageRejected
from gateway.openadr.v20b.wire import CancelPartyRegistration, Incoming, OadrResponse, RequestReregistration
from gateway.openadr.v20b.wire_events import DistributeEvent
from gateway.openadr.v20b.wire_parts import Response
from gateway.openadr.v20b.wire_reports import CancelReport, CreateReport, RegisterReport
from gateway.wakeup import WakeUp

SERVICE_OF: dict[type[Incoming], Service] = {
    CancelPartyRegistration: Service.REGISTER,
    CancelReport: Service.REPORT,
    CreateReport: Service.REPORT,
    DistributeEvent: Service.EVENT,
    RegisterReport: Service.REPORT,
    RequestReregistration: Service.REGISTER,
}
"""What a VTN may push, and to which of our services."""
_MOST_WAITING = 16


class Pushed:
    """One message that the VTN has pushed and waits for our answer to."""

    def __init__(self, service: Service, body: bytes, answer: "asyncio.Future[bytes]") -> None:
        self.service = service
        self.body = body
        self._answer = answer

    @property
    def is_waiting(self) -> bool:
        """Whether the VTN still waits for an answer."""
        return not self._answer.done()

    def give(self, answer: bytes) -> None:
        """Answer the VTN; too late is no error, it will ask again."""
        if self.is_waiting:
            self._answer.set_result(answer)

    def fail(self, error: VoltbridgeError) -> None:
        """Tell the VTN that its message was not taken."""
        if self.is_waiting:
            self._answer.set_exception(error)


class PushInbox:
    """Pushed messages on their way to the VEN.

    Args:
        wake: Rung for each one.
    """

    def __init__(self, wake: WakeUp) -> None:
        self._wake = wake
        self._waiting: deque[Pushed] = deque()

    async def receive(self, service: Service, body: bytes, *, patience_s: float) -> bytes:
        """Have a message taken and return our answer.

        Args:
            service: Which of our services it came to.
            body: The message.
            patience_s: Real seconds to wait for the VEN.

        Raises:
            Unavailable: The VEN is busy, or what the message says could not be kept.
            InvalidInput: The message is not let in.
        """
        if len(self._waiting) >= _MOST_WAITING:
            raise Unavailable("too many messages are waiting")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        pushed = Pushed(service, body, answer)
        self._waiting.append(pushed)
        self._wake.ring()
        try:
            async with asyncio.timeout(patience_s):
                return await answer
        except TimeoutError as error:
            raise Unavailable("no time for the message") from error
        finally:
            if pushed in self._waiting:
                self._waiting.remove(pushed)

    def take(self) -> Pushed | None:
        """Return the next message that somebody still waits for; None when there is none."""
        return self._waiting.popleft() if self._waiting else None


class PushTaker:
    """Answers what the VTN has pushed, by the same rules as what it is polled for.

    Args:
        conversation: Lets messages in and carries our answers.
        take: Takes one message that was let in; what it tells the VTN first goes back on the VTN's own connection.
    """

    def __init__(self, conversation: Conversation, take: Callable[[Heard[Incoming]], Awaitable[None]]) -> None:
        self._conversation = conversation
        self._take = take

    async def answer(self, pushed: Pushed) -> None:
        """Take one message and answer it.

        Raises:
            MessageRejected: It is not let in.
            VoltbridgeError: It could not be taken; or, when it is answered already, what had to follow did not reach the VTN.
        """
        conversation = self._conversation
        if conversation.registration is None:
            pushed.give(self._said(Code.NOT_REGISTERED, "we are not registered"))
            return
        try:
            heard = await conversation.admit(pushed.body)
        except MessageRejected as error:
            if error.why not in TOO_MUCH:
                raise
            pushed.give(self._said(Code.OTHER, f"the message {error.problem}"))
            return
        request_id = getattr(heard.message, "request_id", "")
        if SERVICE_OF.get(type(heard.message)) is not pushed.service:
            pushed.give(self._said(Code.NOT_RECOGNIZED, "not for this service", request_id))
            return
        with conversation.answering(pushed.give, self._said(Code.OK, "OK", request_id)):
            await self._take(heard)

    def _said(self, code: int, description: str, request_id: str = "") -> bytes:
        """Return a bare answer."""
        response = Response(code=code, description=description, request_id=request_id)
        answer = OadrResponse(response=response, ven_id=self._conversation.ven_id or None)
        return self._conversation.written(answer)
