"""One question to the VTN and its checked answer; what every exchange has in common.

An answer counts only after the guard, the replay store and the codec have passed it. Two answers are never an answer to the
question: 463 says that the VTN does not know us, `oadrRequestReregistration` that it wants us to start anew; both are raised.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from gateway.domain.errors import Conflict, PeerUnavailable
from gateway.domain.signals import SeenNonce, VenRegistration
from gateway.observe import logger
from gateway.openadr.contact import Contact
from gateway.openadr.v20b.codec import Seal, encode
from gateway.openadr.v20b.names import Code, Service
from gateway.openadr.v20b.reader import Read, read
from gateway.openadr.v20b.rejection import MessageRejected, Reason
from gateway.openadr.v20b.settings import VenSettings
from gateway.openadr.v20b.signature import MessageSigner
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.openadr.v20b.transport import Transport
from gateway.openadr.v20b.wire import Incoming, Outgoing, RequestReregistration
from gateway.openadr.v20b.wire_parts import Response
from gateway.ports import Batch, Put, Worker

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
        self._store = around.store
        self._contact = contact
        self._clock = around.clock
        self._ids = around.ids
        self._worker = worker
        self._signer = _signer(around.settings)
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
        body = await self._transport.post(service, encode(message, self._seal()))
        if not body.strip():
            await self._contact.heard()
            return None
        answer = await self._read(body)
        await self._refuse_replay(answer)
        await self._contact.heard()
        if isinstance(answer.message, RequestReregistration):
            raise ReregistrationRequested(answer.message.ven_id)
        response: Response | None = getattr(answer.message, "response", None)
        if response is not None and response.code == Code.NOT_REGISTERED:
            raise NotRegistered(f"the VTN answered {asked} with {Code.NOT_REGISTERED}")
        return Heard(message=answer.message, body=body)

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
        heard = await self.ask(service, message)
        response: Response | None = None if heard is None else getattr(heard.message, "response", None)
        if response is not None and not response.is_ok:
            _log.warning(
                "answer not accepted",
                authority=self._settings.authority,
                told=type(message).__name__,
                code=response.code,
            )

    def _seal(self) -> Seal | None:
        signer = self._signer
        if signer is None:
            return None
        return lambda root: signer.sign(root, now=self._clock.now(), nonce=self._ids.new("nonce"))

    async def _read(self, body: bytes) -> Read:
        now: datetime = self._clock.now()
        if self._worker is None or len(body) <= LARGE_BYTES:
            return read(body, self._policy, now)
        try:
            answer: Read = await self._worker.run(read, body, self._policy, now, deadline_s=_WORKER_SECONDS)
        except TimeoutError as error:
            raise PeerUnavailable("the VTN's answer takes too long to check") from error
        return answer

    async def _refuse_replay(self, answer: Read) -> None:
        """Keep the mark of a signed answer, or refuse the answer because the mark was kept before."""
        if answer.mark is None:
            return
        nonce = SeenNonce(
            id=f"{self._settings.authority}:{answer.mark.digest}",
            tenant=self._settings.tenant,
            authority=self._settings.authority,
            seen_at=self._clock.now(),
        )
        try:
            await self._store.apply(Batch(tenant=self._settings.tenant, puts=(Put(record=nonce, expected_version=0),)))
        except Conflict as error:
            raise MessageRejected(Reason.REPLAYED, "was sent before") from error


def _signer(settings: VenSettings) -> MessageSigner | None:
    files = settings.signing
    return None if files is None else MessageSigner(files.cert_file.read_bytes(), files.key_file.read_bytes())
