"""One question to the VTN and its checked answer; what every exchange has in common.

An answer counts only after the guard, the replay store and the codec have passed it. Two answers are never an answer to the
question: 463 says that the VTN does not know us, `oadrRequestReregistration` that it wants us to start anew; both are raised.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.signals import VenRegistration
from gateway.observe import logger
from gateway.openadr.contact import Contact
from gateway.openadr.https import AnswerTooLong
from gateway.openadr.v20b.codec import Seal, encode
from gateway.openadr.v20b.names import Code, Service
from gateway.openadr.v20b.reader import Packed, Read, read, read_packed, unpack
from gateway.openadr.v20b.rejection import MessageRejected, Reason, count_rejection
from gateway.openadr.v20b.replay import SeenMarks
from gateway.openadr.v20b.settings import VenSettings
from gateway.openadr.v20b.signature import MessageSigner
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.openadr.v20b.transport import Transport
from gateway.openadr.v20b.wire import Incoming, Outgoing, RequestReregistration
from gateway.openadr.v20b.wire_events import CreatedEvent
from gateway.openadr.v20b.wire_parts import Response
from gateway.ports import Worker

LARGE_BYTES = 200_000
"""A longer answer is read in a worker process, so that the event loop does not stall."""
_WORKER_SECONDS = 20.0
_log = logger("openadr")

MessageT = TypeVar("MessageT", bound=Incoming)


class NotRegistered(PeerUnavailable):
    """The VTN does not know us (463): register again."""


class ReregistrationRequested(PeerUnavailable):
    """The VTN wants us to register again.

    Attributes:
        ven_id: Whom it said it to.
    """

    def __init__(self, ven_id: str) -> None:
        super().__init__("the VTN asks us to register again")
        self.ven_id = ven_id


class Declined(PeerUnavailable):
    """The VTN answered with an error code.

    Attributes:
        code: Its response code.
    """

    def __init__(self, asked: str, response: Response) -> None:
        super().__init__(f"the VTN answered {asked} with {response.code}")
        self.code = response.code


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard(Generic[MessageT]):
    """A checked answer and the bytes it was read from."""

    message: MessageT
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class _Caller:
    """The VTN that has pushed something and waits for our answer."""

    give: Callable[[bytes], None]
    acknowledgement: bytes
    task: "asyncio.Task[object] | None"
    """Who answers: what others say meanwhile is not for the one who waits."""


class Conversation:
    """Asks one VTN, one question at a time.

    Args:
        around: Settings and ports; the store keeps used nonces.
        transport: Carries the bytes.
        contact: Is told whenever the VTN said something understandable.
        worker: Reads large answers; None reads them here.
    """

    def __init__(self, around: Surroundings, transport: Transport, contact: Contact, worker: Worker | None) -> None:
        self._settings = around.settings
        self._policy = around.settings.guard_policy()
        self._transport = transport
        self._marks = SeenMarks(
            around.store, around.clock, tenant=around.settings.tenant, authority=around.settings.authority
        )
        self._contact = contact
        self._clock = around.clock
        self._ids = around.ids
        self._worker = worker
        self._signer = _signer(around.settings)
        self._caller: _Caller | None = None
        self.registration: VenRegistration | None = None
        """Who we are for the VTN; None while unknown."""

    @property
    def ven_id(self) -> str:
        """Our id at the VTN; empty while not registered."""
        return "" if self.registration is None else self.registration.ven_id

    @property
    def signs(self) -> bool:
        """Whether our messages are signed."""
        return self._signer is not None

    def new_request_id(self) -> str:
        """Return a fresh requestID."""
        return self._ids.new("req")

    async def ask(self, service: Service, message: Outgoing) -> Heard[Incoming] | None:
        """Send a message and return the answer; None for an empty one, which some VTNs send for "fine".

        Raises:
            PeerUnavailable: No answer.
            MessageRejected: An answer that the guard or the replay store does not let in.
            InvalidInput: An answer that no VEN can understand.
            NotRegistered: The VTN does not know us.
            ReregistrationRequested: It wants us to register again.
        """
        asked = type(message).__name__
        try:
            body = await self._transport.post(service, self.written(message))
        except AnswerTooLong as error:
            count_rejection(Reason.TOO_LARGE)
            raise MessageRejected(Reason.TOO_LARGE, str(error)) from error
        if not body.strip():
            await self._contact.heard()
            return None
        answer = await self.admit(body)
        if isinstance(answer.message, RequestReregistration):
            raise ReregistrationRequested(answer.message.ven_id)
        response: Response | None = getattr(answer.message, "response", None)
        if response is not None and response.code == Code.NOT_REGISTERED:
            raise NotRegistered(f"the VTN answered {asked} with {Code.NOT_REGISTERED}")
        return answer

    async def admit(self, body: bytes) -> Heard[Incoming]:
        """Return what a message of the VTN says once the guard, the replay store and the codec have passed it.

        Raises:
            MessageRejected: The guard or the replay store does not let it in.
            InvalidInput: No VEN can understand it.
            StorageUnavailable: What makes it unique could not be kept.
        """
        answer = await self._let_in(body)
        await self._contact.heard()
        return Heard(message=answer.message, body=body)

    def written(self, message: Outgoing) -> bytes:
        """Return a message as it goes on the wire, signed if we sign."""
        return encode(message, self._seal())

    async def ask_for(self, service: Service, message: Outgoing, wanted: type[MessageT]) -> Heard[MessageT]:
        """Send a message and return the answer, which must be of one kind and say that all is well.

        Raises:
            Declined: The VTN answered with an error code.
            PeerUnavailable: It answered something else, or nothing; see `ask` for more.
        """
        heard = await self.ask(service, message)
        asked = type(message).__name__
        if heard is None:
            raise PeerUnavailable(f"the VTN answered {asked} with nothing")
        response: Response | None = getattr(heard.message, "response", None)
        if response is not None and not response.is_ok:
            raise Declined(asked, response)
        if not isinstance(heard.message, wanted):
            raise PeerUnavailable(f"the VTN answered {asked} with {type(heard.message).__name__}")
        return Heard(message=heard.message, body=heard.body)

    async def tell(self, service: Service, message: Outgoing) -> None:
        """Send a message whose answer says no more than whether it arrived; an error code is only logged.

        Raises:
            PeerUnavailable: It may not have arrived; see `ask` for more.
        """
        if self._answers_caller(message):
            return
        heard = await self.ask(service, message)
        response: Response | None = None if heard is None else getattr(heard.message, "response", None)
        if response is not None and not response.is_ok:
            _log.warning(
                "answer not accepted",
                authority=self._settings.authority,
                told=type(message).__name__,
                code=response.code,
            )

    @contextmanager
    def answering(self, give: Callable[[bytes], None], acknowledgement: bytes) -> Iterator[None]:
        """Let what is told next be the answer to a message that the VTN has pushed, on the VTN's own connection.

        An answer to events never is: the VTN is told that we have them, and then what we answer in a message of its own.

        Args:
            give: Takes the answer, once.
            acknowledgement: Is the answer when nothing else is.
        """
        caller = self._caller = _Caller(give=give, acknowledgement=acknowledgement, task=asyncio.current_task())
        try:
            yield
            if self._caller is caller:
                give(acknowledgement)
        finally:
            self._caller = None

    def _answers_caller(self, message: Outgoing) -> bool:
        """Answer the VTN that waits for us, if it does; tell whether there is nothing left to post."""
        caller = self._caller
        if caller is None or caller.task is not asyncio.current_task():
            return False
        self._caller = None
        is_own_message = isinstance(message, CreatedEvent)
        caller.give(caller.acknowledgement if is_own_message else self.written(message))
        return not is_own_message

    def _seal(self) -> Seal | None:
        signer = self._signer
        if signer is None:
            return None
        return lambda root: signer.sign(root, now=self._clock.now(), nonce=self._ids.new("nonce"))

    async def _let_in(self, body: bytes) -> Read:
        """Return what an answer says once guard, codec and replay memory have passed it; count what they have not."""
        try:
            answer = await self._read(body)
            if answer.mark is not None:
                await self._marks.take(answer.mark)
        except MessageRejected as error:
            count_rejection(error.why)
            raise
        except InvalidInput:
            count_rejection(Reason.NOT_UNDERSTOOD)
            raise
        return answer

    async def _read(self, body: bytes) -> Read:
        now: datetime = self._clock.now()
        if self._worker is None or len(body) <= LARGE_BYTES:
            return read(body, self._policy, now)
        try:
            packed: Packed = await self._worker.run(read_packed, body, self._policy, now, deadline_s=_WORKER_SECONDS)
        except TimeoutError as error:
            raise PeerUnavailable("the VTN's answer takes too long to check") from error
        return await unpack(packed)


def _signer(settings: VenSettings) -> MessageSigner | None:
    files = settings.signing
    return None if files is None else MessageSigner(files.cert_file.read_bytes(), files.key_file.read_bytes())
