"""Says once, in log and audit, whenever somebody else than before decides what binds at a node: an order, a fallback, a gap."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Principal
from gateway.domain.limits import RATING, Direction, Limit, Resolution, resolve
from gateway.domain.topology import Node
from gateway.observe import logger
from gateway.services.gather_signals.contacts import Contacts
from gateway.services.gather_signals.pacing import beside
from gateway.services.gather_signals.scribe import Scribe

_LOG = logger("limits")
_Place = tuple[str, Direction]
_Who = tuple[str, str]
"""Who decides, and why where it is not by a plain order."""
_RATED: _Who = (RATING, "")
_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What binds by another's order than at the last look, not written yet."""

    audit: tuple[AuditEntry, ...] = ()
    who: dict[_Place, _Who] = field(default_factory=dict)
    resolutions: tuple[Resolution, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Question:
    """What is to be folded at one node."""

    node: Node
    direction: Direction
    limits: tuple[Limit, ...]
    lost: frozenset[str]
    steady: frozenset[str]


class BindingWatch:
    """Remembers who decides at every node."""

    def __init__(self, scribe: Scribe, contacts: Contacts) -> None:
        """Begin with the ratings: after a start everything else is said again."""
        self._scribe = scribe
        self._contacts = contacts
        self._who: dict[str, dict[_Place, _Who]] = {tenant: {} for tenant in scribe.tenants}

    async def look(self, principal: Principal, now: datetime) -> Changes:
        """Return the nodes at which somebody else decides now, with their audit entries."""
        tenant = principal.tenant
        known = dict(self._who[tenant])
        questions = list(self._questions(tenant, known))
        size = sum(len(question.limits) for question in questions)
        found = [
            r for r in await beside(size, partial(_answers, questions, now)) if _who(r) != known.get(_place(r), _RATED)
        ]
        audit = tuple(self._entry(principal, resolution) for resolution in found)
        return Changes(audit=audit, who={_place(r): _who(r) for r in found}, resolutions=tuple(found))

    def commit(self, tenant: str, changes: Changes) -> None:
        """Remember and log what is on disk now."""
        self._who[tenant] |= changes.who
        for resolution in changes.resolutions:
            _LOG.info("limit_binds", node=resolution.node, direction=resolution.direction.value, why=resolution.why())

    def _questions(self, tenant: str, known: Iterable[_Place]) -> Iterator[_Question]:
        """Yield every node and direction at which anything but a rating has or had a say."""
        limits, lost = self._scribe.ledger(tenant).by_node(), self._contacts.lost_nodes(tenant)
        for direction in Direction:
            steady = self._contacts.steady_nodes(tenant, direction)
            before = {node for node, way in known if way is direction}
            for node_id in sorted({*limits, *lost, *steady, *before}):
                node = self._scribe.sources.find_place(tenant, node_id)
                if node is not None:
                    yield _Question(
                        node=node,
                        direction=direction,
                        limits=tuple(limits.get(node_id, ())),
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


def _place(resolution: Resolution) -> _Place:
    return resolution.node, resolution.direction


def _who(resolution: Resolution) -> _Who:
    return resolution.authority, resolution.because
