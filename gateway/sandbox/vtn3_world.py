"""One utility of the strict 3.x VTN: its clients, objects, notifications, faults and log."""

from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from gateway.domain.errors import InvalidInput
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.vtn3_notifying import Notifier
from gateway.sandbox.vtn3_shapes import DIALECTS, problems
from gateway.sandbox.vtn3_store import Object, ObjectStore
from gateway.sandbox.vtn3_tokens import Client, Token, TokenDesk
from gateway.sandbox.vtn_control import Fault, FaultQueue, Script

_ACTIONS = frozenset({"drop", "status", "raw", "swallow", "cut", "ignore-skip", "wrong-type"})


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestFault(Fault):
    """Something that goes wrong with the next requests of a kind.

    `on` is for example `GET /events` or `PUT /reports/{id}`. `do`: `drop` cuts the connection before, `swallow` after the request
    was carried out; `status` answers an HTTP status, `raw` a text, `cut` half of the body, `ignore-skip` the first page again,
    `wrong-type` a body as text/html.
    """

    status: int = 503


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldOptions:
    """Who the utility is."""

    dialect: str = "3.1.0"
    ven_secret: str = "ven-secret"  # noqa: S105  # of a sandbox on loopback
    """Secret of the client `ven`."""
    bl_secret: str = "bl-secret"  # noqa: S105
    """Secret of the client `bl`: business logic."""
    token_s: float = 3600.0
    """Lifetime of a token in market time."""
    has_discovery: bool = True
    """3.1.0 tells its token endpoint at `/auth/server`; `/auth/token` is then not there."""
    unique_reports: bool = True
    ven_type: str = "VEN"
    """`objectType` under which vens are shown: `VEN` or `BL_VEN_REQUEST`."""
    takes_nulls: bool = False
    """Take null for a field that was left out: for clients that write it where the description does not allow it."""
    broker: str | None = None
    """`mqtt://host:port`; None offers no MQTT."""

    def __post_init__(self) -> None:
        """Reject a dialect that is not spoken."""
        if self.dialect not in DIALECTS:
            raise InvalidInput("world.dialect", f"must be one of {', '.join(DIALECTS)}")


def parse_options(document: Script, base: WorldOptions) -> WorldOptions:
    """Return options with the changes of a document.

    Raises:
        InvalidInput: A field is unknown.
    """
    return replace(base, **_checked("world", document, WorldOptions))


def parse_fault(document: Script) -> RequestFault:
    """Return the fault that a script describes.

    Raises:
        InvalidInput: A field is unknown or missing, or nobody can go wrong like this.
    """
    known = {"times": 1, **_checked("fault", document, RequestFault)}
    if known.get("do") not in _ACTIONS or "on" not in known:
        raise InvalidInput("fault.do", f"must be one of {', '.join(sorted(_ACTIONS))}, with what it is on")
    return RequestFault(**known)


def _checked(what: str, document: Script, kind: type) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}
    unknown = sorted(set(document) - names)
    if unknown:
        raise InvalidInput(f"{what}.{unknown[0]}", "is unknown")
    return dict(document)


class World:
    """A utility that VENs and business logic talk to, and that remembers what was said."""

    def __init__(self, name: str, options: WorldOptions, clock: SandboxClock) -> None:
        self.name = name
        self.options = options
        self._clock = clock
        self.clients = {
            "ven": Client(client_id="ven", secret=options.ven_secret, is_ven=True),
            "stranger": Client(client_id="stranger", secret=options.ven_secret, is_ven=True),
            "bl": Client(client_id="bl", secret=options.bl_secret, is_ven=False),
        }
        self.tokens = TokenDesk(options.dialect, self.clients, timedelta(seconds=options.token_s))
        self.store = ObjectStore(
            options.dialect, clock, has_unique_reports=options.unique_reports, ven_type=options.ven_type
        )
        self.notifier = Notifier(options.dialect, self.store, self.clients, name)
        self.faults = FaultQueue[RequestFault]()
        self.log: list[dict[str, Any]] = []

    def note(self, kind: str, **said: object) -> dict[str, Any]:
        """Keep a request and return its entry, to be completed by the answer."""
        entry = {
            "n": len(self.log),
            "at": self._clock.now().isoformat(),
            "kind": kind,
            "problem": "",
            "fault": "",
            "fields": {"status": 0, "client": "", **said},
        }
        self.log.append(entry)
        return entry

    def token_of(self, header: str) -> Token | None:
        """Return the token of an Authorization header."""
        scheme, _, text = header.partition(" ")
        return self.tokens.known(text.strip(), self._clock.now()) if scheme.lower() == "bearer" else None

    def shape_problems(self, collection: str, body: object, *, is_ven: bool) -> list[str]:
        """Tell how a request body breaks the description of this dialect."""
        shapes = DIALECTS[self.options.dialect]
        kind = collection[:-1]
        if self.options.dialect == "3.1.0" and kind in {"ven", "resource"}:
            kind = kind if is_ven else f"bl-{kind}"
        return list(problems(shapes[kind], body))

    def readable(self, body: object) -> object:
        """Return a request body as it is checked: without nulls where this utility overlooks them."""
        return _without_nulls(body) if self.options.takes_nulls else body

    def changed(self, operation: str, collection: str, each: Object) -> None:
        """Tell subscribers."""
        self.notifier.tell(operation, collection, each)


def _without_nulls(content: object) -> object:
    if isinstance(content, dict):
        return {name: _without_nulls(inner) for name, inner in content.items() if inner is not None}
    if isinstance(content, list):
        return [_without_nulls(inner) for inner in content]
    return content
