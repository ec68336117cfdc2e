"""Evidence: the append-only audit with its hash chain, and the links along which a value can be traced.

Each entry's hash is `SHA-256(prev_hash || canonical JSON of the entry without its hash)`; one chain per writer. Changing,
removing or reordering any entry breaks every hash after it.
"""

import base64
import dataclasses
import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from gateway.domain.errors import InvalidInput

GENESIS_HASH = "0" * 64


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """One decision or change of state: who, what, when, why, before and after."""

    id: str
    tenant: str
    at: datetime
    actor: str
    action: str
    """Verb and noun, for example `bid.approve`."""
    object_kind: str
    object_id: str
    causes: tuple[str, ...] = ()
    """`kind:id` of what made this happen; the links of the trace."""
    detail: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What changed, without secrets and personal data."""
    request_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainedEntry:
    """An audit entry with its place in the chain."""

    seq: int
    prev_hash: str
    hash: str
    entry: AuditEntry


def chain(entry: AuditEntry, seq: int, prev_hash: str) -> ChainedEntry:
    """Return the entry with its hash after `prev_hash` at place `seq` (first is 1)."""
    return ChainedEntry(
        seq=seq, prev_hash=prev_hash, hash=link_hash(canonical_json(entry), seq, prev_hash), entry=entry
    )


def link_hash(text: str, seq: int, prev_hash: str) -> str:
    """Return the hash after `prev_hash` of the entry with a canonical text at place `seq`."""
    # The canonical JSON of {"seq": seq, "entry": entry}: the text of an entry can be made long before its place is known.
    payload = f'{{"entry":{text},"seq":{seq}}}'
    return hashlib.sha256(f"{prev_hash}{payload}".encode()).hexdigest()


def verify_chain(entries: Iterable[ChainedEntry], prev_hash: str = GENESIS_HASH, first_seq: int = 1) -> int:
    """Check a run of the chain and return how many entries it has.

    Raises:
        InvalidInput: The first entry that is missing, reordered or changed; the field names its sequence number.
    """
    count = 0
    for expected_seq, chained in enumerate(entries, start=first_seq):
        if chained.seq != expected_seq:
            raise InvalidInput(f"audit[{expected_seq}]", f"is missing; found {chained.seq}")
        if not follows(chained, prev_hash):
            raise InvalidInput(f"audit[{expected_seq}]", "does not match its hash")
        prev_hash = chained.hash
        count += 1
    return count


def follows(chained: ChainedEntry, prev_hash: str) -> bool:
    """Tell whether an entry continues the chain after `prev_hash` and is what its hash says."""
    return chained.prev_hash == prev_hash and chain(chained.entry, chained.seq, prev_hash).hash == chained.hash


LONGEST_REQUEST_ID = 128


def require_request_id(request_id: str) -> str:
    """Return the idempotency key of a call that moves power or money.

    Raises:
        InvalidInput: It is empty or longer than 128 characters.
    """
    if not request_id:
        raise InvalidInput("request_id", "is required")
    if len(request_id) > LONGEST_REQUEST_ID:
        raise InvalidInput("request_id", f"must have at most {LONGEST_REQUEST_ID} characters")
    return request_id


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditVerdict:
    """What a check of the whole hash chain found."""

    entry_count: int
    """Entries whose hash fits, from the first on."""
    head_hash: str
    """Hash of the last of them; anchor it elsewhere."""
    is_intact: bool
    first_broken_sequence: int
    """Place of the first entry that is missing, reordered or changed; 0 when intact."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceStep:
    """One thing on the way from a euro to the signal that earned it."""

    kind: str
    id: str
    at: datetime
    summary: str
    causes: tuple[str, ...] = ()
    """`kind:id` of the things this one follows from."""


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys and no spaces: the same text for equal values, whatever the platform.

    Decimals keep their digits as text, instants are ISO 8601 in UTC, bytes are base64, enums are their values.

    Raises:
        InvalidInput: The value holds something that has no canonical form.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: object) -> str:
    """Return the hex SHA-256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


_Rule = Callable[[Any], object]
_AS_IT_IS = frozenset({type(None), bool, int, float, str})
"""Types that JSON has: nearly everything in a record."""
_RULES: dict[type, _Rule] = {}
"""How values of a type are made plain, found out once."""


_OF_BASES: Mapping[type, _Rule] = {
    Enum: operator.attrgetter("value"),
    int: lambda value: value,
    float: lambda value: value,
    str: lambda value: value,
    Mapping: lambda value: {str(k): _plain(v) for k, v in value.items()},
    list: lambda value: [_plain(v) for v in value],
    tuple: lambda value: [_plain(v) for v in value],
    set: lambda value: sorted((_plain(v) for v in value), key=str),
    frozenset: lambda value: sorted((_plain(v) for v in value), key=str),
    Decimal: str,
    date: operator.methodcaller("isoformat"),
    timedelta: timedelta.total_seconds,
    bytes: lambda value: base64.b64encode(value).decode(),
}
"""How values of a type and of what is derived from it are made plain; the first that fits counts."""


def _plain(value: object) -> object:
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    rule = _RULES.get(kind)
    if rule is None:
        rule = _RULES[kind] = _rule_of(value)
    return rule(value)


def _rule_of(value: object) -> _Rule:
    """Return how values of the type of this one are made plain."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        names = tuple(f.name for f in dataclasses.fields(kind))
        return lambda record: {name: _plain(getattr(record, name)) for name in names}
    for base, rule in _OF_BASES.items():
        if issubclass(kind, base):
            return rule
    raise InvalidInput("value", f"{type(value).__name__} has no canonical form")
