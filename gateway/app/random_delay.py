"""Random delays of changes, made from settings."""

from collections.abc import Callable
from datetime import timedelta

from gateway.domain.random_delay import DelayRules
from gateway.domain.topology import Node
from gateway.settings import Settings, seconds


def delay_rules(settings: Settings) -> DelayRules:
    """Return where and how long a deployment delays changes."""
    entry = settings.random_delay
    if entry is None:
        return DelayRules()
    return DelayRules(
        nodes=entry.nodes,
        longest=seconds(entry.longest),
        applied_by=frozenset(entry.applied_by),
        response_authorities=frozenset(entry.response_authorities),
    )


class ChangeLatency:
    """How long it takes until a change has reached every charger below a node: part of what may be promised to a grid partner."""

    def __init__(self, find_node: Callable[[str, str], Node | None], rules: DelayRules) -> None:
        """Remember who knows the tree and what was agreed."""
        self._find_node = find_node
        self._rules = rules

    def __call__(self, tenant: str, authority: str, node_id: str) -> timedelta:
        """Return the longest delay where the node or one above it is delayed; zero elsewhere and for response services."""
        if not self._rules.is_on or authority in self._rules.response_authorities:
            return timedelta(0)
        node = self._find_node(tenant, node_id)
        while node is not None:
            if node.id in self._rules.nodes:
                return self._rules.longest
            node = None if node.parent is None else self._find_node(tenant, node.parent)
        return timedelta(0)
