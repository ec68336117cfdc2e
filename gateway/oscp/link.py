"""Where a link stands and how it moves: pure, without clock, store or network.

```
 UNREGISTERED --tokens exchanged--> REGISTERED --handshake--> HANDSHAKEN --heartbeat--> ONLINE
      ^                                 ^                         ^                     |    ^
      |                                 | (registers anew)        | (handshake)         |    | heartbeat
      +--- DELETE register (any state)  +---- any state           +----- OFFLINE <------+----+ promised instant has passed
```

A partner that never sends a heartbeat stays HANDSHAKEN: nothing was promised, so nothing can be broken, and only the ends of its
blocks apply. One that has sent heartbeats must send another in time after it shakes hands again. A partner counts as lost in
UNREGISTERED, REGISTERED and OFFLINE.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.oscp import LinkState, OscpLink

_REACHABLE = frozenset({LinkState.HANDSHAKEN, LinkState.ONLINE})


def new_link(authority: str, tenant: str, now: datetime) -> OscpLink:
    """Return a link before its first word."""
    return OscpLink(id=authority, tenant=tenant, state=LinkState.UNREGISTERED, changed_at=now)


def is_lost(link: OscpLink) -> bool:
    """Tell whether the partner counts as lost, so that its fallback or the fail-safe applies."""
    return link.state not in _REACHABLE


def offered(link: OscpLink, now: datetime, *, base_url: str, sealed_token: str, offered_sha256: str) -> OscpLink:
    """Return the link after the partner registered: we show it its token and have offered it one, not yet confirmed.

    What was agreed before is void: it shall shake hands again.
    """
    moved = _moved(link, LinkState.REGISTERED if link.token_sha256 else LinkState.UNREGISTERED, now)
    return replace(
        moved,
        base_url=base_url,
        sealed_token=sealed_token,
        offered_sha256=offered_sha256,
        beat_every_s=None,
        measurements=(),
        offline_at=None,
    )


def confirmed(link: OscpLink, now: datetime, *, spent_sha256: str) -> OscpLink:
    """Return the link after the partner took or used the token that we offered: the one before it is dead.

    What it agreed on with the token before that one, after it had registered anew, stays agreed.

    Args:
        link: Before.
        now: The instant.
        spent_sha256: Hash of the one-time token of the settings, which may not begin another exchange; empty keeps what is known.
    """
    moved = _moved(link, LinkState.REGISTERED, now) if link.state is LinkState.UNREGISTERED else link
    return replace(
        moved,
        token_sha256=link.offered_sha256 or link.token_sha256,
        offered_sha256="",
        spent_sha256=spent_sha256 or link.spent_sha256,
    )


def changed(link: OscpLink, *, base_url: str, sealed_token: str) -> OscpLink:
    """Return the link after the partner changed its address or token; the state stays."""
    return replace(link, base_url=base_url, sealed_token=sealed_token)


def unregistered(link: OscpLink, now: datetime) -> OscpLink:
    """Return the link after the partner left: its tokens are worth nothing any more."""
    left = new_link(link.id, link.tenant, now)
    return replace(left, spent_sha256=link.spent_sha256, ack_path=link.ack_path)


def handshaken(
    link: OscpLink, now: datetime, *, beat_every_s: float | None, measurements: tuple[str, ...], grace: timedelta
) -> OscpLink:
    """Return the link after a handshake or its acknowledgement.

    Args:
        link: Before.
        now: The instant.
        beat_every_s: How often the partner wants our heartbeats, in seconds; None for never.
        measurements: What it wants to be measured.
        grace: How long a partner that has sent heartbeats before may take for the next one.
    """
    agreed = replace(link, beat_every_s=beat_every_s, measurements=measurements)
    if link.state is LinkState.ONLINE:
        return agreed
    promised = None if link.offline_at is None else now + grace
    return replace(_moved(agreed, LinkState.HANDSHAKEN, now), offline_at=promised)


def heard(link: OscpLink, now: datetime, *, offline_at: datetime) -> OscpLink:
    """Return the link after a heartbeat; one whose promise is past already means offline.

    Without a handshake before it the promise is kept, and the partner is not there yet.
    """
    noted = replace(link, offline_at=offline_at)
    if link.state in {LinkState.UNREGISTERED, LinkState.REGISTERED}:
        return noted
    return _moved(noted, LinkState.OFFLINE if offline_at <= now else LinkState.ONLINE, now)


def looked_at(link: OscpLink, now: datetime) -> OscpLink:
    """Return the link as time has made it: offline once the promised instant has passed."""
    if link.state in _REACHABLE and link.offline_at is not None and link.offline_at <= now:
        return _moved(link, LinkState.OFFLINE, now)
    return link


def _moved(link: OscpLink, state: LinkState, now: datetime) -> OscpLink:
    return link if link.state is state else replace(link, state=state, changed_at=now)
