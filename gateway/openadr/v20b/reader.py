"""From the bytes of an answer to a message in one step, here or, when there are many, in a worker process.

What a worker sends back is opened bit by bit, so that a message of a thousand events does not stall the event loop on its way in.
"""

import asyncio
import pickle
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.domain.errors import Unavailable
from gateway.observe import logger
from gateway.openadr.v20b.codec import decode
from gateway.openadr.v20b.guard import GuardPolicy, check
from gateway.openadr.v20b.schema import schema
from gateway.openadr.v20b.signature import ReplayMark
from gateway.openadr.v20b.wire import Incoming
from gateway.openadr.v20b.wire_events import BrokenEvent, DistributeEvent, WireEvent
from gateway.ports import Worker

_EVENTS_IN_A_PIECE = 50
_LOADING_SECONDS = 60.0
_WARM_SECONDS = 200.0
"""Real seconds; an idle worker process lives for 300."""
_log = logger("openadr")


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """A message on its way back from a worker process."""

    frame: bytes
    """The pickled `Read`, without its events."""
    events: tuple[bytes, ...]
    """Its events, pickled in pieces."""


def read_packed(body: bytes, policy: GuardPolicy, now: datetime) -> Packed:
    """Do what `read` does, in a worker process, and pack the result for the way back.

    Raises:
        MessageRejected: It breaks a rule of the guard.
        InvalidInput: It is not for a VEN, or a value outside an event has no exact meaning.
    """
    found = read(body, policy, now)
    events: tuple[WireEvent | BrokenEvent, ...] = ()
    message = found.message
    if isinstance(message, DistributeEvent):
        events = message.events
        found = replace(found, message=replace(message, events=()))
    starts = range(0, len(events), _EVENTS_IN_A_PIECE)
    pieces = tuple(pickle.dumps(events[start : start + _EVENTS_IN_A_PIECE]) for start in starts)
    return Packed(frame=pickle.dumps(found), events=pieces)


async def keep_warm(worker: Worker) -> None:
    """Keep a worker process that has everything loaded, so that the first large message does not wait for it; runs for ever."""
    while True:
        try:
            await worker.run(load_schema, deadline_s=_LOADING_SECONDS)
        except (TimeoutError, Unavailable) as error:
            _log.warning("no worker to read messages", problem=type(error).__name__)
        await asyncio.sleep(_WARM_SECONDS)


def load_schema() -> None:
    """Load what every message needs; for worker processes."""
    schema()


async def unpack(packed: Packed) -> Read:
    """Return what a worker has read; others have their turn between the pieces."""
    found: Read = pickle.loads(packed.frame)  # noqa: S301  # pickled by our own worker
    message = found.message
    if not isinstance(message, DistributeEvent):
        return found
    events: list[WireEvent | BrokenEvent] = []
    for piece in packed.events:
        events += pickle.loads(piece)  # noqa: S301  # pickled by our own worker
        await asyncio.sleep(0)
    return replace(found, message=replace(message, events=tuple(events)))
