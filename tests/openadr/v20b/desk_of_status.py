"""A status desk whose nodes are as a test says."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.domain.errors import NotFound, Unavailable
from gateway.domain.identity import Principal
from gateway.domain.signals import ResourceStatus

PLAIN = ResourceStatus(
    at=datetime(2025, 10, 15, 8, 0, tzinfo=UTC),
    is_online=True,
    is_overridden=False,
    power_kw=20.0,
    limit_kw=100.0,
    rating_kw=100.0,
    floor_kw=10.0,
)


class DeskOfStatus:
    """Every node is plain until it is changed; one may be unknown, another may fail."""

    def __init__(self) -> None:
        self.nodes: dict[str, ResourceStatus] = {}
        self.unknown_nodes: set[str] = set()
        self.failing_nodes: set[str] = set()
        self.looks = 0

    def change(self, node: str, **changes: Any) -> None:
        self.nodes[node] = replace(self.nodes.get(node, PLAIN), **changes)

    async def status(self, principal: Principal, node: str) -> ResourceStatus:
        self.looks += 1
        if node in self.unknown_nodes:
            raise NotFound("node", node)
        if node in self.failing_nodes:
            raise Unavailable("the fleet is being loaded")
        return self.nodes.get(node, PLAIN)
