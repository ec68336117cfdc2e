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
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.domain.errors import InvalidInput, PeerUnavailable, Unavailable
from gateway.observe import logger
from gateway.openadr.https import fingerprints_of
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
        self._context = _tls_context(settings)
        self.port: int | None = None
        """Port that is listened on; None while it is not."""

    async def run(self) -> None:
        """Listen until cancelled.

        Raises:
            PeerUnavailable: The address is taken or not ours.
        """
        door = web.Application()
        door.router.add_post("/{path:.*}", self._take)
        patience = self._settings.patience_s
        runner = web.AppRunner(
            door, access_log=None, auto_decompress=False, keepalive_timeout=patience, shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            await web.TCPSite(
                runner, self._settings.host, self._settings.port, ssl_context=self._context, reuse_address=True
            ).start()
            self.port = runner.addresses[0][1]
            await asyncio.Event().wait()
        except OSError as error:
            raise PeerUnavailable(f"cannot listen for {self._authority} ({type(error).__name__})") from error
        finally:
            self.port = None
            await runner.cleanup()

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


def _tls_context(settings: PushSettings) -> ssl.SSLContext | None:
    """Return a context that shows our certificate and, with an authority for clients, lets nobody in without one of theirs."""
    if settings.cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file)
        if settings.client_ca_file is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(settings.client_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput("openadr.push.tls", f"has a file that cannot be used ({type(error).__name__})") from error
    return context
