"""One utility of the scripted 2.0b VTN: its VEN, its queue, its book of events, its faults and its log.

A program plays many utilities at once, each under a path of its own, so that a script about one leaves the others alone.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from gateway.domain.errors import InvalidInput
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.vtn20b_reading import ReadMessage
from gateway.sandbox.vtn20b_signing import VtnSigner, forged
from gateway.sandbox.vtn20b_writing import message_of
from gateway.sandbox.vtn_control import Fault, FaultQueue, Script

NOT_REGISTERED = 463
INVALID_ID = 452
_DELIVERED_WITHOUT_POLL = frozenset({"oadrCreatedEvent", "oadrCreatedReport", "oadrCanceledReport", "oadrResponse"})


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageFault(Fault):
    """Something that goes wrong with the next messages of a kind.

    `on` is the kind of the VEN's message. `do`: `drop` cuts the connection, `empty` answers nothing, `status` an HTTP status,
    `code` an oadrResponse, `raw` bytes, `say` a message of the script, `drip` a byte at a time, `redirect` sends elsewhere. `body`
    is the text to send for `raw`, and where to for `redirect`.
    """

    code: int = 200
    message: Script = field(default_factory=dict)
    """For `say`: kind and fields."""


_FAULTS = frozenset({"drop", "empty", "status", "code", "raw", "say", "drip", "redirect"})


def parse_fault(document: Script) -> MessageFault:
    """Return the fault that a script describes.

    Raises:
        InvalidInput: A field is unknown or of the wrong kind.
    """
    try:
        fault = MessageFault(**{"times": 1, **document})
    except TypeError as error:
        raise InvalidInput("fault", str(error)) from error
    if fault.do not in _FAULTS:
        raise InvalidInput("fault.do", f"must be one of {', '.join(sorted(_FAULTS))}")
    return fault


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A message in the queue."""

    body: bytes
    tamper: str = ""
    """In a utility that signs: `unsigned`, `forged`, `ahead` (signed for in ten minutes), `repeat` (goes out twice), `as-is`."""


AHEAD = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldOptions:
    """Who the utility is."""

    vtn_id: str = "VTN-TEST"
    ven_name: str | None = None
    """Only this VEN may register; None lets any."""
    poll: str | None = "PT1M"
    """Poll frequency it asks for."""
    context: str = "http://selftest.example/dr"
    report_requests: tuple[Script, ...] = ()
    """Reports it asks for in its oadrRegisteredReport."""
    signing: Script | None = None
    """PEM texts `certificate` and `key`: every message is signed; None signs none."""


