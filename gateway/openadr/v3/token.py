"""The bearer token: fetched with client credentials, kept until it ends, thrown away when the VTN does not take it any more."""

import asyncio
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import urlencode

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.json_guard import read_json
from gateway.observe import logger
from gateway.openadr.https import check_address
from gateway.openadr.v3.parts import Fields
from gateway.openadr.v3.refusals import VtnRefused, refusal
from gateway.openadr.v3.settings import VEN_SCOPES, Credentials, VenSettings
from gateway.openadr.v3.transport import Reply, Request, Transport
from gateway.openadr.v3.wire import Problem
from gateway.ports import Clock

_RENEW_BEFORE_END = timedelta(seconds=30)
_LONGEST_LIFE = timedelta(days=1)
_LONGEST_TOKEN = 16_384
_NO_DISCOVERY = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_log = logger("openadr")


class TokenSource:
    """Gives the bearer token of one VTN; several askers share one fetch.

    Args:
        settings: Credentials and addresses.
        transport: Carries requests.
        clock: When a token ends.
    """

    def __init__(self, settings: VenSettings, transport: Transport, clock: Clock) -> None:
        self._settings = settings
        self._base = settings.vtn_url.rstrip("/")
        self._transport = transport
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token = ""
        self._ends_at: datetime | None = None
        self._token_url = ""

    async def bearer(self) -> str:
        """Return a token; empty when we are anonymous.

        Raises:
            PeerUnavailable: The authorization server does not answer or refuses us.
        """
        credentials = self._settings.credentials
        if credentials is None:
            return ""
        async with self._lock:
            is_over = self._ends_at is not None and self._clock.now() >= self._ends_at
            if not self._token or is_over:
                await self._fetch(credentials)
            return self._token

    def reject(self, token: str) -> None:
        """Throw a token away that the VTN did not take; one fetched meanwhile stays."""
        if token == self._token:
            self._token = ""

    async def _fetch(self, credentials: Credentials) -> None:
        self._token = ""
        if not self._token_url:
            self._token_url = credentials.token_url or await self._discover()
        form = {
            "grant_type": "client_credentials",
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
        }
        scope = VEN_SCOPES[self._settings.dialect] if credentials.scope is None else credentials.scope
        if scope:
            form["scope"] = scope
        request = Request(method="POST", url=self._token_url, headers=_FORM, body=urlencode(form).encode())
        try:
            reply = await self._transport.request(request)
            self._keep(self._fields("POST token", reply))
        except PeerUnavailable:
            self._token_url = ""
            raise
        _log.info("token fetched", authority=self._settings.authority)

    async def _discover(self) -> str:
        """Ask the VTN where tokens are; one that does not say gives them out itself (`/auth/token`)."""
        reply = await self._transport.request(Request(method="GET", url=f"{self._base}/auth/server"))
        if reply.status in _NO_DISCOVERY:
            return f"{self._base}/auth/token"
        try:
            url = self._fields("GET /auth/server", reply).text("tokenURL", required=True)
            check_address(url, allow_plain_http=self._settings.allow_plain_http, field="tokenURL")
        except InvalidInput as error:
            raise PeerUnavailable(f"the VTN names no usable authorization server ({error})") from error
        return url

    def _fields(self, asked: str, reply: Reply) -> Fields:
        if reply.status != HTTPStatus.OK:
            raise self._refusal(asked, reply)
        try:
            return Fields(read_json(reply.body, self._settings.json))
        except InvalidInput as error:
            raise PeerUnavailable(f"the answer to {asked} cannot be read ({error})") from error

    def _refusal(self, asked: str, reply: Reply) -> VtnRefused:
        """Return the error; what an authorization server says beside its status is not repeated: it may echo what was sent."""
        return refusal(asked, Problem(status=reply.status), reply.retry_after, self._clock.now())

    def _keep(self, fields: Fields) -> None:
        try:
            token = fields.text("access_token", required=True, longest=_LONGEST_TOKEN)
            seconds = fields.number("expires_in")
        except InvalidInput as error:
            raise PeerUnavailable(f"the authorization server gives no usable token ({error})") from error
        if not token.isascii() or not token.isprintable() or " " in token:
            raise PeerUnavailable("the authorization server gives no usable token")
        self._token = token
        self._ends_at = None
        if seconds is not None:
            life = timedelta(seconds=min(max(float(seconds), 0.0), _LONGEST_LIFE.total_seconds()))
            self._ends_at = self._clock.now() + max(life - _RENEW_BEFORE_END, life / 2)
