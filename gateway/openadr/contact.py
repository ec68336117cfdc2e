"""Whether the VTN can be reached, as the rest of the gateway is told."""

from datetime import datetime, timedelta

from gateway.domain.identity import Principal
from gateway.observe import logger
from gateway.ports import Clock, SignalDesk

_log = logger("openadr")


class Contact:
    """Remembers when the VTN last said something understandable and tells the signal desk when that is too long ago.

    Silence alone is not loss: a VTN that wants few polls, or a clock that jumps, is silent too. Lost is a partner that an
    exchange failed with and that has not been heard for `lost_after`.

    Args:
        authority: Our name for the partner.
        lost_after: So long without an understandable word, in market time, counts as loss.
        signal_desk: Is told about loss and return.
        clock: Market time.
        principal: Who the VEN acts as.
    """

    def __init__(
        self, *, authority: str, lost_after: timedelta, signal_desk: SignalDesk, clock: Clock, principal: Principal
    ) -> None:
        self._authority = authority
        self._lost_after = lost_after
        self._desk = signal_desk
        self._clock = clock
        self._principal = principal
        self._told_lost: bool | None = None
        self.heard_at: datetime = clock.now()
        """When the VTN was last heard; the start until then."""
        self.has_been_heard = False

    @property
    def is_lost(self) -> bool:
        """Whether the signal desk was told that the VTN is out of reach."""
        return self._told_lost is True

    @property
    def lost_at(self) -> datetime:
        """From when the VTN counts as lost unless it is heard before."""
        return self.heard_at + self._lost_after

    @property
    def lost_since(self) -> datetime | None:
        """Since when the VTN counts as lost; None when it can be reached."""
        return self.lost_at if self.is_lost else None

    async def heard(self) -> None:
        """Note a sign of life; the first one, and the first one after a loss, is passed on.

        Raises:
            StorageUnavailable: The signal desk could not take it; the next sign of life is passed on again.
        """
        self.heard_at = self._clock.now()
        self.has_been_heard = True
        if self._told_lost is not False:
            await self._desk.contact(self._principal, self._authority, is_lost=False)
            self._told_lost = False
            _log.info("contact", authority=self._authority)

    async def check(self) -> None:
        """After a failed exchange: pass on that the VTN is lost if it has not been heard for long enough.

        Raises:
            StorageUnavailable: The signal desk could not take it; call again.
        """
        if self._told_lost is not True and self._clock.now() >= self.lost_at:
            await self._desk.contact(self._principal, self._authority, is_lost=True)
            self._told_lost = True
            _log.warning("contact lost", authority=self._authority, heard_at=self.heard_at.isoformat())
