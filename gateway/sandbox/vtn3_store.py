"""The objects of one utility of the 3.x VTN: made, changed, listed page by page, and hidden from whom they are not for."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.vtn3_tokens import Client

Object = dict[str, Any]
PAGE = 50
"""Longest page."""
_NAMES = {"programs": "programName", "vens": "venName", "resources": "resourceName"}
"""Fields that are unique in a collection; of a resource within its ven."""
_METADATA = frozenset({"id", "createdDateTime", "modificationDateTime"})
_OBJECT_TYPES = {
    "programs": "PROGRAM",
    "events": "EVENT",
    "reports": "REPORT",
    "subscriptions": "SUBSCRIPTION",
    "vens": "VEN",
    "resources": "RESOURCE",
}
COLLECTIONS = tuple(_OBJECT_TYPES)


class Refused(Exception):
    """A request that breaks a rule: HTTP status and what is wrong."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What a list is asked for."""

    skip: int = 0
    limit: int = PAGE
    targets: frozenset[str] = frozenset()
    fields: Mapping[str, str] | None = None
    """Fields that must have these values, for example `programID`."""


class ObjectStore:
    """Collections in memory.

    Args:
        dialect: `3.0.1` or `3.1.0`.
        clock: Gives `createdDateTime` and `modificationDateTime`.
        has_unique_reports: A client's report of the same name on the same event is a conflict.
        ven_type: `objectType` under which vens and resources are shown: `VEN` (and `RESOURCE`) or the request's own.
    """

    def __init__(self, dialect: str, clock: SandboxClock, *, has_unique_reports: bool, ven_type: str) -> None:
        self._dialect = dialect
        self._clock = clock
        self._has_unique_reports = has_unique_reports
        self._ven_type = ven_type
        self._ids = itertools.count(1)
        self.collections: dict[str, dict[str, Object]] = {name: {} for name in COLLECTIONS}

    def add(self, collection: str, body: Object, client: Client | None) -> Object:
        """Keep a new object and return it with its metadata.

        Raises:
            Refused: Its name is taken, or it refers to something that is not there.
        """
        self._check_references(collection, body)
        self._check_names(collection, body, None, client)
        now = self._now()
        made = {
            **self._own(collection, body, client, None),
            "id": f"{collection[:-1]}-{next(self._ids)}",
            "createdDateTime": now,
            "modificationDateTime": now,
        }
        self.collections[collection][made["id"]] = made
        return made

    def change(self, collection: str, object_id: str, body: Object, client: Client | None) -> Object:
        """Replace an object, keeping what the VTN gave it.

        Raises:
            Refused: There is none, or as for `add`.
        """
        known = self.found(collection, object_id)
        self._check_references(collection, body)
        self._check_names(collection, body, object_id, client)
        kept = {name: known[name] for name in _METADATA}
        changed = {**self._own(collection, body, client, known), **kept, "modificationDateTime": self._now()}
        self.collections[collection][object_id] = changed
        return changed

    def remove(self, collection: str, object_id: str) -> Object:
        """Forget an object and return it.

        Raises:
            Refused: There is none.
        """
        known = self.found(collection, object_id)
        del self.collections[collection][object_id]
        return known

    def found(self, collection: str, object_id: str) -> Object:
        """Return an object.

        Raises:
            Refused: There is none.
        """
        known = self.collections[collection].get(object_id)
        if known is None:
            raise Refused(404, f"no {collection[:-1]} {object_id}")
        return known

    def listed(self, collection: str, query: Query, client: Client) -> list[Object]:
        """Return one page of what a client may see."""
        shown = [each for each in self.collections[collection].values() if self._fits(each, query)]
        shown = [each for each in shown if self.is_visible(collection, each, client, query.targets)]
        return shown[query.skip : query.skip + query.limit]

    def is_visible(self, collection: str, each: Object, client: Client, asked: frozenset[str] | None) -> bool:
        """Tell whether a client may see an object.

        A query with targets finds targeted objects only, one without finds only the others.

        Args:
            collection: Where it is.
            each: The object.
            client: Who asks; business logic sees all.
            asked: Targets of the query; None takes all that the client was granted.
        """
        if self._dialect == "3.0.1" or not client.is_ven:
            return True
        if collection not in {"programs", "events"}:
            return each.get("clientID") == client.client_id
        targets = frozenset(each.get("targets") or ())
        if not targets:
            return not asked
        granted = self.granted(client)
        return bool(targets & granted & (granted if asked is None else asked))

    def granted(self, client: Client) -> frozenset[str]:
        """Return the targets that business logic gave to a client's vens and resources (3.1.0)."""
        return frozenset(
            target
            for collection in ("vens", "resources")
            for each in self.collections[collection].values()
            if each.get("clientID") == client.client_id
            for target in each.get("targets") or ()
        )

    def _fits(self, each: Object, query: Query) -> bool:
        wanted = query.fields or {}
        if any(str(each.get(name)) != value for name, value in wanted.items() if not name.startswith("target")):
            return False
        if "targetType" in wanted:
            return any(
                target["type"] == wanted["targetType"] and query.targets & frozenset(map(str, target["values"]))
                for target in each.get("targets") or ()
            )
        return True

    def _own(self, collection: str, body: Object, client: Client | None, known: Object | None) -> Object:
        """Return the body with what the VTN adds to it, but for the metadata."""
        own = {name: value for name, value in body.items() if name not in _METADATA}
        asked = own.get("objectType")
        own["objectType"] = _OBJECT_TYPES[collection]
        if self._dialect == "3.0.1":
            return own
        if collection in {"vens", "resources"}:
            if known is not None and str(asked).startswith("VEN_"):
                own["targets"] = known.get("targets")
            if self._ven_type != "VEN":
                own["objectType"] = f"BL_{_OBJECT_TYPES[collection]}_REQUEST"
        if "clientID" not in own and collection not in {"programs", "events"}:
            owner = None if client is None else client.client_id
            own["clientID"] = owner if known is None else known.get("clientID", owner)
        return own

    def _check_references(self, collection: str, body: Object) -> None:
        wanted = {"events": ("programs", "programID"), "reports": ("events", "eventID")}
        if self._dialect == "3.1.0":
            wanted["resources"] = ("vens", "venID")
        place = wanted.get(collection)
        if place is not None and body.get(place[1]) not in self.collections[place[0]]:
            raise Refused(409, f"there is no {place[0][:-1]} {body.get(place[1])}")

    def _check_names(self, collection: str, body: Object, object_id: str | None, client: Client | None) -> None:
        others = [each for each in self.collections[collection].values() if each["id"] != object_id]
        field = _NAMES.get(collection)
        if field is not None and any(_same(each, body, (field, "venID")) for each in others):
            raise Refused(409, f"{field} {body[field]!r} is taken")
        if collection == "reports" and self._has_unique_reports and body.get("reportName"):
            owner = None if client is None else client.client_id
            mine = [each for each in others if each.get("clientID", owner) == owner]
            if any(_same(each, body, ("reportName", "eventID")) for each in mine):
                raise Refused(409, f"reportName {body['reportName']!r} is taken")

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")


def _same(one: Object, other: Object, fields: Iterable[str]) -> bool:
    return all(one.get(name) == other.get(name) for name in fields)
