"""Where charging stations connect: web sockets with an OCPP subprotocol, admitted before a byte of OCPP is read."""

import errno
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Protocol

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gateway.domain.errors import InvalidInput
from gateway.ocpp.admission import identity_of, is_admitted, server_context
from gateway.ocpp.conversation import Conversation
from gateway.ocpp.dialect_2 import Dialect2
from gateway.ocpp.dialect_16 import Dialect16
from gateway.ocpp.settings import CsmsSettings, StationSettings
from gateway.ocpp.surroundings import Clock
from gateway.ocpp.words import Dialect, StationEvents

_LOG = logging.getLogger(__name__)
SUBPROTOCOLS = {"ocpp2.1": "2.1", "ocpp2.0.1": "2.0.1", "ocpp1.6": "1.6"}
"""Names on the wire and versions, the newest first: that is chosen where a station offers several."""
_LARGEST_FRAME_BYTES = 256 * 1024
_QUIET = logging.getLogger("gateway.ocpp.websocket")
_QUIET.setLevel(logging.CRITICAL + 1)  # it writes frames and headers, which may name drivers and hold passwords


class Guest(StationEvents, Protocol):
    """A station that may connect."""

    @property
    def settings(self) -> StationSettings:
        """Return its settings."""
        ...

    @property
    def is_open(self) -> bool:
        """Tell whether it is let in now."""
        ...

    async def converse(self, conversation: Conversation, dialect: Dialect) -> None:
        """Serve one connection until it ends."""
        ...


class ChargerServer:
    """Serves the stations of the settings."""

    def __init__(self, settings: CsmsSettings, stations: Mapping[str, Guest], clock: Clock) -> None:
        """Remember who may connect.

        Args:
            settings: Addresses, certificates and durations.
            stations: By identity.
            clock: Time.
        """
        self._settings = settings
        self._stations = stations
        self._clock = clock
        self._open: dict[str, ServerConnection] = {}

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listen and give the port; connections end when the block does.

        Raises:
            InvalidInput: The address is in use or not ours.
        """
        async with await self._listen() as server:
            port: int = next(iter(server.sockets)).getsockname()[1]
            yield port

    async def _listen(self) -> Server:
        listen = self._settings.listen
        serving = serve(
            self._serve,
            listen.host.strip("[]"),
            listen.port,
            process_request=self._admit,
            subprotocols=[Subprotocol(name) for name in SUBPROTOCOLS],
            ssl=server_context(listen),
            max_size=_LARGEST_FRAME_BYTES,
            compression=None,
            server_header=None,
            logger=_QUIET,
            close_timeout=1.0,
        )
        try:
            return await serving
        except OSError as error:
            words = "is in use: end what listens there, for example `csms serve`, or choose another port"
            problem = words if error.errno == errno.EADDRINUSE else "cannot be listened on"
            raise InvalidInput("listen", f"port {listen.port} of {listen.host} {problem}") from error

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        identity = identity_of(request.path)
        station = self._stations.get(identity)
        encrypted = connection.transport.get_extra_info("ssl_object")
        certificate = None if encrypted is None else encrypted.getpeercert()
        authorizations = request.headers.get_all("Authorization")
        proof = authorizations[0] if len(authorizations) == 1 else None
        if not is_admitted(None if station is None else station.settings, proof, certificate):
            _LOG.warning("a station was not admitted")
            challenge = Headers({"WWW-Authenticate": 'Basic realm="OCPP"', "Content-Length": "0"})
            return Response(HTTPStatus.UNAUTHORIZED, "Unauthorized", challenge)
        if station is not None and not station.is_open:
            return Response(HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable", Headers({"Content-Length": "0"}))
        offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).replace(" ", "").split(",")
        if not set(offered) & SUBPROTOCOLS.keys():
            return Response(HTTPStatus.BAD_REQUEST, "Bad Request", Headers({"Content-Length": "0"}))
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        request = connection.request
        identity = "" if request is None else identity_of(request.path)
        version = SUBPROTOCOLS.get(connection.subprotocol or "")
        if version is None:
            return
        station, older = self._stations[identity], self._open.get(identity)
        self._open[identity] = connection
        if older is not None:
            await older.close(1000, "a newer connection took over")
        conversation = Conversation(connection, version, self._settings.times.answer_real)
        kind = Dialect16 if version == "1.6" else Dialect2
        dialect = kind(conversation, station, self._clock, self._settings.times.heartbeat)
        _LOG.info("%s connected with OCPP %s", identity, version)
        try:
            await station.converse(conversation, dialect)
        finally:
            if self._open.get(identity) is connection:
                del self._open[identity]
            _LOG.info("%s is gone", identity)
