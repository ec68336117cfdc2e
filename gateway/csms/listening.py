"""The port at which platforms call us back: one for all doors, each below a path of its own."""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.outbound import AddressRules, is_loopback
from gateway.patient_site import serving

LARGEST_BODY_BYTES = 2_000_000
_PATIENCE_S = 10.0
"""Real seconds for the headers of the first request of a connection, for a body, and between requests."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenSettings:
    """Where we listen and how platforms reach it."""

    port: int
    """0 takes any free one."""
    public_url: str
    """Beginning of the addresses that platforms are told."""
    host: str = "127.0.0.1"
    """Loopback behind a proxy that ends TLS, or any with a certificate."""
    cert_file: Path | None = None
    key_file: Path | None = None
    allow_plain_on_loopback: bool = False

    def __post_init__(self) -> None:
        """Reject addresses that would carry tokens in the clear."""
        host = self.public_url.partition("://")[2].partition("/")[0].rpartition(":")[0]
        rules = AddressRules(hosts=frozenset({host.lower()}), allow_plain_on_loopback=self.allow_plain_on_loopback)
        rules.check("csms_listener.public_url", self.public_url)
        if self.cert_file is None and not is_loopback(self.host):
            raise InvalidInput("csms_listener.certificate", "is needed to listen on anything but loopback")

    def root_of(self, csms: str) -> str:
        """Return the beginning of the addresses of one platform's door."""
        return f"{self.public_url.rstrip('/')}{path_of(csms)}"


def path_of(csms: str) -> str:
    """Return the path below which one platform's door is."""
    return f"/csms/{csms}"


class DoorListener:
    """Listens for all doors.

    Args:
        settings: Where.

    Raises:
        InvalidInput: The certificate cannot be used.
    """

    def __init__(self, settings: ListenSettings) -> None:
        self._settings = settings
        self._context = _context(settings)
        self._routes: list[web.AbstractRouteDef] = []
        self.port: int | None = None
        """Port that is listened on; None while it is not."""

    def add(self, routes: Iterable[web.AbstractRouteDef]) -> None:
        """Serve the routes of a door, too."""
        self._routes += routes

    async def run(self) -> None:
        """Listen until cancelled.

        Raises:
            PeerUnavailable: The address is taken or not ours.
        """
        app = web.Application(client_max_size=LARGEST_BODY_BYTES)
        app.add_routes(self._routes)
        host, port = self._settings.host, self._settings.port
        try:
            async with serving(app, host, port, self._context, patience_s=_PATIENCE_S) as self.port:
                await asyncio.Event().wait()
        except OSError as error:
            where = f"{host}:{port} ({type(error).__name__})"
            raise PeerUnavailable(f"cannot listen for charging platforms on {where}") from error
        finally:
            self.port = None


async def body_of(request: web.Request) -> bytes:
    """Return the body of a request.

    Raises:
        HTTPRequestTimeout: It does not arrive.
        HTTPRequestEntityTooLarge: It is longer than allowed.
    """
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await request.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error


def _context(settings: ListenSettings) -> ssl.SSLContext | None:
    if settings.cert_file is None:
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(settings.cert_file, settings.key_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput("csms_listener.certificate", f"cannot be used ({type(error).__name__})") from error
    return context
