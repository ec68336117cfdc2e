"""Whether a partner is there, as the rest of the gateway is told."""

from gateway.oscp.names import PeerRole
from gateway.oscp.surroundings import Surroundings


class Presence:
    """Tells the limit desk whether one partner can be reached.

    Args:
        around: Settings and ports.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._told_lost: bool | None = None

    async def tell(self, *, is_lost: bool) -> None:
        """Tell the desk where it does not know yet; the desk lets the fallback act, or the fail-safe of the node.

        Optimisers and clients of ours limit nothing: nobody has to know whether they are there.

        Raises:
            StorageUnavailable: A return could not be written: the partner still counts as lost. Tell again.
        """
        settings = self._around.settings
        if settings.role is PeerRole.CAPACITY_PROVIDER and self._told_lost != is_lost:
            await self._around.limit_desk.contact(self._around.principal, settings.authority, is_lost=is_lost)
            self._told_lost = is_lost
