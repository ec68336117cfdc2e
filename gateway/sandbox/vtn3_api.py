"""The API of the strict 3.x VTN: every request is checked against its dialect before anything is done."""

import base64
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from aiohttp import web

from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.vtn3_notifying import topics_answer
from gateway.sandbox.vtn3_shapes import CREDENTIALS, problems
from gateway.sandbox.vtn3_store import COLLECTIONS, PAGE, Object, Query, Refused
from gateway.sandbox.vtn3_tokens import Token
from gateway.sandbox.vtn3_world import World
from gateway.sandbox.vtn_control import Fault

_BAD, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 400, 401, 403, 404
_QUERY_FIELDS = {
    "programs": frozenset[str](),
    "events": frozenset({"programID", "active"}),
    "reports": frozenset({"programID", "eventID", "clientName"}),
    "subscriptions": frozenset({"programID", "clientName", "objects"}),
    "vens": frozenset({"venName"}),
    "resources": frozenset({"resourceName", "venID"}),
}
_TARGETED = frozenset({"programs", "events", "vens", "resources", "subscriptions"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request, taken apart."""

    world: World
    method: str
    path: tuple[str, ...]
    request: web.Request
    body: bytes

    @property
    def kind(self) -> str:
        """Method and path with ids left out: `PUT /reports/{id}`."""
        named = {*COLLECTIONS, "auth", "server", "token", "oauth", "notifiers", "mqtt", "topics"}
        return f"{self.method} /" + "/".join(part if part in named else "{id}" for part in self.path)


class Api:
    """Answers the requests of all utilities."""

    def __init__(self, clock: SandboxClock) -> None:
        self._clock = clock

    async def serve(self, world: World, request: web.Request) -> web.StreamResponse:
        """Answer one request to one utility, or go wrong as its script says."""
        path = tuple(part for part in request.match_info["path"].split("/") if part)
        asked = Asked(world=world, method=request.method, path=path, request=request, body=await request.read())
        entry = world.note(asked.kind, query=dict(request.query), path="/".join(path), body=_readable(asked))
        fault = world.faults.take(asked.kind)
        entry["fault"] = "" if fault is None else fault.do
        if fault is not None and fault.do in {"drop", "status", "raw"}:
            return _broken(fault, request)
        status, content = await self._answer(asked, entry, is_deaf=fault is not None and fault.do == "ignore-skip")
        entry["fields"]["status"] = status
        return _sent(status, content, fault, request)

    async def _answer(self, asked: Asked, entry: dict[str, Any], *, is_deaf: bool) -> tuple[int, object]:
        try:
            status, content = await self._handle(asked, entry, is_deaf=is_deaf)
        except Refused as refusal:
            if refusal.status == _BAD:
                entry["problem"] = refusal.detail
            return refusal.status, _problem(refusal.status, refusal.detail)
        return status, content

    async def _handle(self, asked: Asked, entry: dict[str, Any], *, is_deaf: bool) -> tuple[int, object]:
        if asked.path and asked.path[0] in {"auth", "oauth"}:
            return self._authorise(asked, entry)
        token = asked.world.token_of(asked.request.headers.get("Authorization", ""))
        if token is None:
            raise Refused(_UNAUTHORIZED, "no valid token")
        entry["fields"]["client"] = token.client.client_id
        collection, object_id, within = self._place(asked)
        if not asked.world.tokens.may(token, asked.method, collection):
            raise Refused(_FORBIDDEN, f"the token's scope does not allow {asked.kind}")
        if collection == "notifiers":
            return 200, self._notifiers(asked)
        if asked.method == "GET" and object_id is None:
            return 200, self._list(asked, token, collection, within, is_deaf=is_deaf)
        if asked.method == "GET":
            return 200, self._one(asked, token, collection, object_id or "")
        return await self._write(asked, token, collection, object_id, within)

    def _place(self, asked: Asked) -> tuple[str, str | None, str | None]:
        """Return collection, object id, and in 3.0.1 the ven above a resource."""
        path = asked.path
        is_old = asked.world.options.dialect == "3.0.1"
        if is_old and len(path) in {3, 4} and path[0] == "vens" and path[2] == "resources":
            return "resources", path[3] if len(path) == 4 else None, path[1]  # vens/V/resources/R
        if path and path[0] == "notifiers" and not is_old:
            return "notifiers", None, None
        known = set(COLLECTIONS) - ({"resources"} if is_old else set())
        if not path or path[0] not in known or len(path) > 2:  # collection and id
            raise Refused(_NOT_FOUND, "no such path")
        return path[0], path[1] if len(path) > 1 else None, None

    def _authorise(self, asked: Asked, entry: dict[str, Any]) -> tuple[int, object]:
        options = asked.world.options
        is_discovered = options.dialect == "3.1.0" and options.has_discovery
        if asked.path == ("auth", "server") and asked.method == "GET" and options.dialect == "3.1.0":
            last = "oauth/token" if options.has_discovery else "auth/token"
            return 200, {"tokenURL": f"{asked.request.url.origin()}/{asked.world.name}/{last}"}
        if asked.method != "POST" or asked.path != (("oauth", "token") if is_discovered else ("auth", "token")):
            raise Refused(_NOT_FOUND, "no such path")
        return self._give_token(asked, entry)

    def _give_token(self, asked: Asked, entry: dict[str, Any]) -> tuple[int, object]:
        form = _form(asked)
        found = list(problems(CREDENTIALS, form))
        if found:
            entry["problem"] = found[0]
            return _BAD, {"error": "invalid_request", "error_description": found[0]}
        given = asked.world.tokens.give(
            form["client_id"], form["client_secret"], form.get("scope", ""), self._clock.now()
        )
        entry["fields"] |= {"client": form["client_id"], "body": {"scope": form.get("scope", "")}}
        if isinstance(given, str):
            return (_UNAUTHORIZED if given == "invalid_client" else _BAD), {"error": given}
        text, token = given
        return 200, {
            "access_token": text,
            "token_type": "Bearer",
            "expires_in": round((token.expires - self._clock.now()).total_seconds()),
            "scope": " ".join(sorted(token.scopes)),
        }

    def _list(self, asked: Asked, token: Token, collection: str, within: str | None, *, is_deaf: bool) -> list[Object]:
        query = _query(asked, collection)
        if within is not None:
            query = replace(query, fields={**(query.fields or {}), "venID": within})
        wanted = dict(query.fields or {})
        active = wanted.pop("active", None)
        query = replace(query, fields=wanted, skip=0 if is_deaf else query.skip)
        found = asked.world.store.listed(collection, query, token.client)
        if active == "true":
            found = [each for each in found if _may_be_active(each, self._clock.now())]
        return found

    def _one(self, asked: Asked, token: Token, collection: str, object_id: str) -> Object:
        found = asked.world.store.found(collection, object_id)
        if not asked.world.store.is_visible(collection, found, token.client, None):
            raise Refused(_NOT_FOUND, f"no {collection[:-1]} {object_id}")
        return found

    async def _write(
        self, asked: Asked, token: Token, collection: str, object_id: str | None, within: str | None
    ) -> tuple[int, object]:
        store, client = asked.world.store, token.client
        if object_id is not None:
            known = store.found(collection, object_id)
            if client.is_ven and collection not in {"programs", "events"} and not _is_own(asked, known, token):
                raise Refused(_FORBIDDEN, "the object is another client's")
        if asked.method == "DELETE" and object_id is not None:
            removed = store.remove(collection, object_id)
            asked.world.changed("DELETE", collection, removed)
            return 200, removed
        body = self._body(asked, collection, token)
        if within is not None:
            body["venID"] = within
        if collection == "subscriptions":
            for place in body["objectOperations"]:
                await asked.world.notifier.challenge(place["callbackUrl"])
        if asked.method == "POST" and object_id is None:
            made = store.add(collection, body, client)
            asked.world.changed("CREATE", collection, made)
            return 201, made
        if asked.method == "PUT" and object_id is not None:
            changed = store.change(collection, object_id, body, client)
            asked.world.changed("UPDATE", collection, changed)
            return 200, changed
        raise Refused(_NOT_FOUND, "no such operation")

    def _body(self, asked: Asked, collection: str, token: Token) -> Object:
        if asked.request.content_type != "application/json":
            raise Refused(_BAD, f"body is {asked.request.content_type}, not application/json")
        try:
            body: Any = asked.world.readable(json.loads(asked.body))
        except ValueError as error:
            raise Refused(_BAD, "body is no JSON") from error
        found = asked.world.shape_problems(collection, body, is_ven=token.client.is_ven)
        if found:
            raise Refused(_BAD, "; ".join(found))
        return dict(body)

    def _notifiers(self, asked: Asked) -> object:
        broker = asked.world.options.broker
        if asked.path == ("notifiers",):
            binding = {"URIS": [broker], "serialization": "JSON", "authentication": {"method": "ANONYMOUS"}}
            return {"WEBHOOK": True, **({} if broker is None else {"MQTT": binding})}
        if broker is None or asked.path[:3] != ("notifiers", "mqtt", "topics"):
            raise Refused(_NOT_FOUND, "no such notifier")
        parts = list(asked.path[3:])
        is_single = len(parts) == 2  # collection and id: nobody subscribes to the creation of one object
        return topics_answer(asked.world.notifier.topic_root, parts, has_create=not is_single)


def _is_own(asked: Asked, known: Object, token: Token) -> bool:
    return asked.world.options.dialect == "3.0.1" or known.get("clientID") == token.client.client_id


def _query(asked: Asked, collection: str) -> Query:
    values = asked.request.query
    allowed = {"skip", "limit", *_QUERY_FIELDS[collection]}
    is_old = asked.world.options.dialect == "3.0.1"
    names = {"targetType", "targetValues"} if is_old else {"targets"}
    if collection in _TARGETED:
        allowed |= names
    unknown = sorted(set(values) - allowed)
    if unknown:
        raise Refused(_BAD, f"query.{unknown[0]} is unknown")
    targets = [each for name in ("targets", "targetValues") for each in values.getall(name, [])]
    plain = {name: value for name, value in values.items() if name in _QUERY_FIELDS[collection] | {"targetType"}}
    return Query(
        skip=_count(values.get("skip", "0"), "skip", None),
        limit=_count(values.get("limit", str(PAGE)), "limit", PAGE),
        targets=frozenset(targets),
        fields=plain,
    )


def _count(text: str, name: str, most: int | None) -> int:
    if not text.isascii() or not text.isdigit() or (most is not None and int(text) > most):
        raise Refused(_BAD, f"query.{name} must be a number{'' if most is None else f' up to {most}'}")
    return int(text)


def _form(asked: Asked) -> dict[str, Any]:
    if asked.request.content_type != "application/x-www-form-urlencoded":
        return {}
    form = dict(parse_qsl(asked.body.decode("utf-8", errors="replace"), keep_blank_values=True))
    return _basic(asked.request.headers.get("Authorization", "")) | form


def _basic(header: str) -> dict[str, str]:
    """Return the client's id and secret from HTTP Basic, the other way of RFC 6749 to tell them."""
    scheme, _, word = header.partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        login, _, password = base64.b64decode(word, validate=True).decode().partition(":")
    except ValueError:
        return {}
    return {"client_id": unquote_plus(login), "client_secret": unquote_plus(password)}


def _may_be_active(each: Object, now: datetime) -> bool:
    """Tell whether an event is not known to lie in the future; ends are not computed here."""
    start = (each.get("intervalPeriod") or {}).get("start", "")
    try:
        return datetime.fromisoformat(start).replace(tzinfo=UTC) <= now
    except ValueError:
        return True


def _readable(asked: Asked) -> object:
    """Return the body as JSON for the log; secrets and what is no JSON are left out."""
    if asked.path and asked.path[0] in {"auth", "oauth"}:
        return None
    try:
        content: object = json.loads(asked.body) if asked.body else None
    except ValueError:
        return "no JSON"
    return content


def _problem(status: int, detail: str) -> Object:
    return {"type": "about:blank", "title": web.Response(status=status).reason, "status": status, "detail": detail}


def _broken(fault: Fault, request: web.Request) -> web.Response:
    if fault.do == "drop" and request.transport is not None:
        request.transport.abort()
    headers = {name: str(value) for name, value in fault.headers.items()}
    if fault.do == "raw":
        return web.Response(text=fault.body, content_type="application/json", headers=headers)
    return web.json_response(_problem(fault.status, "scripted"), status=fault.status, headers=headers)


def _sent(status: int, content: object, fault: Fault | None, request: web.Request) -> web.Response:
    text = json.dumps(content)
    action = "" if fault is None else fault.do
    if action == "swallow" and request.transport is not None:
        request.transport.abort()
    if action == "cut":
        text = text[: len(text) // 2]
    return web.Response(
        text=text, status=status, content_type="text/html" if action == "wrong-type" else "application/json"
    )
