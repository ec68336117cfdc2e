"""Heartbeats: ours at the pace that the partner asked for, and the watch over those that it promised."""

from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput, PeerUnavailable, StorageUnavailable
from gateway.domain.oscp import LinkState, OscpMessage
from gateway.observe import logger
from gateway.oscp.composing import heartbeat_body
from gateway.oscp.names import HEARTBEAT
from gateway.oscp.outbox import Outbox
from gateway.oscp.peer import OscpPeer
from gateway.wakeup import WakeUp

_FIRST_BEAT = timedelta(seconds=1)
"""After the handshake, so that its acknowledgement goes first."""
_IDLE = timedelta(minutes=1)
_AGAIN = timedelta(seconds=1)
_LONGEST_PACE_S = 366 * 86_400.0
"""A partner that wants our heartbeats less often gets one so often: its number may lead beyond any calendar."""
_AGREED = frozenset({LinkState.HANDSHAKEN, LinkState.ONLINE, LinkState.OFFLINE})
_log = logger("oscp")


class Watch:
    """Notices when a partner goes offline, and messages whose parts stay away.

    Args:
        peer: The partner.
    """

    def __init__(self, peer: OscpPeer) -> None:
        self._peer = peer
        self._wake = WakeUp(peer.around.clock)
        peer.on_change.append(self._wake.ring)

    async def run(self) -> None:
        """Look whenever something may have passed, until cancelled."""
        while True:
            await self._wake.wait(await self.look())

    async def look(self) -> datetime:
        """Look once and return when to look again."""
        now = self._peer.around.clock.now()
        try:
            await self._peer.look()
        except StorageUnavailable as error:
            _log.warning("the link cannot be kept", authority=self._peer.link.id, error=str(error))
            return now + _AGAIN
        ends = (self._peer.link.offline_at, self._peer.chains.next_end())
        return min([now + _IDLE, *(end for end in ends if end is not None and end > now)])


class Heartbeats:
    """Sends our heartbeats.

    Args:
        peer: The partner.
        outbox: Knows how to reach it.
    """

    def __init__(self, peer: OscpPeer, outbox: Outbox) -> None:
        self._peer = peer
        self._outbox = outbox
        self._wake = WakeUp(peer.around.clock)
        self._pace: float | None = None
        self._next: datetime | None = None
        peer.on_change.append(self._wake.ring)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._wake.wait(await self.beat_if_due())

    async def beat_if_due(self) -> datetime:
        """Send a heartbeat when it is time for one and return when to look again."""
        clock, link = self._peer.around.clock, self._peer.link
        wish = link.beat_every_s if link.state in _AGREED else None
        pace = None if wish is None else min(wish, _LONGEST_PACE_S)
        now = clock.now()
        if pace != self._pace:
            self._pace = pace
            self._next = None if pace is None else now + min(_FIRST_BEAT, timedelta(seconds=pace))
        if pace is None or self._next is None:
            return now + _IDLE
        if self._next <= now:
            self._next = now + timedelta(seconds=pace)
            await self._beat(now, pace)
        return self._next

    async def _beat(self, now: datetime, pace: float) -> None:
        """Send one; the next comes at its time whether this one was heard or not."""
        around, link = self._peer.around, self._peer.link
        message = OscpMessage(
            id=f"{link.id}:heartbeat",
            tenant=link.tenant,
            authority=link.id,
            method="POST",
            path=HEARTBEAT,
            body=heartbeat_body(around, now, pace),
            request_id=around.ids.new("oscp"),
            created_at=now,
            due_at=now,
            expires_at=now,
        )
        try:
            await self._outbox.post(message, HEARTBEAT)
        except (InvalidInput, PeerUnavailable) as error:
            self._peer.problem = f"{HEARTBEAT}: {error}"
