"""All events that a VTN shows us now, whichever way it had to be asked."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.openadr.v3.client import Listed, VtnClient
from gateway.openadr.v3.holdings import Holdings
from gateway.openadr.v3.names import ObjectKind
from gateway.openadr.v3.reader import Unreadable
from gateway.openadr.v3.survey import Survey
from gateway.openadr.v3.wire import WireEvent


@dataclass(frozen=True, kw_only=True, slots=True)
class EventListing:
    """What the VTN has."""

    events: Mapping[str, WireEvent]
    """By id, of programs that we take part in."""
    broken: Mapping[str, Unreadable]
    """Events with an id that cannot be read otherwise."""
    pages: tuple[bytes, ...]
    """As received."""
    nameless: int
    """Things in the list that are no events with an id."""
    is_complete: bool
    """Whether an event that is missing is certainly not there."""

    @property
    def digest(self) -> str:
        """Hash of all that was received: the same bytes say the same."""
        return hashlib.sha256(b"\0".join(self.pages)).hexdigest()

    @property
    def body(self) -> bytes:
        """All pages as one JSON list of lists, each page byte for byte as received."""
        return b"[" + b",".join(self.pages) + b"]"


async def list_events(client: VtnClient, survey: Survey, holdings: Holdings) -> EventListing:
    """Return the events that the VTN shows us.

    Between two pages a list may change, so that an event slips through. A list of several pages that lacks an event we know is
    therefore read twice; what is missing both times is gone, what is missing once is looked at again with the next poll.

    Raises:
        PeerUnavailable: The VTN does not answer or refuses us.
    """
    listing = await _list_once(client, survey)
    has_turned_pages = len(listing.pages) > len(survey.queries)
    if has_turned_pages and holdings.present(ObjectKind.EVENT) - set(listing.events) - set(listing.broken):
        again = await _list_once(client, survey)
        return EventListing(
            events={**listing.events, **again.events},
            broken={**listing.broken, **again.broken},
            pages=(*listing.pages, *again.pages),
            nameless=again.nameless,
            is_complete=listing.is_complete and again.is_complete,
        )
    return listing


async def _list_once(client: VtnClient, survey: Survey) -> EventListing:
    answers: list[Listed[WireEvent]] = [await client.events(query) for query in survey.queries]
    events = {one.meta.id: one for answer in answers for one in answer.objects if survey.takes(one.program_id)}
    broken = {one.object_id: one for answer in answers for one in answer.broken if one.object_id}
    return EventListing(
        events=events,
        broken={key: one for key, one in broken.items() if key not in events},
        pages=tuple(page for answer in answers for page in answer.pages),
        nameless=sum(not one.object_id for answer in answers for one in answer.broken),
        is_complete=all(answer.is_complete for answer in answers),
    )
