"""Says once, in log and audit, whenever somebody else than before decides what binds at a node: an order, a fallback, a gap."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Principal
from gateway.domain.limits import RATING, Direction, Limit, Resolution, resolve
from gateway.domain.topology import Node
from gateway.observe import logger
from gateway.services.gather_signals.contacts import Contacts
from gateway.services.gather_signals.scribe import Scribe
from gateway.turns import beside

_LOG = logger("limits")
_Place = tuple[str, Direction]
_Who = tuple[str, str]
"""Who decides, and why where it is not by a plain order."""
_RATED: _Who = (RATING, "")
_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Question:
    """What is to be folded at one node."""

    node: Node
    direction: Direction
    limits: Sequence[Limit]
    lost: frozenset[str]
    steady: frozenset[str]

    @property
    def place(self) -> _Place:
        """Where it is."""
        return self.node.id, self.direction

    def is_same_as(self, other: "_Question") -> bool:
        """Tell whether both ask the same; the ledger replaces the list of a node whenever it changes."""
        is_same_list = self.limits is other.limits or not (self.limits or other.limits)
        return is_same_list and (self.node, self.lost, self.steady) == (other.node, other.lost, other.steady)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """What was asked at a place and what came of it."""

    question: _Question
    who: _Who
    until: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What was looked at again, not written yet."""

    audit: tuple[AuditEntry, ...] = ()
    """One entry for each node at which somebody else decides than at the last look."""
    resolutions: tuple[Resolution, ...] = ()
    """What binds at those nodes."""
    seen: Mapping[_Place, _Seen] = field(default_factory=dict)


class BindingWatch:
    """Remembers who decides at every node."""

    def __init__(self, scribe: Scribe, contacts: Contacts) -> None:
        """Begin with the ratings: after a start everything else is said again."""
        self._scribe = scribe
        self._contacts = contacts
        self._seen: dict[str, dict[_Place, _Seen]] = {tenant: {} for tenant in scribe.tenants}

    async def look(self, principal: Principal, now: datetime) -> Changes:
        """Return the nodes at which somebody else decides now, with their audit entries; what cannot have changed is left out."""
        known = self._seen[principal.tenant]
        questions = [one for one in self._questions(principal.tenant) if _is_open(one, known.get(one.place), now)]
        size = sum(len(question.limits) for question in questions)
        found = await beside(size, partial(_answers, questions, now))
        seen = {
            one.place: _Seen(question=one, who=_who(answer), until=answer.until)
            for one, answer in zip(questions, found, strict=True)
        }
        changed = [r for one, r in zip(questions, found, strict=True) if _who(r) != _who_was(known.get(one.place))]
        audit = tuple(self._entry(principal, resolution) for resolution in changed)
        return Changes(audit=audit, resolutions=tuple(changed), seen=seen)

    def commit(self, tenant: str, changes: Changes) -> None:
        """Remember and log what is on disk now."""
        self._seen[tenant] |= changes.seen
        for resolution in changes.resolutions:
            _LOG.info("limit_binds", node=resolution.node, direction=resolution.direction.value, why=resolution.why())

    def _questions(self, tenant: str) -> Iterator[_Question]:
        """Yield every node and direction at which anything but a rating has or had a say."""
        limits, lost = self._scribe.ledger(tenant).by_node(), self._contacts.lost_nodes(tenant)
        for direction in Direction:
            steady = self._contacts.steady_nodes(tenant, direction)
            before = {node for node, way in self._seen[tenant] if way is direction}
            for node_id in sorted({*limits, *lost, *steady, *before}):
                node = self._scribe.sources.find_place(tenant, node_id)
                if node is not None:
                    yield _Question(
                        node=node,
                        direction=direction,
                        limits=limits.get(node_id, ()),
                        lost=lost.get(node_id, _NOBODY),
                        steady=steady.get(node_id, _NOBODY),
                    )

    def _entry(self, principal: Principal, resolution: Resolution) -> AuditEntry:
        binding = resolution.binding
        return replace(
            self._scribe.entries.of(principal, "limit.binds", ("node", resolution.node)),
            causes=() if binding is None else (f"limit:{binding.id}",),
            detail={"direction": resolution.direction.value, "why": resolution.why()},
        )


def _answers(questions: Iterable[_Question], now: datetime) -> list[Resolution]:
    return [
        resolve(one.node, one.limits, now, direction=one.direction, lost=one.lost, steady=one.steady)
        for one in questions
    ]


def _is_open(question: _Question, seen: _Seen | None, now: datetime) -> bool:
    """Tell whether the answer may differ from the last one."""
    if seen is None or not question.is_same_as(seen.question):
        return True
    return seen.until is not None and seen.until <= now


def _who_was(seen: _Seen | None) -> _Who:
    return _RATED if seen is None else seen.who


def _who(resolution: Resolution) -> _Who:
    return resolution.authority, resolution.because
