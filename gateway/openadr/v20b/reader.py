"""From the bytes of an answer to a message in one step: what a worker process is asked to do with large ones."""

from dataclasses import dataclass
from datetime import datetime

from gateway.openadr.v20b.codec import decode
from gateway.openadr.v20b.guard import GuardPolicy, check
from gateway.openadr.v20b.signature import ReplayMark
from gateway.openadr.v20b.wire import Incoming


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """A message that passed the guard."""

    message: Incoming
    mark: ReplayMark | None
    """What makes it unique when it was signed."""


def read(body: bytes, policy: GuardPolicy, now: datetime) -> Read:
    """Check and decode a message; importable by name and free of state, so that it can run in a worker process.

    Raises:
        MessageRejected: It breaks a rule of the guard.
        InvalidInput: It is not for a VEN, or a value outside an event has no exact meaning.
    """
    checked = check(body, policy, now)
    return Read(message=decode(checked.signed_object), mark=checked.mark)
