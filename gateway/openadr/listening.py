"""A port of our own that VTNs call, whatever they speak."""

import asyncio
import ssl
from pathlib import Path

from aiohttp import web

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.patient_site import serving


class Listener:
    """Listens on one port until cancelled.

    Args:
        host: Address to listen on.
        port: Port; 0 takes any free one.
        context: Our certificate; None listens in the clear.
        purpose: What for, for errors.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, *, purpose: str) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._purpose = purpose
        self.port: int | None = None
        """Port that is listened on; None while it is not."""

    async def run(self, app: web.Application, *, patience_s: float, auto_decompress: bool = True) -> None:
        """Serve an application until cancelled.

        Args:
            app: What is served.
            patience_s: Real seconds after which a connection is closed that is idle or still owes the headers of its first request.
            auto_decompress: Whether compressed bodies are unpacked.

        Raises:
            PeerUnavailable: The address is taken or not ours.
        """
        site = serving(
            app, self._host, self._port, self._context, patience_s=patience_s, auto_decompress=auto_decompress
        )
        try:
            async with site as self.port:
                await asyncio.Event().wait()
        except OSError as error:
            where = f"{self._host}:{self._port} ({type(error).__name__})"
            raise PeerUnavailable(f"cannot listen for {self._purpose} on {where}") from error
        finally:
            self.port = None


def server_context(
    cert_file: Path | None, key_file: Path | None, client_ca_file: Path | None = None, *, field: str
) -> ssl.SSLContext | None:
    """Return a context that shows our certificate and, with an authority for clients, lets nobody in without one of theirs.

    Args:
        cert_file: Our certificate, PEM; None for no TLS.
        key_file: Its key, PEM.
        client_ca_file: Who may vouch for callers; None lets anybody in.
        field: What to name in an error.

    Raises:
        InvalidInput: A file is missing or cannot be used.
    """
    if cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file)
        if client_ca_file is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(field, f"cannot be used ({type(error).__name__})") from error
    return context
