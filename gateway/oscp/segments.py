"""Messages that come in parts: each part is on disk before it is acknowledged, and nothing of it acts before all are here.

The first part names the chain with its X-Request-ID, the others point to it with X-Correlation-ID; they may come in any order. A
chain that is not complete in time is dropped whole: half of a forecast would be another forecast.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput, Overloaded
from gateway.domain.oscp import OscpSegment
from gateway.oscp.reading import Inbound, Segment
from gateway.oscp.wire import MOST_BLOCKS, GroupCapacityForecast

MOST_BYTES = 5_000_000
"""Longest message over all its parts."""
MOST_CHAINS = 16
"""Messages of one partner that may be incomplete at a time."""


class Chains:
    """The messages of one partner of which parts are missing.

    Args:
        authority: The partner.
        tenant: Whose it is.
        patience: How long the parts may take, from the first that came.
    """

    def __init__(self, authority: str, tenant: str, patience: timedelta) -> None:
        self._authority = authority
        self._tenant = tenant
        self._patience = patience
        self._chains: dict[str, dict[int, OscpSegment]] = {}

    def restore(self, parts: list[OscpSegment]) -> None:
        """Take over the parts that were on disk."""
        for part in parts:
            self._chains.setdefault(part.chain, {})[part.index] = part

    def part_of(self, inbound: Inbound, segment: Segment, now: datetime) -> OscpSegment:
        """Return the part that a request brings; nothing is changed yet.

        Raises:
            InvalidInput: It points to no chain, or does not fit to the parts that are here.
            Overloaded: Too many messages are incomplete.
        """
        chain = inbound.request_id if segment.index == 1 else inbound.correlation_id
        if not chain:
            raise InvalidInput("X-Correlation-ID", "must name the first segment")
        known = self._chains.get(chain, {})
        if not known and len(self._chains) >= MOST_CHAINS:
            raise Overloaded("too many messages are incomplete")
        if any(part.count != segment.count for part in known.values()):
            raise InvalidInput("X-Segment-Count", "differs from that of the other segments")
        if segment.index in known and known[segment.index].body != inbound.body:
            raise InvalidInput("X-Segment-Index", "was sent already with other content")
        others = sum(len(part.body) for index, part in known.items() if index != segment.index)
        if others + len(inbound.body) > MOST_BYTES:
            raise InvalidInput("body", f"has more than {MOST_BYTES} bytes over all segments")
        began = min((part.at for part in known.values()), default=now)
        return OscpSegment(
            id=f"{self._authority}:{chain}:{segment.index}",
            tenant=self._tenant,
            authority=self._authority,
            chain=chain,
            index=segment.index,
            count=segment.count,
            at=began,
            body=inbound.body,
        )

    def add(self, part: OscpSegment) -> None:
        """Keep a part that is on disk."""
        self._chains.setdefault(part.chain, {})[part.index] = part

    def with_part(self, part: OscpSegment) -> list[OscpSegment] | None:
        """Return all parts of a chain in order, this one among them; None while one is missing."""
        parts = {**self._chains.get(part.chain, {}), part.index: part}
        return [parts[index] for index in sorted(parts)] if len(parts) == part.count else None

    def close(self, chain: str) -> None:
        """Forget a chain."""
        self._chains.pop(chain, None)

    def late(self, now: datetime) -> list[OscpSegment]:
        """Return all parts of chains whose time is up."""
        overdue = [parts for parts in self._chains.values() if self._ends(parts) <= now]
        return [part for parts in overdue for part in parts.values()]

    def next_end(self) -> datetime | None:
        """Return when the next chain is dropped unless it is completed; None when none is open."""
        return min((self._ends(parts) for parts in self._chains.values()), default=None)

    def _ends(self, parts: Mapping[int, OscpSegment]) -> datetime:
        return min(part.at for part in parts.values()) + self._patience


def closed(parts: list[OscpSegment]) -> list[OscpSegment]:
    """Return the rows of parts that are done with; their content is in the message, or worth nothing."""
    return [replace(part, body=b"", is_open=False) for part in parts]


def join(parts: Sequence[GroupCapacityForecast]) -> GroupCapacityForecast:
    """Return the forecast of all parts in order: their blocks one after the other.

    Raises:
        InvalidInput: A part is about another group or of another type, or there are too many blocks.
    """
    first = parts[0]
    if any((part.group_id, part.type) != (first.group_id, first.type) for part in parts):
        raise InvalidInput("group_id", "and type must be the same in every segment")
    blocks = tuple(block for part in parts for block in part.forecasted_blocks)
    if len(blocks) > MOST_BLOCKS:
        raise InvalidInput("forecasted_blocks", f"must be at most {MOST_BLOCKS} over all segments")
    return first.model_copy(update={"forecasted_blocks": blocks})
