"""The HTTP door that one VTN pushes to: who calls, how much and how long is checked before a byte is parsed.

| what comes | answer |
| --- | --- |
| a message that was taken | 200 and our answer |
| another path | 404 |
| a client certificate that is not pinned | 403 |
| a compressed body | 415 |
| more bytes than allowed, announced or not | 413 |
| a body that does not come in time | 408 |
| what the guard does not let in, or no VEN understands | 400 |
| what could not be kept, or a VEN that is busy | 503: the VTN sends it again |
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.domain.errors import InvalidInput, Unavailable
from gateway.observe import logger
from gateway.openadr.https import fingerprints_of
from gateway.openadr.listening import Listener, server_context
from gateway.openadr.v20b.names import Service
from gateway.openadr.v20b.push_settings import PushSettings

_SERVICES = {service.value: service for service in Service}
_PLAIN = frozenset({"", "identity"})
_log = logger("openadr")

Receive = Callable[[Service, bytes], Awaitable[bytes]]
"""Takes a message to one of our services and returns our answer."""


class PushServer:
    """Listens for one VTN.

    Args:
        settings: Where, and who may call.
        receive: Takes the messages.
        max_bytes: Longest message that is read.
        authority: Our name for the VTN, for the log.

    Raises:
        InvalidInput: A certificate cannot be used.
    """

    def __init__(self, settings: PushSettings, receive: Receive, *, max_bytes: int, authority: str) -> None:
        self._settings = settings
        self._receive = receive
        self._max_bytes = max_bytes
        self._authority = authority
        context = server_context(
            settings.cert_file, settings.key_file, settings.client_ca_file, field="openadr.push.tls"
        )
        self._listener = Listener(settings.host, settings.port, context, purpose=authority)

    @property
    def port(self) -> int | None:
        """Port that is listened on; None while it is not."""
        return self._listener.port

    async def run(self) -> None:
        """Listen until cancelled.

        Raises:
            PeerUnavailable: The address is taken or not ours.
        """
        door = web.Application()
        door.router.add_post("/{path:.*}", self._take)
        await self._listener.run(door, patience_s=self._settings.patience_s, auto_decompress=False)

    async def _take(self, request: web.Request) -> web.Response:
        service = _SERVICES.get(request.path.rpartition("/")[2])
        if service is None:
            raise web.HTTPNotFound
        self._check_caller(request)
        body = await self._read(request)
        try:
            answer = await self._receive(service, body)
        except InvalidInput as error:
            _log.warning("pushed message refused", authority=self._authority, problem=error.problem)
            raise web.HTTPBadRequest from error
        except Unavailable as error:
            _log.warning("pushed message not taken", authority=self._authority, error=str(error))
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "5"}) from error
        return web.Response(body=answer, content_type="application/xml")

    def _check_caller(self, request: web.Request) -> None:
        pins = self._settings.fingerprints
        if not pins:
            return
        wire = request.get_extra_info("ssl_object")
        der = None if wire is None else wire.getpeercert(binary_form=True)
        if der is None or not pins.intersection(fingerprints_of(der)):
            raise web.HTTPForbidden

    async def _read(self, request: web.Request) -> bytes:
        """Return the body, never more than allowed and never waiting for long."""
        if request.headers.get("Content-Encoding", "").strip().lower() not in _PLAIN:
            raise web.HTTPUnsupportedMediaType
        if request.content_length is not None and request.content_length > self._max_bytes:
            raise web.HTTPRequestEntityTooLarge(self._max_bytes, request.content_length)
        received = bytearray()
        try:
            async with asyncio.timeout(self._settings.patience_s):
                async for chunk in request.content.iter_any():
                    received += chunk
                    if len(received) > self._max_bytes:
                        raise web.HTTPRequestEntityTooLarge(self._max_bytes, len(received))
        except TimeoutError as error:
            raise web.HTTPRequestTimeout from error
        return bytes(received)