class World:
    """A utility that says what a script tells it and keeps what its VEN said."""

    def __init__(self, name: str, options: WorldOptions, clock: SandboxClock) -> None:
        self.name = name
        self.options = options
        self._clock = clock
        self._queue: deque[Waiting] = deque()
        self._book: list[Script] = []
        self.faults = FaultQueue[MessageFault]()
        self._registered = 0
        self._opts = 0
        self.ven_id = ""
        self.registration_id = ""
        self.log: list[dict[str, Any]] = []

    @property
    def waiting(self) -> int:
        """Messages that the VEN has not fetched yet."""
        return len(self._queue)

    def note(self, service: str, message: ReadMessage, fault: Fault | None = None) -> None:
        """Keep a message of the VEN, with what will go wrong with it."""
        self.log.append(
            {
                "n": len(self.log),
                "at": self._clock.now().isoformat(),
                "service": service,
                "kind": message.kind,
                "fields": message.fields,
                "problem": message.problem,
                "is_signed": message.is_signed,
                "fault": "" if fault is None else fault.do,
            }
        )

    def say(self, script: Script) -> None:
        """Put a message into the queue; `oadrDistributeEvent` also makes its events the book, unless it is tampered with.

        Raises:
            InvalidInput: It is no message that a VTN says.
        """
        kind = str(script.get("kind", ""))
        if kind == "oadrDistributeEvent" and script.get("tamper", "repeat") == "repeat":
            self._book = list(script.get("events", ()))
        waiting = Waiting(body=self.written(kind, script), tamper=str(script.get("tamper", "")))
        self._queue.append(waiting)

    def say_raw(self, body: bytes) -> None:
        """Put bytes into the queue as they are."""
        self._queue.append(Waiting(body=body, tamper="as-is"))

    def written(self, kind: str, script: Script) -> bytes:
        """Return a message with what the script leaves out: ids of this utility and its VEN, the context, the time."""
        own = {"vtn_id": self.options.vtn_id, "ven_id": self.ven_id, "registration_id": self.registration_id}
        events = {"events": [self._event(each) for each in script["events"]]} if "events" in script else {}
        return message_of(kind, {**own, **script, **events})

    def answer(self, message: ReadMessage) -> bytes:
        """Return what the utility answers when nothing goes wrong."""
        if message.kind == "oadrPoll" and self._is_known(message) and self._queue:
            return self._next()
        handler = _HANDLERS.get(message.kind)
        if handler is not None:
            return self._sealed(handler(self, message))
        code = 200 if message.kind in _DELIVERED_WITHOUT_POLL else 459
        return self._sealed(self.written("oadrResponse", {"code": code, "answers": _request_id(message)}))

    def _is_known(self, message: ReadMessage) -> bool:
        return bool(self.ven_id) and message.fields.get("venID") == self.ven_id

    def _sealed(self, body: bytes, ahead: timedelta = timedelta(0)) -> bytes:
        """Return the message signed, where the utility signs."""
        if self.options.signing is None:
            return body
        signer = VtnSigner(str(self.options.signing["certificate"]), str(self.options.signing["key"]))
        return signer.signed(body, self._clock.now() + ahead)

    def _next(self) -> bytes:
        """Return the oldest message of the queue, tampered with as its script says."""
        waiting = self._queue.popleft()
        if waiting.tamper in {"unsigned", "as-is"}:
            return waiting.body
        if waiting.tamper == "ahead":
            return self._sealed(waiting.body, AHEAD)
        if waiting.tamper == "forged":
            return forged(self._sealed(self.written("oadrResponse", {})), waiting.body)
        body = self._sealed(waiting.body)
        if waiting.tamper == "repeat":
            self._queue.appendleft(Waiting(body=body, tamper="as-is"))
        return body

    def _event(self, script: Script) -> Script:
        created = (self._clock.now() - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"context": self.options.context, "created": created, **script}

    def _query(self, message: ReadMessage) -> bytes:
        script = {"answers": _request_id(message), "poll": self.options.poll}
        nobody = {"registration_id": None, "ven_id": None} if not self.ven_id else {}
        return self.written("oadrCreatedPartyRegistration", {**script, **nobody})

    def _register(self, message: ReadMessage) -> bytes:
        fields = message.fields
        answers = {"answers": _request_id(message)}
        if self.options.ven_name not in {None, fields.get("oadrVenName")}:
            return self.written("oadrResponse", {**answers, "code": NOT_REGISTERED, "description": "not known"})
        claimed = fields.get("registrationID")
        if claimed is not None and claimed != self.registration_id:
            return self.written("oadrResponse", {**answers, "code": INVALID_ID, "description": "unknown registration"})
        if claimed is None:
            self._registered += 1
            self.ven_id = f"ven-{self.name}-{self._registered}"
            self.registration_id = f"reg-{self.name}-{self._registered}"
        return self.written("oadrCreatedPartyRegistration", {**answers, "poll": self.options.poll})

    def _deregister(self, message: ReadMessage) -> bytes:
        is_ours = message.fields.get("registrationID") == self.registration_id
        script = {"answers": _request_id(message), "code": 200 if is_ours else INVALID_ID}
        answer = self.written("oadrCanceledPartyRegistration", script)
        if is_ours:
            self.forget()
        return answer

    def forget(self) -> None:
        """Know the VEN no longer."""
        self.ven_id = self.registration_id = ""
        self._queue.clear()

    def _canceled(self, message: ReadMessage) -> bytes:
        answer = self.written("oadrResponse", {"answers": _request_id(message)})
        if message.fields.get("eiResponse", {}).get("responseCode") == "200":
            self.forget()
        return answer

    def _poll(self, message: ReadMessage) -> bytes:
        if not self._is_known(message):
            return self.written("oadrResponse", {"code": NOT_REGISTERED, "description": "not registered"})
        return self.written("oadrResponse", {})

    def _request_event(self, message: ReadMessage) -> bytes:
        script = {"code": 200, "answers": _request_id(message), "events": self._book}
        return self.written("oadrDistributeEvent", script)

    def _register_report(self, message: ReadMessage) -> bytes:
        script = {"answers": _request_id(message), "requests": self.options.report_requests}
        return self.written("oadrRegisteredReport", script)

    def _update_report(self, message: ReadMessage) -> bytes:
        return self.written("oadrUpdatedReport", {"answers": _request_id(message)})

    def _create_opt(self, message: ReadMessage) -> bytes:
        script = {"answers": _request_id(message), "opt_id": message.fields.get("optID", "")}
        return self.written("oadrCreatedOpt", script)

    def _cancel_opt(self, message: ReadMessage) -> bytes:
        script = {"answers": _request_id(message), "opt_id": message.fields.get("optID", "")}
        return self.written("oadrCanceledOpt", script)


_HANDLERS = {
    "oadrQueryRegistration": World._query,
    "oadrCreatePartyRegistration": World._register,
    "oadrCancelPartyRegistration": World._deregister,
    "oadrCanceledPartyRegistration": World._canceled,
    "oadrPoll": World._poll,
    "oadrRequestEvent": World._request_event,
    "oadrRegisterReport": World._register_report,
    "oadrUpdateReport": World._update_report,
    "oadrCreateOpt": World._create_opt,
    "oadrCancelOpt": World._cancel_opt,
}


def _request_id(message: ReadMessage) -> str:
    return str(message.fields.get("requestID", "")) if isinstance(message.fields, dict) else ""
