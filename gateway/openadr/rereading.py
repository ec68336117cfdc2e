"""Stored messages of grid partners read again, whatever they speak: what they would mean now, without any effect."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import RawSignal
from gateway.ports import RereadEvent


class PartnerRereader(Protocol):
    """Reads the stored messages of one partner in one dialect."""

    async def read_again(self, raw: RawSignal) -> Sequence[RereadEvent]:
        """Return what the events of a message would mean now.

        Raises:
            InvalidInput: It cannot be read.
        """
        ...


class SignalRereading:
    """Implements `ports.SignalRereader` over the partners of a gateway.

    Args:
        readers: By tenant and authority.
    """

    def __init__(self, readers: Mapping[tuple[str, str], PartnerRereader]) -> None:
        self._readers = dict(readers)

    async def read_again(self, raw: RawSignal) -> Sequence[RereadEvent]:
        """Return what the events of a message would mean now (see `ports.SignalRereader`)."""
        reader = self._readers.get((raw.tenant, raw.authority))
        if reader is None:
            raise InvalidInput("signal", f"{raw.authority} is no partner of this gateway any more")
        return await reader.read_again(raw)
