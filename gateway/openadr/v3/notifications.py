"""What a VTN's notification is worth: a reason to look now, if it is about something of ours; never content to use.

Webhooks and MQTT carry the same JSON. A lost one is made good by the next poll, one that comes twice is two looks at the same state.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.errors import InvalidInput
from gateway.json_guard import JsonPolicy, read_json
from gateway.openadr.v3.names import ObjectKind
from gateway.openadr.v3.reader import read_notification
from gateway.openadr.v3.wire import Notification
from gateway.ports import Clock

POLICY = JsonPolicy(max_bytes=262_144, max_depth=24, max_values=20_000)
"""How much a notification may hold: one object of the VTN."""
WORTH_A_LOOK = frozenset(
    kind.value for kind in (ObjectKind.PROGRAM, ObjectKind.EVENT, ObjectKind.VEN, ObjectKind.RESOURCE)
)
"""Kinds of objects whose change may change what we do; reports and subscriptions are ours."""

Wake = Callable[[], None]
"""What to call when it is worth to look now; called from the event loop, returns at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interest:
    """What of a VTN is ours, as last learnt from it."""

    targets: frozenset[str] = frozenset()
    """Target values that the VTN granted us and our resources; empty when it has not said."""
    programs: frozenset[str] = frozenset()
    """Ids of the programs we take part in; empty for all."""

    def covers(self, notification: Notification) -> bool:
        """Tell whether to look. Without targets on either side there is nothing to sort out by, so we look."""
        if notification.object_type.lower() not in WORTH_A_LOOK:
            return False
        if self.programs and notification.program_id and notification.program_id not in self.programs:
            return False
        wanted = {target.value for target in notification.targets}
        return not wanted or not self.targets or not wanted.isdisjoint(self.targets)


def decode(body: bytes) -> Notification:
    """Return the notification in a message of a VTN of either dialect.

    Raises:
        InvalidInput: It is too large, no JSON, or no notification.
    """
    return read_notification(read_json(body, POLICY))


@dataclass(slots=True)
class NotificationCount:
    """How many notifications came over one way, for the health endpoint and the operator's page."""

    taken: int = 0
    """They made us look."""
    foreign: int = 0
    """About something that is not ours."""
    refused: int = 0
    """Not to be read, or without the right token."""
    last_at: datetime | None = None
    """When one last made us look; None if none has since the start."""


class Doorbell:
    """Wakes a VEN for notifications about something of ours, whichever way they come, and counts them.

    Args:
        interest: Returns what of the VTN is ours.
        wake: Called for each notification about it.
        clock: Market time.
    """

    def __init__(self, interest: Callable[[], Interest], wake: Wake, clock: Clock) -> None:
        self.count = NotificationCount()
        self._interest = interest
        self._wake = wake
        self._clock = clock

    def ring(self, body: bytes) -> None:
        """Look at a notification and wake the VEN if it is about something of ours.

        Raises:
            InvalidInput: It cannot be read.
        """
        try:
            notification = decode(body)
        except InvalidInput:
            self.count.refused += 1
            raise
        if not self._interest().covers(notification):
            self.count.foreign += 1
            return
        self.count.taken += 1
        self.count.last_at = self._clock.now()
        self._wake()
