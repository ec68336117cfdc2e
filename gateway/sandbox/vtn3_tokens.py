"""Who may do what at the 3.x VTN: clients, tokens that expire and can be revoked, and the scope of each operation."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

VEN_SCOPES = {
    "3.0.1": frozenset({"read_all", "write_reports", "write_subscriptions", "write_vens"}),
    "3.1.0": frozenset({"read_targets", "read_ven_objects", "write_reports", "write_subscriptions", "write_vens"}),
}
"""What a VEN may be granted, by dialect."""
BL_SCOPES = frozenset({"read_all", "read_bl", "write_programs", "write_events", "write_subscriptions", "write_vens"})
"""What business logic may be granted."""
_READS_310 = {
    "programs": "read_targets",
    "events": "read_targets",
    "reports": "read_ven_objects",
    "subscriptions": "read_ven_objects",
    "vens": "read_ven_objects",
    "resources": "read_ven_objects",
    "notifiers": "read_targets",
}
"""Scope with which a VEN reads; `read_all` reads everything. A VEN must find the notifiers, so that its scope does for them."""
_WRITES = {
    "programs": "write_programs",
    "events": "write_events",
    "reports": "write_reports",
    "subscriptions": "write_subscriptions",
    "vens": "write_vens",
    "resources": "write_vens",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """Who may ask for a token."""

    client_id: str
    secret: str
    is_ven: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """What a client may do until when."""

    client: Client
    scopes: frozenset[str]
    expires: datetime


class TokenDesk:
    """Gives tokens and knows them.

    Args:
        dialect: `3.0.1` or `3.1.0`.
        clients: Who may ask.
        lifetime: How long a token holds, in market time.
    """

    def __init__(self, dialect: str, clients: Mapping[str, Client], lifetime: timedelta) -> None:
        self._dialect = dialect
        self._clients = clients
        self._lifetime = lifetime
        self._tokens: dict[str, Token] = {}

    def give(self, client_id: str, secret: str, scope: str, now: datetime) -> tuple[str, Token] | str:
        """Return a new token, or the error of RFC 6749."""
        client = self._clients.get(client_id)
        if client is None or not secrets.compare_digest(client.secret, secret):
            return "invalid_client"
        allowed = VEN_SCOPES[self._dialect] if client.is_ven else BL_SCOPES
        wanted = frozenset(scope.split())
        if not wanted <= allowed:
            return "invalid_scope"
        text = secrets.token_urlsafe(24)
        token = Token(client=client, scopes=wanted or allowed, expires=now + self._lifetime)
        self._tokens[text] = token
        return text, token

    def known(self, text: str, now: datetime) -> Token | None:
        """Return the token behind a bearer text; None when it is unknown, revoked or over."""
        token = self._tokens.get(text)
        return None if token is None or token.expires <= now else token

    def revoke_all(self) -> None:
        """Know no token any more."""
        self._tokens.clear()

    def may(self, token: Token, method: str, collection: str) -> bool:
        """Tell whether a token has the scope for an operation on a collection."""
        if method != "GET":
            return _WRITES.get(collection, "") in token.scopes
        if "read_all" in token.scopes:
            return True
        return self._dialect == "3.1.0" and _READS_310.get(collection, "") in token.scopes
