"""Objects of the VTN as last seen, so that a change is a change, also across restarts.

3.x has no modification number. Ours counts up whenever `modificationDateTime` or the content is another, so that the same object
seen again never acts twice, and a repeated command ("from now on for an hour", sent anew) does act anew.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.programs import HeldObject
from gateway.json_guard import Json, canonical, read_json
from gateway.openadr.v3.names import ObjectKind
from gateway.openadr.v3.reader import read_program
from gateway.openadr.v3.surroundings import Surroundings
from gateway.openadr.v3.wire import Meta, Program

_METADATA = frozenset({"id", "createdDateTime", "modificationDateTime", "objectType"})
_MOST = 200_000
_REMEMBERED = timedelta(days=90)
"""How long an object that is gone is known; one that comes back later is a new one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What an object is compared with what we hold."""

    version: int
    """0 when first seen, one more with each change."""
    first_seen: datetime
    """When this version was first seen."""
    is_changed: bool
    """Whether it is new or another one than last time."""


class Holdings:
    """Keeps what was seen; changes are collected and written together.

    Args:
        around: Settings and ports.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._settings = around.settings
        self._held: dict[str, HeldObject] = {}
        self._unsaved: dict[str, HeldObject] = {}

    async def load(self) -> None:
        """Take up what an earlier run saw.

        Raises:
            StorageUnavailable: Try again.
        """
        rows = await self._around.store.find(
            HeldObject, self._settings.tenant, {"authority": self._settings.authority}, limit=_MOST
        )
        long_ago = self._around.clock.now() - _REMEMBERED
        held = [row.record for row in rows]
        self._held = {one.id: one for one in held if one.gone_at is None or one.gone_at > long_ago}

    def see(
        self,
        kind: ObjectKind,
        meta: Meta,
        content: Mapping[str, Json],
        *,
        program_id: str = "",
        beside: Json = None,
        shown: str = "",
    ) -> Seen:
        """Return what an object is compared with last time, and note it.

        Args:
            kind: What it is.
            meta: Its id and `modificationDateTime`.
            content: The object as read.
            program_id: Of an event.
            beside: What else decides what the object means; a change of it is a change of the object.
            shown: Through what an event is shown to us (`Shown.text`); kept, and no part of what makes a change.
        """
        digest = _digest(content, beside)
        held = self._held.get(self._id_of(kind, meta.id))
        is_same = held is not None and held.content_sha256 == digest and held.modified_at == meta.modified
        if held is not None and is_same:
            again = replace(held, gone_at=None, content=shown or held.content)
            if again != held:
                self._note(again)
            return Seen(version=held.version, first_seen=held.seen_at, is_changed=False)
        now = self._around.clock.now()
        fresh = HeldObject(
            id=self._id_of(kind, meta.id),
            tenant=self._settings.tenant,
            authority=self._settings.authority,
            kind=kind.value,
            object_id=meta.id,
            program_id=program_id,
            modified_at=meta.modified,
            content_sha256=digest,
            version=0 if held is None else held.version + 1,
            seen_at=now,
            content=_kept_content(kind, content, shown),
        )
        self._note(fresh)
        return Seen(version=fresh.version, first_seen=now, is_changed=True)

    def version_of(self, kind: ObjectKind, object_id: str) -> int:
        """Return the version of an object as held; 0 when it was never seen."""
        held = self._held.get(self._id_of(kind, object_id))
        return 0 if held is None else held.version

    def program(self, program_id: str) -> Program | None:
        """Return a program as last seen; None when it never was."""
        held = self._held.get(self._id_of(ObjectKind.PROGRAM, program_id))
        if held is None or not held.content:
            return None
        return read_program(read_json(held.content.encode(), self._settings.json))

    def held_event(self, event_id: str) -> Seen | None:
        """Return version and first sight of an event as held; None when it never was seen."""
        held = self._held.get(self._id_of(ObjectKind.EVENT, event_id))
        return None if held is None else Seen(version=held.version, first_seen=held.seen_at, is_changed=False)

    def shown(self, event_id: str) -> str:
        """Return through what an event was last shown to us (`Shown.text`); empty when nobody remembers."""
        held = self._held.get(self._id_of(ObjectKind.EVENT, event_id))
        return "" if held is None else held.content

    def program_of(self, event_id: str) -> str:
        """Return the id of an event's program as last seen; empty when it never was."""
        held = self._held.get(self._id_of(ObjectKind.EVENT, event_id))
        return "" if held is None else held.program_id

    def present(self, kind: ObjectKind) -> set[str]:
        """Return the ids of objects that were there when last looked."""
        return {one.object_id for one in self._held.values() if one.kind == kind.value and one.gone_at is None}

    def leave_out(self, kind: ObjectKind, present: set[str]) -> None:
        """Note that all other objects of a kind are gone."""
        now = self._around.clock.now()
        for object_id in self.present(kind) - present:
            self._note(replace(self._held[self._id_of(kind, object_id)], gone_at=now))

    async def save(self) -> None:
        """Write what changed.

        Raises:
            StorageUnavailable: Nothing was written; call again.
        """
        unsaved = dict(self._unsaved)
        await self._around.keep(*unsaved.values())
        self._unsaved = {key: one for key, one in self._unsaved.items() if unsaved.get(key) is not one}

    def _note(self, held: HeldObject) -> None:
        self._held[held.id] = held
        self._unsaved[held.id] = held

    def _id_of(self, kind: ObjectKind, object_id: str) -> str:
        return f"{self._settings.authority}:{kind.value}:{object_id}"


def _kept_content(kind: ObjectKind, content: Mapping[str, Json], shown: str) -> str:
    return json.dumps(content, default=float) if kind is ObjectKind.PROGRAM else shown


def _digest(content: Mapping[str, Json], beside: Json) -> str:
    own = {name: value for name, value in content.items() if name not in _METADATA}
    return hashlib.sha256(canonical([own, beside]).encode()).hexdigest()
