"""A 3.x VTN in memory behind the transport port: tokens, pages, object privacy, and faults on order."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway.domain.errors import PeerUnavailable
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.transport import Reply, Request
from gateway.ports import Clock

Json = dict[str, Any]
BASE = "https://vtn.example/openadr3"
AUTH = "https://login.example/token"
LONGEST_PAGE = 50


@dataclass(frozen=True)
class Heard:
    """One request as the VTN saw it."""

    at: datetime
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    content: Any
    token: str

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name]


@dataclass
class MemoryVtn:
    """Answers as a decent VTN would; `script` replaces answers by `METHOD /path`, once each."""

    clock: Clock
    dialect: Dialect = Dialect.V310
    client_id: str = "ven-client"
    secret: str = "s3cret-of-the-ven"
    is_anonymous: bool = False
    token_life: int | None = 3600

    heard: list[Heard] = field(default_factory=list)
    programs: dict[str, Json] = field(default_factory=dict)
    events: dict[str, Json] = field(default_factory=dict)
    vens: dict[str, Json] = field(default_factory=dict)
    resources: dict[str, Json] = field(default_factory=dict)
    reports: dict[str, Json] = field(default_factory=dict)
    subscriptions: dict[str, Json] = field(default_factory=dict)
    script: dict[str, deque[Reply]] = field(default_factory=dict)
    is_down: bool = False
    has_discovery: bool = True
    ignores_skip: bool = False
    speaks_request_types: bool = False
    """Answers vens with `BL_VEN_REQUEST`, as some VTNs do."""
    unlisted: set[str] = field(default_factory=set)
    """Ids of objects that no list shows, and that GET by id refuses."""
    refusal: int = 403
    """Status with which it does."""
    tokens: set[str] = field(default_factory=set)
    issued: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    extra: list[Any] = field(default_factory=list)
    """Comes at the end of every list of events, whatever it is."""
    on_request: Callable[[Heard], None] = lambda _heard: None

    # ------------------------------------------------------------ what tests do

    def program(self, program_id: str = "p1", **changes: Any) -> Json:
        program = {"id": program_id, "objectType": "PROGRAM", "programName": f"program {program_id}", **self._stamp()}
        self.programs[program_id] = {**program, **changes}
        return self.programs[program_id]

    def event(self, event_id: str = "e1", **changes: Any) -> Json:
        event = {"id": event_id, "objectType": "EVENT", "programID": "p1", **self._stamp()}
        created = self.events.get(event_id, event)["createdDateTime"]
        self.events[event_id] = {**event, **changes, "createdDateTime": created}
        return self.events[event_id]

    def grant(self, targets: list[Any], *, resource: str = "") -> None:
        """Give our ven, or a resource of it, targets."""
        if resource:
            [found] = [one for one in self.resources.values() if one["resourceName"] == resource]
        else:
            [found] = list(self.vens.values())
        found["targets"] = targets
        found["modificationDateTime"] = self._stamp()["modificationDateTime"]

    def revoke_tokens(self) -> None:
        self.tokens.clear()

    def once(
        self, what: str, status: int, body: Any = None, *, retry_after: str = "", raw: bytes | None = None
    ) -> None:
        """Answer the next request of this method and path so."""
        content = json.dumps(body).encode() if raw is None else raw
        self.script.setdefault(what, deque()).append(Reply(status=status, body=content, retry_after=retry_after))

    def asked(self, what: str) -> list[Heard]:
        """Return the requests of a method and path, for example `GET /events`."""
        method, path = what.split(" ")
        return [one for one in self.heard if (one.method, one.path) == (method, path)]

    # ------------------------------------------------------------ the transport

    async def request(self, request: Request) -> Reply:
        await asyncio.sleep(0)
        if self.is_down:
            raise PeerUnavailable("connection refused")
        heard = self._heard(request)
        self.heard.append(heard)
        self.on_request(heard)
        scripted = self.script.get(f"{heard.method} {heard.path}")
        if scripted:
            return scripted.popleft()
        status, body = self._answer(heard, request)
        return Reply(status=status, body=b"" if body is None else json.dumps(body).encode())

    async def close(self) -> None:
        self.counts["closed"] += 1

    def _heard(self, request: Request) -> Heard:
        parts = urlsplit(request.url)
        path = parts.path.removeprefix(urlsplit(BASE).path) if request.url.startswith(BASE) else parts.path
        is_form = request.headers.get("Content-Type") == "application/x-www-form-urlencoded"
        content: Any = None
        if request.body is not None:
            content = dict(parse_qsl(request.body.decode())) if is_form else json.loads(request.body)
        return Heard(
            at=self.clock.now(),
            method=request.method,
            path=unquote(path),
            query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
            content=content,
            token=request.headers.get("Authorization", "").removeprefix("Bearer "),
        )

    def _answer(self, heard: Heard, request: Request) -> tuple[int, Any]:
        if heard.path == "/auth/server":
            return (200, {"tokenURL": AUTH}) if self.has_discovery else (404, {"title": "Not Found", "status": 404})
        if request.url == AUTH or heard.path == "/auth/token":
            return self._token(heard)
        if not self.is_anonymous and heard.token not in self.tokens:
            return 401, {"title": "Unauthorized", "status": 401}
        kind = heard.path.split("/")[1]
        if self.dialect is Dialect.V301 and "/resources" in heard.path:
            kind = "resources"
        if heard.content is not None and heard.method in {"POST", "PUT"}:
            return self._write(kind, heard)
        return self._read(kind, heard)

    def _token(self, heard: Heard) -> tuple[int, Any]:
        given = heard.content
        if (given["client_id"], given["client_secret"]) != (self.client_id, self.secret):
            return 401, {"error": "invalid_client"}
        self.issued += 1
        token = f"token-{self.issued}"
        self.tokens.add(token)
        life = {} if self.token_life is None else {"expires_in": self.token_life}
        return 200, {"access_token": token, "token_type": "Bearer", **life}

    def _read(self, kind: str, heard: Heard) -> tuple[int, Any]:
        rows: dict[str, Json] = getattr(self, kind)
        steps = heard.path.strip("/").split("/")
        is_nested = self.dialect is Dialect.V301 and kind == "resources"
        wanted = steps[3:] if is_nested else steps[1:]
        if wanted:
            found = rows.get(wanted[0])
            if wanted[0] in self.unlisted:
                return self.refusal, {"title": "not for you", "status": self.refusal}
            if heard.method == "DELETE":
                rows.pop(wanted[0], None)
            return (200, found) if found is not None else (404, {"title": "Not Found", "status": 404})
        listed = [row for row in rows.values() if row["id"] not in self.unlisted and self._shows(kind, row, heard)]
        if kind == "vens":
            listed = [row for row in listed if row["venName"] in (heard.all("venName") or [row["venName"]])]
        if kind == "events":
            listed += self.extra
        if self.ignores_skip:
            return 200, listed[:LONGEST_PAGE]
        skip, limit = int((heard.all("skip") or ["0"])[0]), int((heard.all("limit") or ["50"])[0])
        assert limit <= LONGEST_PAGE, "limit is at most 50"
        return 200, listed[skip : skip + limit]

    def _shows(self, kind: str, row: Json, heard: Heard) -> bool:
        programs = heard.all("programID")
        if programs and row.get("programID") not in programs:
            return False
        asked = set(heard.all("targets"))
        if self.dialect is Dialect.V301 or kind not in {"events", "programs"}:
            return True
        if not row.get("targets"):
            return not asked
        granted = {
            target for one in (*self.vens.values(), *self.resources.values()) for target in one.get("targets", [])
        }
        return bool(asked & granted & set(row["targets"]))

    def _write(self, kind: str, heard: Heard) -> tuple[int, Any]:
        rows: dict[str, Json] = getattr(self, kind)
        _refuse_nulls(heard.content)
        name = {"vens": "venName", "resources": "resourceName"}.get(kind, "")
        if heard.method == "PUT":
            key = heard.path.rsplit("/", 1)[1]
            rows[key] = {**rows[key], **heard.content, **self._stamp()}
            return 200, rows[key]
        if name and any(row[name] == heard.content[name] for row in rows.values()):
            return 409, {"title": "Conflict", "status": 409}
        key = f"{kind[:-1]}-{len(rows) + 1}"
        word = {"vens": "VEN", "resources": "RESOURCE"}.get(kind, kind[:-1].upper())
        if self.speaks_request_types and kind in {"vens", "resources"}:
            word = f"BL_{word}_REQUEST"
        rows[key] = {**heard.content, "id": key, **self._stamp(), "objectType": word, "clientID": self.client_id}
        if kind == "resources":
            rows[key].setdefault("venID", next(iter(self.vens)))
        return 201, rows[key]

    def _stamp(self) -> Json:
        at = self.clock.now().isoformat().replace("+00:00", "Z")
        return {"createdDateTime": at, "modificationDateTime": at}


def _refuse_nulls(content: Any) -> None:
    if isinstance(content, dict):
        assert None not in content.values(), f"a null on the wire: {content}"
        for value in content.values():
            _refuse_nulls(value)
    elif isinstance(content, list):
        for value in content:
            _refuse_nulls(value)


def instant(at: datetime) -> str:
    """Return an instant as a VTN writes it."""
    return at.isoformat().replace("+00:00", "Z")


def period(at: datetime | str, duration: str, randomize: str = "") -> Json:
    """Return an interval period."""
    start = at if isinstance(at, str) else instant(at)
    return {"start": start, "duration": duration, **({"randomizeStart": randomize} if randomize else {})}


def intervals(payload_type: str, *values: Any) -> list[Json]:
    """Return one interval per value; a list is several values of one payload."""
    return [
        {"id": number, "payloads": [{"type": payload_type, "values": value if isinstance(value, list) else [value]}]}
        for number, value in enumerate(values)
    ]


def limit_event(at: datetime | str, *kw: float, duration: str = "PT30M", **changes: Any) -> Json:
    """Return the changing part of an event that limits import."""
    return {
        "intervalPeriod": period(at, duration),
        "payloadDescriptors": [
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}
        ],
        "intervals": intervals("IMPORT_CAPACITY_LIMIT", *kw),
        **changes,
    }


def after(clock: Clock, **duration: float) -> datetime:
    """Return an instant from now."""
    return clock.now() + timedelta(**duration)
