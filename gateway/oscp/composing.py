"""Our messages: what they say, and the rows that make sure that they are said."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.oscp import OscpMessage
from gateway.oscp.names import HANDSHAKE, HANDSHAKE_ACKNOWLEDGE, REGISTER, VERSION
from gateway.oscp.settings import BEATS_PROMISED
from gateway.oscp.surroundings import Surroundings
from gateway.oscp.wire import Handshake, Heartbeat, RequiredBehaviour, VersionUrl

KEPT_FOR = timedelta(hours=1)
"""How long an answer is tried before it is given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Says:
    """One thing to say."""

    about: str
    """Names it among the partner's: the same thing is said once."""
    path: str
    body: str
    answers: str = ""
    """X-Correlation-ID; empty when it answers nothing."""
    kept_for: timedelta = KEPT_FOR


def message_of(around: Surroundings, says: Says, now: datetime, *, authority: str = "") -> OscpMessage:
    """Return the row of a message, due at once.

    Args:
        around: Of the partner that it goes to, or whose tenant it is in.
        says: What.
        now: The instant.
        authority: Another partner of the tenant that it goes to instead.
    """
    name = authority or around.settings.authority
    return OscpMessage(
        id=f"{name}:{says.about}",
        tenant=around.settings.tenant,
        authority=name,
        method="POST",
        path=says.path,
        body=says.body,
        request_id=around.ids.new("oscp"),
        created_at=now,
        due_at=now,
        expires_at=now + says.kept_for,
        correlation_id=says.answers,
    )


def own_version(around: Surroundings) -> str:
    """Return our only version and where, as the body of a Register without its token."""
    version = VersionUrl(version=VERSION, base_url=around.settings.own_url)
    return f'{{"version_url":[{version.as_json()}]}}'


def register_says(around: Surroundings, answers: str) -> Says:
    """Return our Register; the token is added when it leaves."""
    return Says(
        about=f"register:{answers or around.ids.new('begin')}", path=REGISTER, body=own_version(around), answers=answers
    )


def wishes(around: Surroundings) -> str:
    """Return what we want of the partner; always said, because partners in the field fail without it."""
    interval = around.settings.beat_wish.total_seconds()
    return Handshake(required_behaviour=RequiredBehaviour(heartbeat_interval=interval)).as_json()


def handshake_says(around: Surroundings) -> Says:
    """Return our Handshake."""
    return Says(about=f"handshake:{around.ids.new('shake')}", path=HANDSHAKE, body=wishes(around))


def acknowledge_says(around: Surroundings, answers: str) -> Says:
    """Return our answer to a handshake."""
    return Says(about=f"acknowledge:{answers}", path=HANDSHAKE_ACKNOWLEDGE, body=wishes(around), answers=answers)


def heartbeat_body(around: Surroundings, now: datetime, beat_every_s: float) -> str:
    """Return a heartbeat: until when we may be taken to be there, in the partner's own spelling of times."""
    until = now + timedelta(seconds=beat_every_s) * BEATS_PROMISED
    zone = around.settings.naive_zone
    if zone is not None:
        return f'{{"offline_mode_at":"{until.astimezone(zone):%Y-%m-%d %H:%M:%S}"}}'
    return Heartbeat(offline_mode_at=until).as_json()
