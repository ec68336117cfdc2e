"""The REST client of one VTN: bearer token with one renewal, pages until the end, refusals with their reason.

Nothing here waits or repeats beyond the one renewal of a token: whoever asks decides what a failure means.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, ParamSpec, TypeVar
from urllib.parse import quote, urlencode

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.json_guard import Json, read_json
from gateway.observe import logger
from gateway.openadr.v3.dialect import Query, resources_path
from gateway.openadr.v3.names import PAGE, Dialect, ObjectKind
from gateway.openadr.v3.reader import (
    ReadObject,
    Unreadable,
    id_of,
    read_event,
    read_listing,
    read_problem,
    read_program,
    read_report,
    read_resource,
    read_subscription,
    read_ven,
)
from gateway.openadr.v3.refusals import VtnBusy, refusal
from gateway.openadr.v3.settings import VenSettings
from gateway.openadr.v3.token import TokenSource
from gateway.openadr.v3.transport import Reply, Request, Transport
from gateway.openadr.v3.wire import (
    Program,
    WireEvent,
    WireReport,
    WireResource,
    WireSubscription,
    WireVen,
)
from gateway.openadr.v3.writer import (
    to_bytes,
    write_report,
    write_subscription,
    write_ven,
)
from gateway.ports import Clock

_TAKEN = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})
_log = logger("openadr")

_LARGE_BYTES = 60_000
"""A longer page is read in a thread, so that the event loop gets its turn in between."""

P = ParamSpec("P")
ResultT = TypeVar("ResultT")
ObjectT = TypeVar("ObjectT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed(Generic[ObjectT]):
    """All objects of a list, over all its pages."""

    objects: tuple[ObjectT, ...]
    broken: tuple[Unreadable, ...]
    pages: tuple[bytes, ...]
    """The pages as received."""
    is_complete: bool
    """Whether what is missing from it is certainly not there; not so after too many pages."""


class VtnClient:
    """Asks one VTN.

    Args:
        settings: Address, dialect, credentials and caps.
        transport: Carries requests.
        clock: Ends of tokens.
    """

    def __init__(self, settings: VenSettings, transport: Transport, clock: Clock) -> None:
        self._settings = settings
        self._base = settings.vtn_url.rstrip("/")
        self._transport = transport
        self._clock = clock
        self._tokens = TokenSource(settings, transport, clock)

    @property
    def dialect(self) -> Dialect:
        """The dialect that the VTN speaks."""
        return self._settings.dialect

    async def bearer(self) -> str:
        """Return the bearer token, for a broker that takes it as a password; empty when we are anonymous.

        Raises:
            PeerUnavailable: The authorization server does not answer or refuses us.
        """
        return await self._tokens.bearer()

    # ---------------------------------------------------------------- programs, events

    async def programs(self, query: Query = ()) -> Listed[Program]:
        """Return the programs that a query shows us; see `_list` for errors."""
        return await self._list("/programs", query, read_program)

    async def events(self, query: Query = ()) -> Listed[WireEvent]:
        """Return the events that a query shows us; see `_list` for errors."""
        return await self._list("/events", query, read_event)

    async def event(self, event_id: str, query: Query = ()) -> WireEvent:
        """Return one event; see `_one` for errors."""
        return await self._one(f"/events/{_safe(event_id)}", read_event, query)

    async def is_deleted(self, kind: ObjectKind, object_id: str) -> bool:
        """Tell whether the VTN answers GET by id of a program or event with 404; any other answer is no proof of it.

        Raises:
            VtnBusy: It asks us to come back later.
            PeerUnavailable: No answer, or no token.
        """
        path = f"/{kind.value}s/{_safe(object_id)}"
        reply = await self._ask("GET", path, (), None)
        if reply.status in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            return reply.status == HTTPStatus.NOT_FOUND
        refused = self._refusal("GET", path, reply)
        if isinstance(refused, VtnBusy):
            raise refused
        return False

    # ---------------------------------------------------------------- vens and resources

    async def vens(self, name: str) -> Listed[WireVen]:
        """Return the vens that we may see of a name; see `_list` for errors."""
        return await self._list("/vens", (("venName", name),), read_ven)

    async def ven(self, ven_id: str) -> WireVen:
        """Return one ven; see `_one` for errors."""
        return await self._one(f"/vens/{_safe(ven_id)}", read_ven)

    async def create_ven(self, name: str) -> WireVen:
        """Make us known; see `_send` for errors."""
        return await self._send("POST", "/vens", write_ven(self.dialect, name), read_ven)

    async def resources(self, ven_id: str) -> Listed[WireResource]:
        """Return the resources of a ven; see `_list` for errors."""
        path, query = resources_path(self.dialect, _safe(ven_id))
        return await self._list(path, query, read_resource)

    async def create_resource(self, ven_id: str, content: Json) -> WireResource:
        """Make a resource known (`writer.write_resource`); see `_send` for errors."""
        path, _ = resources_path(self.dialect, _safe(ven_id))
        return await self._send("POST", path, content, read_resource)

    # ---------------------------------------------------------------- reports

    async def reports(self, query: Query = ()) -> Listed[WireReport]:
        """Return our reports, for example of `(("eventID", id), ("clientName", name))`; see `_list` for errors."""
        return await self._list("/reports", query, read_report)

    async def create_report(self, report: WireReport) -> WireReport:
        """Send a new report; see `_send` for errors."""
        return await self._send("POST", "/reports", write_report(self.dialect, report), read_report)

    async def update_report(self, report_id: str, report: WireReport) -> WireReport:
        """Replace a report; see `_send` for errors."""
        content = write_report(self.dialect, report)
        return await self._send("PUT", f"/reports/{_safe(report_id)}", content, read_report)

    # ---------------------------------------------------------------- notifications

    async def subscriptions(self, query: Query = ()) -> Listed[WireSubscription]:
        """Return our subscriptions; see `_list` for errors."""
        return await self._list("/subscriptions", query, read_subscription)

    async def create_subscription(
        self, subscription: WireSubscription, *, in_http_words: bool = False
    ) -> WireSubscription:
        """Subscribe; see `_send` for errors."""
        content = write_subscription(self.dialect, subscription, in_http_words=in_http_words)
        return await self._send("POST", "/subscriptions", content, read_subscription)

    async def update_subscription(
        self, subscription_id: str, subscription: WireSubscription, *, in_http_words: bool = False
    ) -> WireSubscription:
        """Replace a subscription; see `_send` for errors."""
        content = write_subscription(self.dialect, subscription, in_http_words=in_http_words)
        return await self._send("PUT", f"/subscriptions/{_safe(subscription_id)}", content, read_subscription)

    async def delete_subscription(self, subscription_id: str) -> None:
        """End a subscription; one that is not there any more is ended.

        Raises:
            PeerUnavailable: The VTN does not answer or refuses.
        """
        path = f"/subscriptions/{_safe(subscription_id)}"
        reply = await self._ask("DELETE", path, (), None)
        if reply.status not in _TAKEN and reply.status != HTTPStatus.NOT_FOUND:
            raise self._refusal("DELETE", path, reply)

    async def get(self, path: str, query: Query = ()) -> Json:
        """Return whatever a path answers, for example `/notifiers` or `/notifiers/mqtt/topics/events`.

        Raises:
            VtnRefused: An error status.
            PeerUnavailable: No answer, or one that is no JSON.
        """
        reply = await self._ask("GET", path, query, None)
        if reply.status != HTTPStatus.OK:
            raise self._refusal("GET", path, reply)
        return self._json("GET", path, reply)

    # ---------------------------------------------------------------- inside

    async def _list(self, path: str, query: Query, read: ReadObject[ObjectT]) -> Listed[ObjectT]:
        """Return all objects of a list, page by page, until a page is short or holds nothing new.

        Raises:
            VtnRefused: An error status.
            PeerUnavailable: No answer, or one that is no JSON list.
        """
        objects: list[ObjectT] = []
        broken: list[Unreadable] = []
        pages: list[bytes] = []
        seen: set[str] = set()
        taken = 0
        while len(pages) < self._settings.most_pages:
            content, body = await self._page(path, (*query, ("skip", str(taken)), ("limit", str(PAGE))))
            fresh = [item for item in content if not id_of(item) or id_of(item) not in seen]
            new_ids = {id_of(item) for item in content} - seen - {""}
            if pages and not new_ids:
                return Listed(objects=tuple(objects), broken=tuple(broken), pages=tuple(pages), is_complete=True)
            seen |= new_ids
            listing = await _beside(len(body), read_listing, fresh, read)
            objects += listing.objects
            broken += listing.broken
            pages.append(body)
            taken += len(content)
            if len(content) < PAGE:
                return Listed(objects=tuple(objects), broken=tuple(broken), pages=tuple(pages), is_complete=True)
        _log.warning("list too long", authority=self._settings.authority, path=path, pages=len(pages))
        return Listed(objects=tuple(objects), broken=tuple(broken), pages=tuple(pages), is_complete=False)

    async def _page(self, path: str, query: Query) -> tuple[Sequence[Json], bytes]:
        reply = await self._ask("GET", path, query, None)
        if reply.status != HTTPStatus.OK:
            raise self._refusal("GET", path, reply)
        content = await _beside(len(reply.body), self._json, "GET", path, reply)
        if not isinstance(content, list):
            raise PeerUnavailable(f"the VTN answered GET {path} with no list")
        return content, reply.body

    async def _one(self, path: str, read: ReadObject[ObjectT], query: Query = ()) -> ObjectT:
        """Return one object.

        Raises:
            VtnRefused: An error status; 404 when there is no such object (any more).
            PeerUnavailable: No answer, or an object that cannot be read.
        """
        reply = await self._ask("GET", path, query, None)
        if reply.status != HTTPStatus.OK:
            raise self._refusal("GET", path, reply)
        return self._object("GET", path, reply, read)

    async def _send(self, method: str, path: str, content: Json, read: ReadObject[ObjectT]) -> ObjectT:
        """Send an object and return it as the VTN has it now.

        Raises:
            VtnRefused: An error status; 409 when something with its name is there already.
            PeerUnavailable: No answer, or one that cannot be read; whether it took effect is unknown.
        """
        reply = await self._ask(method, path, (), to_bytes(content))
        if reply.status not in _TAKEN:
            raise self._refusal(method, path, reply)
        return self._object(method, path, reply, read)

    async def _ask(self, method: str, path: str, query: Query, body: bytes | None) -> Reply:
        """Send a request with our token; a token that is not taken is renewed once, and the request repeated once."""
        token = await self._tokens.bearer()
        reply = await self._transport.request(self._request(method, path, query, body, token))
        if reply.status == HTTPStatus.UNAUTHORIZED and token:
            self._tokens.reject(token)
            token = await self._tokens.bearer()
            reply = await self._transport.request(self._request(method, path, query, body, token))
        return reply

    def _request(self, method: str, path: str, query: Query, body: bytes | None, token: str) -> Request:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        tail = f"?{urlencode(query, quote_via=quote)}" if query else ""
        return Request(method=method, url=f"{self._base}{path}{tail}", headers=headers, body=body)

    def _refusal(self, method: str, path: str, reply: Reply) -> PeerUnavailable:
        try:
            content = read_json(reply.body, self._settings.json)
        except InvalidInput:
            content = None
        problem = read_problem(reply.status, content)
        return refusal(f"{method} {path}", problem, reply.retry_after, self._clock.now())

    def _json(self, method: str, path: str, reply: Reply) -> Json:
        try:
            return read_json(reply.body, self._settings.json)
        except InvalidInput as error:
            raise PeerUnavailable(f"the answer to {method} {path} cannot be read ({error.problem})") from error

    def _object(self, method: str, path: str, reply: Reply, read: ReadObject[ObjectT]) -> ObjectT:
        try:
            return read(self._json(method, path, reply))
        except InvalidInput as error:
            raise PeerUnavailable(f"the answer to {method} {path} cannot be read ({error})") from error


async def _beside(size: int, function: Callable[P, ResultT], *args: P.args, **kwargs: P.kwargs) -> ResultT:
    """Run a pure function here, or beside the event loop where its input is so large that the loop would stall."""
    if size <= _LARGE_BYTES:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)


def _safe(object_id: str) -> str:
    """Return an id as one step of a path, whatever it holds."""
    return quote(object_id, safe="")
