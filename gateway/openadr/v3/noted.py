"""A transport that notes every exchange in the journal: method, path, status and sizes; no query, header or body."""

from urllib.parse import urlsplit

from gateway.domain.errors import PeerUnavailable
from gateway.openadr.journal import JournalPage
from gateway.openadr.v3.transport import Reply, Request, Transport

_FIRST_ERROR = 400


class NotedTransport:
    """Passes requests on and notes that it did.

    Args:
        transport: Carries the requests.
        page: Where exchanges with this VTN are noted.
    """

    def __init__(self, transport: Transport, page: JournalPage) -> None:
        self._transport = transport
        self._page = page

    async def request(self, request: Request) -> Reply:
        """Send a request and return the reply (see `Transport.request`)."""
        what = f"{request.method} {urlsplit(request.url).path}"
        sent = 0 if request.body is None else len(request.body)
        try:
            reply = await self._transport.request(request)
        except PeerUnavailable as error:
            self._page.unanswered(what, str(error), sent=sent)
            raise
        is_failed = reply.status >= _FIRST_ERROR
        self._page.answered(what, f"HTTP {reply.status}", sent=sent, received=len(reply.body), is_failed=is_failed)
        return reply

    async def close(self) -> None:
        """Give up connections."""
        await self._transport.close()
