"""A transport that notes every exchange in the journal: names of messages and sizes, no content."""

import re

from gateway.domain.errors import PeerUnavailable
from gateway.openadr.journal import JournalPage
from gateway.openadr.v20b.names import Service
from gateway.openadr.v20b.transport import Transport

_MESSAGE = re.compile(rb"oadrSignedObject\b[^>]{0,1000}>\s{0,100}<(?:[A-Za-z0-9_]{1,20}:)?(oadr[A-Za-z]{1,40})[\s/>]")
_SEARCHED_BYTES = 4096
"""Where the name of a message is looked for: in its head."""


class NotedTransport:
    """Passes messages on and notes that it did.

    Args:
        transport: Carries the messages.
        page: Where exchanges with this VTN are noted.
    """

    def __init__(self, transport: Transport, page: JournalPage) -> None:
        self._transport = transport
        self._page = page

    async def post(self, service: Service, body: bytes) -> bytes:
        """Send a message and return the body of the answer (see `Transport.post`)."""
        what = f"{service}: {message_name(body)}"
        try:
            answer = await self._transport.post(service, body)
        except PeerUnavailable as error:
            self._page.unanswered(what, str(error), sent=len(body))
            raise
        self._page.answered(what, message_name(answer), sent=len(body), received=len(answer))
        return answer

    async def close(self) -> None:
        """Give up connections."""
        await self._transport.close()


def message_name(body: bytes) -> str:
    """Return what kind of message a body says it is, unchecked and for people only; never anything else of it."""
    if not body.strip():
        return "nothing"
    matched = _MESSAGE.search(body[:_SEARCHED_BYTES])
    return "no OpenADR message" if matched is None else matched[1].decode("ascii")
