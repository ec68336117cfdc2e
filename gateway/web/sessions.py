"""Page logins: server-side sessions, revocable, with a CSRF token each.

The cookie holds nothing but a random id. Over TLS it is `__Host-` prefixed and Secure; plain HTTP exists on loopback in the demo only.
"""

import hmac
import secrets
from dataclasses import dataclass

from gateway.domain.errors import PermissionRefused, Unauthenticated
from gateway.domain.identity import Principal

IDLE_SECONDS = 15 * 60.0
LONGEST_SECONDS = 8 * 3600.0
MOST_SESSIONS = 10_000


@dataclass(kw_only=True, slots=True)
class PageSession:
    """A login of one browser."""

    principal: Principal
    csrf_token: str
    started: float
    """Monotonic seconds of the login."""
    last_used: float


class SessionBook:
    """All page sessions of this process; a restart ends them, which is safe."""

    def __init__(self) -> None:
        """Start empty."""
        self._sessions: dict[str, PageSession] = {}

    def open(self, principal: Principal, now: float) -> str:
        """Start a session and return its id for the cookie.

        Args:
            principal: Who logged in.
            now: Monotonic real seconds.
        """
        self._forget_stale(now)
        if len(self._sessions) >= MOST_SESSIONS:
            oldest = min(self._sessions, key=lambda key: self._sessions[key].last_used)
            del self._sessions[oldest]
        session_id = secrets.token_urlsafe(32)
        self._sessions[session_id] = PageSession(
            principal=principal, csrf_token=secrets.token_urlsafe(32), started=now, last_used=now
        )
        return session_id

    def find(self, session_id: str | None, now: float, *, is_person: bool = True) -> PageSession:
        """Return a live session.

        Args:
            session_id: From the cookie.
            now: Monotonic real seconds.
            is_person: Whether a person did something, which keeps the session alive; what an open page fetches by itself does not.

        Raises:
            Unauthenticated: There is none, or it was idle or open for too long.
        """
        self._forget_stale(now)
        session = None if session_id is None else self._sessions.get(session_id)
        if session is None:
            raise Unauthenticated("log in first")
        if is_person:
            session.last_used = now
        return session

    def close(self, session_id: str | None) -> None:
        """End a session; unknown ids are fine."""
        if session_id is not None:
            self._sessions.pop(session_id, None)

    def _forget_stale(self, now: float) -> None:
        stale = [
            key
            for key, session in self._sessions.items()
            if now - session.last_used > IDLE_SECONDS or now - session.started > LONGEST_SECONDS
        ]
        for key in stale:
            del self._sessions[key]


def require_csrf(session: PageSession, token: str | None) -> None:
    """Raise unless a form carries the session's CSRF token.

    Raises:
        PermissionRefused: It does not.
    """
    if token is None or not hmac.compare_digest(token.encode(), session.csrf_token.encode()):
        raise PermissionRefused("csrf")
